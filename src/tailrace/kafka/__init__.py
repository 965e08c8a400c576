"""The Kafka edge: the only place that imports confluent_kafka.

Read in this order: `settings` (what every client is given), `live` (the poll thread, one consumer for the live end of
every topic), `assignments` (which those are), `batch` and `hand_off` (what it hands over, and how), `scan` (ranges
read once, for snapshots), `cluster`, `topic` and `sightings` (questions to the brokers, awaited, what the answers mean,
and when one is gone), `health` (readiness), `trouble` (error codes in words), `broker_log` (librdkafka's own lines),
`native` (C functions that the binding lacks), `embedded` (Kafka in this process, for demo and quick tests).
"""
