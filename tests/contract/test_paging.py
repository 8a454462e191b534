"""All pages of a list are of the state that its first page showed, whatever is recorded between two of them.

The records of the stories are of some day; what comes between two pages is recorded now, as the first page is asked for
now: nobody gives a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.errors import InputError
from controller.inventory.asking import cursors
from controller.inventory.asking.affected.resting import Footing
from controller.inventory.index import reading
from controller.inventory.records import Admission
from controller.inventory.retention.leaves import LIFTED, PLACED, Selection, hold_leaf
from controller.inventory.store import Store
from controller.settings import DocumentSettings
from tests.support.asked_estate import every
from tests.support.attested import VULNS, attesting, bundle, scan, spdx
from tests.support.inventory import START, Clock, Database, evaluation, image, leaf, resource, sighting, soon

DIGESTS = [f"sha256:{number:064x}" for number in range(6)]
SIGNER = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.2"
UNSIGNED = {"code": "Unsigned", "rule": "signatures", "message": "", "expected": "", "found": [], "fix": ""}
Ask = Callable[..., Any]
Record = dict[str, Any] | tuple[dict[str, Any], Any]


async def record(opened: Store, *records: Record) -> None:
    pairs = [one if isinstance(one, tuple) else (one, {}) for one in records]
    await asyncio.gather(*(opened.writer.record(item, blobs=blobs, deadline=soon()) for item, blobs in pairs))


def index(opened: Store, database: Database) -> None:
    indexer = opened.indexer(database.settings, read=lambda content: reading.read(content, DocumentSettings()))
    while indexer.step().more:
        pass


def ran(what: str, number: int, **run: Any) -> dict[str, Any]:
    """That the run of an image began, or ended a minute later."""
    began = START + timedelta(seconds=number)
    told = {"digest": DIGESTS[number], "id": f"run-{number}", "uid": f"uid-{number}", "name": f"pod-{number}"}
    changed = {"startedAt": began.isoformat()} if what == "Ended" else {}
    return sighting(what, number + (60 if what == "Ended" else 0), **(told | changed | run))


def attested(number: int, **changes: Any) -> tuple[dict[str, Any], Any]:
    """That an image has an SBOM, with one package of all images and one of its own."""
    document = bundle(spdx("pkg:npm/p@1", f"pkg:npm/own-{number}@1"))
    return attesting(document, digest=DIGESTS[number], number=number, **changes)


def scanned(number: int, severity: str, *, days: int = 0) -> tuple[dict[str, Any], Any]:
    """A report about an image, so many days after START, of one vulnerability of its own."""
    at = START + timedelta(days=days)
    report = scan((f"CVE-{number}", severity, "pkg:npm/p@1", ""), at=at)
    return attesting(report, digest=DIGESTS[number], predicate_type=VULNS, number=number)


def judged(number: int, outcome: str, *, later: int = 0) -> dict[str, Any]:
    """What a policy says of an image."""
    one = evaluation(outcome=outcome) | {"reasons": [UNSIGNED] if outcome == "Violated" else []}
    return leaf(number + later, images=[image(digest=DIGESTS[number])], evaluations=[one])


async def walked(
    opened: Store, clock: Clock, ask: Ask, *between: Record, then: Callable[[], None] = lambda: None
) -> Sequence[Any]:
    """The items of all pages of two, something being recorded (and done) after the first."""
    first = ask(limit=2)
    assert len(first.items) == 2
    assert first.cursor is not None
    clock.now = datetime.now(UTC)
    await record(opened, *between)
    then()
    return [*first.items, *every(lambda cursor: ask(limit=2, cursor=cursor or first.cursor))]


WHAT_RUNS: dict[str, tuple[Callable[[Store], Ask], Callable[[Any], str]]] = {
    "runs": (
        lambda opened: lambda **page: opened.queries.runs(now=True, **page),
        lambda item: item.digest,
    ),
    "packages": (
        lambda opened: lambda **page: opened.questions.packages.packages("pkg:npm/p", **page),
        lambda item: item.digest,
    ),
    "components": (lambda opened: opened.questions.components.components, lambda item: item.name),
    "assets": (lambda opened: opened.questions.assets.assets, lambda item: item.digest),
    "sboms": (lambda opened: opened.questions.sboms.sboms, lambda item: item.digest),
    "findings": (lambda opened: opened.questions.findings.findings, lambda item: item.digest),
    "refused": (lambda opened: opened.questions.refused.refused, lambda item: item.run.digest),
    "affected": (
        lambda opened: lambda **page: opened.questions.affected.runs(Footing.SIGNER, SIGNER, **page),
        lambda item: item.digest,
    ),
}


@pytest.mark.parametrize("name", WHAT_RUNS)
async def test_what_ran_when_a_list_began_is_in_it_though_it_ended_between_two_pages(
    opened: Store, database: Database, clock: Clock, name: str
) -> None:
    images = range(len(DIGESTS))
    await record(
        opened,
        *(ran("Started", number) for number in images),
        *(attested(number) for number in images),
        *(scanned(number, "HIGH") for number in images),
        *(judged(number, "Violated") for number in images),
    )
    index(opened, database)
    asking, key = WHAT_RUNS[name]
    expected = [*(f"own-{number}" for number in images), "p"] if name == "components" else DIGESTS
    found = await walked(opened, clock, asking(opened), *(ran("Ended", number) for number in images))
    assert sorted(map(key, found)) == expected
    assert asking(opened)().items == ()


async def test_a_run_that_turns_out_to_be_admitted_is_in_a_list_of_those_that_were_not(
    opened: Store, clock: Clock
) -> None:
    await record(opened, *(ran("Started", number) for number in range(6)))

    def ask(**page: Any) -> Any:
        return opened.queries.runs(admission=Admission.UNADMITTED, **page)

    late = [judged(number, "Satisfied") for number in range(6)]
    for number, one in enumerate(late):
        one["object"]["uid"], one["images"][0]["kind"] = f"uid-{number}", "container"
    found = await walked(opened, clock, ask, *late)
    assert sorted(item.digest for item in found) == DIGESTS
    assert ask().items == ()


async def test_an_image_that_is_let_in_between_two_pages_is_in_the_list_of_those_refused(
    opened: Store, clock: Clock
) -> None:
    await record(opened, *(one for number in range(6) for one in (ran("Started", number), judged(number, "Violated"))))
    let_in = [judged(number, "Satisfied", later=60) for number in range(6)]
    found = await walked(opened, clock, opened.questions.refused.refused, *let_in)
    assert sorted(str(item.run.digest) for item in found) == DIGESTS
    assert opened.questions.refused.refused().items == ()


async def test_an_image_whose_sbom_is_found_between_two_pages_is_not_told_twice(
    opened: Store, database: Database, clock: Clock
) -> None:
    await record(opened, *(ran("Started", number) for number in range(6)))
    found = await walked(
        opened, clock, opened.questions.sboms.sboms, attested(0), attested(5), then=lambda: index(opened, database)
    )
    assert [(item.digest, str(item.state)) for item in found] == [(digest, "NotLookedFor") for digest in DIGESTS]
    assert opened.questions.sboms.sboms().items[-1].state == "Incomplete"


async def test_an_image_whose_sbom_is_read_between_two_pages_is_not_told_twice(
    opened: Store, database: Database, clock: Clock
) -> None:
    await record(opened, *(ran("Started", number) for number in range(6)), *(attested(number) for number in range(6)))
    found = await walked(opened, clock, opened.questions.sboms.sboms, then=lambda: index(opened, database))
    assert [(item.digest, str(item.state)) for item in found] == [(digest, "Unread") for digest in DIGESTS]


async def test_an_image_that_is_pulled_from_elsewhere_between_two_pages_of_sboms_is_not_passed_over(
    opened: Store, clock: Clock
) -> None:
    await record(opened, *(ran("Started", number) for number in range(6)))
    another = ran("Started", 5, uid="uid-more", id="more", repository="a.example/app")
    found = await walked(opened, clock, opened.questions.sboms.sboms, another)
    assert [item.digest for item in found] == DIGESTS
    assert opened.questions.sboms.sboms().items[0].digest == DIGESTS[5]


@pytest.mark.parametrize("known_before", [False, True], ids=["recorded between", "read between"])
async def test_a_finding_that_a_newer_report_makes_worse_between_two_pages_is_not_passed_over(
    opened: Store, database: Database, clock: Clock, *, known_before: bool
) -> None:
    images = range(6)
    await record(
        opened, *(ran("Started", number) for number in images), *(scanned(number, "HIGH") for number in images)
    )
    index(opened, database)
    worse = scanned(5, "CRITICAL", days=1)
    if known_before:
        await record(opened, worse)
    found = await walked(
        *(opened, clock, opened.questions.findings.findings),
        *(() if known_before else (worse,)),
        then=lambda: index(opened, database),
    )
    assert [(item.digest, item.severity) for item in found] == [(digest, "HIGH") for digest in DIGESTS]
    assert opened.questions.findings.findings().items[0].severity == "CRITICAL"


async def test_a_hold_that_is_lifted_between_two_pages_is_not_passed_over(opened: Store, clock: Clock) -> None:
    def fact(action: str, number: int) -> dict[str, Any]:
        what, at = Selection(namespace="shop"), START + timedelta(seconds=number)
        return hold_leaf(action, name=f"h{number}", reason="r", person="p", what=what, cluster="local", at=at)

    await record(opened, *(fact(PLACED, number) for number in range(6)))
    lifted = [fact(LIFTED, number) for number in range(6)]
    found = await walked(opened, clock, opened.questions.holds.page, *lifted)
    assert [hold.name for hold in found] == [f"h{number}" for number in range(6)]
    assert opened.questions.holds.page().items == ()


async def test_a_policy_that_is_deleted_between_two_pages_is_in_the_list_of_those_in_force(
    opened: Store, clock: Clock
) -> None:
    def fact(what: str, number: int) -> dict[str, Any]:
        return resource(what, number, name=f"p{number % 6}", uid=f"uid-{number % 6}", life=int(what == "Deleted"))

    def ask(**page: Any) -> Any:
        return opened.queries.policies(in_force=True, **page)

    await record(opened, *(fact("Applied", number) for number in range(6)))
    found = await walked(opened, clock, ask, *(fact("Deleted", number) for number in range(6, 12)))
    assert [(policy.name, str(policy.state)) for policy in found] == [(f"p{n}", "InForce") for n in range(5, -1, -1)]
    assert ask().items == ()


async def test_another_time_than_that_of_the_first_page_is_refused(opened: Store) -> None:
    await record(opened, *(ran("Started", number) for number in range(6)))
    ask = opened.queries.runs
    then = START + timedelta(days=1)
    cursor = ask(as_of=then, limit=2).cursor
    for asked in ({"as_of": then + timedelta(seconds=1)}, {"known_at": then}, {}):
        with pytest.raises(InputError, match="CursorOfAnotherTime"):
            ask(limit=2, cursor=cursor, **asked)
    assert ask(as_of=then, cursor=cursor) == ask(now=True, cursor=cursor)
    with pytest.raises(InputError, match="CursorOfAnotherTime"):
        ask(as_of=then, cursor=ask(limit=2).cursor)


async def test_a_cursor_of_another_list_whose_places_are_alike_is_refused(opened: Store) -> None:
    await record(opened, *(one for number in range(6) for one in (ran("Started", number), judged(number, "Violated"))))
    cursor = opened.queries.runs(limit=2).cursor
    for ask in (opened.queries.decisions, opened.questions.refused.refused, opened.questions.reads.reads):
        with pytest.raises(InputError, match="CursorOfAnotherList"):
            ask(cursor=cursor)  # type: ignore[operator]


async def test_what_was_recorded_by_a_clock_that_goes_ahead_is_on_its_page(opened: Store, clock: Clock) -> None:
    clock.now = datetime.now(UTC) + timedelta(hours=1)
    await record(opened, *(ran("Started", number) for number in range(6)))
    found = every(lambda cursor: opened.queries.runs(now=True, limit=2, cursor=cursor))
    assert sorted(item.digest for item in found) == DIGESTS


@pytest.mark.parametrize("name", ["sboms", "assets", "findings"])
def test_a_time_at_the_end_of_the_calendar_is_refused(opened: Store, name: str) -> None:
    ask = getattr(getattr(opened.questions, name), name)
    last = datetime.max.replace(tzinfo=UTC)
    with pytest.raises(InputError, match="TimeOutOfRange"):
        ask(as_of=last)
    place = {"sboms": (0, "a", "b"), "assets": ("a",), "findings": (0, "a", 0, 0, "b")}[name]
    with pytest.raises(InputError, match="CursorMalformed"):
        ask(cursor=cursors.write(name, place, (last, None, last)))
