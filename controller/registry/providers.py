"""Credentials that no pod brings: from the kubelet's credential provider plugins, kept for as long as they say.

What nodes may pull by their cloud's identity, Assay may read by its own. A failed plugin is an Error where nothing else
opens the repository, and never an anonymous question instead: a private image would look as if it did not exist.
"""

from __future__ import annotations

import time
from asyncio import Semaphore, gather
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controller import telemetry
from controller.errors import AssayError, Unavailable
from controller.model.access import Credential
from controller.model.deadline import Deadline
from controller.model.reference import Reference
from controller.registry.provider_config import Provider, matches_image, read_providers
from controller.registry.provider_plugin import CacheKey, PluginAnswer, run_plugin
from controller.registry.remembered import Remembered
from controller.review.flights import Flights
from controller.settings import RegistrySettings

MAX_ANSWERS = 10_000  # bounds the answers that are kept
MAX_RUNS = 16  # bounds the processes at once
FLIGHT_RUNS = 3  # a flight is bounded to as many times the bound on one run: it may have to wait for others


@dataclass(frozen=True, slots=True)
class Provided:
    """What all providers of one image gave, the most specific first, and why one of them failed, if one did."""

    credentials: tuple[Credential, ...] = ()
    failure: AssayError | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: PluginAnswer
    until: float


class CredentialProviders:
    """The plugins of the settings. `environment` is what they may be given from; `monotonic` is the clock, in seconds.

    Raises `ConfigurationError` (`SettingInvalid`) for settings that cannot be used.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        *,
        environment: Mapping[str, str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._providers = read_providers(settings)
        self._bound = float(settings.registry_credential_provider_timeout)
        self._environment = environment
        self._monotonic = monotonic
        self._answers: Remembered[tuple[str, CacheKey, str], _Kept] = Remembered(MAX_ANSWERS)
        self._kinds: dict[str, CacheKey] = {}  # by provider: what its last answer served for
        self._runs = Semaphore(MAX_RUNS)
        self._flights: Flights[tuple[str, CacheKey, str], PluginAnswer] = Flights(
            bound=FLIGHT_RUNS * self._bound, most=settings.registry_flights, setting="registry_flights"
        )

    def serve(self, reference: Reference) -> bool:
        """Whether any provider is asked about this image."""
        return any(provider.serves(reference) for provider in self._providers)

    async def credentials(self, reference: Reference, *, deadline: Deadline) -> Provided:
        """The credentials that cover the image, from every provider that is for it, in the kubelet's way."""
        serving = [provider for provider in self._providers if provider.serves(reference)]
        outcomes = await gather(
            *(self._answer(provider, reference, deadline) for provider in serving), return_exceptions=True
        )
        found: list[Credential] = []
        failure: AssayError | None = None
        for outcome in outcomes:
            if isinstance(outcome, AssayError):
                failure = failure or outcome
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                found += [one for one in outcome.credentials if matches_image(one.prefix, reference)]
        return Provided(tuple(sorted(found, key=lambda one: len(one.prefix), reverse=True)), failure)

    async def close(self) -> None:
        """End what is under way."""
        await self._flights.close()

    async def _answer(self, provider: Provider, reference: Reference, deadline: Deadline) -> PluginAnswer:
        """What is kept, or what one run brings, which all share that it serves.

        What it will serve is known when it has answered. Until then it is taken for the last answer's kind, and for the
        registry before the first: a run for another image, whose answer does not serve this one, was not waited for in
        vain, since then the kind is known.
        """
        while True:
            kept = self._kept(provider, reference)
            if kept is not None:
                return kept
            kind = self._kinds.get(provider.name, CacheKey.REGISTRY)
            answer = await self._flights.join(
                (provider.name, kind, kind.of(reference)),
                lambda _: self._run(provider, reference),
                deadline=deadline,
                doing=f"asking credential provider {provider.name} about {reference.name}",
            )
            if answer.serves(reference):
                return answer

    async def _run(self, provider: Provider, reference: Reference) -> PluginAnswer:
        async with self._runs:
            asked = self._monotonic()
            try:
                answer = await run_plugin(provider, reference, environment=self._environment, bound=self._bound)
            except Unavailable:
                telemetry.CREDENTIAL_PROVIDER_FAILURES.labels(provider.name).inc()
                raise
        self._kinds[provider.name] = answer.kind
        self._answers.put((provider.name, answer.kind, answer.key), _Kept(answer, asked + answer.seconds))
        return answer

    def _kept(self, provider: Provider, reference: Reference) -> PluginAnswer | None:
        for kind in CacheKey:
            key = (provider.name, kind, kind.of(reference))
            kept = self._answers.get(key)
            if kept is not None and self._monotonic() < kept.until:
                return kept.answer
            self._answers.forget(key)
        return None
