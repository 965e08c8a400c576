"""Tailrace: a gateway that fans Kafka topics out to WebSocket clients.

One record's way from consume to send, in five files:

    kafka/live.py       the poll thread: a batch from librdkafka, one hand-off to trio
    gateway/pump.py     takes the batch, gives every topic its turn, keeps the tails within memory
    gateway/topic.py    a turn: encode some records, append them to the tails, offer them to who is live
    core/encode.py      a record becomes a message, once per format wanted
    _fanout.pyx         the tail's framed bytes, a cursor per subscription, the loop that calls send()

What the kernel refuses goes on in websocket/outlet.py; what the tail no longer has, in gateway/chase.py. Commands:
gateway/client.py, core/session.py. Start: cli/, gateway/server.py. Why: docs/architecture.md.
"""

__version__ = "0.1.0"
