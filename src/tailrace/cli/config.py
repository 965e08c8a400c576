"""`tailrace config check` and `tailrace config show`: the configuration as `serve` would run it."""

from argparse import Namespace

from tailrace.cli import serve
from tailrace.configuration import render


def check(arguments: Namespace) -> int:
    """0 when there is no fault; faults are printed by main, one a line, and make it 2."""
    serve.read(arguments)
    print("the configuration has no faults")
    return 0


def show(arguments: Namespace) -> int:
    """Prints the effective configuration as TOML, secrets masked."""
    print(render(serve.read(arguments)), end="")
    return 0
