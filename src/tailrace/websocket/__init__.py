"""The WebSocket side of a connection, and the only place that imports trio_websocket and wsproto.

    guard.py        limits on what comes in, read off the frame headers before wsproto sees them; pure
    outlet.py       the stream given to trio-websocket, and the one place where frames leave
    secure.py       the same under TLS
    connection.py   one conversation from the handshake to a named ending
    keepalive.py    when to ping and when to give up; pure
    watch.py        the task that asks it for every connection
    turns.py        how many writers, or handshakes, go on in one round of the loop

The other side, for our own clients, is dial.py, and bulk.py for thousands of them.
"""
