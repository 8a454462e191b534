"""What one leaf makes: its rows, of which some are shared with other leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Table

from controller.inventory import tables
from controller.inventory.recording.runs import Heard

SHARED = (
    *(tables.policy_version, tables.verification, tables.exception, tables.evidence, tables.trace),
    tables.claim,
    *(tables.image_manifest, tables.signer_set, tables.signer_member, tables.policy_use),
    *(tables.presence, tables.refused_image),
)
"""The tables whose rows several leaves say together."""
KEYS = {table.name: tuple(column.name for column in table.primary_key) for table in SHARED}

Row = dict[str, Any]


class Shared(NamedTuple):
    """A row, without its times, that other leaves may make as well, and its name among all of these."""

    table: Table
    key: tuple[str, ...]
    row: Row


@dataclass(frozen=True, slots=True)
class Projection:
    """One leaf and the rows that follow from it. Its position and the time of recording come with the append.

    `shared` are in the order of `SHARED`; the others follow from this leaf alone. `judgement` names what its images and
    evaluations make (`shared` is among it), empty where it is not known.
    """

    id: str
    key: str
    verdict: str
    canonical: bytes
    decided_at: datetime
    blobs: tuple[str, ...]
    decision: Row | None = None
    images: tuple[Row, ...] = ()
    evaluations: tuple[Row, ...] = ()
    uses: tuple[Row, ...] = ()
    flags: tuple[Row, ...] = ()
    refusals: tuple[Row, ...] = ()
    apart: tuple[Row, ...] = ()
    shared: tuple[Shared, ...] = ()
    heard: Heard | None = None
    gap: Row | None = None
    hold: Row | None = None
    carried: tuple[tuple[Table, Row], ...] = ()
    read: Row | None = None
    resource: Row | None = None
    judgement: bytes = field(default=b"", compare=False)

    def of(self, table: Table) -> tuple[Row, ...]:
        """Its shared rows of one table."""
        return tuple(item.row for item in self.shared if item.table is table)


def key_of(table: Table, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The name of a shared row among all of these."""
    return (table.name, *(row[name] for name in KEYS[table.name]))
