"""The pure core: what is said, decided and encoded; no trio, sockets, clocks, threads or logging.

What a client sends:      codec reads it (wire, wire_json, wire_msgpack) into `commands` and writes `messages`,
                          stream_target reads a URL; protocol names all of it for others.
                          session (`/ws`) and stream (`/topics`) decide what it means: actions, by lifecycle's table.
What a client may:        access, over exposure (which topics), rules and claims (who); pace and crowd (how much).
What a record becomes:    encode (payloads, once for all subscribers), frame, and the compiled _fanout that sends them.
Where reading begins:     begin judges what Kafka answered; position is the vector that both sides keep.
What is read back:        lane and elevator say what is read next (wants: who waits); cutting makes blocks of it,
                          block_cache keeps them, pace bounds it; compacting keeps what snapshots have.
What is written:          publishing. What is counted: histogram.
"""
