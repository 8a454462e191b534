"""What questions of a blast radius return: how far it reaches, and pages of what rests on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from controller.inventory.asking.affected.resting import Resting, Source
from controller.inventory.records import DecisionSummary, RunRecord


@dataclass(frozen=True, slots=True)
class Extent:
    """How far it reaches. `running` are runs at the time that was asked for, in so many `namespaces` and `clusters`.

    Of the `images` so many are `claimed`, and of the runs `running_claimed`: only the image itself says that it rests
    on it, and nothing that was verified does.

    `ran` are all runs until then, `admitted` all decisions that allowed one of the images once it was known to rest on
    it. With `more` one of these two may be higher: counting ends somewhere (`decisions.MAX_COUNTED`, `MAX_SEEN`).
    """

    images: int
    claimed: int
    running: int
    running_images: int
    running_claimed: int
    namespaces: tuple[str, ...]
    clusters: tuple[str, ...]
    ran: int
    admitted: int
    first_known_at: datetime | None
    more: bool


@dataclass(frozen=True, slots=True)
class AffectedRun(RunRecord):
    """A run, and by whose word its image rests on it."""

    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class AffectedDecision(DecisionSummary):
    """A decision, and by whose word, as was known by then, an image that it let in rests on it."""

    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class AffectedRuns:
    """Runs of images that rest on it, the latest started first."""

    items: tuple[AffectedRun, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class AffectedDecisions:
    """Decisions that let such images in, the latest first."""

    items: tuple[AffectedDecision, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class AffectedImages:
    """The images that rest on it, by digest."""

    items: tuple[Resting, ...]
    cursor: str | None
