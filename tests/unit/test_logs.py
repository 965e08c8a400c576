"""cli/logs.py: one event is one line, in either form, whatever a client wrote into it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from tailrace.cli import logs
from tailrace.config import Log


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def configured(**log: str) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(Log(**log), stream)  # type: ignore[arg-type]
    return stream


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_client_cannot_forge_a_line_or_drive_the_terminal(form: str) -> None:
    stream = configured(format=form)
    structlog.get_logger().info("came", topic="a\nforged\x1b[2J", list=["b\x1b"], raw=b"\x1b", text="\u2028")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()
    assert "forged" in stream.getvalue()


def test_json_lines_have_the_fields() -> None:
    stream = configured(format="json")
    structlog.get_logger().warning("came", connection=7)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["connection"]) == ("came", "warning", 7)
    assert line["timestamp"].endswith("Z")


def test_auto_is_json_where_there_is_no_terminal() -> None:
    stream = configured(format="auto")
    structlog.get_logger().info("came")
    assert json.loads(stream.getvalue())["event"] == "came"


def test_a_terminal_gets_the_console_form() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    logs.configure(Log(), stream)
    structlog.get_logger().info("came")
    assert not stream.getvalue().startswith("{")


def test_below_the_level_nothing_is_written() -> None:
    stream = configured(level="warning", format="json")
    structlog.get_logger().info("quiet")
    logging.getLogger("library").info("quiet")
    assert stream.getvalue() == ""


def test_the_standard_librarys_loggers_join_in() -> None:
    stream = configured(format="json")
    logging.getLogger("library").warning("from %s", "there\x1b")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"]) == ("from there\\x1b", "warning")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_is_there_and_its_message_is_escaped(form: str) -> None:
    stream = configured(format=form)
    try:
        raise ValueError("bad\x1b[31m")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "ValueError: bad" in stream.getvalue()
    assert "\x1b[31m" not in stream.getvalue()
    assert (len(stream.getvalue().splitlines()) == 1) == (form == "json")
