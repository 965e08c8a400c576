# cython: language_level=3
r"""Whether a value can stand in a JSON message as it is: one pass over its bytes, without recursion and without an object built.

Rule (docs/protocol.md, "record"): JSON text of RFC 8259, without a byte order mark; UTF-8 of RFC 3629, so neither surrogates nor
overlong forms; a surrogate written as \u only as one of a pair; at most MAX_DEPTH levels deep; no number that is longer than
MAX_NUMBER_DIGITS or that rounds to infinity (IEEE 754, binary64): msgspec refuses it, and a JavaScript client would show Infinity.

A `bytes` object ends in a NUL, which no step accepts, so every step stops there at the latest: none looks at a byte before it has
accepted the one in front, and none needs to be told where the value ends. A step gets the place where it begins and returns the
place behind what it accepted, or NULL.

The rule stands in json_text.pxi. Left out: what is wrong and where, and telling apart what JSON leaves open (duplicate keys, integers above 2**53).
tests/plain_json.py has the same rule in Python; one suite runs on both.
"""

from cpython.bytes cimport PyBytes_GET_SIZE

include "json_text.pxi"

MAX_DEPTH = DEPTH
MAX_NUMBER_DIGITS = DIGITS


def is_json(bytes value not None):
    """Whether `value` can stand in a JSON message: RFC 8259, UTF-8, and nothing that a parser in use refuses. Never raises."""
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(value)
    return valid(at, at + PyBytes_GET_SIZE(value))
