"""Who read what: that somebody was shown something of the inventory, as a leaf of its own in the ledger.

A leaf says who (a user name; not his groups, and nothing that he showed to be let in), what was asked for and how it
was answered. It is recorded before the answer leaves, as a decision is, so that nobody reads what is not known to be
read.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select

from controller.inventory import tables
from controller.inventory.asking import cursors
from controller.inventory.asking.asker import DEFAULT_LIMIT, Asker, before_place, by_then, check_limit, check_period
from controller.model.naming import name_of

SCHEMA = "assay.dev/read/v1alpha1"
MAX_PARAMETER = 4096  # characters of one parameter that are recorded; a longer one is cut
MAX_PARAMETERS = 64
LIST = "reads"
_EVIDENCE = frozenset({"query", "exports", "proofs"})


class Logged(StrEnum):
    """Which reads are recorded (setting `log_reads`)."""

    OFF = "Off"
    EVIDENCE = "Evidence"
    ALL = "All"

    def covers(self, *, verb: str, resource: str) -> bool:
        """Whether a read is one of them. EVIDENCE: of one thing, of exports and questions in SQL; ALL: of lists too."""
        if self is Logged.EVIDENCE:
            return resource in _EVIDENCE or (verb == "get" and resource != "ledger")
        return self is Logged.ALL


@dataclass(frozen=True, slots=True)
class Read:
    """One read. `via` is REST or CLI; `identity` is what one thing was asked for by (a digest, a record's id).

    `count` are the items of the answer, None where it went out before they could be counted; `status` is HTTP's, 0 for
    a command.
    """

    username: str
    via: str
    verb: str
    resource: str
    namespace: str
    identity: str
    parameters: Mapping[str, Sequence[str]]
    status: int
    count: int | None


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """A read, as it was recorded."""

    id: str
    decided_at: datetime
    recorded_at: datetime
    cluster: str
    username: str
    via: str
    verb: str
    resource: str
    namespace: str
    identity: str
    parameters: Mapping[str, Sequence[str]]
    status: int
    count: int | None


@dataclass(frozen=True, slots=True)
class ReadPage:
    """A page, the latest first; `cursor` asks for the next, None at the end."""

    items: tuple[ReadRecord, ...]
    cursor: str | None


def leaf(read: Read, *, cluster: str, now: datetime) -> dict[str, Any]:
    """The leaf that says so."""
    identity = name_of(secrets.token_hex(16), at=now)
    parameters = {
        name[:MAX_PARAMETER]: [value[:MAX_PARAMETER] for value in values[:MAX_PARAMETERS]]
        for name, values in sorted(read.parameters.items())[:MAX_PARAMETERS]
    }
    return {
        "schema": SCHEMA,
        "id": identity,
        "salt": secrets.token_hex(16),
        "decisionKey": f"read:{identity}",
        "verdict": "Read",
        "decidedAt": tables.instant(now),
        "cluster": cluster,
        "blobs": [],
        "reader": {"username": read.username[:MAX_PARAMETER], "via": read.via},
        "asked": {
            "verb": read.verb,
            "resource": read.resource,
            "namespace": read.namespace,
            "identity": read.identity[:MAX_PARAMETER],
            "parameters": parameters,
        },
        "answer": {"status": read.status, "count": read.count},
    }


_COPIED = tuple(field.name for field in fields(ReadRecord) if field.name != "parameters")


class ReadLog(Asker):
    """Reads what was read."""

    def reads(
        self,
        *,
        username: str | None = None,
        resource: str | None = None,
        identity: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> ReadPage:
        """Who read what, the latest first. Raises `InputError`: `LimitOutOfRange`, `CursorMalformed`, `PeriodEmpty`."""
        check_limit(limit)
        check_period(since, until)
        table = tables.read
        query = by_then(select(table), table, as_of=as_of, known_at=known_at)
        for column, value in ((table.c.username, username), (table.c.resource, resource), (table.c.identity, identity)):
            if value is not None:
                query = query.where(column == value)
        if since is not None:
            query = query.where(table.c.decided_at >= since)
        if until is not None:
            query = query.where(table.c.decided_at < until)
        if cursor is not None:
            query = query.where(before_place(table, cursors.read(cursor, LIST, datetime, int).place))
        query = query.order_by(table.c.decided_at.desc(), table.c.leaf.desc()).limit(limit + 1)
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
        shown = [dict(row) for row in rows[:limit]]
        after = cursors.write(LIST, (shown[-1]["decided_at"], shown[-1]["leaf"])) if len(rows) > limit else None
        items = tuple(
            ReadRecord(**{name: row[name] for name in _COPIED}, parameters=json.loads(row["parameters"]))
            for row in shown
        )
        return ReadPage(items=items, cursor=after)
