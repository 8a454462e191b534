"""How many runs there ever were of what rests on something, as far as is counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Select, and_, func, select

from controller.inventory import tables
from controller.inventory.asking.affected.decisions import FEW, MAX_COUNTED, Asked, parts
from controller.inventory.asking.affected.reaching import APART, Reach
from controller.inventory.asking.runs.words import Condition, began
from controller.inventory.database.parameters import among, sifted, texts
from controller.inventory.intervals import SPANS

MAX_LOOKED = 10_000  # runs of a namespace that are looked at for many images, before each is looked up

_run = tables.run

_Confined = Mapping[str, Collection[str]]
"""Images by the namespace in which alone they count."""


def count_runs(connection: Connection, found: Reach, asked: Asked) -> int:
    """How many runs there were of these images until the time that is asked for, up to `MAX_COUNTED`."""
    everywhere = found.everywhere.names
    if asked.namespace is not None:
        return _count_confined(connection, {asked.namespace: everywhere}, asked, MAX_COUNTED)
    total = 0
    if everywhere:
        of_them = among(connection, _run.c.digest, sorted(everywhere))
        total = _count(connection, select(_run.c.leaf).where(of_them, _by_then(asked)), MAX_COUNTED)
    confined = {where: rests.names.keys() - everywhere.keys() for where, rests in found.more.items()}
    return total + _count_confined(connection, confined, asked, MAX_COUNTED - total)


def _count_confined(connection: Connection, confined: _Confined, asked: Asked, most: int) -> int:
    """By the images, a few at a time. Of many in few namespaces first among what ran there: most of what is found by an
    image may have run later than is asked for."""
    total, left = 0, dict(confined)
    for namespace, names in confined.items() if len(confined) <= APART else ():
        if len(names) > FEW:
            found, is_all = _count_there(connection, namespace, names, asked, most)
            if found == most:
                return most
            if is_all:
                total += found
                del left[namespace]
    pairs = [(name, namespace) for namespace, names in left.items() for name in names]
    for some in parts(pairs):
        if total >= most:
            break
        told = texts(connection, ("digest", "namespace"), some)
        here = and_(_run.c.digest == told.c.digest, _run.c.namespace == told.c.namespace)
        query = select(_run.c.leaf).select_from(told).join(_run, here)
        # SQLite knows nothing of how much each leaves, and would go through all runs of the namespace for each image.
        query = query.with_hint(_run, "INDEXED BY ix_run_namespace_digest", "sqlite")
        total += _count(connection, query.where(_by_then(asked)), most - total)
    return min(total, most)


def _count_there(
    connection: Connection, namespace: str, names: Collection[str], asked: Asked, most: int
) -> tuple[int, bool]:
    """How many of `MAX_LOOKED` runs of the namespace are of these images, up to `most`, and whether it had no more."""
    there = select(_run.c.digest).where(_run.c.namespace == namespace, _run.c.span.in_(SPANS), _by_then(asked))
    there = there.with_hint(_run, "INDEXED BY ix_run_namespace_span_started_at_leaf", "sqlite").limit(MAX_LOOKED)
    some = there.subquery()
    of_them = select(some.c.digest).where(sifted(connection.dialect.name, some.c.digest, "digests"))
    found = _count(connection, of_them, most, {"digests": sorted(names)})
    return found, found < most and _count(connection, there, MAX_LOOKED) < MAX_LOOKED


def _count(connection: Connection, query: Select[Any], most: int, values: Mapping[str, Any] | None = None) -> int:
    rows = query.limit(most).subquery()
    return int(connection.execute(select(func.count()).select_from(rows), values).scalar_one())


def _by_then(asked: Asked) -> Condition:
    return began(_run, as_of=asked.as_of, known_at=asked.known_at)
