"""The JSON of a blast radius."""

from __future__ import annotations

from pydantic import Field

from controller.errors import InputError
from controller.inventory.cursors import MAX_CURSOR
from controller.inventory.resting import Footing
from controller.reading.wire import Decision, Run
from controller.reading.wire.base import InNamespace, Moment, MomentAsked, Paged, Shown, Text


class ExtentAsked(InNamespace):
    """What turned out bad (exactly one), and of which time it is asked."""

    signer: Text | None = Field(None, description="A key's fingerprint, or an identity's subject, whole.")
    builder: Text | None = Field(None, description="A builder's id; of a workflow also without its reference.")
    source: Text | None = Field(None, description="A source repository, a commit, or repository@commit.")
    base: Text | None = Field(None, description="A base image: its digest, or its name, with a tag if that matters.")
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
    """How far it reaches. With `more`, `ran` or `admitted` is *at least so many*."""

    images: int
    running: int
    running_images: int
    namespaces: list[str]
    clusters: list[str]
    ran: int
    admitted: int
    first_known_at: Moment | None
    more: bool


class Resting(Shown):
    """An image that rests on it: by which artefacts, and since when that was known."""

    digest: str
    artifacts: list[str]
    since: Moment
    recorded_at: Moment


class AffectedRuns(Shown):
    """Runs of what rests on it, the latest started first."""

    items: list[Run]
    cursor: str | None


class AffectedDecisions(Shown):
    """Decisions that let it in, the latest first."""

    items: list[Decision]
    cursor: str | None


class AffectedImages(Shown):
    """Images that rest on it, by digest."""

    items: list[Resting]
    cursor: str | None
