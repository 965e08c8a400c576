"""A client that resumes by itself, without its I/O: what `tailrace tail` is, but for sockets and clocks. Pure.

    target.py      what to follow: a URL and options, to the address and the command of the next connection
    following.py   what is kept over connections, what a message means, and what the end of a connection means
    line.py        a record, to the line that is printed

The browser's client is clients/js/tailrace.js; both keep what docs/protocol.md, section 4.3, says.
"""
