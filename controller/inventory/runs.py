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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, tuple_

from controller.inventory import dialect, tables
from controller.inventory.asking import of_one_leaf, of_rows
from controller.inventory.fields import moment, optional, required, text
from controller.inventory.inserts import Inserting
from controller.inventory.intervals import span_of
from controller.inventory.proven import NOBODY_SIGNED
from controller.inventory.records import Admission

LOOKUP = 500  # names in one IN list

Row = dict[str, Any]
Key = tuple[str, ...]
KEY = tuple(column.name for column in tables.run.primary_key.columns)
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


def follow(connection: Connection, told: Sequence[Told], admitted: Iterable[str], *, alone: bool) -> None:
    """Bring the rows of these runs, and of the runs of the pods (by uid) that were `admitted`, up to date.

    In the caller's transaction, after everything else that these leaves make. It does not matter in which order leaves
    come, nor how many together. `alone`: nobody else can record until the transaction ends.
    """
    pods = {leaf.heard.facts["pod_uid"] for leaf in told} | set(admitted)
    if not pods:
        return
    if not alone:
        dialect.claim_pods(connection, pods)
    before = _known(connection, [leaf.heard.key for leaf in told])
    before |= _of_pods(connection, dialect.present(connection, tables.run.c.pod_uid, set(admitted)))
    after = {key: dict(row) for key, row in before.items()}
    for leaf in told:
        after[leaf.heard.key] = merged(after.get(leaf.heard.key), leaf)
    if not after:
        return
    _link(connection, list(after.values()))
    changed = [row for key, row in sorted(after.items()) if row != before.get(key)]
    if changed:
        _RUNS.run(connection, changed)


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
    decided = _decided(connection, {row["pod_uid"] for row in rows})
    wanted = {row["digest"] for row in rows if row["digest"]} if decided else set()
    indexes = _indexes(connection, wanted)
    apart = _apart(connection, [one for found in decided.values() for one in found])
    for row in rows:
        about = decided.get((row["pod_uid"], row["kind"], row["container"]), ())
        row.update(_linked(row, about, indexes.get(row["digest"], frozenset()), apart))


def _linked(
    row: Row, about: Sequence[_Admitted], indexes: frozenset[str], apart: Mapping[tuple[int, int, str], str]
) -> Row:
    digest = row["digest"]

    def is_this(one: _Admitted) -> bool:
        return bool(digest) and (one.digest == digest or (one.manifests > 0 and one.digest in indexes))

    asked = next(iter(about), None)
    unresolved = next((one for one in about if one.digest is None), None)
    admitted = next((one for one in about if is_this(one)), None)
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


def _known(connection: Connection, keys: Sequence[Key]) -> dict[Key, Row]:
    table = tables.run
    names = tuple_(*(table.c[name] for name in KEY))
    found: dict[Key, Row] = {}
    wanted = sorted(set(keys))
    for start in range(0, len(wanted), LOOKUP):
        rows = connection.execute(select(table).where(names.in_(wanted[start : start + LOOKUP]))).mappings()
        found |= {tuple(row[name] for name in KEY): dict(row) for row in rows}
    return found


def _of_pods(connection: Connection, pods: Iterable[str]) -> dict[Key, Row]:
    table = tables.run
    found: dict[Key, Row] = {}
    for some in _chunks(pods):
        rows = connection.execute(select(table).where(table.c.pod_uid.in_(some))).mappings()
        found |= {tuple(row[name] for name in KEY): dict(row) for row in rows}
    return found


def _decided(connection: Connection, pods: Iterable[str]) -> Mapping[tuple[str, str, str], Sequence[_Admitted]]:
    """The images with which these pods were let in, by pod, kind and container, the first recorded first."""
    decision, image = tables.decision, tables.decision_image
    columns = (image.c[name] for name in ("position", "kind", "container", "digest", "manifests", "signers"))
    query = (
        select(decision.c.object_uid, decision.c.leaf, decision.c.decided_at, decision.c.recorded_at, *columns)
        .join(image, of_one_leaf(image, decision))
        .where(decision.c.kind == "Pod", decision.c.verdict == "Allow")
        .order_by(decision.c.recorded_at, decision.c.decided_at, decision.c.leaf, image.c.position)
    )
    found: dict[tuple[str, str, str], list[_Admitted]] = defaultdict(list)
    for some in _chunks(pods):
        for uid, *values in connection.execute(query.where(decision.c.object_uid.in_(some))):
            one = _Admitted(*values)
            found[uid, one.kind, one.container].append(one)
    return found


def _indexes(connection: Connection, manifests: Iterable[str]) -> Mapping[str | None, frozenset[str]]:
    """The indexes that hold each of these manifests."""
    table = tables.image_manifest
    found: dict[str | None, set[str]] = defaultdict(set)
    for some in _chunks(manifests):
        query = select(table.c.manifest, table.c.digest).where(table.c.manifest.in_(some))
        for manifest, digest in connection.execute(query):
            found[manifest].add(digest)
    return {manifest: frozenset(digests) for manifest, digests in found.items()}


def _apart(connection: Connection, decided: Iterable[_Admitted]) -> Mapping[tuple[int, int, str], str]:
    """The signers of single manifests, by leaf, position of the image and manifest."""
    table = tables.manifest_signers
    found: dict[tuple[int, int, str], str] = {}
    leaves = sorted({one.leaf: one for one in decided}.values(), key=lambda one: one.decided_at)
    for start in range(0, len(leaves), LOOKUP):
        query = select(table.c.leaf, table.c.position, table.c.manifest, table.c.signers)
        query = query.where(of_rows(table, leaves[start : start + LOOKUP]))
        found |= {
            (leaf, position, manifest): signers for leaf, position, manifest, signers in connection.execute(query)
        }
    return found


def _chunks(names: Iterable[Any]) -> Iterable[list[Any]]:
    wanted = sorted(set(names))
    return (wanted[start : start + LOOKUP] for start in range(0, len(wanted), LOOKUP))
