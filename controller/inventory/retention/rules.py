"""Which class of data each leaf and each table belongs to, and how long that is kept. Pure.

A table without a class would keep rows of what was dropped, so there is none (`follows`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Table

from controller.errors import ConfigurationError
from controller.inventory import tables
from controller.settings import InventorySettings

SHORTEST = timedelta(days=7)
"""The least that anything is kept: who remembers that bytes are recorded is right, through days without a database."""


class DataClass(StrEnum):
    """What is kept, and dropped, together."""

    DECISIONS = "decisions"
    SIGHTINGS = "sightings"
    EVIDENCE = "evidence"


class Follows(StrEnum):
    """What becomes of a table's rows when something is dropped."""

    IS_LEAF = "the leaf itself"
    LEAF = "goes with its leaf"
    RUN = "goes with the leaves of its run"
    BLOB = "goes with its bytes, or says that these are gone"
    SHARED = "stays, and is carried by the retention's own leaf: what several leaves say, dated by the first"
    DICTIONARY = "stays: words that documents are written in, and nothing about anybody"
    LEDGER = "stays: the hashes that prove what was recorded"


_OF_INDEX = {tables.package.name, tables.component.name, tables.index_state.name}


def follows(table: Table) -> Follows:
    """What becomes of this table's rows. Raises `LookupError` for one that nobody has thought of."""
    if table is tables.leaf:
        return Follows.IS_LEAF
    if table in tables.LEDGER:
        return Follows.LEDGER
    if table.name == "run":
        return Follows.RUN
    if table in tables.PROJECTIONS:
        if "leaf" in table.c:
            return Follows.LEAF
        if {"decided_at", "recorded_at"} <= set(table.c.keys()):
            return Follows.SHARED
    if table is tables.blob:
        return Follows.BLOB
    if table in tables.INDEXES:
        return Follows.DICTIONARY if table.name in _OF_INDEX else Follows.BLOB
    raise LookupError(f"table {table.name} has no class of retention")


@dataclass(frozen=True, slots=True)
class Rule:
    """How long one class is kept."""

    what: DataClass
    keep: timedelta

    def before(self, now: datetime) -> datetime:
        """What is older than this is dropped."""
        return now - self.keep


def rules(settings: InventorySettings) -> tuple[Rule, ...]:
    """The classes that are not kept for ever, in the order in which they are dropped.

    Sightings first: a decision stays as long as a run that rests on it. Evidence last: it stays as long as a leaf names
    it. Raises `ConfigurationError` (`SettingInvalid`) for a time below `SHORTEST`.
    """
    found = []
    for what in (DataClass.SIGHTINGS, DataClass.DECISIONS, DataClass.EVIDENCE):
        name = f"retain_{what}"
        keep = timedelta(seconds=float(getattr(settings, name)))
        if keep and keep < SHORTEST:
            raise ConfigurationError("SettingInvalid", f"{name}: nothing is kept for less than 7 days; 0 is for ever")
        if keep:
            found.append(Rule(what, keep))
    return tuple(found)
