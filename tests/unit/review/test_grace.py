"""Grace: what was proven before a registry fell silent still counts for a while, and nothing else ever does."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from controller import admission
from controller.errors import AccessDenied, AssayError, DeadlineExceeded, LimitExceeded, NotFound, Unavailable
from controller.model.access import Credential, RegistryAccess
from controller.model.deadline import Deadline
from controller.model.evidence import EvidenceSet
from controller.model.image import ResolvedImage
from controller.model.policy import TrustRoot
from controller.model.reference import Digest, Reference
from controller.policy.snapshot import Snapshot
from controller.review import memory
from controller.review.caches import Memory
from controller.review.pipeline import Pipeline
from controller.settings import ReviewSettings, Seconds
from tests.support.review import PROVEN, ProvenWorld, pod, policy, recorded_authority, review

LATER = Deadline(math.inf)
HOUR = 3600.0
APP, TAG = f"ghcr.io/acme/app@{PROVEN}", "ghcr.io/acme/app:1"
AWAY = Unavailable("RegistryUnavailable", "ghcr.io could not be reached (asked for app)")
SIGNATURE, SPDX = "release.none.signature", "release.none.spdxjson"
OTHER_POLICY = {"signatures": {"authorities": ["stranger"]}, "authorities": [recorded_authority("stranger")]}


@dataclass(slots=True)
class Silent(ProvenWorld):
    """A world whose registry can be away, or never answer; `credentials` are what its pods may use."""

    away: AssayError | None = None
    hangs: bool = False
    credentials: tuple[Credential, ...] = ()
    roots: dict[str, TrustRoot] | None = None

    async def _silence(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.away is not None:
            raise type(self.away)(*self.away.args)

    async def resolve(self, reference: Reference, *, access: RegistryAccess, deadline: Deadline) -> ResolvedImage:
        await self._called("asked", "resolve")
        await self._silence()
        return await ProvenWorld.resolve(self, reference, access=access, deadline=deadline)

    async def discover(self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline) -> EvidenceSet:
        await self._called("asked", "discover")
        await self._silence()
        return await ProvenWorld.discover(self, image, access=access, deadline=deadline)

    def current(self) -> Snapshot:
        snapshot = ProvenWorld.current(self).with_trust_roots(self.roots or {})
        if not self.credentials:
            return snapshot
        return snapshot.with_service_accounts({("shop", "default"): ("pull",)}).with_pull_secrets(
            {("shop", "pull"): self.credentials}
        )

    def asked(self) -> int:
        """How often the registry was asked for evidence."""
        return self.calls.count("asked discover")


class Clock:
    """The clock of every cache, moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    original = Memory.__init__

    def with_clock(self: Memory[Any, Any], **arguments: Any) -> None:
        original(self, **(arguments | {"clock": moved}))

    monkeypatch.setattr(memory.Memory, "__init__", with_clock)
    return moved


def signed(name: str = "signed", **spec: Any) -> dict[str, Any]:
    return policy(name, **{"authorities": [recorded_authority()], **spec})


def world(*policies: dict[str, Any], **beside: Any) -> Silent:
    known = {"app": (SIGNATURE, SPDX)} | beside
    return Silent(
        policies=list(policies or (signed(),)), beside={f"ghcr.io/acme/{name}": what for name, what in known.items()}
    )


async def answer(pipeline: Pipeline, image: str = APP, **changes: Any) -> dict[str, Any]:
    """The webhook's whole response about a pod of this image; whatever it started has ended."""
    request = admission.parse_request(review(pod(image), **changes)["request"])
    decision = await pipeline.validate(request, deadline=LATER)
    await settled()
    response: dict[str, Any] = admission.decision_response(request.uid, decision)["response"]
    return response


async def settled() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def later(
    around: Silent, clock: Clock, age: float, *, away: AssayError | None = AWAY, settings: ReviewSettings | None = None
) -> tuple[Pipeline, dict[str, Any]]:
    """The answer about an image that was admitted, so many seconds after that, the registry being away by then."""
    pipeline = around.pipeline(settings)
    assert (await answer(pipeline))["allowed"]
    clock.now += age
    around.away = away
    return pipeline, await answer(pipeline)


# What grace is


@pytest.mark.guarantee(6)
async def test_guarantee_06_what_was_proven_is_admitted_as_stale_recorded_and_warned_of(clock: Clock) -> None:
    around = world()
    _, response = await later(around, clock, 5 * HOUR)
    before, record = around.records
    why = (
        "judged by evidence of 2026-11-22 12:00 UTC, since nothing newer can be had: ghcr.io could not be reached "
        "(asked for app)"
    )
    assert response == {
        "uid": "request-1",
        "allowed": True,
        "warnings": [f"ghcr.io/acme/app@sha256:54431b46c876… was {why}"],
        "auditAnnotations": {"record": record["id"], "evaluations": "ClusterEvidencePolicy/signed=Satisfied"},
    }
    (evaluation,) = record["evaluations"]
    assert (record["verdict"], record["flags"]) == ("Allow", ["stale"])
    assert (evaluation["outcome"], evaluation["stale"], len(evaluation["signatures"])) == ("Satisfied", why, 1)
    assert before["id"] != record["id"], "an allow on old evidence is a record of its own"
    assert "stale" not in before["evaluations"][0]


@pytest.mark.parametrize(
    ("setting", "grace", "age", "allowed"),
    [
        (None, None, 24 * HOUR, True),
        (None, None, 24 * HOUR + 1, False),
        (2 * HOUR, None, 2 * HOUR, True),
        (2 * HOUR, None, 2 * HOUR + 1, False),
        (None, "1h", HOUR, True),
        (None, "1h", HOUR + 1, False),
        (None, "90d", 24 * HOUR, True),
        (None, "90d", 24 * HOUR + 1, False),
        (2 * HOUR, "24h", 2 * HOUR + 1, False),
        (None, "0s", 1201, False),
        (0, None, 1201, False),
        (0, "24h", 1201, False),
    ],
)
async def test_a_policy_shortens_or_forbids_the_setting_s_grace_and_never_lengthens_it(
    setting: float | None, grace: str | None, age: float, allowed: bool, clock: Clock
) -> None:
    around = world(signed(**({"grace": grace} if grace is not None else {})))
    settings = ReviewSettings() if setting is None else ReviewSettings(grace=Seconds(setting))
    _, response = await later(around, clock, age, settings=settings)
    assert response["allowed"] is allowed
    if not allowed:
        assert "cannot tell now, RegistryUnavailable" in response["status"]["message"]


async def test_each_policy_keeps_its_own_grace(clock: Clock) -> None:
    around = world(signed("patient"), signed("strict", grace="0s"))
    _, response = await later(around, clock, HOUR)
    assert not response["allowed"]
    outcomes = {e["policy"]["name"]: (e["outcome"], "stale" in e) for e in around.records[-1]["evaluations"]}
    assert outcomes == {"patient": ("Satisfied", True), "strict": ("Error", False)}


@pytest.mark.parametrize(("setting", "grace"), [(24 * HOUR, "0s"), (24 * HOUR, "5m"), (0, None), (60, "24h")])
async def test_without_grace_evidence_stops_once_the_registry_is_known_to_be_away(
    setting: float, grace: str | None, clock: Clock
) -> None:
    """Past its freshness evidence serves while it is asked for anew; without grace no longer than that shows."""
    around = world(signed(**({"grace": grace} if grace else {})))
    pipeline, response = await later(around, clock, 700, settings=ReviewSettings(grace=Seconds(setting)))
    assert response["allowed"]
    assert "warnings" not in response
    asked = around.asked()
    for _ in range(2):
        assert not (await answer(pipeline))["allowed"]
        assert around.records[-1]["evaluations"][0]["errorKind"] == "Unavailable"
    assert around.asked() == asked, "a failure is remembered as briefly as any"
    clock.now += 2
    around.away = None
    assert (await answer(pipeline))["allowed"]


# When, and only when, the registry is away

ANSWERS = [
    AccessDenied("AccessDenied", "ghcr.io refused it (401)"),
    NotFound("NotFound", "ghcr.io does not have it"),
    LimitExceeded("registry_max_referrers", "too many"),
    Unavailable("CredentialProviderFailed", "the plugin failed"),
    Unavailable("WorkersStopped", "Assay is shutting down"),
    DeadlineExceeded("DeadlineExceeded", "the deadline came"),
    DeadlineExceeded("ReviewBytesFull", "no room"),
]


@pytest.mark.guarantee(6)
@pytest.mark.parametrize("error", ANSWERS, ids=lambda error: error.code)
async def test_guarantee_06_nothing_but_a_registry_that_does_not_answer_is_covered(
    error: AssayError, clock: Clock
) -> None:
    _, response = await later(world(), clock, HOUR, away=error)
    assert not response["allowed"]
    assert error.code in response["status"]["message"]


async def test_a_failure_that_is_not_covered_is_remembered_as_briefly_as_any(clock: Clock) -> None:
    around = world()
    pipeline, _ = await later(around, clock, HOUR, away=Unavailable("CredentialProviderFailed", "the plugin failed"))
    asked = around.asked()
    assert not (await answer(pipeline))["allowed"]
    assert around.asked() == asked
    clock.now += 2
    assert not (await answer(pipeline))["allowed"]
    assert around.asked() == asked + 1


@pytest.mark.guarantee(6)
@pytest.mark.parametrize("code", ["RegistryUnavailable", "RegistryTimeout", "RegistryThrottled", "CircuitOpen"])
async def test_every_way_of_not_answering_is_covered(code: str, clock: Clock) -> None:
    _, response = await later(world(), clock, HOUR, away=Unavailable(code, "no answer", 5.0))
    assert response["allowed"]


@pytest.mark.guarantee(6)
@pytest.mark.parametrize("error", ANSWERS[:3], ids=lambda error: error.code)
async def test_guarantee_06_a_refusal_ends_what_was_remembered_and_no_silence_brings_it_back(
    error: AssayError, clock: Clock
) -> None:
    around = world()
    pipeline, _ = await later(around, clock, HOUR, away=error)
    clock.now += 60
    around.away = AWAY
    assert not (await answer(pipeline))["allowed"]


@pytest.mark.guarantee(6)
async def test_guarantee_06_an_empty_list_is_an_answer_and_no_silence_takes_it_back(clock: Clock) -> None:
    around = world()
    pipeline = around.pipeline()
    assert (await answer(pipeline))["allowed"]
    clock.now += HOUR
    around.beside["ghcr.io/acme/app"] = ()
    assert "SignatureMissing" in (await answer(pipeline))["status"]["message"]
    clock.now += 60
    around.away = AWAY
    response = await answer(pipeline)
    assert "RegistryUnavailable" in response["status"]["message"], "that it was empty is no longer known either"


async def test_a_registry_that_answers_again_is_heard_at_once(clock: Clock) -> None:
    around = world()
    pipeline, response = await later(around, clock, HOUR)
    assert "warnings" in response
    around.away = None
    around.beside["ghcr.io/acme/app"] = ()  # the signature was withdrawn meanwhile
    clock.now += 2
    assert (await answer(pipeline))["allowed"], "it is asked in the background, as evidence past its age always is"
    assert "SignatureMissing" in (await answer(pipeline))["status"]["message"]


async def test_that_a_registry_is_away_is_not_believed_for_long(clock: Clock) -> None:
    around = world()
    pipeline, _ = await later(around, clock, HOUR)
    clock.now += 60
    around.away = None
    around.beside["ghcr.io/acme/app"] = ()
    assert "SignatureMissing" in (await answer(pipeline))["status"]["message"]


async def test_while_it_is_known_to_be_away_nobody_waits_for_it(clock: Clock) -> None:
    around = world()
    pipeline, _ = await later(around, clock, HOUR)
    asked = around.asked()
    assert (await answer(pipeline))["allowed"]
    assert around.asked() == asked, "a failure is remembered as briefly as any"
    clock.now += 2
    around.hangs = True
    for _ in range(3):
        assert (await asyncio.wait_for(answer(pipeline), 5))["allowed"]
    assert around.asked() == asked + 1, "one asks in the background"
    await pipeline.close()


async def test_a_pause_that_the_registry_asked_for_is_kept(clock: Clock) -> None:
    around = world()
    pipeline, _ = await later(around, clock, HOUR, away=Unavailable("RegistryThrottled", "slow down", 300.0))
    asked = around.asked()
    clock.now += 299
    assert (await answer(pipeline))["allowed"]
    assert around.asked() == asked


# What was proven, by today's policies


async def test_a_policy_that_changed_judges_the_remembered_evidence_anew(clock: Clock) -> None:
    around = world()
    pipeline, _ = await later(around, clock, HOUR)
    assessed = sum(call.startswith("assess") for call in around.calls)
    around.policies = [signed(attestations=[{"name": "sbom", "type": "SBOM", "authorities": ["release"]}])]
    assert (await answer(pipeline))["allowed"], "what it asks for now is among what is remembered"
    assert sum(call.startswith("assess") for call in around.calls) == assessed + 1
    around.policies = [policy("signed", **OTHER_POLICY)]
    assert not (await answer(pipeline))["allowed"]


async def test_a_trust_root_that_changed_judges_the_remembered_evidence_anew(clock: Clock) -> None:
    def root(text: str) -> dict[str, TrustRoot]:
        return {"public-good": TrustRoot("public-good", text.encode(), str(Digest.of(text.encode())))}

    around = world()
    around.roots = root("one")
    pipeline, _ = await later(around, clock, HOUR)
    assessed = sum(call.startswith("assess") for call in around.calls)
    around.roots = root("two")
    await answer(pipeline)
    assert sum(call.startswith("assess") for call in around.calls) == assessed + 1


@pytest.mark.guarantee(6)
async def test_guarantee_06_evidence_that_does_not_suffice_is_not_called_missing_while_nothing_can_be_asked(
    clock: Clock,
) -> None:
    around = world()
    pipeline, _ = await later(around, clock, HOUR)
    around.policies = [policy("signed", **OTHER_POLICY)]
    response = await answer(pipeline)
    assert "cannot tell now, RegistryUnavailable" in response["status"]["message"]
    (evaluation,) = around.records[-1]["evaluations"]
    assert (evaluation["outcome"], evaluation["errorKind"]) == ("Error", "Unavailable")


@pytest.mark.parametrize("expression", ["size(signatures) == 2", "request.userInfo.username == 'bob'"])
async def test_a_rule_that_is_broken_by_what_is_proven_denies_though_the_policy_ignores(
    expression: str, clock: Clock
) -> None:
    around = world()
    pipeline, _ = await later(around, clock, HOUR)
    match = {"images": ["ghcr.io/acme/**"]}
    around.policies = [signed(failurePolicy="Ignore", match=match, validations=[{"expression": expression}])]
    response = await answer(pipeline)
    assert not response["allowed"]
    assert "RuleViolated" in response["status"]["message"]
    assert "EvidenceStale: judged by evidence of 2026-11-22 12:00 UTC" in response["status"]["message"]


async def test_a_rule_that_fails_over_what_is_remembered_is_the_registry_s_silence(clock: Clock) -> None:
    around = world()
    pipeline, _ = await later(around, clock, HOUR)
    around.policies = [signed(validations=[{"expression": "signatures[5].key == ''"}])]
    await answer(pipeline)
    assert around.records[-1]["evaluations"][0]["errorKind"] == "Unavailable"


@pytest.mark.guarantee(11)
async def test_guarantee_11_what_others_credentials_reached_serves_nobody_by_grace(clock: Clock) -> None:
    around = world()
    around.credentials = (Credential("ghcr.io", "alice", "a"),)
    pipeline, response = await later(around, clock, HOUR)
    assert response["allowed"]
    for others in ((Credential("ghcr.io", "bob", "b"),), (Credential("ghcr.io", "alice", "rotated"),), ()):
        around.credentials = others
        assert not (await answer(pipeline))["allowed"]


# Tags


async def pinned(pipeline: Pipeline) -> bool:
    """Whether `/mutate` pins the tag."""
    patch = await pipeline.mutate(admission.parse_request(review(pod(TAG))["request"]), deadline=LATER)
    await settled()
    return [operation["value"] for operation in patch] == [TAG, f"{TAG}@{PROVEN}"]


@pytest.mark.parametrize(
    ("settings", "graces", "age", "still"),
    [
        ({}, [None], HOUR, True),
        ({}, [None], HOUR + 1, False),
        ({"tag_grace": Seconds(60)}, [None], 60, True),
        ({"tag_grace": Seconds(60)}, [None], 61, False),
        ({"tag_grace": Seconds(0)}, [None], 11, False),
        ({"grace": Seconds(60)}, [None], 61, False),
        ({}, ["5m"], 300, True),
        ({}, ["5m"], 301, False),
        ({}, [None, "5m"], 301, False),
        ({}, [None, "0s"], 11, False),
    ],
)
async def test_a_tag_goes_on_naming_its_last_digest_for_its_own_grace(
    settings: dict[str, Any], graces: list[str | None], age: float, still: bool, clock: Clock
) -> None:
    specs = [{} if grace is None else {"grace": grace} for grace in graces]
    around = world(*(signed(f"p{number}", **spec) for number, spec in enumerate(specs)))
    pipeline = around.pipeline(ReviewSettings(**settings))
    assert await pinned(pipeline)
    clock.now += age
    around.away = AWAY
    assert await pinned(pipeline) is still
    await pipeline.close()


@pytest.mark.guarantee(7)
@pytest.mark.parametrize("mild", [{"grace": "0s"}, {"nonsense": 1}], ids=["without grace", "broken"])
async def test_guarantee_07_a_policy_that_warns_takes_no_grace_from_one_that_denies(
    mild: dict[str, Any], clock: Clock
) -> None:
    around = world(signed("denies"), signed("warns", validationActions=["Warn"], **mild))
    pipeline = around.pipeline()
    assert await pinned(pipeline)
    await answer(pipeline)
    clock.now += HOUR
    around.away = AWAY
    assert await pinned(pipeline)
    assert (await answer(pipeline, f"{TAG}@{PROVEN}"))["allowed"]


async def test_a_tag_that_is_not_there_any_more_names_nothing(clock: Clock) -> None:
    around = world()
    pipeline = around.pipeline()
    assert await pinned(pipeline)
    clock.now += 60
    around.away = NotFound("NotFound", "no such tag")
    assert not await pinned(pipeline)
    clock.now += 60
    around.away = AWAY
    assert not await pinned(pipeline)
    await pipeline.close()


async def test_an_image_that_is_judged_by_its_tag_says_that_the_tag_is_stale(clock: Clock) -> None:
    around = world(signed(digest="Resolve", validationActions=["Audit"]))
    pipeline = around.pipeline()
    await answer(pipeline, TAG)
    clock.now += 60
    around.away = AWAY
    (warning,) = (await answer(pipeline, TAG))["warnings"]
    assert warning.startswith(f"{TAG} was judged as the digest that its tag named last, since nothing newer can be had")
    assert around.records[-1]["flags"] == ["no-match", "stale"]


async def test_what_a_stale_tag_named_is_no_stale_digest(clock: Clock) -> None:
    around = world()
    pipeline = around.pipeline()
    assert await pinned(pipeline)
    clock.now += 60
    around.away = AWAY
    assert await pinned(pipeline)
    response = await answer(pipeline, f"{TAG}@{PROVEN}")
    assert response["allowed"]
    assert "warnings" not in response
    await pipeline.close()


def test_what_is_remembered_ages_while_the_machine_sleeps() -> None:
    assert memory.clock() == pytest.approx(_since_boot(), abs=5)


def _since_boot() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])
