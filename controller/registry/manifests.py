"""Manifests and indexes, read strictly: one reading for every client, or none.

Two clients that read the same bytes differently would verify one image and run another (CVE-2021-41190). So a manifest
that could be read as two things, or whose own media type is not the one it was served with, is refused; so are repeated
keys, of which JSON parsers take the first or the last as they like.

Specification: https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from controller.errors import InputError, LimitExceeded, Unacceptable
from controller.model.bases import BaseClaim, claimed
from controller.model.image import INDEX_TYPES, Platform, PlatformManifest, ResolvedImage
from controller.model.reference import Digest, Reference

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_SCHEMA_ONE = "application/vnd.docker.distribution.manifest.v1"

INDEXES = INDEX_TYPES
SINGLE = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
ACCEPT = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"

_MANIFEST_NAMES = frozenset(
    {"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations"}
)
_DESCRIPTOR_NAMES = frozenset(
    {"mediaType", "digest", "size", "annotations", "platform", "artifactType", "urls", "data"}
)
_PLATFORM_NAMES = frozenset({"os", "architecture", "variant"})

# https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md
_REFERENCE_TYPE, _REFERENCE_DIGEST = "vnd.docker.reference.type", "vnd.docker.reference.digest"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

MAX_TYPE_LENGTH = 255  # characters of a media type (RFC 6838, section 4.2: 127 on each side of the slash)
MAX_PLATFORM_LENGTH = (
    64  # characters of an operating system, architecture or variant: it stands in records and messages
)
MAX_VALUES = 200_000  # in one manifest: a value of two bytes costs sixty once it is read
MAX_ANNOTATIONS = 256  # bounds one descriptor's annotations


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A pointer to content: its digest, its size in bytes, and what it is said to be."""

    media_type: str
    digest: Digest
    size: int
    annotations: tuple[tuple[str, str], ...] = ()
    platform: Platform | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """One manifest or index. `digest` and `size` are those of the bytes; `children` are set for an index only.

    `artifact_type` is the manifest's own word, or its config's media type as the specification says. `config` is None
    for an index. `base` is the image that its annotations say it was built on.
    """

    digest: Digest
    size: int
    media_type: str
    artifact_type: str
    layers: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()
    subject: Digest | None = None
    config: Descriptor | None = None
    base: BaseClaim | None = None

    @property
    def is_index(self) -> bool:
        """Whether this lists other manifests."""
        return self.media_type in INDEXES

    def resolved(self, reference: Reference) -> ResolvedImage:
        """What `reference` names, when it names this."""
        return ResolvedImage(
            reference=reference,
            digest=self.digest,
            media_type=self.media_type,
            size=self.size,
            platforms=tuple(map(_child, self.children)),
            base=self.base,
        )


def _child(entry: Descriptor) -> PlatformManifest:
    marks = dict(entry.annotations)
    attests = (
        marks.get(_REFERENCE_DIGEST, "unknown")[:MAX_TYPE_LENGTH]
        if marks.get(_REFERENCE_TYPE) == "attestation-manifest"
        else ""
    )
    return PlatformManifest(entry.digest, entry.platform, entry.media_type, entry.size, attests, claimed(marks))


def parse_manifest(content: bytes, *, content_type: str, what: str) -> Manifest:
    """Read what a registry served as `content_type`. `what` names it in errors.

    Raises `Unacceptable`: `SchemaOneUnsupported`, `ManifestUnsupported` (another media type), `ManifestAmbiguous`
    (two readings), `ManifestMalformed`.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.startswith(_SCHEMA_ONE):
        raise Unacceptable("SchemaOneUnsupported", f"{what} has the old schema 1, which fixes no content")
    if media_type not in INDEXES | SINGLE:
        raise Unacceptable("ManifestUnsupported", f"{what} is served as something other than an image or an index")
    value = _json_object(content, what)
    _exact(value, _MANIFEST_NAMES, what)
    version = value.get("schemaVersion")
    if type(version) is not int:  # neither true nor 1.0
        _malformed(what, "its schemaVersion is no whole number")
    if version == 1:
        raise Unacceptable("SchemaOneUnsupported", f"{what} has the old schema 1, which fixes no content")
    if value.get("mediaType", media_type) != media_type:
        raise Unacceptable("ManifestAmbiguous", f"{what} is served as another media type than it names itself")
    if "manifests" in value and ("layers" in value or "config" in value):
        raise Unacceptable("ManifestAmbiguous", f"{what} can be read as an image and as an index")
    if version != 2:
        _malformed(what, "its schemaVersion is not 2")
    subject = value.get("subject")
    common: dict[str, Any] = {
        "digest": Digest.of(content),
        "size": len(content),
        "media_type": media_type,
        "subject": None if subject is None else _descriptor(subject, what).digest,
        "base": _base(value.get("annotations")),
    }
    own_type = _text(value.get("artifactType", ""), what)
    if media_type in INDEXES:
        return Manifest(**common, artifact_type=own_type, children=_descriptors(value.get("manifests"), what))
    config = _descriptor(value.get("config"), what)
    layers = _descriptors(value.get("layers"), what)
    return Manifest(**common, artifact_type=own_type or config.media_type, layers=layers, config=config)


def _base(annotations: Any) -> BaseClaim | None:
    """What the annotations claim. Nothing is decided by it, so none that cannot be read keeps an image out."""
    if not isinstance(annotations, dict):
        return None
    return claimed({name: text for name, text in annotations.items() if isinstance(text, str)})


def _json_object(content: bytes, what: str) -> Mapping[str, Any]:
    if content.count(b",") + content.count(b"[") + content.count(b"{") > MAX_VALUES:  # those in strings too: no matter
        raise LimitExceeded("MAX_VALUES", f"{what} has more than {MAX_VALUES} values")
    try:
        value = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        if _SURROGATE.search(content):  # half of a pair is no text: some readers replace it, some refuse
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as exc:
        raise Unacceptable("ManifestMalformed", f"{what} is no JSON that can be read in one way only") from exc
    if not isinstance(value, dict):
        _malformed(what, "it is no JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a repeated name")
    return value


def _exact(value: Mapping[str, Any], names: frozenset[str], what: str) -> None:
    """Refuse a name that is one of `names` but for its case: Go's reader, which runtimes use, takes it for that one."""
    folded = {name.casefold() for name in names}
    if any(name.casefold() in folded and name not in names for name in value):
        raise Unacceptable("ManifestAmbiguous", f"{what} has a name in another case than the specification's")


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


def _descriptors(value: Any, what: str) -> tuple[Descriptor, ...]:
    if not isinstance(value, list):
        _malformed(what, "a list is missing")
    return tuple(_descriptor(item, what) for item in value)


def _descriptor(value: Any, what: str) -> Descriptor:
    if not isinstance(value, dict):
        _malformed(what, "a descriptor is no object")
    _exact(value, _DESCRIPTOR_NAMES, what)
    size = value.get("size")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        _malformed(what, "a descriptor has no size")
    try:
        digest = Digest.parse(_text(value.get("digest"), what))
    except InputError as exc:
        raise Unacceptable("ManifestMalformed", f"{what}: a descriptor's digest is no sha256 digest") from exc
    annotations = value.get("annotations") or {}
    if not isinstance(annotations, dict) or len(annotations) > MAX_ANNOTATIONS:
        _malformed(what, "a descriptor's annotations are no map, or too many")
    return Descriptor(
        media_type=_text(value.get("mediaType"), what)[:MAX_TYPE_LENGTH],
        digest=digest,
        size=size,
        annotations=tuple(sorted((name, _text(text, what)) for name, text in annotations.items())),
        platform=_platform(value.get("platform"), what),
    )


def _platform(value: Any, what: str) -> Platform | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        _malformed(what, "a platform is no object")
    _exact(value, _PLATFORM_NAMES, what)
    parts = [_text(value.get(name, ""), what) for name in ("os", "architecture", "variant")]
    if any(len(part) > MAX_PLATFORM_LENGTH or not part.isprintable() for part in parts):
        _malformed(what, "a platform is too long to be one, or has what cannot be printed")
    return Platform(*parts)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        _malformed(what, "text is missing where the specification has text")
    return value


def _malformed(what: str, how: str) -> NoReturn:
    raise Unacceptable("ManifestMalformed", f"{what} is malformed: {how}")
