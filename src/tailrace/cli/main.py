"""The command `tailrace`: its parser, and the exit codes.

0: done. 1: it failed while running. 2: wrong usage or a faulty configuration, told in one line for each fault on
stderr. 130: stopped by Ctrl-C before there was anything to drain. Commands are imported when they are run, so that
`version` does not load librdkafka.
"""

import importlib
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from typing import Any

from tailrace import __version__
from tailrace.cli import options
from tailrace.errors import ConfigError
from tailrace.printable import printable

Command = Callable[[Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code (argparse itself exits with 2)."""
    arguments = parser().parse_args(argv)
    try:
        command: Command = arguments.command
        return command(arguments)
    except ConfigError as error:
        for fault in error.faults:
            print(f"tailrace: {printable(fault)}", file=sys.stderr)
        return 2
    except OSError as error:  # an address in use, a file that cannot be read: the reason is enough
        what = ": ".join(str(part) for part in (error.strerror, error.filename) if part)
        print(f"tailrace: {printable(what or str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> ArgumentParser:
    """The parser; each command sets `command`. Options cannot be abbreviated, so that a new one breaks no script."""
    top = ArgumentParser(prog="tailrace", description="Fans Kafka topics out to WebSocket clients.", allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"tailrace {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    serve = _command(commands, "serve", "the gateway, until SIGTERM or SIGINT", _lazily("serve", "run"))
    options.add_serve(serve)

    demo = _command(commands, "demo", "the gateway with Kafka embedded and live data", _lazily("demo", "run"))
    options.add_listeners(demo)
    options.add_log(demo)

    config = _command(commands, "config", "look at the configuration", None)
    looks = config.add_subparsers(metavar="check|show", required=True)
    options.add_serve(
        _command(looks, "check", "exit with 2 and a line for each fault, or with 0", _lazily("config", "check"))
    )
    options.add_serve(_command(looks, "show", "print it, secrets masked", _lazily("config", "show")))

    tail = _command(commands, "tail", "print a topic's records, one JSON a line", _lazily("tail", "run"))
    options.add_tail(tail)

    bench = _command(commands, "bench", "many clients: rates, latencies, order and loss", _lazily("bench", "run"))
    options.add_bench(bench)

    token = _command(commands, "token", "sign a JWT for trying out", _lazily("token", "run"))
    options.add_token(token)

    _command(commands, "version", "print the version", _version)
    return top


def _command(commands: Any, name: str, summary: str, run: Command | None) -> ArgumentParser:
    command: ArgumentParser = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
    command.set_defaults(command=run)
    return command


def _lazily(module: str, function: str) -> Command:
    def run(arguments: Namespace) -> int:
        command: Command = getattr(importlib.import_module(f"tailrace.cli.{module}"), function)
        return command(arguments)

    return run


def _version(arguments: Namespace) -> int:
    print(f"tailrace {__version__}")
    return 0
