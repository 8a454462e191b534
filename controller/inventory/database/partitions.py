"""PostgreSQL: what grows with every decision lies by month, in partitions (docs/design/partitions.md).

A table's partitions stand side by side without a gap: `…_before` for all that is older than its first month, one for
each month, and `…_after` for all that is later than its last. So a record of whatever time has its place, and recording
makes no tables; and PostgreSQL knows their order, so that it reads the newest first and stops there. Months are made
ahead of time; when `…_after` was written to all the same, it becomes the months that it holds.

SQLite has one table, and everything here does nothing there.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, Table, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from controller.inventory import tables
from controller.inventory.database.failures import cause

AHEAD = 3  # months made before they begin: so long may nobody look after them without any harm
BEHIND = 60  # months at most that are made for what is there already: each is some tables that a question may lock
SETTLED = 12  # months after its end in which a month is left as it is, however little is left in it
FEW = 1000  # rows of one table that are carried from a month to `…_before`: what the rules of retention have left
PATIENCE = 1.0  # seconds that a change waits for who reads or records: all others wait behind it
BEFORE, AFTER = "before", "after"

log = logging.getLogger(__name__)

_PARTS = text(
    "SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound FROM pg_inherits i"
    " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass(:table)"
)
_BOUND = re.compile(r"FOR VALUES FROM \((MINVALUE|'[^']+')\) TO \((MAXVALUE|'[^']+')\)")


@dataclass(frozen=True, slots=True)
class Part:
    """One partition: it holds what was decided from `since` until before `until`; None where it has no end."""

    name: str
    since: datetime | None
    until: datetime | None


def month_of(moment: datetime, later: int = 0) -> datetime:
    """The first moment of its month, in UTC, or of one so many months `later`."""
    moment = moment.astimezone(UTC)
    year, month = divmod(moment.year * 12 + moment.month - 1 + later, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)


def earliest(connection: Connection) -> datetime | None:
    """When the first decision was made that there is; None where there is none, or no table of them."""
    if connection.dialect.name != "postgresql":
        return None
    if connection.execute(text("SELECT to_regclass('decision')")).scalar() is None:
        return None
    return connection.execute(select(func.min(tables.decision.c.decided_at, type_=tables.Instant))).scalar()


def parts(connection: Connection, table: Table) -> list[Part]:
    """The partitions of a table, the oldest first; none where it is not partitioned."""
    if connection.dialect.name != "postgresql":
        return []
    connection.exec_driver_sql("SET LOCAL TimeZone = 'UTC'")
    found = [_part(row.name, row.bound) for row in connection.execute(_PARTS, {"table": table.name})]
    return sorted(found, key=lambda part: (part.since is not None, part.since))


def lay(connection: Connection, *, since: datetime | None = None) -> None:
    """Make the partitions of every table that has none yet: the months from `since` (now) on, and both ends."""
    if connection.dialect.name != "postgresql":
        return
    now = connection.execute(select(func.now())).scalar_one()
    last = month_of(now, AHEAD + 1)
    first = max(min(month_of(since or now), month_of(now)), month_of(now, -BEHIND))
    for table in tables.PARTITIONED:
        if not parts(connection, table):
            _make(connection, table, Part(f"{table.name}_{BEFORE}", None, first))
            _make_months(connection, table, first, last)
            _make(connection, table, Part(f"{table.name}_{AFTER}", last, None))


def keep(engine: Engine, now: datetime) -> bool:
    """Make the months that come, and let go of old ones that are as good as empty: a table at a time.

    Whoever may write calls it, now and then; several at once do no harm. It never raises: where it cannot be done (the
    role does not own the tables, somebody reads for too long), records have their place all the same. Returns whether
    it was done.
    """
    if engine.dialect.name != "postgresql":
        return True
    done = True
    for table in tables.PARTITIONED:
        try:
            with engine.begin() as connection:
                _extend(connection, table, now)
            while _fold(engine, table, now):
                pass
        except SQLAlchemyError as exc:
            log.warning("the partitions of table %s are left as they are, for now (%s)", table.name, cause(exc))
            done = False
    return done


def _extend(connection: Connection, table: Table, now: datetime) -> None:
    """Let the months reach `AHEAD` beyond this one."""
    until = month_of(now, AHEAD + 1)
    since = _end(connection, table)
    if since is None or since >= until:
        return
    _lock(connection, table)
    since = _end(connection, table)
    if since is None or since >= until:  # somebody else was first
        return
    after = f"{table.name}_{AFTER}"
    _run(connection, f"ALTER TABLE {table.name} DETACH PARTITION {after}")
    newest = connection.execute(
        text(f"SELECT max(decided_at) FROM {after} WHERE decided_at < :until"),  # noqa: S608 - the schema's names
        {"until": until},
    ).scalar()
    if newest is None:
        _make_months(connection, table, since, until)
        _attach(connection, table, Part(after, until, None))
        return
    # What came without a month of its own stays where it is: that is its month from now on, or its months together.
    closed = Part(_name(table, since), since, month_of(newest, 1))
    _run(connection, f"ALTER TABLE {after} RENAME TO {closed.name}")
    _make_months(connection, table, month_of(newest, 1), until)
    _make(connection, table, Part(after, until, None))
    _move(connection, closed.name, table.name, f"decided_at >= {_literal(month_of(newest, 1))}")
    _attach(connection, table, closed)


def _end(connection: Connection, table: Table) -> datetime | None:
    """Where the months of a table end; None where it has none."""
    found = parts(connection, table)
    return found[-1].since if found else None


def _fold(engine: Engine, table: Table, now: datetime) -> bool:
    """Carry what is left in the oldest month, if that is little, to what was before it. Whether there was such."""
    with engine.begin() as connection:
        if _oldest_to_fold(connection, table, now) is None:
            return False
        _lock(connection, table)
        found = _oldest_to_fold(connection, table, now)
        if found is None:
            return False
        before, month = found
        for part in found:
            _run(connection, f"ALTER TABLE {table.name} DETACH PARTITION {part.name}")
        _move(connection, month.name, before.name, "TRUE")
        _run(connection, f"DROP TABLE {month.name}")
        _attach(connection, table, Part(before.name, None, month.until))
        return True


def _oldest_to_fold(connection: Connection, table: Table, now: datetime) -> tuple[Part, Part] | None:
    found = parts(connection, table)
    if len(found) < 2:
        return None
    before, month = found[:2]
    if month.until is None or month.until > month_of(now, -SETTLED):
        return None
    left = text(f"SELECT count(*) FROM (SELECT 1 FROM {month.name} LIMIT {FEW + 1}) AS rest")  # noqa: S608 - see above
    return (before, month) if connection.execute(left).scalar_one() <= FEW else None


def _lock(connection: Connection, table: Table) -> None:
    """Let nobody read or write this table until the transaction ends. It takes no other, so no circle can close."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(PATIENCE * 1000)}")
    connection.exec_driver_sql(f"LOCK TABLE ONLY {table.name} IN ACCESS EXCLUSIVE MODE")


def _make_months(connection: Connection, table: Table, since: datetime, until: datetime) -> None:
    for month in _months(since, until):
        _make(connection, table, Part(_name(table, month), month, month_of(month, 1)))


def _months(since: datetime, until: datetime) -> Iterable[datetime]:
    month = since
    while month < until:
        yield month
        month = month_of(month, 1)


def _make(connection: Connection, table: Table, part: Part) -> None:
    _run(connection, f"CREATE TABLE {part.name} PARTITION OF {table.name} {_bound(part)}")


def _attach(connection: Connection, table: Table, part: Part) -> None:
    _run(connection, f"ALTER TABLE {table.name} ATTACH PARTITION {part.name} {_bound(part)}")


def _move(connection: Connection, source: str, target: str, which: str) -> None:
    _run(
        connection,
        f"WITH moved AS (DELETE FROM {source} WHERE {which} RETURNING *) INSERT INTO {target} SELECT * FROM moved",  # noqa: S608 - see above
    )


def _run(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)


def _bound(part: Part) -> str:
    since = "MINVALUE" if part.since is None else _literal(part.since)
    until = "MAXVALUE" if part.until is None else _literal(part.until)
    return f"FOR VALUES FROM ({since}) TO ({until})"


def _literal(moment: datetime) -> str:
    return f"'{moment.astimezone(UTC).isoformat()}'"


def _name(table: Table, since: datetime) -> str:
    return f"{table.name}_{since:%Y_%m}"


def _part(name: str, bound: str) -> Part:
    found = _BOUND.fullmatch(bound)
    if found is None:
        raise ValueError(f"{name} is no partition of ours: {bound}")
    since, until = (
        None if value.endswith("VALUE") else datetime.fromisoformat(value.strip("'")).astimezone(UTC)
        for value in found.groups()
    )
    return Part(name, since, until)
