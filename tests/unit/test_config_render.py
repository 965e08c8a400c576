"""configuration/render.py: what is shown can be read again and means the same, except secrets, which never show."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.config import Auth, Config, Limits, Listen, Log, Rule, Tail, Topic
from tailrace.configuration import load, render

NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name.isprintable())
PERIODS = st.integers(1, 10**7).map(lambda milliseconds: milliseconds / 1000)
SIZES = st.integers(1, 2**40)
TOPICS = st.builds(
    Topic,
    subscribe=st.booleans(),
    publish=st.booleans(),
    value=st.sampled_from(["auto", "json", "text", "base64"]),
    replay=st.one_of(st.booleans(), PERIODS),
)
RULES = st.builds(
    Rule,
    topics=st.lists(NAMES, max_size=2).map(tuple),
    allow=st.sampled_from([(), ("subscribe",), ("subscribe", "publish")]),
    claims=st.dictionaries(NAMES, st.one_of(NAMES, st.booleans(), st.integers(-(2**53), 2**53))),
    keys=st.one_of(st.none(), st.lists(NAMES, max_size=2).map(tuple)),
)
ORIGINS = st.sampled_from(["*", "null", "https://shop.example", "http://[::1]:8000"])  # others are faults
CONFIGS = st.builds(
    Config,
    listen=st.builds(Listen, origins=st.lists(ORIGINS, max_size=2).map(tuple), console=st.booleans()),
    kafka=st.dictionaries(st.sampled_from(["a", "b.c", 'd"e', "f\\g"]), st.one_of(NAMES, st.integers(), st.booleans())),
    topics=st.dictionaries(NAMES, TOPICS, max_size=3),
    tail=st.builds(Tail, max_bytes=SIZES),
    limits=st.builds(Limits, write_timeout=st.none() | PERIODS, max_record_bytes=st.none() | SIZES),
    rules=st.lists(RULES, max_size=2).map(tuple),
    log=st.builds(Log, level=st.sampled_from(["debug", "info", "warning", "error"])),
)


@settings(max_examples=40)  # each writes and reads a file: 0.1 s
@given(CONFIGS)
def test_what_is_shown_reads_back_as_the_same(config: Config) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "shown.toml")
        file.write_text(render(config), encoding="utf-8")
        assert load(file=str(file)) == config


def test_a_text_with_control_characters_reads_back_and_shows_none() -> None:
    config = Config(topics={"a\x1b\n\x7f": Topic()})
    shown = render(config)
    assert "\x1b" not in shown
    assert "\x7f" not in shown


@pytest.mark.parametrize(
    "name",
    [
        "sasl.password",
        "ssl.key.password",
        "ssl.keystore.password",
        "ssl.key.pem",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.private.key.pem",
    ],
)
def test_librdkafka_secrets_are_masked(name: str) -> None:
    shown = render(Config(kafka={name: "hunter2"}))
    assert "hunter2" not in shown
    assert f'"{name}" = "********"' in shown


@pytest.mark.parametrize("name", ["sasl.username", "ssl.key.location", "ssl.certificate.pem", "bootstrap.servers"])
def test_what_is_no_secret_is_shown(name: str) -> None:
    assert "shown" in render(Config(kafka={name: "shown"}))


def test_our_own_secrets_are_masked() -> None:
    shown = render(Config(auth=Auth(secret="hunter2", jwks_url="https://user:hunter2@keys.example/jwks")))
    assert "hunter2" not in shown
    assert 'secret = "********"' in shown
    assert "https://********@keys.example/jwks" in shown


def test_a_secret_that_is_not_set_is_shown_as_off() -> None:
    assert "secret = false" in render(Config())
