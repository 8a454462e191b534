"""TLS clients, such as an API server is one to its webhooks: certificates by CAs of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def client(folder: Path, *, common_name: str = "", dns: str = "", authority: Path | None = None) -> tuple[Path, Path]:
    """A client's certificate by a CA of its own (`ca.crt`) or by another client's; certificate and key."""
    folder.mkdir()
    now = datetime.now(UTC)

    def write(name: str, subject: x509.Name, issuer: x509.Name, signer: Any, *extensions: x509.ExtensionType) -> Any:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(signer or key, hashes.SHA256())
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
        return key

    ca = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA of {(authority or folder).name}")])
    if authority is None:
        signer = write("ca", ca, ca, None, x509.BasicConstraints(ca=True, path_length=0))
    else:
        signer = serialization.load_pem_private_key((authority / "ca.key").read_bytes(), None)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
    names = [x509.SubjectAlternativeName([x509.DNSName(dns)])] if dns else []
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    write("client", subject, ca, signer, usage, *names)
    return folder / "client.crt", folder / "client.key"
