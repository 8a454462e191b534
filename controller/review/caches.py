"""What a review remembers, by name: what a reference resolved to, which evidence a digest has, what its configurations
are, and what a policy said of all that. Each look-up is one flight however many ask.

A remembered *failure* is short-lived and keeps its kind: Unavailable stays Unavailable. Nothing here ever turns the
absence of an answer into an answer.
"""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Generic, TypeVar

from controller import telemetry
from controller.errors import AssayError, DeadlineExceeded, LimitExceeded, Unavailable
from controller.model.access import RegistryAccess
from controller.model.deadline import Deadline
from controller.model.evidence import EvidenceSet
from controller.model.image import ConfigBlob, RawConfigs, ResolvedImage
from controller.model.policy import TrustRoot
from controller.model.reference import Digest, Reference
from controller.policy.compiled import CompiledPolicy
from controller.policy.resolving import resolved_pems
from controller.review.budget import Budget, Room
from controller.review.flights import Flights
from controller.review.ports import Assessment, AssessmentJob, Assessor, Registry
from controller.settings import ReviewSettings

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_FOREVER = float("inf")
_ENTRIES = ("components", "findings", "statements", "materials")  # what documents hold many of
_PARSED = 4  # bytes that JSON takes as Python values for each of its own


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V | AssayError
    fresh_until: float
    usable_until: float
    weight: int


class Memory(Generic[K, V]):
    """A cache bounded by entries and by bytes, least recently used out first, with times of the monotonic clock."""

    def __init__(self, *, name: str, entries: int, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._looked = {found: telemetry.CACHE.labels(name, found) for found in ("hit", "stale", "miss")}
        self._entries = entries
        self._size = size
        self._clock = clock
        self._held: OrderedDict[K, _Entry[V]] = OrderedDict()
        self.weight = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> tuple[V | AssayError, bool] | None:
        """What is remembered and usable, and whether it is still fresh."""
        entry = self._held.get(key)
        now = self._clock()
        if entry is None or now >= entry.usable_until:
            self._looked["miss"].inc()
            return None
        self._held.move_to_end(key)
        fresh = now < entry.fresh_until
        self._looked["hit" if fresh else "stale"].inc()
        return entry.value, fresh

    def put(self, key: K, value: V | AssayError, *, fresh: float, usable: float, weight: int = 0) -> None:
        """Remember for `fresh` seconds as good and for `usable` seconds at all."""
        self.drop(key)
        if weight > self._size:
            return
        now = self._clock()
        self._held[key] = _Entry(value, now + fresh, now + usable, weight)
        self.weight += weight
        while len(self._held) > self._entries or self.weight > self._size:
            _, out = self._held.popitem(last=False)
            self.weight -= out.weight

    def put_failure(self, key: K, error: AssayError, settings: ReviewSettings) -> None:
        """Remember, briefly, that there was no answer: a copy, since an error holds the frames that it went through."""
        age = _failure_age(error, settings)
        self.put(key, _copy(error), fresh=age, usable=age)

    def shrink(self, size: int, *, of: Callable[[V | AssayError], int]) -> None:
        """Forget so many bytes at least, the least recently used first; `of` says how many a value has that may go."""
        for key, entry in list(self._held.items()):
            if size <= 0:
                return
            going = of(entry.value)
            if going:
                self.drop(key)
                size -= going

    def drop(self, key: K) -> None:
        """Forget."""
        out = self._held.pop(key, None)
        if out is not None:
            self.weight -= out.weight


class Resolutions:
    """What a reference names now. A digest names the same for ever; a tag is believed for `tag_max_age`."""

    def __init__(self, registry: Registry, settings: ReviewSettings) -> None:
        self._registry = registry
        self._settings = settings
        self._flights: Flights[tuple[str, str], ResolvedImage] = _flights(settings)
        self._memory: Memory[tuple[str, str], ResolvedImage] = Memory(
            name="resolution", entries=2 * settings.cache_images, size=settings.cache_evidence_bytes
        )

    async def get(self, reference: Reference, *, access: RegistryAccess, deadline: Deadline) -> ResolvedImage:
        """The manifest that the reference names. Raises what `Registry.resolve` raises, and `DeadlineExceeded`."""
        key = (f"{reference.name}@{reference.digest}" if reference.digest else str(reference), access.scope(reference))
        known = self._memory.get(key)
        if known is not None:
            return replace(_given(known[0]), reference=reference)

        async def work(own: Deadline) -> ResolvedImage:
            try:
                found = await self._registry.resolve(reference, access=access, deadline=own)
            except AssayError as exc:
                self._memory.put_failure(key, exc, self._settings)
                raise
            age = _FOREVER if reference.digest else self._settings.tag_max_age
            self._memory.put(key, found, fresh=age, usable=age, weight=512 + 128 * len(found.platforms))
            return found

        doing = f"asking {reference.registry} what {reference.name} is"
        found = await self._flights.join(key, work, deadline=deadline, doing=doing)
        return replace(found, reference=reference)

    def put(self, image: ResolvedImage, *, access: RegistryAccess) -> None:
        """Remember what a digest names, learnt from its tag: `validate` asks by digest a moment later."""
        key = (f"{image.reference.name}@{image.digest}", access.scope(image.reference))
        self._memory.put(key, image, fresh=_FOREVER, usable=_FOREVER, weight=512 + 128 * len(image.platforms))

    async def close(self) -> None:
        """End what is under way."""
        await self._flights.close()


class Evidences:
    """The evidence of a digest in one repository, for one credential scope.

    What was seen through somebody's credentials serves nobody else. Past `evidence_max_age` it is asked for anew in the
    background and serves for as long again; what is *missing* is remembered for seconds only. What is remembered counts
    against the budget like the rest, and makes room where somebody waits for it.
    """

    def __init__(self, registry: Registry, settings: ReviewSettings, budget: Budget | None = None) -> None:
        if budget is not None:
            budget.make_room = self._make_room
        self._registry = registry
        self._settings = settings
        self._flights: Flights[tuple[Digest, str, str], EvidenceSet] = _flights(settings)
        self._memory: Memory[tuple[Digest, str, str], EvidenceSet] = Memory(
            name="evidence", entries=settings.cache_images, size=settings.cache_evidence_bytes
        )

    async def get(self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline) -> EvidenceSet:
        """All evidence, unverified. Raises what `Registry.discover` raises, and `DeadlineExceeded`."""
        key = (image.digest, image.reference.name, access.scope(image.reference))

        async def work(own: Deadline) -> EvidenceSet:
            try:
                found = _in_order(await self._registry.discover(image, access=access, deadline=own))
            except AssayError as exc:
                # A refresh that gets no answer does not take away what still serves; a refusal is an answer.
                if not isinstance(exc, Unavailable) or self._memory.get(key) is None:
                    self._memory.put_failure(key, exc, self._settings)
                raise
            age = float(self._settings.evidence_max_age if found.artifacts else self._settings.missing_max_age)
            usable = 2 * age if found.artifacts else age
            weight = 512 + sum(len(artifact.content) + 512 for artifact in found.artifacts)
            if isinstance(found.held, Room) and found.held.crowded:
                self._memory.drop(key)
            else:
                self._memory.put(key, found, fresh=age, usable=usable, weight=weight)
            return found

        known = self._memory.get(key)
        if known is not None:
            value, fresh = known
            if not fresh:
                with contextlib.suppress(LimitExceeded):  # the next one refreshes it
                    self._flights.start(key, work)
            return _given(value)
        doing = f"fetching the evidence of {image.reference.name} from {image.reference.registry}"
        return await self._flights.join(key, work, deadline=deadline, doing=doing)

    def _make_room(self, namespace: str | None, size: int) -> None:
        def going(value: EvidenceSet | AssayError) -> int:
            room = value.held if isinstance(value, EvidenceSet) else None
            return room.size if isinstance(room, Room) and namespace in {None, room.namespace} else 0

        self._memory.shrink(size, of=going)

    async def close(self) -> None:
        """End what is under way."""
        await self._flights.close()


class Configs:
    """The configurations of a digest in one repository, for one credential scope: they never change."""

    def __init__(self, registry: Registry, settings: ReviewSettings) -> None:
        self._registry = registry
        self._settings = settings
        self._flights: Flights[Hashable, tuple[ConfigBlob, ...]] = _flights(settings)
        self._memory: Memory[Hashable, tuple[ConfigBlob, ...]] = Memory(
            name="configs", entries=settings.cache_images, size=settings.cache_config_bytes
        )

    async def get(self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline) -> tuple[ConfigBlob, ...]:
        """One for each platform. Raises what `Registry.configs` raises, and `DeadlineExceeded`."""
        key = (image.digest, image.platforms, image.reference.name, access.scope(image.reference))
        known = self._memory.get(key)
        if known is not None:
            return _given(known[0])

        async def work(own: Deadline) -> tuple[ConfigBlob, ...]:
            try:
                found = await self._registry.configs(image, access=access, deadline=own)
            except AssayError as exc:
                self._memory.put_failure(key, exc, self._settings)
                raise
            weight = 512 + sum(len(config.content) + 256 for config in found)
            self._memory.put(key, found, fresh=_FOREVER, usable=_FOREVER, weight=weight)
            return found

        doing = f"fetching the configuration of {image.reference.name} from {image.reference.registry}"
        return await self._flights.join(key, work, deadline=deadline, doing=doing)

    async def close(self) -> None:
        """End what is under way."""
        await self._flights.close()


class Verdicts:
    """What a policy says of a set of evidence: requirements, and the rules that read nothing else."""

    def __init__(self, assessor: Assessor, settings: ReviewSettings) -> None:
        self._assessor = assessor
        self._settings = settings
        self._flights: Flights[Hashable, Assessment] = _flights(settings)
        self._memory: Memory[Hashable, Assessment] = Memory(
            name="verdict", entries=2 * settings.cache_images, size=settings.cache_verdict_bytes
        )

    async def get(
        self,
        image: ResolvedImage,
        *,
        evidence: EvidenceSet,
        compiled: CompiledPolicy,
        trust_roots: tuple[TrustRoot, ...],
        scope: str,
        now: datetime,
        deadline: Deadline,
        configs: RawConfigs = (),
    ) -> Assessment:
        """The assessment, remembered until a date that was read could change it. Raises what `Assessor` raises."""
        policy = compiled.policy
        # The tag and the platforms are read by rules (`image.tag`), so the reference as written is part of the key, and
        # so are the platforms: of a manifest they are what the index says that it was found in.
        key = (
            image.digest,
            image.reference,
            image.platforms,
            scope,
            policy.identity,
            resolved_pems(policy),
            tuple((root.name, root.hash) for root in trust_roots),
            evidence.hash,
            tuple((problem.code, problem.message) for problem in evidence.problems),
            # They are as fixed as the digest is; that they could not be had is not.
            str(configs) if isinstance(configs, AssayError) else None,
        )
        known = self._memory.get(key)
        if known is not None:
            value = _given(known[0])
            if value.valid_until is None or now < value.valid_until:
                return value

        async def work(own: Deadline) -> Assessment:
            job = AssessmentJob(
                image=image, evidence=evidence, policy=policy, trust_roots=trust_roots, now=now, configs=configs
            )
            try:
                found = await self._assessor.assess(job, deadline=own)
            except AssayError as exc:
                self._memory.put_failure(key, exc, self._settings)
                raise
            self._memory.put(key, found, fresh=_FOREVER, usable=_FOREVER, weight=_weight(found, evidence))
            return found

        doing = f"verifying the evidence of {image.reference.name}"
        return await self._flights.join(key, work, deadline=deadline, doing=doing)

    async def close(self) -> None:
        """End what is under way."""
        await self._flights.close()


def _in_order(found: EvidenceSet) -> EvidenceSet:
    """The same in an order of its own: a registry may list as it likes, and rules and messages see an order."""
    return replace(
        found,
        artifacts=tuple(sorted(found.artifacts, key=lambda a: (a.kind, a.digest, a.location, a.annotations))),
        problems=tuple(sorted(found.problems, key=lambda problem: (problem.code, problem.message))),
    )


def _flights(settings: ReviewSettings) -> Flights[K, V]:
    return Flights(bound=settings.review_work_timeout, most=settings.review_flights, setting="review_flights")


def _given(value: V | AssayError) -> V:
    if isinstance(value, AssayError):
        raise _copy(value)  # raised again and again, one error would collect tracebacks
    return value


def _copy(error: AssayError) -> AssayError:
    return type(error)(*error.args)


def _failure_age(error: AssayError, settings: ReviewSettings) -> float:
    if isinstance(error, DeadlineExceeded):
        return 0.0  # the caller's own doing, not the other side's
    if isinstance(error, Unavailable):
        return float(error.retry_after or settings.failure_max_age)
    return float(settings.missing_max_age)


def _weight(assessment: Assessment, raw: EvidenceSet) -> int:
    """An estimate of the bytes that an assessment holds: mostly its documents and what they were read from."""
    evidence = assessment.evidence
    sizes = {artifact.digest: len(artifact.content) for artifact in raw.artifacts}
    kept = [a for a in evidence.attestations if a.predicate is not None or a.document is not None]
    parsed = _PARSED * sum(sizes.get(a.proof.artifact, 0) for a in kept)
    entries = sum(len(getattr(a.document, name, ())) for a in kept for name in _ENTRIES)
    configured = 0 if isinstance(assessment.configs, AssayError) else 2048 * len(assessment.configs)
    small = len(evidence.rejections) + len(evidence.signatures) + len(evidence.attestations)
    noted = sum(len(value) for _, value in assessment.annotations)
    return 2048 + 512 * small + 512 * entries + parsed + noted + configured
