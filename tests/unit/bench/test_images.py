"""The benchmark's images: what is measured on them is the admission of images that deserve it, and of no others."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from controller.documents import parse
from controller.model.evidence import Artifact, ArtifactKind
from controller.model.policy import Authority, KeyAuthority, Need
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.verification.verifier import verify
from tests.bench import images, pods
from tests.bench.images import BUNDLE, PACKAGES, Signer, image_digest


def _verified(signer: Signer, repository: str, key: str) -> tuple[int, int]:
    authority = Authority("release", key=KeyAuthority(key, trust_root="none"), transparency_log=Need.OPTIONAL)
    found = verify(
        Digest.parse(image_digest(repository)),
        [
            Artifact(ArtifactKind.BUNDLE, BUNDLE, e.bundle.body, Digest.of(e.bundle.body), "referrer")
            for e in signer.evidence(repository)
        ],
        authorities=[authority],
        trust_roots={},
        now=datetime.now(UTC),
        limits=DocumentSettings(),
    )
    return len(found.signatures), len(found.attestations)


def test_every_image_is_another_and_verifies_with_the_benchmarks_key_alone() -> None:
    signer = Signer()

    assert image_digest("signed/a") != image_digest("signed/b")
    assert _verified(signer, "signed/a", signer.public_pem) == (1, 0)
    assert _verified(signer, "signed/a", Signer().public_pem) == (0, 0)


def test_the_large_sbom_has_as_many_packages_as_it_is_named_for() -> None:
    signer = Signer()
    repository = "sbom/a"
    assert _verified(signer, repository, signer.public_pem) == (1, 1)

    document = parse(images.CYCLONEDX, json.loads(images._sbom(repository)), DocumentSettings())

    assert document is not None
    assert len(document.components) == PACKAGES


def test_a_review_is_of_the_size_of_a_real_one_and_never_the_same_twice() -> None:
    first, second = (pods.review(pods.pod(["registry.example/app:v1"])) for _ in range(2))

    assert first != second
    assert 3500 < len(first) < 6000
