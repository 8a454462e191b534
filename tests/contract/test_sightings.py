"""What ran, on both databases: now and at any time, and whether it is what was admitted."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.errors import InputError
from controller.inventory.asking.runs import running
from controller.inventory.database import engines
from controller.inventory.records import Admission, DecisionFilter
from controller.inventory.store import Store
from tests.support.inventory import (
    DIGEST,
    START,
    Clock,
    evaluation,
    image,
    leaf,
    sighting,
    soon,
    sqlite_database,
)

CHILD, SECOND, OTHER = "sha256:" + "c1" * 32, "sha256:" + "c2" * 32, "sha256:" + "d1" * 32


async def record(opened: Store, *leaves: dict[str, Any]) -> None:
    await asyncio.gather(*(opened.writer.record(item, blobs={}, deadline=soon()) for item in leaves))


def seconds(number: int) -> Any:
    return START + timedelta(seconds=number)


def decision(
    uid: str, digest: str | None = DIGEST, *, manifests: tuple[str, ...] = (), **changes: Any
) -> dict[str, Any]:
    value = leaf(0, images=[{**image(digest=digest), "kind": "container", "manifests": list(manifests)}], **changes)
    value["object"] = {**value["object"], "uid": uid}
    return value


async def test_what_runs_is_what_began_and_has_not_ended(opened: Store) -> None:
    await record(
        opened,
        sighting("Started", 10, uid="a", id="1"),
        sighting("Started", 20, uid="b", id="2", name="other"),
        sighting("Ended", 30, uid="a", id="1"),
        sighting("Started", 30, uid="a", id="3"),
    )

    def at(number: int | None, **where: Any) -> list[str]:
        page = opened.queries.runs(as_of=None if number is None else seconds(number), **where)
        return [item.run for item in page.items]

    assert at(9) == []
    assert at(10) == ["1"]
    assert at(25) == ["2", "1"]
    assert sorted(at(30)) == ["2", "3"]
    assert sorted(at(99)) == ["2", "3"]
    assert sorted(at(None)) == ["1", "2", "3"]
    assert at(25, namespace="bank") == []
    assert at(25, digest=OTHER) == []
    assert sorted(item.run for item in opened.queries.open_runs("local")) == ["2", "3"]
    assert opened.queries.open_runs("elsewhere") == ()
    ended = next(item for item in opened.queries.runs().items if item.run == "1")
    assert (ended.ended_at, ended.reason, ended.pod, ended.digest) == (seconds(30), "Completed", "web", DIGEST)


async def test_the_answer_is_the_one_that_could_be_given_then(opened: Store, clock: Clock) -> None:
    await record(opened, sighting("Started", 10, uid="a", id="1"))
    clock.now = START + timedelta(days=1)
    await record(opened, sighting("Ended", 30, uid="a", id="1"), sighting("Started", 5, uid="late", id="2"))
    then = START + timedelta(hours=1)
    assert [item.run for item in opened.queries.runs(as_of=seconds(60), known_at=then).items] == ["1"]
    assert [item.run for item in opened.queries.runs(as_of=seconds(60)).items] == ["2"]
    assert opened.queries.last_watched("local") == clock.now
    assert opened.queries.last_watched("elsewhere") is None


async def test_a_list_of_runs_has_pages_and_none_is_lost_or_twice(opened: Store) -> None:
    await record(opened, *(sighting("Started", number // 3, uid=f"p{number}", id=f"{number}") for number in range(25)))
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = opened.queries.runs(limit=4, cursor=cursor)
        found += [item.run for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert len(found) == len(set(found)) == 25


@pytest.mark.guarantee(20)
async def test_guarantee_20_a_namespace_is_told_when_nobody_watched_the_clusters_where_it_was_met(
    opened: Store, clock: Clock
) -> None:
    def of(cluster: str, value: dict[str, Any]) -> dict[str, Any]:
        return value | {"cluster": cluster}

    def told(namespace: str | None = "shop", **where: Any) -> list[str]:
        return sorted(gap.cluster for gap in opened.queries.runs(namespace=namespace, **where).gaps)

    await record(opened, *(of(cluster, sighting("Gap", 100)) for cluster in ("ran", "ended", "decided", "bank")))
    assert told() == []
    assert told(None) == ["bank", "decided", "ended", "ran"]
    clock.now = START + timedelta(hours=1)
    await record(
        opened,
        of("ran", sighting("Started", 1)),
        of("ended", sighting("Ended", 2, id="other")),
        of("bank", sighting("Started", 3, namespace="bank", id="their own")),
        of("bank", leaf(object={**leaf()["object"], "namespace": "bank"})),
    )
    assert told() == ["ended", "ran"]
    # What ran there while nobody watched was never seen, but its admission was recorded.
    await record(opened, of("decided", leaf()))
    assert told() == told(as_of=seconds(50)) == ["decided", "ended", "ran"]
    assert told(cluster="decided") == ["decided"]
    assert told(cluster="bank") == told(as_of=seconds(100)) == []
    assert told("bank") == ["bank"]
    assert told(known_at=START) == []  # it was not known yet that it was anywhere
    assert told(known_at=clock.now) == ["decided", "ended", "ran"]
    assert told(None) == ["bank", "decided", "ended", "ran"]


async def test_of_many_gaps_the_latest_are_told_and_that_there_are_more(opened: Store) -> None:
    await record(opened, *(sighting("Gap", number) for number in range(1, running.MAX_GAPS + 1)))
    page = opened.queries.runs()
    assert (len(page.gaps), page.more_gaps) == (running.MAX_GAPS, False)
    await record(opened, sighting("Gap", running.MAX_GAPS + 1))
    page = opened.queries.runs()
    assert [one.until for one in page.gaps] == [seconds(number) for number in range(running.MAX_GAPS + 1, 1, -1)]
    assert page.more_gaps


async def test_a_gap_is_told_with_the_time_that_it_is_about(opened: Store) -> None:
    await record(opened, sighting("Gap", 100))
    assert len(opened.queries.runs(as_of=seconds(50)).gaps) == 1
    assert opened.queries.runs(as_of=seconds(100)).gaps == ()
    assert opened.queries.runs(cluster="elsewhere").gaps == ()  # somebody watched there, or nobody ever did
    (gap,) = opened.queries.runs(cluster="local").gaps
    assert (gap,) == opened.queries.runs().gaps
    assert (gap.cluster, gap.since, gap.until) == ("local", START, seconds(100))


@pytest.mark.parametrize(
    ("admitted", "run", "expected"),
    [
        ({}, {}, Admission.ADMITTED),
        ({"manifests": (CHILD, DIGEST)}, {"digest": CHILD}, Admission.ADMITTED),
        ({}, {"digest": OTHER}, Admission.DRIFTED),
        ({"manifests": (CHILD,)}, {"digest": OTHER}, Admission.DRIFTED),
        ({}, {"digest": None}, Admission.UNKNOWN),
        ({"digest": None}, {}, Admission.UNKNOWN),
        ({"verdict": "Deny"}, {}, Admission.UNADMITTED),
        ({}, {"container": "sidecar"}, Admission.UNADMITTED),
        ({}, {"kind": "initContainer"}, Admission.UNADMITTED),
        (None, {}, Admission.UNADMITTED),
    ],
)
async def test_what_runs_is_held_against_what_was_admitted(
    opened: Store, admitted: dict[str, Any] | None, run: dict[str, Any], expected: Admission
) -> None:
    if admitted is not None:
        await record(opened, decision("pod-1", **admitted))
    await record(opened, sighting("Started", 10, **run))
    (found,) = opened.queries.runs(as_of=seconds(10)).items
    assert found.admission is expected
    assert bool(found.record) is (expected is not Admission.UNADMITTED)


async def test_an_image_that_was_changed_and_admitted_later_is_no_drift(opened: Store) -> None:
    first, second = decision("pod-1"), decision("pod-1", OTHER)
    await record(opened, first, second, sighting("Started", 10, digest=OTHER))
    (found,) = opened.queries.runs().items
    assert (found.admission, found.record) == (Admission.ADMITTED, second["id"])


async def test_what_came_to_be_so_is_found_among_all_that_runs(opened: Store) -> None:
    await record(opened, *(decision(f"p{number}") for number in range(0, 30, 3)))
    await record(opened, *(sighting("Started", number, uid=f"p{number}", id=f"{number}") for number in range(30)))

    def found(admission: Admission) -> list[int]:
        runs: list[int] = []
        cursor: str | None = None
        while True:
            page = opened.queries.runs(admission=admission, limit=4, cursor=cursor)
            runs += [int(item.run) for item in page.items]
            cursor = page.cursor
            if cursor is None:
                return runs

    admitted = list(range(27, -1, -3))
    assert found(Admission.ADMITTED) == admitted
    assert found(Admission.UNADMITTED) == [number for number in range(29, -1, -1) if number not in admitted]


async def test_the_last_of_a_page_is_not_looked_for_one_by_one(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await record(opened, *(decision(f"p{number}") for number in range(300)))
    await record(opened, *(sighting("Started", number, uid=f"p{number}", id=f"{number}") for number in range(303)))
    asked = 0
    page = running.page

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal asked
        asked += 1
        return page(*arguments, **named)

    monkeypatch.setattr(running, "page", counted)
    found = opened.queries.runs(admission=Admission.UNADMITTED, limit=4)
    assert ([item.run for item in found.items], found.cursor, asked) == (["302", "301", "300"], None, 1)


async def test_how_a_run_was_admitted_is_what_could_be_known_then(opened: Store, clock: Clock) -> None:
    await record(opened, sighting("Started", 10))
    clock.now = START + timedelta(days=1)
    await record(opened, decision("pod-1"))
    assert opened.queries.runs(known_at=START).items[0].admission is Admission.UNADMITTED
    assert opened.queries.runs().items[0].admission is Admission.ADMITTED


async def test_who_goes_on_watching_is_told_what_ran_however_long_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite_database(tmp_path).open() as opened:
        await record(opened, *(sighting("Started", number, uid=f"p{number}", id=f"{number}") for number in range(1500)))
        monkeypatch.setattr(engines, "READ_TIMEOUT", 0.001)
        assert len(opened.queries.open_runs("local")) == 1500
        assert opened.queries.last_watched("local") is not None


JANE, MARY, KEY = "jane@acme.example", "mary@acme.example", "sha256:" + "5e" * 32


def proven(
    *signers: str, attested_by: tuple[str, ...] = (), child: str | None = None, policy: str = "p", image: int = 0
) -> dict[str, Any]:
    """A leaf's evaluation with signatures by these subjects or key fingerprints, and SBOMs attested by these."""

    def proof(who: str) -> dict[str, Any]:
        named = {"key": who} if who == KEY else {"issuer": "i", "subject": who}
        return {**plain["signatures"][0], "signer": {"key": "", "issuer": "", "subject": "", **named}}

    plain = evaluation(image, policy=policy)
    documents = [{**plain["attestations"][0], **proof(who)} for who in attested_by]
    value = {**plain, "signatures": [proof(who) for who in signers], "attestations": documents}
    return value if child is None else {**value, "child": {"digest": child, "platform": "linux/amd64"}}


def signers(opened: Store, **where: Any) -> list[tuple[str, tuple[str, ...]]]:
    (run,) = opened.queries.runs(**where).items
    return [(who.key or who.subject, who.statements) for who in run.signers]


SIGNED, SBOM = "signature", "https://spdx.dev/Document"


@pytest.mark.parametrize(
    ("evaluations", "run", "expected"),
    [
        ([proven(JANE)], {}, [(JANE, (SIGNED,))]),
        ([proven(KEY, attested_by=(JANE,))], {}, [(JANE, (SBOM,)), (KEY, (SIGNED,))]),
        ([proven(JANE), proven(attested_by=(JANE,), policy="q")], {}, [(JANE, (SBOM, SIGNED))]),
        ([proven()], {}, []),
        ([], {}, []),
        ([proven(JANE, image=1)], {}, []),  # another container's
        ([proven(JANE)], {"digest": OTHER}, []),  # what runs is not what was verified
        ([proven(JANE)], {"digest": None}, []),
        ([proven(JANE)], {"uid": "pod-2"}, []),  # never admitted
        ([proven(JANE)], {"digest": CHILD}, [(JANE, (SIGNED,))]),  # who signs an index signs what it holds
        ([proven(JANE, child=CHILD), proven(MARY, child=SECOND)], {"digest": CHILD}, [(JANE, (SIGNED,))]),
        ([proven(JANE, child=CHILD), proven(MARY, child=SECOND)], {"digest": SECOND}, [(MARY, (SIGNED,))]),
        ([proven(JANE, child=CHILD), proven(MARY, JANE, child=SECOND)], {}, [(JANE, (SIGNED,))]),
        ([proven(JANE, child=CHILD), proven(MARY, child=SECOND), proven(KEY, policy="q")], {}, [(KEY, (SIGNED,))]),
    ],
)
async def test_who_signed_what_runs_is_who_signed_this_very_manifest(
    opened: Store, evaluations: list[dict[str, Any]], run: dict[str, Any], expected: list[Any]
) -> None:
    value = decision("pod-1", manifests=(CHILD, SECOND), evaluations=evaluations)
    value["images"].append({**value["images"][0], "container": "sidecar"})
    await record(opened, value, sighting("Started", 10, **run))
    assert signers(opened) == expected
    assert bool(opened.queries.runs(signed=True).items) is bool(expected)
    assert bool(opened.queries.runs(signed=False).items) is not bool(expected)
    for who, _ in expected:
        assert len(opened.queries.runs(signer=who).items) == 1
    for who in ("", JANE[:4], "i", "nobody@acme.example"):
        assert opened.queries.runs(signer=who).items == ()


async def test_who_signed_is_known_from_when_it_was_recorded(opened: Store, clock: Clock) -> None:
    await record(opened, sighting("Started", 10))
    clock.now = START + timedelta(days=1)
    await record(opened, decision("pod-1", evaluations=[proven(JANE)]))
    assert signers(opened) == [(JANE, (SIGNED,))]
    assert signers(opened, known_at=START + timedelta(hours=1)) == []


async def test_decisions_are_found_by_how_they_came_about(opened: Store) -> None:
    loud, plain = leaf(0, flags=["break-glass", "exempt"]), leaf(1)
    await record(opened, loud, plain)
    asked = opened.queries.decisions
    assert [item.id for item in asked(DecisionFilter(flag="break-glass")).items] == [loud["id"]]
    assert [item.id for item in asked(DecisionFilter(flag="exempt")).items] == [loud["id"]]
    assert asked(DecisionFilter(flag="stale")).items == ()
    with pytest.raises(InputError) as caught:
        asked(DecisionFilter(flag="glass"))
    assert caught.value.code == "FlagUnknown"
