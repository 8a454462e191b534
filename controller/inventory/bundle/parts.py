"""What the bytes are that a decision's record names by hash, and under which name they lie in a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from controller.inventory.configurations import kept

Leaf = Mapping[str, Any]
BUNDLE_KIND = "sigstore-bundle"  # ArtifactKind.BUNDLE, as leaves write it


class Role(StrEnum):
    """What bytes were for a decision, the weightier first: what two records call by two names has the first of them."""

    POLICY = "policy"
    EXCEPTION = "exception"
    TRUST_ROOT = "trust-root"
    KEY = "key"
    CHAIN = "chain"
    EVIDENCE = "evidence"
    OTHER = "other"


_ORDER = tuple(Role)
_NAMES = {
    Role.POLICY: ("policies/{}.json", "application/json"),
    Role.EXCEPTION: ("exceptions/{}.json", "application/json"),
    Role.TRUST_ROOT: ("trust-roots/{}.json", "application/json"),
    Role.KEY: ("keys/{}.der", "application/octet-stream"),
    Role.CHAIN: ("keys/{}.pem", "application/x-pem-file"),
    Role.EVIDENCE: ("evidence/{}.sigstore.json", "application/vnd.dev.sigstore.bundle.v0.3+json"),
    Role.OTHER: ("other/{}.bin", "application/octet-stream"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """Raw bytes: their digest, what they are, their path, and their media type as the registry said it.

    Evidence in one of cosign's old formats lies in `evidence/` as well, under `.layer`.
    """

    digest: str
    role: Role
    path: str
    media_type: str


def parts(leaf: Leaf) -> dict[str, Part]:
    """Everything that is kept beside a record (its `blobs`, but for what no version keeps), by digest."""
    known: dict[str, Part] = {}
    for part in _named(leaf):
        if part.digest not in known or weightier(part, known[part.digest]):
            known[part.digest] = part
    return {digest: known.get(digest) or _part(digest, Role.OTHER) for digest in kept(leaf)}


def weightier(one: Part, other: Part) -> bool:
    """Whether the first name is to be preferred."""
    return (_ORDER.index(one.role), one.path) < (_ORDER.index(other.role), other.path)


def _named(leaf: Leaf) -> Iterator[Part]:
    for evaluation in leaf.get("evaluations", ()):
        yield _part(evaluation["policy"]["hash"], Role.POLICY)
        for exception in evaluation.get("exceptions", ()):
            yield _part(exception["hash"], Role.EXCEPTION)
        used = evaluation.get("used") or {}
        for digest in used.get("trustRoots", {}).values():
            yield _part(digest, Role.TRUST_ROOT)
        for fingerprints in used.get("keys", {}).values():
            yield from (_part(digest, Role.KEY) for digest in fingerprints)
        for digest in used.get("chains", {}).values():
            yield _part(digest, Role.CHAIN)
        for found in evaluation.get("artifacts", ()):
            yield _evidence(found)


def _evidence(found: Mapping[str, Any]) -> Part:
    part = _part(found["artifact"], Role.EVIDENCE)
    path = part.path if found["kind"] == BUNDLE_KIND else part.path.replace(".sigstore.json", ".layer")
    return Part(part.digest, part.role, path, found["mediaType"])


def _part(digest: str, role: Role) -> Part:
    path, media_type = _NAMES[role]
    return Part(digest, role, path.format(digest.removeprefix("sha256:")), media_type)
