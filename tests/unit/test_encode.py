"""Envelopes: what a record looks like in each form, and that every byte sequence arrives as it was written."""

import base64
import ctypes
import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.core.encode import Encoder, TooLarge
from tailrace.core.frame import BINARY, TEXT

NOT_UTF8 = [b"\xff", b"abc\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\x00\xfe"]
FIELDS = ["id", "type", "topic", "partition", "offset", "timestamp", "key", "key_encoding", "headers"]
FIELDS += ["value", "encoding", "tombstone"]


@dataclass
class Message:
    """The methods of `confluent_kafka.Message` that an encoder calls, over plain attributes."""

    value_: bytes | None = b'{"total":5}'
    key_: bytes | None = b"A"
    headers_: Any = None
    timestamp_: tuple[int, int] = (1, 1763862162044)
    partition_: int = 0
    offset_: int = 124

    def topic(self) -> str:
        return "orders"

    def partition(self) -> int:
        return self.partition_

    def offset(self) -> int:
        return self.offset_

    def timestamp(self) -> tuple[int, int]:
        return self.timestamp_

    def key(self) -> bytes | None:
        return self.key_

    def value(self) -> bytes | None:
        return self.value_

    def headers(self) -> Any:
        return self.headers_

    def set_headers(self, headers: Any) -> None:
        self.headers_ = headers


class NamelessHeaderMessage(Message):
    """What confluent_kafka 2.16 does with a header name that is not UTF-8 (seen with a real one): first it raises, then
    it hands out pairs with a NULL in them."""

    raised = False

    def headers(self) -> Any:
        if not self.raised:
            self.raised = True
            raise SystemError("returned a result with an exception set")
        return self.headers_


def pair_without_a_name(value: object) -> tuple[Any, ...]:
    new, put = ctypes.pythonapi.PyTuple_New, ctypes.pythonapi.PyTuple_SetItem
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_ssize_t]
    put.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.py_object]
    pair: tuple[Any, ...] = new(2)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
    put(id(pair), 1, value)
    return pair


def encoded(message: Message, value: str = "auto") -> dict[str, Any]:
    """The JSON envelope, parsed, less the fields that are the same for every message here."""
    fields = json.loads(Encoder("orders", value).json(message).decode())
    return {
        name: fields[name] for name in fields if name not in ("id", "type", "topic", "partition", "offset", "timestamp")
    }


def test_json_is_the_example_of_the_protocol() -> None:
    expected = b'{"id":    0,"type":"record","topic":"orders","partition":0,"offset":124,"timestamp":1763862162044,'
    assert Encoder("orders").json(Message()) == expected + b'"key":"A","value":{"total":5}}'


def test_each_partition_has_its_own_head() -> None:
    encoder = Encoder("orders")
    places = [(0, 1), (7, 2), (0, 3), (7, 2**62)]
    for partition, offset in places:
        message = Message(partition_=partition, offset_=offset)
        for fields in (json.loads(encoder.json(message)), msgpack.unpackb(encoder.msgpack(message))):
            assert (fields["partition"], fields["offset"]) == (partition, offset)


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("auto", b"[1]", {"value": [1]}),
        ("auto", b" \n{} ", {"value": {}}),
        ("auto", b"null", {"value": None}),
        ("auto", b"", {"value": "", "encoding": "text"}),
        ("auto", b'a"\n\x00\x7f', {"value": 'a"\n\x00\x7f', "encoding": "text"}),
        ("auto", b"1e999", {"value": "1e999", "encoding": "text"}),
        ("auto", b"\xff", {"value": "/w==", "encoding": "base64"}),
        ("json", b"[1]", {"value": [1]}),
        ("json", b"[1", {"value": "[1", "encoding": "text"}),
        ("json", b"\xff", {"value": "/w==", "encoding": "base64"}),
        ("text", b"[1]", {"value": "[1]", "encoding": "text"}),
        ("text", b"\xff", {"value": "/w==", "encoding": "base64"}),
        ("base64", b"[1]", {"value": "WzFd", "encoding": "base64"}),
        ("base64", b"", {"value": "", "encoding": "base64"}),
    ],
)
def test_value_by_the_setting_of_the_topic(setting: str, value: bytes, expected: dict[str, Any]) -> None:
    assert encoded(Message(value), setting) == {"key": "A"} | expected


@pytest.mark.parametrize("setting", ["auto", "json", "text", "base64"])
def test_a_tombstone_is_one_whatever_the_setting(setting: str) -> None:
    assert encoded(Message(None), setting) == {"key": "A", "value": None, "tombstone": True}
    assert msgpack.unpackb(Encoder("t", setting).msgpack(Message(None)))["tombstone"] is True
    assert Encoder("t", setting).value(Message(None)) == (BINARY, b"")


def test_json_keeps_whitespace_and_newlines() -> None:
    value = b'\r\n{ "a" :\t1,\n "a": 2 }\n'
    assert Encoder("t").json(Message(value)).endswith(b',"value":' + value + b"}")


def test_values_that_were_to_be_json_are_counted() -> None:
    strict, lenient = Encoder("t", "json"), Encoder("t", "auto")
    for value in (b"{}", b"{", b"\xff", None, b""):
        strict.json(Message(value))
        lenient.json(Message(value))
    assert (strict.not_json, lenient.not_json) == (3, 0)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (None, {"key": None}),
        (b"", {"key": ""}),
        (b'"\\\n', {"key": '"\\\n'}),
        ("ключ\u2028".encode(), {"key": "ключ\u2028"}),
        (b"\xff", {"key": "/w==", "key_encoding": "base64"}),
    ],
)
def test_key(key: bytes | None, expected: dict[str, Any]) -> None:
    assert encoded(Message(b"1", key)) == expected | {"value": 1}


def test_headers() -> None:
    headers = [("a", b"x"), ("a", b""), ("", None), ("é", b"\xff")]
    message = Message(headers_=headers)
    assert encoded(message)["headers"] == [["a", "x"], ["a", ""], ["", None], ["é", "/w==", "base64"]]
    assert msgpack.unpackb(Encoder("t").msgpack(message))["headers"] == [list(pair) for pair in headers]


@pytest.mark.parametrize("headers", [None, []])
def test_no_headers_no_field(headers: Any) -> None:
    assert "headers" not in encoded(Message(headers_=headers))
    assert "headers" not in msgpack.unpackb(Encoder("t").msgpack(Message(headers_=headers)))


def test_a_header_name_that_is_not_utf8_neither_raises_nor_crashes() -> None:
    headers = [("a", None), pair_without_a_name(b"x"), pair_without_a_name(None), ("b", b"y")]
    message = NamelessHeaderMessage(headers_=headers)
    expected = [["a", None], ["\ufffd", "x"], ["\ufffd", None], ["b", "y"]]
    assert encoded(message)["headers"] == expected
    assert encoded(message)["headers"] == expected
    assert msgpack.unpackb(Encoder("t").msgpack(message))["headers"][1] == ["\ufffd", b"x"]


@pytest.mark.parametrize("timestamp", [(0, 0), (0, -1), (0, 1763862162044), (1, -1), (2, -1)])
def test_a_timestamp_that_kafka_has_not_is_null(timestamp: tuple[int, int]) -> None:
    message = Message(timestamp_=timestamp)
    assert json.loads(Encoder("t").json(message))["timestamp"] is None
    assert msgpack.unpackb(Encoder("t").msgpack(message))["timestamp"] is None


@pytest.mark.parametrize("time", [0, -2, 2**62])
def test_any_other_timestamp_is_told(time: int) -> None:
    message = Message(timestamp_=(2, time))
    assert json.loads(Encoder("t").json(message))["timestamp"] == time
    assert msgpack.unpackb(Encoder("t").msgpack(message))["timestamp"] == time


def test_msgpack_is_the_same_map_with_the_bytes_of_kafka() -> None:
    payload = Encoder("orders").msgpack(Message(b"\xff", None))
    assert payload[1:7] == b"\xa2id\xcd\x00\x00"
    assert msgpack.unpackb(payload) == {
        "id": 0,
        "type": "record",
        "topic": "orders",
        "partition": 0,
        "offset": 124,
        "timestamp": 1763862162044,
        "key": None,
        "value": b"\xff",
    }


@pytest.mark.parametrize("value", [b"", b"abc", "é\u2028".encode(), b"\xef\xbb\xbf{}", b"\x00"])
def test_a_bare_value_that_is_utf8_is_text(value: bytes) -> None:
    assert Encoder("t", "base64").value(Message(value)) == (TEXT, value)


@pytest.mark.parametrize("value", NOT_UTF8)
def test_a_bare_value_that_is_not_utf8_is_binary(value: bytes) -> None:
    assert Encoder("t", "text").value(Message(value)) == (BINARY, value)


GAP = {"type": "gap", "topic": "orders", "partition": 3, "from": 9, "to": 10, "next": 10, "reason": "too_large"}


@pytest.mark.parametrize(
    "message",
    [
        Message(b"1" * 200, partition_=3, offset_=9),
        Message(b"1" * 130, partition_=3, offset_=9),
        Message(b"1", b"k" * 200, partition_=3, offset_=9),
        Message(None, b"k" * 200, partition_=3, offset_=9),
        Message(b"1", headers_=[("h", b"v" * 200)], partition_=3, offset_=9),
    ],
    ids=["value", "value and envelope", "key", "tombstone", "headers"],
)
def test_a_record_above_the_bound_becomes_a_gap_with_the_same_slot(message: Message) -> None:
    encoder = Encoder("orders", max_record_bytes=200)
    text, binary = encoder.json(message), encoder.msgpack(message)
    assert text.startswith(b'{"id":    0,"type":"gap","topic":"orders",')
    assert json.loads(text) == {"id": 0} | GAP
    assert binary[1:7] == b"\xa2id\xcd\x00\x00"
    assert msgpack.unpackb(binary) == {"id": 0} | GAP
    assert encoder.too_large == 2


def test_the_bound_itself_is_allowed() -> None:
    message = Message(b"[1, 2, 3]")
    for form in ("json", "msgpack"):
        size = len(getattr(Encoder("t"), form)(message))
        assert b"record" in getattr(Encoder("t", max_record_bytes=size), form)(message)
        assert b"too_large" in getattr(Encoder("t", max_record_bytes=size - 1), form)(message)
    assert Encoder("t", max_record_bytes=9).value(message) == (TEXT, b"[1, 2, 3]")


def test_a_bare_value_above_the_bound_raises() -> None:
    encoder = Encoder("t", max_record_bytes=8)
    with pytest.raises(TooLarge, match="9 bytes is above the limit of 8"):
        encoder.value(Message(b"[1, 2, 3]"))
    assert encoder.too_large == 1


def test_text_that_grows_above_the_bound_by_escaping_is_a_gap() -> None:
    assert b"too_large" in Encoder("t", max_record_bytes=400).json(Message(b"\x00" * 100))


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
nearly_json = [b"1e999", b'"\\ud800"', b'{"\xff":1}', b"[" * 600 + b"]" * 600, b"9" * 400, b"NaN"]
hostile = st.sampled_from([*nearly_json, *NOT_UTF8])
any_bytes = (
    st.binary()
    | st.text().map(str.encode)
    | documents.map(lambda document: json.dumps(document).encode())
    | documents.map(lambda document: json.dumps(document, ensure_ascii=False, indent=1).encode(errors="surrogatepass"))
    | st.tuples(hostile, st.binary(max_size=3)).map(b"".join)
)
messages = st.builds(
    Message,
    st.none() | any_bytes,
    st.none() | any_bytes,
    st.none() | st.lists(st.tuples(st.text(), st.none() | any_bytes), max_size=3),
    st.tuples(st.integers(0, 2), st.integers(-1, 2**62)),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 2),
)
modes = st.sampled_from(["auto", "json", "text", "base64"])


def to_bytes(text: str | None, encoding: str | None) -> bytes | None:
    if text is None:
        return None
    return base64.b64decode(text, validate=True) if encoding == "base64" else text.encode()


def headers_as_read(message: Message) -> list[tuple[str, bytes | None]]:
    return [tuple(header) for header in message.headers() or []]


@settings(deadline=None)
@given(message=messages, setting=modes)
def test_json_of_any_bytes_is_valid_and_decodes_to_them(message: Message, setting: str) -> None:
    payload = Encoder("orders", setting).json(message)
    fields = json.loads(payload.decode("utf-8", "strict"), parse_constant=pytest.fail)
    assert msgspec.json.decode(payload) == fields
    assert payload.startswith(b'{"id":    0,')
    assert list(fields) == [name for name in FIELDS if name in fields]
    assert to_bytes(fields["key"], fields.get("key_encoding")) == message.key()
    headers = [(name, to_bytes(value, *encoding or [None])) for name, value, *encoding in fields.get("headers", [])]
    assert headers == headers_as_read(message)
    if "encoding" in fields or "tombstone" in fields:
        assert to_bytes(fields["value"], fields.get("encoding")) == message.value()
    else:
        assert payload.endswith(b',"value":' + (message.value() or b"") + b"}")


@settings(deadline=None)
@given(message=messages, setting=modes)
def test_msgpack_of_any_bytes_decodes_to_them(message: Message, setting: str) -> None:
    fields = msgpack.unpackb(Encoder("orders", setting).msgpack(message))
    assert list(fields) == [name for name in FIELDS if name in fields]
    assert (fields["key"], fields["value"]) == (message.key(), message.value())
    assert [tuple(header) for header in fields.get("headers", [])] == headers_as_read(message)
    assert fields.get("tombstone", False) == (message.value() is None)


@settings(deadline=None)
@given(message=messages)
def test_a_bare_value_of_any_bytes_is_a_frame_that_a_browser_takes(message: Message) -> None:
    opcode, payload = Encoder("orders").value(message)
    assert payload == (message.value() or b"")
    if opcode == TEXT:
        payload.decode("utf-8", "strict")


@pytest.mark.skipif(not shutil.which("node"), reason="node is not on the PATH")
def test_javascript_reads_them_too() -> None:
    values = [bytes((byte,)) for byte in range(256)]
    values += [b'"' + value + b'"' for value in values]
    values += [*NOT_UTF8, b"1e308", b"1e309", b"9" * 400, b'"\\ud800"', b'"\\ud83d\\ude00"', b"[" * 512 + b"]" * 512]
    values += [b"[" * 200_000 + b"]" * 200_000, "\u2028".encode(), b'{"__proto__":1,"__proto__":2}']
    payloads = [Encoder("orders", mode).json(Message(v, v, [("h", v)])) for v in values for mode in ("auto", "base64")]
    program = """
        const strict = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true});
        const lines = require('fs').readFileSync(0, 'latin1').trim().split('\\n');
        const bytes = (text, encoding) => Buffer.from(text, encoding || 'utf8').toString('base64');
        console.log(JSON.stringify(lines.map(line => {
            const record = JSON.parse(strict.decode(Buffer.from(line, 'base64')));
            const value = record.encoding && bytes(record.value, record.encoding.replace('text', 'utf8'));
            return [bytes(record.key, record.key_encoding), value ?? null];
        })));
    """
    lines = b"\n".join(map(base64.b64encode, payloads))
    run = subprocess.run(["node", "-e", program], input=lines, capture_output=True, check=True, timeout=60)
    answers = json.loads(run.stdout)
    assert len(answers) == len(payloads)
    for value, (key, text) in zip([v for v in values for _ in range(2)], answers, strict=True):
        assert base64.b64decode(key) == value
        assert text is None or base64.b64decode(text) == value
