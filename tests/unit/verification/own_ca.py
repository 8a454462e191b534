"""Recorded signatures with a certificate of one's own CA, for the tests of verification."""

from __future__ import annotations

import base64
import json
from typing import Any

from controller.model.evidence import Artifact, ArtifactKind
from controller.model.policy import Authority, CertificateAuthority, CertificateIdentity, Need
from controller.model.reference import Digest
from controller.policy.pems import CODE_SIGNING
from tests.support.authorities import WHO
from tests.support.fixtures import RECORDED_OWN_CA
from tests.unit.verification.evidence import artifact, trust_root

CHAIN = (RECORDED_OWN_CA / "chain.pem").read_text()
ROOT = trust_root("main", "own-ca/trusted_root.json")
ROWS: dict[str, dict[str, Any]] = {row["name"]: row for row in json.loads((RECORDED_OWN_CA / "index.json").read_text())}


def found(name: str, *, version: str = "") -> Artifact:
    """The recorded layer or bundle, with another media type where one is given."""
    raw = (RECORDED_OWN_CA / ROWS[name]["file"]).read_bytes()
    if ROWS[name]["form"] == "bundle":
        bundle = json.loads(raw)
        return artifact(bundle | {"mediaType": version} if version else raw)
    layer = json.loads(raw)
    content = base64.b64decode(layer["content"])
    annotations = tuple(sorted(layer["annotations"].items()))
    return Artifact(ArtifactKind.COSIGN_SIGNATURE, layer["mediaType"], content, Digest.of(content), "tag", annotations)


def authority(chain: str = CHAIN, *, subject: str = WHO, log: Need = Need.IGNORE) -> Authority:
    """An authority for one subject of the recorded CA, or of another."""
    wanted = CertificateAuthority(chain, (CertificateIdentity(subject),), (CODE_SIGNING,), trust_root="main")
    return Authority("acme", certificate=wanted, transparency_log=log)
