"""The pure core: what is said, decided and encoded; no trio, sockets, clocks, threads or logging.

What a client sends, in the order it passes through:

    codec      one message's bytes -> a command (commands), and a message (messages) -> bytes; protocol names it all
    session    one `/ws` connection: command or outcome in, actions out (actions, lifecycle)
    stream     the same for one `/topics/{topic}` connection (stream_target reads its URL)

What a record passes through:

    encode     a Kafka message -> a payload, once for all subscribers
    frame      a payload -> a WebSocket frame
    position   the vector of next offsets that gateway and client both hold

`compacting` keeps the newest record of every key, for snapshots. `exposure` says which topics may be named at all.
"""
