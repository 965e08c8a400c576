"""The configuration as data: what every part of the gateway is given, already checked.

Attribute names are the keys of the configuration file. Durations are seconds (float), sizes bytes (int), `None` is
off. The written form ("25s", "64KiB", false) and where a value came from belong to tailrace.configuration; here is
only what a value may be. A field's type also tells how it is written: `Seconds` and `Size` have units, `X | None` may
be turned off.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0, extra={"unit": "seconds"})]
SecondsOrZero = Annotated[float, Meta(ge=0, extra={"unit": "seconds"})]
Size = Annotated[int, Meta(ge=1, extra={"unit": "bytes"})]
Count = Annotated[int, Meta(ge=1)]
Address = Annotated[str, Meta(extra={"form": "address"})]
Secret = Annotated[str, Meta(extra={"secret": True})]

KafkaValue = str | int | float | bool
ValueEncoding = Literal["auto", "json", "text", "base64"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration file: knows its keys and no others."""


class Listen(Section, frozen=True):
    """The public listener."""

    address: Address = "127.0.0.1:8080"
    origins: tuple[str, ...] = ()
    tls_certificate: str | None = None
    tls_key: str | None = None
    client_ca: str | None = None
    connection_limit: Count | None = None  # None: the file-descriptor limit less a reserve
    trusted_proxies: tuple[str, ...] = ()
    console: bool = False


class Admin(Section, frozen=True):
    """The admin listener; None: there is none."""

    address: Address | None = "127.0.0.1:8081"
    metrics_topics: Count = 200  # that have a label of their own; the others share one
    ready: Literal["any", "all"] = "any"  # with a partition that cannot be read: as long as others can, or not at all


class Topic(Section, frozen=True):
    """How a topic, or all that match a pattern, are exposed. `replay`: how far back in seconds, or whether at all."""

    subscribe: bool = True
    publish: bool = False
    value: ValueEncoding = "auto"
    replay: bool | Seconds = True


class Tail(Section, frozen=True):
    """Memory for recent records."""

    max_bytes: Size = 256 * 2**20


class Catchup(Section, frozen=True):
    """Reading back from Kafka what the tail no longer has."""

    cache_bytes: Size = 64 * 2**20
    snapshot_bytes: Size = 256 * 2**20
    readers: Count = 4
    bytes_per_second: Size | None = None
    max_per_connection: Count | None = 64


class Limits(Section, frozen=True):
    """What one client may take (docs/protocol.md, section 7)."""

    max_message_bytes: Size = 64 * 2**10
    max_subscriptions: Count | None = 1024
    max_record_bytes: Size | None = 8 * 2**20
    slow_bytes: Size = 2**20
    write_timeout: Seconds | None = 120.0
    max_fragments: Count | None = 64
    handshake_timeout: Seconds | None = 10.0
    auth_timeout: Seconds | None = 10.0
    ping_interval: Seconds | None = 25.0
    pong_timeout: Seconds | None = 8.0
    commands_per_second: Count | None = 100
    frames_per_second: Count | None = 1000
    bytes_per_second: Size | None = 4 * 2**20
    handshakes: Count | None = 4096
    connections_per_address: Count | None = None


class Auth(Section, frozen=True):
    """Who a client is. With `jwt` exactly one of `secret`, `public_key_file` and `jwks_url` is given."""

    mode: Literal["none", "jwt"] = "none"
    algorithms: tuple[str, ...] = ()
    secret: Secret | None = None
    public_key_file: str | None = None
    jwks_url: str | None = None
    issuer: str | None = None
    audience: str | None = None
    leeway: SecondsOrZero = 0.0
    cookie: str | None = None
    query_parameter: str | None = None


class Rule(Section, frozen=True):
    """Who may do what; the first rule that matches wins. `keys`: only these, None: all."""

    topics: tuple[str, ...]
    allow: tuple[Literal["subscribe", "publish"], ...]
    claims: dict[str, Any] = {}
    keys: tuple[str, ...] | None = None


class Publish(Section, frozen=True):
    """Writing to Kafka. `max_bytes`: of records on their way, all connections together."""

    timeout: Seconds = 10.0
    max_bytes: Size = 64 * 2**20
    max_bytes_per_connection: Size = 2**20
    max_key_bytes: Size | None = 4 * 2**10
    max_headers: Count | None = 64
    max_header_bytes: Size | None = 16 * 2**10


class Shutdown(Section, frozen=True):
    """How long a drain may take."""

    timeout: SecondsOrZero = 30.0


class Log(Section, frozen=True):
    """`auto`: readable on a terminal, JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Config(Section, frozen=True):
    """Everything. `kafka` goes to librdkafka as it stands; `topics` maps names and shell-style patterns, in order."""

    listen: Listen = Listen()
    admin: Admin = Admin()
    kafka: dict[str, KafkaValue] = {}
    topics: dict[str, Topic] = {}
    tail: Tail = Tail()
    catchup: Catchup = Catchup()
    limits: Limits = Limits()
    auth: Auth = Auth()
    rules: tuple[Rule, ...] = ()
    publish: Publish = Publish()
    shutdown: Shutdown = Shutdown()
    log: Log = Log()
