"""A larger estate from a smaller one, in the database: every fact again, so many times, about other pods and images.

To append and index ten million links one by one takes an hour on two cores; what a look-up costs hangs on how many rows
there are and how they lie, and that is the same for copies. They keep their times, namespaces, clusters, policies and
components; digests, uids and names of facts are made others. Neither leaves nor blobs of a copy are those that their
names say, and the ledger does not hold them: such a database is good for asking, not for `verify`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from sqlalchemy import Connection, Table, Text, func, select, text

from controller.inventory import tables
from controller.inventory.database import dialect, engines
from tests.bench.estate.sample import Sample

SHARED = frozenset(
    {
        *("policy_version", "policy_use", "presence", "exception", "package", "component", "index_state", "watch_gap"),
        *("signer_set", "signer_member", "ledger_entry", "ledger_tile", "ledger_checkpoint", "ledger_state"),
    }
)
"""What copies have in common: few rows, or a component that other documents list too."""

POSITIONS = frozenset({"leaf", "end_leaf", "asked", "unresolved", "admitted"})
DIGESTS = frozenset({"digest", "child", "artifact", "manifest"})
NAMES = frozenset({"id", "decision_key", "object_uid", "pod_uid", "run", "fact", "key"})
CONTENT = frozenset({("blob", "content"), ("leaf", "canonical")})  # left out: nobody reads a copy's
SEGMENT = getattr(tables, "SEGMENT", 256)
HEX = "0123456789abcdef"
MOST = len(HEX) ** 2


def grow(url: str, times: int, *, say: Callable[[str], object]) -> None:
    """Let the database at `url` have `times` as much of everything (2 to `MOST`). Raises `ValueError`."""
    if not 2 <= times <= MOST:
        raise ValueError(f"an estate is grown 2 to {MOST} times")
    engine = engines.writing_engine(engines.parse(url))
    try:
        with engine.begin() as connection:
            dialect.take_time(connection)
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA cache_size = -1000000")  # kibibytes
            leaves = connection.execute(select(func.max(tables.leaf.c.position))).scalar_one() + 1
            documents = connection.execute(select(func.max(tables.document.c.id))).scalar() or 0
            documents = (documents // SEGMENT + 1) * SEGMENT
            for table in tables.metadata.sorted_tables:
                if table.name in SHARED:
                    continue
                _copy(connection, table, leaves, documents, times)
                say(f"{table.name} grown")
            if engine.dialect.name == "postgresql":
                for table, number in ((tables.leaf, "position"), (tables.document, "id")):
                    after = f"SELECT setval(pg_get_serial_sequence('{table.name}', '{number}'), max({number}))"
                    connection.exec_driver_sql(f"{after} FROM {table.name}")
    finally:
        engine.dispose()


def spread(sample: Sample, times: int, *, seed: int = 3) -> Sample:
    """The sample of a grown estate: digests and pods of any of the copies."""
    random = Random(seed)

    def name(value: str) -> str:
        second, first = divmod(random.randrange(times), 16)
        turned = (HEX[(HEX.index(digit) + steps) % 16] for digit, steps in ((value[0], first), (value[1], second)))
        return "".join(turned) + value[2:]

    def digest(value: str) -> str:
        return f"sha256:{name(value[7:])}"

    told: dict[str, Any] = sample.as_json()
    told |= {field: [digest(value) for value in told[field]] for field in ("digests", "running")}
    return Sample(**told | {"pods": [name(value) for value in told["pods"]]})


def _copy(connection: Connection, table: Table, leaves: int, documents: int, times: int) -> None:
    where, source = _originals(connection, table, leaves, documents)
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    for copy in range(1, times):
        told = ", ".join(_column(table, column.name, leaves * copy, documents * copy, copy) for column in table.columns)
        connection.execute(text(f'INSERT INTO "{table.name}" ({columns}) SELECT {told} FROM {source} WHERE {where}'))  # noqa: S608


def _originals(connection: Connection, table: Table, leaves: int, documents: int) -> tuple[str, str]:
    """Which rows of the table were there before, and where they are found while it grows."""
    names = {column.name for column in table.columns}
    for name in ("leaf", "position") if table.name == "leaf" or "leaf" in names else ():
        if name in names:
            return f'"{name}" < {leaves}', f'"{table.name}"'
    if table.name == "document":
        return f"id < {documents}", "document"
    if "document" in names:
        return f"document < {documents}", f'"{table.name}"'
    connection.execute(text(f'CREATE TEMPORARY TABLE "was_{table.name}" AS SELECT * FROM "{table.name}"'))  # noqa: S608
    return "1 = 1", f'"was_{table.name}"'


def _column(table: Table, name: str, leaves: int, documents: int, copy: int) -> str:
    quoted = f'"{name}"'
    if name in POSITIONS or (table.name == "leaf" and name == "position"):
        return f"{quoted} + {leaves}"
    if name == "document" or (table.name == "document" and name == "id"):
        return f"{quoted} + {documents}"
    if name == "segment":
        return f"{quoted} + {documents // SEGMENT}"
    if name in DIGESTS:
        return f"CASE WHEN {quoted} LIKE 'sha256:%' THEN 'sha256:' || {_other(quoted, 8, copy)} ELSE {quoted} END"
    if name in NAMES and isinstance(table.c[name].type, Text):
        return _other(quoted, 1, copy)
    if (table.name, name) in CONTENT:
        return f"substr({quoted}, 1, 0)"
    return quoted


def _other(column: str, place: int, copy: int) -> str:
    """The column's text from a place on, its first two hexadecimal digits turned on: the name of a copy."""
    digits = f"{_turned(column, place, copy % 16)} || {_turned(column, place + 1, copy // 16)}"
    return f"{digits} || substr({column}, {place + 2})"


def _turned(column: str, place: int, steps: int) -> str:
    if not steps:
        return f"substr({column}, {place}, 1)"
    turned = " ".join(f"WHEN '{old}' THEN '{HEX[(number + steps) % 16]}'" for number, old in enumerate(HEX))
    return f"CASE substr({column}, {place}, 1) {turned} ELSE '{HEX[steps]}' END"
