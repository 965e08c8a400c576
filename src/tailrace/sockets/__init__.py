"""Accepted sockets as streams, bare and under TLS, and the only place that imports ssl for the server's side.

tcp.py            where they are accepted, and one that is read bare where no TLS is spoken
tls.py            one connection's TLS over it
tls_records.py    what came of the peer, in pieces that are soon worked through
certificates.py   three files to a context for handshakes that begin now; read again on SIGHUP
"""
