"""HTTP/1.1 as far as the gateway speaks it: one request a connection, answered, or upgraded to WebSocket.

Read in this order:

    refusal.py   why a request is not served: named values with a status and protocol.md's JSON body
    head.py      one request head off a stream, bounded in bytes and time; `Replay` hands the stream on
    upgrade.py   is it a WebSocket handshake, which subprotocol, and the answer
    origin.py    may a page of this origin connect
    forwarded.py whose request it is, where proxies stand between
    answers.py   a whole answer, written, and closed so that the client can still read it
    static.py    the console page from memory
    admin.py     the admin listener: /livez, /readyz and a route table

Deciding is pure, in functions that can be tested without a socket; I/O is in `read_head`, `Replay`, `send_answer`
and `serve_admin`. Left out: keep-alive, request bodies, compression, HTTP/2.
"""
