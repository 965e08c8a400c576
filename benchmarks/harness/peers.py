"""Other ways to the same: small gateways as the users of other libraries write them (benchmarks/peers), on any path.

They are installed once, at the versions their lock files name: Node's below build/peers/node, Python's in an
environment of their own, so that nothing of theirs comes near Tailrace's. Centrifugo (centrifugo.py) is a program.
"""

import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness.centrifugo import CENTRIFUGO, CannotInstall, binary, centrifugo
from benchmarks.harness.child import Child
from benchmarks.harness.gateways import GATEWAYS, READY_SECONDS, Running, Shape, plain_access
from benchmarks.harness.programs import ROOT

SOURCES = ROOT / "benchmarks" / "peers"
OUT = ROOT / "build" / "peers"
NODE = "ws + kafkajs"
PYTHON = {
    "websockets + aiokafka": "websockets_aiokafka.py",
    "picows + confluent-kafka": "picows_confluent.py",
    "trio-websocket + confluent-kafka": "trio_websocket_confluent.py",
}
PEERS = (NODE, *PYTHON, CENTRIFUGO)


@functools.cache
def node_server() -> Path:
    """The server's script beside its node_modules."""
    if shutil.which("npm") is None:
        raise CannotInstall("npm and Node are needed for ws + kafkajs")
    folder = OUT / "node"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "server.js"):
        shutil.copy(SOURCES / "node" / name, folder)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
    return folder / "server.js"


@functools.cache
def python() -> Path:
    """The interpreter of the peers' environment."""
    interpreter = OUT / "venv" / "bin" / "python"
    if not interpreter.exists():
        subprocess.run([sys.executable, "-m", "venv", OUT / "venv"], check=True)
    requirements = SOURCES / "python" / "requirements.txt"
    subprocess.run([interpreter, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
    return interpreter


def command(name: str) -> list[str | Path]:
    """How a peer is started, installed when need be. Raises CannotInstall."""
    if name == CENTRIFUGO:
        return [binary()]
    if name == NODE:
        return ["node", node_server()]
    return [python(), SOURCES / "python" / PYTHON[name]]


def install() -> dict[str, str]:
    """Every peer, before anything is measured; why those that cannot be had are not there."""
    absent: dict[str, str] = {}
    for name in PEERS:
        try:
            command(name)
        except (CannotInstall, subprocess.CalledProcessError) as reason:
            absent[name] = f"not here: {reason}"
    return absent


@contextmanager
def peer(name: str, bootstrap: str, topics: tuple[str, ...], shape: Shape) -> Iterator[Running]:
    """One of benchmarks/peers, on the first of the topics; it knows no commands, and sends bare values on any path."""
    with Child([*command(name), bootstrap, topics[0]]) as child:
        port = child.wait_event("ready", READY_SECONDS)["port"]
        yield Running(f"127.0.0.1:{port}", plain_access, child)


GATEWAYS.update({name: functools.partial(peer, name) for name in (NODE, *PYTHON)})
GATEWAYS[CENTRIFUGO] = centrifugo
