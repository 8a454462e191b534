"""An OCI image layout on disk as a registry: for verdicts without a network (`--offline DIR`).

The same look for evidence runs over it as over a registry, so that the same artefacts count and the same are refused.
Nothing in the folder is believed either: it may have come from anywhere.

Specification: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from controller.errors import ConfigurationError, LimitExceeded, NotFound, Unacceptable
from controller.model.access import RegistryAccess
from controller.model.deadline import Deadline
from controller.model.evidence import EvidenceSet
from controller.model.image import ConfigBlob, ResolvedImage
from controller.model.reference import Digest, Reference
from controller.registry.configs import read_configs
from controller.registry.discovery import Discovery
from controller.registry.manifests import OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest, parse_manifest
from controller.review.ports import Clock
from controller.settings import RegistrySettings

# `cosign save` names nothing by its tag: it says of the one image's `.sig` and `.att` manifests what they are.
_COSIGN_KINDS = {".sig": "dev.cosignproject.cosign/sigs", ".att": "dev.cosignproject.cosign/atts"}
_REF_NAME = "org.opencontainers.image.ref.name"


class OciLayout:
    """Implements `review.ports.Registry` over the folder `path`. Credentials and waiting mean nothing here.

    An image is found by the annotation `org.opencontainers.image.ref.name` of `index.json`, written with its registry
    (`ghcr.io/acme/app:1.0`) or without (`acme/app:1.0`), or by its digest. Raises `ConfigurationError`
    (`LayoutUnreadable`) when the folder has no `index.json` that can be read.
    """

    def __init__(self, path: Path, settings: RegistrySettings, *, clock: Clock) -> None:
        self._path = path
        self._settings = settings
        self._clock = clock
        try:
            content = _read(path / "index.json", settings.registry_max_manifest_bytes, "registry_max_manifest_bytes")
            self._entries = parse_manifest(content, content_type=OCI_INDEX, what=f"{path}/index.json").children
        except (NotFound, Unacceptable) as exc:
            raise ConfigurationError("LayoutUnreadable", f"{path} is no OCI image layout: {exc.message}") from exc

    async def resolve(self, reference: Reference, *, access: RegistryAccess, deadline: Deadline) -> ResolvedImage:
        """What the reference names in this layout. Raises `NotFound`, `Unacceptable`, `DeadlineExceeded`."""
        del access
        name = reference.digest or reference.tag or "latest"
        manifest = await self._repository(reference).manifest(name, deadline=deadline)
        return manifest.resolved(reference)

    async def discover(self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline) -> EvidenceSet:
        """All signatures and attestations of the image, unverified, as `RegistryClient.discover` gives them."""
        del access
        discovery = Discovery(
            self._repository(image.reference), image.digest, settings=self._settings, deadline=deadline
        )
        await discovery.run()
        return EvidenceSet(
            image=image.digest,
            repository=image.reference.name,
            artifacts=discovery.artifacts,
            fetched_at=self._clock(),
            problems=discovery.problems,
        )

    async def configs(
        self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline
    ) -> tuple[ConfigBlob, ...]:
        """The image's configurations, as `RegistryClient.configs` gives them."""
        del access
        repository = self._repository(image.reference)
        return await read_configs(repository, image, settings=self._settings, deadline=deadline)

    def _repository(self, reference: Reference) -> _LayoutRepository:
        return _LayoutRepository(self._path, self._entries, reference, self._settings)


class _LayoutRepository:
    """One repository of the layout: a `discovery.Source`."""

    def __init__(
        self, path: Path, entries: tuple[Descriptor, ...], reference: Reference, settings: RegistrySettings
    ) -> None:
        self._path = path
        self._entries = entries
        self._names = (reference.name, reference.repository)
        self._settings = settings

    async def manifest(self, name: Digest | str, *, deadline: Deadline) -> Manifest:
        """The manifest of this digest or tag."""
        deadline.check(f"reading {self._path}")
        digest = name if isinstance(name, Digest) else self._tagged(name)
        what = f"{self._names[0]}@{digest} in {self._path}"
        content = await self._content(digest, self._settings.registry_max_manifest_bytes, "registry_max_manifest_bytes")
        listed = next((entry.media_type for entry in self._entries if entry.digest == digest), None)
        return parse_manifest(content, content_type=listed or _own_type(content), what=what)

    async def blob(self, descriptor: Descriptor, *, deadline: Deadline) -> bytes:
        """The content that the descriptor points to, of exactly its size and digest."""
        deadline.check(f"reading {self._path}")
        limit = self._settings.registry_max_blob_bytes
        content = await self._content(descriptor.digest, limit, "registry_max_blob_bytes")
        if len(content) != descriptor.size:
            raise Unacceptable("DigestMismatch", f"{self._path} has other content for {descriptor.digest}")
        return content

    async def referrers(self, subject: Digest, *, deadline: Deadline) -> AsyncIterator[Manifest]:
        """One page: every manifest whose own subject is `subject`, and what cannot be read (it may be one)."""
        found = []
        for entry in self._entries:
            try:
                refers = (await self.manifest(entry.digest, deadline=deadline)).subject == subject
            except Unacceptable:
                refers = True
            if refers:
                found.append(entry)
        content = b'{"schemaVersion": 2, "manifests": []}'
        empty = parse_manifest(content, content_type=OCI_INDEX, what=f"the referrers in {self._path}")
        yield replace(empty, children=tuple(found))

    def _tagged(self, tag: str) -> Digest:
        for name in self._names:
            for entry in self._entries:
                if dict(entry.annotations).get(_REF_NAME) == f"{name}:{tag}":
                    return entry.digest
        saved = [e.digest for e in self._entries if dict(e.annotations).get("kind", "") == _COSIGN_KINDS.get(tag[-4:])]
        if len(saved) == 1:
            return saved[0]
        if saved:
            message = f"{self._path} has the evidence of several images; let cosign save each into a folder of its own"
            raise Unacceptable("LayoutAmbiguous", message)
        raise NotFound("NotFound", f"{self._path} does not have {self._names[0]}:{tag}")

    async def _content(self, digest: Digest, limit: int, setting: str) -> bytes:
        content = await asyncio.to_thread(_read, self._path / "blobs" / "sha256" / digest.hex, limit, setting)
        if Digest.of(content) != digest:
            raise Unacceptable("DigestMismatch", f"{self._path} has other content for {digest}")
        return content


def _own_type(content: bytes) -> str:
    """The media type that a manifest names itself, else the one of its shape: a file has no Content-Type."""
    try:
        value = json.loads(content)
        named = value.get("mediaType") or (OCI_INDEX if "manifests" in value else OCI_MANIFEST)
    except (ValueError, AttributeError, RecursionError):
        return OCI_MANIFEST
    return named if isinstance(named, str) else OCI_MANIFEST


def _read(file: Path, limit: int, setting: str) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(limit + 1)
    except FileNotFoundError as exc:
        raise NotFound("NotFound", f"{file} is not there") from exc
    except OSError as exc:
        raise Unacceptable("LayoutUnreadable", f"{file} cannot be read: {exc.strerror}") from exc
    if len(content) > limit:
        raise LimitExceeded(setting, f"{file} is larger than {limit} bytes")
    return content
