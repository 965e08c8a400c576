"""The files of TLS as a context: read at the start, by `config check`, and again on SIGHUP.

Rules: TLS 1.2 at least, HTTP/1.1 by ALPN, no renegotiation. With a client_ca every client has to show a
certificate that it signed; who is in it is not looked at (tokens say who somebody is). A connection keeps the context
it began with, so reading again drops nobody; files that are no good change nothing.
"""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import trio

from tailrace.errors import ConfigError

# Of two signatures with RSA-2048 at a time, 0.6 ms each, in threads, where OpenSSL gives up the GIL: a fleet that
# reconnects holds up no record.
HANDSHAKES: Final = 2
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2, those with forward secrecy; 1.3 has no others
PROTOCOLS: Final = ["http/1.1"]


class BadCertificate(ConfigError):
    """A file is no good. key: of the section [listen] that names it; the text says what is wrong with it."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"listen.{key}: {message}")
        self.key, self.message = key, message


class Certificates:
    """What the server shows and asks for. context: for handshakes that begin now; turns: for their arithmetic."""

    def __init__(self, certificate: str, key: str, client_ca: str | None) -> None:
        """Paths of PEM files. Raises BadCertificate."""
        self._files = (certificate, key, client_ca)
        self.context = server_context(*self._files)
        self.turns = trio.CapacityLimiter(HANDSHAKES)

    def reload(self) -> None:
        """Read the files again. Raises BadCertificate, and goes on with what there was."""
        self.context = server_context(*self._files)


def faults(certificate: str | None, key: str | None, client_ca: str | None) -> Iterator[tuple[str, str]]:
    """What is wrong with the files: (key of [listen], text). Nothing without a certificate and its key."""
    if certificate and key:
        try:
            server_context(certificate, key, client_ca)
        except BadCertificate as error:
            yield error.key, error.message


def server_context(certificate: str, key: str, client_ca: str | None) -> ssl.SSLContext:
    """Raises BadCertificate, which names the file that is at fault; OpenSSL's own words often do not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE  # a client knows whether it has AES in hardware
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(PROTOCOLS)
    _readable("tls_certificate", certificate)
    _readable("tls_key", key)
    _trust("tls_certificate", certificate, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    try:
        context.load_cert_chain(certificate, key, password=_encrypted)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BadCertificate("tls_key", f"{key} is not the key of {certificate}") from None
        raise BadCertificate(
            "tls_key", f"{key}: not a private key in PEM, or not of this kind of certificate"
        ) from None
    if client_ca:
        _readable("client_ca", client_ca)
        _trust("client_ca", client_ca, context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _readable(key: str, file: str) -> None:
    try:
        Path(file).open("rb").close()
    except OSError as error:
        raise BadCertificate(key, f"{file}: {error.strerror}") from None


def _trust(key: str, file: str, context: ssl.SSLContext) -> None:
    try:
        context.load_verify_locations(file)
    except ssl.SSLError:
        raise BadCertificate(key, f"{file}: no certificate in PEM in it") from None


def _encrypted() -> NoReturn:
    """In place of asking at the terminal."""
    raise BadCertificate("tls_key", "is encrypted: a passphrase cannot be given")
