"""What a session asks of its connection. It decides and never does: each action is carried out in the order given.

`Open`, `Produce` and `Authenticate` take time and are answered by calling the session back with the same ticket;
`Close` likewise, at once or later. The ticket, not its id, names the work (see lifecycle).
"""

from msgspec import Struct

from tailrace.core.commands import Auth, Publish, Subscribe
from tailrace.core.lifecycle import Ticket
from tailrace.core.messages import Message
from tailrace.disconnect import Disconnect


class Send(Struct, frozen=True):
    """Encode and send this, in line with everything else."""

    message: Message


class Open(Struct, frozen=True):
    """Find out where the subscription begins and start it: `opened`, or `refused`, within 10 s."""

    ticket: Ticket
    subscribe: Subscribe


class Abandon(Struct, frozen=True):
    """The client no longer wants what `Open` asked for: stop; an outcome that comes all the same is ignored."""

    ticket: Ticket


class Close(Struct, frozen=True):
    """Stop the subscription, then `closed` with its last positions."""

    ticket: Ticket


class Revoke(Struct, frozen=True):
    """The client may not read this any more: stop, then `ended` with `forbidden` and the last positions."""

    ticket: Ticket


class Produce(Struct, frozen=True):
    """Write it to Kafka: `published`, or `refused`."""

    ticket: Ticket
    publish: Publish


class Authenticate(Struct, frozen=True):
    """Judge the token: `authenticated`, or `refused`. Until then the session holds back what the client sends."""

    ticket: Ticket
    auth: Auth


class End(Struct, frozen=True):
    """The last: end the connection so. Call `closing` with the positions of all subscriptions, send that, close."""

    disconnect: Disconnect


Action = Send | Open | Abandon | Close | Revoke | Produce | Authenticate | End
