"""Centrifugo as a peer, as its users run it: its Kafka consumer, its JSON protocol, one channel for a topic or a key.

It is built from the Go module proxy once, into the cache. Each record has to carry the channels that it goes to in a
header, which the producer writes for it. Tokens and history are off, as nothing like them is on in the other peers.
"""

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.harness.child import Child
from benchmarks.harness.gateways import Access, Running, Shape, free_address, wait_ready

CENTRIFUGO = "Centrifugo"
MODULE = "github.com/centrifugal/centrifugo/v6@v6.9.1"
CHANNELS_HEADER = "centrifugo-channels"
CONNECT = '{"id":1,"connect":{}}'


class CannotInstall(Exception):
    """What a peer needs is not here."""


@functools.cache
def binary() -> Path:
    """Where it is; builds it, some minutes of CPU, when it is nowhere yet."""
    cached = cache() / "centrifugo"
    if cached.exists():
        return cached
    if found := shutil.which("centrifugo"):
        return Path(found)
    if shutil.which("go") is None:
        raise CannotInstall("neither centrifugo nor go is here")
    done = subprocess.run(
        ["go", "install", MODULE],
        env={**os.environ, "GOBIN": str(cache())},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotInstall(f"go install {MODULE}: {done.stderr[-300:]}")
    return cached


def cache() -> Path:
    """Where what is built once goes."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tailrace" / "bin"


def configuration(address: str, bootstrap: str, topic: str) -> dict[str, object]:
    """Its defaults, but for who may come in and what it reads."""
    host, _, port = address.rpartition(":")
    kafka = {
        "brokers": [bootstrap],
        "topics": [topic],
        "consumer_group": topic,
        "publication_data_mode": {"enabled": True, "channels_header": CHANNELS_HEADER},
    }
    return {
        "http_server": {"address": host, "port": int(port)},
        "client": {"insecure": True},
        "health": {"enabled": True},
        "consumers": [{"enabled": True, "name": "bench", "type": "kafka", "kafka": kafka}],
    }


def access(topic: str, shape: Shape) -> Access:
    """Both commands in one message, as its clients send them."""
    channel = "k%06d" if shape is Shape.KEYED else topic
    subscribe = f'{{"id":2,"subscribe":{{"channel":"{channel}"}}}}'
    return Access("/connection/websocket", None, f"{CONNECT}\n{subscribe}", '"id":2,"subscribe"', lines=True)


@contextmanager
def centrifugo(bootstrap: str, topics: tuple[str, ...], shape: Shape) -> Iterator[Running]:
    """On the first of the topics."""
    address = free_address()
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as folder:
        file = Path(folder) / "config.json"
        file.write_bytes(msgspec.json.encode(configuration(address, bootstrap, topics[0])))
        with Child([binary(), "--config", file, "--log.level", "warn"]) as child:
            wait_ready(child, f"http://{address}/health")
            yield Running(address, access, child, CHANNELS_HEADER)
