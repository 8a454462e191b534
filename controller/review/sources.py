"""Where a policy's evidence lies: beside the image, and in the repositories that its authorities name (`source`).

Some keep signatures apart from images (cosign's `COSIGN_REPOSITORY`): the same tags and referrers, of the same digest,
in another repository. Where a piece was found never decides whether it counts: it is verified for the digest anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controller.errors import Unacceptable
from controller.model.access import RegistryAccess
from controller.model.evidence import Artifact, EvidenceSet
from controller.model.image import ResolvedImage
from controller.model.policy import EvidenceSource, PolicySpec
from controller.model.reference import Reference
from controller.policy.snapshot import Snapshot


def places(
    image: ResolvedImage, spec: PolicySpec, *, access: RegistryAccess, snapshot: Snapshot
) -> tuple[tuple[ResolvedImage, RegistryAccess], ...]:
    """Where to look for the policy's evidence about the image, and what may be used there; the image's own place first.

    Raises `Unacceptable` (`ReferenceMissing`) for a pull secret that is not there.
    """
    named = dict.fromkeys(authority.source for authority in spec.authorities)
    beside = [(image, access)] if None in named or not named else []
    return (*beside, *(_there(image, source, access, snapshot) for source in named if source is not None))


def together(image: ResolvedImage, found: Sequence[EvidenceSet]) -> EvidenceSet:
    """One set of all that was found; what does not lie beside the image says where it does."""
    if len(found) == 1 and found[0].repository == image.reference.name:
        return found[0]
    return EvidenceSet(
        image=image.digest,
        repository=image.reference.name,
        artifacts=tuple(_placed(artifact, one, image) for one in found for artifact in one.artifacts),
        fetched_at=min(one.fetched_at for one in found),
        problems=tuple(problem for one in found for problem in one.problems),
        held=tuple(one.held for one in found),
        stale=next((one.stale for one in found if one.stale is not None), None),
    )


def _placed(artifact: Artifact, found: EvidenceSet, image: ResolvedImage) -> Artifact:
    if found.repository == image.reference.name:
        return artifact
    return replace(artifact, location=f"{found.repository}, {artifact.location}")


def _there(
    image: ResolvedImage, source: EvidenceSource, access: RegistryAccess, snapshot: Snapshot
) -> tuple[ResolvedImage, RegistryAccess]:
    if source.pull_secret:
        credentials = snapshot.pull_secrets.get((source.namespace, source.pull_secret))
        if credentials is None:
            message = (
                f"there is no pull secret {source.namespace}/{source.pull_secret} to read {source.repository} with"
            )
            raise Unacceptable("ReferenceMissing", message)
        access = RegistryAccess(credentials)
    return replace(image, reference=Reference.parse(f"{source.repository}@{image.digest}")), access
