"""verify and keys: which tokens are good, and every way in which one may be not."""

import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.tokens import HOUR, OTHER_RSA, OTHER_SECRET, PRIVATE, SECRET, forged, hs256, jwk, pem, token

from tailrace.auth.authenticator import configured_keys
from tailrace.auth.keys import KeyFault, Keys, document_keys, file_keys, secret_keys, short_secret
from tailrace.auth.sign import sign
from tailrace.auth.verify import LAST_TIME, MAX_TOKEN_BYTES, BadToken, Fault, verify
from tailrace.config import Auth
from tailrace.configuration.checks import PUBLIC_KEY, SHARED_SECRET
from tailrace.core.claims import Principal

HS = Auth(mode="jwt", algorithms=("HS256",), secret=SECRET)
KEYS = secret_keys(SECRET, ["HS256"])
HEADER = {"alg": "HS256", "typ": "JWT"}
ALGORITHMS = {
    "RS256": "RS256", "RS384": "RS256", "RS512": "RS256", "PS256": "RS256", "PS384": "RS256", "PS512": "RS256",
    "ES256": "ES256", "ES384": "ES384", "ES512": "ES512", "EdDSA": "EdDSA",
}  # fmt: skip


def judged(text: str, keys: Keys = KEYS, auth: Auth = HS) -> Principal | Fault:
    try:
        return verify(text, keys, auth)
    except BadToken as bad:
        return bad.fault


def of_file(folder: Path, name: str, *algorithms: str) -> Keys:
    file = folder / "key.pem"
    file.write_bytes(pem(PRIVATE[name]))
    return file_keys(str(file), algorithms)


def public(*algorithms: str) -> Auth:
    return Auth(mode="jwt", algorithms=algorithms, public_key_file="key.pem")


# Good ones


@pytest.mark.parametrize("algorithm", sorted(SHARED_SECRET))
def test_secrets(algorithm: str) -> None:
    auth = Auth(mode="jwt", algorithms=(algorithm,), secret=SECRET)
    found = judged(token(algorithm=algorithm, tenant="a"), configured_keys(auth), auth)
    assert isinstance(found, Principal)
    assert (found.subject, found.claims["tenant"]) == ("me", "a")


@pytest.mark.parametrize("algorithm", sorted(PUBLIC_KEY))
def test_public_keys(algorithm: str, tmp_path: Path) -> None:
    name = ALGORITHMS[algorithm]
    good = token(PRIVATE[name], algorithm, headers={"kid": "k"})
    for keys in (
        of_file(tmp_path, name, algorithm),
        document_keys(b'{"keys":[%s]}' % sign_json(jwk(PRIVATE[name], kid="k")), [algorithm]),
    ):
        assert isinstance(judged(good, keys, public(algorithm)), Principal)
        assert judged(good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"), keys, public(algorithm)) in (
            Fault.SIGNATURE,
            Fault.MALFORMED,  # the last bits of base64 are no free ones
        )


def sign_json(value: Any) -> bytes:
    import json

    return json.dumps(value).encode()


def test_ed448(tmp_path: Path) -> None:
    good = token(PRIVATE["Ed448"], "EdDSA")
    assert isinstance(judged(good, of_file(tmp_path, "Ed448", "EdDSA"), public("EdDSA")), Principal)


def test_expiry() -> None:
    now = round(time.time())
    assert judged(token(exp=now - 1)) is Fault.EXPIRED
    assert judged(token(exp=now - 5), auth=Auth(mode="jwt", algorithms=("HS256",), leeway=60.0)) == Principal(
        "me", None, {"sub": "me", "exp": now - 5}, now - 5
    )
    assert judged(token(exp=None)) == Principal("me", None, {"sub": "me"}, None)
    far = judged(token(exp=10**30))
    assert isinstance(far, Principal)
    assert (far.expires_at, far.expires_at_ms) == (LAST_TIME, LAST_TIME * 1000)


def test_not_yet() -> None:
    now = round(time.time())
    assert judged(token(nbf=now + HOUR)) is Fault.NOT_YET
    assert isinstance(judged(token(nbf=now - 1)), Principal)
    assert isinstance(judged(token(iat=now + HOUR)), Principal)  # an issuer's clock that runs ahead


def test_issuer_and_audience() -> None:
    strict = Auth(mode="jwt", algorithms=("HS256",), issuer="https://i", audience="tailrace")
    good = judged(token(iss="https://i", aud=["x", "tailrace"]), auth=strict)
    assert isinstance(good, Principal)
    assert good.identity == ("https://i", "me")
    assert judged(token(iss="https://j", aud="tailrace"), auth=strict) is Fault.ISSUER
    assert judged(token(aud="tailrace"), auth=strict) is Fault.ISSUER
    assert judged(token(iss="https://i", aud="other"), auth=strict) is Fault.AUDIENCE
    assert judged(token(iss="https://i"), auth=strict) is Fault.AUDIENCE
    odd = forged(HEADER, {"iss": ["https://i"], "aud": "tailrace"}, hs256(SECRET.encode()))
    assert judged(odd, auth=strict) is Fault.ISSUER


def test_an_audience_that_nobody_asked_for() -> None:
    """It is a token for somebody else (RFC 7519, 4.1.3)."""
    assert judged(token(aud="billing")) is Fault.AUDIENCE


# Bad ones


def test_another_key() -> None:
    assert judged(token(OTHER_SECRET)) is Fault.SIGNATURE


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", None, 0, [], ["HS256"], {}, "HS512", "HS257"])
@pytest.mark.parametrize("signature", [b"", b"x"])
def test_another_algorithm(name: object, signature: bytes) -> None:
    assert judged(forged({"alg": name}, {"sub": "me"}, lambda _: signature)) is Fault.ALGORITHM


def test_no_algorithm() -> None:
    assert judged(forged({"typ": "JWT"}, {"sub": "me"}, hs256(SECRET.encode()))) is Fault.ALGORITHM


def test_unsigned() -> None:
    assert judged(forged(HEADER, {"sub": "me"})) is Fault.SIGNATURE


@pytest.mark.parametrize("name", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_is_no_secret(name: str, tmp_path: Path) -> None:
    """The oldest trick: sign with HMAC and the public key, which everybody has."""
    keys = of_file(tmp_path, name, name)
    for material in (pem(PRIVATE[name]), pem(PRIVATE[name]).strip()):
        trick = forged({"alg": "HS256"}, {"sub": "me"}, hs256(material))
        assert judged(trick, keys, public(name)) is Fault.ALGORITHM
        assert judged(forged({"alg": name}, {"sub": "me"}, hs256(material)), keys, public(name)) is Fault.SIGNATURE
    with pytest.raises(KeyFault, match="not a shared secret"):
        secret_keys(pem(PRIVATE[name]).decode(), ["HS256"])


def test_a_key_and_an_algorithm_of_another_family_never_meet(tmp_path: Path) -> None:
    """Both algorithms are allowed, and a document has a key for each, with the same name."""
    document = sign_json({"keys": [jwk(PRIVATE["RS256"], kid="k"), jwk(PRIVATE["ES256"], kid="k")]})
    keys = document_keys(document, ["RS256", "ES256", "EdDSA"])
    both = public("RS256", "ES256", "EdDSA")
    for name in ("RS256", "ES256"):
        assert isinstance(judged(token(PRIVATE[name], name, headers={"kid": "k"}), keys, both), Principal)
    assert judged(token(PRIVATE["EdDSA"], "EdDSA", headers={"kid": "k"}), keys, both) is Fault.UNKNOWN_KEY
    assert judged(token(PRIVATE["ES384"], "ES384", headers={"kid": "k"}), keys, both) is Fault.ALGORITHM


@pytest.mark.parametrize("kid", ["../../dev/null", "x' UNION SELECT 'key", "\0", "k" * 1000, "http://evil/"])
def test_kid_is_a_name_and_nothing_else(kid: str) -> None:
    keys = document_keys(sign_json({"keys": [jwk(PRIVATE["ES256"], kid="k")]}), ["ES256"])
    assert judged(token(PRIVATE["ES256"], "ES256", headers={"kid": kid}), keys, public("ES256")) is Fault.UNKNOWN_KEY
    assert isinstance(judged(token(headers={"kid": kid})), Principal)  # there is but one key, whatever it is called


@pytest.mark.parametrize("kid", [1, None, ["k"], {}, True])
def test_kid_of_another_kind(kid: object) -> None:
    assert judged(forged({"alg": "HS256", "kid": kid}, {}, hs256(SECRET.encode()))) is Fault.MALFORMED


def test_keys_in_the_header_are_not_looked_at() -> None:
    evil = {"jwk": jwk(OTHER_RSA), "jku": "http://127.0.0.1:9/jwks", "x5u": "http://127.0.0.1:9/", "x5c": ["AAAA"]}
    keys = document_keys(sign_json({"keys": [jwk(PRIVATE["RS256"], kid="k")]}), ["RS256"])
    for headers in (evil, evil | {"kid": "k"}):
        assert judged(token(OTHER_RSA, "RS256", headers=headers), keys, public("RS256")) is Fault.SIGNATURE


@pytest.mark.parametrize("crit", [["b64"], ["exp"], [], "b64", [1], None])
def test_critical_extensions(crit: object) -> None:
    assert judged(forged(HEADER | {"crit": crit}, {"sub": "me"}, hs256(SECRET.encode()))) is Fault.MALFORMED


def test_an_unencoded_payload() -> None:
    header = HEADER | {"b64": False, "crit": ["b64"]}
    assert judged(forged(header, {"sub": "me"}, hs256(SECRET.encode()))) is Fault.MALFORMED
    assert judged(forged(header, b"", hs256(SECRET.encode()))) is Fault.MALFORMED


def test_too_large() -> None:
    assert judged(token(filler="x" * MAX_TOKEN_BYTES)) is Fault.TOO_LARGE
    assert judged("x" * (MAX_TOKEN_BYTES + 1)) is Fault.TOO_LARGE
    fitting = token(filler="x" * (MAX_TOKEN_BYTES * 3 // 4 - 200))
    assert isinstance(judged(fitting), Principal)


@pytest.mark.parametrize("deep", [b"[" * 4000, b'{"a":' * 1000, b"[" * 2500 + b"]" * 2500])
def test_deep_nesting(deep: bytes) -> None:
    assert judged(forged(deep, {})) is Fault.MALFORMED
    assert judged(forged(HEADER, deep, hs256(SECRET.encode()))) in (Fault.MALFORMED, Fault.CLAIMS)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": "soon"}, {"exp": None}, {"exp": []}, {"exp": {}}, {"exp": float("inf")}, {"exp": float("nan")},
        {"exp": "9" * 5000}, {"nbf": "x"}, {"nbf": float("inf")}, {"sub": 7}, {"sub": ["me"]}, {"sub": None},
    ],
)  # fmt: skip
def test_claims_of_another_kind(claims: dict[str, Any]) -> None:
    assert isinstance(judged(forged(HEADER, claims, hs256(SECRET.encode()))), Fault)


@pytest.mark.parametrize("payload", [[], "me", 1, None, b"", b"{", b"\xff", b'{"sub":"me"}x'])
def test_a_payload_that_is_no_object(payload: object) -> None:
    assert judged(forged(HEADER, payload, hs256(SECRET.encode()))) is Fault.MALFORMED


@pytest.mark.parametrize("text", ["", ".", "..", "...", "a.b.c", "é.é.é", "\ud800", "\0", "a" * 100, "a.b", "Bearer x"])
def test_what_is_no_token(text: str) -> None:
    assert judged(text) is Fault.MALFORMED


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_anything_is_judged(text: str) -> None:
    assert isinstance(judged(text), Fault)


@given(st.data())
def test_no_changed_character_leaves_a_token_good(data: st.DataObject) -> None:
    good = token()
    at = data.draw(st.integers(0, len(good) - 1))
    character = data.draw(st.characters(codec="ascii").filter(lambda found: found != good[at]))
    changed = good[:at] + character + good[at + 1 :]
    assert isinstance(judged(changed), Fault), (at, character)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=20) | st.integers() | st.lists(st.none()), max_size=6))
def test_any_header_is_judged(header: dict[str, Any]) -> None:
    assert isinstance(judged(forged(header, {"sub": "me"}, hs256(OTHER_SECRET.encode()))), Fault)


# Keys


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is not a public key for RS256"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is not a public key for RS256"),
        (b"x" * 70000, "is too large"),
        (pem(PRIVATE["ES256"]), "is not a public key for RS256"),
        (OTHER_RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "is a private key"),
        (pem(rsa.generate_private_key(65537, 1024)), "has 1024 bits"),
    ],
)
def test_faulty_files(content: bytes, what: str, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    with pytest.raises(KeyFault, match=what):
        file_keys(str(file), ["RS256"])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for file in (tmp_path / "nothing", tmp_path):
        with pytest.raises(KeyFault, match="cannot be read"):
            file_keys(str(file), ["RS256"])


def test_a_curve_of_another_algorithm(tmp_path: Path) -> None:
    with pytest.raises(KeyFault, match="ES384"):
        of_file(tmp_path, "ES256", "ES384")


def test_short_secrets() -> None:
    assert short_secret("x" * 31, ["HS256"]) == "has 31 bytes; 32 are asked for by RFC 7518, 3.2"
    assert short_secret("x" * 32, ["HS256", "HS512"]) == "has 32 bytes; 64 are asked for by RFC 7518, 3.2"
    assert short_secret("x" * 64, ["HS256", "HS512"]) is None


@pytest.mark.parametrize(
    "document",
    [
        b"", b"{", b"[]", b"{}", b'{"keys":{}}', b'{"keys":null}', b"\xff", b"[" * 100000,
        b'{"keys":[%s1]}' % (b"1," * 100),
    ],
)  # fmt: skip
def test_faulty_documents(document: bytes) -> None:
    with pytest.raises(KeyFault):
        document_keys(document, ["RS256"])


RSA_JWK = jwk(PRIVATE["RS256"], kid="k")


@pytest.mark.parametrize(
    "odd",
    [
        {"kty": "oct", "k": "c2VjcmV0"},
        RSA_JWK | {"use": "enc"},
        RSA_JWK | {"key_ops": ["encrypt"]},
        RSA_JWK | {"key_ops": 5},
        RSA_JWK | {"alg": "PS256"},
        RSA_JWK | {"alg": ["RS256"]},
        RSA_JWK | {"d": "AQAB"},
        RSA_JWK | {"n": "AQAB"},
        RSA_JWK | {"n": 5},
        RSA_JWK | {"kty": "EC"},
        {"kid": "k"},
        {},
    ],
)
def test_keys_of_a_document_that_are_left_out(odd: dict[str, Any]) -> None:
    keys = document_keys(sign_json({"keys": [odd, "no key", None]}), ["RS256", "HS256"])
    assert keys.find("k", "RS256") == keys.find(None, "RS256") == keys.find(None, "HS256") == []


def test_a_token_that_names_no_key_is_tried_with_a_few() -> None:
    others = [jwk(OTHER_RSA, kid=f"k{number}") for number in range(9)]
    keys = document_keys(sign_json({"keys": [RSA_JWK, *others]}), ["RS256"])
    assert len(keys.find(None, "RS256")) == 4
    assert isinstance(judged(token(PRIVATE["RS256"], "RS256"), keys, public("RS256")), Principal)
    assert judged(token(PRIVATE["RS256"], "RS256", headers={"kid": "k8"}), keys, public("RS256")) is Fault.SIGNATURE


def test_signing() -> None:
    found = judged(sign({"sub": "me", "roles": ["a"]}, SECRET))
    assert isinstance(found, Principal)
    assert found.claims["roles"] == ["a"]
