"""The Kafka edge: the only place that imports confluent_kafka.

Read in this order: `settings` (what every client is given), `live` (the poll thread, one consumer for the live end of
every topic), `batch` (what it hands over), `cluster` (questions to the brokers, awaited), `health` (readiness),
`trouble` (error codes in words), `broker_log` (librdkafka's own lines), `native` (three C functions that the binding
lacks), `embedded` (Kafka in this process, for the demo and quick tests).
"""
