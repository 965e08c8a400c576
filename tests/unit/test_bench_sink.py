"""The C sink against a scripted server: what it must notice, it notices. Skipped without a C compiler."""

import base64
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from benchmarks.harness.child import ChildFailed
from benchmarks.harness.gateways import Access
from benchmarks.harness.load import Report, Sink
from benchmarks.harness.programs import CannotCompile, program
from websockets.frames import Frame, Opcode

Script = Callable[[socket.socket], None]


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    try:
        program("sink")
    except CannotCompile as reason:
        pytest.skip(str(reason))


def record(sequence: int, late_seconds: float = 0.0, pad: int = 0) -> bytes:
    sent_ns = time.time_ns() - round(late_seconds * 1e9)
    return b'{"t":%d,"n":%d,"pad":"%s"}' % (sent_ns, sequence, b"x" * pad)


def envelope(payload: bytes) -> bytes:
    return (
        b'{"id":    7,"type":"record","topic":"t","partition":0,"offset":1,"timestamp":1,"key":"A","value":%s}'
        % payload
    )


def text(payload: bytes) -> bytes:
    return Frame(Opcode.TEXT, payload).serialize(mask=False)


@contextmanager
def serving(script: Script, answer: bytes | None = None) -> Iterator[str]:
    """Accepts one connection, answers its handshake and plays the script; the socket closes after it."""
    listener = socket.create_server(("127.0.0.1", 0))
    said.clear()

    def play() -> None:
        connection, _ = listener.accept()
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(4096)
            connection.sendall(answer or accepted(request))
            script(connection)
            said.set()
            connection.settimeout(60)
            connection.recv(4096)

    thread = threading.Thread(target=play)
    thread.start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    thread.join(60)
    listener.close()


def accepted(request: bytes) -> bytes:
    key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"


said = threading.Event()  # all that the script has to say


def received(script: Script, expect: int, seconds: float = 60.0) -> Report:
    """What the sink reports of a script, when it has `expect` records or so many seconds after the script's end."""
    with serving(script) as address, Sink(address, Access("/topics/t"), 1) as sink:
        sink.say(f"expect {expect}")
        assert said.wait(60)
        return sink.report(sink.wait_reached(seconds))


def sends(*frames: bytes) -> Script:
    return lambda connection: connection.sendall(b"".join(frames))


def test_complete_stream_has_no_flaws() -> None:
    report = received(sends(*(text(record(n)) for n in range(1000))), 1000)
    assert (report.records, report.frames, report.flaws()) == (1000, 1000, {})
    assert not report.timed_out


def test_frames_of_every_length_form_chopped_into_single_bytes() -> None:
    def script(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in text(record(0)) + text(record(1, pad=200)):
            connection.send(bytes([byte]))
        connection.sendall(text(record(2, pad=70_000)) + text(record(3)))

    report = received(script, 4)
    assert (report.records, report.flaws()) == (4, {})


def test_envelopes_are_found_at_changing_places() -> None:
    frames = [text(record(0)), text(envelope(record(1))), text(b" " + envelope(record(2))), text(record(3))]
    report = received(sends(*frames), 4)
    assert (report.records, report.others, report.flaws()) == (4, 0, {})


def test_loss_is_seen_in_the_middle() -> None:
    report = received(sends(text(record(0)), text(record(3))), 2)
    assert report.flaws() == {"skipped": 2}


def test_loss_is_seen_at_the_beginning() -> None:
    assert received(sends(text(record(1))), 1).flaws() == {"skipped": 1}


def test_loss_is_seen_at_the_end() -> None:
    report = received(sends(text(record(0))), 3, seconds=1.0)
    assert report.flaws() == {"missing": 2}


def test_repeat_is_seen_even_behind_the_last_record() -> None:
    assert received(sends(text(record(0)), text(record(1)), text(record(1))), 2).flaws() == {"repeated": 1}


def test_disorder_is_seen() -> None:
    report = received(sends(text(record(1)), text(record(0))), 2)
    assert report.flaws() == {"skipped": 1, "repeated": 1}


def test_latency_is_taken_from_the_record() -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(b"".join(text(record(n, late_seconds=200.0)) for n in range(100)))

    report = received(script, 100)
    assert 199e9 < report.latency_ns.p50 <= report.latency_ns.p99 <= report.latency_ns.max < 260e9
    assert sum(count for _, count in report.latency_ns.buckets) == 100


def test_fragmented_record_is_a_fault() -> None:
    first = Frame(Opcode.TEXT, record(0), fin=False).serialize(mask=False)
    assert received(sends(first), 1, seconds=1.0).faults == 1


def test_close_code_is_reported_with_what_is_missing() -> None:
    close = Frame(Opcode.CLOSE, (4007).to_bytes(2) + b"gap").serialize(mask=False)
    report = received(sends(text(record(0)), close), 2, seconds=1.0)
    assert report.close_codes == {"4007": 1}
    assert report.flaws() == {"missing": 1, "closed": 1}


def test_ping_is_answered_with_its_payload_masked() -> None:
    answers: list[bytes] = []

    def script(connection: socket.socket) -> None:
        connection.sendall(Frame(Opcode.PING, b"12345").serialize(mask=False))
        answers.append(connection.recv(4096))
        connection.sendall(text(record(0)))

    received(script, 1)
    mask, body = answers[0][2:6], answers[0][6:]
    assert answers[0][:2] == bytes([0x80 | Opcode.PONG, 0x80 | 5])
    assert bytes(byte ^ mask[i % 4] for i, byte in enumerate(body)) == b"12345"


def test_refusal_fails_and_says_why() -> None:
    refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    with (
        serving(lambda _: None, answer=refusal) as address,
        pytest.raises(ChildFailed, match="404 Not Found"),
        Sink(address, Access("/nowhere"), 1),
    ):
        pass


def test_subscriber_is_ready_with_the_text_it_waits_for() -> None:
    commands: list[bytes] = []

    def script(connection: socket.socket) -> None:
        commands.append(connection.recv(4096))
        connection.sendall(text(b'{"type":"live","id":1}') + text(record(0)))

    access = Access("/ws", "tailrace.v1.json", '{"type":"subscribe"}', '"type":"live"')
    with serving(script) as address, Sink(address, access, 1) as sink:
        sink.say("expect 1")
        report = sink.report(sink.wait_reached(60))
    assert (report.records, report.others) == (1, 1)
    assert commands[0][:2] == bytes([0x81, 0x80 | 20])


def test_frames_of_lines_are_taken_apart() -> None:
    answers: list[bytes] = []

    def script(connection: socket.socket) -> None:
        commands = connection.recv(4096)
        connection.sendall(text(b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{}}') + text(b"{}"))
        answers.append(commands + connection.recv(4096))
        connection.sendall(text(b"\n".join(b'{"push":%s}' % record(number) for number in range(3))))

    access = Access("/x", None, "connect", '"id":2,"subscribe"', lines=True)
    with serving(script) as address, Sink(address, access, 1) as sink:
        sink.say("expect 3")
        report = sink.report(sink.wait_reached(60))
    assert (report.records, report.flaws()) == (3, {})
    command, pong = answers[0][:13], answers[0][13:]
    assert command[:2] == bytes([0x81, 0x80 | 7])
    assert pong[:2] == bytes([0x81, 0x80 | 2])
    assert bytes(byte ^ mask for byte, mask in zip(pong[6:], pong[2:6], strict=False)) == b"{}"
