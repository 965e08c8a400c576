"""The regression gate, `make check-bench`: two questions about the core, asked without Kafka.

counting.py   how many instructions and system calls each inner path takes (paths.py under callgrind): the same on
              every run, so 3 % more is a finding; held against baseline.json
verdict.py    what differs from the baseline, and what that means when the toolchain is another one
ratios.py     deliveries per CPU second beside the bare C send loop, in interleaved rounds: wide bounds, for what
              instructions do not show (a cache missed, a kernel path taken)
"""
