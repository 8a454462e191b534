"""Which evidence holds for the runs of an image: what an index and its manifests share, and what they do not.

A kubelet may name the index that was admitted, or the manifest that it chose of it. So for a run counts what was found
when the digest that it is named by was judged, or an index that holds that: of the whole index, or of this very
manifest. What was found when a manifest was judged by itself does not count for an index that lists it: whoever writes
an index lists what manifests he likes, and would borrow their evidence, or read it in a namespace where they never ran.

An index tells of `review.leaf.MAX_MANIFESTS` manifests at the most. How many indexes hold one manifest is bounded by
nothing but the time that a statement may take (`engines.READ_TIMEOUT`), past which the question is refused, and never
answered from some of them: ten thousand indexes of strangers cost it 25 to 100 ms.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import CTE, ColumnElement, Connection, Table, and_, or_, select, union_all

from controller.inventory import tables
from controller.inventory.database.parameters import among, texts

_held = tables.image_manifest

Pair = tuple[str, str]
Judged = tuple[str, str]
"""A digest that was judged, and the one manifest of that index that something was found of, else empty."""


def holders(connection: Connection, digests: Iterable[str], known_at: datetime | None) -> Mapping[str, Sequence[str]]:
    """Of each digest itself, and the indexes that hold it: under which evidence of its runs may stand."""
    return _related(connection, digests, known_at, _held.c.manifest, _held.c.digest)


def manifests(connection: Connection, digests: Iterable[str], known_at: datetime | None) -> Mapping[str, Sequence[str]]:
    """Of each digest itself, and the manifests that it holds."""
    return _related(connection, digests, known_at, _held.c.digest, _held.c.manifest)


def related(connection: Connection, digests: Iterable[str], known_at: datetime | None) -> Mapping[str, set[str]]:
    """Of each digest its `holders` and its `manifests`: for what is no evidence."""
    wanted = set(digests)
    above, below = (find(connection, wanted, known_at) for find in (holders, manifests))
    return {digest: {*above[digest], *below[digest]} for digest in wanted}


def _related(
    connection: Connection,
    digests: Iterable[str],
    known_at: datetime | None,
    one: ColumnElement[str],
    other: ColumnElement[str],
) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {digest: [digest] for digest in digests}
    query = select(one, other).where(among(connection, one, sorted(found)))
    if known_at is not None:
        query = query.where(_held.c.recorded_at <= known_at)
    for digest, relative in connection.execute(query) if found else ():
        if relative != digest:
            found[digest].append(relative)
    return found


def akin(connection: Connection, pairs: Collection[Pair], known_at: datetime | None) -> set[Pair]:
    """Of these pairs those of which the one is the other, or holds it, or is held by it."""
    found = {pair for pair in pairs if pair[0] == pair[1]}
    if not (others := sorted(set(pairs) - found)):
        return found
    wanted = texts(connection, ("one", "other"), others)
    for index, manifest in (("one", "other"), ("other", "one")):
        held = and_(_held.c.digest == wanted.c[index], _held.c.manifest == wanted.c[manifest])
        query = select(wanted.c.one, wanted.c.other).join(_held, held)
        query = query if known_at is None else query.where(_held.c.recorded_at <= known_at)
        found |= {(one, other) for one, other in connection.execute(query)}
    return found


def of_runs(
    connection: Connection, judged: Iterable[Judged], known_at: datetime | None
) -> Mapping[Judged, Sequence[str]]:
    """The other way round: of each that was judged the names of the runs that it counts for."""
    wanted = set(judged)
    whole = manifests(connection, {digest for digest, child in wanted if not child}, known_at)
    return {(digest, child): (digest, child) if child else whole[digest] for digest, child in wanted}


def named(running: CTE, known_at: datetime | None, *, inside: bool = False, called: str = "named") -> CTE:
    """These images under their `holders`: the columns of `running`, and `name`; with `inside` under the names of their
    `manifests` too, for what is no evidence. `called` is the table's name in the statement."""
    columns = (_held.c.manifest, _held.c.digest)
    found = [select(*running.c, running.c.digest.label("name"))]
    for this, other in (columns, columns[::-1]) if inside else (columns,):
        query = select(*running.c, other.label("name")).join(_held, this == running.c.digest)
        found.append(query if known_at is None else query.where(_held.c.recorded_at <= known_at))
    return union_all(*found).cte(called)


def is_about(found: Table, names: CTE) -> ColumnElement[bool]:
    """Whether what stands under a name of an image (`named`) in `found` (`evidence`, `claim`, `verification`) is about
    that image: about all of it (an empty `child`), or about the manifest that runs. A run that is named by its index
    may be any of it."""
    whole = found.c.child.is_(None) if found.c.child.nullable else found.c.child == ""
    return or_(names.c.name == names.c.digest, whole, found.c.child == names.c.digest)


def is_of(found: Table, names: CTE) -> ColumnElement[bool]:
    """`is_about`, and its owner's or the cluster's policies found it (`standing.Owners`)."""
    return and_(is_about(found, names), or_(found.c.policy_namespace == "", found.c.policy_namespace == names.c.owner))
