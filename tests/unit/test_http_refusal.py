"""The named refusals: statuses, what they must carry, and the protocol's errors among them."""

import pytest

from tailrace.errors import ErrorCode
from tailrace.http import refusal
from tailrace.http.refusal import Refusal, Refused, refusal_for

ALL = {name: value for name, value in vars(refusal).items() if isinstance(value, Refusal)}


@pytest.mark.parametrize("name", ALL)
def test_every_refusal_is_an_error_status_with_a_code_and_a_message(name: str) -> None:
    one = ALL[name]
    assert 400 <= one.status <= 599
    assert one.code.isidentifier()
    assert one.message


@pytest.mark.parametrize(("status", "header"), [(401, "WWW-Authenticate"), (405, "Allow"), (426, "Upgrade")])
def test_statuses_carry_the_headers_that_http_demands(status: int, header: str) -> None:
    of_status = [one for one in ALL.values() if one.status == status]
    assert of_status
    assert all(header in dict(one.headers) for one in of_status)


def test_a_refusal_may_say_when_to_come_back() -> None:
    assert refusal.DRAINING.after(7).headers == (("Retry-After", "7"),)
    assert refusal.DRAINING.headers == ()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.BAD_REQUEST, 400),
        (ErrorCode.UNAUTHENTICATED, 401),
        (ErrorCode.FORBIDDEN, 403),
        (ErrorCode.UNKNOWN_TOPIC, 404),
        (ErrorCode.RATE_LIMITED, 429),
        (ErrorCode.KAFKA_UNAVAILABLE, 503),
        (ErrorCode.INTERNAL, 500),
    ],
)
def test_a_protocol_error_has_its_status(code: ErrorCode, status: int) -> None:
    assert refusal_for(code, "why").status == status
    assert refusal_for(code, "why").code == code.value
    assert refusal_for(code, "why").message == "why"


def test_missing_credentials_name_the_scheme() -> None:
    assert refusal_for(ErrorCode.UNAUTHENTICATED, "why").headers == refusal.UNAUTHENTICATED.headers


def test_the_exception_reads_well() -> None:
    assert str(Refused(refusal.NOT_FOUND)) == "404 not_found: nothing is served at this path"
