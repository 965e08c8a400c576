"""Benchmarks: every figure is a ratio to the least that C can do (limit/), taken in the same run.

limit/       the C programs: a minimal gateway, a bare send loop, and the sink and producer that load both sides
harness/     runs them on a real broker, measures the gateway's CPU, interleaves rounds
ratios.py    the command line; test_*.py: the same for pytest-benchmark
"""
