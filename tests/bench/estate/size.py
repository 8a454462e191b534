"""How large an estate is. Size 1 is what the design names: 10 million links, 1 million decisions, 400,000 sightings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

BEGIN = datetime(2025, 11, 1, tzinfo=UTC)
DAYS = 365
END = BEGIN + timedelta(days=DAYS)
IMAGES, DECISIONS = 5_000, 1_000_000
# A quarter of the images has no SBOM that can be read, and some nodes are lost before they run anything. So more is
# asked for than the design's 2,000 components an image and 400,000 runs, for that many to come of it.
COMPONENTS, RUNS = 2_640, 443_000
SMALLEST_GRAIN = timedelta(hours=1)
FACTS_A_GRAIN = 32  # about; a recording group of its own for each fact of a small estate would take too long


@dataclass(frozen=True, slots=True)
class Size:
    """What to invent. `components` is the mean of an image's SBOM; `grain` the step in which facts are recorded.

    An image has as many components in a small estate as in a large one: it is images, pods and decisions that are
    fewer.
    """

    images: int
    components: int
    decisions: int
    runs: int
    repositories: int
    workloads: int
    namespaces: int
    grain: timedelta

    @classmethod
    def of(cls, fraction: float, *, components: int = COMPONENTS) -> Size:
        """A fraction (above 0, up to 1) of the design's figures. Raises `ValueError`."""
        if not 0 < fraction <= 1:
            raise ValueError("a size is above 0 and at most 1")
        images, decisions, runs = (max(1, round(fraction * whole)) for whole in (IMAGES, DECISIONS, RUNS))
        repositories = min(images, max(14, round(250 * fraction)))
        facts = decisions + 2 * runs
        return cls(
            images=max(images, repositories),
            components=components,
            decisions=decisions,
            runs=runs,
            repositories=repositories,
            workloads=max(repositories * 2, round(3000 * fraction)),
            namespaces=min(60, max(8, round(60 * fraction))),
            grain=max(SMALLEST_GRAIN, DAYS * timedelta(days=1) * FACTS_A_GRAIN / facts),
        )
