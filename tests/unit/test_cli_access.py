"""`token`, `tail --token`, and what `config check` says of auth and rules."""

from pathlib import Path
from typing import Any

import jwt
import pytest
from tests.tokens import OTHER_RSA, PRIVATE, SECRET, pem
from tests.unit.test_cli import KAFKA, tailrace

from tailrace.cli.access import advice, rules, tokens
from tailrace.cli.tail import in_the_clear, read_token
from tailrace.cli.token import claims_of
from tailrace.client.target import read_target
from tailrace.config import Auth, Config, Listen, Rule
from tailrace.errors import ConfigError

READ = Rule(topics=("a",), allow=("subscribe",))


def auth(**changes: Any) -> Auth:
    return Auth(**({"mode": "jwt", "algorithms": ("HS256",), "secret": SECRET} | changes))


def faults(config: Config) -> list[str]:
    found = [*tokens(config, ()), *rules(config, ())]
    return [f"{'.'.join(path)}: {what}" for path, what in found]


def test_sound_ones(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(pem(PRIVATE["ES256"]))
    for sound in (
        auth(),
        auth(secret=None, public_key_file=str(file), algorithms=("ES256",)),
        auth(secret=None, jwks_url="https://issuer.example/keys", algorithms=("RS256", "EdDSA")),
        auth(cookie="__Host-session", query_parameter="access_token"),
        Auth(),
    ):
        assert faults(Config(auth=sound, rules=(READ,))) == []


@pytest.mark.parametrize(
    ("faulty", "what"),
    [
        (auth(mode="none"), 'auth.secret: nobody is asked for a token without auth.mode = "jwt"'),
        (auth(secret=None, jwks_url="file:///etc/passwd"), "auth.jwks_url: is not an address with https:// or http://"),
        (auth(secret=None, jwks_url="https://"), "auth.jwks_url: is not an address"),
        (auth(secret=None, public_key_file="/nothing"), "auth.public_key_file: cannot be read: No such file"),
        (auth(cookie="a b"), 'auth.cookie: "a b" is not a name that can be sent'),
        (auth(cookie=""), 'auth.cookie: "" is not a name that can be sent'),
        (auth(query_parameter="key"), 'auth.query_parameter: "key" means something else in a /topics URL'),
    ],
)
def test_faults_of_auth(faulty: Auth, what: str) -> None:
    [found] = faults(Config(auth=faulty))
    assert found.startswith(what)
    assert "hunter2" not in found


def test_a_key_of_another_kind(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(pem(OTHER_RSA))
    faulty = auth(secret=None, public_key_file=str(file), algorithms=("RS256", "ES256"))
    [found] = faults(Config(auth=faulty))
    assert found.startswith("auth.public_key_file: is not a public key for ES256 in PEM")


@pytest.mark.parametrize(
    ("name", "value"), [("secret", SECRET), ("public_key_file", "a.pem"), ("jwks_url", "https://issuer.example/")]
)
def test_an_algorithm_that_does_not_fit_is_one_fault(name: str, value: str, tmp_path: Path) -> None:
    """And none of the key's: it is not tried with what nobody may sign with."""
    (tmp_path / "a.pem").write_bytes(pem(PRIVATE["ES256"]))
    where = str(tmp_path / value) if name == "public_key_file" else value
    sets = ["auth.mode=jwt", 'auth.algorithms=["none"]', f"auth.{name}={where}"]
    done = tailrace("config", "check", *KAFKA, *(word for one in sets for word in ("--set", one)))
    [line] = done.stderr.splitlines()
    assert line.startswith('tailrace: auth.algorithms (--set): "none" is not one of ')
    assert done.returncode == 2


def test_faults_of_rules() -> None:
    faulty = Rule(topics=("a",), allow=(), keys=("${claim.x}",), claims={"role": "${claims.role}"})
    assert [found.partition(": ")[0] for found in faults(Config(auth=auth(), rules=(faulty,)))] == ["rules", "rules"]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (Config(auth=auth()), "rules: there is none"),
        (Config(auth=auth(secret="hunter2"), rules=(READ,)), "auth.secret: has 7 bytes; 32 are asked for"),
        (Config(auth=auth(query_parameter="t"), rules=(READ,)), "auth.query_parameter: addresses"),
        (
            Config(auth=auth(secret=None, jwks_url="http://issuer.example/", algorithms=("RS256",)), rules=(READ,)),
            "auth.jwks_url: over http://",
        ),
        (Config(auth=auth(), rules=(READ,), listen=Listen(address="0.0.0.0:1")), "listen.address: tokens travel"),
    ],
)
def test_advice(config: Config, says: str) -> None:
    [found] = advice(config)
    assert found.startswith(says)


def test_no_advice() -> None:
    local = auth(secret=None, jwks_url="http://127.0.0.1:1/", algorithms=("RS256",))
    assert list(advice(Config())) == list(advice(Config(auth=auth(), rules=(READ,)))) == []
    assert list(advice(Config(auth=local, rules=(READ,)))) == []


def test_config_check_tells_advice_and_is_0() -> None:
    sets = ["auth.mode=jwt", f"auth.secret={SECRET}", 'auth.algorithms=["HS256"]']
    done = tailrace("config", "check", *KAFKA, *(word for one in sets for word in ("--set", one)))
    assert (done.returncode, done.stdout) == (0, "the configuration has no faults\n")
    assert done.stderr == "tailrace: advice: rules: there is none, so that no token allows anything\n"


# token


def test_a_token_is_printed() -> None:
    claims = ["--claim", "sub=me", "--claim", 'tenants=["a",1]', "--claim", "role=staff", "--claim", "n=5"]
    done = tailrace("token", "--secret", SECRET, *claims, "--ttl", "2m")
    assert (done.returncode, done.stderr) == (0, "")
    told = jwt.decode(done.stdout.strip(), SECRET, algorithms=["HS256"])
    assert (told["sub"], told["tenants"], told["role"], told["n"]) == ("me", ["a", 1], "staff", 5)
    assert told["exp"] - told["iat"] == 120


@pytest.mark.filterwarnings("ignore:The HMAC key is 14 bytes")  # by PyJWT, when the test itself verifies
def test_the_secret_may_come_from_the_environment() -> None:
    done = tailrace("token", TAILRACE_AUTH__SECRET="a short secret")
    assert done.returncode == 0
    assert done.stderr == "tailrace: the secret has 14 bytes; 32 are asked for by RFC 7518, 3.2\n"
    assert jwt.decode(done.stdout.strip(), "a short secret", algorithms=["HS256"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--secret, or TAILRACE_AUTH__SECRET, is what the token is signed with"),
        (["--secret", SECRET, "--claim", "sub"], '--claim: "sub" is not NAME=VALUE'),
        (["--secret", SECRET, "--ttl", "5"], '--ttl: "5" is not a duration'),
        (["--secret", SECRET, "--algorithm", "none"], '--algorithm: "none" is not one of HS256, HS384, HS512'),
    ],
)
def test_what_makes_no_token(arguments: list[str], says: str) -> None:
    done = tailrace("token", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"tailrace: {says}")


def test_claims() -> None:
    written = ["sub=42", "aud=x", "a={", "b=", 'c={"d":null}', "iat=7", "e=true", 'f="true"', "g=x=y"]
    assert claims_of(written, "false", 100) == {
        "iat": 7, "sub": "42", "aud": "x", "a": "{", "b": "", "c": {"d": None}, "e": True, "f": "true", "g": "x=y",
    }  # fmt: skip


# tail


def test_the_token_of_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_token(None) is None
    monkeypatch.setenv("TAILRACE_TOKEN", "e.n.v")
    assert (read_token(None), read_token("a.b.c")) == ("e.n.v", "a.b.c")
    for bad in ("a b", "a\r\nX: y", "é", "a;b"):
        with pytest.raises(ConfigError, match="is no token") as raised:
            read_token(bad)
        assert bad not in str(raised.value)


def test_in_the_clear() -> None:
    assert in_the_clear(read_target("ws://gateway.example/topics/a"))
    assert not in_the_clear(read_target("ws://127.0.0.1:1/topics/a"))
    assert not in_the_clear(read_target("wss://gateway.example/topics/a"))


def test_a_token_in_the_environment_is_no_setting_of_the_gateway() -> None:
    assert tailrace("config", "check", *KAFKA, TAILRACE_TOKEN="a.b.c").returncode == 0
