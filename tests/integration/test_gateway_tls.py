"""The public listener under TLS, with real certificates and clients that know nothing of ours."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from tests.certificates import Authority
from tests.gateway import DEADLINE_SECONDS, Client, Gateway, handshake, process, running, until
from tests.kafka_broker import Broker
from tests.key_updates import shake_hands
from tests.node import CLIENT, node
from websockets.trio.client import connect

from tailrace.config import Limits
from tailrace.disconnect import SHUTDOWN

# Prints what it gets up to the last word, which it is told, or why it could not connect; then it leaves.
NODE = """
import { WebSocket } from "ws";
const [url, last] = process.argv.slice(1);
const socket = new WebSocket(url);
socket.on("error", ({ code }) => console.log(code));
socket.on("message", (data) => {
  console.log(data.toString());
  if (data.toString() === last) socket.close();
});
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> Authority:
    folder = tmp_path / "other"
    folder.mkdir()
    return Authority(folder)


@contextlib.asynccontextmanager
async def client(public: str, context: ssl.SSLContext, path: str = "/ws") -> AsyncIterator[Client]:
    url = f"wss://{public}{path}"
    waits = {"ping_interval": None, "open_timeout": DEADLINE_SECONDS}
    async with connect(url, ssl=context, compression=None, proxy=None, max_size=None, **waits) as connection:
        client = Client(connection)
        if path == "/ws":
            await client.expect("welcome")
        yield client


async def secured(public: str, context: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
    host, port = public.split(":")
    stream = await trio.open_ssl_over_tcp_stream(host, int(port), ssl_context=context, https_compatible=True)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError:
        await trio.aclose_forcefully(stream)
        raise
    return stream


async def plain(public: str) -> trio.SocketStream:
    host, port = public.split(":")
    return await trio.open_tcp_stream(host, int(port))


async def assert_served(gateway: Gateway, authority: Authority) -> None:
    async with client(gateway.public, authority.client()) as well_behaved:
        assert (await well_behaved.ask("ping"))["type"] == "pong"


async def test_records_replies_and_catching_up(kafka: Broker, authority: Authority) -> None:
    topic = kafka.topic(partitions=2)
    kafka.produce(topic, [f"{at}" for at in range(1_000)])
    async with running(kafka, listen=authority.listen()) as gateway:
        async with client(gateway.public, authority.client()) as wss:
            await wss.send(type="subscribe", id=1, topic=topic, from_="earliest")
            await wss.expect("subscribed")
            got = []
            while (message := await wss.receive())["type"] == "record":
                got.append(message["value"])
            assert sorted(got) == list(range(1_000))
            while message["type"] != "live":
                message = await wss.receive()
            kafka.produce(topic, [f"{at}" for at in range(2_000)])
            assert sorted(record["value"] for record in await wss.records(2_000)) == list(range(2_000))
            assert (await wss.ask("ping", id=2))["type"] == "pong"
        await gateway.until_all_left()


async def test_several_that_share_blocks_get_their_own_ids(kafka: Broker, authority: Authority) -> None:
    """The id is patched in the shared bytes: what is sealed later must not be the next one's."""
    topic = kafka.topic()
    async with running(kafka, listen=authority.listen()) as gateway, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client(gateway.public, authority.client())) for _ in range(8)]
        for id, each in enumerate(clients, 1):
            await each.subscribe(topic, id=id)
        kafka.produce(topic, ["1"] * 300)
        for id, each in enumerate(clients, 1):
            assert {record["id"] for record in await each.records(300)} == {id}


async def test_who_does_not_read_gets_all_of_it_later(kafka: Broker, authority: Authority) -> None:
    topic = kafka.topic()
    value = b"x" * 700_000
    async with (
        running(kafka, listen=authority.listen()) as gateway,
        await secured(gateway.public, authority.client()) as slow,
        client(gateway.public, authority.client(), f"/topics/{topic}?format=value") as quick,
    ):
        await slow.send_all(handshake(f"/topics/{topic}?format=value"))
        head = await slow.receive_some(129)
        assert head.startswith(b"HTTP/1.1 101 ")
        kafka.produce(topic, [value] * 20)
        for _ in range(20):
            assert await quick.bare() == value.decode()
        expected = (b"\x81\x7f" + len(value).to_bytes(8, "big") + value) * 20
        received = bytearray(head.partition(b"\r\n\r\n")[2])
        while len(received) < len(expected):
            with trio.fail_after(30):
                received += await slow.receive_some(65536)
        assert received == expected


async def by_node(url: str, last: str, **environment: str) -> list[str]:
    """What Node's `ws` has to say of a stream."""
    command = [node(), "--input-type=module", "-e", NODE, url, last]
    with trio.fail_after(DEADLINE_SECONDS):
        done = await trio.run_process(
            command, cwd=CLIENT, env=os.environ | environment, capture_stdout=True, stderr=subprocess.STDOUT
        )
    return done.stdout.decode().splitlines()


async def test_node_reads_a_stream(kafka: Broker, authority: Authority) -> None:
    """By `ws`, which checks the certificate: without the authority there is no connection."""
    topic = kafka.topic()
    values = [f"{at}" for at in range(2_000)]
    kafka.produce(topic, values)
    async with running(kafka, listen=authority.listen()) as gateway:
        url = f"wss://{gateway.public}/topics/{topic}?format=value&from=earliest"
        assert await by_node(url, values[-1], NODE_EXTRA_CA_CERTS=str(authority.root)) == values
        assert await by_node(url, values[-1]) == ["UNABLE_TO_VERIFY_LEAF_SIGNATURE"]
        await gateway.until_all_left()


async def test_versions_and_protocol(kafka: Broker, authority: Authority) -> None:
    async with running(kafka, listen=authority.listen()) as gateway:
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            context = authority.client()
            context.minimum_version = context.maximum_version = version
            context.set_alpn_protocols(["h2", "http/1.1"])
            stream = await secured(gateway.public, context)
            assert (stream.version(), stream.selected_alpn_protocol()) == (name, "http/1.1")
            await stream.send_all(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 404 ")
            await trio.aclose_forcefully(stream)
        old = authority.client()
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("DEFAULT:@SECLEVEL=0")  # or OpenSSL's own client would not try
        with pytest.raises(trio.BrokenResourceError):
            await secured(gateway.public, old)
        await assert_served(gateway, authority)
        await gateway.until_all_left()


async def test_our_close_is_heard(kafka: Broker, authority: Authority) -> None:
    async with running(kafka, listen=authority.listen()) as gateway:
        async with client(gateway.public, authority.client()) as wss:
            (await gateway.only()).end(SHUTDOWN, retry_after_ms=5)
            await wss.expect("closing", code=4000, retry_after_ms=5)
            assert await wss.closed() == (4000, "shutdown")
        await gateway.until_all_left()


async def test_strangers_of_every_kind(kafka: Broker, authority: Authority) -> None:
    """Silent, slow, talking HTTP, talking nonsense, or gone in the middle: each costs its own time, nobody else's."""
    limits = Limits(handshake_timeout=5.0)
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    async with running(kafka, listen=authority.listen(), limits=limits) as gateway:
        strangers = []
        for said in (b"", hello, b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 600):
            strangers.append(await plain(gateway.public))
            await strangers[-1].send_all(said)
            await assert_served(gateway, authority)
        for stream in strangers:
            with trio.fail_after(DEADLINE_SECONDS), contextlib.suppress(trio.BrokenResourceError):
                while await stream.receive_some():
                    pass
            await stream.aclose()
        stream = await plain(gateway.public)
        await stream.send_all(hello)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        await stream.aclose()
        await assert_served(gateway, authority)
        await gateway.until_all_left()


async def test_new_keys_without_end(kafka: Broker, authority: Authority) -> None:
    """Asked for by one who is in, and does not read: it ends, by its name, and nobody else has to know."""
    async with running(kafka, listen=authority.listen()) as gateway, client(gateway.public, authority.client()) as good:
        stream = await plain(gateway.public)
        sealer = await shake_hands(stream, authority.client(), authority.folder / "secrets")
        await stream.send_all(sealer.data(handshake()))
        await until(lambda: len(gateway.door.connections) == 2, "the connection")
        await stream.send_all(sealer.key_updates(200))
        assert (await good.ask("ping"))["type"] == "pong"
        await until(lambda: len(gateway.door.connections) == 1, "its end")
        assert gateway.topics.counts.closed == {("4004", "rate_limited"): 1}
        assert (await good.ask("ping"))["type"] == "pong"
        await trio.aclose_forcefully(stream)


async def test_new_keys_before_a_request(kafka: Broker, authority: Authority) -> None:
    async with running(kafka, listen=authority.listen()) as gateway:
        stream = await plain(gateway.public)
        sealer = await shake_hands(stream, authority.client(), authority.folder / "secrets")
        await stream.send_all(sealer.key_updates(200))
        await until(lambda: gateway.door.admission.let_go == {"flooded": 1}, "it to be let go")
        await gateway.until_all_left()
        await trio.aclose_forcefully(stream)


async def test_an_end_without_goodbye(kafka: Broker, authority: Authority) -> None:
    """FIN or RST without TLS's own end: the subscription is over."""
    topic = kafka.topic()
    async with running(kafka, listen=authority.listen()) as gateway:
        for linger in (b"\0" * 8, b"\x01\0\0\0\0\0\0\0"):
            stream = await secured(gateway.public, authority.client())
            await stream.send_all(handshake(f"/topics/{topic}"))
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 101 ")
            await until(lambda: gateway.users(topic) == 1)
            stream.transport_stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            await trio.aclose_forcefully(stream.transport_stream)
            await until(lambda: gateway.users(topic) == 0, "the end of its subscription")
        await gateway.until_all_left()


async def test_clients_show_a_certificate(kafka: Broker, authority: Authority, other: Authority) -> None:
    """Of client_ca and of nobody else. TLS 1.3 tells a client of that only after its own part of the handshake."""
    async with running(kafka, listen=authority.listen(client_ca=other)) as gateway:
        for shows in (None, authority):
            with pytest.raises(trio.BrokenResourceError):
                await (await secured(gateway.public, authority.client(shows))).receive_some()
        async with client(gateway.public, authority.client(shows=other)) as wss:
            assert (await wss.ask("ping"))["type"] == "pong"
        await gateway.until_all_left()


async def shown(public: str, context: ssl.SSLContext) -> int:
    """The serial number of the certificate that the server shows."""
    stream = await secured(public, context)
    certificate = stream.getpeercert()
    await trio.aclose_forcefully(stream)
    return int(certificate["serialNumber"], 16)


async def test_a_new_certificate_without_dropping_a_connection(kafka: Broker, authority: Authority) -> None:
    async with running(kafka, listen=authority.listen()) as gateway:
        before = await shown(gateway.public, authority.client())
        async with client(gateway.public, authority.client()) as wss:
            authority.issue()
            assert await shown(gateway.public, authority.client()) == before
            signal.raise_signal(signal.SIGHUP)
            await until(lambda: gateway.logged("read again"))
            assert await shown(gateway.public, authority.client()) != before
            assert (await wss.ask("ping"))["type"] == "pong"


async def test_a_bad_one_changes_nothing(tmp_path: Path, kafka: Broker, authority: Authority) -> None:
    files = [f"listen.tls_certificate={authority.certificate}", f"listen.tls_key={authority.key}"]
    async with process(tmp_path, kafka, *(word for one in files for word in ("--set", one))) as gateway:
        before = await shown(gateway.public, authority.client())
        async with client(gateway.public, authority.client()) as wss:
            authority.certificate.write_text("nonsense")
            gateway.process.send_signal(signal.SIGHUP)
            await until(lambda: "not read again" in gateway.log)
            assert await shown(gateway.public, authority.client()) == before
            assert (await wss.ask("ping"))["type"] == "pong"
        assert "no certificate in PEM in it" in gateway.log
        gateway.terminate()
        assert await gateway.wait() == 0


async def test_every_worker_reads_them_again(tmp_path: Path, kafka: Broker, authority: Authority) -> None:
    files = [f"listen.tls_certificate={authority.certificate}", f"listen.tls_key={authority.key}"]
    options = ["--workers", "2", *(word for one in files for word in ("--set", one))]
    async with process(tmp_path, kafka, *options) as gateway:
        before = await shown(gateway.public, authority.client())
        authority.issue()
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: gateway.log.count('"certificates"') == 2, "both workers")
        for _ in range(6):
            assert await shown(gateway.public, authority.client()) != before
        gateway.terminate()
        assert await gateway.wait() == 0
