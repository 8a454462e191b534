"""Which running images have an SBOM that can be worked with, and what is wrong with those of the others.

Complete is meant as NTIA's minimum elements have it ("The Minimum Elements For a Software Bill of Materials", 2021): of
each component supplier, version and a unique identifier; of the document an author and a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection

from controller.documents.types import SBOMS, claims
from controller.errors import InputError
from controller.inventory.asking.asker import DEFAULT_LIMIT, Asker, check_limit
from controller.inventory.asking.documents import sbom_states
from controller.inventory.asking.documents.described import Described, beside
from controller.inventory.asking.paging import Paging
from controller.inventory.asking.runs.standing import Moment, Place, owners, places, standing, unidentified

STALE_AFTER = timedelta(days=90)
MAY_LACK = 10  # percent of the components that may lack a minimum element
_OTHER_DIGEST, _UNSIGNED = "SubjectMismatch", "Unsigned"


class SbomState(StrEnum):
    """What an image's best SBOM is like, from no answer at all to one that can be worked with.

    NOT_LOOKED_FOR: no policy asked for evidence of it. NONE: there is none. OTHER_DIGEST: what lies beside it is about
    another image. UNSIGNED: nobody signed it. UNTRUSTED: signed, but its proof did not count for any policy. UNREAD: it
    counted, and cannot be read, or is not indexed yet. INCOMPLETE: no components, or too many that lack a minimum
    element. STALE: complete, and too old.
    """

    NOT_LOOKED_FOR = "NotLookedFor"
    NONE = "None"
    OTHER_DIGEST = "OtherDigest"
    UNSIGNED = "Unsigned"
    UNTRUSTED = "Untrusted"
    UNREAD = "Unread"
    INCOMPLETE = "Incomplete"
    STALE = "Stale"
    COMPLETE = "Complete"


RANKS = {state: rank for rank, state in enumerate(SbomState)}


@dataclass(frozen=True, slots=True)
class Demands:
    """What is asked of an SBOM: how old it may be, and what share (percent) of its components may lack an element."""

    stale_after: timedelta = STALE_AFTER
    may_lack: int = MAY_LACK

    def check(self) -> None:
        """Raise `InputError` (`DemandOutOfRange`) for what no SBOM could be held to."""
        if self.stale_after <= timedelta(0) or not 0 <= self.may_lack <= 100:
            raise InputError("DemandOutOfRange", "an age must be above 0, and a share between 0 and 100 percent")


@dataclass(frozen=True, slots=True)
class ImageSbom:
    """A running image with the best SBOM that it has, and why that is no better (`why`, sentences).

    `artifact` is the document's blob, empty where there is none; `dated_at` is when it was made: by what it says, else
    when it was signed, else when it was first recorded.
    """

    digest: str
    repositories: tuple[str, ...]
    runs: int
    namespaces: tuple[str, ...]
    clusters: tuple[str, ...]
    since: datetime
    state: SbomState
    why: tuple[str, ...]
    artifact: str
    format: str
    tool: str
    dated_at: datetime | None
    components: int


@dataclass(frozen=True, slots=True)
class SbomPage:
    """Running images, those that are worst off first. `counts` are of all of them, by state.

    `unidentified` are runs whose digest nobody knows: nothing can be said of these.
    """

    items: tuple[ImageSbom, ...]
    counts: Mapping[str, int]
    unidentified: int
    cursor: str | None


class Sboms(Asker):
    """Reads what SBOMs running images have."""

    def sboms(
        self,
        *,
        states: Iterable[SbomState] = (),
        demands: Demands = Demands(),
        as_of: datetime | None = None,
        namespace: str | None = None,
        cluster: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        known_at: datetime | None = None,
    ) -> SbomPage:
        """The images that run at a time (default: now), each with the state of its SBOM; of `states` only, if given.

        Raises `InputError`: `LimitOutOfRange`, `CursorMalformed`, `DemandOutOfRange`.
        """
        check_limit(limit)
        demands.check()
        paging = Paging.of("sboms", cursor, int, str, str, as_of=as_of, known_at=known_at, now=True)
        moment = Moment(paging.at, paging.known_at, namespace, cluster, paging.read_by)
        wanted = frozenset(RANKS[state] for state in states) or frozenset(RANKS.values())
        with self._reading() as connection:
            every = sbom_states.states(
                connection,
                moment,
                ranks={str(state): rank for state, rank in RANKS.items()},
                codes=_CODES,
                stale_after=demands.stale_after,
                may_lack=demands.may_lack,
            )
            counts = Counter(rank for rank, _, _ in every)
            left = sorted(one for one in every if one[0] in wanted and (paging.place is None or one > paging.place))
            items = _judged(connection, {digest: rank for rank, _, digest in left[:limit]}, demands, moment)
            return SbomPage(
                items=items,
                counts={str(state): counts[rank] for state, rank in RANKS.items()},
                unidentified=unidentified(connection, moment),
                cursor=paging.after(connection, left[limit - 1] if len(left) > limit else None),
            )


_CODES = {_OTHER_DIGEST: SbomState.OTHER_DIGEST, _UNSIGNED: SbomState.UNSIGNED}


_ATTESTED = frozenset(
    RANKS[state] for state in (SbomState.UNREAD, SbomState.INCOMPLETE, SbomState.STALE, SbomState.COMPLETE)
)
"""What only an SBOM that counted makes of an image."""


def _judged(
    connection: Connection, ranks: Mapping[str, int], demands: Demands, moment: Moment
) -> tuple[ImageSbom, ...]:
    """What is shown of these images, in their order. What did not count is not read where something did: anybody may
    have made thousands of indexes that hold the image, with something beside each."""
    running = standing(connection, moment, ranks)
    images, owner = places(running), owners(running)
    found: dict[str, list[Described]] = {}
    for counted in (True, False):
        some = {digest: owner[digest] for digest, rank in ranks.items() if (rank in _ATTESTED) is counted}
        found |= beside(connection, some, "sbom", _CODES, moment, counted=counted) if some else {}
    return tuple(judge(images[digest], found[digest], demands, moment.as_of) for digest in ranks)


def judge(place: Place, found: Sequence[Described], demands: Demands, now: datetime) -> ImageSbom:
    """The best of what lies beside an image. Pure."""
    judged = [(state, why, one) for one in found for state, why in [_judge(one, demands, now)] if state is not None]
    if judged:
        # Of several that are equally good the newest.
        state, why, best = max(judged, key=lambda each: (RANKS[each[0]], each[2].at, each[2].artifact))
        held = best if best.document is not None else None
        return _image(place, state, why, best, held)
    if any(one.finding == "looked" for one in found):
        return _image(place, SbomState.NONE, ("no SBOM lies beside it",), None, None)
    nobody = "no policy asked for evidence of it"
    if len(place.namespaces) > 1:  # what one of them found by itself is not told of the others' (`standing.Owners`)
        nobody = "it runs in several namespaces, and no policy of the cluster asked for evidence of it"
    return _image(place, SbomState.NOT_LOOKED_FOR, (nobody,), None, None)


def _image(
    place: Place, state: SbomState, why: tuple[str, ...], best: Described | None, held: Described | None
) -> ImageSbom:
    return ImageSbom(
        digest=place.digest,
        repositories=place.repositories,
        runs=place.runs,
        namespaces=place.namespaces,
        clusters=place.clusters,
        since=place.since,
        state=state,
        why=why,
        artifact=best.artifact if best is not None and best.artifact != place.digest else "",
        format=held.format if held is not None else "",
        tool=held.tool if held is not None else "",
        dated_at=best.at if best is not None else None,
        components=held.listed if held is not None else 0,
    )


def _judge(one: Described, demands: Demands, now: datetime) -> tuple[SbomState | None, tuple[str, ...]]:
    """The state that this would give the image; None for what is no SBOM."""
    if one.finding == "rejection":
        return _rejected(one)
    if one.finding != "attestation" or not (one.kind == "sbom" or claims(one.predicate_type, SBOMS)):
        return None, ()
    if one.document is None:
        return SbomState.UNREAD, ("it is not indexed yet",)
    if one.problem:
        return SbomState.UNREAD, (f"it cannot be read: {one.problem}",)
    missing = tuple(_missing(one, demands))
    age = now - one.at
    old = (f"it is {age.days} days old",) if age > demands.stale_after else ()
    if missing:
        return SbomState.INCOMPLETE, (*missing, *old)
    return (SbomState.STALE, old) if old else (SbomState.COMPLETE, ())


def _rejected(one: Described) -> tuple[SbomState | None, tuple[str, ...]]:
    if one.code == _UNSIGNED:
        return SbomState.UNSIGNED, ("nobody signed it",)
    if one.code == _OTHER_DIGEST:
        sure = "it is about another image" if one.document is not None else "something beside it is about another image"
        return SbomState.OTHER_DIGEST, (sure,)
    return SbomState.UNTRUSTED, (f"its proof counts for no policy: {one.code}",)


def _missing(one: Described, demands: Demands) -> Iterable[str]:
    if not one.listed:
        yield "it lists no components"
    for what, count in (
        ("version", one.lacks_version),
        ("supplier", one.lacks_supplier),
        ("identifier", one.lacks_identifier),
    ):
        if count * 100 > demands.may_lack * one.listed:
            yield f"{count} of {one.listed} components have no {what}"
    if not (one.author or one.tool):
        yield "it names no author"
    if one.stated_at is None:
        yield "it says no time at which it was made"
