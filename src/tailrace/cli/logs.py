"""Logging set-up: structlog to stderr, readable on a terminal, JSON elsewhere; the standard library's loggers join in.

Every line is one event, whatever a client wrote into it: control characters in values are escaped
(tailrace.printable). Only a traceback keeps its line breaks, and only in the console form.
"""

import logging
import sys
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from tailrace.config import Log
from tailrace.printable import printable

# trio-websocket logs every connection at INFO and every frame at DEBUG; a gateway's own lines say the same in fewer.
_NOISY: Final = ("trio-websocket", "wsproto")


def configure(log: Log, stream: TextIO | None = None) -> None:
    """Sets the process's logging; `stream` is stderr unless a test says otherwise."""
    stream = stream or sys.stderr
    level = logging.getLevelNamesMapping()[log.level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        escape,
    ]
    renderer = _renderer(log.format, stream)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    _standard_library(level, stream, shared, renderer)


def escape(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Makes every string of an event safe to print; a traceback keeps its line breaks."""
    return {key: _escaped(key, value) for key, value in event.items()}


def _escaped(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value  # a renderer prints it by repr or as JSON: escaped there
    if key == "exception":
        return "\n".join(printable(line) for line in value.split("\n"))
    return printable(value)


def _renderer(form: str, stream: TextIO) -> Processor:
    if form == "json" or (form == "auto" and not stream.isatty()):
        return structlog.processors.JSONRenderer(ensure_ascii=True)
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )


def _standard_library(level: int, stream: TextIO, shared: list[Processor], renderer: Processor) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
