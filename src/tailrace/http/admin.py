"""The admin listener: is the gateway alive, is it ready, and whatever else is put into its route table.

Rules: one request a connection, its head bounded like the public one's. A fault of the client is answered or dropped;
a fault of ours is answered 500, logged with its traceback, and costs that request only. A route that asks others
(the workers of a gateway that has several) bounds its own time.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import structlog
import trio

from tailrace.http.answers import Answer, json_answer, refusal_answer, send_answer
from tailrace.http.head import Head, NoRequest, read_head
from tailrace.http.refusal import INTERNAL, METHOD_NOT_ALLOWED, NOT_FOUND, Refused

Route = Callable[[Head], Answer | Awaitable[Answer]]
Routes = Mapping[str, Route]

_HEAD_SECONDS = 10.0
_log = structlog.get_logger(__name__)


class Readiness(msgspec.Struct, frozen=True):
    """Whether the gateway can do its work now; reason: why not, for a person; details: more fields of the answer."""

    ready: bool
    reason: str = ""
    details: Mapping[str, Any] = {}


def livez(head: Head) -> Answer:
    """200 while the process answers at all. It does not look at Kafka: a restart would not bring Kafka back."""
    return json_answer(200, {"alive": True})


def readyz(readiness: Callable[[], Readiness]) -> Route:
    """A route that answers 200 or 503 with `{"ready":...,"reason":...}` and the details, as they are at that moment."""

    def answer(head: Head) -> Answer:
        state = readiness()
        content = {"ready": state.ready, "reason": state.reason, **state.details}
        return json_answer(200 if state.ready else 503, content)

    return answer


async def answer_for(head: Head, routes: Routes) -> Answer:
    """What the route at the head's path answers; 404 for another path, 405 for a method that asks for something to be
    done, 500 for a route that fails."""
    if not head.reads:
        return refusal_answer(METHOD_NOT_ALLOWED)
    route = routes.get(head.path)
    if route is None:
        return refusal_answer(NOT_FOUND)
    try:
        answer = route(head)
        return answer if isinstance(answer, Answer) else await answer
    except Refused as error:
        return refusal_answer(error.refusal)
    except Exception:  # noqa: BLE001  a route's bug costs its request, not the gateway
        _log.exception("admin request failed", path=head.path)
        return refusal_answer(INTERNAL)


async def serve_admin(stream: trio.abc.Stream, routes: Routes, timeout: float = _HEAD_SECONDS) -> None:
    """Serve one connection and close it; `timeout` seconds for the head. Raises nothing of the client's making."""
    head_only = False
    try:
        head = await read_head(stream, timeout)
        head_only = head.method == "HEAD"
        answer = await answer_for(head, routes)
    except Refused as error:
        answer = refusal_answer(error.refusal)
    except NoRequest:
        await trio.aclose_forcefully(stream)
        return
    await send_answer(stream, answer, head_only=head_only)
