"""Guarantees 13, 18 and 19: what is answered is recorded first, in time, and without asking anything twice.

And what is remembered for that is never remembered for somebody else.
"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from controller.model.deadline import Deadline
from controller.policy.trust import trust_root
from controller.review.ports import Assessment, AssessmentJob
from controller.workers import WorkerPool
from tests.contract.registry_servers.scripted import digest_of
from tests.support import syscalls
from tests.support.fixtures import CHECKOUT, recorded_manifest, recorded_trusted_root
from tests.support.pipeline import APP, Rig, key_authority, pod, running, workflow_authority

SIGNATURE = "release.none.signature"
DIGEST = digest_of(recorded_manifest())
A_WHILE = 0.5  # seconds in which an answer that does not wait for its record would be there
PODS = 50


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path, missing_max_age=60, failure_max_age=60, tag_max_age=60) as running_rig:
        running_rig.publish(running_rig.policy())
        yield running_rig


def pinned(rig: Rig) -> str:
    return f"{rig.image(SIGNATURE)}@{DIGEST}"


# 01 again: what is remembered is remembered of one policy, one set of trust roots and one repository


async def test_guarantee_01_a_remembered_verdict_serves_no_other_policy(rig: Rig) -> None:
    image = pinned(rig)
    assert (await rig.review(image)).allowed
    rig.publish(rig.policy(authorities=[key_authority(key="stranger")]))
    assert not (await rig.review(image)).allowed
    rig.publish(rig.policy(signatures={"authorities": ["release"], "minimum": 2}))
    assert not (await rig.review(image)).allowed
    rig.publish(rig.policy())
    assert (await rig.review(image)).allowed


async def test_guarantee_01_a_remembered_verdict_serves_no_other_trust_root(rig: Rig) -> None:
    rig.publish(rig.policy(authorities=[workflow_authority()], signatures={"authorities": ["workflow"]}))
    image = f"{rig.image('workflow.rekor2+timestamp.signature')}@{DIGEST}"
    snapshot = rig.holder.current()
    assert (await rig.review(image)).allowed
    other = trust_root("public-good", recorded_trusted_root("trusted_root.other.json"))
    for roots in ({"public-good": other}, {}):
        rig.holder.publish(snapshot.with_trust_roots(roots))
        assert not (await rig.review(image)).allowed
    rig.holder.publish(snapshot)
    assert (await rig.review(image)).allowed


async def test_guarantee_01_evidence_of_one_repository_is_not_anothers(rig: Rig) -> None:
    assert (await rig.review(pinned(rig))).allowed
    copy = rig.image(repository="acme/copy")  # the same digest, and nobody vouches for it there
    assert not (await rig.review(f"{copy}@{DIGEST}")).allowed


# 13: recorded before answered, once, for allow and deny alike


async def test_guarantee_13_allow_deny_and_error_are_recorded_alike_with_all_that_they_rest_on(rig: Rig) -> None:
    answers = {
        "Allow": await rig.review(pod(pinned(rig), name="good")),
        "Deny": await rig.review(pod(rig.other_image("stranger.none.signature"), name="bad")),
        "Error": await rig.review(pod(rig.reference("gone"), name="gone")),
    }
    leaves = {leaf["object"]["name"]: leaf for leaf in rig.leaves()}
    assert [leaf["verdict"] for leaf in (leaves["good"], leaves["bad"], leaves["gone"])] == ["Allow", "Deny", "Deny"]
    for answer, leaf in zip(answers.values(), (leaves["good"], leaves["bad"], leaves["gone"]), strict=True):
        assert answer.response["auditAnnotations"]["record"] == leaf["id"]
        assert answer.message == leaf["message"]
        assert leaf["object"]["uid"] == answer.object["metadata"]["uid"]
        assert leaf["blobs"]
        for blob in leaf["blobs"]:
            content = rig.store.queries.blob(blob)
            assert content is not None
            assert digest_of(content) == blob


async def test_guarantee_13_the_same_call_asked_again_is_recorded_once(rig: Rig) -> None:
    wanted = pod(pinned(rig), uid="1")
    first = await rig.review(wanted)
    again = await asyncio.gather(*(rig.review(wanted) for _ in range(5)))
    assert {answer.response["auditAnnotations"]["record"] for answer in (first, *again)} == {rig.leaves()[0]["id"]}
    assert len(rig.leaves()) == 1


async def test_guarantee_13_no_answer_leaves_before_its_record_is_there(rig: Rig, tmp_path: Path) -> None:
    wanted = pod(pinned(rig), uid="1")
    blocker = sqlite3.connect(tmp_path / "inventory.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")  # nobody else can write now
    try:
        answering = asyncio.create_task(rig.review(wanted))
        done, _ = await asyncio.wait({answering}, timeout=A_WHILE)
        assert not done
        assert rig.leaves() == []
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    assert (await answering).allowed
    assert len(rig.leaves()) == 1


async def test_guarantee_13_what_cannot_be_recorded_is_refused(rig: Rig, tmp_path: Path) -> None:
    wanted = pod(pinned(rig), uid="1")
    blocker = sqlite3.connect(tmp_path / "inventory.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        late = await rig.review(wanted, timeout="2s")
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
    assert not late.allowed
    assert late.response["status"]["code"] in {503, 504}
    assert "could not decide" in late.message
    rig.store.writer.close()
    closed = await rig.review(wanted)
    assert not closed.allowed
    assert "RecorderClosed" in closed.message
    assert (await rig.review(wanted, dryRun=True)).allowed  # which needs no record


def test_guarantee_13_a_pod_whose_decision_could_not_be_synced_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.security.test_guarantees_answers", str(tmp_path)],
        cwd=CHECKOUT, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["True ", "False Assay could not decide: SpoolUnusable"]


async def _child(folder: Path) -> None:
    """Two pods; between them the kernel begins to refuse every sync of this process."""
    async with running(folder) as rig:
        rig.publish(rig.policy())
        for number in range(2):
            if number == 1:
                syscalls.fail(*syscalls.SYNCING)
            answer = await rig.review(pod(pinned(rig), name=f"pod-{number}"))
            print(answer.allowed, ":".join(answer.message.split(":")[:2]))


# 18: an answer in time, and a retry that is warm


class Gate:
    """Lets the requests for one path wait until it is opened."""

    def __init__(self, rig: Rig, path: str) -> None:
        self.open = asyncio.Event()
        self.waiting = 0
        self.reached = asyncio.Event()

        async def answer(request: web.BaseRequest) -> web.Response:
            self.waiting += 1
            self.reached.set()
            await self.open.wait()
            return await rig.registry._standard(request)

        rig.registry.answer(path, answer)


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        (f"/v2/{APP}/manifests/{DIGEST}", "asking {host} what {host}/acme/app is"),
        (f"/v2/{APP}/referrers/{DIGEST}", "fetching the evidence of {host}/acme/app from {host}"),
    ],
    ids=["image", "evidence"],
)
async def test_guarantee_18_a_slow_registry_gets_an_answer_in_time_and_the_retry_is_warm(
    rig: Rig, path: str, missing: str
) -> None:
    image = pinned(rig)
    gate = Gate(rig, path)
    late = await rig.review(image, mutate=False, timeout="1s")  # the gate is closed: without a deadline this never ends
    assert not late.allowed
    assert "cannot tell now, DeadlineExceeded" in late.message
    assert missing.format(host=rig.registry.host) in late.message
    assert "try again" in late.message
    assert rig.leaves()[0]["evaluations"][0]["errorKind"] == "Unavailable"
    asked = len(rig.registry.requests)
    again = await rig.review(image, mutate=False, timeout="1s")
    assert not again.allowed
    assert (len(rig.registry.requests), gate.waiting) == (asked, 1)  # joined the work under way
    gate.open.set()
    assert (await rig.review(image, mutate=False)).allowed
    asked = len(rig.registry.requests)
    assert gate.waiting == 1  # what the first review began was never asked for again
    assert (await rig.review(image, mutate=False)).allowed
    assert len(rig.registry.requests) == asked


async def test_guarantee_18_mutation_pins_what_it_can_in_time_and_leaves_the_rest(rig: Rig) -> None:
    quick, slow = rig.image(SIGNATURE), rig.image(SIGNATURE, repository="acme/slow")
    Gate(rig, "/v2/acme/slow/manifests/1")
    answer = await rig.review(pod(quick, slow), timeout="1s")
    assert answer.images == [f"{quick}@{DIGEST}", slow]
    assert not answer.allowed
    assert "DeadlineExceeded" in answer.message


async def test_guarantee_18_mutation_starts_what_validation_needs(rig: Rig) -> None:
    image = rig.image(SIGNATURE)
    answer = await rig.review(image)
    assert answer.allowed
    paths = [request.path for request in rig.registry.requests]
    assert len(paths) == len(set(paths)), paths


# 19: asked once, however many pods arrive


@pytest.fixture
def assessed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each job that goes to the workers, which do it all the same."""
    jobs: list[str] = []
    real = WorkerPool.assess

    async def counted(pool: WorkerPool, job: AssessmentJob, *, deadline: Deadline) -> Assessment:
        jobs.append(str(job.image.digest))
        return await real(pool, job, deadline=deadline)

    monkeypatch.setattr(WorkerPool, "assess", counted)
    return jobs


@pytest.mark.parametrize("by", ["tag", "digest"])
async def test_guarantee_19_fifty_pods_at_once_make_one_fetch_and_one_verification(
    rig: Rig, assessed: list[str], by: str
) -> None:
    image = rig.image(SIGNATURE) + (f"@{DIGEST}" if by == "digest" else "")
    rig.registry.delay = 0.05
    answers = await asyncio.gather(*(rig.review(pod(image, name=f"pod-{n}")) for n in range(PODS)))
    assert all(answer.allowed for answer in answers)
    paths = [request.path for request in rig.registry.requests]
    assert len(paths) == len(set(paths)), sorted(path for path in paths if paths.count(path) > 1)
    assert assessed == [DIGEST]
    assert len(rig.leaves()) == PODS


@pytest.mark.parametrize("status", [503, 404, 401])
async def test_guarantee_19_fifty_pods_at_once_make_one_failing_request(rig: Rig, status: int) -> None:
    path = f"/v2/{APP}/manifests/{DIGEST}"
    rig.registry.status(path, status)
    image = f"{rig.registry.host}/{APP}@{DIGEST}"
    answers = await asyncio.gather(*(rig.review(pod(image, name=f"pod-{n}")) for n in range(PODS)))
    assert not any(answer.allowed for answer in answers)
    assert len(rig.registry.seen(path)) == 1


async def test_guarantee_19_an_image_without_evidence_is_remembered_as_such(rig: Rig) -> None:
    image = rig.other_image()
    assert not (await rig.review(image)).allowed
    asked = len(rig.registry.requests)
    assert not (await rig.review(pod(image, name="second"))).allowed
    assert len(rig.registry.requests) == asked


async def test_guarantee_19_retry_after_is_obeyed(tmp_path: Path) -> None:
    async with running(tmp_path, failure_max_age=0) as rig:
        rig.publish(rig.policy())
        path = f"/v2/{APP}/manifests/{DIGEST}"
        rig.registry.status(path, 429, Retry_After="600")
        image = pinned(rig)
        for _ in range(3):
            answer = await rig.review(image)
            assert not answer.allowed
            assert "cannot tell now" in answer.message
        assert len(rig.registry.seen(path)) == 1
        other = await rig.review(rig.image(SIGNATURE, repository="acme/other"))
        assert not other.allowed
        assert len(rig.registry.requests) == 1  # the host asked for patience, not the image


async def test_guarantee_19_one_pods_end_does_not_end_anothers_work(rig: Rig) -> None:
    image = pinned(rig)
    gate = Gate(rig, f"/v2/{APP}/manifests/{DIGEST}")
    first = asyncio.create_task(rig.review(image, mutate=False))
    second = asyncio.create_task(rig.review(image, mutate=False))
    await gate.reached.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.open.set()
    assert (await second).allowed
    assert gate.waiting == 1


if __name__ == "__main__":
    asyncio.run(_child(Path(sys.argv[1])))
