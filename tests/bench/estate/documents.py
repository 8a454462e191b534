"""Attested documents as producers write them, wrapped as the recorder keeps them.

The signatures are bytes of the right length and nothing more: whether one verifies was found out at admission, and the
inventory does not ask again. What an estate's leaves say was verified is what its inventor decided.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tests.bench.estate import catalogue
from tests.bench.estate.facts import Component, Provenance, Report, Signer, Vex

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
STATEMENT = "application/vnd.in-toto+json"
SIGN = "https://sigstore.dev/cosign/sign/v1"
SPDX = "https://spdx.dev/Document"
CYCLONEDX = "https://cyclonedx.org/bom"
PROVENANCE = "https://slsa.dev/provenance/v1"
VULNERABILITIES = "https://cosign.sigstore.dev/attestation/vuln/v1"
OPENVEX = "https://openvex.dev/ns/v0.2.0"
LOG_ID = base64.b64encode(hashlib.sha256(b"the estate's log").digest()).decode()
_TOOL = "syft-1.18.1"


def second(moment: datetime) -> str:
    """RFC 3339 to the second, as most tools write it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def cyclonedx_bom(name: str, created: datetime, components: Iterable[Component], unique: str) -> bytes:
    """A CycloneDX 1.6 document."""
    head = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{unique}",
        "version": 1,
        "metadata": {
            "timestamp": second(created),
            "tools": {
                "components": [{"type": "application", "author": "anchore", "name": "syft", "version": "1.18.1"}]
            },
            "component": {"bom-ref": "root", "type": "container", "name": name, "version": unique[:12]},
        },
    }
    body = ",".join(map(catalogue.cyclonedx, components))
    return f'{json.dumps(head, separators=(",", ":"))[:-1]},"components":[{body}]}}'.encode()


def spdx_document(name: str, created: datetime, components: Iterable[Component], unique: str) -> bytes:
    """An SPDX 2.3 document."""
    head = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://anchore.com/syft/image/{name}-{unique}",
        "creationInfo": {
            "licenseListVersion": "3.25",
            "creators": ["Organization: Anchore, Inc", f"Tool: {_TOOL}"],
            "created": second(created),
        },
    }
    body = ",".join(map(catalogue.spdx, components))
    return f'{json.dumps(head, separators=(",", ":"))[:-1]},"packages":[{body}]}}'.encode()


def provenance(told: Provenance, finished: datetime) -> bytes:
    """SLSA provenance 1 as GitHub's builder makes it."""
    return _json(
        {
            "buildDefinition": {
                "buildType": "https://actions.github.io/buildtypes/workflow/v1",
                "externalParameters": {
                    "workflow": {
                        "ref": "refs/heads/main",
                        "repository": told.source,
                        "path": ".github/workflows/release.yml",
                    }
                },
                "resolvedDependencies": [
                    {"uri": f"git+{told.source}@refs/heads/main", "digest": {"gitCommit": told.commit}},
                    {"uri": told.base_uri, "digest": {"sha256": told.base_digest.removeprefix("sha256:")}},
                ],
            },
            "runDetails": {
                "builder": {"id": told.builder},
                "metadata": {"invocationId": f"{told.source}/actions/runs/1", "finishedOn": second(finished)},
            },
        }
    )


def vulnerability_report(name: str, report: Report) -> bytes:
    """What cosign attests of a Trivy scan."""
    found = [
        {
            "VulnerabilityID": item.id,
            "PkgName": item.package,
            "PkgIdentifier": {"PURL": item.purl},
            "InstalledVersion": item.version,
            **({"FixedVersion": item.fixed} if item.fixed else {}),
            "Status": "fixed" if item.fixed else "affected",
            "SeveritySource": "nvd",
            "Severity": item.severity,
            "Title": f"{item.package}: a flaw that the estate's scanner knows as {item.id}",
            "CVSS": {"nvd": {"V3Score": item.score}},
        }
        for item in report.findings
    ]
    at = second(report.scanned_at)
    return _json(
        {
            "invocation": {"parameters": [], "uri": "", "event_id": "", "builder.id": ""},
            "scanner": {
                "uri": "pkg:github/aquasecurity/trivy@0.60.0",
                "version": "0.60.0",
                "db": {"uri": "pkg:github/aquasecurity/trivy-db", "version": "2", "lastUpdate": at},
                "result": {
                    "SchemaVersion": 2,
                    "ArtifactName": name,
                    "ArtifactType": "container_image",
                    "Results": [{"Target": name, "Class": "os-pkgs", "Type": "debian", "Vulnerabilities": found}],
                },
            },
            "metadata": {"scanStartedOn": at, "scanFinishedOn": at},
        }
    )


def openvex(told: Vex, *, digest: str, unique: str) -> bytes:
    """An OpenVEX document about one image."""
    product = {"@id": f"pkg:oci/image@{digest.replace(':', '%3A')}"}
    return _json(
        {
            "@context": "https://openvex.dev/ns/v0.2.0",
            "@id": f"https://openvex.dev/docs/estate/vex-{unique}",
            "author": "Estate Security Team",
            "timestamp": second(told.made_at),
            "version": 1,
            "statements": [
                {
                    "vulnerability": {"name": name},
                    "products": [product],
                    "status": told.status,
                    "justification": told.justification,
                }
                for name in told.ids
            ],
        }
    )


def statement(name: str, digest: str, predicate_type: str, predicate: bytes) -> bytes:
    """The in-toto statement about an image."""
    subject = json.dumps([{"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}])
    return b'{"_type":"https://in-toto.io/Statement/v1","subject":%s,"predicateType":%s,"predicate":%s}' % (
        subject.encode(),
        json.dumps(predicate_type).encode(),
        predicate,
    )


def envelope(payload: bytes) -> bytes:
    """A DSSE envelope, as cosign's layers of old hold it."""
    return b'{"payloadType":"%s","payload":"%s","signatures":[{"keyid":"","sig":"%s"}]}' % (
        STATEMENT.encode(),
        base64.b64encode(payload),
        _noise(payload, 71),
    )


def bundle(payload: bytes, *, signer: Signer, log_index: int | None, signed_at: datetime) -> bytes:
    """A Sigstore bundle of version 0.3 around a statement."""
    if signer.key:
        material: dict[str, Any] = {"publicKey": {"hint": signer.key.removeprefix("sha256:")[:44]}}
    else:
        material = {"certificate": {"rawBytes": _noise(signer.subject.encode() + payload[:200], 1660).decode()}}
    if log_index is not None:
        material["tlogEntries"] = [_log_entry(payload, log_index, signed_at)]
    head = _json({"mediaType": BUNDLE, "verificationMaterial": material})[:-1]
    return b'%s,"dsseEnvelope":%s}' % (head, envelope(payload))


def _log_entry(payload: bytes, index: int, signed_at: datetime) -> Mapping[str, Any]:
    hashes: Sequence[str] = [_noise(b"%d %d" % (index, level), 32).decode() for level in range(20)]
    return {
        "logIndex": str(index),
        "logId": {"keyId": LOG_ID},
        "kindVersion": {"kind": "dsse", "version": "0.0.1"},
        "integratedTime": str(int(signed_at.timestamp())),
        "inclusionPromise": {"signedEntryTimestamp": _noise(b"set %d" % index, 71).decode()},
        "inclusionProof": {
            "logIndex": str(index),
            "rootHash": hashes[0],
            "treeSize": str(index + 1),
            "hashes": hashes,
            "checkpoint": {
                "envelope": f"estate.log.example\n{index + 1}\n{hashes[0]}\n\n— estate.log.example {hashes[1]}\n"
            },
        },
        "canonicalizedBody": _noise(payload[:64], 3400).decode(),
    }


def _noise(seed: bytes, size: int) -> bytes:
    """Base64 of so many bytes that no compression makes smaller, as signatures are."""
    return base64.b64encode(hashlib.shake_128(seed).digest(size))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
