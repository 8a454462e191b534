"""cosign's old formats for the tests of verification: recorded layers put to the verifier, and layers changed."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from controller.model.evidence import Artifact, ArtifactKind, VerifiedEvidence
from controller.model.policy import Authority, Identity, KeyAuthority, KeylessAuthority, Need, TrustRoot
from controller.model.reference import Digest
from tests.support.fixtures import RecordedLayer
from tests.unit.verification.evidence import artifact, b64, judge, trust_root

LEGACY_ROOT = trust_root("legacy", "legacy/trusted_root.json")
_ROOTS = {"legacy": LEGACY_ROOT, "cosign2": trust_root("legacy", "cosign2/trusted_root.json")}
SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
CHAIN = "dev.sigstore.cosign/chain"
BUNDLE = "dev.sigstore.cosign/bundle"
TIMESTAMP = "dev.sigstore.cosign/rfc3161timestamp"
V0_1, V0_2 = (f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}" for minor in (1, 2))


def root_of(layer: RecordedLayer) -> TrustRoot:
    """The trust root of the Sigstore that the layer was signed with, under the name that `layer_authority` asks for."""
    return _ROOTS[layer.recording]


def layer_artifact(layer: RecordedLayer) -> Artifact:
    """The layer as discovery would find it."""
    kind = ArtifactKind.COSIGN_SIGNATURE if layer.purpose == "signature" else ArtifactKind.COSIGN_ATTESTATION
    return Artifact(kind, layer.media_type, layer.content, Digest.of(layer.content), "tag", layer.annotations)


def with_annotations(layer: RecordedLayer, **changes: str | None) -> RecordedLayer:
    """The layer with other annotations, by the names above in lower case; None removes one."""
    annotations = dict(layer.annotations)
    for name, value in changes.items():
        full = {"signature": SIGNATURE, "certificate": CERTIFICATE, "chain": CHAIN, "bundle": BUNDLE}.get(
            name, TIMESTAMP
        )
        annotations.pop(full, None)
        if value is not None:
            annotations[full] = value
    return dataclasses.replace(layer, annotations=tuple(sorted(annotations.items())))


def layer_authority(
    layer: RecordedLayer, *, log: Need = Need.OPTIONAL, timestamp: Need = Need.OPTIONAL, root: str = "legacy"
) -> Authority:
    """An authority that the recorded layer is by, and nobody else."""
    if layer.key:
        key = KeyAuthority(layer.public_key, trust_root=root)
        return Authority("signer", key=key, transparency_log=log, timestamp=timestamp)
    keyless = KeylessAuthority((Identity(issuer=layer.issuer, subject=layer.identity),), root)
    return Authority("signer", keyless=keyless, transparency_log=log, timestamp=timestamp)


def judge_layer(
    layer: RecordedLayer,
    authority: Authority | None = None,
    *,
    image: Digest | None = None,
    root: TrustRoot | None = None,
    **more: Any,
) -> VerifiedEvidence:
    """The layer put to the verifier, by default for its own signer (with all that it carries required) and image."""
    asked = authority or layer_authority(
        layer,
        log=Need.REQUIRED if layer.log.startswith("rekor") else Need.OPTIONAL,
        timestamp=Need.REQUIRED if "timestamp" in layer.log else Need.OPTIONAL,
    )
    wanted = image or Digest.parse(layer.digest)
    return judge(layer_artifact(layer), asked, image=wanted, roots={"legacy": root or root_of(layer)}, **more)


def as_bundle(layer: RecordedLayer, entry: Mapping[str, Any] | None = None, *, version: str = V0_1) -> dict[str, Any]:
    """The keyless or keyed attestation as the bundle that a converter makes of it.

    The log entry is that of the layer's annotation (by promise alone), unless another is given.
    """
    annotations = dict(layer.annotations)
    if entry is None:
        record = json.loads(annotations[BUNDLE])
        payload = record["Payload"]
        kind, kind_version = layer.entry.split("/")
        entry = {
            "logIndex": str(payload["logIndex"]),
            "logId": {"keyId": b64(bytes.fromhex(payload["logID"]))},
            "kindVersion": {"kind": kind, "version": kind_version},
            "integratedTime": str(payload["integratedTime"]),
            "inclusionPromise": {"signedEntryTimestamp": record["SignedEntryTimestamp"]},
            "canonicalizedBody": payload["body"],
        }
    holder: dict[str, Any] = {"publicKey": {"hint": ""}}
    if CERTIFICATE in annotations:
        lines = annotations[CERTIFICATE].strip().splitlines()[1:-1]
        holder = {"x509CertificateChain": {"certificates": [{"rawBytes": "".join(lines)}]}}
    return {
        "mediaType": version,
        "verificationMaterial": {**holder, "tlogEntries": [copy.deepcopy(dict(entry))]},
        "dsseEnvelope": {
            **json.loads(layer.content),
            "signatures": [{"sig": json.loads(layer.content)["signatures"][0]["sig"]}],
        },
    }


def judge_bundle(layer: RecordedLayer, bundle: Mapping[str, Any], *, root: TrustRoot = LEGACY_ROOT) -> VerifiedEvidence:
    """A bundle made of the layer, put to the verifier for the layer's signer and image, with the log required."""
    authority = layer_authority(layer, log=Need.REQUIRED)
    return judge(artifact(bundle), authority, image=Digest.parse(layer.digest), roots={"legacy": root})
