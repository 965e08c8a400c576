"""Which files of TLS are good, and how a fault is named: by its key in [listen], the file, and what is wrong."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from tests.certificates import Authority

from tailrace.sockets.certificates import BadCertificate, Certificates, faults


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def found(authority: Authority, client_ca: str | None = None) -> list[tuple[str, str]]:
    return list(faults(str(authority.certificate), str(authority.key), client_ca))


def test_good_files_have_no_faults(authority: Authority) -> None:
    assert found(authority) == []
    assert found(authority, str(authority.root)) == []
    assert list(faults(None, None, None)) == []


@pytest.mark.parametrize(
    ("key", "file"), [("tls_certificate", "cert.pem"), ("tls_key", "key.pem"), ("client_ca", "ca.pem")]
)
def test_a_file_that_is_not_there(authority: Authority, key: str, file: str) -> None:
    (authority.folder / file).unlink()
    assert found(authority, str(authority.root)) == [(key, f"{authority.folder / file}: No such file or directory")]


@pytest.mark.parametrize(
    ("key", "file", "what"),
    [
        ("tls_certificate", "cert.pem", "no certificate in PEM in it"),
        ("tls_key", "key.pem", "not a private key in PEM, or not of this kind of certificate"),
        ("client_ca", "ca.pem", "no certificate in PEM in it"),
    ],
)
def test_a_file_of_nonsense(authority: Authority, key: str, file: str, what: str) -> None:
    (authority.folder / file).write_text("nonsense")
    assert found(authority, str(authority.root)) == [(key, f"{authority.folder / file}: {what}")]


def test_the_key_of_another_certificate(authority: Authority) -> None:
    certificate = authority.certificate.read_bytes()
    authority.issue()
    authority.certificate.write_bytes(certificate)
    assert found(authority) == [("tls_key", f"{authority.key} is not the key of {authority.certificate}")]


def test_a_key_with_a_passphrase_is_not_asked_for(authority: Authority) -> None:
    key = load_pem_private_key(authority.key.read_bytes(), None)
    hidden = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    authority.key.write_bytes(hidden)
    assert found(authority) == [("tls_key", "is encrypted: a passphrase cannot be given")]


def test_bad_files_leave_what_there_was(authority: Authority) -> None:
    certificates = Certificates(str(authority.certificate), str(authority.key), None)
    before = certificates.context
    authority.key.write_text("nonsense")
    with pytest.raises(BadCertificate, match=r"^listen\.tls_key: "):
        certificates.reload()
    assert certificates.context is before
    authority.issue()
    certificates.reload()
    assert certificates.context is not before


def test_what_is_asked_of_clients(authority: Authority) -> None:
    files = str(authority.certificate), str(authority.key)
    assert Certificates(*files, None).context.verify_mode is ssl.CERT_NONE
    strict = Certificates(*files, str(authority.root)).context
    assert (strict.verify_mode, strict.minimum_version) == (ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_2)
