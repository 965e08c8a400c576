"""docs/configuration.md: every key with its form, its default and what it does. `make docs` writes it.

Keys, forms and defaults are read off tailrace.config; what a key does is said here, and a key without a word is a
fault. The defaults are written as `config show` writes them.
"""

import sys
from collections.abc import Iterator
from typing import Any, Final

from msgspec import inspect

from tailrace.config import Config, Rule, Section, Topic
from tailrace.configuration.keys import SECTIONS, section_fields
from tailrace.configuration.render import render

_BEGINNING: Final = """\
# Configuration

*Written by `make docs` from the code; a test compares the two.*

A TOML file (`--config FILE`), over it the environment, over it `--set` and the other flags. `tailrace config check` reads it as `serve` would and names every fault and
where it was set; `config show` prints what is in force, secrets masked. An unknown key anywhere is a fault.

```sh
tailrace serve --config tailrace.toml --set limits.slow_bytes=4MiB --set 'kafka."fetch.wait.max.ms"=5'
TAILRACE_LISTEN__ADDRESS=0.0.0.0:8080 TAILRACE_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 tailrace serve --topic orders
```

In the environment a section and its key are joined by `__`, and below `TAILRACE_KAFKA__` an underscore stands for a dot. Durations and sizes have units
(`"25s"`, `"1.5h"`, `"64KiB"`). A limit that may be `false` is off then. With [several processes](operations.md#several-processes) limits and memory are
those of each. In the end a small but whole file:

```toml
[listen]
address = "0.0.0.0:8080"
origins = ["https://shop.example"]

[kafka]
"bootstrap.servers" = "kafka-1:9092,kafka-2:9092"

[topics."orders.*"]
replay = "24h"

[auth]
mode = "none"    # everybody who reaches the listener may read
```
"""
# Before a section's table.
_SECTIONS: Final = {
    "listen": "The public listener.",
    "admin": "The admin listener. It has no credentials: keep it private.",
    "topics.NAME": 'What clients may name. `NAME` may be a shell-style pattern (`[topics."orders.*"]`); exact names go before patterns, '
    "patterns in the order written. Patterns do not reach names that begin with `__`. `--topic NAME` is `topics.NAME.subscribe = true`.",
    "tail": "Memory for recent records, which all subscribers share.",
    "catchup": "Reading back from Kafka what the tail no longer has.",
    "limits": "What one client may take ([protocol](protocol.md)).",
    "auth": "Who a client is. With `jwt` exactly one of `secret`, `public_key_file` and `jwks_url` is needed. [Access](access.md) explains tokens and rules.",
    "rules": "Who may do what: `[[rules]]` tables, the first that matches decides alone. Without any rule everybody who is let in may do what the topics' "
    'own settings allow; with `auth.mode = "jwt"` no match means no.',
    "publish": "Writing to Kafka for clients.",
    "shutdown": "The drain.",
    "log": "One line an event, on stderr.",
}
_KAFKA: Final = """\
## [kafka]

Given to librdkafka as it stands, by [its own names](https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md): `"bootstrap.servers"` (needed; `--kafka`), `"security.protocol"`,
`"sasl.username"` ... A few keys the promises rest on (`isolation.level`, `auto.offset.reset`, `group.id` ...) are refused, with the reason.
"""
MEANINGS: Final = {
    "listen.address": "Where clients connect. Another address than loopback needs `auth.mode` written down",
    "listen.origins": 'Pages that may connect, as `https://host`. Empty: only those of the same host; `["*"]`: any. Clients that send no `Origin` pass',
    "listen.tls_certificate": "PEM file with the server's certificate and its chain: TLS on this listener",
    "listen.tls_key": "PEM file with its key, without a passphrase",
    "listen.client_ca": "PEM file: clients must show a certificate that one of these signed",
    "listen.connection_limit": "Connections at once; above it a handshake gets 503. `false`: the descriptor limit less a reserve",
    "listen.trusted_proxies": "Addresses and networks (`10.0.0.0/8`) whose `X-Forwarded-For` and `X-Forwarded-Host` are believed; nobody else's are",
    "listen.console": "Serve the console page at `/`",
    "admin.address": "Where `/livez`, `/readyz`, `/metrics` and `/connections` are. `false`: nowhere",
    "admin.metrics_topics": "Topics that have a label of their own in [the metrics](metrics.md); later ones share `(other)`",
    "admin.ready": "`any`: `/readyz` is 200 while some partitions have no leader, and names them. `all`: it is 503 then",
    "topics.NAME.subscribe": "Clients may read it",
    "topics.NAME.publish": "Clients may write to it",
    "topics.NAME.value": "How values are shown ([protocol](protocol.md#record))",
    "topics.NAME.replay": '`false`: live only. `"24h"`: no further back than that',
    "tail.max_bytes": "For all topics together. The longer the tail, the less is read back for slow clients",
    "catchup.cache_bytes": "Memory for blocks read back, shared by all who want them",
    "catchup.snapshot_bytes": "Memory for snapshots; a topic whose newest records do not fit answers `snapshot_unavailable`",
    "catchup.readers": "Consumers that read back, each with a thread",
    "catchup.bytes_per_second": "A ceiling on what is read back; snapshots have one of the same height of their own",
    "catchup.max_per_connection": "Subscriptions of one connection that catch up at the same time; more wait",
    "limits.max_message_bytes": "Of a client's message; above: close 1009",
    "limits.max_subscriptions": "Of one connection",
    "limits.max_record_bytes": "A larger record is told by a `gap` (`too_large`)",
    "limits.slow_bytes": "How far behind is slow, for the policies `skip` and `close`",
    "limits.write_timeout": "Bytes wait and the client acknowledges none for so long: close 4005",
    "limits.max_fragments": "Frames of one message; above: close 1009",
    "limits.handshake_timeout": "For the TLS handshake, and for a request's head",
    "limits.auth_timeout": "From the handshake to a good token, where one is needed; then close 4500",
    "limits.ping_interval": "Between pings of a quiet connection",
    "limits.pong_timeout": "For the answer; then close 4002. Until then there is no other ping",
    "limits.commands_per_second": "Of one connection, with a burst of 12 seconds' worth; above, it is read more slowly, and after 10 s of that answered `rate_limited`",
    "limits.frames_per_second": "WebSocket frames from one connection, pings too, with a burst of 2 seconds' worth; above, it is read more slowly",
    "limits.bytes_per_second": "From one connection, with a burst of 2 seconds' worth; above, it is read more slowly",
    "limits.handshakes": "Newcomers at once: accepted, and neither let in nor answered; the next get 503 with `Retry-After` ([operations](operations.md#when-many-come-at-once))",
    "limits.connections_per_address": "Connections of one address (of an IPv6 address: its /64); the next get 429. Behind a proxy set `listen.trusted_proxies` first",
    "auth.mode": "`none`: nobody is asked. `jwt`: a signed token says who it is",
    "auth.algorithms": "How tokens may be signed: `HS256` ... with `secret`, `RS256`, `ES256`, `EdDSA` ... with the others",
    "auth.secret": "The shared secret. Better in the environment: `TAILRACE_AUTH__SECRET`",
    "auth.public_key_file": "PEM file",
    "auth.jwks_url": "Where the issuer publishes its keys",
    "auth.issuer": "What `iss` must be",
    "auth.audience": "What `aud` must contain",
    "auth.leeway": "For clocks that differ, at `exp` and `nbf`",
    "auth.cookie": "The cookie that may carry the token",
    "auth.query_parameter": "The query parameter that may carry it. Addresses end up in logs of proxies: off unless needed",
    "rules.topics": "Names and patterns, as in `[topics]`",
    "rules.allow": "What is allowed; `[]` forbids",
    "rules.claims": "Claims of the token that must all hold; a list: one of them",
    "rules.keys": 'Only records with these keys, whatever the client asks: `["${claims.tenant}"]` is the token\'s claim. Left out: all records',
    "publish.timeout": "After that a publish is answered `publish_timeout`, and given up within a second",
    "publish.max_bytes": "Records on their way to Kafka, of all clients; above: clients are read no further",
    "publish.max_bytes_per_connection": "The same of one client",
    "publish.max_key_bytes": "Of one record; above: `too_large`",
    "publish.max_headers": "Of one record; above: `too_large`",
    "publish.max_header_bytes": "All headers of one record; above: `too_large`",
    "shutdown.timeout": "How long it may take; give the process longer before it is killed",
    "log.level": "`debug` has a line for each connection's beginning and end",
    "log.format": "`auto`: readable on a terminal, JSON elsewhere",
}


def reference() -> str:
    """The whole document."""
    return "\n".join([_BEGINNING, *_blocks()])


def keys() -> Iterator[str]:
    """Every key that needs a word, as it is written in MEANINGS."""
    for name, section in _sections():
        yield from (f"{name}.{key}" for key in section_fields(section))


def _sections() -> Iterator[tuple[str, type[Section]]]:
    for name in Config.__struct_fields__:
        if name in SECTIONS:
            yield name, SECTIONS[name]
        elif name == "topics":
            yield "topics.NAME", Topic
        elif name == "rules":
            yield name, Rule


def _blocks() -> Iterator[str]:
    defaults = dict(_defaults())
    for name, section in _sections():
        title = "[[rules]]" if section is Rule else f"[{name}]"
        rows = [_row(f"{name}.{key}", field.type, defaults) for key, field in section_fields(section).items()]
        yield "\n".join(
            [f"## {title}", "", _SECTIONS[name], "", "| key | form | default | |", "|---|---|---|---|", *rows, ""]
        )
        if name == "admin":
            yield _KAFKA


def _row(key: str, type_: Any, defaults: dict[str, str]) -> str:
    default = f"`{defaults[key]}`" if key in defaults else ""
    return f"| `{key.rpartition('.')[2]}` | {form(type_)} | {default} | {MEANINGS[key]} |"


def _defaults() -> Iterator[tuple[str, str]]:
    """What `config show` says of a configuration in which nothing is set."""
    section = ""
    for line in render(Config(topics={"NAME": Topic()})).splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line:
            key, _, value = line.partition(" = ")
            yield f"{section}.{key}", value


def form(type_: Any) -> str:
    """What may be written for a value of this type, in a word or two."""
    members = list(_members(inspect.type_info(type_)))
    optional = any(isinstance(member, inspect.NoneType) for member, _ in members)
    words = [_word(member, extra) for member, extra in members if not isinstance(member, inspect.NoneType)]
    return " or ".join(dict.fromkeys([*words, "`false`"] if optional else words))


def _members(type_: inspect.Type, extra: dict[str, Any] | None = None) -> Iterator[tuple[inspect.Type, dict[str, Any]]]:
    if isinstance(type_, inspect.UnionType):
        for member in type_.types:
            yield from _members(member, extra)
    elif isinstance(type_, inspect.Metadata):
        yield from _members(type_.type, type_.extra)
    else:
        yield type_, extra or {}


def _word(type_: inspect.Type, extra: dict[str, Any]) -> str:
    if "unit" in extra:
        return {"seconds": "duration", "bytes": "size"}[extra["unit"]]
    if "form" in extra:
        return "HOST:PORT"
    if isinstance(type_, inspect.LiteralType):
        return ", ".join(f"`{value}`" for value in type_.values)
    if isinstance(type_, inspect.VarTupleType):
        return f"list of {_word(type_.item_type, {})}"
    words = {inspect.BoolType: "`true`, `false`", inspect.IntType: "number", inspect.DictType: "table"}
    return words.get(type(type_), "text")


if __name__ == "__main__":
    sys.stdout.write(reference())
