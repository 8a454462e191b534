"""The name of a set of evidence."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import UTC, datetime

from controller.model.evidence import Artifact, ArtifactKind, EvidenceSet
from controller.model.reference import Digest

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def artifact(content: bytes) -> Artifact:
    return Artifact(
        kind=next(iter(ArtifactKind)),
        digest=Digest.of(content),
        content=content,
        media_type="application/json",
        location="here",
    )


def evidence(*contents: bytes) -> EvidenceSet:
    return EvidenceSet(Digest.of(b"image"), "registry.test/app", tuple(map(artifact, contents)), NOW)


def test_a_set_has_one_name_that_is_made_once() -> None:
    found = evidence(b"a", b"b")
    assert found.hash is found.hash
    sent = pickle.loads(pickle.dumps(found))  # noqa: S301 - of our own making, as it goes to a worker
    assert found.hash == evidence(b"b", b"a").hash == sent.hash


def test_another_set_has_another_name_also_when_it_was_made_of_one_that_has_its_own() -> None:
    found = evidence(b"a", b"b")
    before = found.hash
    less = replace(found, artifacts=found.artifacts[:1])
    assert less.hash == evidence(b"a").hash != before
    assert replace(found) == found
