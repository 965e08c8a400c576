"""What TLS costs a fan-out: deliveries per CPU second through `SecureOutlet`, as a share of bare TCP in the same run.

The gateway's outlets, tail and event loop in this process, a `drain` process at the other ends. Handshakes are made in
memory beforehand, so that the drain need not know TLS: it throws sealed bytes away as it does bare ones.
"""

import contextlib
import ssl
import statistics
import time
from collections.abc import Callable
from functools import partial

import pytest
import trio
import trustme
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.harness.crowd import drained
from tailrace._fanout import VALUE, Subscription, Tail
from tailrace.core.frame import TEXT
from tailrace.sockets.tls import TlsStream
from tailrace.websocket.guard import Guard
from tailrace.websocket.outlet import Outlet
from tailrace.websocket.secure import SecureOutlet

pytestmark = pytest.mark.benchmark

CONNECTIONS = 1000
PAYLOAD = b"x" * 200
PUMP_BYTES = 1 << 20
SECONDS = 1.5
PAIRS = 5
ANSWER = b"HTTP/1.1 101 \r\n\r\n"


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's, and one for clients that trust it."""
    authority, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def shake_hands(stream: TlsStream, context: ssl.SSLContext) -> None:
    """With a client in memory, which is forgotten."""
    back, forth = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, forth, server_hostname="127.0.0.1")
    for side in (client, stream._ssl, client, stream._ssl):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
        stream._in.write(forth.read())
        back.write(stream._out.read())
    assert stream._ssl.cipher() is not None


async def deliveries(secure: bool, records: int) -> float:
    """Per CPU second of this process, the kernel's share of sending included."""
    server, client = contexts()
    with drained(CONNECTIONS) as sockets:
        async with trio.open_nursery() as nursery:
            tail, subscriptions = Tail(VALUE, [0]), []
            for each in sockets:
                transport = trio.SocketStream(trio.socket.from_stdlib_socket(each))
                outlet: Callable[..., Outlet] = Outlet
                stream: trio.abc.Stream = transport
                if secure:
                    stream = seal = TlsStream(transport, server)
                    shake_hands(seal, client)
                    outlet = partial(SecureOutlet, seal=seal)
                made = outlet(stream, transport.socket, Guard(None, None), nursery)
                await made.send_all(ANSWER)
                subscriptions.append(Subscription(made.line, tail, 1))
            measured = await _publish(tail, subscriptions, records)
            nursery.cancel_scope.cancel()
    return measured


async def _publish(tail: Tail, subscriptions: list[Subscription], records: int) -> float:
    spent, offset, until = time.process_time(), 0, time.monotonic() + SECONDS
    while time.monotonic() < until:
        for _ in range(records):
            tail.append(TEXT, PAYLOAD, 0, offset, None)
            offset += 1
        while True:
            more = tail.pump(PUMP_BYTES)
            for outlet in tail.take_woken():
                outlet.wake()
            await trio.lowlevel.checkpoint()
            if not more:
                break
        while tail.unserved_bytes or any(each.positions[0] < offset for each in subscriptions[:: CONNECTIONS // 10]):
            await trio.lowlevel.checkpoint()
        while tail.memory_bytes > 8 << 20:
            tail.evict()
    return sum(each.delivered for each in subscriptions) / (time.process_time() - spent)


@pytest.mark.parametrize("records", [1, 16, 64])
def test_tls_beside_plain(benchmark: BenchmarkFixture, records: int) -> None:
    pairs = []

    def pair() -> None:
        figures = [trio.run(deliveries, secure, records) for secure in (True, False)]
        pairs.append(figures[0] / figures[1])

    benchmark.pedantic(pair, rounds=PAIRS)
    benchmark.extra_info["share of plain"] = statistics.median(pairs)
    assert statistics.median(pairs) > 0.1, pairs
