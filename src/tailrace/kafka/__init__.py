"""The Kafka edge: the only place that imports confluent_kafka.

Read in this order: `settings` (what every client is given), `live` (the poll thread, one consumer for the live end of
every topic) and `assignments` (what it reads), `consume` (how), `batch` and `hand_off` (what it hands over); `reader`,
`run` and `outcome` (blocks read back), `scan` (ranges read once, for snapshots); `producer` (what clients publish);
`cluster`, `topic`, `topic_ids` and `sightings` (questions to the brokers, and what the answers mean); `health` and
`survey` (readiness), `statistics` (librdkafka's own numbers), `trouble` (error codes in words), `broker_log`
(librdkafka's own lines), `native` (C functions that the binding lacks); `embedded` (Kafka in this process, for demo and
quick tests), `load` (for bench).
"""
