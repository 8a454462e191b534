"""Evidence that is handed over in files, in the place of what lies beside an image (`--bundle FILE`).

Nothing in such a file is believed either: each bundle is put to the verifier as if it had been found in a registry.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from controller.errors import InputError, LimitExceeded
from controller.model.access import RegistryAccess
from controller.model.deadline import Deadline
from controller.model.evidence import Artifact, ArtifactKind, EvidenceSet
from controller.model.image import ConfigBlob, ResolvedImage
from controller.model.reference import Digest, Reference
from controller.review.ports import Clock, Registry
from controller.settings import RegistrySettings

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"  # what a file is taken for; its content says what it is


class HandedOver:
    """Implements `review.ports.Registry`: images are `registry`'s, and their evidence is these artefacts, no other."""

    def __init__(self, registry: Registry, artifacts: Iterable[Artifact], *, clock: Clock) -> None:
        self._registry = registry
        self._artifacts = tuple(artifacts)
        self._clock = clock

    async def resolve(self, reference: Reference, *, access: RegistryAccess, deadline: Deadline) -> ResolvedImage:
        """What the reference names. Raises what `registry` raises."""
        return await self._registry.resolve(reference, access=access, deadline=deadline)

    async def discover(self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline) -> EvidenceSet:
        """The artefacts, whatever image they are about: that is for verification to say."""
        del access, deadline
        return EvidenceSet(image.digest, image.reference.name, self._artifacts, fetched_at=self._clock())

    async def configs(
        self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline
    ) -> tuple[ConfigBlob, ...]:
        """The image's configurations. Raises what `registry` raises."""
        return await self._registry.configs(image, access=access, deadline=deadline)


def read_bundles(files: Iterable[Path], settings: RegistrySettings) -> tuple[Artifact, ...]:
    """The bundles of these files, each a Sigstore bundle (JSON) or one a line (JSON Lines).

    Raises `InputError` (`BundleUnreadable`, `BundleMissing`) and `LimitExceeded` (`registry_max_evidence_bytes` a file
    and in all, `registry_max_referrers` bundles).
    """
    found: list[Artifact] = []
    for file in files:
        contents = _split(_read(file, settings.registry_max_evidence_bytes))
        if not contents:
            raise InputError("BundleMissing", f"{file} holds no bundle: neither a JSON object nor one a line")
        for number, content in enumerate(contents, 1):
            where = f"file {file}" if len(contents) == 1 else f"file {file}, line {number}"
            found.append(Artifact(ArtifactKind.BUNDLE, MEDIA_TYPE, content, Digest.of(content), where))
    if len(found) > settings.registry_max_referrers:
        raise LimitExceeded("registry_max_referrers", f"{len(found)} bundles were handed over")
    if sum(len(artifact.content) for artifact in found) > settings.registry_max_evidence_bytes:
        raise LimitExceeded("registry_max_evidence_bytes", "the bundles that were handed over are too large together")
    return tuple(found)


def _read(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(limit + 1)
    except OSError as exc:
        raise InputError("BundleUnreadable", f"{file} cannot be read: {exc.strerror}") from exc
    if len(content) > limit:
        raise LimitExceeded("registry_max_evidence_bytes", f"{file} is larger than {limit} bytes")
    return content


def _split(content: bytes) -> list[bytes]:
    """The bundles as they stand: the whole file, or its lines where the whole is no JSON. Each is read by others."""
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        lines = [line.strip() for line in content.splitlines()]
        return [line for line in lines if line] if len(lines) > 1 else [content.strip()] if content.strip() else []
    return [content]
