"""frame: the three length forms, and what an independent parser (wsproto) makes of a frame."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, TextMessage

from tailrace.core.frame import BINARY, TEXT, frame


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, b"\x82\x00"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_length_takes_its_shortest_form(size: int, header: bytes) -> None:
    payload = bytes(size)
    assert frame(BINARY, payload) == header + payload


@given(st.lists(st.one_of(st.binary(max_size=300), st.text(max_size=300)), min_size=1, max_size=5))
def test_a_client_reads_back_every_message(messages: list[bytes | str]) -> None:
    client = Connection(ConnectionType.CLIENT)
    for message in messages:
        client.receive_data(frame(TEXT, message.encode()) if isinstance(message, str) else frame(BINARY, message))
    events = list(client.events())
    assert [event.data for event in events if isinstance(event, TextMessage | BytesMessage)] == messages
    assert all(event.message_finished for event in events if isinstance(event, TextMessage | BytesMessage))
