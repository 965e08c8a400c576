"""A client that resumes by itself, without its I/O: what `tailrace tail` is, but for sockets and clocks. Pure.

    target.py      what to follow: a URL and options, to the address and the command of the next connection
    following.py   what is kept over connections, what a message means, and what the end of a connection means
    line.py        a record, to the line that is printed

And of `tailrace bench`: frames.py takes frames by the thousand, tally.py checks and counts records, latency.py is its
histogram, bench_report.py what a run came to.

The browser's client is clients/js/tailrace.js; both keep what docs/protocol.md, section 4.3, says.
"""
