"""Times that documents state and that are yet to come: nothing that they say has happened.

A scan dated ahead would be fresh for as long, and an image new. So such a time is taken for one that is not stated.
That a moment has come changes what is known then: verdicts are remembered until then at most.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from controller.model.documents import Document, Provenance, Sbom, Vex, VulnerabilityReport
from controller.model.image import ImageConfig

Dated = Document | ImageConfig
D = TypeVar("D", bound=Dated)

CLOCK_SKEW = timedelta(minutes=5)  # how far ahead the clock of whoever wrote a document may be

_TIMES: Mapping[type[Dated], tuple[str, ...]] = {
    ImageConfig: ("created",),
    Sbom: ("created",),
    Provenance: ("started_at", "finished_at"),
    VulnerabilityReport: ("scanned_at", "database_updated"),
}


def as_of(document: D, now: datetime) -> D:
    """The document without the times that are yet to come. (`Exploitability` sees to those of VEX statements.)"""
    ahead: dict[str, Any] = dict.fromkeys(name for name, time in _times(document) if time > now + CLOCK_SKEW)
    return dataclasses.replace(document, **ahead) if ahead else document


def to_come(document: Dated, now: datetime) -> Iterator[datetime]:
    """The moments from which more of the document is true than now."""
    if isinstance(document, Vex):
        times = (statement.timestamp for statement in document.statements)
        yield from (time for time in times if time is not None and time > now)
    yield from (time - CLOCK_SKEW for _, time in _times(document) if time > now + CLOCK_SKEW)


def _times(document: Dated) -> Iterator[tuple[str, datetime]]:
    for name in _TIMES.get(type(document), ()):
        time = getattr(document, name)
        if time is not None:
            yield name, time
