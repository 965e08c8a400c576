"""A fleet that reconnects: so many handshakes sent within a second, from a process of its own.

    python -m benchmarks.harness.storm HOST:PORT COUNT

Prints one JSON line: how many were let in (101), told when to come back (503 with Retry-After), and neither; after how
many seconds half and all had their answer. Those who are told to come back do not: it is the first second that counts.
Sockets without a library, since ten thousand clients of one would cost more than the gateway.
"""

import select
import socket
import sys
import time

import msgspec

SECONDS = 1.0  # for all of them to begin
PATIENCE_SECONDS = 60.0
BATCH = 50
REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Outcome(msgspec.Struct, frozen=True):
    """What became of `count` handshakes."""

    count: int
    let_in: int
    told: int
    lost: int
    median_seconds: float
    last_seconds: float


class Storm:
    """The sockets of all, and what each was answered."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._epoll = select.epoll()
        self._begun: dict[int, float] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._asked: set[int] = set()
        self.answers: list[tuple[float, bytes]] = []

    @property
    def waiting(self) -> int:
        return len(self._begun) - len(self.answers)

    def begin(self) -> None:
        """One more; its request goes out once it is connected."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(self._address)
        self._sockets[sock.fileno()] = sock
        self._begun[sock.fileno()] = time.monotonic()
        self._epoll.register(sock, select.EPOLLOUT)

    def look(self, seconds: float) -> None:
        """Whatever has happened, or happens within that time."""
        for number, _ in self._epoll.poll(max(0.0, seconds), 1000):
            sock = self._sockets[number]
            try:
                if sock.getpeername() and not self._said(number, sock):
                    continue
                answer = sock.recv(2048)
            except OSError:
                answer = b""
            self._answered(number, sock, answer)

    def _said(self, number: int, sock: socket.socket) -> bool:
        """Whether the request had gone out before: then it is the answer that has come."""
        if number in self._asked:
            return True
        self._asked.add(number)
        sock.send(REQUEST)
        self._epoll.modify(number, select.EPOLLIN)
        return False

    def _answered(self, number: int, sock: socket.socket, answer: bytes) -> None:
        self.answers.append((time.monotonic() - self._begun[number], answer))
        self._epoll.unregister(number)
        if not answer.startswith(b"HTTP/1.1 101 "):
            sock.close()


def storm(address: tuple[str, int], count: int) -> Outcome:
    """Let them come, and wait for every answer."""
    everyone = Storm(address)
    begin = time.monotonic()
    for number in range(0, count, BATCH):
        for _ in range(min(BATCH, count - number)):
            everyone.begin()
        everyone.look(begin + SECONDS * (number + BATCH) / count - time.monotonic())
    while everyone.waiting and time.monotonic() < begin + PATIENCE_SECONDS:
        everyone.look(0.2)
    let_in = sum(answer.startswith(b"HTTP/1.1 101 ") for _, answer in everyone.answers)
    told = sum(b"\r\nRetry-After: " in answer for _, answer in everyone.answers)
    after = sorted(seconds for seconds, _ in everyone.answers)
    return Outcome(count, let_in, told, count - let_in - told, after[len(after) // 2], after[-1])


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    print(msgspec.json.encode(storm((host, int(port)), int(sys.argv[2]))).decode(), flush=True)
    sys.stdin.read()  # they stay connected until the one who measures is done


if __name__ == "__main__":
    main()
