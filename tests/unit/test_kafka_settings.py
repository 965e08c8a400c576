"""What librdkafka is given: defaults, the user's, what cannot be changed."""

import pytest

from tailrace.kafka import settings
from tailrace.kafka.settings import REASONS, admin, consumer, faults, producer


def test_the_users_settings_pass_through_over_the_defaults() -> None:
    given = {"bootstrap.servers": "b:1", "fetch.wait.max.ms": 5, "ssl.ca.location": "/x"}
    assert consumer(given).items() >= given.items()
    assert consumer({})["fetch.wait.max.ms"] == 100


@pytest.mark.parametrize("built", [consumer, admin, producer])
def test_the_fixed_ones_win_and_every_one_is_refused_with_a_reason(built: object) -> None:
    fixed = {consumer: settings._FIXED_CONSUMER, admin: settings._FIXED_ADMIN, producer: settings._FIXED_PRODUCER}[
        built
    ]
    assert fixed.keys() <= REASONS.keys()
    more = (10.0,) if built is producer else ()
    assert built(dict.fromkeys(fixed, "other"), *more) == built({}, *more)


def test_booleans_are_spelled_as_librdkafka_does() -> None:
    assert consumer({"socket.nagle.disable": True})["socket.nagle.disable"] == "true"
    assert consumer({})["enable.auto.commit"] == "false"


@pytest.mark.parametrize("key", sorted(REASONS))
def test_a_setting_that_cannot_be_changed_is_a_fault_that_names_it(key: str) -> None:
    (fault,) = faults({"bootstrap.servers": "b:1", key: "x"})
    assert fault.startswith(f'"{key}" cannot be set: ')


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"no.such.key": 1}, "no.such.key"),
        ({"fetch.wait.max.ms": "soon"}, "fetch.wait.max.ms"),
        ({"security.protocol": "smoke"}, "security.protocol"),
        ({"security.protocol": "SSL", "ssl.ca.location": "/no/such/file"}, "ssl.ca.location"),
        ({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}, "sasl.username"),
    ],
)
def test_what_librdkafka_refuses_is_a_fault_that_names_the_key(given: dict[str, settings.Value], named: str) -> None:
    (fault,) = faults(given)
    assert named in fault


def test_every_fault_is_told_at_once() -> None:
    wrong = {"no.such.key": 1, "fetch.wait.max.ms": "soon", "group.id": "x", "another": 2, "bootstrap.servers": "b:1"}
    found = faults(wrong)
    assert len(found) == 4
    assert all(any(f'"{key}"' in fault for fault in found) for key in wrong.keys() - {"bootstrap.servers"})


def test_a_key_that_was_left_out_is_not_missed() -> None:
    """Without the mechanism that was written, librdkafka would complain of the default one's."""
    secured = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SMOKE", "sasl.username": "u", "no.key": 1}
    assert [fault for fault in faults(secured) if "GSSAPI" in fault] == []


def test_a_good_configuration_has_no_faults_and_no_broker_is_asked() -> None:
    # A name that cannot be resolved and an address that swallows packets: either would take seconds.
    assert faults({"bootstrap.servers": "no.such.host.invalid:1,192.0.2.1:9092", "socket.nagle.disable": True}) == ()
    assert faults({}) == ()
