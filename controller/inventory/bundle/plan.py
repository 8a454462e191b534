"""What a bundle will hold, gathered from its records one by one: bytes, proofs of images, who ran, what was newest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.documents.types import is_sbom
from controller.inventory.bundle.parts import Part, parts, weightier
from controller.model.reference import Digest

Leaf = Mapping[str, Any]
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Proven:
    """That an artefact proved something of an image: the proof as its record has it, and by which policy it counted."""

    image: str
    artifact: str
    proof: Leaf
    policy: str
    trust_roots: Mapping[str, str]

    @property
    def predicate_type(self) -> str:
        """The attestation's type; empty for a signature."""
        return str(self.proof.get("predicateType", ""))

    @property
    def is_sbom(self) -> bool:
        """Whether it is an attested bill of materials."""
        return is_sbom(self.predicate_type)


@dataclass(slots=True)
class ImagePlan:
    """One image of the bundle: its names, the records that speak of it, and the newest decision that judged it."""

    references: set[str] = field(default_factory=set)
    decisions: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    newest: tuple[str, str] = ("", "")  # decidedAt, record


@dataclass(slots=True)
class Plan:
    """Everything that must be known before the first byte is written. `add` takes the records in their order."""

    records: list[tuple[str, str, str]] = field(default_factory=list)  # id, schema, verdict
    parts: dict[str, Part] = field(default_factory=dict)
    proven: dict[tuple[str, str], Proven] = field(default_factory=dict)  # by image and artefact
    images: dict[str, ImagePlan] = field(default_factory=dict)
    children: dict[str, str] = field(default_factory=dict)  # of manifests: the index that they are in

    def add(self, leaf: Leaf) -> None:
        """Take in one record."""
        self.records.append((leaf["id"], leaf["schema"], leaf["verdict"]))
        for digest, part in parts(leaf).items():
            if digest not in self.parts or weightier(part, self.parts[digest]):
                self.parts[digest] = part
        if "run" in leaf:
            self._add_run(leaf)
        for image in leaf.get("images", ()):
            self._add_image(leaf, image)
        for evaluation in leaf.get("evaluations", ()):
            self._add_proofs(leaf, evaluation)

    def _add_run(self, leaf: Leaf) -> None:
        digest = leaf["run"]["digest"]
        if digest:
            image = self.images.setdefault(digest, ImagePlan())
            image.references.add(leaf["run"]["image"])
            image.runs.append(leaf["id"])

    def _add_image(self, leaf: Leaf, image: Leaf) -> None:
        if not image["digest"]:
            return
        known = self.images.setdefault(image["digest"], ImagePlan())
        known.references.add(image["reference"])
        if leaf["id"] not in known.decisions[-1:]:
            known.decisions.append(leaf["id"])
        self.children.update(dict.fromkeys(image.get("manifests", ()), image["digest"]))
        known.newest = max(known.newest, (leaf["decidedAt"], leaf["id"]))

    def _add_proofs(self, leaf: Leaf, evaluation: Leaf) -> None:
        about = (evaluation.get("child") or leaf["images"][evaluation["image"]])["digest"]
        roots = (evaluation.get("used") or {}).get("trustRoots", {})
        for proof in (*evaluation["signatures"], *evaluation["attestations"]):
            if about:
                found = Proven(about, proof["artifact"], proof, evaluation["policy"]["hash"], roots)
                self.proven.setdefault((about, proof["artifact"]), found)


def file_name(record: str) -> str:
    """The name of a record's files: its id, or a hash of one that is no file's name."""
    return record if _FILE_NAME.fullmatch(record) else Digest.of(record.encode()).hex
