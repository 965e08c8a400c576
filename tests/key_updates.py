"""A TLS 1.3 client that asks for new keys as often as it likes, which no library does.

The handshake is Python's ssl in memory; it writes down the client's secret, and every record after it is sealed here
(RFC 8446, 5.2, 7.1 and 7.2). What the server says is never opened.
"""

import ssl
from pathlib import Path

import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

CIPHER = "TLS_AES_256_GCM_SHA384"  # OpenSSL's first choice on both sides
DATA, HANDSHAKE = 23, 22
KEY_UPDATE = b"\x18\0\0\1"  # and whether the other side is to change its keys too
UPDATE_BYTES = 27  # of the whole record


class Sealer:
    """The client's records, from its first after the handshake on."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._take_keys()

    def data(self, payload: bytes) -> bytes:
        """A record for the application."""
        return self._sealed(DATA, payload)

    def key_updates(self, count: int, requested: bool = True) -> bytes:
        """So many, each under the keys of the one before."""
        records = []
        for _ in range(count):
            records.append(self._sealed(HANDSHAKE, KEY_UPDATE + bytes([requested])))
            self._secret = _expanded(self._secret, b"traffic upd", 48)
            self._take_keys()
        return b"".join(records)

    def _take_keys(self) -> None:
        self._cipher = AESGCM(_expanded(self._secret, b"key", 32))
        self._nonce = int.from_bytes(_expanded(self._secret, b"iv", 12), "big")
        self._number = 0

    def _sealed(self, kind: int, payload: bytes) -> bytes:
        nonce = (self._nonce ^ self._number).to_bytes(12, "big")
        self._number += 1
        head = b"\x17\x03\x03" + (len(payload) + 17).to_bytes(2, "big")
        return head + self._cipher.encrypt(nonce, payload + bytes([kind]), head)


def _expanded(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label."""
    label = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return HKDFExpand(SHA384(), size, info).derive(secret)


async def shake_hands(stream: trio.abc.Stream, context: ssl.SSLContext, secrets: Path) -> Sealer:
    """As the client. secrets: a file for them, which is not there yet."""
    context.keylog_filename = str(secrets)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    back, forth = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, forth, server_hostname="127.0.0.1")
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            await stream.send_all(forth.read())
            back.write(await stream.receive_some(65536))
    await stream.send_all(forth.read())
    cipher = client.cipher()
    assert cipher is not None
    assert cipher[0] == CIPHER
    return Sealer(_written(secrets))


def _written(secrets: Path) -> bytes:
    lines = map(str.split, secrets.read_text().splitlines())
    [secret] = [words[2] for words in lines if words[0] == "CLIENT_TRAFFIC_SECRET_0"]
    return bytes.fromhex(secret)
