"""The keys of a JWKS URL: fetched in a thread, cached, and fetched again every few minutes or when a token names a key
that is not known.

Rules: one fetch at a time, and never two within MIN_SECONDS, whatever strangers name. While the URL does not answer,
the keys there are stay in use: an outage logs nobody out.
"""

from collections.abc import Callable, Sequence

import structlog
import trio

from tailrace.auth.fetch import FetchFailed, fetch
from tailrace.auth.keys import NO_KEYS, KeyFault, document_keys

MIN_SECONDS = 5.0  # from the beginning of one fetch to that of the next
RENEW_SECONDS = 300.0  # a key that was withdrawn is not good for longer than that, while the URL answers
FETCH_SECONDS = 8.0  # `fetch` ends by itself sooner, unless a name is being resolved

_log = structlog.get_logger(__name__)


class RemoteKeys:
    """`keys` as they were last fetched; `failing`: why they could not be fetched since, None: they could."""

    def __init__(self, url: str, algorithms: Sequence[str], fetch: Callable[[str], bytes] = fetch) -> None:
        self.keys = NO_KEYS
        self.failing: str | None = "not fetched yet"
        self.fetches = self.failures = 0
        self._url = url
        self._algorithms = algorithms
        self._fetch = fetch
        self._wanted = trio.Event()
        self._ended = trio.Event()  # set, and replaced, whenever a fetch has ended
        self._busy = False
        self._threads = trio.CapacityLimiter(1)
        self._told = False  # a warning stands in the log, and what mends it is to follow

    async def run(self) -> None:
        """Fetch, now and whenever it is due."""
        while True:
            began = trio.current_time()
            await self._renew()
            with trio.move_on_after(RENEW_SECONDS):
                await self._wanted.wait()
            await trio.sleep_until(began + MIN_SECONDS)

    async def renewed(self) -> bool:
        """Until a fetch has ended: True when it began after this was called, False when it was under way."""
        fresh = not self._busy
        if fresh:
            self._wanted.set()
        await self._ended.wait()
        return fresh

    async def _renew(self) -> None:
        self._busy, self._wanted = True, trio.Event()
        try:
            with trio.fail_after(FETCH_SECONDS):
                document = await trio.to_thread.run_sync(
                    self._fetch, self._url, abandon_on_cancel=True, limiter=self._threads
                )
            self.keys = document_keys(document, self._algorithms)
            self._note(None)
        except trio.TooSlowError:
            self._note("it does not answer")
        except (FetchFailed, KeyFault) as error:
            self._note(str(error))
        self._busy = False
        self._ended.set()
        self._ended = trio.Event()

    def _note(self, failing: str | None) -> None:
        self.fetches += 1
        self.failures += failing is not None
        if failing is not None and not self._told:
            _log.warning("cannot fetch the keys for tokens", url=self._url, reason=failing)
        elif failing is None and self._told:
            _log.info("fetching the keys for tokens again", url=self._url)
        self.failing, self._told = failing, failing is not None
