"""The composition: topics, clients and listeners, joined into one gateway.

Here alone the edges meet: a batch from kafka/ goes through `pump` into a topic's tails, a conversation from
websocket/ is given a `Client` or a `Stream`, an HTTP answer from http/ is written where a handshake is refused. What a
`reading` wants that no tail has comes from `blocks`, and from `snapshots` (built by `scanning`).
"""
