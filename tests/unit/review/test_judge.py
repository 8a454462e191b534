"""One image under one policy: what is asked of whom, and how faults, limits and the end of Assay come out."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controller import admission, telemetry
from controller.errors import Unavailable
from controller.model.access import ANONYMOUS
from controller.model.deadline import Deadline
from controller.model.decision import Verdict
from controller.model.policy import TrustRoot
from controller.model.reference import Digest, Reference
from controller.policy.snapshot import Snapshot, build_policies
from controller.review.ports import Assessment, AssessmentJob
from controller.settings import ReviewSettings, Seconds
from tests.support.review import World, digest, pod, policy, review

LATER = Deadline(math.inf)
APP = f"ghcr.io/acme/app@{digest('ghcr.io/acme/app')}"
ROOTS = {
    name: TrustRoot(name, name.encode(), str(Digest.of(name.encode()))) for name in ("public-good", "own", "unused")
}


class Watched(World):
    """A world that keeps the jobs of its assessor and has trust roots."""

    jobs: list[AssessmentJob]

    def current(self) -> Snapshot:
        return Snapshot(policies=build_policies(self.policies), namespaces=self.namespaces, trust_roots=ROOTS)

    async def assess(self, job: AssessmentJob, *, deadline: Deadline) -> Assessment:
        self.jobs = [*getattr(self, "jobs", []), job]
        return await super().assess(job, deadline=deadline)


def request(*images: str, **changes: Any) -> Any:
    return admission.parse_request(review(pod(*images), **changes)["request"])


def keyed() -> dict[str, Any]:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return {"name": "release", "key": {"pem": pem}}


def keyless(root: str) -> dict[str, Any]:
    identity = {"issuer": "https://issuer.example", "subject": "release@acme.example"}
    return {"name": "release", "keyless": {"identities": [identity], "trustRootRef": {"name": root}}}


@pytest.mark.parametrize(
    ("authority", "roots"),
    [(keyed(), ["public-good"]), (keyless("own"), ["own"]), (keyless("missing"), [])],
    ids=["key", "keyless", "unknown root"],
)
async def test_the_roots_of_every_authority_travel_with_the_job_and_no_others(
    authority: dict[str, Any], roots: list[str]
) -> None:
    """A key's signatures are in a log too, by default: without the log's root none could ever be proven."""
    world = Watched(policies=[policy(authorities=[authority])])
    await world.pipeline().validate(request(APP), deadline=LATER)
    assert [root.name for root in world.jobs[0].trust_roots] == roots
    assert world.blobs.keys() >= {Digest.parse(ROOTS[name].hash) for name in roots}


async def test_no_evidence_is_fetched_for_a_policy_that_asks_for_none() -> None:
    rules = policy(authorities=[], signatures=None, validations=[{"expression": "image.repository == 'acme/app'"}])
    world = World(policies=[rules])
    await world.pipeline().validate(request(APP), deadline=LATER)
    assert [c.split()[0] for c in world.calls if c.split()[0] in {"resolve", "discover", "assess"}] == [
        "resolve",
        "assess",
    ]


async def test_a_rule_over_the_request_is_judged_each_time_and_the_evidence_once() -> None:
    rules = policy(validations=[{"expression": "request.userInfo.username == 'alice'"}])
    world = World(policies=[rules])
    pipeline = world.pipeline()
    for user, verdict in (("alice", Verdict.ALLOW), ("bob", Verdict.DENY), ("alice", Verdict.ALLOW)):
        decision = await pipeline.validate(request(APP, userInfo={"username": user}), deadline=LATER)
        assert decision.verdict is verdict
    assert sum(c.startswith("assess") for c in world.calls) == 1
    await pipeline.close()


async def test_a_rule_over_the_tag_is_not_answered_for_another_tag() -> None:
    world = World(policies=[policy(validations=[{"expression": "image.tag == 'v1'"}])])
    pipeline = world.pipeline()
    name, _, hash_ = APP.partition("@")
    for tag, verdict in (("v1", Verdict.ALLOW), ("v2", Verdict.DENY), ("v1", Verdict.ALLOW)):
        assert (await pipeline.validate(request(f"{name}:{tag}@{hash_}"), deadline=LATER)).verdict is verdict
    await pipeline.close()


@pytest.mark.guarantee(19)
async def test_five_containers_of_one_image_cost_one_of_each() -> None:
    world = World()
    await world.pipeline().validate(request(*[APP] * 5), deadline=LATER)
    asked = [c.split()[0] for c in world.calls if c.split()[0] in {"resolve", "discover", "assess"}]
    assert sorted(asked) == ["assess", "discover", "resolve"]


async def test_closing_ends_what_mutation_started_and_starts_nothing_more() -> None:
    world = World(policies=[policy("a"), policy("b")], fail={"discover": lambda: asyncio.Event().wait()})
    pipeline = world.pipeline()
    await pipeline.mutate(request("ghcr.io/acme/app:1"), deadline=LATER)
    for _ in range(20):
        await asyncio.sleep(0)
    asked = len(world.calls)
    await pipeline.close()
    assert len(world.calls) == asked
    with pytest.raises(Unavailable, match="ShuttingDown"):
        await pipeline._resolutions.get(Reference.parse("quay.io/a/b:1"), access=ANONYMOUS, deadline=LATER)


@pytest.mark.guarantee(10)
async def test_what_mutation_starts_in_the_background_is_bounded() -> None:
    world = World(fail={"discover": lambda: asyncio.Event().wait()})
    pipeline = world.pipeline(ReviewSettings(review_flights=3))
    for _ in range(10):
        await pipeline.mutate(request("ghcr.io/acme/app:1"), deadline=LATER)
    assert 1 <= len(pipeline._warming) <= 3
    await pipeline.close()


async def test_images_that_no_policy_denies_are_counted_one_by_one() -> None:
    def count() -> float:
        value = telemetry.METRICS.get_sample_value("assay_images_unmatched_total")
        assert value is not None
        return value

    before = count()
    warns = policy(validationActions=["Warn"], match={"images": ["ghcr.io/**"]})
    await World(policies=[warns]).pipeline().validate(request(APP, "quay.io/a/b:1", APP), deadline=LATER)
    assert count() - before == 3
    await World().pipeline().validate(request(APP), deadline=LATER)
    assert count() - before == 3


READS_CONFIG = {"authorities": [], "signatures": None, "validations": [{"expression": "image.nonRoot"}]}


async def test_configurations_are_fetched_once_and_only_for_a_policy_that_reads_them() -> None:
    world = Watched(policies=[policy(**READS_CONFIG), policy("other")])
    pipeline = world.pipeline()
    for _ in range(3):
        await pipeline.validate(request(APP), deadline=LATER)
    assert sum(call.startswith("configs") for call in world.calls) == 1
    jobs = {job.policy.identity.name: job for job in world.jobs}
    assert {name: bool(job.configs) for name, job in jobs.items()} == {"signed": True, "other": False}
    await pipeline.close()


async def test_what_mutation_prepares_has_the_configurations_too() -> None:
    world = Watched(policies=[policy(**READS_CONFIG)])
    pipeline = world.pipeline()
    await pipeline.mutate(request("ghcr.io/acme/app:1"), deadline=LATER)
    await asyncio.gather(*pipeline._warming)
    assert world.jobs[0].configs
    await pipeline.close()


async def test_a_configuration_that_could_not_be_had_is_asked_for_again_and_its_verdict_not_remembered() -> None:
    def away() -> None:
        raise Unavailable("RegistryUnavailable", "no answer")

    world = Watched(policies=[policy(**READS_CONFIG)], fail={"configs": away})
    pipeline = world.pipeline(ReviewSettings(failure_max_age=Seconds(0)))
    await pipeline.validate(request(APP), deadline=LATER)
    assert isinstance(world.jobs[-1].configs, Unavailable)
    world.fail.clear()
    await pipeline.validate(request(APP), deadline=LATER)
    assert isinstance(world.jobs[-1].configs, tuple)
    assert len(world.jobs) == 2
    await pipeline.close()
