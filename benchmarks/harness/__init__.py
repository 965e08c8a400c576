"""What runs a benchmark, from the processes up to the table.

cpu, child, programs         what is measured, a process that speaks JSON lines, the compiled C
broker, gateways, load       a real Kafka; the gateway under test or the C one; sink and producer
scenarios, measuring         what is asked of a gateway, and one measurement of it
rounds, table                interleaved rounds, medians of pairwise ratios; how they are shown
"""
