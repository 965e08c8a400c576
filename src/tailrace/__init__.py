"""Tailrace: a gateway that fans Kafka topics out to WebSocket clients.

One record's way through the program, in five files:

    kafka/live.py         the poll thread: one batch from librdkafka, one hand-off to trio
    gateway/pump.py       takes the batch, and turns it to the tails of its topics
    core/encode.py        a record becomes a message, once per format wanted
    _fanout.pyx           the tail keeps the framed bytes; a cursor per subscription; the send loop
    websocket/outlet.py   owns the socket: what the kernel refused continues here, between whole frames

Around it: cli/ starts gateway/server.py; core/session.py decides what a client's command means; kafka/cluster.py
answers what only the broker knows. Imports go downward only: words (errors, disconnect, units, config, configuration)
< core < kafka, http, websocket < gateway < cli; tests/unit/test_layers.py holds it so.
"""

__version__ = "0.1.0"
