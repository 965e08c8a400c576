"""Reads stretches of partitions back from Kafka and cuts them into blocks: one consumer and one thread.

Rules:
- The consumer belongs to the thread. The loop says what to read (`read`); the thread looks at that between any two
  pieces, and tells what came of it by events (`run`), in order, without waiting for the loop.
- One partition at a time, by `assign`, which takes 1-10 ms. It stays assigned while there is nothing to do, so that
  going on costs no seek; after LINGER_SECONDS the thread says so (`Idle`).
- A partition that does not answer is given up after a few seconds, so that it does not occupy the reader.
- Encoding is done here, by one reader at a time; after half a millisecond of work the loop has the GIL. With four busy
  readers a task of the loop is late by 3-6 ms (p99) so, 8-17 ms otherwise (measured, two cores).
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

import trio
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from tailrace._fanout import first_event
from tailrace.core.cutting import Block, Cutter
from tailrace.core.lane import Partition
from tailrace.kafka import settings
from tailrace.kafka.broker_log import BrokerLog
from tailrace.kafka.consume import consume
from tailrace.kafka.outcome import examine, look, outcome
from tailrace.kafka.run import Arrived, Event, Idle, Run
from tailrace.kafka.trouble import Trouble, trouble

LINGER_SECONDS = 1.0  # a consumer at the end of its log asks for more 100 times a second meanwhile
MAX_RECORDS = 256  # of one consume(), which holds the GIL: 2 ms
PIECE_RECORDS = 256  # encoded between two looks, 0.1-1 ms
WORK_SECONDS = 0.0005  # of the thread's CPU between two pauses
_PAUSE_SECONDS = 0.00005  # long enough for the loop to take the GIL; sleep(0) gives it up and has it again
_WAIT_SECONDS = 0.05
_PATIENCE_SECONDS = 1.0  # without a record or an end; then the broker is asked what is the matter
_IDLE_POLL_SECONDS = 1.0


class Reader:
    """`kafka`: the user's librdkafka settings. `on_event`: called in the loop; `on_error`, `on_statistics`: in the
    thread, for error events that concern no partition, and for librdkafka's statistics (a JSON text). `encoding`: held
    by the one reader of all that encodes.

    `read_bytes` (of values), `read_records`: taken from Kafka so far, whether or not somebody wanted them.
    """

    def __init__(
        self,
        kafka: Mapping[str, settings.Value],
        on_event: Callable[[Event], None],
        encoding: threading.Lock,
        on_error: Callable[[Trouble], None] = lambda _: None,
        on_statistics: Callable[[str], None] | None = None,
    ) -> None:
        self._settings = settings.reader(kafka)
        self._on_event = on_event
        self._encoding = encoding
        self._on_error = on_error
        self._on_statistics = on_statistics
        self.read_bytes = 0
        self.read_records = 0
        self._bell = threading.Event()
        self._wanted: Run | None = None
        self._stopping = False
        self._token: trio.lowlevel.TrioToken | None = None
        # From here on the thread's own.
        self._consumer: Consumer | None = None
        self._run: Run | None = None
        self._cutter: Cutter | None = None
        self._assigned: Partition | None = None
        self._event: Message | None = None
        self._records: deque[Message] = deque()
        self._heard_at = 0.0
        self._paused_at = 0.0

    # ------------------------------------------------------------------------------------------------------- the loop

    async def run(self) -> None:
        """Until cancelled; returns when the thread has ended and its consumer is closed. Raises what it raised."""
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_when_cancelled)
            await trio.to_thread.run_sync(self._work, limiter=trio.CapacityLimiter(1))
            nursery.cancel_scope.cancel()

    def read(self, run: Run | None) -> None:
        """Reads this from now on, whatever it reads now; None: nothing. The same run again: its plan has changed."""
        self._wanted = run
        self._bell.set()

    async def _stop_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._stopping = True
            self._bell.set()

    # ----------------------------------------------------------------------------------------------------- the thread

    def _work(self) -> None:
        try:
            while not self._stopping:
                self._step()
        finally:
            if self._consumer is not None:
                self._consumer.close()

    def _step(self) -> None:
        """One look at what is wanted, and one piece of it."""
        if (wanted := self._wanted) is not self._run:
            self._begin(wanted)
        elif self._run is None or self._cutter is None:
            self._rest(_IDLE_POLL_SECONDS)
        elif not self._cutter.is_open and self._cutter.position >= self._run.plan.until:
            if not self._rest(LINGER_SECONDS):
                self._tell(Idle(self._run))
        else:
            self._read(self._run, self._cutter)

    def _rest(self, seconds: float) -> bool:
        """Whether the bell rang."""
        rang = self._bell.wait(seconds)
        self._bell.clear()
        if not rang and self._consumer is not None and self._cutter is None:
            self._consumer.poll(0)  # the brokers' comings and goings, and librdkafka's log
        return rang

    def _begin(self, run: Run | None) -> None:
        self._run, self._cutter, self._event = run, None, None
        self._records.clear()
        if run is None:
            self._unassign()
            return
        consumer = self._consumer = self._consumer or self._connect()
        if self._assigned != run.place:
            self._unassign()
            if (failed := look(consumer, run)) is not None:
                self._end(failed)
                return
        consumer.assign([TopicPartition(run.place.topic, run.place.number, run.start)])
        self._assigned = run.place
        self._cutter = Cutter(run.place.number, run.start, run.encoder)
        self._heard_at = time.monotonic()

    def _connect(self) -> Consumer:
        callbacks = {} if self._on_statistics is None else {"stats_cb": self._on_statistics}
        return Consumer(self._settings, error_cb=self._error_event, logger=BrokerLog(), **callbacks)

    def _error_event(self, error: KafkaError) -> None:
        self._on_error(trouble(error))

    def _unassign(self) -> None:
        if self._assigned is not None and self._consumer is not None:
            self._consumer.unassign()
        self._assigned = None

    def _read(self, run: Run, cutter: Cutter) -> None:
        if not self._records:
            if self._event is not None:
                self._end(outcome(self._consumer, run, cutter, self._event))
                return
            self._fetch(run, cutter)
        if not cutter.is_open:
            plan = run.plan  # another one, perhaps, than when the records were asked for: nobody may want them any more
            if cutter.position >= plan.until:
                return
            cutter.open(plan.formats, plan.stride)
        if self._records and (block := self._encode(cutter)) is not None:
            self._tell(Arrived(run, block))

    def _encode(self, cutter: Cutter) -> Block | None:
        with self._encoding:
            block = cutter.take(self._records, PIECE_RECORDS)
            if time.thread_time() - self._paused_at >= WORK_SECONDS:
                time.sleep(_PAUSE_SECONDS)
                self._paused_at = time.thread_time()
        return block

    def _fetch(self, run: Run, cutter: Cutter) -> None:
        """Takes records in, up to the first event; an event ends the run, so what is behind it does not matter."""
        assert self._consumer is not None
        messages = consume(self._consumer, MAX_RECORDS, _WAIT_SECONDS)
        if first_event(messages) < len(messages):
            messages = self._up_to_event(messages, run)
        self._records += messages
        self.read_bytes += sum(map(len, messages))
        self.read_records += len(messages)
        if self._records or self._event:
            self._heard_at = time.monotonic()
        elif time.monotonic() - self._heard_at > _PATIENCE_SECONDS:
            self._heard_at = time.monotonic()
            if (event := examine(self._consumer, run, cutter)) is not None:
                self._end(event)

    def _up_to_event(self, messages: list[Message], run: Run) -> list[Message]:
        """The records before the first event that concerns the run, which is kept."""
        records = []
        for message in messages:
            if message.error() is None:
                records.append(message)
            elif message.topic() == run.place.topic:
                self._event = message
                break
        return records

    def _end(self, event: Event) -> None:
        """The run is over, and the reader waits for another one."""
        self._cutter = None
        self._unassign()
        self._tell(event)

    def _tell(self, event: Event) -> None:
        assert self._token is not None
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._on_event, event)
