"""What a review remembers: for how long, for whom, and that no absence of an answer ever becomes one."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import math
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import (
    AccessDenied,
    AssayError,
    DeadlineExceeded,
    LimitExceeded,
    NotFound,
    Unacceptable,
    Unavailable,
)
from controller.model.access import ANONYMOUS, Credential, RegistryAccess
from controller.model.deadline import Deadline
from controller.model.decision import Outcome
from controller.model.evidence import (
    EvidenceSet,
    Proof,
    Signer,
    VerifiedAttestation,
    VerifiedEvidence,
)
from controller.model.image import PlatformManifest, ResolvedImage
from controller.model.policy import KeyAuthority, KeyIn, TrustRoot
from controller.model.reference import Digest, Reference
from controller.policy.compiled import CompiledPolicy, compile_policy
from controller.policy.parse import parse_policy
from controller.review import caches
from controller.review.caches import Evidences, Memory, Resolutions, Verdicts
from controller.review.ports import Assessment, AssessmentJob
from controller.settings import ReviewSettings, Seconds
from tests.support.review import MANIFEST, NOW, assessment, digest, evidence, policy

LATER = Deadline(math.inf)
SETTINGS = ReviewSettings(
    evidence_max_age=Seconds(600), missing_max_age=Seconds(5), tag_max_age=Seconds(10), failure_max_age=Seconds(2)
)
ALICE = RegistryAccess((Credential("ghcr.io", "alice", "a"),))
BOB = RegistryAccess((Credential("ghcr.io", "bob", "b"),))
APP = Reference.parse("ghcr.io/acme/app:1")


class Clock:
    """The monotonic clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of every cache made from now on."""
    moved = Clock()
    original = Memory.__init__

    def with_clock(self: Memory[Any, Any], **arguments: Any) -> None:
        original(self, **(arguments | {"clock": moved}))

    monkeypatch.setattr(caches.Memory, "__init__", with_clock)
    return moved


class Source:
    """Registry and assessor: answers with what it was given last, and counts."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.asked = 0

    async def _next(self) -> Any:
        self.asked += 1
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def resolve(self, reference: Reference, *, access: RegistryAccess, deadline: Deadline) -> ResolvedImage:
        del access, deadline
        found = await self._next()
        return found or ResolvedImage(reference, reference.digest or digest("app"), MANIFEST, 7)

    async def discover(self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline) -> EvidenceSet:
        del access, deadline
        found = await self._next()
        return evidence(image.digest, b"x") if found is None else found

    async def assess(self, job: AssessmentJob, *, deadline: Deadline) -> Assessment:
        del job, deadline
        return await self._next() or assessment()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def memory(clock: Callable[[], float], *, entries: int = 3, size: int = 100) -> Memory[str, str]:
    return Memory(name="test", entries=entries, size=size, clock=clock)


def test_a_memory_tells_fresh_from_usable_from_gone() -> None:
    clock = Clock()
    known = memory(clock)
    known.put("k", "v", fresh=10, usable=20)
    assert known.get("k") == ("v", True)
    clock.now += 10
    assert known.get("k") == ("v", False)
    clock.now += 10
    assert known.get("k") is None


@pytest.mark.guarantee(10)
def test_a_memory_holds_no_more_than_its_entries_and_drops_the_least_used() -> None:
    known = memory(Clock())
    for key in "abc":
        known.put(key, key, fresh=1, usable=1)
    known.get("a")
    known.put("d", "d", fresh=1, usable=1)
    assert [key for key in "abcd" if known.get(key)] == ["a", "c", "d"]


@pytest.mark.guarantee(10)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 150)), max_size=60))
def test_a_memory_never_weighs_more_than_its_bound(puts: list[tuple[str, int]]) -> None:
    known = memory(Clock(), entries=4, size=100)
    held: dict[str, int] = {}
    for key, weight in puts:
        known.put(key, key, fresh=1, usable=1, weight=weight)
        held[key] = weight
        assert known.weight <= 100
        assert len(known) <= 4
        assert known.weight == sum(held[key] for key in "abcdef" if known.get(key))


async def test_a_digest_is_remembered_for_good_and_a_tag_for_its_age(clock: Clock) -> None:
    source = Source()
    resolutions = Resolutions(source, SETTINGS)
    pinned = Reference.parse(APP.pinned(digest("app")))
    for reference in (APP, pinned):
        await resolutions.get(reference, access=ANONYMOUS, deadline=LATER)
        await resolutions.get(reference, access=ANONYMOUS, deadline=LATER)
    assert source.asked == 2
    clock.now += 10
    await resolutions.get(pinned, access=ANONYMOUS, deadline=LATER)
    assert source.asked == 2
    await resolutions.get(APP, access=ANONYMOUS, deadline=LATER)
    assert source.asked == 3


@pytest.mark.guarantee(3)
async def test_what_a_tag_named_is_known_by_its_digest_to_the_validation_that_follows(clock: Clock) -> None:
    del clock
    source = Source()
    resolutions = Resolutions(source, SETTINGS)
    found = await resolutions.get(APP, access=ALICE, deadline=LATER)
    pinned = Reference.parse(APP.pinned(found.digest))
    resolutions.put(dataclasses.replace(found, reference=pinned), access=ALICE)
    assert (await resolutions.get(pinned, access=ALICE, deadline=LATER)).reference is pinned
    assert source.asked == 1
    await resolutions.get(pinned, access=BOB, deadline=LATER)
    assert source.asked == 2, "what alice saw says nothing to bob"


async def test_every_caller_gets_the_reference_that_it_asked_about(clock: Clock) -> None:
    del clock
    resolutions = Resolutions(Source(), SETTINGS)
    short, long = Reference.parse("nginx"), Reference.parse("docker.io/library/nginx:latest")
    one, other = await asyncio.gather(
        *(resolutions.get(reference, access=ANONYMOUS, deadline=LATER) for reference in (short, long))
    )
    assert (one.reference.text, other.reference.text) == (short.text, long.text)
    assert (await resolutions.get(short, access=ANONYMOUS, deadline=LATER)).reference.text == "nginx"


@pytest.mark.parametrize(
    ("error", "age"),
    [
        (Unavailable("RegistryUnavailable", "no connection"), 2),
        (Unavailable("RegistryThrottled", "slow down", 30.0), 30),
        (NotFound("NotFound", "no such image"), 5),
        (AccessDenied("AccessDenied", "no"), 5),
        (LimitExceeded("registry_max_manifest_bytes", "too large"), 5),
    ],
    ids=lambda value: value.code if isinstance(value, AssayError) else "",
)
@pytest.mark.parametrize("kind", ["resolve", "discover", "assess"])
@pytest.mark.guarantee(19)
async def test_a_failure_is_remembered_briefly_and_keeps_its_kind(
    error: AssayError, age: float, kind: str, clock: Clock
) -> None:
    source = Source(error)
    ask = asking(kind, source)
    for _ in range(3):
        with pytest.raises(type(error)) as caught:
            await ask(ALICE)
        assert type(caught.value) is type(error)
        assert str(caught.value) == str(error)
        assert caught.value is not error
    assert source.asked == 1
    with pytest.raises(type(error)):
        await ask(BOB)
    assert source.asked == 2, "what alice was told says nothing to bob"
    clock.now += age
    source.answer = None
    await ask(ALICE)
    assert source.asked == 3


@pytest.mark.parametrize("kind", ["resolve", "discover", "assess"])
async def test_work_that_met_its_deadline_is_not_remembered_as_a_failure_of_the_other_side(kind: str) -> None:
    source = Source(DeadlineExceeded("DeadlineExceeded", "the deadline came"))
    ask = asking(kind, source)
    with pytest.raises(DeadlineExceeded):
        await ask(ALICE)
    source.answer = None
    await ask(ALICE)
    assert source.asked == 2


@pytest.mark.parametrize("kind", ["resolve", "discover", "assess"])
@pytest.mark.guarantee(19)
async def test_many_who_ask_at_once_cost_one_question(kind: str) -> None:
    source = Source()
    ask = asking(kind, source)
    await asyncio.gather(*(ask(ALICE) for _ in range(20)))
    assert source.asked == 1


class Body:
    """Stands for what a frame on the way of a failure holds: credentials, a response of megabytes."""


@pytest.mark.parametrize("kind", ["resolve", "discover", "assess"])
async def test_a_remembered_failure_holds_no_frames(kind: str, clock: Clock) -> None:
    del clock
    held: list[weakref.ref[Body]] = []

    class Failing(Source):
        async def _next(self) -> Any:
            body = Body()
            held.append(weakref.ref(body))
            raise Unacceptable("Malformed", "it is")

    ask = asking(kind, Failing())
    for _ in range(2):
        with pytest.raises(Unacceptable, match="Malformed"):
            await ask(ALICE)
    await settle()
    gc.collect()
    assert [found() for found in held] == [None]


def asking(kind: str, source: Source) -> Callable[[RegistryAccess], Any]:
    """One way of asking each cache, by the credentials used."""
    image = ResolvedImage(APP, digest("app"), MANIFEST, 7)
    resolutions, evidences, verdicts = (
        Resolutions(source, SETTINGS),
        Evidences(source, SETTINGS),
        Verdicts(source, SETTINGS),
    )

    async def ask(access: RegistryAccess) -> Any:
        match kind:
            case "resolve":
                return await resolutions.get(APP, access=access, deadline=LATER)
            case "discover":
                return await evidences.get(image, access=access, deadline=LATER)
            case _:
                return await verdict(verdicts, scope=access.scope(APP))

    return ask


async def ask_evidence(evidences: Evidences, access: RegistryAccess = ANONYMOUS, image: str = "app") -> EvidenceSet:
    resolved = ResolvedImage(APP, digest(image), MANIFEST, 7)
    return await evidences.get(resolved, access=access, deadline=LATER)


async def test_evidence_seen_through_somebodys_credentials_serves_nobody_else(clock: Clock) -> None:
    del clock
    source = Source()
    evidences = Evidences(source, SETTINGS)
    for access in (ALICE, BOB, ANONYMOUS, ALICE):
        await ask_evidence(evidences, access)
    assert source.asked == 3


async def test_missing_evidence_is_remembered_for_seconds(clock: Clock) -> None:
    source = Source(evidence(digest("app")))
    evidences = Evidences(source, SETTINGS)
    await ask_evidence(evidences)
    await ask_evidence(evidences)
    assert source.asked == 1
    clock.now += 5
    source.answer = None
    assert (await ask_evidence(evidences)).artifacts
    assert source.asked == 2


async def test_evidence_past_its_age_serves_while_it_is_asked_for_anew(clock: Clock) -> None:
    source = Source()
    evidences = Evidences(source, SETTINGS)
    first = await ask_evidence(evidences)
    clock.now += 600
    source.answer = evidence(digest("app"), b"x", b"y")
    assert await ask_evidence(evidences) == first
    await settle()
    assert source.asked == 2
    assert len((await ask_evidence(evidences)).artifacts) == 2
    clock.now += 1200
    await ask_evidence(evidences)
    assert source.asked == 3, "twice its age is the end"


@pytest.mark.guarantee(6)
async def test_a_registry_that_is_away_does_not_take_away_what_still_serves(clock: Clock) -> None:
    source = Source()
    evidences = Evidences(source, SETTINGS)
    first = await ask_evidence(evidences)
    clock.now += 600
    source.answer = Unavailable("RegistryUnavailable", "no connection")
    await ask_evidence(evidences)
    await settle()
    assert await ask_evidence(evidences) == first
    clock.now += 600
    with pytest.raises(Unavailable, match="no connection"):
        await ask_evidence(evidences)


@pytest.mark.guarantee(6)
@pytest.mark.parametrize("error", [AccessDenied("AccessDenied", "no more"), NotFound("NotFound", "gone")], ids=str)
async def test_a_refusal_is_an_answer_and_ends_what_was_remembered(error: AssayError, clock: Clock) -> None:
    source = Source()
    evidences = Evidences(source, SETTINGS)
    await ask_evidence(evidences)
    clock.now += 600
    source.answer = error
    await ask_evidence(evidences)
    await settle()
    with pytest.raises(type(error)):
        await ask_evidence(evidences)


async def test_evidence_that_is_gone_is_an_answer_and_ends_what_was_remembered(clock: Clock) -> None:
    source = Source()
    evidences = Evidences(source, SETTINGS)
    await ask_evidence(evidences)
    clock.now += 600
    source.answer = evidence(digest("app"))
    await ask_evidence(evidences)
    await settle()
    assert (await ask_evidence(evidences)).artifacts == ()


async def test_evidence_larger_than_the_bound_is_not_kept(clock: Clock) -> None:
    del clock
    source = Source(evidence(digest("app"), b"x" * 4096))
    evidences = Evidences(source, dataclasses.replace(SETTINGS, cache_evidence_bytes=4096))
    await ask_evidence(evidences)
    await ask_evidence(evidences)
    assert source.asked == 2


COMPILED = compile_policy(parse_policy(policy()))


def rotated(pem: str) -> CompiledPolicy:
    """One policy, one hash, whose Secret holds this key."""
    obj = policy(authorities=[{"name": "release", "key": {"secretRef": {"name": "release", "key": "cosign.pub"}}}])
    parsed = parse_policy(obj)
    key = KeyAuthority(pem=pem, secret=KeyIn("release", "cosign.pub"))
    authority = dataclasses.replace(parsed.spec.authorities[0], key=key)
    return compile_policy(dataclasses.replace(parsed, spec=dataclasses.replace(parsed.spec, authorities=(authority,))))


async def verdict(verdicts: Verdicts, **changes: Any) -> Assessment:
    arguments: dict[str, Any] = {
        "image": ResolvedImage(APP, digest("app"), MANIFEST, 7),
        "evidence": evidence(digest("app"), b"x"),
        "compiled": COMPILED,
        "trust_roots": (TrustRoot("public-good", b"a", "h1"),),
        "scope": "anonymous",
        "now": NOW,
        "deadline": LATER,
    }
    arguments |= changes
    return await verdicts.get(arguments.pop("image"), **arguments)


OTHER_MEDIA_TYPE = evidence(digest("app"), b"x")
OTHER_MEDIA_TYPE = dataclasses.replace(
    OTHER_MEDIA_TYPE, artifacts=(dataclasses.replace(OTHER_MEDIA_TYPE.artifacts[0], media_type="text/plain"),)
)


@pytest.mark.parametrize(
    "changed",
    [
        {"image": ResolvedImage(APP, digest("other"), MANIFEST, 7)},
        {"image": ResolvedImage(Reference.parse("ghcr.io/acme/app:2"), digest("app"), MANIFEST, 7)},
        {"image": ResolvedImage(Reference.parse("ghcr.io/acme/web:1"), digest("app"), MANIFEST, 7)},
        {"image": ResolvedImage(APP, digest("app"), MANIFEST, 7, (PlatformManifest(digest("app"), None),))},
        {"evidence": evidence(digest("app"), b"y")},
        {"evidence": evidence(digest("app"), b"x", b"y")},
        {"evidence": evidence(digest("app"))},
        {"evidence": OTHER_MEDIA_TYPE},
        {
            "evidence": dataclasses.replace(
                evidence(digest("app"), b"x"), problems=(Unacceptable("Malformed", "it is"),)
            )
        },
        {"compiled": compile_policy(parse_policy(policy(failurePolicy="Fail", digest="Require")))},
        {"compiled": compile_policy(parse_policy(policy("other")))},
        {"trust_roots": (TrustRoot("public-good", b"b", "h2"),)},
        {"trust_roots": (TrustRoot("own", b"a", "h1"),)},
        {"trust_roots": ()},
        {"scope": "somebody"},
    ],
    ids=lambda changed: next(iter(changed)),
)
@pytest.mark.guarantee(17)
async def test_a_verdict_is_remembered_for_exactly_its_inputs(changed: dict[str, Any], clock: Clock) -> None:
    del clock
    source = Source()
    verdicts = Verdicts(source, SETTINGS)
    await verdict(verdicts)
    await verdict(verdicts)
    assert source.asked == 1
    await verdict(verdicts, **changed)
    assert source.asked == 2


async def test_a_key_that_is_rotated_in_its_secret_is_another_input(clock: Clock) -> None:
    del clock
    source = Source()
    verdicts = Verdicts(source, SETTINGS)
    first, second = rotated("first"), rotated("second")
    assert first.policy.identity == second.policy.identity
    await verdict(verdicts, compiled=first)
    await verdict(verdicts, compiled=rotated("first"))
    assert source.asked == 1
    await verdict(verdicts, compiled=second)
    assert source.asked == 2


async def test_a_verdict_holds_until_a_date_that_was_read_could_change_it(clock: Clock) -> None:
    del clock
    source = Source(assessment(valid_until=NOW + timedelta(seconds=60)))
    verdicts = Verdicts(source, SETTINGS)
    await verdict(verdicts)
    await verdict(verdicts, now=NOW + timedelta(seconds=59))
    assert source.asked == 1
    source.answer = assessment(Outcome.VIOLATED)
    assert (await verdict(verdicts, now=NOW + timedelta(seconds=60))).outcome is Outcome.VIOLATED
    assert source.asked == 2


@pytest.mark.guarantee(10)
async def test_a_verdict_with_a_document_is_weighed_by_what_it_was_read_from(clock: Clock) -> None:
    del clock
    raw = evidence(digest("app"), b"{" + b" " * 8192 + b"}")
    proof = Proof(raw.artifacts[0].digest, "", "release", Signer(key="k"), None, None, ())
    attestation = VerifiedAttestation("sbom", "https://x.example", {"big": 1}, Digest.of(b"s"), proof)
    kept = assessment(evidence=VerifiedEvidence(digest("app"), attestations=(attestation,)))
    bare = dataclasses.replace(attestation, predicate=None)
    source = Source(kept)
    verdicts = Verdicts(source, dataclasses.replace(SETTINGS, cache_verdict_bytes=8192))
    await verdict(verdicts, evidence=raw)
    await verdict(verdicts, evidence=raw)
    assert source.asked == 2, "it does not fit, so it is not kept"
    source.answer = assessment(evidence=VerifiedEvidence(digest("app"), attestations=(bare,)))
    await verdict(verdicts, evidence=raw)
    await verdict(verdicts, evidence=raw)
    assert source.asked == 3
