"""The leaves that say that something was dropped, or must not be: holds, retention records, and their projections.

A retention record is signed with the ledger's key, apart from the checkpoints that will stand over it: who can write
the database can append a leaf that says what he likes, but not this. It names the dropped entries by their numbers and
binds them by the hash of their digests, so that a record of another ledger says nothing about this one.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table

from controller.inventory import tables
from controller.inventory.canonical import canonical
from controller.inventory.ledger import notes
from controller.inventory.ledger.notes import NoteKey, NoteSigner
from controller.inventory.retention.rules import Rule

HOLD_SCHEMA = "assay.dev/hold/v1alpha1"
RETENTION_SCHEMA = "assay.dev/retention/v1alpha1"
PLACED, LIFTED, DROPPED = "Placed", "Lifted", "Dropped"

Row = dict[str, Any]
Entry = tuple[int, str]
"""An entry of the ledger: its number, and the digest of its leaf."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a hold keeps: all conditions that are given hold together. Times are of what was recorded, half open."""

    digest: str | None = None
    namespace: str | None = None
    begins: datetime | None = None
    ends: datetime | None = None

    @property
    def is_everything(self) -> bool:
        """Whether no condition is given."""
        return self == Selection()


@dataclass(frozen=True, slots=True)
class Retention:
    """A retention record that was read: which entries it says were dropped, by ranges of numbers, both ends within."""

    id: str
    ranges: tuple[tuple[int, int], ...]
    hash: str

    def numbers(self) -> Iterator[int]:
        """Every number."""
        for first, last in self.ranges:
            yield from range(first, last + 1)

    @property
    def count(self) -> int:
        """How many entries it is about."""
        return sum(last - first + 1 for first, last in self.ranges)


def hold_leaf(action: str, *, name: str, reason: str, person: str, what: Selection, cluster: str, at: datetime) -> Row:
    """That a hold was placed or lifted."""
    return {
        **_leaf(HOLD_SCHEMA, action, cluster=cluster, at=at),
        "hold": {
            "name": name,
            "reason": reason,
            "by": person,
            "digest": what.digest,
            "namespace": what.namespace,
            "begins": tables.instant(what.begins) if what.begins else None,
            "ends": tables.instant(what.ends) if what.ends else None,
        },
    }


def retention_leaf(
    rule: Rule,
    *,
    entries: Sequence[Entry],
    evidence: Sequence[str],
    carried: Mapping[str, Sequence[Row]],
    cluster: str,
    at: datetime,
    signer: NoteSigner,
) -> Row:
    """That these entries, or this evidence, were dropped by a rule."""
    leaf = {
        **_leaf(RETENTION_SCHEMA, DROPPED, cluster=cluster, at=at),
        "class": str(rule.what),
        "rule": {"keepSeconds": int(rule.keep.total_seconds()), "before": tables.instant(rule.before(at))},
        "entries": [list(one) for one in ranges(number for number, _ in entries)],
        "entriesHash": entries_hash(digest for _, digest in sorted(entries)),
        "evidence": sorted(evidence),
        "carried": {name: [_written(row) for row in rows] for name, rows in sorted(carried.items()) if rows},
    }
    text = _signed_text(leaf)
    return leaf | {"signature": notes.note(text, [signer.sign(text)])}


def read_retention(content: bytes, keys: Sequence[NoteKey]) -> Retention:
    """Read a retention record that one of these keys signed. Raises `ValueError` saying what is wrong with it."""
    try:
        leaf = json.loads(content)
        if leaf["schema"] != RETENTION_SCHEMA:
            raise ValueError("is none of a schema that this version reads")
        signature = leaf.pop("signature")
        text, _ = notes.open_note(signature.encode(), keys)
        if text != _signed_text(leaf):
            raise ValueError("says something else than what was signed")
        found = tuple((int(first), int(last)) for first, last in leaf["entries"])
        if any(first > last or first < 0 for first, last in found):
            raise ValueError("names entries that no ledger has")
        return Retention(str(leaf["id"]), found, str(leaf["entriesHash"]))
    except (KeyError, TypeError, AttributeError, RecursionError, UnicodeError) as exc:
        raise ValueError("cannot be read") from exc


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """The numbers as ranges, both ends within, in their order."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def entries_hash(digests: Iterable[str]) -> str:
    """SHA-256 over the digests of leaves, a line each, in the order of their numbers."""
    lines = "".join(f"{digest}\n" for digest in digests)
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def hold_row(leaf: Mapping[str, Any]) -> Row:
    """The row of `legal_hold`. Raises what a malformed leaf raises."""
    hold = leaf["hold"]
    if leaf["verdict"] not in {PLACED, LIFTED}:
        raise ValueError("unknown fact about a hold")
    return {
        "id": str(leaf["id"]),
        "action": leaf["verdict"],
        **{name: _text(hold[name]) for name in ("name", "reason")},
        "person": _text(hold["by"]),
        **{name: _text(hold[name]) if hold[name] is not None else None for name in ("digest", "namespace")},
        **{name: _moment(hold[name]) if hold[name] is not None else None for name in ("begins", "ends")},
    }


def carried_rows(leaf: Mapping[str, Any], shared: Mapping[str, Table]) -> list[tuple[Table, Row]]:
    """The rows of shared tables that a retention record carries on. Raises what a malformed leaf raises.

    A column that is newer than the record is empty, one that is gone is passed over, and so is a table.
    """
    known = {name: rows for name, rows in leaf["carried"].items() if name in shared}
    return [(shared[name], _read(row, shared[name])) for name, rows in known.items() for row in rows]


def _leaf(schema: str, verdict: str, *, cluster: str, at: datetime) -> Row:
    identity = str(uuid.uuid4())
    return {
        "schema": schema,
        "id": identity,
        "salt": secrets.token_hex(16),
        "decisionKey": f"{schema.split('/')[1]}:{identity}",
        "verdict": verdict,
        "decidedAt": tables.instant(at),
        "cluster": cluster,
        "blobs": [],
    }


def _signed_text(leaf: Mapping[str, Any]) -> str:
    """Two lines: no checkpoint, which has three, is ever taken for it, nor it for one."""
    return f"{RETENTION_SCHEMA}\nsha256:{hashlib.sha256(canonical(leaf)).hexdigest()}\n"


def _written(row: Row) -> Row:
    return {name: tables.instant(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _read(row: Mapping[str, Any], table: Table) -> Row:
    found: Row = {}
    for column in table.columns:
        value = row.get(column.name)
        if value is None and not column.nullable:
            value = ""
        found[column.name] = _moment(value) if value and isinstance(column.type, tables.Instant) else value
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text is expected")
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _moment(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC)
