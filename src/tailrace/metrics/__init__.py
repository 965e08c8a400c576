"""What the gateway tells of itself in numbers, and their text form.

families.py     every metric by name: kind, labels, what it means, how processes' values become one
snapshot.py     the numbers of one process at a moment, as plain data that a worker can hand to its parent
exposition.py   a snapshot as Prometheus reads it (the only user of prometheus_client)

Where the numbers come from is the gateway's (gateway/collecting.py). docs/metrics.md says the same for people, and a
test compares the two.
"""
