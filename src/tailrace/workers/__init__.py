"""Several processes on one port: a parent that supervises, and workers that are the gateway.

The kernel spreads connections over the workers (SO_REUSEPORT). Each has its own consumer, tails and limits, and they
share nothing but the port. The parent never touches a client: it starts workers, replaces those that die, serves the
one admin listener and passes signals on.

fleet.py        the parent, as a nursery tree
slot.py         one worker's place: its process, its replacement, what it is asked
process.py      the process itself, and its sockets
restarts.py     when a dead worker is replaced, and when that is hopeless
standing.py     what all workers together are: ready or not, and why
routes.py       what the parent's admin listener answers; ledger.py: the numbers of all as one
messages.py, channel.py   what parent and worker say to each other
worker.py       the other end: the gateway, asked by the parent
"""
