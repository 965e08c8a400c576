"""The options that several commands share, and how they become a Config.

An option is a shorthand for one key and goes through the same checks as the file; a fault then names the option.
`add_*` put options on a parser; `read` takes the parsed arguments, asking only for options that the command has.
"""

import os
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterator, Sequence

from tailrace.config import Config
from tailrace.configuration import Check, Setting, load


def add_listeners(parser: ArgumentParser) -> None:
    """--listen, --admin, --no-admin, --console, --no-console."""
    parser.add_argument("--listen", metavar="HOST:PORT", help="public listener (default 127.0.0.1:8080)")
    admin = parser.add_mutually_exclusive_group()
    admin.add_argument("--admin", metavar="HOST:PORT", help="admin listener (default 127.0.0.1:8081)")
    admin.add_argument("--no-admin", action="store_const", const=False, dest="admin", help="no admin listener")
    parser.add_argument("--console", action=BooleanOptionalAction, help="serve the console page at /")


def add_log(parser: ArgumentParser) -> None:
    """--log-level, --log-format."""
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info (default), warning or error")
    parser.add_argument("--log-format", metavar="FORMAT", help="auto (default), console or json")


def add_sources(parser: ArgumentParser) -> None:
    """--config, --set."""
    parser.add_argument("--config", metavar="FILE", help="configuration file (TOML)")
    parser.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        help="any configuration key, TOML syntax, a bare word is a string; repeatable",
    )


def add_kafka(parser: ArgumentParser) -> None:
    """--kafka, --topic."""
    parser.add_argument("--kafka", metavar="HOST:PORT[,HOST:PORT]", help="Kafka's bootstrap servers")
    parser.add_argument(
        "--topic",
        metavar="NAME",
        action="append",
        default=[],
        help="expose this topic for subscribing; may be a shell-style pattern; repeatable",
    )


def add_serve(parser: ArgumentParser) -> None:
    """Every option of `serve`, which `config check` and `config show` read too."""
    add_sources(parser)
    add_kafka(parser)
    add_listeners(parser)
    parser.add_argument("--workers", metavar="N", default="1", help="processes (default 1)")
    add_log(parser)


def add_tail(parser: ArgumentParser) -> None:
    """URL, --topic, --key, --from, --slow, --token."""
    parser.add_argument("url", metavar="URL", help="ws://HOST:PORT/topics/TOPIC, or ws://HOST:PORT/ws with --topic")
    parser.add_argument("--topic", metavar="NAME", help="the topic, for a /ws URL")
    parser.add_argument("--key", metavar="KEY", action="append", help="only records with this key; repeatable")
    parser.add_argument(
        "--from",
        metavar="FROM",
        dest="from_",
        help="latest (default), earliest, last:N, timestamp:T, offsets:P=N,..., snapshot",
    )
    parser.add_argument("--slow", metavar="POLICY", help="wait (default), latest, skip or close")
    parser.add_argument("--token", metavar="JWT", help="for a gateway that asks for one (default: TAILRACE_TOKEN)")


def add_bench(parser: ArgumentParser) -> None:
    """URL, and how many, how fast and for how long."""
    parser.add_argument("url", metavar="URL", help="ws://HOST:PORT/topics/TOPIC, or ws://HOST:PORT/ws with --topic")
    parser.add_argument("--topic", metavar="NAME", help="the topic, for a /ws URL")
    parser.add_argument("--connections", metavar="N", type=int, default=100, help="clients (default 100)")
    parser.add_argument(
        "--ramp", metavar="PER_SECOND", type=float, default=500.0, help="new ones a second (default 500)"
    )
    parser.add_argument("--seconds", metavar="S", type=float, default=10.0, help="of counting, once all are there (10)")
    parser.add_argument(
        "--keys", metavar="N", type=int, default=0, help="client I asks for key bench-(I mod N); 0: for all (default)"
    )
    parser.add_argument(
        "--kafka", metavar="HOST:PORT[,HOST:PORT]", help="write records there, to the topic; without: watch"
    )
    parser.add_argument("--rate", metavar="PER_SECOND", type=float, default=10.0, help="records to write (default 10)")
    parser.add_argument("--bytes", metavar="N", type=int, default=200, help="size of a value (default 200)")
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")


def add_token(parser: ArgumentParser) -> None:
    """--secret, --claim, --ttl, --algorithm."""
    parser.add_argument("--secret", metavar="SECRET", help="to sign with (default: TAILRACE_AUTH__SECRET)")
    parser.add_argument(
        "--claim",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help='a claim, its value JSON or text: sub=me, tenants=["a","b"]; repeatable',
    )
    parser.add_argument("--ttl", metavar="DURATION", default="1h", help='how long it is good (default 1h), or "false"')
    parser.add_argument("--algorithm", metavar="NAME", default="HS256", help="HS256 (default), HS384 or HS512")


def read(arguments: Namespace, checks: Sequence[Check] = ()) -> Config:
    """The configuration that file, environment and these arguments give; raises ConfigError with every fault."""
    return load(
        file=getattr(arguments, "config", None),
        environment=os.environ,
        assignments=getattr(arguments, "set", ()),
        flags=list(flags(arguments)),
        checks=checks,
    )


def flags(arguments: Namespace) -> Iterator[Setting]:
    """The settings that options stand for; an option not given says nothing."""
    shorthands = {
        "kafka": ("kafka", "bootstrap.servers"),
        "listen": ("listen", "address"),
        "admin": ("admin", "address"),
        "console": ("listen", "console"),
        "log_level": ("log", "level"),
        "log_format": ("log", "format"),
    }
    for name, path in shorthands.items():
        value = getattr(arguments, name, None)
        if value is not None:
            yield Setting(path, value, "--" + name.replace("_", "-"))
    for topic in getattr(arguments, "topic", ()):
        yield Setting(("topics", topic, "subscribe"), True, "--topic")
