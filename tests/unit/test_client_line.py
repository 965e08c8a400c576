"""client.line: one line a record, one JSON object a line, and nothing of it lost or acted upon."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tailrace.client.line import line

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def printed(message: str) -> str:
    return line(msgspec.json.decode(message, type=dict[str, msgspec.Raw])).decode()


def test_id_and_type_are_left_out_and_the_order_stays() -> None:
    assert printed('{"id":    7,"type":"record","topic":"a","offset":3,"value":{"z":1,"a":2}}') == (
        '{"topic":"a","offset":3,"value":{"z":1,"a":2}}\n'
    )


def test_numbers_stay_as_they_are_in_kafka() -> None:
    value = '{"id":123456789012345678901234567890,"price":0.10,"e":1E400}'
    assert f'"value":{value}' in printed('{"type":"record","value":' + value + "}")


def test_a_value_written_over_several_lines_is_one() -> None:
    found = printed('{"type":"record","value":{\r\n\t"a": [1,\n2]\r}}')
    assert (found.count("\n"), found.count("\r")) == (1, 0)
    assert json.loads(found) == {"value": {"a": [1, 2]}}


def test_what_drives_a_terminal_is_escaped() -> None:
    found = printed(json.dumps({"type": "record", "key": "\x9b2J\x7f\u202eä\u2028"}, ensure_ascii=False))
    assert found == '{"key":"\\u009b2J\\u007f\\u202eä\\u2028"}\n'


@given(JSON_VALUES, st.sampled_from([None, 1]))
def test_whatever_the_value_the_line_means_the_same(value: object, indent: int | None) -> None:
    message = {"id": 1, "type": "record", "key": value, "value": value}
    found = printed(json.dumps(message, ensure_ascii=False, indent=indent))
    assert found.index("\n") == len(found) - 1
    assert not any("\x7f" <= character <= "\x9f" for character in found)
    assert json.loads(found) == {"key": value, "value": value}
