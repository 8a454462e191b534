"""The JSON of a blast radius."""

from __future__ import annotations

from pydantic import Field

from controller.errors import InputError
from controller.inventory.affected import Listing
from controller.inventory.asking import DEFAULT_LIMIT, MAX_LIMIT
from controller.inventory.cursors import MAX_CURSOR
from controller.inventory.resting import Footing
from controller.reading.wire import Decision, Run
from controller.reading.wire.base import InNamespace, Moment, MomentAsked, Shown, Text


class AffectedAsked(InNamespace):
    """What turned out bad (exactly one), and what is to be listed of what rests on it."""

    signer: Text | None = Field(None, description="A key's fingerprint, or an identity's subject, whole.")
    log_entry: Text | None = Field(None, description="An entry of a transparency log: its index, or logId:index.")
    artifact: Text | None = Field(None, description="The blob of a signature or attestation: sha256:….")
    list: Listing = Field(Listing.RUNS, description="What the page lists.")
    ever: bool = Field(False, description="All runs until asOf, not only those at that time.")
    as_of: MomentAsked | None = Field(None, description="What ran then; default: now.")
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Items on one page.")
    cursor: str | None = Field(None, max_length=MAX_CURSOR, description="The last page's cursor.")

    def bad(self) -> tuple[Footing, str]:
        """What is asked about. Raises `InputError` (`FootingRequired`) unless it is exactly one thing."""
        named = {footing: getattr(self, footing.replace("-", "_")) for footing in Footing}
        return only({footing: value for footing, value in named.items() if value is not None})


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


class AffectedPage(Shown):
    """How far it reaches, and one page of what was to be listed."""

    extent: Extent
    runs: list[Run]
    decisions: list[Decision]
    images: list[Resting]
    cursor: str | None
