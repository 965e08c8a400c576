"""When to ping and when to give up: the judge alone, on made-up clocks, and against every way a peer may behave."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.websocket.keepalive import PING_BYTES, Pulse, Times, Verdict

WELL, PING, NO_PONG, WRITE_TIMEOUT = Verdict.WELL, Verdict.PING, Verdict.NO_PONG, Verdict.WRITE_TIMEOUT
TIMES = Times(ping_interval=25.0, pong_timeout=8.0, write_timeout=120.0)


class Peer:
    """A connection as the watch sees it: `pass_time` looks at it once a second.

    `spared` is a second pulse of it that is looked at only when it does not rest, as the watch does: it must come to
    the same verdicts.
    """

    def __init__(self, times: Times = TIMES) -> None:
        self.times = times
        self.now = 1000.0
        self.acknowledged = self.received = self.waiting = 0
        self.pulse, self.spared = Pulse(self.now), Pulse(self.now)
        self.rested = 0

    def look(self) -> Verdict:
        seen = self.acknowledged, self.received, self.waiting
        verdict = self.pulse.look(self.now, *seen, self.times)
        if self.spared.rests(self.now, self.acknowledged + self.waiting, self.received):
            self.rested += 1
            assert verdict is WELL
        else:
            assert self.spared.look(self.now, *seen, self.times) is verdict
        if verdict is PING:
            self.waiting += PING_BYTES
        return verdict

    def pass_time(self, seconds: int) -> list[tuple[int, Verdict]]:
        """What was found other than WELL, and after how many seconds."""
        found = []
        for second in range(1, seconds + 1):
            self.now += 1
            if (verdict := self.look()) is not WELL:
                found.append((second, verdict))
        return found

    def acknowledge(self) -> None:
        """Its kernel has taken everything."""
        self.acknowledged += self.waiting
        self.waiting = 0

    def pong(self) -> None:
        self.acknowledge()
        self.received += 6


def test_a_quiet_client_is_pinged_every_interval() -> None:
    peer = Peer()
    assert peer.pass_time(25) == [(25, PING)]
    for _ in range(3):
        peer.pong()  # seen at the next look
        assert peer.pass_time(26) == [(26, PING)]


def test_a_quiet_client_is_looked_at_once_an_interval() -> None:
    """All else of its looks are told by what the last one found: without a system call each."""
    peer = Peer()
    peer.pass_time(25)
    peer.pong()
    peer.pass_time(25)
    assert peer.rested == 23 + 24
    bare = Peer(Times(None, None, None))
    bare.pass_time(100)
    assert bare.rested == 99


def test_no_answer() -> None:
    peer = Peer()
    assert peer.pass_time(33) == [(25, PING), (33, NO_PONG)]


def test_an_acknowledged_ping_is_no_answer() -> None:
    """The kernel of a client whose process hangs still acknowledges."""
    peer = Peer()
    assert peer.pass_time(25) == [(25, PING)]
    peer.acknowledge()
    assert peer.pass_time(8) == [(8, NO_PONG)]


def test_nobody_is_pinged_again_while_an_answer_may_come() -> None:
    peer = Peer(Times(ping_interval=2.0, pong_timeout=8.0, write_timeout=120.0))
    assert peer.pass_time(5) == [(2, PING)]
    peer.pong()
    assert peer.pass_time(11) == [(3, PING), (11, NO_PONG)]


def test_any_byte_is_an_answer() -> None:
    peer = Peer()
    peer.pass_time(25)
    peer.received += 1
    assert peer.pass_time(10) == []


def test_any_other_byte_acknowledged_is_an_answer() -> None:
    peer = Peer()
    peer.pass_time(25)
    peer.acknowledged += 1 + PING_BYTES
    peer.waiting = 0
    assert peer.pass_time(10) == []


def test_acknowledged_records_put_the_ping_off() -> None:
    """A busy client is never pinged: its kernel tells enough."""
    peer = Peer()
    for _ in range(10):
        assert peer.pass_time(20) == []
        peer.acknowledged += 100
    assert peer.pass_time(26) == [(26, PING)]


def test_what_it_sends_does_not_put_the_ping_off() -> None:
    """The other direction may be dead: only what was acknowledged counts, as the protocol says."""
    peer = Peer()
    found = []
    for _ in range(30):
        peer.received += 10
        found += peer.pass_time(1)
    assert [verdict for _, verdict in found] == [PING]


def test_bytes_that_wait_stop_the_pong_clock() -> None:
    """Behind megabytes a ping is answered after minutes."""
    peer = Peer()
    peer.pass_time(25)
    peer.waiting += 1000
    assert peer.pass_time(60) == []


def test_a_client_that_takes_nothing() -> None:
    peer = Peer()
    peer.waiting = 1000  # seen at the next look
    assert peer.pass_time(121) == [(121, WRITE_TIMEOUT)]


def test_the_write_clock_begins_when_something_waits() -> None:
    """Not with the last byte of an hour ago."""
    peer = Peer(Times(None, None, 120.0))
    peer.pass_time(3600)
    peer.waiting = 1000
    assert peer.pass_time(121) == [(121, WRITE_TIMEOUT)]


def test_every_byte_acknowledged_begins_it_anew() -> None:
    peer = Peer()
    peer.waiting = 1000
    for _ in range(5):
        assert peer.pass_time(119) == []
        peer.acknowledged += 1
        peer.waiting -= 1
    assert peer.pass_time(121) == [(121, WRITE_TIMEOUT)]


def test_a_ping_that_is_not_acknowledged_is_not_a_write_timeout() -> None:
    """Two bytes of our own asking: the pong clock judges them."""
    peer = Peer(Times(25.0, 200.0, 120.0))
    assert peer.pass_time(220) == [(25, PING)]


def test_after_the_backlog_a_quiet_client_is_pinged_again() -> None:
    peer = Peer()
    peer.waiting = 1000
    peer.pass_time(60)
    peer.acknowledge()
    assert peer.pass_time(1) == []
    assert peer.pass_time(25) == [(25, PING)]


@pytest.mark.parametrize(
    ("times", "found"),
    [
        (Times(None, 8.0, 120.0), []),
        (Times(25.0, None, 120.0), [(25, PING)]),
        (Times(None, None, None), []),
    ],
)
def test_clocks_that_are_off(times: Times, found: list[tuple[int, Verdict]]) -> None:
    assert Peer(times).pass_time(300) == found
    waits = Peer(times)
    waits.waiting = 1000
    assert waits.pass_time(100) == []


def test_how_often_to_look() -> None:
    assert TIMES.look == 2.0
    assert Times(25.0, None, None).look == 6.25
    assert Times(None, None, None).look > 0


STEPS = st.lists(
    st.tuples(st.sampled_from(["pong", "send", "read", "queue", "nothing"]), st.integers(1, 40)), max_size=30
)


@given(STEPS)
def test_nobody_who_does_what_he_should_is_given_up(steps: list[tuple[str, int]]) -> None:
    """A client that answers each ping within 8 s, and takes something of what waits at least every 40 s."""
    peer = Peer()
    for step, seconds in steps:
        if step == "queue":
            peer.waiting += 5000
        elif step == "send":
            peer.received += 10
        elif step == "read":
            peer.acknowledge()
        elif peer.waiting > PING_BYTES:
            peer.acknowledged += 1
            peer.waiting -= 1
        for _ in range(seconds):
            found = peer.pass_time(1)
            assert not {NO_PONG, WRITE_TIMEOUT} & {verdict for _, verdict in found}
            if PING in (verdict for _, verdict in found):
                peer.pong()
        if peer.waiting > PING_BYTES:
            peer.acknowledged += 1
            peer.waiting -= 1


@given(STEPS)
def test_nobody_who_is_dead_is_kept(steps: list[tuple[str, int]]) -> None:
    """Whatever was before: from the last byte on it takes no longer than all three clocks together."""
    peer = Peer()
    for step, seconds in steps:
        if step == "queue":
            peer.waiting += 5000
        elif step == "send":
            peer.received += 10
        elif step in ("read", "pong"):
            peer.acknowledge()
        if {NO_PONG, WRITE_TIMEOUT} & {verdict for _, verdict in peer.pass_time(seconds)}:
            return
    found = [verdict for _, verdict in peer.pass_time(121 + 26 + 9)]
    assert {NO_PONG, WRITE_TIMEOUT} & set(found)
