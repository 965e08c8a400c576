"""TLS for the public listener, and the only place that imports ssl for the server's side.

certificates.py   three files to a context for handshakes that begin now; read again on SIGHUP
records.py        what came of the peer, in pieces that are soon worked through
stream.py         one connection's TLS over its socket
tcp.py            that socket as a stream, which is read bare where no TLS is spoken
"""
