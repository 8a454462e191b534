"""Makes one row of each run: from the leaf that says that it started, the one that says that it ended, and decisions.

Any of them may come first, or alone. A run is linked to the decisions about its pod when the one or the other is
recorded, so that a list of what was never admitted is a look-up. Those who record the two at the same moment wait for
each other (`dialect.claim_pods`): else neither would see the other.

What is kept of decisions is enough to say what was known of the run at any time. It rests on this: with each further
decision a run can only go on from Unadmitted over Drifted and Unknown to Admitted, never back; and the decision that
admitted it is the first recorded one that was about this very image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, func, or_, select

from controller.inventory import tables
from controller.inventory.database import dialect, parameters
from controller.inventory.database.inserts import Inserting
from controller.inventory.database.selects import Rows, Selecting
from controller.inventory.intervals import span_of
from controller.inventory.recording.fields import moment, optional, required, text
from controller.inventory.recording.proven import NOBODY_SIGNED
from controller.inventory.records import Admission
from controller.inventory.tables import of_one_leaf

Row = dict[str, Any]
Key = tuple[str, ...]
_run = tables.run
KEY = tuple(column.name for column in tables.run.primary_key.columns)
_COLUMNS = tuple(column.name for column in tables.run.columns)
_LINK = tuple(f"{what}{time}" for what in ("asked", "unresolved", "admitted") for time in ("", "_at"))
_RUNS = Inserting(
    tables.run,
    lambda statement: statement.on_conflict_do_update(
        index_elements=list(KEY),
        set_={column.name: statement.excluded[column.name] for column in tables.run.columns if column.name not in KEY},
    ),
)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a leaf says of a run: its facts, and its end (`ended_at`, `reason`) where it is about that."""

    facts: Row
    end: Row | None

    @property
    def key(self) -> Key:
        """Which run it is."""
        return tuple(self.facts[name] for name in KEY)


@dataclass(frozen=True, slots=True)
class Told:
    """A leaf about a run that lies in the database."""

    position: int
    recorded_at: datetime
    heard: Heard


@dataclass(frozen=True, slots=True)
class Admitted:
    """An image (its row, but for leaf and times) with which a decision just recorded let a pod in."""

    leaf: int
    recorded_at: datetime
    pod: str
    image: Row

    @property
    def about(self) -> tuple[str, str, str]:
        """Of which pod, and which container of it."""
        return self.pod, self.image["kind"], self.image["container"]


@dataclass(frozen=True, slots=True)
class _Admitted:
    """An image of a decision that let a pod in."""

    leaf: int
    decided_at: datetime
    recorded_at: datetime
    position: int
    kind: str
    container: str
    digest: str | None
    manifests: int
    signers: str


def heard(leaf: Mapping[str, Any]) -> Heard:
    """Read the leaf of a start or of an end. Raises what a malformed leaf raises."""
    pod, run = leaf["pod"], leaf["run"]
    facts = {
        "cluster": text(leaf["cluster"]),
        "pod_uid": required(pod["uid"]),
        "kind": required(run["kind"]),
        "container": required(run["container"]),
        "run": required(run["id"]),
        "namespace": text(pod["namespace"]),
        "pod": text(pod["name"]),
        "node": text(pod["node"]),
        "service_account": text(pod["serviceAccount"]),
        "owner": text(pod["owner"]),
        "reference": text(run["image"]),
        "image_id": text(run["imageId"]),
        "repository": text(run["repository"]),
        "digest": optional(run["digest"]),
        "started_at": moment(run["startedAt"]),
    }
    if leaf["verdict"] == "Started":
        return Heard(facts, None)
    return Heard(facts, {"ended_at": moment(run["endedAt"]), "reason": text(run["reason"])})


def follow(connection: Connection, told: Sequence[Told], admitted: Sequence[Admitted], *, alone: bool) -> None:
    """Bring the rows of these runs, and of the runs of pods that were let in with these images, up to date.

    In the caller's transaction, after everything else that these leaves make. It does not matter in which order leaves
    come, nor how many together. `alone`: nobody else can record until the transaction ends.

    Of the runs that a pod has had, and of the decisions about it, only those are looked at that the new ones may
    change: a container that starts over and over costs the same each time.
    """
    pods = {leaf.heard.facts["pod_uid"] for leaf in told} | {one.pod for one in admitted}
    if not pods:
        return
    if not alone:
        dialect.claim_pods(connection, pods)
    before = _known(connection, {leaf.heard.key for leaf in told})
    after = {key: dict(row) for key, row in before.items()}
    for leaf in told:
        after[leaf.heard.key] = merged(after.get(leaf.heard.key), leaf)
    linked = [row for key, row in after.items() if key not in before or not _is_linked(row, before[key])]
    for key, row in _touched(connection, admitted).items():
        if key not in before:
            before[key], after[key] = row, dict(row)
            linked.append(after[key])
        elif _is_linked(after[key], before[key]):
            linked.append(after[key])
    _link(connection, linked)
    changed = [row for key, row in sorted(after.items()) if row != before.get(key)]
    if changed:
        _RUNS.run(connection, changed)


def _is_linked(row: Row, before: Row) -> bool:
    """Whether what decisions say of the row as it was holds of it as it is now."""
    return all(row[name] == before[name] for name in ("digest", "recorded_at"))


def merged(row: Row | None, leaf: Told) -> Row:
    """With what one leaf more says: of several about the same, the one at the smallest position is believed."""
    facts, end = leaf.heard.facts, leaf.heard.end
    if row is None:
        empty: Row = {"end_leaf": None, "ended_at": None, "end_recorded_at": None, "reason": ""}
        row = facts | {"leaf": leaf.position, "recorded_at": leaf.recorded_at} | empty
    elif _is_better(row, leaf):
        row = row | facts | {"leaf": leaf.position}
    row["recorded_at"] = min(row["recorded_at"], leaf.recorded_at)
    if end is not None and (row["end_leaf"] is None or leaf.position < row["end_leaf"]):
        if row["leaf"] == row["end_leaf"]:  # the facts were another end's
            row = row | facts | {"leaf": leaf.position}
        row |= end | {"end_leaf": leaf.position, "end_recorded_at": leaf.recorded_at}
    row["span"] = span_of(**{name: row[name] for name in _TIMES})
    return row


_TIMES = ("started_at", "recorded_at", "ended_at", "end_recorded_at")


def _is_better(row: Row, leaf: Told) -> bool:
    """Whether this leaf is the one to believe about how the run started: a start before any end."""
    is_start = leaf.heard.end is None
    has_start = row["leaf"] != row["end_leaf"]
    return is_start and (not has_start or leaf.position < row["leaf"])


def _link(connection: Connection, rows: Sequence[Row]) -> None:
    """Say in the rows what decisions say of them."""
    if not rows:
        return
    decided = _decided(connection, {row["pod_uid"] for row in rows})
    listing = {one.digest for found in decided.values() for one in found if one.digest and one.manifests}
    indexes = _indexes(connection, {row["digest"] for row in rows if row["digest"]}, listing)
    apart = _apart(connection, [one for found in decided.values() for one in found])
    for row in rows:
        about = decided.get((row["pod_uid"], row["kind"], row["container"]), ())
        row.update(_linked(row, about, indexes.get(row["digest"], frozenset()), apart))


def _linked(
    row: Row, about: Sequence[_Admitted], indexes: AbstractSet[str], apart: Mapping[tuple[int, int, str], str]
) -> Row:
    digest = row["digest"]

    asked = next(iter(about), None)
    unresolved = next((one for one in about if one.digest is None), None)
    admitted = next((one for one in about if _is_this(digest, one.digest, one.manifests, indexes)), None)
    if admitted is not None:
        state = Admission.ADMITTED
    elif asked is None:
        state = Admission.UNADMITTED
    else:
        state = Admission.UNKNOWN if not digest or unresolved is not None else Admission.DRIFTED
    links: Row = {}
    for name, one in (("asked", asked), ("unresolved", unresolved), ("admitted", admitted)):
        links |= {
            name: one.leaf if one is not None else None,
            f"{name}_at": one.recorded_at if one is not None else None,
        }
    signers = apart.get((admitted.leaf, admitted.position, digest), admitted.signers) if admitted else NOBODY_SIGNED
    late = any(links[name] is not None and links[name] > row["recorded_at"] for name in _LINK[1::2])
    return links | {"admission": str(state), "signers": signers, "late": late}


def _known(connection: Connection, keys: Collection[Key]) -> dict[Key, Row]:
    if not keys:
        return {}
    return _by_key(_KNOWN.rows(connection, parameters.as_texts(connection.dialect.name, KEY, sorted(keys))))


def _known_query(kind: str) -> Select[Any]:
    wanted = parameters.listed_texts(kind, KEY)
    return select(_run).join(wanted, and_(*(_run.c[name] == wanted.c[name] for name in KEY)))


_KNOWN = Selecting(_known_query)


def _touched(connection: Connection, admitted: Sequence[Admitted]) -> dict[Key, Row]:
    """The runs of these pods of which these decisions say something that none recorded before them did."""
    if not admitted:
        return {}
    query = _OPEN[any(one.image["digest"] is None for one in admitted)]
    asked = {"pods": sorted({one.pod for one in admitted}), "first": min(one.recorded_at for one in admitted)}
    rows = _by_key(query.rows(connection, asked))
    if not rows:
        return {}
    about: dict[tuple[str, str, str], list[Admitted]] = defaultdict(list)
    for one in admitted:
        about[one.about].append(one)
    listing = {one.image["digest"] for one in admitted if one.image["digest"] and one.image["manifests"]}
    indexes = _indexes(connection, {row["digest"] for row in rows.values() if row["digest"]}, listing)

    def says_more(row: Row, one: Admitted) -> bool:
        digest = one.image["digest"]
        said = {"asked"} if digest is not None else {"asked", "unresolved"}
        if _is_this(row["digest"], digest, one.image["manifests"], indexes.get(row["digest"], frozenset())):
            said.add("admitted")
        return any(row[name] is None or row[f"{name}_at"] >= one.recorded_at for name in said)

    return {
        key: row
        for key, row in rows.items()
        if any(says_more(row, one) for one in about[row["pod_uid"], row["kind"], row["container"]])
    }


def _open_query(kind: str, *, unresolved: bool) -> Select[Any]:
    """The runs of the pods of the parameter `pods` that lack a link, or have one recorded no earlier than `first`."""
    first = bindparam("first", type_=tables.Instant)
    links = [_run.c[f"{name}_at"] for name in ("asked", "admitted", *(["unresolved"] if unresolved else []))]
    lacking = or_(*(or_(link.is_(None), link >= first) for link in links))
    return select(_run).where(parameters.listed(kind, _run.c.pod_uid, "pods"), lacking)


_OPEN = {unresolved: Selecting(partial(_open_query, unresolved=unresolved)) for unresolved in (False, True)}


def _is_this(run: str | None, digest: str | None, manifests: int, indexes: AbstractSet[str]) -> bool:
    """Whether an image that was decided upon is what ran, of which `indexes` hold the manifest."""
    return bool(run) and (digest == run or (manifests > 0 and digest in indexes))


def _by_key(rows: Rows) -> dict[Key, Row]:
    """The runs by their key, of rows that have all columns of the table."""
    found = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    return {tuple(row[name] for name in KEY): row for row in found}


def _decided(connection: Connection, pods: Iterable[str]) -> Mapping[tuple[str, str, str], Sequence[_Admitted]]:
    """The images with which these pods were let in, by pod, kind and container, the first recorded first."""
    found: dict[tuple[str, str, str], list[_Admitted]] = defaultdict(list)
    for uid, *values, _ in _DECIDED.rows(connection, {"pods": sorted(set(pods))}):
        one = _Admitted(*values)
        found[uid, one.kind, one.container].append(one)
    return found


def _decided_query(kind: str) -> Select[Any]:
    """The images with which the pods of the parameter `pods` were let in, the first recorded first.

    Of decisions upon one image of a container only the first: the later ones say nothing more of its runs.
    """
    decision, image = tables.decision, tables.decision_image
    order = (decision.c.recorded_at, decision.c.decided_at, decision.c.leaf, image.c.position)
    alike = (decision.c.object_uid, image.c.kind, image.c.container, image.c.digest, image.c.manifests > 0)
    columns = (image.c[name] for name in ("position", "kind", "container", "digest", "manifests", "signers"))
    place = func.row_number().over(partition_by=alike, order_by=order).label("place")
    ranked = (
        select(decision.c.object_uid, decision.c.leaf, decision.c.decided_at, decision.c.recorded_at, *columns, place)
        .join(image, of_one_leaf(image, decision))
        .where(decision.c.kind == "Pod", decision.c.verdict == "Allow")
        .where(parameters.listed(kind, decision.c.object_uid, "pods"))
        .subquery()
    )
    query = select(ranked).where(ranked.c.place == 1)
    return query.order_by(ranked.c.recorded_at, ranked.c.decided_at, ranked.c.leaf, ranked.c.position)


_DECIDED = Selecting(_decided_query)


def _indexes(
    connection: Connection, manifests: AbstractSet[str], among: AbstractSet[str]
) -> Mapping[str | None, AbstractSet[str]]:
    """Of each of these manifests the indexes `among` these that hold it: anybody may have made thousands that do."""
    found: dict[str | None, set[str]] = defaultdict(set)
    if manifests and among:
        for manifest, digest in _INDEXES.rows(connection, {"digests": sorted(among), "manifests": sorted(manifests)}):
            found[manifest].add(digest)
    return found


def _indexes_query(kind: str) -> Select[Any]:
    table = tables.image_manifest
    return select(table.c.manifest, table.c.digest).where(
        parameters.listed(kind, table.c.digest, "digests"),
        parameters.listed(kind, dialect.compared(table.c.manifest), "manifests"),
    )


_INDEXES = Selecting(_indexes_query)


def _apart(connection: Connection, decided: Iterable[_Admitted]) -> Mapping[tuple[int, int, str], str]:
    """The signers of single manifests, by leaf, position of the image and manifest."""
    wanted = {one.leaf: one.decided_at for one in decided}
    if not wanted:
        return {}
    times = wanted.values()
    rows = _APART.rows(connection, {"leaves": sorted(wanted), "first": min(times), "last": max(times)})
    return {(leaf, position, manifest): signers for leaf, position, manifest, signers in rows}


def _apart_query(kind: str) -> Select[Any]:
    table = tables.manifest_signers
    first, last = (bindparam(name, type_=tables.Instant) for name in ("first", "last"))
    query = select(table.c.leaf, table.c.position, table.c.manifest, table.c.signers)
    return query.where(parameters.listed(kind, table.c.leaf, "leaves"), table.c.decided_at.between(first, last))


_APART = Selecting(_apart_query)
