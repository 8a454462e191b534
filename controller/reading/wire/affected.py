"""The JSON of a blast radius."""

from __future__ import annotations

from pydantic import Field

from controller.errors import InputError
from controller.inventory.asking.affected.resting import Footing, Source
from controller.inventory.asking.cursors import MAX_CURSOR
from controller.reading.wire import Decision, Run
from controller.reading.wire.base import InNamespace, Moment, MomentAsked, Paged, Shown, Text


class ExtentAsked(InNamespace):
    """What turned out bad (exactly one), and of which time it is asked."""

    signer: Text | None = Field(None, description="A key's fingerprint, or an identity's subject, whole.")
    builder: Text | None = Field(None, description="A builder's id; of a workflow also without its reference.")
    source: Text | None = Field(None, description="A source repository, a commit, or repository@commit.")
    base: Text | None = Field(
        None, description="A base image, as provenance or the image itself says: its digest, or its name, with a tag."
    )
    log_entry: Text | None = Field(None, description="An entry of a transparency log: its index, or logId:index.")
    artifact: Text | None = Field(None, description="The blob of a signature or attestation: sha256:….")
    as_of: MomentAsked | None = Field(None, description="What ran then; default: now.")

    def bad(self) -> tuple[Footing, str]:
        """What is asked about. Raises `InputError` (`FootingRequired`) unless it is exactly one thing."""
        named = {footing: getattr(self, footing.replace("-", "_")) for footing in Footing}
        return only({footing: value for footing, value in named.items() if value is not None})


class AffectedAsked(ExtentAsked, Paged):
    """Paging of a list of what rests on it."""

    cursor: str | None = Field(None, max_length=MAX_CURSOR, description="The last page's cursor.")


class AffectedRunsAsked(AffectedAsked):
    """Which runs."""

    ever: bool = Field(False, description="All runs until asOf, not only those at that time.")


def only(named: dict[Footing, str]) -> tuple[Footing, str]:
    """The one thing that is named. Raises `InputError` (`FootingRequired`) for none and for several."""
    if len(named) != 1:
        raise InputError("FootingRequired", f"name one thing that turned out bad: {', '.join(Footing)}")
    return next(iter(named.items()))


class Extent(Shown):
    """How far it reaches. With `more`, `ran` or `admitted` is *at least so many*.

    Of the `images` so many are `claimed`, and of the runs `runningClaimed`: only the image itself says that it rests on
    it, nothing that was verified does.
    """

    images: int
    claimed: int
    running: int
    running_images: int
    running_claimed: int
    namespaces: list[str]
    clusters: list[str]
    ran: int
    admitted: int
    first_known_at: Moment | None
    more: bool


class Told(Shown):
    """By whose word: `proof`, `certificate` and `provenance` were verified; `annotation` and `label` are claims of the
    image itself. Since when that was known, and recorded.

    `onlyIn`: it counts for what runs in these namespaces alone, whose own policies found it and no others.
    """

    source: Source
    since: Moment
    recorded_at: Moment
    only_in: list[str]


class Resting(Shown):
    """An image that rests on it: by which bytes, by whose word, and since when that was known."""

    digest: str
    artifacts: list[str]
    since: Moment
    recorded_at: Moment
    sources: list[Told]


class AffectedRun(Run):
    """A run, and by whose word its image rests on it."""

    sources: list[Source]


class AffectedDecision(Decision):
    """A decision, and by whose word, as was known by then, an image that it let in rests on it."""

    sources: list[Source]


class AffectedRuns(Shown):
    """Runs of what rests on it, the latest started first."""

    items: list[AffectedRun]
    cursor: str | None


class AffectedDecisions(Shown):
    """Decisions that let it in, the latest first."""

    items: list[AffectedDecision]
    cursor: str | None


class AffectedImages(Shown):
    """Images that rest on it, by digest."""

    items: list[Resting]
    cursor: str | None
