"""An image as a workload names it, and as a registry holds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from controller.errors import AssayError
from controller.model.bases import BaseClaim
from controller.model.reference import Digest, Reference

MAX_UID_DIGITS = 10  # of 32 bits
INDEX_TYPES = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)


class ContainerKind(StrEnum):
    """Where in a pod an image stands (guarantee 8: every kind)."""

    INIT = "initContainer"
    REGULAR = "container"
    EPHEMERAL = "ephemeralContainer"
    VOLUME = "imageVolume"


@dataclass(frozen=True, slots=True)
class ImageUse:
    """One image of a workload: in which container (or volume), as written, and where in the object it stands.

    `path` is the JSON pointer (RFC 6901) of the image string; `field` is the same as people write it
    (`spec.containers[0].image`).
    """

    kind: ContainerKind
    name: str
    text: str
    path: str
    field: str

    @property
    def identity(self) -> tuple[ContainerKind, str, str]:
        """Kind, name and reference: what tells a changed image from an unchanged one in an update."""
        return (self.kind, self.name, self.text)


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """`os/architecture[/variant]` as in the OCI image index."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}" + (f"/{self.variant}" if self.variant else "")


NO_PLATFORM = Platform("unknown", "unknown")
"""What BuildKit gives the manifests of its attestations (https://docs.docker.com/build/metadata/attestations/): none
that a container runtime could choose."""


@dataclass(frozen=True, slots=True)
class PlatformManifest:
    """One child of an index: its entry there.

    `attests`: the digest that the entry says it is an attestation of, as BuildKit marks its unsigned ones. `base`: the
    image that the entry says it was built on.
    """

    digest: Digest
    platform: Platform | None
    media_type: str = ""
    size: int = 0
    attests: str = ""
    base: BaseClaim | None = None

    @property
    def is_index(self) -> bool:
        """Whether the entry says that the child lists others itself."""
        return self.media_type in INDEX_TYPES

    def __str__(self) -> str:
        return f"{self.platform or 'no platform'}, {self.digest}"


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """What a reference names now: the digest of the manifest bytes that were fetched (guarantee 3).

    `stale` is set for a tag whose registry could not be asked, and says why: this is what it named last. `base` is the
    image that its own annotations say it was built on.
    """

    reference: Reference
    digest: Digest
    media_type: str
    size: int
    platforms: tuple[PlatformManifest, ...] = ()
    stale: AssayError | None = field(default=None, compare=False)
    base: BaseClaim | None = None

    @property
    def is_index(self) -> bool:
        """Whether this lists manifests instead of being one."""
        return self.media_type in INDEX_TYPES


@dataclass(frozen=True, slots=True)
class ConfigBlob:
    """The configuration of one manifest of an image, as it lies in the registry: `content` hashes to `digest`.

    `platform` is the index's word for the manifest; None where no index names it. `base` is the image that the
    manifest's annotations say it was built on.
    """

    platform: Platform | None
    manifest: Digest
    digest: Digest
    content: bytes
    base: BaseClaim | None = None


@dataclass(frozen=True, slots=True)
class ConfigExtract:
    """What of a configuration is recorded: bounded, and nothing of its environment, commands or history.

    `created` is RFC 3339 in UTC. What there is not, or may not be recorded, is empty.
    """

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    created: str = ""
    user: str = ""
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What one manifest's configuration says a container is started as, read.

    `platform` is the index's word, or else its own. `user` is as written, empty where there is none: root. `created` is
    None where there is none. `extract` is what may be recorded of it.
    """

    platform: str
    digest: Digest
    created: datetime | None
    user: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_dir: str = ""
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    extract: ConfigExtract = ConfigExtract()

    @property
    def non_root(self) -> bool:
        """Whether it certainly does not start as root: by a number other than 0.

        Who a *name* is, the image's own /etc/passwd says, which nobody reads here: as for Kubernetes' `runAsNonRoot`.
        """
        uid = self.user.partition(":")[0]
        return uid.isascii() and uid.isdecimal() and len(uid) <= MAX_UID_DIGITS and int(uid) > 0


RawConfigs = tuple[ConfigBlob, ...] | AssayError
"""The configurations of an image, or why they could not be had: what does not read them goes on without."""

ImageConfigs = tuple[ImageConfig, ...] | AssayError
"""The same, read."""
