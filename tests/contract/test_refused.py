"""What runs and would be refused, and what a namespace may know of images, on both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from controller.cli import run
from controller.cli.inventory import shared
from controller.errors import InputError
from controller.inventory.asking.decisions import last_versions, refused
from controller.inventory.store import Store
from controller.model.reference import Digest
from tests.support.inventory import (
    DIGEST,
    START,
    Clock,
    Database,
    blob,
    evaluation,
    image,
    leaf,
    sighting,
    soon,
)
from tests.support.runs import CHILD, OTHER

OLD, NEW = "sha256:" + "01" * 32, "sha256:" + "02" * 32


async def record(opened: Store, *leaves: dict[str, Any], blobs: dict[Digest, bytes] | None = None) -> None:
    await asyncio.gather(*(opened.writer.record(item, blobs=blobs or {}, deadline=soon()) for item in leaves))


def seconds(number: float) -> datetime:
    return START + timedelta(seconds=number)


def judged(number: int, outcome: str, *, where: str = "shop", **changes: Any) -> dict[str, Any]:
    """A decision about DIGEST in a namespace, with one evaluation."""
    policy = {"hash": changes.pop("version", OLD), "name": changes.pop("policy", "signed")}
    of = changes.pop("digest", DIGEST)
    manifests = changes.pop("manifests", [])
    reasons = [{"code": "Unsigned", "rule": "signatures", "message": "", "expected": "", "found": [], "fix": ""}]
    one = evaluation(outcome=outcome)
    one |= {"policy": {**one["policy"], **policy}, "reasons": [] if outcome == "Satisfied" else reasons}
    one |= {name: changes.pop(name) for name in ("actions",) if name in changes}
    value = leaf(number, images=[image(digest=of) | {"manifests": manifests}], evaluations=[one], **changes)
    value["object"] = {**value["object"], "namespace": where}
    return value


def found(opened: Store, **where: Any) -> dict[str, list[tuple[str, bool]]]:
    page = opened.questions.refused.refused(**({"as_of": seconds(1000)} | where))
    return {item.run.run: [(one.policy.name, one.current) for one in item.refusals] for item in page.items}


async def test_what_runs_is_refused_if_the_newest_evaluation_of_its_image_there_is_in_the_way(opened: Store) -> None:
    await record(
        opened,
        sighting("Started", 1, uid="a", id="1"),
        sighting("Started", 2, uid="b", id="2", name="other", namespace="bank"),
        sighting("Started", 3, uid="c", id="gone"),
        sighting("Ended", 4, uid="c", id="gone", startedAt=seconds(3).isoformat()),
        judged(0, "Satisfied"),
        judged(10, "Violated"),
        newest := judged(20, "Violated", version=NEW),
        judged(30, "Error", policy="scanned"),
        judged(31, "Violated", policy="loud", actions=["Warn", "Audit"]),
        judged(32, "Exempt", policy="excused"),
        judged(15, "Violated", where="bank"),
        judged(25, "Satisfied", where="bank", version=NEW),
        judged(26, "Violated", where="elsewhere", version=NEW),
        judged(27, "Violated", digest=OTHER, version=NEW),
    )
    assert found(opened) == {"1": [("scanned", True), ("signed", True)]}
    assert found(opened, as_of=seconds(28)) == {"1": [("signed", True)]}
    # By the last version that judged anything, which was another one at that moment.
    assert found(opened, as_of=seconds(19)) == {"2": [("signed", True)], "1": [("signed", True)]}
    assert found(opened, as_of=seconds(9)) == {}
    assert found(opened, policy="scanned") == {"1": [("scanned", True)]}
    assert found(opened, policy="shop/scanned") == found(opened, namespace="bank") == found(opened, cluster="x") == {}
    (item,) = opened.questions.refused.refused(as_of=seconds(1000), policy="signed").items
    (refusal,) = item.refusals
    assert (refusal.policy.hash, refusal.outcome, refusal.reasons) == (NEW, "Violated", ("Unsigned",))
    assert (refusal.since, refusal.evaluated_at, refusal.record) == (seconds(20), seconds(20), newest["id"])


async def test_a_refusal_by_a_version_that_is_no_longer_used_is_told_as_such(opened: Store) -> None:
    await record(
        opened,
        sighting("Started", 1),
        judged(10, "Violated", version=OLD),
        judged(11, "Violated", version=OLD),
        judged(20, "Satisfied", version=NEW, digest=OTHER),
    )
    assert found(opened) == {"containerd://1": [("signed", False)]}
    assert found(opened, as_of=seconds(19)) == {"containerd://1": [("signed", True)]}
    (item,) = opened.questions.refused.refused(as_of=seconds(1000)).items
    assert (item.refusals[0].since, item.refusals[0].evaluated_at) == (seconds(10), seconds(11))


def in_cluster(name: str, value: dict[str, Any]) -> dict[str, Any]:
    return value | {"cluster": name}


@pytest.mark.guarantee(20)
@pytest.mark.parametrize("steps", [(50, (1_000, 30_000)), (1, (2, 3)), (1, (1, 1))])
async def test_guarantee_20_whether_a_version_is_current_in_a_namespace_tells_nothing_of_others(
    opened: Store, steps: tuple[int, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far the last version has to be looked for: among the namespace's decisions, or the policy's."""
    monkeypatch.setattr(last_versions, "RECENT", steps[0])
    monkeypatch.setattr(last_versions, "STEPS", steps[1])
    await record(
        opened,
        sighting("Started", 1),
        judged(10, "Violated"),
        judged(11, "Violated", policy="rare"),
        *(judged(number, "Satisfied", policy="other", digest=OTHER) for number in range(12, 18)),
    )
    own = {"containerd://1": [("rare", True), ("signed", True)]}
    assert found(opened, namespace="shop") == own
    others = [
        judged(20 + number, "Satisfied", where="bank", version=NEW, policy=name)
        for number, name in enumerate(("rare", "signed"))
    ]
    await record(opened, *others, in_cluster("east", judged(30, "Satisfied", version=NEW, digest=OTHER)))
    assert found(opened, namespace="shop") == own
    # Who asks of all namespaces is told what the policies did in all.
    assert found(opened) == {"containerd://1": [("rare", False), ("signed", False)]}
    # His own later decision in this cluster is told as of when it was made.
    await record(opened, judged(40, "Satisfied", version=NEW, digest=OTHER, policy="rare"))
    assert found(opened, namespace="shop") == {"containerd://1": [("rare", False), ("signed", True)]}
    assert found(opened, namespace="shop", as_of=seconds(39)) == own
    # Back to the version before: the last that was used, and not the last that was new.
    await record(opened, judged(41, "Satisfied", digest=OTHER, policy="rare"))
    assert found(opened, namespace="shop") == own


@pytest.mark.parametrize(("runs", "denied"), [(CHILD, DIGEST), (DIGEST, CHILD)])
async def test_an_index_and_a_manifest_of_it_are_one_image_to_a_policy(opened: Store, runs: str, denied: str) -> None:
    await record(
        opened,
        judged(0, "Satisfied", manifests=[CHILD], where="bank"),
        judged(1, "Violated", digest=denied),
        sighting("Started", 2, digest=runs),
    )
    assert found(opened) == {"containerd://1": [("signed", True)]}


async def test_what_was_refused_is_what_was_known_then(opened: Store, clock: Clock) -> None:
    await record(opened, sighting("Started", 1), judged(5, "Violated"))
    clock.now = START + timedelta(days=1)
    await record(opened, judged(6, "Satisfied"))
    assert found(opened, known_at=START + timedelta(hours=1)) == {"containerd://1": [("signed", True)]}
    assert found(opened) == {}


async def test_the_pages_of_refused_runs_hold_each_once(opened: Store) -> None:
    await record(opened, judged(0, "Violated"))
    await record(opened, *(sighting("Started", number // 2, uid=f"p{number}", id=f"{number}") for number in range(9)))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = opened.questions.refused.refused(as_of=seconds(99), limit=2, cursor=cursor)
        seen += [item.run.run for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(seen) == [str(number) for number in range(9)]
    with pytest.raises(InputError, match="CursorMalformed"):
        opened.questions.refused.refused(cursor="!")


async def test_refused_runs_are_found_however_many_that_are_not_started_since(opened: Store) -> None:
    """Of 200 runs that nobody refuses, eight are read with a page of one, then more at a time: it ends at the last."""
    refused = [sighting("Started", number, uid=f"r{number}", id=f"r{number}") for number in (1, 2, 150)]
    others = [sighting("Started", number, uid=f"o{number}", id=f"{number}", digest=OTHER) for number in range(3, 203)]
    elsewhere = judged(0, "Violated", where="bank", digest=OTHER)  # refused there, and it runs here
    await record(opened, judged(0, "Violated"), elsewhere, *refused, *others)
    seen: list[str] = []
    page = opened.questions.refused.refused(as_of=seconds(999), limit=1)
    while True:
        seen += [item.run.run for item in page.items]
        if page.cursor is None:
            break
        page = opened.questions.refused.refused(as_of=seconds(999), limit=1, cursor=page.cursor)
    assert seen == ["r150", "r2", "r1"]
    assert found(opened, as_of=seconds(149)).keys() == {"r1", "r2"}
    assert found(opened, namespace="bank") == {}


async def test_what_is_read_in_vain_for_a_page_is_read_some_at_a_time(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty images were refused, and all but that of the first run let in after that."""
    digests = [f"sha256:{number:064x}" for number in range(40)]
    await record(
        opened,
        *(sighting("Started", n, uid=f"pod-{n}", id=f"run-{n}", digest=digest) for n, digest in enumerate(digests)),
        *(judged(50, "Violated", digest=digest) for digest in digests),
        *(judged(60, "Satisfied", digest=digest) for digest in digests[1:]),
    )
    read: list[int] = []
    ask = refused._refused

    def counted(connection: Connection, wheres: Collection[refused.Where], asked: Any) -> Any:
        read.append(len(wheres))
        return ask(connection, wheres, asked)

    monkeypatch.setattr(refused, "_refused", counted)
    monkeypatch.setattr(refused, "MAX_TOGETHER", 10)
    page = opened.questions.refused.refused(as_of=seconds(1000), limit=1)
    assert [item.run.run for item in page.items] == ["run-0"]
    assert read == [8, 10, 10, 10, 2]


@pytest.mark.guarantee(20)
async def test_guarantee_20_a_digest_is_visible_where_it_ran_and_no_denial_opens_it(
    opened: Store, clock: Clock
) -> None:
    digest, content = blob(b"a bundle about the image")
    artifact = str(digest)

    def about(number: int, where: str, **changes: Any) -> dict[str, Any]:
        value = judged(number, "Violated" if changes.get("verdict") == "Deny" else "Satisfied", where=where, **changes)
        judgement = value["evaluations"][0]
        proofs = [{**proof, "artifact": artifact} for proof in judgement["signatures"]]
        return value | {"blobs": [artifact], "evaluations": [judgement | {"signatures": proofs}]}

    denied = about(1, "spy", verdict="Deny")
    await record(opened, about(0, "shop", manifests=[CHILD]), denied, blobs={digest: content})
    queries = opened.queries

    def seen(namespace: str, **times: Any) -> tuple[bool, bool]:
        whole = queries.image(DIGEST, namespace=namespace, **times)
        return whole is not None, queries.blob(artifact, namespace=namespace, **times) == content

    assert seen("shop") == seen("spy") == (False, False)
    clock.now = START + timedelta(days=1)
    await record(opened, sighting("Started", 5, digest=CHILD))
    assert seen("shop") == (True, True)
    assert seen("shop", known_at=START + timedelta(hours=1)) == (False, False)
    assert seen("spy") == (False, False)
    # What it tried itself it knows.
    mine = queries.decision(denied["id"])
    assert mine is not None
    assert mine.leaf["object"]["namespace"] == "spy"


async def test_pages_hold_each_refused_run_once_whatever_was_let_in_between(
    opened: Store,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Twelve images were refused, and every other one let in after that."""
    digests = [f"sha256:{number:064x}" for number in range(12)]
    await record(
        opened,
        *(sighting("Started", n, uid=f"pod-{n}", id=f"run-{n}", digest=digest) for n, digest in enumerate(digests)),
        *(judged(20, "Violated", digest=digest) for digest in digests),
        *(judged(30, "Satisfied", digest=digest) for digest in digests[::2]),
    )
    expected = [f"run-{number}" for number in (11, 9, 7, 5, 3, 1)]
    seen, cursor = [], None
    while True:
        page = opened.questions.refused.refused(as_of=seconds(1000), limit=2, cursor=cursor)
        seen += [item.run.run for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == expected
    assert list(found(opened, as_of=seconds(25))) == [f"run-{number}" for number in reversed(range(12))]
    monkeypatch.setattr(shared, "MAX_LIMIT", 2)
    monkeypatch.setenv("ASSAY_DATABASE_URL", database.settings.database_url)
    assert run(["inventory", "refused", "--all", "-o", "jsonl"]) == 0
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert [json.loads(line)["run"]["run"] for line in lines] == expected
