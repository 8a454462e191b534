"""Which signatures and attestations lie beside an image: every place asked side by side, nothing believed.

The places: the referrers API, its fallback tag `sha256-<hex>` (an index), and cosign's own `.sig` and `.att` tags. What
an artefact is and what it is about, its manifest says (its digest is checked), never the index entry that led there:
cosign 3 writes a wrong artifactType into the fallback index. What cannot be read is a problem of the set: it never
counts and never vanishes. What cannot be *asked* fails the whole: half an answer is none.

Specification: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

from controller.errors import AccessDenied, AssayError, LimitExceeded, NotFound, Unacceptable, Unavailable
from controller.model.deadline import Deadline
from controller.model.evidence import UNSIGNED, Artifact, ArtifactKind
from controller.model.reference import Digest
from controller.registry.manifests import INDEXES, Descriptor, Manifest
from controller.settings import RegistrySettings

T = TypeVar("T")

SIDE_BY_SIDE = 8  # bounds one image's requests under way: what lies beside one must not hold up its registry's others

_BUNDLE = re.compile(r"application/vnd\.dev\.sigstore\.bundle(?:\.v0\.[1-9]\+json|\+json; ?version=0\.[1-9])")
_LEGACY_LAYERS = {
    ArtifactKind.COSIGN_SIGNATURE: "application/vnd.dev.cosign.simplesigning.v1+json",
    ArtifactKind.COSIGN_ATTESTATION: "application/vnd.dsse.envelope.v1+json",
}
_LEGACY_TAGS = {ArtifactKind.COSIGN_SIGNATURE: "sig", ArtifactKind.COSIGN_ATTESTATION: "att"}
# What else is found in the wild, in words of our own: the registry's are foreign, and messages are shown.
_UNSIGNED = {"application/spdx+json": "an SPDX document", "application/vnd.cyclonedx+json": "a CycloneDX document"}
_KNOWN_UNSUPPORTED = {
    "application/vnd.cncf.notary.signature": "a Notation signature",
    "application/vnd.dev.cosign.artifact.sig.v1+json": "a cosign signature of the experimental OCI 1.1 mode",
}


class Source(Protocol):
    """One repository to look into: `repository.Repository` over HTTP, or a layout on disk."""

    async def manifest(self, name: Digest | str, *, deadline: Deadline) -> Manifest:
        """The manifest of this digest or tag. Raises `NotFound` when there is none."""
        ...

    async def blob(self, descriptor: Descriptor, *, deadline: Deadline) -> bytes:
        """The content that the descriptor points to, compared with it."""
        ...

    def referrers(self, subject: Digest, *, deadline: Deadline) -> AsyncIterator[Manifest]:
        """Indexes whose entries point at what refers to `subject`."""
        ...


class _SetLimitExceeded(LimitExceeded):
    """A bound on the whole set was crossed: nothing may be concluded from the part that was read."""


class Discovery:
    """One look for the evidence of one digest. `artifacts` and `problems` are sorted, whatever answered first."""

    def __init__(self, repository: Source, image: Digest, *, settings: RegistrySettings, deadline: Deadline) -> None:
        self._repository = repository
        self._image = image
        self._settings = settings
        self._deadline = deadline
        self._artifacts: list[Artifact] = []
        self._problems: list[tuple[str, AssayError]] = []
        self._seen: set[Digest] = set()
        self._count = 0
        self._bytes = 0
        self._blobs: dict[Digest, bytes] = {}
        self._locks: dict[Digest, asyncio.Lock] = {}
        self._places = asyncio.Semaphore(SIDE_BY_SIDE)

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What was found, by place."""
        return tuple(sorted(self._artifacts, key=lambda artifact: (artifact.location, artifact.digest)))

    @property
    def problems(self) -> tuple[AssayError, ...]:
        """What could not be read, by place."""
        return tuple(error for _, error in sorted(self._problems, key=lambda item: (item[0], str(item[1]))))

    async def run(self) -> None:
        """Look in every place.

        Raises `Unavailable` and `AccessDenied` when a place could not be asked, and `LimitExceeded`
        (`registry_max_referrers`, `registry_max_evidence_bytes`) when there is more than may be read.
        """
        await together(
            [
                self._referrers_api(),
                self._fallback_tag(),
                *(self._legacy_tag(kind) for kind in _LEGACY_TAGS),
            ]
        )

    async def _referrers_api(self) -> None:
        location = "referrers API"
        entries: list[Descriptor] = []
        try:
            async for page in self._repository.referrers(self._image, deadline=self._deadline):
                entries += self._unseen(page.children)
        except Unacceptable as exc:
            self._problem(location, exc)
        await self._referrers(entries)

    async def _fallback_tag(self) -> None:
        tag = f"sha256-{self._image.hex}"
        index = await self._tagged(tag)
        if index is not None and index.media_type not in INDEXES:
            self._problem(f"tag {tag}", Unacceptable("ReferrersMalformed", f"the tag {tag} holds no index"))
        elif index is not None:
            await self._referrers(self._unseen(index.children))

    async def _legacy_tag(self, kind: ArtifactKind) -> None:
        tag = f"sha256-{self._image.hex}.{_LEGACY_TAGS[kind]}"
        manifest = await self._tagged(tag)
        if manifest is None:
            return
        if manifest.is_index:
            self._problem(f"tag {tag}", Unacceptable("ArtifactMalformed", f"the tag {tag} holds an index"))
        elif manifest.subject not in {None, self._image}:
            self._problem(f"tag {tag}", _subject_mismatch(f"tag {tag}"))
        else:
            self._take(len(manifest.layers))
            await together(
                self._layer(kind, layer, f"tag {tag}, layer {number}") for number, layer in enumerate(manifest.layers)
            )

    async def _referrers(self, entries: Iterable[Descriptor]) -> None:
        await together(self._referrer(entry) for entry in entries)

    async def _referrer(self, entry: Descriptor) -> None:
        location = f"referrer {entry.digest}"
        self._take()
        try:
            async with self._places:
                manifest = await self._repository.manifest(entry.digest, deadline=self._deadline)
            self._take_bytes(manifest.size)
        except Unacceptable as exc:
            self._problem(location, exc)
            return
        if manifest.subject != self._image:
            self._problem(location, _subject_mismatch(location))
        elif manifest.is_index or not _BUNDLE.fullmatch(manifest.artifact_type):
            self._problem(location, _unsupported(location, manifest.artifact_type))
        elif not manifest.layers:
            self._problem(location, Unacceptable("ArtifactMalformed", f"{location} holds no bundle"))
        else:
            many = len(manifest.layers) > 1
            self._take(len(manifest.layers) - 1)  # the first is what was taken above
            await together(
                self._layer(ArtifactKind.BUNDLE, layer, f"{location}, layer {number}" if many else location)
                for number, layer in enumerate(manifest.layers)
            )

    async def _layer(self, kind: ArtifactKind, layer: Descriptor, location: str) -> None:
        expected = layer.media_type == _LEGACY_LAYERS.get(kind) or (
            kind is ArtifactKind.BUNDLE and _BUNDLE.fullmatch(layer.media_type) is not None
        )
        if not expected:
            self._problem(location, _unsupported(location, layer.media_type))
            return
        try:
            content = await self._content(layer)
        except Unacceptable as exc:
            self._problem(location, exc)
            return
        self._artifacts.append(
            Artifact(
                kind=kind,
                media_type=layer.media_type,
                content=content,
                digest=layer.digest,
                location=location,
                annotations=layer.annotations,
            )
        )

    async def _tagged(self, tag: str) -> Manifest | None:
        try:
            manifest = await self._repository.manifest(tag, deadline=self._deadline)
            self._take_bytes(manifest.size)
        except NotFound:
            return None
        except Unacceptable as exc:
            self._problem(f"tag {tag}", exc)
            return None
        return manifest

    async def _content(self, descriptor: Descriptor) -> bytes:
        """The blob, fetched once however many layers point at it (all plain signatures of an image share theirs)."""
        async with self._locks.setdefault(descriptor.digest, asyncio.Lock()):
            known = self._blobs.get(descriptor.digest)
            if known is None:
                if descriptor.size <= self._settings.registry_max_blob_bytes:
                    self._take_bytes(descriptor.size)
                async with self._places:
                    known = await self._repository.blob(descriptor, deadline=self._deadline)
                self._blobs[descriptor.digest] = known
        return known

    def _unseen(self, entries: Iterable[Descriptor]) -> list[Descriptor]:
        unseen = []
        for entry in entries:
            if entry.digest not in self._seen:
                self._seen.add(entry.digest)
                unseen.append(entry)
        if len(self._seen) > self._settings.registry_max_referrers:
            self._too_many()
        return unseen

    def _take(self, count: int = 1) -> None:
        self._count += count
        if self._count > self._settings.registry_max_referrers:
            self._too_many()

    def _too_many(self) -> None:
        raise _SetLimitExceeded(
            "registry_max_referrers",
            f"{self._image} has more than {self._settings.registry_max_referrers} artefacts beside it",
        )

    def _take_bytes(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._settings.registry_max_evidence_bytes:
            raise _SetLimitExceeded(
                "registry_max_evidence_bytes",
                f"the evidence of {self._image} is larger than {self._settings.registry_max_evidence_bytes} bytes",
            )

    def _problem(self, location: str, error: Unacceptable) -> None:
        """Keep the error with the set, unless it says that the set itself cannot be had: then it is raised."""
        if isinstance(error, AccessDenied | _SetLimitExceeded):
            raise error
        # Kept errors outlive this look by far: without their traceback they hold nothing of it alive.
        error.__cause__ = error.__context__ = None
        self._problems.append((location, error.with_traceback(None)))


def _subject_mismatch(location: str) -> Unacceptable:
    return Unacceptable("SubjectMismatch", f"{location} is listed for this image, but is about another")


def _unsupported(location: str, media_type: str) -> Unacceptable:
    if media_type in _UNSIGNED:
        message = f"{location} is {_UNSIGNED[media_type]} without a signature; nobody vouches for what is in it"
        return Unacceptable(UNSIGNED, message)
    known = _KNOWN_UNSUPPORTED.get(media_type, "of a kind that Assay does not read")
    return Unacceptable("UnsupportedArtifact", f"{location} is {known}; it counts for nothing")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run side by side and to the end; of several failures, one that asking again may mend is raised first."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if failures:
        raise next((failure for failure in failures if isinstance(failure, Unavailable)), failures[0])
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
