"""Where records begin: the same pieces however the bytes come."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tailrace.sockets.tls_records import RECORDS, Records


def record(size: int) -> bytes:
    return b"\x17\x03\x03" + size.to_bytes(2, "big") + b"x" * size


def taken(records: Records) -> list[tuple[bytes, int]]:
    return list(itertools.takewhile(lambda piece: piece[0], iter(records.take, None)))


def test_few_begin_in_a_piece() -> None:
    records = Records()
    records.add(record(1) * (2 * RECORDS + 3))
    assert taken(records) == [(record(1) * RECORDS, RECORDS)] * 2 + [(record(1) * 3, 3)]


def test_a_record_is_not_waited_for() -> None:
    records = Records()
    records.add(record(1000)[:600])
    assert taken(records) == [(record(1000)[:600], 1)]
    records.add(record(1000)[600:] + record(2))
    assert taken(records) == [(record(1000)[600:] + record(2), 1)]


def test_a_head_is_waited_for() -> None:
    records = Records()
    for byte in record(3)[:4]:
        records.add(bytes([byte]))
        assert taken(records) == []
    records.add(record(3)[4:])
    assert taken(records) == [(record(3), 1)]


@given(st.lists(st.integers(0, 300), max_size=100), st.lists(st.integers(1, 400)))
def test_all_of_it_in_order_however_it_comes(sizes: list[int], cuts: list[int]) -> None:
    sent = b"".join(map(record, sizes))
    records, pieces, left = Records(), [], sent
    for cut in [*cuts, len(sent)]:
        records.add(left[:cut])
        left = left[cut:]
        pieces += taken(records)
    assert b"".join(piece for piece, _ in pieces) == sent
    assert sum(begun for _, begun in pieces) == len(sizes)
    assert all(begun <= RECORDS for _, begun in pieces)


@given(st.lists(st.binary(max_size=100)))
def test_nonsense_is_passed_on(chunks: list[bytes]) -> None:
    """But for what may be the beginning of a head."""
    records, passed = Records(), b""
    for chunk in chunks:
        records.add(chunk)
        passed += b"".join(piece for piece, _ in taken(records))
    sent = b"".join(chunks)
    assert sent.startswith(passed)
    assert len(sent) - len(passed) < 5
