"""What a review remembers, by name: what a reference resolved to, which evidence a digest has, what its configurations
are, and what a policy said of all that. Each look-up is one flight however many ask.

A remembered *failure* is short-lived and keeps its kind: Unavailable stays Unavailable. Nothing here ever turns the
absence of an answer into an answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from controller.errors import AssayError, LimitExceeded, Unavailable
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
from controller.review.memory import FOREVER, Memory, given
from controller.review.ports import Assessment, AssessmentJob, Assessor, Registry
from controller.settings import ReviewSettings

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_ENTRIES = ("components", "findings", "statements", "materials")  # what documents hold many of
_PARSED = 4  # bytes that JSON takes as Python values for each of its own


class Resolutions:
    """What a reference names now. A digest names the same for ever; a tag is believed for `tag_max_age`.

    While its registry is away a tag goes on naming its last digest, for `tag_grace` (`stale` says so then).
    """

    def __init__(self, registry: Registry, settings: ReviewSettings) -> None:
        self._registry = registry
        self._settings = settings
        self._flights: Flights[tuple[str, str], ResolvedImage] = _flights(settings)
        self._memory: Memory[tuple[str, str], ResolvedImage] = Memory(
            name="resolution", entries=2 * settings.cache_images, size=settings.cache_evidence_bytes
        )

    async def get(
        self, reference: Reference, *, access: RegistryAccess, deadline: Deadline, grace: float | None = None
    ) -> ResolvedImage:
        """The manifest that the reference names. `grace`: the most that a tag's last digest may be old, in seconds,
        while the registry is away, within the settings; None: no grace.

        Raises what `Registry.resolve` raises, and `DeadlineExceeded`.
        """
        key = (f"{reference.name}@{reference.digest}" if reference.digest else str(reference), access.scope(reference))
        longest = min(float(self._settings.grace), float(self._settings.tag_grace))
        grace = None if grace is None else min(grace, longest)

        async def work(own: Deadline) -> ResolvedImage:
            try:
                found = await self._registry.resolve(reference, access=access, deadline=own)
            except AssayError as exc:
                self._memory.put_failure(key, exc, self._settings)
                raise
            age = FOREVER if reference.digest else self._settings.tag_max_age
            self._memory.put(key, found, fresh=age, usable=age, kept=longest, weight=512 + 128 * len(found.platforms))
            return found

        doing = f"asking {reference.registry} what {reference.name} is"
        asking = partial(self._flights.join, key, work, deadline=deadline, doing=doing)
        found, away = await _remembered(self._memory, self._flights, key, work, asking=asking, grace=grace)
        return replace(found, reference=reference, stale=away)

    def put(self, image: ResolvedImage, *, access: RegistryAccess) -> None:
        """Remember what a digest names, learnt from its tag: `validate` asks by digest a moment later."""
        key = (f"{image.reference.name}@{image.digest}", access.scope(image.reference))
        self._memory.put(key, image, fresh=FOREVER, usable=FOREVER, weight=512 + 128 * len(image.platforms))

    async def close(self) -> None:
        """End what is under way."""
        await self._flights.close()


class Evidences:
    """The evidence of a digest in one repository, for one credential scope.

    What was seen through somebody's credentials serves nobody else. Past `evidence_max_age` it is asked for anew in the
    background and serves for as long again; while its registry is away, for `grace` (`stale` says so then). What is
    *missing* is remembered for seconds only, and never serves by grace. What is remembered counts against the budget
    like the rest, and makes room where somebody waits for it.
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

    async def get(
        self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline, grace: float | None = None
    ) -> EvidenceSet:
        """All evidence, unverified. `grace`: the most that it may be old, in seconds, while the registry is away,
        within the setting; None: no grace.

        Raises what `Registry.discover` raises, and `DeadlineExceeded`.
        """
        key = (image.digest, image.reference.name, access.scope(image.reference))
        grace = None if grace is None else min(grace, float(self._settings.grace))

        async def work(own: Deadline) -> EvidenceSet:
            try:
                found = _in_order(await self._registry.discover(image, access=access, deadline=own))
            except AssayError as exc:
                self._memory.put_failure(key, exc, self._settings)
                raise
            age = float(self._settings.evidence_max_age if found.artifacts else self._settings.missing_max_age)
            usable, kept = (2 * age, float(self._settings.grace)) if found.artifacts else (age, age)
            weight = 512 + sum(len(artifact.content) + 512 for artifact in found.artifacts)
            if isinstance(found.held, Room) and found.held.crowded:
                self._memory.drop(key)
            else:
                self._memory.put(key, found, fresh=age, usable=usable, kept=kept, weight=weight)
            return found

        doing = f"fetching the evidence of {image.reference.name} from {image.reference.registry}"
        asking = partial(self._flights.join, key, work, deadline=deadline, doing=doing)
        found, away = await _remembered(self._memory, self._flights, key, work, asking=asking, grace=grace)
        return replace(found, stale=away) if away is not None else found

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
            return given(known[0])

        async def work(own: Deadline) -> tuple[ConfigBlob, ...]:
            try:
                found = await self._registry.configs(image, access=access, deadline=own)
            except AssayError as exc:
                self._memory.put_failure(key, exc, self._settings)
                raise
            weight = 512 + sum(len(config.content) + 256 for config in found)
            self._memory.put(key, found, fresh=FOREVER, usable=FOREVER, weight=weight)
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
            value = given(known[0])
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
            self._memory.put(key, found, fresh=FOREVER, usable=FOREVER, weight=_weight(found, evidence))
            return found

        doing = f"verifying the evidence of {image.reference.name}"
        return await self._flights.join(key, work, deadline=deadline, doing=doing)

    async def close(self) -> None:
        """End what is under way."""
        await self._flights.close()


async def _remembered(
    memory: Memory[K, V],
    flights: Flights[K, V],
    key: K,
    work: Callable[[Deadline], Awaitable[V]],
    *,
    asking: Callable[[], Awaitable[V]],
    grace: float | None,
) -> tuple[V, AssayError | None]:
    """What is remembered, or else what `asking` brings; and why it could not be asked for anew, where it serves by
    grace. What is past its freshness is asked for in the background."""
    known = memory.recall(key, grace=grace)
    if known is None:
        try:
            return await asking(), None
        except Unavailable:
            known = memory.recall(key, grace=grace)
            if known is None or known.away is None:
                raise
    elif known.ask:
        with contextlib.suppress(LimitExceeded):  # the next one refreshes it
            flights.start(key, work)
    return given(known.value), known.away


def _in_order(found: EvidenceSet) -> EvidenceSet:
    """The same in an order of its own: a registry may list as it likes, and rules and messages see an order."""
    return replace(
        found,
        artifacts=tuple(sorted(found.artifacts, key=lambda a: (a.location, a.digest, a.kind, a.annotations))),
    )


def _flights(settings: ReviewSettings) -> Flights[K, V]:
    return Flights(bound=settings.review_work_timeout, most=settings.review_flights, setting="review_flights")


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
    return 2048 + 512 * small + 1024 * entries + parsed + noted + configured
