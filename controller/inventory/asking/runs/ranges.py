"""Finding runs by ranges of an index, one for each class of length (`intervals`), that are read as one ordered list.

A statement is made once for each form that a question can have, and asked with parameters: making it at each call cost
more than its answer. SQLite merges the ranges, and reads of each only as far as the page goes. PostgreSQL would plan
each of them apart, for ten times as long as it looks; it is given the ranges as a table, and looks each up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CompoundSelect,
    Connection,
    GenerativeSelect,
    Integer,
    Row,
    Select,
    Text,
    bindparam,
    column,
    func,
    select,
    text,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from controller.inventory import tables
from controller.inventory.asking.cursors import Place
from controller.inventory.asking.runs.words import Condition, admission_of, ends_after, signers_of, went_on
from controller.inventory.asking.sifting import with_end
from controller.inventory.database.parameters import as_list, listed, sifted
from controller.inventory.intervals import SPANS, windows
from controller.inventory.recording.proven import NOBODY_SIGNED
from controller.inventory.records import Admission

MAX_FIRSTS = 4  # values of an index's first column that are looked up each by itself; of more, runs are looked through
MAX_IMAGES = 100  # images of which all runs are read that there ever were, to find those of a moment
MAX_IMAGES_EVER = 500  # the same, where no moment bounds what is looked through instead
MAX_FORMS = 256  # statements kept

_run = tables.run
_LATE = text("run.late")  # word for word as the index `ix_run_late` has it: SQLite does not know it by `late = 1`
_PLACE = ("started_at", "leaf", "digest", "namespace")
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
LAST = 2**63 - 1  # no leaf comes after it
_BEYOND = (_LATEST, LAST)

G = TypeVar("G", bound=GenerativeSelect)


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs. Empty fields ask for nothing; all others must hold together.

    `digests` holds the one that the kubelet reported; `signers` are sets of signers (`signer_set`). `not_over_by`: what
    was not known to have ended by then.
    """

    namespace: str | None = None
    cluster: str | None = None
    digests: tuple[str, ...] | None = None
    admission: Admission | None = None
    signed: bool | None = None
    signers: tuple[str, ...] | None = None
    not_over_by: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Range:
    """Runs of class `span` that began at `since` or later, before the place (`until`, `leaf`).

    `first` is what the index has in its first column, if that is another.
    """

    first: str
    span: int
    since: datetime
    until: datetime
    leaf: int


_TYPES: Mapping[str, Any] = {
    "first": Text(),
    "span": Integer(),
    "since": tables.Instant(),
    "until": tables.Instant(),
    "leaf": BigInteger(),
}


_Each = Mapping[str, Any] | ReadOnlyColumnCollection[str, Any]
"""What a range is, by the fields' names: parameters, or columns of a table of ranges."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What makes one statement another: the database, the index, which parameters are `given`, and what is told."""

    kind: str
    index: str
    firsts: int
    given: frozenset[str]
    columns: tuple[str, ...]


def page(
    connection: Connection,
    where: RunFilter,
    *,
    as_of: datetime | None,
    known_at: datetime | None,
    before: Place | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """The next rows of `run`, the latest started first, as many as `limit`, that come after the place `before`."""
    found = places(connection, where, as_of=as_of, known_at=known_at, before=before, limit=limit)
    rows = by_leaf(connection, {row.leaf for row in found})
    return [rows[row.leaf] for row in found]


def places(
    connection: Connection,
    where: RunFilter,
    *,
    as_of: datetime | None,
    known_at: datetime | None,
    before: Place | None,
    limit: int,
) -> Sequence[Row[Any]]:
    """The same, of each run no more than `_PLACE`, for who needs few of them whole."""
    if where.signers == () or where.digests == ():
        return []
    form, firsts, values = _asked(connection, where, as_of, known_at, _PLACE)
    until, leaf = before or _BEYOND
    values |= {"limit": limit, "until": until, "leaf": leaf}
    if not firsts:
        return connection.execute(_of_images(form), values).all()
    ranges = _parameters(form, _ranges(firsts, as_of, known_at, (until, leaf)))
    rows = connection.execute(_in_order(form), values | ranges).all()
    if known_at is None or not _may_have_changed(form.index, where):
        return rows
    others = connection.execute(_once_otherwise(form), values | {"first": firsts[0]}).all()
    return sorted([*rows, *others], key=lambda row: (row.started_at, row.leaf), reverse=True)[:limit]


def places_of(
    connection: Connection,
    where: RunFilter,
    digests: Sequence[str],
    *,
    as_of: datetime | None,
    known_at: datetime | None,
    before: Place,
    limit: int,
) -> Sequence[Row[Any]]:
    """Of the next `limit` places those of these images, which are many, in no order (`sifting.with_end`). Of a filter
    by namespace or cluster alone."""
    form, firsts, values = _asked(connection, where, as_of, known_at, _PLACE)
    until, leaf = before
    values |= {"limit": limit, "until": until, "leaf": leaf, "digests": as_list(digests)}
    ranges = _parameters(form, _ranges(firsts, as_of, known_at, before))
    return connection.execute(_sifted_in_order(form), values | ranges).all()


def by_leaf(connection: Connection, leaves: Collection[int]) -> Mapping[int, Row[Any]]:
    """The rows of `run` of these leaves."""
    if not leaves:
        return {}
    rows = connection.execute(_of_leaves(connection.dialect.name), {"leaves": sorted(leaves)})
    return {row.leaf: row for row in rows}


def grouped(
    connection: Connection,
    where: RunFilter,
    by: tuple[str, ...],
    *,
    as_of: datetime | None,
    known_at: datetime | None,
) -> Sequence[Row[Any]]:
    """What ran then, counted: for all that share what is in the columns `by` their number (`runs`), and since when.

    Of a filter that the index by which runs are found cannot tell as of `known_at` (`_may_have_changed`): do not ask.
    All that ran then is gone through, whichever `digests` are asked for, which have to be among the columns.
    """
    if where.signers == () or where.digests == ():
        return []
    every = replace(where, digests=None)
    form, firsts, values = _asked(connection, every, as_of, known_at, (*by, "started_at"))
    if where.digests is not None:
        values["digests"] = as_list(where.digests)
    query = _by_group(form, sifting=where.digests is not None)
    return connection.execute(query, values | _parameters(form, _ranges(firsts, as_of, known_at, _BEYOND))).all()


def namespaces_by_image(
    connection: Connection, where: RunFilter, *, as_of: datetime | None, known_at: datetime | None
) -> Mapping[str, Collection[str]]:
    """The images that ran then, and in which namespaces each did. (`grouped` says of which filters.)"""
    found: dict[str, set[str]] = defaultdict(set)
    for row in grouped(connection, where, ("digest", "namespace"), as_of=as_of, known_at=known_at):
        if row.digest is not None:
            found[row.digest].add(row.namespace)
    return found


def _asked(
    connection: Connection,
    where: RunFilter,
    as_of: datetime | None,
    known_at: datetime | None,
    columns: tuple[str, ...],
) -> tuple[_Form, Sequence[str], dict[str, Any]]:
    """The form of the question, the values of the index's first column, and the parameters that are given."""
    index, firsts = _index(where, MAX_IMAGES_EVER if as_of is None else MAX_IMAGES)
    asked = {name: getattr(where, name) for name in RunFilter.__slots__} | {"as_of": as_of, "known_at": known_at}
    values = {name: value for name, value in asked.items() if value is not None}
    if where.digests is not None:
        values["digests"] = as_list(where.digests)
    return _Form(connection.dialect.name, index, len(firsts), frozenset(values), columns), firsts, values


def _index(where: RunFilter, max_images: int) -> tuple[str, Sequence[str]]:
    """By which index runs are found, and by which values of its first column: the one that is likely to leave least.

    Without values: not by ranges, since they are too many. Of more images than `max_images` one is soon met among all
    that ran.
    """
    if where.digests is not None and len(where.digests) <= max_images:
        return "digest", where.digests if len(where.digests) <= MAX_FIRSTS else ()
    if where.signers is not None and len(where.signers) <= MAX_FIRSTS:
        return "signers", where.signers
    if where.admission in {Admission.DRIFTED, Admission.UNADMITTED, Admission.UNKNOWN}:
        return "admission", [str(where.admission)]
    if where.signed is False:
        return "signers", [NOBODY_SIGNED]
    for name in ("namespace", "cluster"):
        if (value := getattr(where, name)) is not None:
            return name, [value]
    return "", [""]


def _may_have_changed(index: str, where: RunFilter) -> bool:
    """Whether what a run has in the index now may be another than it had at an earlier time."""
    return index == "admission" or (index == "signers" and where.signers is None)


def _ranges(
    firsts: Sequence[str], as_of: datetime | None, known_at: datetime | None, before: Place
) -> Sequence[_Range]:
    """Where runs can be that went on then, and come after the place `before`."""
    return [
        _Range(
            first,
            window.span,
            _EARLIEST if window.after is None else window.after + datetime.resolution,
            *min(before, (window.until or _LATEST, LAST)),
        )
        for first in firsts
        for window in windows(as_of=as_of, known_at=known_at)
    ]


def _parameters(form: _Form, ranges: Sequence[_Range]) -> dict[str, Any]:
    if form.kind == "postgresql":
        return {f"each_{name}": [getattr(one, name) for one in ranges] for name in _TYPES}
    return {f"{name}_{number}": getattr(one, name) for number, one in enumerate(ranges) for name in _TYPES}


@lru_cache(MAX_FORMS)
def _in_order(form: _Form) -> Select[Any] | CompoundSelect[Any]:
    """The rows of all ranges, as far as the page goes."""
    return _page(_of_each(form, _page) if form.kind == "postgresql" else union_all(*_each(form)))


@lru_cache(MAX_FORMS)
def _sifted_in_order(form: _Form) -> CompoundSelect[Any]:
    looked = _in_order(form).cte("looked")
    return with_end(looked, select(*looked.c).where(sifted(form.kind, looked.c.digest, "digests")), "started_at")


@lru_cache(MAX_FORMS)
def _by_group(form: _Form, *, sifting: bool) -> Select[Any]:
    """The rows of all ranges, counted by all that is told of them but the start; of the parameter `digests` alone."""
    every = _of_each(form, lambda part: part.offset(0)) if form.kind == "postgresql" else union_all(*_each(form))
    found = every.subquery()
    by = [found.c[name] for name in form.columns if name != "started_at"]
    since = func.min(found.c.started_at, type_=tables.Instant).label("since")
    query = select(*by, func.count().label("runs"), since).group_by(*by)
    return query.where(sifted(form.kind, found.c.digest, "digests")) if sifting else query


def _of_each(form: _Form, limited: Callable[[Select[Any]], Select[Any]]) -> Select[Any]:
    """The ranges as a table, and the rows of each, which must be `limited`: or they would be planned as one join."""
    arrays = (bindparam(f"each_{name}", type_=ARRAY(type_)) for name, type_ in _TYPES.items())
    each = func.unnest(*arrays).table_valued(*(column(name, type_) for name, type_ in _TYPES.items())).render_derived()
    found = limited(_part(form, each.c)).lateral()
    return select(found).select_from(each.join(found, true()))


def _each(form: _Form) -> Iterator[Select[Any]]:
    """The rows of each range, by parameters that are numbered."""
    for number in range(form.firsts * len(SPANS)):
        yield _part(form, {name: bindparam(f"{name}_{number}", type_=type_) for name, type_ in _TYPES.items()})


def _part(form: _Form, each: _Each) -> Select[Any]:
    """One range of the index."""
    where = [_run.c.span == each["span"], _run.c.started_at >= each["since"], _is_before(each["until"], each["leaf"])]
    if form.index:
        where.insert(0, _run.c[form.index] == each["first"])
    query = _matching(form).where(*where)
    index = f"ix_run_{form.index}_span_started_at_leaf" if form.index else "ix_run_span_started_at_leaf"
    return query.with_hint(_run, f"INDEXED BY {index}", "sqlite")  # it knows nothing of how much each leaves


@lru_cache
def _of_leaves(kind: str) -> Select[Any]:
    return select(_run).where(listed(kind, _run.c.leaf, "leaves"))


@lru_cache(MAX_FORMS)
def _of_images(form: _Form) -> Select[Any]:
    """The runs of many images, at whatever time."""
    return _limited(_matching(form))


@lru_cache(MAX_FORMS)
def _once_otherwise(form: _Form) -> Select[Any]:
    """The runs that are something else now: what became so only later is not found by what it is."""
    query = _matching(form).where(_LATE, _run.c[form.index] != bindparam("first", type_=Text()))
    return _limited(query.with_hint(_run, "INDEXED BY ix_run_late", "sqlite"))


def _limited(query: Select[Any]) -> Select[Any]:
    until, leaf = (bindparam(name, type_=_TYPES[name]) for name in ("until", "leaf"))
    return _page(query.where(_is_before(until, leaf)))


def _page(query: G) -> G:
    order = (query.selected_columns[name].desc() for name in ("started_at", "leaf"))
    return query.order_by(*order).limit(bindparam("limit", type_=Integer()))


def _is_before(until: Any, leaf: Any) -> Condition:
    return tuple_(_run.c.started_at, _run.c.leaf) < tuple_(until, leaf)


def _matching(form: _Form) -> Select[Any]:
    """Runs that are what is asked for, whatever index they are found by."""

    def given(name: str, type_: Any) -> Any:
        return bindparam(name, type_=type_) if name in form.given else None

    as_of, known_at, not_over_by = (given(name, tables.Instant()) for name in ("as_of", "known_at", "not_over_by"))
    conditions = [went_on(_run, as_of=as_of, known_at=known_at)]
    if not_over_by is not None:
        conditions.append(ends_after(_run, not_over_by, known_at))
    conditions += [_run.c[name] == given(name, Text()) for name in ("namespace", "cluster") if name in form.given]
    if "digests" in form.given and form.index != "digest":
        conditions.append(sifted(form.kind, _run.c.digest, "digests"))
    elif "digests" in form.given and not form.firsts:
        conditions.append(listed(form.kind, _run.c.digest, "digests"))
    if "admission" in form.given:
        conditions.append(admission_of(_run, known_at) == given("admission", Text()))
    signers = signers_of(_run, known_at)
    if "signed" in form.given:
        conditions.append((signers != NOBODY_SIGNED) == given("signed", Boolean()))
    if "signers" in form.given:  # not by the plain column: an index that is entered by it is not to be chosen by this
        conditions.append(listed(form.kind, func.coalesce(signers, NOBODY_SIGNED), "signers"))
    return select(*(_run.c[name] for name in form.columns)).where(*conditions)
