"""`tailrace config check` and `tailrace config show`: the configuration as `serve` would run it."""

import sys
from argparse import Namespace

from tailrace.cli import access, serve
from tailrace.configuration import render
from tailrace.printable import printable


def check(arguments: Namespace) -> int:
    """0 when there is no fault; faults are printed by main, one a line, and make it 2. Advice goes to stderr."""
    for line in access.advice(serve.read(arguments)):
        print(f"tailrace: advice: {printable(line)}", file=sys.stderr)
    print("the configuration has no faults")
    return 0


def show(arguments: Namespace) -> int:
    """Prints the effective configuration as TOML, secrets masked."""
    print(render(serve.read(arguments)), end="")
    return 0
