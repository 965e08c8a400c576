"""The proxies of docs/operations.md, as they are written there, in front of a gateway: nginx and HAProxy.

Changed are addresses, ports and files, and for quiet connections both clocks in step. Skipped for a proxy that is not
installed.
"""

import contextlib
import re
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio
from tests.certificates import Authority
from tests.gateway import DEADLINE_SECONDS, Addressed, Client, Gateway, running, until
from tests.kafka_broker import Broker, _free_ports
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect

from tailrace.config import Limits, Listen

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
VISITOR = "127.0.0.9"  # the proxy itself comes from 127.0.0.1
LONG = {"nginx": r"(proxy_read_timeout) 60s", "haproxy": r"(timeout tunnel) 1h"}
LISTEN = Listen(address="127.0.0.1:0", trusted_proxies=("127.0.0.1",))

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("name", ["nginx", "haproxy"])]


def example(name: str) -> str:
    """The block of that language; exactly one."""
    [block] = re.findall(rf"^```{name}\n(.*?)^```", OPERATIONS.read_text(), re.DOTALL | re.MULTILINE)
    return str(block)


def replaced(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert re.search(old, text), f"the example has no {old}"
        text = re.sub(old, new, text)
    return text


def nginx(port: int, dead: int, gateway: Addressed, folder: Path, more: dict[str, str]) -> tuple[str, list[str]]:
    changes = {
        "listen 443": f"listen 127.0.0.1:{port}",
        r"server 127\.0\.0\.1:8080;": f"server 127.0.0.1:{dead}; server {gateway.public};",
        "/etc/ssl/live.pem": str(folder / "cert.pem"),
        "/etc/ssl/live.key": str(folder / "key.pem"),
    }
    head = f"pid {folder}/nginx.pid; daemon off; master_process off; error_log {folder}/error.log;\n"
    kept = " ".join(
        f"{each}_temp_path {folder}/{each};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    body = replaced(example("nginx"), changes | more)
    text = f"{head}events {{}}\nhttp {{ access_log off; {kept}\n{body}}}\n"
    return text, ["nginx", "-c", str(folder / "proxy.conf"), "-e", str(folder / "error.log")]


def haproxy(port: int, dead: int, gateway: Addressed, folder: Path, more: dict[str, str]) -> tuple[str, list[str]]:
    changes = {
        "bind :443 ssl crt /etc/ssl/live.pem": f"bind 127.0.0.1:{port} ssl crt {folder / 'both.pem'}",
        r"check port 8081": f"check port {gateway.admin.rpartition(':')[2]}",
        r"10\.0\.0\.11:8080": f"127.0.0.1:{dead}",
        r"10\.0\.0\.12:8080": gateway.public,
    }
    (folder / "both.pem").write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return replaced(example("haproxy"), changes | more), ["haproxy", "-db", "-f", str(folder / "proxy.conf")]


MAKE: dict[str, Callable[..., tuple[str, list[str]]]] = {"nginx": nginx, "haproxy": haproxy}


class Front:
    """What a visitor connects to."""

    def __init__(self, port: int, trust: ssl.SSLContext) -> None:
        self.host, self._trust = f"127.0.0.1:{port}", trust

    @contextlib.asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[Client]:
        """A page of that host, from VISITOR, who claims to be somebody else."""
        async with connect(
            f"wss://{self.host}{path}",
            ssl=self._trust,
            origin=f"https://{self.host}",
            additional_headers={"X-Forwarded-For": "6.6.6.6"},
            local_address=VISITOR,
            ping_interval=None,
            proxy=None,
        ) as connection:
            yield Client(connection)


@contextlib.asynccontextmanager
async def proxied(
    name: str, folder: Path, gateway: Addressed, changes: dict[str, str] | None = None
) -> AsyncIterator[Front]:
    """The example, with a second gateway that nobody answers for."""
    program = shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip(f"{name} is not installed")
    authority, (port, dead) = Authority(folder), _free_ports(2)
    text, command = MAKE[name](port, dead, gateway, folder, changes or {})
    (folder / "proxy.conf").write_text(text)
    with (folder / "proxy.log").open("wb") as log:
        process = await trio.lowlevel.open_process([program, *command[1:]], stdout=log, stderr=log)
    try:
        with trio.fail_after(DEADLINE_SECONDS):
            while True:
                assert process.poll() is None, (folder / "proxy.log").read_text()
                with contextlib.suppress(OSError):
                    await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                    break
                await trio.sleep(0.05)
        yield Front(port, authority.client())
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def remotes(gateway: Gateway) -> set[str]:
    """Of `/connections`."""
    page = (await gateway.get("/connections", admin=True)).json
    return {each["remote"] for each in page["connections"]}


async def test_records_flow_and_the_client_is_known(kafka: Broker, name: str, tmp_path: Path) -> None:
    topic = kafka.topic()
    async with running(kafka, listen=LISTEN) as gateway:
        await gateway.until_ready()
        async with proxied(name, tmp_path, gateway) as front, contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(front.stream(f"/topics/{topic}")) for _ in range(6)]
            assert await remotes(gateway) == {VISITOR}
            kafka.produce(topic, [b'{"n":%d}' % n for n in range(100)] + [b'"' + b"x" * 500_000 + b'"'])
            for client in clients:
                await client.expect("subscribed")
                await client.expect("live")
                values = [record["value"] for record in await client.records(101)]
                assert values[:-1] == [{"n": n} for n in range(100)]
                assert len(values[-1]) == 500_000


@pytest.mark.parametrize("pings", [True, False])
async def test_what_keep_alive_pings_is_not_quiet(kafka: Broker, name: str, pings: bool, tmp_path: Path) -> None:
    """The proxy's patience is 3 s here, and the gateway's pings come every second, or never."""
    limits = Limits(ping_interval=1.0, pong_timeout=0.5) if pings else Limits(ping_interval=None)
    topic = kafka.topic()
    async with running(kafka, listen=LISTEN, limits=limits) as gateway:
        await gateway.until_ready()
        async with proxied(name, tmp_path, gateway, {LONG[name]: r"\1 3s"}) as front:
            async with front.stream(f"/topics/{topic}") as client:
                ended = False
                with trio.move_on_after(8):
                    try:
                        while True:
                            await client.connection.recv()
                    except ConnectionClosed:
                        ended = True
                assert ended != pings
            await until(lambda: not gateway.door.connections, "its end")


def test_the_patience_with_who_does_not_read_is_longer_than_the_gateways(name: str) -> None:
    pattern = {"nginx": r"\n\s*(send_timeout) (\d+)s", "haproxy": r"(timeout tunnel) (\d+)h"}[name]
    [(_, number)] = re.findall(pattern, example(name))
    assert int(number) * {"nginx": 1, "haproxy": 3600}[name] > (Limits().write_timeout or 0) > 0


def test_the_idle_timeout_is_longer_than_keep_alive(name: str) -> None:
    [found] = re.findall(LONG[name].replace("60s", r"(\d+[smh])").replace("1h", r"(\d+[smh])"), example(name))
    seconds = int(found[1][:-1]) * {"s": 1, "m": 60, "h": 3600}[found[1][-1]]
    limits = Limits()
    assert seconds > (limits.ping_interval or 0) + (limits.pong_timeout or 0) > 0
