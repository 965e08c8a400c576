"""What no single key can tell: keys that need, exclude or contradict one another.

A check takes the configuration and the paths that were written down, and yields (path, what is wrong).
"""

from collections.abc import Callable, Collection, Iterator
from typing import Final

from tailrace.address import ORIGIN, is_loopback, network, split_address
from tailrace.config import Config
from tailrace.configuration.setting import Path

Finding = tuple[Path, str]
Check = Callable[[Config, Collection[Path]], Iterator[Finding]]

# RFC 7518, 3.1 and RFC 8037: what a token may be signed with. "none" is not among them, and must never be.
SHARED_SECRET: Final = frozenset({"HS256", "HS384", "HS512"})
PUBLIC_KEY: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)


KEY_SOURCES: Final = ("secret", "public_key_file", "jwks_url")
"""Of [auth]: where the key for tokens comes from."""


def open_to_all(config: Config, written: Collection[Path]) -> Iterator[Finding]:
    """A gateway that others can reach and that asks nobody who they are must be somebody's written decision."""
    host, _ = split_address(config.listen.address)
    if config.auth.mode == "none" and ("auth", "mode") not in written and not is_loopback(host):
        yield ("listen", "address"), 'not loopback: set auth.mode ("jwt", or "none" to let everybody in)'


def addresses(config: Config, written: Collection[Path]) -> Iterator[Finding]:
    """Two listeners cannot have one port; port 0 is another one each time."""
    public, admin = config.listen.address, config.admin.address
    if admin is not None and split_address(admin) == split_address(public) and split_address(public)[1]:
        yield ("admin", "address"), "is listen.address, too: it needs a port of its own, or false"


def tls(config: Config, written: Collection[Path]) -> Iterator[Finding]:
    """A certificate needs its key and the other way round; client certificates need TLS."""
    listen = config.listen
    if listen.tls_certificate and not listen.tls_key:
        yield ("listen", "tls_certificate"), "needs listen.tls_key"
    if listen.tls_key and not listen.tls_certificate:
        yield ("listen", "tls_key"), "needs listen.tls_certificate"
    if listen.client_ca and not listen.tls_certificate:
        yield ("listen", "client_ca"), "needs listen.tls_certificate"


def fitting(*sources: str) -> frozenset[str]:
    """The algorithms that go with where the key comes from."""
    return SHARED_SECRET if sources == ("secret",) else PUBLIC_KEY


def tokens(config: Config, written: Collection[Path]) -> Iterator[Finding]:
    """With jwt: exactly one place the key comes from, and algorithms of that kind only (RFC 8725, 3.1)."""
    auth = config.auth
    if auth.mode != "jwt":
        return
    sources = [name for name in KEY_SOURCES if getattr(auth, name)]
    if len(sources) != 1:
        yield ("auth", "mode"), "jwt needs exactly one of auth.secret, auth.public_key_file, auth.jwks_url"
    allowed = fitting(*sources)
    if not auth.algorithms:
        yield ("auth", "mode"), f"jwt needs auth.algorithms, of {', '.join(sorted(allowed))}"
    for name in auth.algorithms:
        if name not in allowed:
            yield ("auth", "algorithms"), f'"{name}" is not one of {", ".join(sorted(allowed))}'


def origins(config: Config, written: Collection[Path]) -> Iterator[Finding]:
    """What no browser sends would let nobody in: a host alone, or an address with a path, if only a slash."""
    for each in config.listen.origins:
        if each not in ("*", "null") and ORIGIN.fullmatch(each) is None:
            yield ("listen", "origins"), f'"{each}" is not an origin: like "https://shop.example", without a path'


def proxies(config: Config, written: Collection[Path]) -> Iterator[Finding]:
    """A proxy that is not an address would be trusted by nobody, and what it forwards be taken for its own."""
    for each in config.listen.trusted_proxies:
        try:
            network(each)
        except ValueError as error:
            yield ("listen", "trusted_proxies"), str(error)


def brokers(config: Config, written: Collection[Path]) -> Iterator[Finding]:
    """Only for commands that connect to a Kafka of the user's."""
    if not config.kafka.get("bootstrap.servers"):
        yield ("kafka", "bootstrap.servers"), "missing: --kafka HOST:PORT says where Kafka is"


ALWAYS: Final[tuple[Check, ...]] = (open_to_all, addresses, tls, tokens, origins, proxies)
