"""configuration/: precedence, faults that name key and place, what only several keys together can get wrong."""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.config import Config, Topic
from tailrace.configuration import ConfigError, Setting, brokers, load
from tailrace.configuration.keys import SECTIONS, section_fields

RULE = "[[rules]]\ntopics=['a']\nallow=[]\n"


def faults(**sources: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(**sources)  # type: ignore[arg-type]
    return caught.value.faults


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    return str(file)


# --- what is in force ---


def test_nothing_written_gives_the_defaults() -> None:
    assert load() == Config()


def test_flags_over_set_over_environment_over_file(tmp_path: Path) -> None:
    file = written(
        tmp_path, '[log]\nlevel = "debug"\nformat = "json"\n[tail]\nmax_bytes = "1MiB"\n[publish]\ntimeout = "1s"\n'
    )
    config = load(
        file=file,
        environment={"TAILRACE_LOG__LEVEL": "info", "TAILRACE_TAIL__MAX_BYTES": "2MiB", "TAILRACE_LOG__FORMAT": "auto"},
        assignments=["log.level=warning", "tail.max_bytes=3MiB"],
        flags=[Setting(("log", "level"), "error", "--log-level")],
    )
    assert config.log.level == "error"
    assert config.tail.max_bytes == 3 * 2**20
    assert config.log.format == "auto"
    assert config.publish.timeout == 1.0


def test_units_and_off_become_numbers_and_none(tmp_path: Path) -> None:
    limits = 'write_timeout = "2m"\nmax_record_bytes = false\nmax_message_bytes = "1KiB"\nmax_subscriptions = 5'
    config = load(file=written(tmp_path, f"[limits]\n{limits}\n[admin]\naddress = false"))
    assert config.limits.write_timeout == 120.0
    assert config.limits.max_record_bytes is None
    assert config.limits.max_message_bytes == 1024
    assert config.limits.max_subscriptions == 5
    assert config.admin.address is None


def test_an_empty_name_is_off() -> None:
    assert load(assignments=['listen.tls_certificate=""', "auth.cookie=false"]) == Config()


def test_topics_keep_the_order_they_were_given_in(tmp_path: Path) -> None:
    file = written(tmp_path, '[topics."b.*"]\nvalue = "text"\n[topics.a]\n')
    config = load(file=file, assignments=['topics."b.*".replay=24h'], flags=[Setting(("topics", "c"), {}, "--topic")])
    assert list(config.topics) == ["b.*", "a", "c"]
    assert config.topics["b.*"] == Topic(value="text", replay=86400.0)
    assert config.topics["a"] == Topic()


@pytest.mark.parametrize(
    "name",
    ["TAILRACE_KAFKA__BOOTSTRAP_SERVERS", "TAILRACE_KAFKA__bootstrap.servers", "TAILRACE_KAFKA__BOOTSTRAP__SERVERS"],
)
def test_librdkafka_settings_from_the_environment(name: str) -> None:
    assert load(environment={name: "broker:9092"}).kafka == {"bootstrap.servers": "broker:9092"}


@pytest.mark.parametrize(
    "text",
    ['[kafka]\nbootstrap.servers = "b:1"', '[kafka]\n"bootstrap.servers" = "b:1"', 'kafka."bootstrap.servers" = "b:1"'],
)
def test_librdkafka_settings_quoted_or_not(tmp_path: Path, text: str) -> None:
    assert load(file=written(tmp_path, text)).kafka == {"bootstrap.servers": "b:1"}


def test_a_topics_name_in_the_environment_is_taken_as_it_stands() -> None:
    assert list(load(environment={"TAILRACE_TOPICS____my__Topic__VALUE": "text"}).topics) == ["__my__Topic"]


def test_kubernetes_service_variables_are_passed_over() -> None:
    names = ["PORT", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_8080_TCP", "PORT_8080_TCP_ADDR"]
    assert load(environment={f"TAILRACE_{name}": "x" for name in names}) == Config()


@pytest.mark.parametrize("name", ["ECHO", "TOKEN", "BENCH_KAFKA"])
def test_switches_are_no_settings(name: str) -> None:
    assert load(environment={f"TAILRACE_{name}": "x"}) == Config()


def test_rules_are_replaced_as_a_whole(tmp_path: Path) -> None:
    file = written(
        tmp_path, '[[rules]]\ntopics = ["a"]\nallow = ["subscribe"]\n[[rules]]\ntopics = ["b"]\nallow = []\n'
    )
    assert [rule.topics for rule in load(file=file).rules] == [("a",), ("b",)]
    config = load(
        file=file, environment={"TAILRACE_RULES": '[{topics = ["c"], allow = ["publish"], claims = {role = "x"}}]'}
    )
    assert [(rule.topics, rule.claims, rule.keys) for rule in config.rules] == [(("c",), {"role": "x"}, None)]


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ('kafka."fetch.wait.max.ms"=5', "fetch.wait.max.ms", 5),
        ("kafka.x=SASL_SSL", "x", "SASL_SSL"),
        ("kafka.x=a=b", "x", "a=b"),
        ('kafka."x=y"=true', "x=y", True),
        ("kafka.x='quoted'", "x", "quoted"),
        ("kafka.x=", "x", ""),
        ("kafka.x=2026-11-23", "x", "2026-11-23"),
        ("kafka . x = 1.5", "x", 1.5),
        ("kafka.x=1\ny=2", "x", "1\ny=2"),
    ],
)
def test_set(assignment: str, key: str, value: object) -> None:
    assert load(assignments=[assignment]).kafka == {key: value}


# --- faults ---


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[listen]\nadress = 'x'", "listen.adress ({}:2): unknown key, did you mean listen.address?"),
        ("[limit]\nx = 1", "limit.x ({}:2): unknown key"),
        ("[lisen]", "lisen ({}:1): unknown key, did you mean listen?"),
        ("log = 1", "log ({}:1): expected a table"),
        ("[topics]\na = 1", "topics.a ({}:2): expected a table"),
        ("[topics.a]\nvalu = 'text'", "topics.a.valu ({}:2): unknown key, did you mean topics.a.value?"),
        (
            "[topics.a.b]\nvalue = 'text'",
            'topics.a.b.value ({}:2): unknown key; a topic\'s name that has dots is quoted: topics."a.b".value',
        ),
        ("[topics.'a b']\nreplay = 5", 'topics."a b".replay ({}:2): 5 has no unit: a duration is written like "25s"'),
        ("[log]\nlevel = 'loud'", 'log.level ({}:2): "loud" is not one of debug, error, info, warning'),
        ("[log.level]\nx = 1", "log.level.x ({}:2): unknown key: log.level takes a value, not a table"),
        ("[limits]\n# why\nping_interval = '0s'", 'limits.ping_interval ({}:3): "0s" must be more than zero'),
        (
            "[limits]\nwrite_timeout = true",
            "limits.write_timeout ({}:2): true is no limit: write one, or false for off",
        ),
        ("[limits]\nmax_subscriptions = 0", "limits.max_subscriptions ({}:2): expected int >= 1"),
        ("[tail]\nmax_bytes = false", "tail.max_bytes ({}:2): cannot be off: write how much"),
        ("[catchup]\nreaders = 0", "catchup.readers ({}:2): expected int >= 1"),
        ("[listen]\nconsole = 'yes'", "listen.console ({}:2): expected bool, got str"),
        ("[listen]\naddress = 'x'", 'listen.address ({}:2): expected HOST:PORT, like "127.0.0.1:8080" or "[::1]:8080"'),
        ("[kafka]\n'a.b' = [1]", 'kafka."a.b" ({}:2): expected bool'),
        ("rules = 1", "rules ({}:1): expected a list of tables, written [[rules]]"),
        ("rules = [1]", "rules[0] ({}:1): expected a table"),
        ("[[rules]]\ntopics = ['a']", "rules[0].allow ({}:1): missing"),
        (
            "[[rules]]\ntopics=['a']\nalow=[]\nallow=[]",
            "rules[0].alow ({}:3): unknown key, did you mean rules[0].allow?",
        ),
        ("[[rules]]\ntopics=['a']\nallow=['read']", 'rules[0].allow ({}:3): "read" is not one of publish, subscribe'),
        (
            f"{RULE}[rules.claims]\nallow=1\n[[ rules ]] # second\ntopics=['a']\nallow=[]\n[rules.x]\ny=1",
            "rules[1].x ({}:9): unknown key",
        ),
        (f"{RULE}{RULE}[[rules]]\ntopics=['a']\nallow=1", "rules[2].allow ({}:9): expected array"),
        ("rules = [\n{topics=['a'], allow=[], x=1}]", "rules[0].x ({}:1): unknown key"),
        ("[log]\nlevel = \n", "{}:2: not TOML: Invalid value"),
    ],
)
def test_a_fault_in_the_file_names_key_and_line(tmp_path: Path, text: str, fault: str) -> None:
    file = written(tmp_path, text)
    [found] = faults(file=file)
    assert found.startswith(fault.format(file))


def test_faults_of_all_places_are_told_at_once(tmp_path: Path) -> None:
    found = faults(
        file=written(tmp_path, "[tail]\nmax_byte = '1B'\n"),
        environment={"TAILRACE_LOG__LEVEL": "loud", "TAILRACE_LISTEN_ADDRESS": "x"},
        assignments=["limits.nonsense=1", "nothing"],
        flags=[Setting(("listen", "address"), "0.0.0.0:1", "--listen")],
    )
    places = {re.sub(r"\(.*gateway\.toml", "(FILE", fault).split("): ")[0] for fault in found}
    assert places == {
        "tail.max_byte (FILE:2",
        "log.level (environment TAILRACE_LOG__LEVEL",
        "listen_address (environment TAILRACE_LISTEN_ADDRESS",
        "limits.nonsense (--set",
        "--set nothing: expected SECTION.KEY=VALUE",
        "listen.address (--listen",
    }


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.toml")
    assert faults(file=missing) == (f"--config {missing}: cannot be read: No such file or directory",)
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# caf\xe9\n")
    assert faults(file=str(latin)) == (f"{latin}: not UTF-8 at byte 5",)


def test_a_key_inside_a_multi_line_value_is_not_taken_for_a_place(tmp_path: Path) -> None:
    text = "[listen]\norigins = [\n  'a',\n]\ntls_key = '''\nconsole = 1\n'''\n[listen.console]\nx = 1\n"
    assert any(
        fault.startswith("listen.console.x") and ":9)" in fault for fault in faults(file=written(tmp_path, text))
    )


def test_faults_never_show_a_secret() -> None:
    shown = faults(assignments=["auth.secret=12345", 'kafka."sasl.password"=[98765]', 'auth.jwks_url="56789'])
    assert len(shown) == 3
    assert not re.search("12345|98765|56789", " ".join(shown))


def test_a_faulty_value_is_a_fault_even_where_another_wins() -> None:
    found = faults(environment={"TAILRACE_LOG__LEVEL": "loud"}, assignments=["log.level=info"])
    assert found[0].startswith("log.level (environment TAILRACE_LOG__LEVEL)")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_refuses_a_key_it_does_not_know(section: str) -> None:
    assert faults(assignments=[f"{section}.zzz=1"]) == (f"{section}.zzz (--set): unknown key",)


KEYS = [f"{name}.{key}" for name, section in SECTIONS.items() for key in section_fields(section)]


@given(st.sampled_from(KEYS), st.from_regex(r"[a-z_]{1,12}", fullmatch=True))
def test_any_key_that_is_not_known_is_named(key: str, ending: str) -> None:
    name = key + ending
    if name in KEYS:
        return
    assert any(fault.startswith(f"{name} (--set): unknown key") for fault in faults(assignments=[f"{name}=1"]))


SCALARS = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.text(max_size=3), max_size=2)
)


@given(st.sampled_from([tuple(key.split(".")) for key in KEYS]), SCALARS)
def test_any_value_of_any_key_is_taken_or_is_one_line(path: tuple[str, str], value: object) -> None:
    try:
        config = load(flags=[Setting(path, value, "test")])
    except ConfigError as error:
        found = error.faults
    else:
        assert msgspec.convert(msgspec.to_builtins(config), Config) == config
        found = ()
    assert all("(test): " in fault or "(default): " in fault for fault in found)


# --- several keys together ---

JWT = ["auth.mode=jwt", 'auth.algorithms=["HS256"]', "auth.secret=x"]


@pytest.mark.parametrize("address", ["0.0.0.0:1", ":1", "[::]:1", "10.0.0.1:1", "gateway.example:1"])
def test_listening_for_others_needs_a_written_auth_mode(address: str) -> None:
    [fault] = faults(assignments=[f"listen.address={address}"])
    assert fault.startswith("listen.address (--set): not loopback: set auth.mode")
    assert load(assignments=[f"listen.address={address}", "auth.mode=none"]).auth.mode == "none"
    assert load(assignments=[f"listen.address={address}"], environment={"TAILRACE_AUTH__MODE": "none"})
    assert load(assignments=[f"listen.address={address}", *JWT]).auth.mode == "jwt"


@pytest.mark.parametrize(
    "assignments",
    [
        [*JWT[:2], "auth.secret=[1]"],
        [*JWT[:2], "auth.secrett=x"],
        [JWT[0], JWT[2], "auth.algorithms=[1]"],
        ["listen.tls_key=k", "listen.tls_certificate=3"],
    ],
)
def test_what_only_comes_of_a_faulty_key_is_not_told(assignments: list[str]) -> None:
    [fault] = faults(assignments=assignments)
    assert fault.startswith(assignments[-1].partition("=")[0])


def test_what_is_wrong_in_other_sections_is_told_all_the_same() -> None:
    told = faults(assignments=["auth.secret=[1]", "listen.tls_key=k"], checks=[brokers])
    names = [fault.partition(" ")[0] for fault in told]
    assert names == ["auth.secret", "listen.tls_key", 'kafka."bootstrap.servers"']


@pytest.mark.parametrize(
    ("assignments", "fault"),
    [
        (["listen.address=127.0.0.1:8081"], "admin.address (default): is listen.address, too"),
        (["listen.address=[::1]:1", "admin.address=[::1]:1"], "admin.address (--set): is listen.address, too"),
        (["listen.tls_certificate=c"], "listen.tls_certificate (--set): needs listen.tls_key"),
        (["listen.tls_key=k"], "listen.tls_key (--set): needs listen.tls_certificate"),
        (["listen.client_ca=c"], "listen.client_ca (--set): needs listen.tls_certificate"),
        ([*JWT, "auth.jwks_url=u"], "auth.mode (--set): jwt needs exactly one of auth.secret"),
        (JWT[:2], "auth.mode (--set): jwt needs exactly one of auth.secret"),
        ([JWT[0], JWT[2]], "auth.mode (--set): jwt needs auth.algorithms, of HS256"),
        ([*JWT, 'auth.algorithms=["none"]'], 'auth.algorithms (--set): "none" is not one of HS256'),
        ([*JWT, 'auth.algorithms=["RS256"]'], 'auth.algorithms (--set): "RS256" is not one of HS256'),
        (['listen.origins=["https://a.example/"]'], 'listen.origins (--set): "https://a.example/" is not an origin'),
        (['listen.origins=["a.example"]'], 'listen.origins (--set): "a.example" is not an origin'),
    ],
)
def test_keys_that_need_or_exclude_one_another(assignments: list[str], fault: str) -> None:
    assert faults(assignments=assignments)[0].startswith(fault)


@pytest.mark.parametrize("origins", [[], ["*"], ["null"], ["https://a.example", "http://[::1]:8000", "app://x"]])
def test_origins_that_browsers_send(origins: list[str]) -> None:
    assert load(assignments=[f"listen.origins={origins}"]).listen.origins == tuple(origins)


def test_a_pong_may_take_longer_than_the_interval() -> None:
    """Nobody is pinged again while a pong is awaited."""
    assert load(assignments=["limits.ping_interval=1s"]).limits.pong_timeout == 8.0


def test_what_an_unreadable_file_may_hold_is_not_missed(tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text("[listen\n")
    for name in (str(file), str(tmp_path / "none.toml")):
        [fault] = faults(file=name, assignments=["listen.address=0.0.0.0:1"], checks=[brokers])
        assert name in fault


@pytest.mark.parametrize("admin", ["127.0.0.1:2", "127.0.0.2:1", "false"])
def test_listeners_of_their_own(admin: str) -> None:
    assert load(assignments=["listen.address=127.0.0.1:1", f"admin.address={admin}"])
    assert load(assignments=["listen.address=127.0.0.1:0", "admin.address=127.0.0.1:0"])


def test_a_public_key_is_never_used_as_a_shared_secret() -> None:
    found = faults(assignments=["auth.mode=jwt", "auth.public_key_file=k.pem", 'auth.algorithms=["RS256","HS256"]'])
    assert [fault.split(" is not")[0] for fault in found] == ['auth.algorithms (--set): "HS256"']


def test_without_a_broker_there_is_nothing_to_serve() -> None:
    [fault] = faults(checks=[brokers])
    assert fault.startswith('kafka."bootstrap.servers" (default): missing')
