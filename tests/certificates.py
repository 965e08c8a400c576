"""Certificates for tests: an authority made on the spot, what it signs as PEM files, and contexts for clients."""

import base64
import hashlib
import ssl
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from tailrace.config import Listen


class Authority:
    """Signs for 127.0.0.1; `folder` holds the files it wrote last."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.folder = folder
        self.certificate, self.key, self.root = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.root))
        self.issue()

    def issue(self) -> None:
        """A new certificate and its key, into the same files."""
        made = self._ca.issue_cert("127.0.0.1")
        made.private_key_pem.write_to_path(str(self.key))
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))

    @property
    def pin(self) -> str:
        """SHA-256 of the certificate's public key (SubjectPublicKeyInfo) in base64, as browsers are told of one."""
        key = load_pem_x509_certificate(self.certificate.read_bytes()).public_key()
        told = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(hashlib.sha256(told).digest()).decode()

    def listen(self, client_ca: "Authority | None" = None) -> Listen:
        """The section of the configuration."""
        return Listen(
            address="127.0.0.1:0",
            tls_certificate=str(self.certificate),
            tls_key=str(self.key),
            client_ca=client_ca and str(client_ca.root),
        )

    def client(self, shows: "Authority | None" = None) -> ssl.SSLContext:
        """Trusts this authority alone; `shows` a certificate of that one."""
        context = ssl.create_default_context(cafile=str(self.root))
        if shows is not None:
            shows._ca.issue_cert("somebody@example.org").configure_cert(context)
        return context
