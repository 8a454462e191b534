"""The recorded evidence, for tests that pick a bundle by what it is (tests/fixtures/README.md says what there is)."""

from __future__ import annotations

import base64
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
RECORDED = CHECKOUT / "tests" / "fixtures" / "recorded"
RECORDED_LEGACY = RECORDED / "legacy"
RECORDED_COSIGN2 = RECORDED / "cosign2"
RECORDED_OWN_CA = RECORDED / "own-ca"
DEMO_LAYOUT = CHECKOUT / "controller" / "demo" / "layout"
POLICIES = CHECKOUT / "policies"
POLICIES_EVIDENCE = POLICIES / "evidence"


@dataclass(frozen=True, slots=True)
class RecordedBundle:
    """One bundle as cosign wrote it, and how it was made: a row of `index.json`.

    What does not apply is the empty string.
    """

    name: str  # signer.witness.what
    file: str
    content: str  # "dsse" or "messageSignature"
    purpose: str  # "signature" and "attestation" are about an image's manifest, "blob" about `recorded_blob()`
    predicate_type: str  # the statement's own
    digest: str  # `sha256:<hex>` of what is signed
    authority: str  # "key" or "keyless"
    key: str  # file of the public key
    key_type: str  # "ecdsa-p256", "ecdsa-p384", "rsa-3072", "ed25519", or "ed25519ph" for that key used so
    issuer: str
    identity: str  # the certificate's subject alternative name
    log: str  # "none", "timestamp", "rekor1", "rekor1+timestamp", "rekor2" or "rekor2+timestamp"
    trusted_root: str  # file of the trust root of the Sigstore that signed it
    tool: str  # "cosign", "cosign 2" or "securesystemslib"

    @property
    def raw(self) -> bytes:
        """The bundle's bytes."""
        return (RECORDED / self.file).read_bytes()

    def parsed(self) -> dict[str, Any]:
        """The bundle as a new dict, for tests that change something in it."""
        parsed: dict[str, Any] = json.loads(self.raw)
        return parsed

    @property
    def public_key(self) -> str:
        """The PEM of the key that signed it. Raises `ValueError` for a keyless one."""
        if not self.key:
            raise ValueError(f"{self.name} was signed without a key")
        return (RECORDED / self.key).read_text()


@dataclass(frozen=True, slots=True)
class RecordedLayer:
    """One layer of cosign's old formats as it lay in the registry, and how it was made: a row of `index.json`.

    What does not apply is the empty string.
    """

    name: str  # signer.witness.what
    content: bytes
    media_type: str
    annotations: tuple[tuple[str, str], ...]
    purpose: str  # "signature" or "attestation"
    predicate_type: str  # the statement's own
    digest: str  # `sha256:<hex>` of the image
    key: str  # file of the public key
    key_type: str
    issuer: str
    identity: str
    log: str  # "none", "timestamp", "rekor1" or "rekor1+timestamp"
    entry: str  # kind of the log entry, such as "intoto/0.0.2"
    recording: str  # "legacy" (written by cosign 3) or "cosign2": the folder with its keys and trust root

    @property
    def public_key(self) -> str:
        """The PEM of the key that signed it. Raises `ValueError` for a keyless one."""
        if not self.key:
            raise ValueError(f"{self.name} was signed without a key")
        return (RECORDED / self.recording / self.key).read_text()


@functools.cache
def recorded_layers() -> tuple[RecordedLayer, ...]:
    """Return every recorded layer of the old formats, in the order in which they were made."""
    layers = []
    recordings = (RECORDED_LEGACY, RECORDED_COSIGN2)
    rows = [(folder, row) for folder in recordings for row in json.loads((folder / "index.json").read_text())]
    for folder, row in rows:
        layer = json.loads((folder / row.pop("file")).read_bytes())
        layers.append(
            RecordedLayer(
                **row,
                recording=folder.name,
                content=base64.b64decode(layer["content"]),
                media_type=layer["mediaType"],
                annotations=tuple(sorted(layer["annotations"].items())),
            )
        )
    return tuple(layers)


def recorded_layer(name: str) -> RecordedLayer:
    """Return one layer by its name. Raises `KeyError` if there is none."""
    for layer in recorded_layers():
        if layer.name == name:
            return layer
    raise KeyError(name)


@functools.cache
def recorded_bundles() -> tuple[RecordedBundle, ...]:
    """Return every recorded bundle, in the order in which they were made."""
    rows = [
        *json.loads((RECORDED / "index.json").read_text()),
        *json.loads((RECORDED_COSIGN2 / "bundles.json").read_text()),
    ]
    return tuple(RecordedBundle(**row) for row in rows)


def recorded_bundle(name: str) -> RecordedBundle:
    """Return one bundle by its name. Raises `KeyError` if there is none."""
    for bundle in recorded_bundles():
        if bundle.name == name:
            return bundle
    raise KeyError(name)


def recorded_manifest() -> bytes:
    """Return the manifest of the image that the recorded bundles are about."""
    return (RECORDED / "manifest.json").read_bytes()


def recorded_blob() -> bytes:
    """Return what the bundles with the purpose "blob" sign."""
    return (RECORDED / "blob.txt").read_bytes()


def recorded_trusted_root(name: str = "trusted_root.json") -> bytes:
    """Return a trust root; `trusted_root.other.json` is that of an unrelated Sigstore."""
    return (RECORDED / name).read_bytes()


def recorded_key(name: str) -> str:
    """Return the PEM of a public key, such as `release` or `stranger`."""
    return (RECORDED / "keys" / f"{name}.pub").read_text()
