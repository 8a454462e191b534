"""Of which manifests of an image a policy demands evidence: the one that was named, or each that may run of it.

Evidence on an index covers its children, which it names by digest (`Index`). `Each` asks it of every child instead:
also where it is attached to children only, as ko and BuildKit do, or where not every child's builder is trusted.
`Nodes` asks it of those that a node of the cluster could run.

Specification: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md
"""

from __future__ import annotations

from dataclasses import replace

from controller.errors import LimitExceeded, Unacceptable
from controller.model.evidence import UNSIGNED
from controller.model.image import NO_PLATFORM, Platform, PlatformManifest, ResolvedImage
from controller.model.policy import Platforms

MAX_PLATFORMS = 64  # children of one index that a policy may ask about: each is a look into the registry

_SPELLINGS = {
    "i386": "386",
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm",
    "armel": "arm",
}
_RUNS_TOO = {"amd64": "386", "arm64": "arm"}
"""What containerd takes for the same architecture, and what it takes where a node's own is not there
(https://github.com/containerd/platforms: `normalizeArch`, `Only`)."""


def demanded(
    image: ResolvedImage, platforms: Platforms, *, nodes: frozenset[Platform]
) -> tuple[tuple[ResolvedImage, PlatformManifest | None], ...]:
    """The manifests that evidence is demanded of, each as an image of its own, with its entry in the index.

    `nodes` are the platforms of the cluster's nodes. Never empty. Raises `Unacceptable` (`PlatformsMissing`: an index
    of nothing that could run; `PlatformsNested`: an index in the index; `NodesUnknown`) and `LimitExceeded`
    (`MAX_PLATFORMS`).
    """
    if platforms is Platforms.INDEX or not image.is_index:
        return ((image, None),)
    if platforms is Platforms.NODES and not nodes:
        raise Unacceptable(
            "NodesUnknown", "no node of the cluster is known, and the policy asks of those that they run"
        )
    able = [child for child in image.platforms if platforms is Platforms.EACH or _could_run(child, nodes)]
    # One manifest may be listed for two platforms: rules see which it is asked about.
    children = {(c.digest, c.platform): c for c in able if c.platform != NO_PLATFORM}
    if not children:
        raise Unacceptable("PlatformsMissing", f"{image.reference.name} is an index of no manifest that could run here")
    if len(children) > MAX_PLATFORMS:
        raise LimitExceeded("MAX_PLATFORMS", f"{image.reference.name} is an index of {len(children)} manifests")
    nested = [child for child in children.values() if child.is_index]
    if nested:
        raise Unacceptable("PlatformsNested", f"{image.reference.name} is an index that has another index in it")
    return tuple((_as_image(image, child), child) for child in children.values())


def unsigned(image: ResolvedImage, manifest: ResolvedImage) -> tuple[Unacceptable, ...]:
    """What BuildKit attested of the manifest within the index and nobody signed: people take it for evidence."""
    of_index = manifest.digest == image.digest
    about = [c for c in image.platforms if c.attests and (of_index or c.attests == str(manifest.digest))]
    if not about:
        return ()
    what = (
        "an attestation manifest (BuildKit's)"
        if len(about) == 1
        else f"{len(about)} attestation manifests (BuildKit's)"
    )
    return (Unacceptable(UNSIGNED, f"the index holds {what}, unsigned; nobody vouches for what is in it"),)


def _could_run(child: PlatformManifest, nodes: frozenset[Platform]) -> bool:
    """Whether a node could choose it: as generously as containerd, the most generous runtime, chooses.

    It reads other spellings of a platform, and falls back to what a processor runs beside its own. One that names no
    system or no architecture any could; variants are not told apart.
    """
    platform = child.platform
    if platform is None or not platform.os or not platform.architecture:
        return True
    system, architecture = platform.os.lower(), platform.architecture.lower()
    architecture = _SPELLINGS.get(architecture, architecture)
    return any(system == n.os and architecture in {n.architecture, _RUNS_TOO.get(n.architecture)} for n in nodes)


def _as_image(image: ResolvedImage, child: PlatformManifest) -> ResolvedImage:
    return replace(image, digest=child.digest, media_type=child.media_type, size=child.size, platforms=(child,))
