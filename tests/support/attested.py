"""Attested documents as the recorder stores them, and leaves that say what was verified of them.

Their signatures verify nothing: the inventory does not verify again what the leaves say was verified.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from controller.model.reference import Digest
from tests.support.inventory import DIGEST, START, evaluation, image, leaf

SPDX = "https://spdx.dev/Document"
CYCLONEDX = "https://cyclonedx.org/bom"
VULNS, VEX = "https://cosign.sigstore.dev/attestation/vuln/v1", "https://openvex.dev/ns/v0.2.0"
SLSA = "https://slsa.dev/provenance/v1"
TRIVY = "pkg:github/aquasecurity/trivy@0.50.0"


def spdx(*purls: str, created: str = "2026-11-20T08:00:00Z", packages: Iterable[Mapping[str, Any]] = ()) -> Any:
    """An SPDX 2.3 document that lists these package URLs, and packages as they are given."""
    listed = [
        {
            "SPDXID": f"SPDXRef-{number}",
            "name": purl.partition("@")[0].rpartition("/")[2],
            "versionInfo": purl.partition("@")[2].partition("?")[0],
            "externalRefs": [
                {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}
            ],
        }
        for number, purl in enumerate(purls)
    ]
    return {
        "spdxVersion": "SPDX-2.3",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "app",
        "documentNamespace": "https://example.com/app",
        "creationInfo": {"created": created, "creators": ["Tool: maker-1.0", "Organization: Acme"]},
        "packages": [*listed, *packages],
    }


def cyclonedx(*components: Mapping[str, Any]) -> Any:
    """A CycloneDX 1.6 document with these components."""
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": list(components)}


def envelope(predicate: Any, predicate_type: str = SPDX, *digests: str) -> bytes:
    """A DSSE envelope with a statement about these images."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": "image", "digest": {"sha256": Digest.parse(digest).hex}} for digest in digests or [DIGEST]
        ],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    signed = {"payloadType": "application/vnd.in-toto+json", "payload": payload, "signatures": [{"sig": "c2ln"}]}
    return json.dumps(signed).encode()


def bundle(predicate: Any, predicate_type: str = SPDX, *digests: str) -> bytes:
    """A Sigstore bundle around such an envelope."""
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": "x"}},
            "dsseEnvelope": json.loads(envelope(predicate, predicate_type, *digests)),
        }
    ).encode()


def attesting(
    *contents: bytes,
    digest: str = DIGEST,
    predicate_type: str = SPDX,
    rejected: str = "",
    policy: str = "release-signed",
    policy_namespace: str = "",
    child: str = "",
    signed_at: str | None = "2026-11-22T10:00:00.000000Z",
    **changes: Any,
) -> tuple[dict[str, Any], dict[Digest, bytes]]:
    """A decision by which these artefacts were verified as attestations of the image (or rejected), and their bytes."""
    found = evaluation(policy=policy)
    found["policy"]["namespace"] = policy_namespace
    (example,) = found["attestations"]
    artifacts = [str(Digest.of(content)) for content in contents]
    verified = [
        {**example, "artifact": artifact, "predicateType": predicate_type, "signedAt": signed_at}
        for artifact in artifacts
    ]
    failed = [
        {"artifact": artifact, "location": "referrer", "authority": "release", "code": rejected, "message": ""}
        for artifact in artifacts
    ]
    found |= {"signatures": [], "attestations": [] if rejected else verified, "rejections": failed if rejected else []}
    if child:
        found["child"] = {"digest": child, "platform": "linux/arm64"}
    number = changes.pop("number", 0)
    value = leaf(number, images=[image(digest=digest)], evaluations=[found], blobs=artifacts, **changes)
    return value, {Digest.of(content): content for content in contents}


def scan(
    *findings: tuple[str, str, str, str], at: datetime = START, target: str = "app", updated: datetime | None = None
) -> bytes:
    """A scan by Trivy in cosign's predicate: identifier, severity, purl, version with the fix.

    `updated` is when the scanner's database was.
    """
    vulnerabilities = [
        {
            "VulnerabilityID": identifier,
            "Severity": severity,
            "PkgName": purl.partition("@")[0].rpartition("/")[2],
            "InstalledVersion": purl.partition("@")[2].partition("?")[0],
            "PkgIdentifier": {"PURL": purl},
            "FixedVersion": fixed,
        }
        for identifier, severity, purl, fixed in findings
    ]
    results = [{"Target": target, "Class": "os-pkgs", "Vulnerabilities": vulnerabilities}] if target else []
    finished = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    predicate = {
        "invocation": {"uri": "", "event_id": "", "builder.id": ""},
        "scanner": {
            "uri": TRIVY,
            "version": "0.50.0",
            "db": {"uri": "", "version": ""} | ({"lastUpdate": updated.isoformat()} if updated else {}),
            "result": {"SchemaVersion": 2, "CreatedAt": finished, "Results": results},
        },
        "metadata": {"scanStartedOn": finished, "scanFinishedOn": finished},
    }
    return bundle(predicate, VULNS)


def vex(*statements: dict[str, Any], identity: str = "https://acme.example/vex/1") -> bytes:
    """An OpenVEX document about the subject of its attestation."""
    return bundle(
        {
            "@context": VEX,
            "@id": identity,
            "author": "Acme",
            "timestamp": "2026-11-22T10:00:00Z",
            "version": 1,
            "statements": list(statements),
        },
        VEX,
    )


def provenance(*bases: str, builder: str = "https://builds.example/v1", source: str = "https://git.example/app") -> Any:
    """SLSA provenance v1 of a build by this builder, from this source, on these base images (names with a tag)."""
    return {
        "buildDefinition": {
            "buildType": "https://builds.example/types/v1",
            "externalParameters": {},
            "resolvedDependencies": [
                {"uri": f"git+{source}@refs/heads/main", "digest": {"gitCommit": "0a" * 20}},
                *({"uri": f"docker://{base}", "digest": {"sha256": "0b" * 32}} for base in bases),
            ],
        },
        "runDetails": {"builder": {"id": builder}, "metadata": {"finishedOn": "2026-11-22T09:00:00Z"}},
    }
