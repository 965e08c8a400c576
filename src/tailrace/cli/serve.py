"""`tailrace serve`, and what `config check` and `config show` make of the same options."""

import functools
from argparse import Namespace
from collections.abc import Collection, Iterator

import structlog

from tailrace.cli import access, logs, options
from tailrace.config import Config
from tailrace.configuration import brokers
from tailrace.configuration.checks import Finding
from tailrace.configuration.setting import Path
from tailrace.core.commands import check_topic_name
from tailrace.core.exposure import Exposure
from tailrace.errors import CommandError, ConfigError
from tailrace.units import whole_number

_log = structlog.get_logger(__name__)

MOST_WORKERS = 256  # a slip of the finger is not to start ten thousand processes


def run(arguments: Namespace) -> int:
    """Serves until SIGTERM or SIGINT; 0 after a drain."""
    config = read(arguments)
    logs.configure(config.log)
    for line in access.advice(config):
        _log.warning("configuration", advice=line)
    import trio  # these two here, so that `config` does without the gateway

    workers, reading = int(arguments.workers), functools.partial(read, arguments)
    if workers > 1:
        from tailrace.workers.fleet import supervise

        trio.run(functools.partial(supervise, config, workers, read=reading))
    else:
        from tailrace.gateway.server import serve

        trio.run(functools.partial(serve, config, console=config.listen.console, read=reading))
    return 0


def read(arguments: Namespace) -> Config:
    """The configuration as `serve` would run it; raises ConfigError, the number of workers included."""
    faults = list(_workers(arguments.workers))
    try:
        config = options.read(
            arguments, checks=(brokers, librdkafka, access.tokens, access.rules, certificates, topic_names)
        )
    except ConfigError as error:
        raise ConfigError(*error.faults, *faults) from None
    if faults:
        raise ConfigError(*faults)
    return config


def librdkafka(config: Config, written: Collection[Path]) -> Iterator[Finding]:
    """What librdkafka, or the gateway on top of it, refuses in [kafka]; the library is asked, no broker is."""
    from tailrace.kafka.settings import faults

    publishes = any(topic.publish for topic in config.topics.values())
    for text in faults(config.kafka, publishes=publishes):
        key = next((key for key in config.kafka if f'"{key}"' in text), None)
        yield ("kafka", key) if key else ("kafka",), text.removeprefix(f'"{key}" ')


def topic_names(config: Config, written: Collection[Path]) -> Iterator[Finding]:
    """Names that no topic can have, two of them with a comma between for instance: nobody could ever subscribe."""
    for name in Exposure(config.topics).names:
        try:
            check_topic_name(name)
        except CommandError as error:
            yield next((path for path in written if path[:2] == ("topics", name)), ("topics", name)), error.message


def certificates(config: Config, written: Collection[Path]) -> Iterator[Finding]:
    """What is wrong with the files of TLS, which are read as `serve` reads them."""
    from tailrace.sockets.certificates import faults

    listen = config.listen
    for key, text in faults(listen.tls_certificate, listen.tls_key, listen.client_ca):
        yield ("listen", key), text


def _workers(written: str) -> Iterator[str]:
    count = whole_number(written)
    if not count:
        yield f'--workers: "{written}" is not a number of processes'
    elif count > MOST_WORKERS:
        yield f"--workers: {written} is more than {MOST_WORKERS}: one for each core is enough"
