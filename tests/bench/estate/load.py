"""Puts an estate into an inventory by the program's own statements: append, sequencer, indexer.

Only the threads are left out, and the wait for each caller: facts are appended in the order and with the times in which
they would have been recorded, many groups to a commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Engine

from controller.inventory import store, tables
from controller.inventory.blobs.store import Blobs
from controller.inventory.database import engines, partitions
from controller.inventory.index import reading as documents
from controller.inventory.index.contents import Contents
from controller.inventory.index.writing import Indexer
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.ledger.sequencing import Sequencer
from controller.inventory.recording.append import Record, append
from controller.inventory.recording.projecting import Projector
from controller.inventory.recording.projections import Remembered
from controller.inventory.store import migrate
from controller.settings import DocumentSettings, InventorySettings
from tests.bench.estate.facts import Decision, Gap, Run
from tests.bench.estate.history import Estate
from tests.bench.estate.leaves import Scribe
from tests.bench.estate.size import BEGIN, END

A_COMMIT = 500  # facts, about
MAX_COMMIT_BYTES = 64 * 1024 * 1024
JUDGEMENTS = 256 * 1024 * 1024  # bytes of what is remembered of leaves, since an estate comes back to old ones
SIGNER = NoteSigner.of_seed("estate.example/ledger", b"\x07" * 32)

Leaf = tuple[dict[str, Any], Mapping[str, bytes]]
Say = Callable[[str], object]


@dataclass(slots=True)
class Loaded:
    """What loading took, in seconds by step, and what came in."""

    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    documents: dict[str, tuple[int, int]] = field(default_factory=dict)
    leaf_bytes: int = 0
    tenths: list[float] = field(default_factory=list)
    """Leaves appended a second, for each tenth of them: whether it gets slower as the database grows."""


def leaves(estate: Estate, scribe: Scribe) -> Iterator[tuple[datetime, list[Leaf]]]:
    """All leaves, by the time at which they are recorded, in that order."""
    told: list[tuple[datetime, int, str, Decision | Run | Gap]] = []
    for number, fact in enumerate(estate.facts):
        told.append((fact.recorded_at, number, "began", fact))
        if isinstance(fact, Run) and fact.end_recorded_at is not None:
            told.append((fact.end_recorded_at, number, "ended", fact))
    told.sort(key=itemgetter(0, 1, 2))
    for recorded_at, group in groupby(told, key=itemgetter(0)):
        yield recorded_at, [_leaf(scribe, fact, what) for _, _, what, fact in group]


def load(estate: Estate, url: str, *, scribe: Scribe | None = None, say: Say = lambda _: None) -> Loaded:
    """Make the database at `url` (empty, or not there yet) hold the estate. Returns what it took."""
    migrate(url)
    scribe = scribe or Scribe()
    settings = InventorySettings(database_url=url)
    loaded = Loaded()
    parsed = engines.parse(url)
    writing, deriving = engines.writing_engine(parsed), engines.deriving_engine(parsed)
    reading = engines.reading_engine(parsed, connections=2)
    try:
        _lay_months(writing)
        whole = sum(1 + (isinstance(f, Run) and f.end_recorded_at is not None) for f in estate.facts)
        blobs = store._blobs(settings, parsed)
        _append_all(writing, blobs, leaves(estate, scribe), loaded, whole, say)
        began = time.perf_counter()
        sequencer = Sequencer(writing, reading, signer=SIGNER, clock=lambda: END)
        sequencer.take_over()
        while sequencer.sequence().more:
            pass
        loaded.seconds["sequence"] = time.perf_counter() - began
        say(f"{loaded.seconds['sequence']:8.1f} s  numbered in the ledger")
        writing.dispose()  # the index has a connection of its own, as in the program
        _index(deriving, reading, blobs, loaded, say)
    finally:
        for engine in (writing, deriving, reading):
            engine.dispose()
    loaded.documents = dict(scribe.documents)
    return loaded


def _lay_months(writing: Engine) -> None:
    """Let PostgreSQL's months begin where the estate does, as if the database had been there since then."""
    with writing.begin() as connection:
        for table in tables.PARTITIONED:
            for part in partitions.parts(connection, table):
                connection.exec_driver_sql(f"DROP TABLE {part.name}")
        partitions.lay(connection, since=BEGIN)


def _append_all(
    writing: Engine,
    blobs: Blobs,
    groups: Iterable[tuple[datetime, list[Leaf]]],
    loaded: Loaded,
    whole: int,
    say: Say,
) -> None:
    remembered, projector = Remembered(), Projector(JUDGEMENTS)
    spent = {"invent": 0.0, "project": 0.0, "append": 0.0}
    count, tenth, at_tenth = 0, 0.0, 0
    began = time.perf_counter()
    for commit in _commits(groups):
        invented = time.perf_counter()
        records = [Record(projector.project(leaf), content, at) for at, group in commit for leaf, content in group]
        projected = time.perf_counter()
        with writing.begin() as connection:
            written = append(connection, records, now=commit[-1][0], remembered=remembered, blobs=blobs)
        appended = time.perf_counter()
        if written.refused:
            raise next(iter(written.refused.values()))
        remembered.add(written.remember)
        count += len(records)
        loaded.leaf_bytes += sum(len(record.projection.canonical) for record in records)
        spent["invent"] += invented - began
        spent["project"] += projected - invented
        spent["append"] += appended - projected
        if count - at_tenth >= whole / 10 or count == whole:
            rate = (count - at_tenth) / max(spent["append"] - tenth, 1e-9)
            loaded.tenths.append(rate)
            say(f"{sum(spent.values()):8.1f} s  {count:,} of {whole:,} leaves appended, {rate:,.0f} a second")
            tenth, at_tenth = spent["append"], count
        began = time.perf_counter()
    loaded.seconds |= spent
    loaded.counts["leaf"] = count


def _index(writing: Engine, reading: Engine, blobs: Blobs, loaded: Loaded, say: Say) -> None:
    """Index every document, in this process; reading them and writing their rows are timed apart."""
    limits = DocumentSettings()
    spent = {"read": 0.0}

    def read(content: bytes) -> Contents:
        began = time.perf_counter()
        try:
            return documents.read(content, limits)
        finally:
            spent["read"] += time.perf_counter() - began

    began = time.perf_counter()
    indexer = Indexer(writing, reading, blobs=blobs, read=read, clock=lambda: END)
    count = unreadable = 0
    while (progress := indexer.step()).more:
        count += progress.indexed
        unreadable += progress.unreadable
        say(f"{time.perf_counter() - began:8.1f} s  {count:,} documents indexed")
    loaded.counts |= {"document": count, "unreadable": unreadable}
    loaded.seconds["index"] = time.perf_counter() - began
    loaded.seconds["links"] = loaded.seconds["index"] - spent["read"]


def _commits(groups: Iterable[tuple[datetime, list[Leaf]]]) -> Iterator[list[tuple[datetime, list[Leaf]]]]:
    commit: list[tuple[datetime, list[Leaf]]] = []
    facts = size = 0
    for at, group in groups:
        commit.append((at, group))
        facts += len(group)
        size += sum(len(content) for _, blobs in group for content in blobs.values())
        if facts >= A_COMMIT or size >= MAX_COMMIT_BYTES:
            yield commit
            commit, facts, size = [], 0, 0
    if commit:
        yield commit


def _leaf(scribe: Scribe, fact: Decision | Run | Gap, what: str) -> Leaf:
    if isinstance(fact, Decision):
        return scribe.decision(fact)
    if isinstance(fact, Gap):
        return scribe.gap(fact), {}
    return (scribe.started(fact) if what == "began" else scribe.ended(fact)), {}
