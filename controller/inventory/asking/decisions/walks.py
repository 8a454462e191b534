"""Pages of decisions, newest first: a walk along an index that begins with what is asked, to where the page is full.

One condition leads: its index is gone along by (`decided_at`, `leaf`). All others are looked up for each decision that
the walk comes to. Where several could lead, that one does which is met most rarely from here on: a look at the place of
its `PROBE`th row tells. So what a page costs is what the rarest condition has, not what the inventory has.

A statement is made once for each shape of a question: making one costs more than many answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    bindparam,
    literal_column,
    select,
    union_all,
)

from controller.errors import InputError
from controller.inventory import tables
from controller.inventory.asking import cursors
from controller.inventory.asking.asker import by_place, check_limit
from controller.inventory.asking.hindsight import last_decided
from controller.inventory.records import FLAGS, DecisionFilter
from controller.inventory.tables import of_one_leaf, of_rows
from controller.model.reference import Digest, Reference

LIST = "decisions"
PROBE = 1000  # rows of an index that are gone over to see how rare a condition is
MAX_NAMESPACES = 64  # walks side by side, for a policy's name that several namespaces have

_decision = tables.decision
_TABLES: Mapping[str, Table] = {
    "decision": tables.decision,
    "image": tables.decision_image,
    "policy": tables.evaluation,
    "flag": tables.decision_flag,
    "exception": tables.exception_use,
}
_VERDICTS = ("Allow", "Deny")


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a statement looks like: the columns that are compared of each table, by its name in `_TABLES`.

    `bounds` are of time; `verdict` is told in the statement itself, so that the index of denials is known to serve.
    """

    columns: tuple[tuple[str, tuple[str, ...]], ...]
    bounds: frozenset[str]
    verdict: str | None
    namespaces: int

    def of(self, name: str) -> tuple[str, ...]:
        """The columns of one table."""
        return dict(self.columns).get(name, ())


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question: its shape, and the values in it."""

    shape: _Shape
    values: dict[str, Any] = field(default_factory=dict)


def page(
    connection: Connection,
    where: DecisionFilter,
    *,
    limit: int,
    cursor: str | None,
    as_of: datetime | None,
    known_at: datetime | None,
) -> Sequence[Row[Any]]:
    """The next rows of `decision`: `limit`, and one more if there is one. Raises as `Queries.decisions` does."""
    check_limit(limit)
    as_of = last_decided(connection, as_of=as_of, known_at=known_at)
    asked = _read(connection, where, cursor=cursor, as_of=as_of, known_at=known_at)
    if asked is None:
        return ()
    lead = _lead(connection, asked)
    places = connection.execute(_walk(asked.shape, lead), {**asked.values, "most": limit + 1}).all()
    found = {row.leaf: row for row in connection.execute(select(_decision).where(of_rows(_decision, places)))}
    return [found[place.leaf] for place in places]


def _read(
    connection: Connection,
    where: DecisionFilter,
    *,
    cursor: str | None,
    as_of: datetime | None,
    known_at: datetime | None,
) -> _Asked | None:
    """The question that a filter asks; None if nothing can answer to it. Raises `InputError`."""
    image = _image(where)
    told: dict[str, dict[str, Any]] = {
        "decision": {"namespace": where.namespace, "name": where.name},
        "image": image or {},
        "policy": {},
        "flag": {"flag": where.flag},
        "exception": {"name": where.exception},
    }
    if where.verdict is not None and where.verdict not in _VERDICTS:
        raise InputError("VerdictUnknown", f"verdict must be {' or '.join(_VERDICTS)}")
    if where.flag is not None:
        if where.flag not in FLAGS:
            raise InputError("FlagUnknown", f"flag must be one of {', '.join(FLAGS)}")
        told["flag"]["namespace"] = where.namespace
    bounds: dict[str, Any] = {"since": where.since, "until": where.until, "as_of": as_of, "known_at": known_at}
    if cursor is not None:
        bounds["at"], bounds["leaf"] = cursors.read(cursor, LIST, datetime, int).place
    namespaces: Sequence[str] = ()
    if where.policy is not None:
        namespace, slash, name = where.policy.rpartition("/")
        namespaces = _namespaces(connection, name, namespace if slash else None, where.namespace)
        told["policy"] = {"policy_name": name, "policy_namespace": list(namespaces)}
    if image is None or (where.policy is not None and not namespaces):
        return None
    columns = {name: {column: value for column, value in told[name].items() if value is not None} for name in told}
    values = {f"{name}_{column}": value for name, found in columns.items() for column, value in found.items()}
    for number, namespace in enumerate(namespaces):
        values[f"namespace_{number}"] = namespace
    bounds = {name: value for name, value in bounds.items() if value is not None}
    shape = _Shape(
        columns=tuple((name, tuple(found)) for name, found in columns.items() if found),
        bounds=frozenset(bounds),
        verdict=where.verdict,
        namespaces=min(len(namespaces), MAX_NAMESPACES + 1),
    )
    return _Asked(shape, values | bounds)


def _image(where: DecisionFilter) -> dict[str, Any] | None:
    """What one image has to be, for which digest and name hold together; None if none can be that."""
    found: dict[str, Any] = {"digest": str(Digest.parse(where.digest)) if where.digest is not None else None}
    if where.image is not None:
        reference = Reference.parse(where.image)
        found["repository"] = reference.name
        if reference.digest is not None:
            if found["digest"] not in {None, str(reference.digest)}:
                return None
            found["digest"] = str(reference.digest)
        elif where.image.endswith(f":{reference.tag}"):
            found["tag"] = reference.tag
    return found


def _namespaces(connection: Connection, policy: str, only: str | None, judged: str | None) -> Sequence[str]:
    """The namespaces that have a policy of this name (an empty one: the cluster), or whether this `only` one has; of
    those that ever judged something in the namespace `judged`, if it is given."""
    version, use = tables.policy_version, tables.policy_use
    query = select(version.c.namespace).where(version.c.name == policy).distinct().order_by(version.c.namespace)
    if only is not None:
        query = query.where(version.c.namespace == only)
    if judged is not None:
        query = query.join(use, use.c.hash == version.c.hash).where(use.c.namespace == judged)
    return connection.execute(query).scalars().all()


def _lead(connection: Connection, asked: _Asked) -> str:
    """The table along whose index to walk."""
    shape = asked.shape
    able = [name for name, columns in shape.columns if name != "policy" or shape.namespaces == 1]
    if len(able) < 2:
        few = shape.namespaces <= MAX_NAMESPACES
        return able[0] if able else "policy" if shape.of("policy") and few else "decision"
    far: dict[str, datetime] = {}
    for name in able:
        found = connection.execute(_probe(shape, name), {**asked.values, "probe": PROBE}).scalar()
        if found is None:
            return name
        far[name] = found
    return min(able, key=lambda name: far[name])


@cache
def _probe(shape: _Shape, lead: str) -> Select[Any]:
    """When the `PROBE`th row from here on of what could lead was decided; none if it has not so many."""
    table = _TABLES[lead]
    query = select(table.c.decided_at).where(*_compared(shape, lead, table), *_bounded(shape, table))
    return query.order_by(table.c.decided_at.desc(), table.c.leaf.desc()).offset(bindparam("probe")).limit(1)


@cache
def _walk(shape: _Shape, lead: str) -> Select[Any]:
    """The places (`decided_at`, `leaf`) of the decisions, as many as `most`."""
    if lead != "policy" or shape.namespaces == 1:
        return _part(shape, lead)
    parts: list[Any] = [_part(shape, lead, number).subquery() for number in range(shape.namespaces)]
    found: Any = union_all(*(select(part.c.decided_at, part.c.leaf) for part in parts)).subquery()
    query = select(found.c.decided_at, found.c.leaf).distinct()
    return query.order_by(found.c.decided_at.desc(), found.c.leaf.desc()).limit(bindparam("most"))


def _part(shape: _Shape, lead: str, number: int = 0) -> Select[Any]:
    table = _TABLES[lead]
    query = select(table.c.decided_at, table.c.leaf).where(*_bounded(shape, table))
    query = query.where(*_compared(shape, lead, table, number=number))
    if table is not _decision:
        query = query.distinct()  # one decision has several images, and a policy judges each
        if _is_more_to_tell(shape, lead):
            own = _decision.alias("own")
            query = query.join(own, of_one_leaf(own, table)).where(*_compared(shape, "decision", own))
            query = query.where(*_bounded(shape, own))
    for name, _ in shape.columns:
        if name not in {lead, "decision"}:
            other = _TABLES[name].alias(name)
            like = _compared(shape, name, other, number=None)
            found: Select[Any] = select(literal_column("1")).where(
                of_one_leaf(other, table), *like, *_bounded(shape, other)
            )
            query = query.where(found.correlate(table).exists())
    return query.order_by(table.c.decided_at.desc(), table.c.leaf.desc()).limit(bindparam("most"))


def _is_more_to_tell(shape: _Shape, lead: str) -> bool:
    """Whether the decision is asked about anything that a row of the leading table does not tell: a flag's row has the
    namespace. Joined all the same, PostgreSQL would read all that was decided there, and sort it."""
    told = set(shape.of("flag")) if lead == "flag" else set()
    return shape.verdict is not None or not told.issuperset(shape.of("decision"))


def _compared(shape: _Shape, name: str, table: Any, *, number: int | None = 0) -> list[ColumnElement[bool]]:
    """What the columns of a table have to be. `number`: of a policy's namespaces that one; None: any of them."""
    conditions: list[ColumnElement[bool]] = []
    for column in shape.of(name):
        if column != "policy_namespace":
            conditions.append(table.c[column] == bindparam(f"{name}_{column}"))
        elif number is None:
            conditions.append(table.c[column].in_(bindparam(f"{name}_{column}", expanding=True)))
        else:
            conditions.append(table.c[column] == bindparam(f"namespace_{number}"))
    if name == "decision" and shape.verdict is not None:
        conditions.append(table.c.verdict == literal_column(f"'{shape.verdict}'"))
    return conditions


def _bounded(shape: _Shape, table: Any) -> list[ColumnElement[bool]]:
    """The bounds of time, of every table: PostgreSQL leaves out the months of each by what is said of it alone."""
    at, moment = table.c.decided_at, tables.Instant
    known = {
        "since": at >= bindparam("since", type_=moment),
        "until": at < bindparam("until", type_=moment),
        "as_of": at <= bindparam("as_of", type_=moment),
        "known_at": table.c.recorded_at <= bindparam("known_at", type_=moment),
        "at": by_place(table, bindparam("at", type_=moment), bindparam("leaf", type_=BigInteger)),
    }
    return [condition for name, condition in known.items() if name in shape.bounds]
