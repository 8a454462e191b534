"""Which policies and exceptions there were, whether they were ever used or not, on both databases: as of any day, and
as known at any day."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from controller.cli import run
from controller.errors import InputError, RecordingFailed
from controller.inventory import store
from controller.inventory.asking.decisions.resource_facts import LAG
from controller.inventory.records import ExceptionRecord, Standing
from controller.inventory.store import Store
from controller.model.reference import Digest
from tests.support.inventory import (
    START,
    Clock,
    Database,
    blob,
    evaluation,
    excepted,
    exception_of,
    leaf,
    resource,
    sighting,
    soon,
)

DAY = 86_400
OLD, NEW = "sha256:" + "01" * 32, "sha256:" + "02" * 32


async def record(opened: Store, *leaves: dict[str, Any], blobs: dict[Digest, bytes] | None = None) -> None:
    await asyncio.gather(*(opened.writer.record(item, blobs=blobs or {}, deadline=soon()) for item in leaves))


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def exceptions(opened: Store, **asked: Any) -> list[tuple[str, int, str, datetime | None]]:
    found = opened.queries.exceptions(**asked).items
    return [(each.name, each.uses, str(each.state), each.ended_at) for each in found]


def policies(opened: Store, **asked: Any) -> list[tuple[str, int, str, datetime | None]]:
    found = opened.queries.policies(**asked).items
    return [(each.name, each.generation, str(each.state), each.ended_at) for each in found]


async def test_an_exception_that_was_never_used_is_listed_until_it_ends_and_then_as_what_it_was(
    opened: Store, clock: Clock
) -> None:
    clock.now = at(DAY)
    entry = exception_of("spare", expires="2026-12-22T09:00:00.000000Z")
    await record(opened, resource("Applied", 100, exception=entry))
    clock.now = at(3 * DAY)
    await record(opened, resource("Deleted", 2 * DAY, exception=entry))
    assert opened.queries.exceptions(as_of=at(DAY)).items == (
        ExceptionRecord(
            cluster="local",
            name="spare",
            hash=entry["hash"],
            approval="stamped",
            approver="jane",
            approved_at=START - timedelta(hours=2),
            reason="the signing service is down",
            expires=START + timedelta(days=30) - timedelta(hours=2),
            break_glass=False,
            applied_at=at(100),
            state=Standing.IN_FORCE,
            ended_at=None,
            unwatched=False,
            uses=0,
            first_used_at=None,
            last_used_at=None,
        ),
    )
    assert exceptions(opened, as_of=at(99)) == []
    gone = [("spare", 0, "Deleted", at(2 * DAY))]
    assert exceptions(opened) == exceptions(opened, name="spare") == exceptions(opened, as_of=at(2 * DAY)) == gone
    assert exceptions(opened, name="another") == []
    # Neither was known before it was recorded.
    assert exceptions(opened, as_of=at(2 * DAY), known_at=at(DAY)) == [("spare", 0, "InForce", None)]
    assert exceptions(opened, as_of=at(2 * DAY), known_at=at(DAY - 1)) == []


async def test_an_exception_s_use_tells_of_it_before_anybody_recorded_that_it_was_applied(
    opened: Store, clock: Clock
) -> None:
    """The one row of `exception` says when it was first known; that tells nobody what was known when."""
    await record(opened, leaf(50, evaluations=[excepted()]))
    clock.now = at(DAY)
    await record(opened, resource("Applied", 10, exception=exception_of()))
    assert exceptions(opened, as_of=at(60)) == [("hotfix", 1, "InForce", None)]
    assert exceptions(opened, as_of=at(60), known_at=at(60)) == [("hotfix", 1, "Unknown", None)]
    assert exceptions(opened, as_of=at(40)) == [("hotfix", 0, "InForce", None)]
    assert exceptions(opened, as_of=at(40), known_at=at(60)) == []
    assert exceptions(opened, as_of=at(60), known_at=at(60), in_force=True) == []


async def test_an_exception_ends_by_itself_or_by_what_came_in_its_place(opened: Store) -> None:
    short = exception_of("short", hash=OLD, expires="2026-11-22T11:10:00.000000Z")
    longer = exception_of("short", hash=NEW, expires="2026-11-22T12:00:00.000000Z")
    again = exception_of("again", hash=OLD)
    await record(
        opened,
        resource("Applied", 0, exception=short),
        resource("Applied", 300, exception=longer, generation=2),
        resource("Deleted", 2 * DAY, exception=longer, generation=2),
        # Deleted and made anew, all alike but for its uid; and once more, the deletion being told of afterwards.
        resource("Applied", 5, exception=again, uid="a"),
        resource("Deleted", 6, exception=again, uid="a", reason="GoneWhileUnwatched"),
        resource("Applied", 7, exception=again, uid="b"),
        resource("Applied", 8, exception=again, uid="c"),
        resource("Deleted", 9, exception=again, uid="c"),
    )
    assert exceptions(opened, as_of=at(299), name="short") == [("short", 0, "InForce", None)]
    assert exceptions(opened, as_of=at(300), name="short") == [
        ("short", 0, "InForce", None),
        ("short", 0, "Replaced", at(300)),
    ]
    alone = opened.queries.exceptions(name="short", in_force=True, as_of=at(300)).items
    assert [each.hash for each in alone] == [NEW]
    assert exceptions(opened, as_of=at(3600), name="short", in_force=True) == []
    # Nobody needs to delete what has ended: that it was deleted later changes nothing.
    assert exceptions(opened, as_of=at(3 * DAY), name="short") == [
        ("short", 0, "Expired", at(3600)),
        ("short", 0, "Replaced", at(300)),
    ]
    told = [exceptions(opened, as_of=at(second), name="again") for second in range(5, 10)]
    alive, ended = [("again", 0, "InForce", None)], [("again", 0, "Deleted", at(6))]
    assert told == [alive, ended, alive, alive, alive]
    told = [exceptions(opened, as_of=at(second), name="again", in_force=True) for second in range(4, 8)]
    assert told == [[], alive, [], alive]
    assert [each.applied_at for each in opened.queries.exceptions(name="again").items] == [at(5)]
    unwatched = [opened.queries.exceptions(name="again", as_of=at(second)).items[0].unwatched for second in (5, 6, 7)]
    assert unwatched == [False, True, False]


async def test_what_no_operator_recorded_is_told_by_its_uses_alone(opened: Store) -> None:
    claimed = excepted(name="filed", claimed=True, approvedAt=None)
    await record(
        opened,
        leaf(1, evaluations=[excepted(name="used"), claimed]),
        # Of a file's exception nothing is told by one of the cluster that is called alike.
        resource("Applied", 2, exception=exception_of("filed")),
        resource("Applied", 3, exception=exception_of("used"), cluster="east"),
    )
    assert exceptions(opened, as_of=at(60)) == [
        ("used", 0, "InForce", None),
        ("filed", 0, "InForce", None),
        ("filed", 1, "Unknown", None),
        ("used", 1, "Unknown", None),
    ]
    assert exceptions(opened, as_of=at(60), in_force=True) == [
        ("used", 0, "InForce", None),
        ("filed", 0, "InForce", None),
    ]
    expires = at(22 * 3600)
    assert {each[2:] for each in exceptions(opened, as_of=at(DAY))} == {("Expired", expires)}


async def test_exceptions_that_were_never_used_are_each_on_one_page(opened: Store) -> None:
    names = sorted(f"exception {number}" for number in range(7))
    await record(
        opened,
        *(resource("Applied", exception=exception_of(name)) for name in names),
        leaf(evaluations=[excepted(name=names[3])]),
    )
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = opened.queries.exceptions(limit=2, cursor=cursor)
        seen += [item.name for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == names


async def test_of_an_exception_that_was_used_the_last_use_counts_and_of_another_when_it_was_applied(
    opened: Store,
) -> None:
    used, unused = exception_of("used"), exception_of("unused")
    await record(
        opened,
        resource("Applied", 10, exception=used),
        resource("Applied", 50, exception=unused),
        leaf(100, evaluations=[excepted(name="used")]),
    )
    assert [name for name, *_ in exceptions(opened, as_of=at(99))] == ["unused", "used"]
    assert [name for name, *_ in exceptions(opened, as_of=at(100))] == ["used", "unused"]


async def test_the_versions_of_a_policy_are_told_with_when_they_came_and_went(opened: Store, clock: Clock) -> None:
    digest, content = blob(b'{"spec":{}}')
    first = resource("Applied", 10, hash=str(digest))
    await record(opened, first | {"blobs": [str(digest)]}, blobs={digest: content})
    clock.now = at(DAY)
    await record(
        opened,
        resource("Applied", 20, hash=NEW, generation=2, manager="argocd", problem="FieldMissing"),
        resource("Deleted", 30, hash=NEW, generation=2, reason="GoneWhileUnwatched"),
        resource("Applied", 15, kind="EvidencePolicy", namespace="shop", name="own", uid="own"),
        resource("Applied", 25, uid="elsewhere", cluster="east"),
        resource("Applied", 12, exception=exception_of()),
    )
    assert policies(opened) == [
        ("release-signed", 1, "InForce", None),
        ("release-signed", 2, "Deleted", at(30)),
        ("own", 1, "InForce", None),
        ("release-signed", 1, "Replaced", at(20)),
    ]
    second = opened.queries.policies().items[1]
    told = (second.hash, second.manager, second.problem, second.unwatched, second.applied_at, second.recorded_at)
    assert told == (NEW, "argocd", "FieldMissing", True, at(20), at(DAY))
    assert opened.queries.blob(opened.queries.policies().items[3].hash) == content
    assert opened.queries.policies().items[3].record == first["id"]
    here = {"cluster": "local"}
    assert policies(opened, **here, in_force=True) == [("own", 1, "InForce", None)]
    assert policies(opened, **here, in_force=True, as_of=at(29)) == [
        ("release-signed", 2, "InForce", None),
        ("own", 1, "InForce", None),
    ]
    assert policies(opened, **here, as_of=at(11)) == [("release-signed", 1, "InForce", None)]
    assert policies(opened, known_at=at(60)) == [("release-signed", 1, "InForce", None)]
    assert policies(opened, name="own") == policies(opened, name="shop/own") == [("own", 1, "InForce", None)]
    assert policies(opened, name="bank/own") == policies(opened, name="/own") == []
    page = opened.queries.policies(limit=3)
    assert page.cursor is not None
    rest = opened.queries.policies(limit=3, cursor=page.cursor)
    assert ([item.generation for item in (*page.items, *rest.items)], rest.cursor) == ([1, 2, 1, 1], None)
    for wrong in ({"limit": 0}, {"cursor": "forged"}):
        with pytest.raises(InputError):
            opened.queries.policies(**wrong)


async def test_what_a_restored_backup_brought_back_is_there_again(opened: Store) -> None:
    """An object of a uid that was deleted before; and clocks that go back tell of it in another order. Where the backup
    was brought to another cluster, that one has the uid too."""
    await record(
        opened,
        resource("Applied", 10),
        resource("Applied", 5, cluster="copy"),
        resource("Deleted", 20),
        resource("Applied", 19, life=1),
    )
    here = {"cluster": "local"}
    alive = ("release-signed", 1, "InForce", None)
    assert policies(opened, **here) == [alive, ("release-signed", 1, "Deleted", at(20))]
    await record(opened, resource("Deleted", 30, life=1))
    assert policies(opened, **here, in_force=True) == []
    assert policies(opened, cluster="copy") == [alive]


def refused(number: int, **changes: Any) -> dict[str, Any]:
    one = evaluation(outcome="Violated")
    one["policy"] = one["policy"] | {"hash": OLD} | changes
    return leaf(number, evaluations=[one])


def refusing(opened: Store, second: float, **asked: Any) -> list[str]:
    page = opened.questions.refused.refused(as_of=at(second), **asked)
    return sorted(refusal.policy.name for item in page.items for refusal in item.refusals)


async def test_a_policy_that_was_deleted_refuses_nothing_from_then_on_and_did_before(
    opened: Store, clock: Clock
) -> None:
    names = ["changed", "gone", "never-recorded"]
    await record(
        opened,
        sighting("Started", 1),
        *(refused(10, name=name) for name in names),
        # Others that are called alike: in a namespace, in another cluster.
        refused(11, name="gone", kind="EvidencePolicy", namespace="shop"),
        *(resource("Applied", 5, name=name, uid=name, hash=OLD) for name in names[:2]),
        resource("Applied", 20, name="changed", uid="changed", hash=NEW, generation=2),
        resource("Deleted", 6, name="never-recorded", uid="x", cluster="east"),
    )
    clock.now = at(DAY)
    await record(opened, resource("Deleted", 30, name="gone", uid="gone", hash=OLD))
    # One that was changed refuses as it was last evaluated; of one that nobody recorded nothing is known.
    assert refusing(opened, 29) == ["changed", "gone", "gone", "never-recorded"]
    assert refusing(opened, 30) == refusing(opened, 30, namespace="shop") == ["changed", "gone", "never-recorded"]
    assert refusing(opened, 30, known_at=at(DAY - 1)) == refusing(opened, 29)
    page = opened.questions.refused.refused(as_of=at(30), policy="gone")
    assert [one.policy.kind for item in page.items for one in item.refusals] == ["EvidencePolicy"]
    # A webhook may hear of it a little later; long afterwards it shows that the policy is there again.
    await record(opened, refused(31, name="gone"))
    assert refusing(opened, 60, policy="gone") == ["gone"]
    later = 31 + LAG.total_seconds()
    await record(opened, refused(int(later), name="gone"))
    assert refusing(opened, later, policy="gone") == ["gone", "gone"]


async def test_a_policy_that_was_made_anew_refuses_as_it_was_last_evaluated(opened: Store) -> None:
    await record(
        opened,
        sighting("Started", 1),
        refused(10),
        resource("Applied", 5, uid="a"),
        resource("Applied", 30, uid="b"),
        # The old one's end is seen after the new one's beginning.
        resource("Deleted", 31, uid="a"),
    )
    assert refusing(opened, 60) == ["release-signed"]
    await record(opened, resource("Deleted", 40, uid="b"))
    assert refusing(opened, 60) == []


async def test_the_same_fact_twice_is_one_record(opened: Store) -> None:
    seen = resource("Applied", 10)
    again = {**seen, "salt": "another", "decidedAt": resource("Applied", 11)["decidedAt"]}
    await record(opened, seen)
    await record(opened, again)
    assert [item.applied_at for item in opened.queries.policies().items] == [at(10)]


@pytest.mark.parametrize("missing", ["kind", "name", "uid", "hash", "life", "generation", "manager", "problem"])
async def test_a_fact_that_does_not_say_about_what_is_no_record(opened: Store, missing: str) -> None:
    broken = resource("Applied")
    del broken["resource"][missing]
    for malformed in (broken, resource("Applied") | {"verdict": "Seen"}, resource("Applied", name="")):
        with pytest.raises(RecordingFailed) as refused_:
            await record(opened, malformed)
        assert refused_.value.code == "LeafMalformed"


async def test_answers_are_the_same_after_all_was_made_anew_from_the_leaves(database: Database, clock: Clock) -> None:
    entry = exception_of("spare")
    with database.open(clock) as opened:
        await record(
            opened,
            resource("Applied", 10),
            resource("Deleted", 20),
            resource("Applied", 10, exception=entry),
            leaf(15, evaluations=[excepted(name="spare")]),
        )
        before = policies(opened), exceptions(opened, as_of=at(60))
    assert store.rebuild(database.settings.url()) == 4
    with database.open(clock) as opened:
        assert (policies(opened), exceptions(opened, as_of=at(60))) == before
    assert before[1] == [("spare", 1, "InForce", None)]


async def test_people_ask_for_policies_and_exceptions(
    database: Database, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    url = database.settings.url()
    with database.open(clock) as opened:
        await record(
            opened,
            resource("Applied", 10, kind="EvidencePolicy", namespace="shop", name="own"),
            resource("Deleted", 20, kind="EvidencePolicy", namespace="shop", name="own", reason="GoneWhileUnwatched"),
            resource("Applied", 10, exception=exception_of("spare")),
        )
    assert run(["inventory", "policies", "--database-url", url]) == 0
    heading, line = capsys.readouterr().out.splitlines()
    titles = "POLICY CLUSTER VERSION WRITTEN BY SINCE UNTIL STATE PROBLEM"
    assert heading.split() == titles.split()
    wanted = "shop/own local sha256:b2b2b2b2b2b2 kubectl 2026-11-22 11:00:10 2026-11-22 11:00:20 (unwatched) Deleted -"
    assert line.split() == wanted.split()
    assert run(["inventory", "policies", "own", "--in-force", "--database-url", url]) == 0
    assert "no versions found" in capsys.readouterr().err
    assert (
        run(
            [
                "inventory",
                "policies",
                "shop/own",
                "--as-of",
                "2026-11-22T11:00:15Z",
                "-o",
                "json",
                "--database-url",
                url,
            ]
        )
        == 0
    )
    (item,) = json.loads(capsys.readouterr().out)["items"]
    assert (item["state"], item["endedAt"], item["manager"]) == ("InForce", None, "kubectl")
    assert run(["inventory", "exceptions", "--as-of", "2026-11-22T11:00:15Z", "--database-url", url]) == 0
    heading, line = capsys.readouterr().out.splitlines()
    titles = "EXCEPTION CLUSTER VERSION APPROVER APPROVED EXPIRES STATE SINCE USES LAST USED WHY"
    assert heading.split() == titles.split()
    wanted = (
        "spare local sha256:abababababab jane 2026-11-22 09:00:00 2026-11-23 09:00:00 InForce 2026-11-22 11:00:10 0 - "
    )
    assert line.split() == [*wanted.split(), "the", "signing", "service", "is", "down"]
    assert run(["inventory", "exceptions", "--all", "-o", "csv", "--database-url", url]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["state"], row["uses"], row["firstUsedAt"], row["appliedAt"]) == (
        "Expired",
        "0",
        "",
        "2026-11-22T11:00:10.000000Z",
    )
