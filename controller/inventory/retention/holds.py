"""Legal holds: what must not be dropped, however old. Placed and lifted by leaves, so both are facts of the ledger."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from controller.errors import InputError
from controller.inventory import tables
from controller.inventory.asking.asker import DEFAULT_LIMIT, Asker, check_limit
from controller.inventory.asking.paging import Paging
from controller.inventory.retention.leaves import LIFTED, PLACED, Row, Selection, hold_leaf
from controller.model.reference import Digest

MAX_HOLDS = 1000  # in force at once: each is held against all that is to be dropped
MAX_NAME, MAX_REASON = 100, 2000  # characters


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold: what it keeps, why, by whom and since when, and when it was lifted, if it was.

    `record` and `lifted_record` are the ids of the leaves that say so.
    """

    name: str
    reason: str
    by: str
    placed_at: datetime
    what: Selection
    record: str
    lifted_at: datetime | None = None
    lifted_by: str = ""
    lifted_record: str = ""

    def keeps(
        self, *, namespace: str, digests: Collection[str], begins: datetime, ends: datetime | None = None
    ) -> bool:
        """Whether it keeps what is about this namespace and these digests, from one time to another (None: open)."""
        what = self.what
        return (
            (what.namespace is None or what.namespace == namespace)
            and (what.digest is None or what.digest in digests)
            and (what.begins is None or ends is None or max(begins, ends) >= what.begins)
            and (what.ends is None or begins < what.ends)
        )


@dataclass(frozen=True, slots=True)
class HoldPage:
    """Holds, in the order in which they were placed; `cursor` asks for the next, None at the end."""

    items: tuple[Hold, ...]
    cursor: str | None


class Holds(Asker):
    """Reads holds."""

    def holds(
        self, *, lifted: bool = False, as_of: datetime | None = None, known_at: datetime | None = None
    ) -> tuple[Hold, ...]:
        """The holds in force, or with `lifted` all that ever were, in the order in which they were placed."""
        with self._reading() as connection:
            return _meant(connection, lifted, as_of, known_at)

    def page(
        self,
        *,
        lifted: bool = False,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> HoldPage:
        """The same, page by page. Raises `InputError` (`LimitOutOfRange`, `CursorMalformed`)."""
        check_limit(limit)
        paging = Paging.of("holds", cursor, str, str, as_of=as_of, known_at=known_at)
        after = paging.place or ("", "")
        with self._reading() as connection:
            found = _meant(connection, lifted, paging.as_of, paging.known_at)
            left = [hold for hold in sorted(found, key=_place) if _place(hold) > after]
            more = paging.after(connection, _place(left[limit - 1]) if len(left) > limit else None)
        return HoldPage(tuple(left[:limit]), more)


def _meant(connection: Connection, lifted: bool, as_of: datetime | None, known_at: datetime | None) -> tuple[Hold, ...]:
    found = history(connection, as_of=as_of, known_at=known_at)
    return tuple(hold for hold in found if lifted or hold.lifted_at is None)


def _place(hold: Hold) -> tuple[str, str]:
    return tables.instant(hold.placed_at), hold.record


def history(connection: Connection, *, as_of: datetime | None = None, known_at: datetime | None = None) -> list[Hold]:
    """Every hold that was placed. One that was lifted is lifted for all that were placed by its name before."""
    table = tables.legal_hold
    query = select(table).order_by(table.c.decided_at, table.c.leaf)
    if as_of is not None:
        query = query.where(table.c.decided_at <= as_of)
    if known_at is not None:
        query = query.where(table.c.recorded_at <= known_at)
    rows = connection.execute(query).all()
    lifts: dict[str, list[tuple[datetime, str, str]]] = {}
    for row in rows:
        if row.action == LIFTED:
            lifts.setdefault(row.name, []).append((row.decided_at, row.person, row.id))
    found = []
    for row in rows:
        if row.action == PLACED:
            lift = next((one for one in lifts.get(row.name, ()) if one[0] >= row.decided_at), (None, "", ""))
            what = Selection(row.digest, row.namespace, row.begins, row.ends)
            found.append(Hold(row.name, row.reason, row.person, row.decided_at, what, row.id, *lift))
    return found


def in_force(connection: Connection) -> list[Hold]:
    """The holds that nobody has lifted."""
    return [hold for hold in history(connection) if hold.lifted_at is None]


def place(
    known: Collection[Hold], *, name: str, reason: str, person: str, what: Selection, cluster: str, at: datetime
) -> Row:
    """The leaf that places a hold. `known` are all that ever were (`history`).

    Raises `InputError`: `HoldMalformed`, `HoldExists`, `HoldsTooMany`, `DigestMalformed`.
    """
    _check_words(name, reason, person)
    if what.is_everything:
        raise InputError("HoldMalformed", "a hold says what it keeps: a digest, a namespace or a time")
    if what.begins is not None and what.ends is not None and what.begins >= what.ends:
        raise InputError("HoldMalformed", "a hold's time ends after it begins")
    if what.digest is not None:
        Digest.parse(what.digest)
    held = [hold for hold in known if hold.lifted_at is None]
    if any(hold.name == name for hold in held):
        raise InputError("HoldExists", f"a hold {name} is in force already: lift it, or choose another name")
    if len(held) >= MAX_HOLDS:
        raise InputError("HoldsTooMany", f"at most {MAX_HOLDS} holds are in force at once")
    # After each earlier lifting of that name, by whichever clock: else it would count as lifted already.
    lifted = [hold.lifted_at + timedelta(microseconds=1) for hold in known if hold.name == name and hold.lifted_at]
    moment = max([at, *lifted])
    return hold_leaf(PLACED, name=name, reason=reason, person=person, what=what, cluster=cluster, at=moment)


def lift(known: Collection[Hold], *, name: str, reason: str, person: str, cluster: str, at: datetime) -> Row:
    """The leaf that lifts a hold. Raises `InputError` (`HoldUnknown`, `HoldMalformed`)."""
    _check_words(name, reason, person)
    held = next((hold for hold in known if hold.name == name and hold.lifted_at is None), None)
    if held is None:
        raise InputError("HoldUnknown", f"no hold {name} is in force")
    moment = max(at, held.placed_at)  # never before it was placed, by whichever clock
    return hold_leaf(LIFTED, name=name, reason=reason, person=person, what=held.what, cluster=cluster, at=moment)


def _check_words(name: str, reason: str, person: str) -> None:
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        raise InputError("HoldMalformed", f"a hold's name has 1 to {MAX_NAME} characters, and no space around it")
    if not reason.strip() or len(reason) > MAX_REASON:
        raise InputError("HoldMalformed", f"a hold has a reason, of at most {MAX_REASON} characters")
    if not person.strip() or len(person) > MAX_NAME:
        raise InputError("HoldMalformed", "a hold says by whom")
