"""`tailrace token`: a JWT for trying out what a token allows, signed with the gateway's own shared secret.

The secret may come from the environment, TAILRACE_AUTH__SECRET, where `serve` finds it too: an argument can be read by
everybody on the machine. A claim's value is JSON, or else text; `sub`, `iss`, `jti` and `aud` are text always.
"""

import os
import sys
import time
from argparse import Namespace
from typing import Any, Final

import msgspec

from tailrace.errors import ConfigError
from tailrace.units import UnitError, duration

SECRET_VARIABLE: Final = "TAILRACE_AUTH__SECRET"
_TEXTS: Final = frozenset({"sub", "iss", "jti", "aud"})


def run(arguments: Namespace) -> int:
    """Prints the token. Raises ConfigError for options that make none."""
    from tailrace.auth.keys import SECRET_BYTES, short_secret
    from tailrace.auth.sign import sign

    secret = arguments.secret or os.environ.get(SECRET_VARIABLE)
    if not secret:
        raise ConfigError(f"--secret, or {SECRET_VARIABLE}, is what the token is signed with")
    if arguments.algorithm not in SECRET_BYTES:
        raise ConfigError(f'--algorithm: "{arguments.algorithm}" is not one of {", ".join(SECRET_BYTES)}')
    claims = claims_of(arguments.claim, arguments.ttl, int(time.time()))
    short = short_secret(secret, [arguments.algorithm])
    if short:
        print(f"tailrace: the secret {short}", file=sys.stderr)
    print(sign(claims, secret, arguments.algorithm))
    return 0


def claims_of(written: list[str], ttl: str, now: int) -> dict[str, Any]:
    """The claims of `NAME=VALUE` arguments, good from `now` (epoch seconds) for as long as `ttl` says, "false": for
    ever."""
    claims: dict[str, Any] = {"iat": now}
    if ttl != "false":
        try:
            claims["exp"] = now + max(1, round(duration(ttl)))
        except UnitError as error:
            raise ConfigError(f"--ttl: {error}") from None
    for pair in written:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise ConfigError(f'--claim: "{pair}" is not NAME=VALUE')
        claims[name] = _value(name, text)
    return claims


def _value(name: str, text: str) -> Any:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text
    return text if name in _TEXTS and not isinstance(value, str | list) else value
