"""Policies, images and evidence for these tests, with as little to read as possible."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controller.model.documents import Component, Sbom
from controller.model.evidence import (
    Proof,
    Rejection,
    Signer,
    VerifiedAttestation,
    VerifiedEvidence,
    VerifiedSignature,
)
from controller.model.image import Platform, PlatformManifest, ResolvedImage
from controller.model.policy import Policy
from controller.model.reference import Digest, Reference
from controller.policy.compiled import CompiledPolicy, compile_policy
from controller.policy.parse import parse_policy
from controller.settings import PolicySettings

DIGEST = Digest.of(b"image")
IMAGE = ResolvedImage(
    reference=Reference.parse("ghcr.io/acme/app:1.2"),
    digest=DIGEST,
    media_type="application/vnd.oci.image.index.v1+json",
    size=1,
    platforms=(PlatformManifest(DIGEST, Platform("linux", "amd64")), PlatformManifest(DIGEST, None)),
)
SPDX = "https://spdx.dev/Document"
LOG4J = "pkg:maven/org.apache.logging.log4j/log4j-core"


@cache
def pem() -> str:
    """A public key."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def authority(name: str) -> dict[str, Any]:
    return {"name": name, "key": {"pem": pem()}}


def spec(**fields: Any) -> dict[str, Any]:
    """A spec that requires a signature of `release`, with some fields otherwise; None takes a field out."""
    base: dict[str, Any] = {"authorities": [authority("release")], "signatures": {"authorities": ["release"]}}
    return {name: value for name, value in (base | fields).items() if value is not None}


def resource(name: str = "p", *, namespace: str = "", generation: int = 1, **fields: Any) -> dict[str, Any]:
    """A policy object; namespaced if a namespace is given."""
    metadata: dict[str, Any] = {"name": name, "generation": generation}
    if namespace:
        metadata["namespace"] = namespace
    return {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "EvidencePolicy" if namespace else "ClusterEvidencePolicy",
        "metadata": metadata,
        "spec": spec(**fields),
    }


def policy(**fields: Any) -> Policy:
    return parse_policy(resource(**fields))


def compiled(limits: PolicySettings | None = None, **fields: Any) -> CompiledPolicy:
    return compile_policy(policy(**fields), limits)


def with_sbom(**fields: Any) -> dict[str, Any]:
    """The fields of a policy that requires an SBOM, beside others."""
    return {"attestations": [{"name": "sbom", "type": "SBOM", "authorities": ["release"]}]} | fields


def proof(by: str = "k1", *, authority: str = "release", claims: Mapping[str, str] | None = None) -> Proof:
    signer = Signer(issuer="https://issuer", subject=by) if "@" in by else Signer(key=by)
    if claims:
        signer = Signer(issuer="https://issuer", subject=by, claims=tuple(sorted(claims.items())))
    return Proof(
        artifact=Digest.of(f"{by} {authority}".encode()),
        location="referrer",
        authority=authority,
        signer=signer,
        log_entry=None,
        signed_at=None,
        steps=(),
    )


def signature(
    by: str = "k1", *, authority: str = "release", claims: Mapping[str, str] | None = None
) -> VerifiedSignature:
    return VerifiedSignature(proof(by, authority=authority, claims=claims))


def attestation(
    type_: str = SPDX, *, statement: str = "s", authority: str = "release", name: str = "", document: Any = None,
    predicate: Any = None,
) -> VerifiedAttestation:  # fmt: skip
    return VerifiedAttestation(
        name=name,
        predicate_type=type_,
        predicate={} if predicate is None else predicate,
        statement=Digest.of(statement.encode()),
        proof=proof(authority=authority),
        document=document,
    )


def sbom(*purls: str) -> Sbom:
    components = tuple(Component(name=p.rpartition("/")[2], version=p.partition("@")[2] or None, purl=p) for p in purls)
    return Sbom(format="SPDX", spec_version="2.3", name="app", created=None, components=components)


def rejection(message: str = "is signed by another key", *, authority: str = "release", unjudged: bool = False,
              location: str = "tag x") -> Rejection:  # fmt: skip
    return Rejection(
        artifact=Digest.of(location.encode()),
        location=location,
        authority=authority,
        code="SignatureInvalid",
        message=message,
        unjudged=unjudged,
    )


def evidence(*found: VerifiedSignature | VerifiedAttestation | Rejection) -> VerifiedEvidence:
    return VerifiedEvidence(
        image=DIGEST,
        signatures=tuple(f for f in found if isinstance(f, VerifiedSignature)),
        attestations=tuple(f for f in found if isinstance(f, VerifiedAttestation)),
        rejections=tuple(f for f in found if isinstance(f, Rejection)),
    )
