"""One connection's TLS over its socket: OpenSSL between two buffers in memory, the socket's side of it is ours.

Rules: sending never waits (`write` seals, `flush` offers to the kernel what it takes), so the connection's one writer
decides when to wait, as for bare TCP; `send_all` is for whoever is alone with the stream. Reading may have to answer
(a key update): a peer that makes us talk and does not read is given up after ANSWERS_BYTES, and one whose records
bring nothing, read or not, after ALLOWANCE of them (`flooded`). The arithmetic of a handshake runs in a thread. Not
trio.SSLStream: its every send waits and locks, 3 times the cost of this one.
"""

import os
import ssl

import trio

from tailrace.sockets.certificates import Certificates
from tailrace.sockets.tcp import RECEIVE_BYTES, TcpStream
from tailrace.sockets.tls_records import Records

ANSWERS_BYTES = 16 * 1024  # of TLS's own making that the client leaves unread
# Records without data, key updates above all: 20 us each for 27 bytes. BoringSSL bears 32 in a row, Go 16; clients make
# one in millions. Here each has to be earned by data, or a byte between would excuse the next 32.
ALLOWANCE = 32
EARNED = 16  # records with data that make up for one without
NOTHING = memoryview(b"")


class TlsStream(trio.abc.Stream):
    """The server's side, over an accepted socket. Raises as any trio stream does, whatever TLS has to say about it.

    flooded: it is read no more, since its peer sends record after record without data; what is sent still leaves.
    """

    __slots__ = (
        "_credit", "_in", "_out", "_records", "_ssl", "_transport", "_unsent", "added_bytes", "flooded", "socket",
    )  # fmt: skip

    def __init__(self, transport: trio.SocketStream | TcpStream, context: ssl.SSLContext) -> None:
        self._transport = transport
        self.socket = transport.socket
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._in, self._out, server_side=True)
        self._records = Records()
        self._credit = ALLOWANCE * EARNED  # each record costs EARNED of it, and brings one more when it has data
        self._unsent = NOTHING
        self.added_bytes = 0  # by the last `write`
        self.flooded = False

    async def do_handshake(self, turns: trio.CapacityLimiter) -> None:
        """turns: how many calculate at the same time. Raises BrokenResourceError when it fails, alert sent."""
        while True:
            try:
                await trio.to_thread.run_sync(self._ssl.do_handshake, limiter=turns)
            except ssl.SSLWantReadError:
                await self._send_unsent()
                if not await self._feed():
                    raise trio.BrokenResourceError from None
            except ssl.SSLError as error:
                self.flush()
                raise trio.BrokenResourceError(error.reason) from None
            else:
                self._credit = ALLOWANCE * EARNED
                await self._send_unsent()
                return

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """A client that ends the connection without TLS's goodbye has ended it all the same: most do."""
        while True:
            try:
                data = self._ssl.read(RECEIVE_BYTES if max_bytes is None else max_bytes)
            except ssl.SSLWantReadError:
                data = None
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                data = b""
            except ssl.SSLError as error:
                raise trio.BrokenResourceError(error.reason) from None
            self._answered()
            if data is not None:
                self._credit += EARNED + 1
                await trio.lowlevel.checkpoint()
                return data
            self._judge()
            await self._feed()

    def _judge(self) -> None:
        """Once all that was fed has been read."""
        if self._credit < 0:
            self.flooded = True
            raise trio.BrokenResourceError("it sends record after record without data")
        self._credit = min(self._credit, ALLOWANCE * EARNED)

    async def _feed(self) -> bool:
        """A few records more, those that are there first; whether there were any."""
        while True:
            piece, begun = self._records.take()
            if piece:
                self._in.write(piece)
                self._credit -= begun * EARNED
                return True
            data = await self._transport.receive_some(RECEIVE_BYTES)
            if not data:
                self._in.write_eof()
                return False
            self._records.add(data)

    def _answered(self) -> None:
        """Reading may have put something into the way out."""
        if not self.flush() and self._out.pending > ANSWERS_BYTES:
            self.flooded = True
            raise trio.BrokenResourceError("it asks for answers and does not read them")

    def write(self, data: bytes) -> bool:
        """Seal all of it and offer it to the kernel; whether nothing is left. Raises BrokenResourceError.

        For when nothing is left of the last (`flush` has said so): else it waits in line, and is copied once more.
        """
        try:
            self._ssl.write(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(error.reason) from None
        sealed = self._out.read()
        self.added_bytes = len(sealed) - len(data)
        self._unsent = memoryview(bytes(self._unsent) + sealed if self._unsent else sealed)
        return self._offer()

    def flush(self) -> bool:
        """Offer what is left to the kernel again; whether nothing is. Raises BrokenResourceError."""
        if self._unsent and not self._offer():
            return False
        if self._out.pending:
            self._unsent = memoryview(self._out.read())
            return self._offer()
        return True

    def _offer(self) -> bool:
        try:
            took = os.write(self.socket.fileno(), self._unsent)
        except BlockingIOError:
            return False
        except OSError as error:
            raise trio.BrokenResourceError from error
        self._unsent = self._unsent[took:] if took < len(self._unsent) else NOTHING
        return not self._unsent

    @property
    def unsent_bytes(self) -> int:
        """Sealed bytes that the kernel has not taken."""
        return len(self._unsent) + self._out.pending

    def finish(self) -> None:
        """No more is sent: TLS's goodbye, as far as the kernel takes it at once, and the end of file behind it."""
        try:
            self._ssl.unwrap()
        except ssl.SSLError:
            pass  # the client has not said its own yet
        if self.flush():
            self.socket.shutdown(trio.socket.SHUT_WR)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        if data:
            self.write(bytes(data))
        await self._send_unsent()

    async def _send_unsent(self) -> None:
        while not self.flush():
            await trio.lowlevel.wait_writable(self.socket)

    async def wait_send_all_might_not_block(self) -> None:
        await self._send_unsent()

    async def aclose(self) -> None:
        """Says goodbye if that needs no waiting."""
        try:
            if self.socket.fileno() >= 0:
                self.finish()
        except (OSError, trio.BrokenResourceError):
            pass
        await self._transport.aclose()


async def secured(transport: TcpStream, certificates: Certificates, timeout: float) -> TlsStream | None:
    """The stream after a handshake of at most `timeout` seconds; None when it failed, and the socket is closed."""
    stream = TlsStream(transport, certificates.context)
    with trio.move_on_after(timeout):
        try:
            await stream.do_handshake(certificates.turns)
            return stream
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
    await trio.aclose_forcefully(transport)
    return None
