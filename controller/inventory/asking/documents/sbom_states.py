"""The state of the SBOM of every running image, judged where it lies: thousands of images cost one statement.

Says of an image what `sboms.judge` says of it, and nothing else: that one is read by people, this one counts and sorts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from controller.documents.dates import CLOCK_SKEW
from controller.documents.types import SBOMS
from controller.inventory import tables
from controller.inventory.asking.documents.described import is_read, of_family, within
from controller.inventory.asking.kinship import is_of, named
from controller.inventory.asking.runs.standing import Moment, running_images

_evidence, _document = tables.evidence, tables.document


def states(
    connection: Connection,
    moment: Moment,
    *,
    ranks: Mapping[str, int],
    codes: Mapping[str, str],
    stale_after: timedelta,
    may_lack: int,
) -> Sequence[tuple[int, str, str]]:
    """Of each running image the rank of its best SBOM, its first repository and its digest, in no order.

    `ranks` are those of `SbomState`, by its values; `codes` the states that reasons of a rejection stand for by
    themselves.
    """
    names = named(running_images(connection, moment), moment.known_at)
    rank = _rank(ranks, codes, moment.as_of, stale_after, may_lack)
    is_evidence = and_(
        _evidence.c.digest == names.c.name,
        is_of(_evidence, names),
        or_(
            _evidence.c.finding.in_(["looked", "rejection"]),
            and_(_evidence.c.finding == "attestation", of_family(_evidence.c.predicate_type, SBOMS)),
        ),
        *within(_evidence, moment),
    )
    is_document = and_(_document.c.artifact == _evidence.c.artifact, is_read(moment))
    query = (
        select(func.coalesce(func.max(rank), ranks["NotLookedFor"]), func.min(names.c.repository), names.c.digest)
        .select_from(names)
        .outerjoin(_evidence, is_evidence)
        .outerjoin(_document, is_document)
        .group_by(names.c.digest)
    )
    return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def _rank(
    ranks: Mapping[str, int], codes: Mapping[str, str], as_of: datetime, stale_after: timedelta, may_lack: int
) -> ColumnElement[int]:
    """What one row of evidence makes of the image; NULL where it says nothing of an SBOM."""
    document, listed = _document.c, _document.c.components
    lacking = (listed_lacks * 100 > may_lack * listed for listed_lacks in _lacks())
    incomplete = or_(
        listed == 0,
        *lacking,
        and_(document.author == "", document.tool == ""),
        document.created_at.is_(None),
        document.created_at > as_of + CLOCK_SKEW,
    )
    unknown = document.id.is_(None)
    attested = case(
        (unknown, ranks["Unread"]),
        (document.problem != "", ranks["Unread"]),
        (document.kind != "sbom", None),
        (incomplete, ranks["Incomplete"]),
        (document.created_at < _before(as_of, stale_after), ranks["Stale"]),
        else_=ranks["Complete"],
    )
    rejected = case(
        *((_evidence.c.code == code, ranks[state]) for code, state in codes.items()),
        else_=case((unknown, None), else_=ranks["Untrusted"]),
    )
    return case(
        (_evidence.c.finding == "attestation", attested),
        (_evidence.c.finding == "looked", ranks["None"]),
        (and_(_evidence.c.finding == "rejection", or_(unknown, document.kind == "sbom")), rejected),
        else_=None,
    )


def _lacks() -> Sequence[ColumnElement[int]]:
    return [_document.c[f"lacks_{what}"] for what in ("version", "supplier", "identifier")]


def _before(moment: datetime, age: timedelta) -> datetime:
    try:
        return moment - age
    except OverflowError:  # older than all times
        return datetime.min.replace(tzinfo=UTC)
