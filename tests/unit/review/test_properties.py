"""Properties of whole reviews: what no policy, image, piece of evidence or order of them may ever change.

Mutation, validation, judging, verification, CEL, decision and record are the real ones; the registry, the inventory and
the cluster are in memory. Policies are drawn from many shapes, broken ones among them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from controller import admission
from controller.errors import AssayError, NotFound, Unavailable
from controller.model.access import RegistryAccess
from controller.model.deadline import Deadline
from controller.model.evidence import EvidenceSet
from controller.model.image import ResolvedImage
from controller.model.reference import Digest, Reference
from controller.policy.cel.program import STACK
from controller.review.pipeline import Pipeline
from controller.review.ports import Assessment, AssessmentJob
from controller.settings import DocumentSettings, PolicySettings, ReviewSettings, Seconds
from controller.workers.assessment import assess
from tests.support.exceptions import DAY, NOW, exception, stamp
from tests.support.review import PROVEN, ProvenWorld, pod, policy, recorded_authority, review

sys.setrecursionlimit(max(sys.getrecursionlimit(), STACK))  # as the first expression would, which hypothesis minds

LATER = Deadline(math.inf)
BUNDLES = ("release.none.signature", "stranger.none.signature", "release.none.spdxjson", "stranger.none.cyclonedx")
AWAY = Unavailable("RegistryUnavailable", "ghcr.io could not be reached")
NAMES = ("app", "web", "lib")
reviews = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

Policies = list[dict[str, Any]]


# What is drawn

REFERENCES = {
    "by digest": f"@{PROVEN}",
    "by tag": ":1",
    "by both": f":1@{PROVEN}",
    "another image": f"@{Digest.of(b'another')}",
    "no reference": ":/",
}
images = st.builds(
    lambda name, how: f"ghcr.io/acme/{name}{REFERENCES[how]}",
    st.sampled_from(NAMES),
    st.sampled_from([*REFERENCES, "by digest", "by tag", "by tag"]),
)
pods = st.lists(images, min_size=1, max_size=3)
beside = st.fixed_dictionaries(
    {
        f"ghcr.io/acme/{name}": st.one_of(
            st.lists(st.sampled_from(BUNDLES), unique=True).map(tuple),
            st.just(BUNDLES),
            st.sampled_from([AWAY, NotFound("NotFound", "ghcr.io does not have it")]),
        )
        for name in NAMES
    }
)

RULES = [
    {"expression": "true"},
    {"expression": "false", "message": "never", "reason": "Never"},
    {"expression": "request.userInfo.username == 'alice'"},
    {"expression": "request.userInfo.username == 'bob'", "messageExpression": "'no ' + request.userInfo.username"},
    {"expression": "object.spec.nothing == 1"},
    {"expression": "image.tag == '1'"},
    {"expression": "image.digest != ''"},
]
OVER_SIGNATURES = [
    {"expression": "size(signatures) == 1", "messageExpression": "'signed by ' + signatures[0].authority"},
    {"expression": "signatures[1].authority != ''"},
]
OVER_SBOMS = [
    {"expression": "size(sboms.find('pkg:npm/left-pad', '')) == 0"},
    {"expression": "attestations.sbom[0].authority == 'release'"},
]
CONDITIONS = ["true", "false", "object.spec.nothing == 1", "image.repository == 'acme/app'", "container.name == 'c0'"]
BROKEN = [
    {"nonsense": 1},
    {"signatures": {"authorities": ["nobody"]}},
    {"validations": [{"expression": "nobody.knows"}]},
    {"authorities": [{"name": "release", "key": {"pem": "no key"}}]},
]


@st.composite
def some_policy(
    draw: st.DrawFn,
    *,
    actions: Sequence[Sequence[str]],
    namespaced: bool | None = None,
    names: Sequence[str] = "abcdef",
) -> dict[str, Any]:
    """One policy of any shape, with one of these lists of actions and of these names."""
    signers = draw(st.lists(st.sampled_from(["release", "stranger"]), min_size=1, unique=True))
    authorities = [recorded_authority("release"), recorded_authority("stranger")]
    spec: dict[str, Any] = {"signatures": None, "validationActions": list(draw(st.sampled_from(actions)))}
    rules = list(RULES)
    if draw(st.booleans()):
        minimum = draw(st.integers(1, len(signers)))
        spec["signatures"] = {"authorities": signers, "minimum": minimum}
        rules += OVER_SIGNATURES
    if draw(st.booleans()):
        kind = draw(st.sampled_from(["SBOM", "SPDX", "CycloneDX"]))
        spec["attestations"] = [{"name": "sbom", "type": kind, "authorities": signers}]
        rules += OVER_SBOMS
    spec["validations"] = draw(st.lists(st.sampled_from(rules), max_size=3))
    if spec["signatures"] or spec.get("attestations"):
        spec["authorities"] = authorities
    else:
        spec["authorities"] = []
        spec["validations"] = spec["validations"] or [RULES[0]]
    spec["failurePolicy"] = draw(st.sampled_from(["Fail", "Ignore"]))
    spec["digest"] = draw(st.sampled_from(["Pin", "Pin", "Require", "Resolve"]))
    patterns = [["ghcr.io/**"], ["ghcr.io/acme/**", "!ghcr.io/acme/lib"], ["ghcr.io/acme/app"], ["quay.io/**"]]
    spec["match"] = {"images": draw(st.sampled_from([patterns[0], *patterns]))}
    condition = draw(st.sampled_from([None, None, None, *CONDITIONS]))
    if condition is not None:
        spec["match"]["conditions"] = [{"name": "when", "expression": condition}]
    if draw(st.booleans()):
        spec["auditAnnotations"] = [{"key": "user", "valueExpression": "request.userInfo.username + container.name"}]
    shape = draw(st.sampled_from(["whole", "whole", "whole", "plain", "plain", "broken"]))
    if shape == "broken":
        spec |= draw(st.sampled_from(BROKEN))
    if shape == "plain":  # everything that has a digest satisfies it
        kept = {field: spec[field] for field in ("validationActions", "failurePolicy", "digest")}
        spec = {**kept, "match": {"images": ["ghcr.io/**"]}, "validations": [RULES[0]]}
    inside = draw(st.booleans()) if namespaced is None else namespaced
    made = policy(draw(st.sampled_from(names)), namespace="shop" if inside else "")
    made["spec"] = {field: value for field, value in spec.items() if value is not None}
    return made


ANY = (["Deny"], ["Warn"], ["Audit"], ["Deny", "Audit"], ["Warn", "Audit"], ["Deny", "Warn"])
DENYING, MILD = (["Deny"], ["Deny", "Audit"]), (["Warn"], ["Audit"], ["Warn", "Audit"])
COVERING = policy("covers", authorities=[], signatures=None, validations=[{"expression": "true"}])
COVERING["spec"].pop("signatures")


def _name(obj: Mapping[str, Any]) -> tuple[str, str]:
    return obj["kind"], obj["metadata"]["name"]


policies = st.lists(some_policy(actions=ANY), max_size=4, unique_by=_name)


signing = st.builds(
    lambda actions, failure_policy, digest, grace, signer: policy(
        "more",
        authorities=[recorded_authority(signer)],
        signatures={"authorities": [signer]},
        match={"images": ["ghcr.io/**"]},
        validationActions=actions,
        failurePolicy=failure_policy,
        digest=digest,
        **grace,
    ),
    st.sampled_from([["Deny"], ["Deny"], ["Warn"]]),
    st.sampled_from(["Fail", "Ignore"]),
    st.sampled_from(["Pin", "Pin", "Require"]),
    st.sampled_from([{}, {}, {"grace": "0s"}]),
    st.sampled_from(["release", "release", "stranger", "ed25519"]),
)
everything = st.just({f"ghcr.io/acme/{name}": BUNDLES for name in NAMES})
proven = st.lists(st.sampled_from([f"ghcr.io/acme/app@{PROVEN}", "ghcr.io/acme/web:1"]), min_size=1, max_size=2)


@st.composite
def some_exception(draw: st.DrawFn, *, names: Sequence[str] = "xyz") -> dict[str, Any]:
    """An exception from some of the policies that are drawn, for some of the images."""
    kinds = ({"kind": "EvidencePolicy", "namespace": "shop"}, {"kind": "ClusterEvidencePolicy"})
    all_of_them = [{**kind, "name": name} for name in [*"abcdef", "more"] for kind in kinds]
    some = st.lists(st.sampled_from(all_of_them), min_size=1, max_size=4, unique_by=str)
    by_digest = draw(st.booleans())
    return exception(
        draw(st.sampled_from(names)),
        policies=draw(st.one_of(some, st.just(all_of_them))),
        images=None if by_digest else [draw(st.sampled_from(["ghcr.io/**", "ghcr.io/acme/app", "**/lib"]))],
        digests=[str(PROVEN)] if by_digest else None,
        namespaces=draw(st.sampled_from([None, ["shop"], ["web"]])),
        expires=draw(st.sampled_from([stamp(NOW + DAY), stamp(NOW + DAY), stamp(NOW - DAY)])),
        approvedAt=stamp(NOW - 2 * DAY),
    )


rules = st.tuples(policies, st.lists(some_exception(), max_size=3, unique_by=_name))
no_match = st.sampled_from(["Allow", "Warn", "Deny"])


# The whole review


@lru_cache(maxsize=4096)
def _assessed(job: AssessmentJob) -> Assessment:
    """The real assessment; the same job comes again and again while an example is made smaller."""
    return assess(job, documents=DocumentSettings(), policy=PolicySettings())


@dataclasses.dataclass(slots=True)
class Around(ProvenWorld):
    """A world whose registry has no tag where it has an error beside the image, and answers nothing while `silent`."""

    silent: bool = False

    async def resolve(self, reference: Reference, *, access: RegistryAccess, deadline: Deadline) -> ResolvedImage:
        named = AWAY if self.silent else self.beside.get(reference.name)
        if isinstance(named, AssayError) and (self.silent or reference.digest is None):
            raise type(named)(*named.args)
        return await ProvenWorld.resolve(self, reference, access=access, deadline=deadline)

    async def discover(self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline) -> EvidenceSet:
        if self.silent:
            raise type(AWAY)(*AWAY.args)
        return await ProvenWorld.discover(self, image, access=access, deadline=deadline)

    async def assess(self, job: AssessmentJob, *, deadline: Deadline) -> Assessment:
        del deadline
        return _assessed(job)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What an API server got from both webhooks, and what was recorded. `record` has no salt and no latency."""

    response: Mapping[str, Any]
    record: Mapping[str, Any]

    @property
    def allowed(self) -> bool:
        return bool(self.response["allowed"])

    @property
    def message(self) -> str:
        """The denial without the record's name, which is made of what every policy said."""
        return str(self.response.get("status", {}).get("message", "")).rpartition("\nrecord ")[0]

    @property
    def unmatched(self) -> bool:
        return "no-match" in self.record["flags"]


def answer(
    found: Policies,
    wanted: Sequence[str],
    around: Mapping[str, Any],
    *,
    unmatched: str = "Allow",
    names: Sequence[str] = (),
    excepted: Sequence[dict[str, Any]] = (),
) -> Answer:
    """What an API server does with a pod of these images: `/mutate`, its patch, `/validate`."""
    world = Around(policies=list(found), beside=dict(around), exceptions=list(excepted))
    obj = pod(*wanted)
    for container, name in zip(obj["spec"]["containers"], names, strict=False):
        container["name"] = name

    async def alone() -> Answer:
        pipeline = world.pipeline(ReviewSettings(no_match=unmatched))
        said = await both(pipeline, world, obj)
        await pipeline.close()
        return said

    return asyncio.run(alone())


async def both(pipeline: Pipeline, world: Around, obj: Mapping[str, Any]) -> Answer:
    """`/mutate`, its patch, and `/validate`; the one record that came of it."""
    request = admission.parse_request(review(obj)["request"])
    pinned = admission.apply_pins(obj, list(await pipeline.mutate(request, deadline=LATER)))
    request = admission.parse_request(review(pinned)["request"])
    world.records.clear()
    decision = await pipeline.validate(request, deadline=LATER)
    (record,) = world.records
    response: dict[str, Any] = admission.decision_response(request.uid, decision)["response"]
    return Answer(response, {k: v for k, v in record.items() if k not in {"salt", "latencyUs"}})


def shuffled(values: Sequence[Any], by: random.Random) -> list[Any]:
    found = list(values)
    by.shuffle(found)
    return found


def disordered(around: Mapping[str, Any], by: random.Random) -> dict[str, Any]:
    """The same evidence, listed in another order."""
    return {name: tuple(shuffled(found, by)) if isinstance(found, tuple) else found for name, found in around.items()}


# Order


@pytest.mark.guarantee(7)
@reviews
@given(rules, pods, beside, no_match, st.randoms(use_true_random=False))
def test_no_order_of_policies_exceptions_or_evidence_changes_a_word_of_the_answer_or_the_record(
    drawn: tuple[Policies, Policies], wanted: list[str], around: dict[str, Any], unmatched: str, by: random.Random
) -> None:
    found, given_ = drawn
    one = answer(found, wanted, around, unmatched=unmatched, excepted=given_)
    other = answer(
        shuffled(found, by), wanted, disordered(around, by), unmatched=unmatched, excepted=shuffled(given_, by)
    )
    assert other == one
    event(f"allowed: {one.allowed}")
    event(f"exempt: {'exempt' in one.record['flags']}")


@pytest.mark.guarantee(7)
@reviews
@given(policies, pods, beside, no_match, st.randoms(use_true_random=False))
def test_no_order_of_images_changes_what_is_said_of_any(
    found: Policies, wanted: list[str], around: dict[str, Any], unmatched: str, by: random.Random
) -> None:
    named = [(f"n{number}", image) for number, image in enumerate(wanted)]
    other = shuffled(named, by)

    def of(order: Sequence[tuple[str, str]]) -> tuple[Any, ...]:
        said = answer(found, [image for _, image in order], around, unmatched=unmatched, names=[n for n, _ in order])
        return (
            said.allowed,
            sorted(said.message.splitlines()),
            sorted(said.response.get("warnings", ())),
            {key: value for key, value in said.response["auditAnnotations"].items() if "_" in key},
            sorted(_by_container(said.record), key=str),
        )

    assert of(other) == of(named)


def _by_container(record: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for evaluation in record["evaluations"]:
        container = record["images"][evaluation["image"]]["container"]
        yield container, {field: value for field, value in evaluation.items() if field != "image"}


# More policies


@pytest.mark.guarantee(7)
@reviews
@given(policies, some_policy(actions=DENYING, namespaced=False, names=["more"]), pods, beside, no_match)
def test_one_more_policy_that_denies_admits_nothing_more_among_images_already_matched(
    found: Policies, more: dict[str, Any], wanted: list[str], around: dict[str, Any], unmatched: str
) -> None:
    matching = [*found, COVERING]
    before = answer(matching, wanted, around, unmatched=unmatched)
    after = answer([*matching, more], wanted, around, unmatched=unmatched)
    event(f"before: {before.allowed}, after: {after.allowed}")
    assert before.allowed or not after.allowed
    assert not after.unmatched


@pytest.mark.guarantee(7)
@reviews
@given(policies, some_policy(actions=ANY, namespaced=True, names=["more"]), pods, beside, no_match)
def test_one_more_namespaced_policy_never_admits_more(
    found: Policies, more: dict[str, Any], wanted: list[str], around: dict[str, Any], unmatched: str
) -> None:
    before = answer(found, wanted, around, unmatched=unmatched)
    after = answer([*found, more], wanted, around, unmatched=unmatched)
    event(f"before: {before.allowed}, after: {after.allowed}")
    assert before.allowed or not after.allowed
    assert after.unmatched == before.unmatched


@pytest.mark.guarantee(7)
@reviews
@given(policies, some_policy(actions=MILD, names=["more"]), pods, beside, no_match)
def test_a_policy_that_warns_or_audits_changes_neither_the_verdict_nor_the_denial(
    found: Policies, more: dict[str, Any], wanted: list[str], around: dict[str, Any], unmatched: str
) -> None:
    before = answer(found, wanted, around, unmatched=unmatched)
    after = answer([*found, more], wanted, around, unmatched=unmatched)
    assert after.allowed == before.allowed
    pinned = f"@{PROVEN}", f" ({PROVEN})"  # where nothing else pins a tag, it does
    assert _without(after.message, pinned) == _without(before.message, pinned)


def _without(text: str, parts: Sequence[str]) -> str:
    for part in parts:
        text = text.replace(part, "")
    return text


@pytest.mark.guarantee(16)
@reviews
@given(rules, some_exception(names=["more"]), pods, beside, no_match)
def test_one_more_exception_denies_nothing_and_changes_nothing_outside_its_scope(
    drawn: tuple[Policies, Policies], more: dict[str, Any], wanted: list[str], around: dict[str, Any], unmatched: str
) -> None:
    found, given_ = drawn
    before = answer(found, wanted, around, unmatched=unmatched, excepted=given_)
    after = answer(found, wanted, around, unmatched=unmatched, excepted=[*given_, more])
    event(f"before: {before.allowed}, after: {after.allowed}")
    assert after.allowed or not before.allowed
    assert after.unmatched == before.unmatched
    named = {(policy_["kind"], policy_["name"]) for policy_ in more["spec"]["policies"]}
    for one, other in zip(before.record["evaluations"], after.record["evaluations"], strict=True):
        if one != other:
            assert other["outcome"] == "Exempt"
            assert one["outcome"] != "Satisfied"
            assert (one["policy"]["kind"], one["policy"]["name"]) in named
            assert more["spec"].get("namespaces") in (None, ["shop"])
            assert more["spec"]["expires"] > stamp(NOW)


# What lets an image in


@pytest.mark.guarantee(6)
@reviews
@given(rules, pods, beside, no_match)
def test_a_pod_is_let_in_only_by_evaluations_that_let_in(
    drawn: tuple[Policies, Policies], wanted: list[str], around: dict[str, Any], unmatched: str
) -> None:
    found, given_ = drawn
    said = answer(found, wanted, around, unmatched=unmatched, excepted=given_)
    assert said.allowed is not bool(said.message)
    against = [
        evaluation
        for evaluation in said.record["evaluations"]
        if "Deny" in evaluation["actions"] and evaluation["outcome"] not in {"Satisfied", "Exempt"}
    ]
    excused = [e for e in against if e["errorKind"] == "Unavailable" and _ignores(found, e)]
    assert said.allowed is (len(excused) == len(against) and not (said.unmatched and unmatched == "Deny"))
    for evaluation in said.record["evaluations"]:
        assert (evaluation["errorKind"] is not None) is (
            "Error" in {evaluation["outcome"], evaluation.get("otherwise")}
        )
        assert bool(evaluation["reasons"]) is (evaluation["outcome"] != "Satisfied")
    event(f"allowed: {said.allowed}")
    event(f"evaluations: {len(said.record['evaluations'])}")


@pytest.mark.guarantee(6)
@reviews
@given(rules, signing, st.one_of(proven, pods), st.one_of(everything, beside), st.sampled_from([0.0, 86_400.0]))
def test_a_registry_that_falls_silent_lets_in_nothing_more_than_what_it_was_heard_to_prove(
    drawn: tuple[Policies, Policies], more: dict[str, Any], wanted: list[str], around: dict[str, Any], grace: float
) -> None:
    found, given_ = drawn
    world = Around(policies=[*found[:2], more], beside=around, exceptions=given_)
    remembered_no_longer = {"evidence_max_age": Seconds(0), "tag_max_age": Seconds(0), "failure_max_age": Seconds(0)}

    async def twice() -> tuple[Answer, Answer]:
        pipeline = world.pipeline(ReviewSettings(grace=Seconds(grace), **remembered_no_longer))
        one = await both(pipeline, world, pod(*wanted))
        world.silent = True
        other = await both(pipeline, world, pod(*wanted))
        await pipeline.close()
        return one, other

    before, after = asyncio.run(twice())
    event(f"before: {before.allowed}, after: {after.allowed}, stale: {'stale' in after.record['flags']}")
    if after.allowed and "fail-open" not in after.record["flags"]:
        assert before.allowed or "exempt" in after.record["flags"]
    assert grace or "stale" not in after.record["flags"]
    outcomes = dict(_outcomes(before.record))
    for key, evaluation in _evaluations(after.record):
        if "stale" in evaluation:
            assert evaluation["outcome"] == outcomes[key]


def _evaluations(record: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], Mapping[str, Any]]]:
    for evaluation in record["evaluations"]:
        container = record["images"][evaluation["image"]]["container"]
        yield (container, evaluation["policy"]["kind"], evaluation["policy"]["name"]), evaluation


def _outcomes(record: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str, str], str]]:
    return ((key, evaluation["outcome"]) for key, evaluation in _evaluations(record))


def _ignores(found: Policies, evaluation: Mapping[str, Any]) -> bool:
    name = evaluation["policy"]["kind"], evaluation["policy"]["name"]
    return any(_name(obj) == name and obj["spec"]["failurePolicy"] == "Ignore" for obj in found)
