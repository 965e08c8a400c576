"""Where the records of TLS begin, without looking into them: OpenSSL is given a few at a time.

Left to itself it works through all that has come within one call, up to the first byte for the application: thousands
of key updates in 64 KiB, 10 to 20 us each. What is no TLS is split anywhere; OpenSSL says what is wrong with it.
"""

from typing import Final

# 0.6 ms of key updates. A record with data ends the call anyway.
RECORDS: Final = 32
HEAD_BYTES: Final = 5  # RFC 8446, 5.1: kind, version, and how much follows


class Records:
    """What the peer sent and OpenSSL has not been given."""

    __slots__ = ("_data", "_rest")

    def __init__(self) -> None:
        self._data = b""
        self._rest = 0  # bytes still to come of a record whose beginning was given

    def add(self, data: bytes) -> None:
        """More has come."""
        self._data += data

    def take(self) -> tuple[bytes, int]:
        """The next piece, and how many records begin in it, at most RECORDS. An empty one: more has to come."""
        data, end, begun = self._data, self._rest, 0
        while begun < RECORDS and end + HEAD_BYTES <= len(data):
            end += HEAD_BYTES + int.from_bytes(data[end + 3 : end + HEAD_BYTES], "big")
            begun += 1
        piece, self._data = data[:end], data[end:]
        self._rest = end - len(piece)
        return piece, begun
