"""Images that differ from each other and are truly signed, made on the spot: a cold review needs one never seen.

What an image is follows from its repository's name alone, so that load and registry agree without talking. Bundles have
the form that cosign writes (DSSE, signed with a key); how true they are to it, the recorded fixtures are the test of.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGNING = "https://sigstore.dev/cosign/sign/v1"
CYCLONEDX = "https://cyclonedx.org/bom"
STATEMENT = "application/vnd.in-toto+json"
TAG = "v1"
PACKAGES = 5000
_EMPTY = b"{}"


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes with their media type."""

    media_type: str
    body: bytes

    @property
    def digest(self) -> str:
        """`sha256:<hex>`."""
        return digest_of(self.body)

    @property
    def descriptor(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.body)}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One referrer: its manifest and its one layer."""

    manifest: Content
    bundle: Content


def digest_of(content: bytes) -> str:
    """`sha256:<hex>`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@lru_cache(maxsize=100_000)
def image_digest(repository: str) -> str:
    """The digest of the image in this repository."""
    return image(repository).digest


def image(repository: str) -> Content:
    """The manifest of the image in this repository."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Labels": {"name": repository}}}).encode()
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest_of(b"layer"), "size": 5}
    described = {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": digest_of(config),
        "size": len(config),
    }
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": [layer]}
    return Content(MANIFEST, json.dumps(body).encode())


class Signer:
    """The key that all benchmark images are signed with."""

    def __init__(self, private: ec.EllipticCurvePrivateKey | None = None) -> None:
        self._private = private or ec.generate_private_key(ec.SECP256R1())

    @classmethod
    def from_pem(cls, pem: bytes) -> Signer:
        """The signer whose private key this is."""
        private = serialization.load_pem_private_key(pem, None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise TypeError("an EC key was expected")
        return cls(private)

    @property
    def private_pem(self) -> bytes:
        """For the registry's process."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def public_pem(self) -> str:
        """For policies."""
        public = self._private.public_key()
        return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()

    def evidence(self, repository: str) -> tuple[Evidence, ...]:
        """A signature; for repositories under `sbom/` an SBOM too."""
        subject = image(repository)
        made = [self._attest(subject, SIGNING, _EMPTY)]
        if repository.startswith("sbom/"):
            made.append(self._attest(subject, CYCLONEDX, _sbom(repository)))
        return tuple(made)

    def _attest(self, subject: Content, predicate_type: str, predicate: bytes) -> Evidence:
        payload = b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"%s"}}],' % (
            subject.digest.removeprefix("sha256:").encode()
        ) + b'"predicateType":"%s","predicate":%s}' % (predicate_type.encode(), predicate)
        encoded = b" ".join((b"DSSEv1", str(len(STATEMENT)).encode(), STATEMENT.encode(), str(len(payload)).encode()))
        signature = self._private.sign(encoded + b" " + payload, ec.ECDSA(hashes.SHA256()))
        envelope = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": STATEMENT,
            "signatures": [{"sig": base64.b64encode(signature).decode()}],
        }
        material = {"publicKey": {"hint": ""}}
        body = {"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope}
        bundle = Content(BUNDLE, json.dumps(body).encode())
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": BUNDLE,
            "config": Content("application/vnd.oci.empty.v1+json", _EMPTY).descriptor,
            "layers": [bundle.descriptor],
            "subject": subject.descriptor,
        }
        return Evidence(Content(MANIFEST, json.dumps(manifest).encode()), bundle)


def _sbom(repository: str) -> bytes:
    """A CycloneDX SBOM of `PACKAGES` packages of several ecosystems, none of them log4j."""
    return _sbom_template().replace(b"REPOSITORY", repository.encode())


@lru_cache(maxsize=1)
def _sbom_template() -> bytes:
    document: Mapping[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": "REPOSITORY", "bom-ref": "root"}},
        "components": [_component(number) for number in range(PACKAGES)],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _component(number: int) -> dict[str, Any]:
    version = f"{number % 9}.{number % 37}.{number % 11}"
    name = f"package-{number}"
    purl = (
        f"pkg:npm/%40acme/{name}@{version}",
        f"pkg:maven/org.acme.group{number % 50}/{name}@{version}",
        f"pkg:pypi/{name}@{version}",
        f"pkg:deb/debian/{name}@{version}-1?arch=amd64&distro=debian-12",
        f"pkg:golang/github.com/acme/{name}@v{version}",
    )[number % 5]
    return {
        "type": "library",
        "bom-ref": f"{purl}#{number}",
        "name": name,
        "version": version,
        "purl": purl,
        "cpe": f"cpe:2.3:a:acme:{name}:{version}:*:*:*:*:*:*:*",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "properties": [{"name": "syft:location:0:path", "value": f"/usr/lib/{name}"}],
    }
