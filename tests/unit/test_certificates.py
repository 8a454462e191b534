"""The webhook's certificates: trusted by what the bundle says, renewed in time, rotated without a gap."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from controller.certificates import (
    AUTHORITY_VALIDITY,
    FILES,
    SERVING_VALIDITY,
    SETTLE,
    SKEW,
    Certificates,
    in_directory,
    renewed,
)
from controller.errors import ConfigurationError

NAMES = ("assay.assay-system.svc", "127.0.0.1", "::1")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _trusts(bundle: bytes, served: Certificates, folder: Path) -> bool:
    """Whether a TLS client that has the bundle alone accepts the server, by name."""
    for name, content in served.as_files().items():
        (folder / name).write_bytes(content)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    client = ssl.create_default_context(cadata=bundle.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    one, other = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(one, server_side=True) as wrapped:
                wrapped.recv(1)
        except OSError:
            one.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(other, server_hostname=NAMES[0]) as wrapped:
            wrapped.send(b"x")
        return True
    except ssl.SSLError:
        other.close()
        return False
    finally:
        thread.join()


def test_a_client_that_has_the_bundle_trusts_the_server_and_no_other_client_does(tmp_path: Path) -> None:
    made = renewed(None, names=NAMES, now=datetime.now(UTC))
    assert _trusts(made.ca_bundle(), made, tmp_path)
    assert not _trusts(renewed(None, names=NAMES, now=datetime.now(UTC)).ca_bundle(), made, tmp_path)


def test_certificates_are_p256_for_the_names_and_for_serving_alone() -> None:
    made = renewed(None, names=NAMES, now=NOW)
    certificate = made.serving.certificate
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(str(name.value) for name in names) == sorted(NAMES)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_after_utc == NOW + SERVING_VALIDITY


def test_nothing_is_renewed_before_a_third_of_the_validity_is_left() -> None:
    made = renewed(None, names=NAMES, now=NOW)
    assert renewed(made, names=NAMES, now=NOW + SERVING_VALIDITY * 0.6) is made


def test_the_serving_certificate_is_renewed_by_the_same_ca_when_less_than_a_third_is_left() -> None:
    made = renewed(None, names=NAMES, now=NOW)
    later = renewed(made, names=NAMES, now=NOW + SERVING_VALIDITY * 0.68)
    assert later.serving.certificate != made.serving.certificate
    assert later.authorities == made.authorities


def test_other_names_make_another_certificate() -> None:
    made = renewed(None, names=NAMES, now=NOW)
    other = renewed(made, names=("other.example",), now=NOW)
    assert other.serving.certificate != made.serving.certificate
    assert renewed(other, names=("other.example",), now=NOW) is other


def test_a_new_ca_stands_beside_the_old_one_and_signs_nothing_until_it_has_settled() -> None:
    made = renewed(None, names=NAMES, now=NOW)
    due = NOW + AUTHORITY_VALIDITY * 0.7
    both = renewed(made, names=NAMES, now=due)
    assert len(both.authorities) == 2
    old, new = made.authorities[0].certificate, both.authorities[0].certificate
    assert both.ca_bundle().count(b"BEGIN CERTIFICATE") == 2
    both.serving.certificate.verify_directly_issued_by(old)
    settled = renewed(both, names=("renewed.example",), now=due + SETTLE + SKEW)
    settled.serving.certificate.verify_directly_issued_by(new)
    assert [pair.certificate for pair in settled.authorities] == [new, old]
    assert settled.authorities[1].key is None


def test_an_ended_ca_leaves_the_bundle() -> None:
    made = renewed(None, names=NAMES, now=NOW)
    both = renewed(made, names=NAMES, now=NOW + AUTHORITY_VALIDITY * 0.7)
    after = renewed(both, names=NAMES, now=NOW + AUTHORITY_VALIDITY + timedelta(seconds=1))
    assert made.authorities[0].certificate not in [pair.certificate for pair in after.authorities]
    after.serving.certificate.verify_directly_issued_by(after.authorities[0].certificate)


def test_files_are_private_and_read_back_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    made = in_directory(folder, names=NAMES)
    assert {file.name for file in folder.iterdir()} == {*FILES, ".lock"}
    assert [oct((folder / name).stat().st_mode & 0o777) for name in FILES] == ["0o600"] * len(FILES)
    again = in_directory(folder, names=NAMES)
    assert again.as_files() == made.as_files()
    assert Certificates.from_files(made.as_files()).as_files() == made.as_files()


def test_damaged_files_are_an_error_that_quotes_no_key(tmp_path: Path) -> None:
    in_directory(tmp_path, names=NAMES)
    (tmp_path / "tls.key").write_bytes(b"-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n")
    with pytest.raises(ConfigurationError, match="CertificatesMalformed") as caught:
        in_directory(tmp_path, names=NAMES)
    assert "hunter2" not in str(caught.value)


def test_a_key_of_another_certificate_is_refused() -> None:
    one, other = (renewed(None, names=NAMES, now=NOW).as_files() for _ in range(2))
    with pytest.raises(ConfigurationError, match="CertificatesMalformed"):
        Certificates.from_files({**one, "tls.key": other["tls.key"]})


def test_no_names_are_an_error() -> None:
    with pytest.raises(ConfigurationError, match="CertificateNamesMissing"):
        renewed(None, names=(), now=NOW)


def test_a_key_is_never_shown() -> None:
    assert "PrivateKey" not in repr(renewed(None, names=NAMES, now=NOW))
