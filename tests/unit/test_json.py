"""Which values may stand in a JSON message: a table of hostile ones, and two slow oracles for all others."""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests import plain_json
from tests.plain_json import by_json, by_msgspec
from tests.unit.test_encode import Message, documents

from tailrace import _json
from tailrace._json import MAX_DEPTH, MAX_NUMBER_DIGITS, is_json
from tailrace.core.encode import Encoder

Rule = Callable[[bytes], bool]

PAD = b'"' + b"x" * 400 + b'"'
INFINITE = 2**1024 - 2**970  # the least number that rounds to infinity, of 309 digits

VALID = {
    "whitespace around": b" \t\r\n1 \n",
    "negative zero": b"-0",
    "largest double": b"1.7976931348623157e308",
    "exponent with leading zeros": b"1e0000000001",
    "underflow": b"1e-999",
    "underflow with 400 digits": b"1e-" + b"9" * 400,
    "zero times anything": b"0e999",
    "308 digits": b"9" * 308,
    "308 digits and a fraction": b"9" * 308 + b".9",
    "a power below the largest": b"9e307",
    "300 digits and an exponent that makes them small": b"9" * 600 + b"e-500",
    "longest fraction": b"0." + b"1" * (MAX_NUMBER_DIGITS - 2),
    "longest negative": b"-0." + b"1" * (MAX_NUMBER_DIGITS - 2),
    "just finite": b"%d" % (INFINITE - 1),
    "just finite, with a fraction": b"%d.%s" % (INFINITE - 1, b"9" * 500),
    "just finite, by its exponent": b"0.00%de311" % (INFINITE - 1),
    "just finite, cut short": b"%de10" % (INFINITE // 10**10),
    "just finite, small digits, large exponent": b"0." + b"0" * 980 + b"1e+1289",
    "above 2**53": b"12345678901234567890123",
    "surrogate pair": b'"\\ud83d\\ude00"',
    "escaped NUL": b'"\\u0000"',
    "escaped solidus": b'"\\/"',
    "DEL": b'"\x7f"',
    "line separator": '"\u2028"'.encode(),
    "last code point": '"\U0010ffff"'.encode(),
    "first and last of each length of UTF-8": '"\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000"'.encode(),
    "first and last surrogate pair": b'"\\ud800\\udc00\\uDBFF\\uDFFF"',
    "around the surrogates": b'"\\ud7ff\\ue000"',
    "empty key": b'{"":1}',
    "duplicate keys": b'{"a":1,"a":2}',
    "number as text": b'{"a":"1e999","' + b"9" * 400 + b'":"' + b"8" * 2000 + b'"}',
    "number behind an escaped quote": b'["\\"1e999","\\\\",1,"\\\\\\"1e999"]',
    "hexadecimal": b'["550e8400-e29b-41d4-a716-446655440000"]',
}
INVALID = {
    "empty": b"",
    "whitespace": b"  ",
    "NUL": b"\x00",
    "trailing NUL": b"{}\x00",
    "byte order mark": b"\xef\xbb\xbf{}",
    "trailing garbage": b"{} x",
    "two values": b"1 2",
    "vertical tab": b"\x0b1",
    "form feed": b"1\x0c",
    "no-break space": b"\xc2\xa01",
    "control character": b'"\x01"',
    "newline in a string": b'"\n"',
    "tab in a key": b'{"\t":1}',
    "bad UTF-8 in a string": b'"\xff"',
    "bad UTF-8 in a key": b'{"\xff":1}',
    "cut UTF-8": b'"abc\xc3"',
    "overlong": b'"\xc0\x80"',
    "overlong of three bytes": b'"\xe0\x9f\xbf"',
    "overlong of four bytes": b'"\xf0\x8f\xbf\xbf"',
    "five bytes": b'"\xf8\x88\x80\x80\x80"',
    "continuation without a start": b'"\x80"',
    "last byte of three missing": b'"\xe2\x82"',
    "last byte of four missing": b'"\xf0\x9f\x98"',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "above the last code point": b'"\xf4\x90\x80\x80"',
    "high surrogate": b'"\\ud800"',
    "high surrogate, then text": b'"\\ud800xxxxxxxx"',
    "high surrogate, then an escape": b'"\\ud800\\nxxxxxx"',
    "high surrogate, then a letter": b'"\\ud800\\u0041"',
    "two high surrogates": b'"\\ud800\\ud800"',
    "low surrogate": b'"\\udc00"',
    "two low surrogates": b'"\\udc00\\udc00"',
    "surrogate in a key": b'{"\\ud800":1}',
    "bad hexadecimal": b'"\\u12g4"',
    "bad escape": b'"\\x41"',
    "leading zero": b"01",
    "plus": b"+1",
    "no integer": b".5",
    "no fraction": b"1.",
    "no exponent": b"1e+",
    "minus": b"-",
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "underscore": b"1_0",
    "hexadecimal number": b"0x10",
    "overflow": b"1e999",
    "overflow, upper case": b"[-1E+400]",
    "just infinite": b"%d" % INFINITE,
    "just infinite, negative": b"-%d" % INFINITE,
    "just infinite, with a fraction": b"%d.%s" % (INFINITE, b"0" * 500),
    "just infinite, by its exponent": b"0.00%dE+311" % INFINITE,
    "just infinite, cut short": b"%de10" % (INFINITE // 10**10 + 1),
    "just infinite, small digits, large exponent": b"0." + b"0" * 980 + b"1e1290",
    "overflow by rounding": b"1.7976931348623159e308",
    "overflow with 400 digits": b"1e" + b"9" * 400,
    "overflow with leading zeros": b"1e000000000000999",
    "overflow by digits and exponent": b"1" * 250 + b"e99",
    "overflow by digits": b"9" * 309,
    "overflow by digits and fraction": b"9" * 310 + b".5",
    "too many digits": b"1" * 5000,
    "too long a fraction": b"0." + b"1" * (MAX_NUMBER_DIGITS - 1),
    "too long an exponent": b"0e" + b"0" * (MAX_NUMBER_DIGITS - 1),
    "case": b"True",
    "cut literal": b"tru",
    "trailing comma": b"[1,]",
    "single quotes": b"{'a':1}",
    "comment": b"/**/1",
    "no colon": b'{"a"1}',
    "comma for a colon": b'{"a",1}',
    "colon for a comma": b'["a":1]',
    "no value": b'{"a":}',
    "no comma": b"[1 2]",
    "comma alone": b"[,]",
    "trailing comma in an object": b'{"a":1,}',
    "number as key": b"{1:1}",
    "unclosed": b"[",
    "unclosed string": b'"\\',
    "wrong bracket": b"[}",
}


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]", inside: bytes = b"1") -> bytes:
    return opening * depth + inside + closing * depth


DEEP = {
    "arrays": nested,
    "objects": lambda depth: nested(depth, b'{"a":', b"}"),
    "both": lambda depth: nested(depth // 2, b'[{"a":', b"}]", b"[1]" if depth % 2 else b"1"),
    "brackets in strings": lambda depth: nested(depth, b'["]]}",', b"]", b'"[[{"'),
    "escapes": lambda depth: nested(depth, rb'["\\","\"]]","\\\"]",', b"]", rb'"\\"'),
    "among siblings": lambda depth: b"[" + b"[[1],{}]," * 700 + nested(depth - 1) + b",[]]",
    "caterpillar": lambda depth: nested(depth - 9, b"[" + nested(8) + b",", b"]", nested(9)),
}


@pytest.fixture(params=[is_json, by_msgspec, by_json], ids=["compiled", "msgspec", "json"])
def rule(request: pytest.FixtureRequest) -> Rule:
    return request.param


@pytest.mark.parametrize("value", VALID.values(), ids=VALID.keys())
def test_valid(rule: Rule, value: bytes) -> None:
    assert rule(value)
    assert rule(b"[" + PAD + b"," + value + b"," + PAD + b"]")


@pytest.mark.parametrize("value", INVALID.values(), ids=INVALID.keys())
def test_invalid(rule: Rule, value: bytes) -> None:
    assert not rule(value)
    assert not rule(b"[" + PAD + b"," + value + b"," + PAD + b"]")


@pytest.mark.parametrize("shape", DEEP.values(), ids=DEEP.keys())
def test_depth(rule: Rule, shape: Any) -> None:
    assert rule(shape(MAX_DEPTH - 1))
    assert rule(shape(MAX_DEPTH))
    assert not rule(shape(MAX_DEPTH + 1))
    assert not rule(shape(5000))


def test_the_bounds_are_the_protocols() -> None:
    assert (_json.MAX_DEPTH, _json.MAX_NUMBER_DIGITS) == (plain_json.MAX_DEPTH, plain_json.MAX_NUMBER_DIGITS)


def test_many_brackets_are_not_depth() -> None:
    assert is_json(b"[" + b"[]," * 5000 + b'"' + b"[" * 5000 + b'"]')


@pytest.mark.parametrize("value", [nested(10**6), b"[" * 10**6, nested(10**6, b'{"a":', b"}"), b"[{" * 10**6])
def test_a_bottomless_value_is_text(value: bytes) -> None:
    fields = json.loads(Encoder("t").json(Message(value)))
    assert fields["encoding"] == "text"
    assert fields["value"].encode() == value


def test_a_caller_near_the_end_of_the_stack_gets_the_same_answer() -> None:
    def call(depth: int) -> bytes:
        return call(depth - 1) if depth else Encoder("t").json(Message(nested(500)))

    assert b'"value":[[[' in call(600)


def test_a_value_that_was_cut_anywhere_is_not_json() -> None:
    value = b'{"\xc2\xa2\xe2\x82\xac\xf0\x9f\x98\x80\\n\\ud83d\\ude00" : [ true , false,null,-10.25e+10, {} , [ ] ] }'
    assert is_json(value)
    assert [size for size in range(len(value)) if is_json(value[:size])] == []


@pytest.mark.parametrize("value", [None, "1", bytearray(b"1"), memoryview(b"1")])
def test_only_bytes_are_taken(value: Any) -> None:
    with pytest.raises(TypeError):
        is_json(value)


def every_small_value() -> Iterator[bytes]:
    """All of one byte, all of two ASCII bytes, all escapes of one byte, and all starts of characters beyond ASCII."""
    for byte in (bytes((number,)) for number in range(256)):
        yield from (byte, b'"%b"' % byte, b'"\\%b"' % byte, b'"\\u00%b0"' % byte)
    for pair in itertools.product(range(128), repeat=2):
        yield bytes(pair)
    seconds = (0x22, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0)  # around every bound of RFC 3629, 4
    others = (b"", b"\x80", b"\x80\x80", b"x", b"xx", b"\x80x", b"x\x80")
    for lead, second, more in itertools.product(range(128, 256), seconds, others):
        yield b'"%b%b"' % (bytes((lead, second)), more)


def test_small_values_exhaustively() -> None:
    assert [value for value in every_small_value() if is_json(value) != by_json(value)] == []


long_digits = st.sampled_from(["9" * 99, "1" * 310, "0" * 1000, "308", "309"])
digits = st.text("0123456789", min_size=1, max_size=6) | long_digits
numbers = st.tuples(
    st.sampled_from(["", "-", "+", "0"]),
    digits,
    st.just("") | digits.map(".{}".format),
    st.just("") | st.tuples(st.sampled_from(["e", "E", "e+", "E+", "e-", "."]), digits).map("".join),
).map("".join)
syntax = [b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b'"":', b" ", b"\n", b"true", b"null", PAD]
strange = [
    b"\\",
    b"\\u",
    b"\\ud83d",
    b"\\ude00",
    b"\\n",
    b"0e000",
    b"1e400",
    b"\x00",
    b"\x1f",
    b"\xff",
    "é😀\u2028".encode(),
]
fragments = st.lists(st.sampled_from([*syntax, *strange]) | numbers.map(str.encode), max_size=12).map(b"".join)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid document with one short stretch replaced, so that most of it reaches the parsers' later stages."""
    document = draw(documents)
    value = json.dumps(document, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    at = draw(st.integers(0, len(value)))
    return value[:at] + draw(fragments | st.binary(max_size=2)) + value[at + draw(st.integers(0, 2)) :]


@st.composite
def padded(draw: st.DrawFn, inner: st.SearchStrategy[bytes]) -> bytes:
    return draw(inner) if draw(st.booleans()) else b"[" + PAD + b"," + draw(inner) + b"]"


@settings(deadline=None)
@given(value=padded(damaged() | fragments | numbers.map(str.encode)))
@example(value=b'{"a":"\\\\",1e999:"\\"1"}')
def test_the_rule_is_the_oracles(value: bytes) -> None:
    assert is_json(value) == by_json(value) == by_msgspec(value)


@settings(deadline=None)
@given(inner=numbers, depth=st.integers(0, 3))
def test_numbers_anywhere(inner: str, depth: int) -> None:
    value = nested(depth, b'{"1e":[', b"]}", inner.encode())
    assert is_json(value) == by_json(value) == by_msgspec(value)
    assert is_json(b'["1e400",' + PAD + b"," + value + b"]") == by_json(value) == by_msgspec(value)


@settings(deadline=None)
@given(around=st.integers(490, 514), document=documents, times=st.integers(1, 300))
def test_depth_is_counted_outside_strings(around: int, document: Any, times: int) -> None:
    inner = json.dumps([document] * times + [']]\\"[{']).encode()
    value = nested(around, inside=inner)
    assert is_json(value) == (plain_json.depth(value) <= MAX_DEPTH)
