"""The tests' own broker: its process outlives the thread that started it."""

import subprocess
import threading
import time
from pathlib import Path

from tests.kafka_broker import lasting

DEADLINE_SECONDS = 60.0


def test_a_process_outlives_the_thread_that_asked_for_it() -> None:
    """Its death signal is sent before the thread is gone from /proc (exit_notify in Linux's kernel/exit.c)."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        process = lasting(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stdout.read(1) == b"x", "from here on it would die with its thread"

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while Path(f"/proc/self/task/{thread.native_id}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    (process,) = started
    try:
        assert process.communicate(b"there", timeout=DEADLINE_SECONDS) == (b"there", None)
    finally:
        process.kill()
