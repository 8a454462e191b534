"""The JSON of what SBOMs running images have."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from controller.inventory.asking.cursors import MAX_CURSOR
from controller.inventory.asking.documents.sboms import MAY_LACK, STALE_AFTER, Demands, SbomState
from controller.reading.wire.base import InNamespace, Moment, MomentAsked, Paged, Shown, Text

MAX_DAYS = 36_500  # of an age that is asked for


class SbomsAsked(Paged, InNamespace):
    """Filters and paging of the list of images with their SBOMs."""

    state: list[SbomState] = Field(default_factory=list, description="Only images in one of these states.")
    cluster: Text | None = Field(None, description="Only of this cluster.")
    older_than_days: int = Field(STALE_AFTER.days, ge=1, le=MAX_DAYS, description="Days after which one is stale.")
    may_lack: int = Field(MAY_LACK, ge=0, le=100, description="Percent of components that may lack a minimum element.")
    as_of: MomentAsked | None = Field(None, description="What ran then; default: now.")
    cursor: str | None = Field(None, max_length=MAX_CURSOR, description="The last page's cursor.")

    def demands(self) -> Demands:
        """What is asked of an SBOM."""
        return Demands(timedelta(days=self.older_than_days), self.may_lack)


class ImageSbom(Shown):
    """A running image, the best SBOM that it has, and why that is no better."""

    digest: str
    repositories: list[str]
    runs: int
    namespaces: list[str]
    clusters: list[str]
    since: Moment
    state: SbomState
    why: list[str]
    artifact: str
    format: str
    tool: str
    dated_at: Moment | None
    components: int


class SbomPage(Shown):
    """Running images, those that are worst off first; `counts` of all of them by state."""

    items: list[ImageSbom]
    counts: dict[str, int]
    unidentified: int
    cursor: str | None
