"""The registry as a review sees it: what a reference names now, and which evidence lies beside it.

Round trips in a row for one signed image, cold, from an anonymous registry: its manifest; the four places where its
evidence may lie; the artefacts' manifests; their contents. A registry that asks for a token costs two more, once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping
from contextlib import closing
from types import TracebackType
from typing import Self, TypeVar

from controller.errors import AccessDenied, NotFound
from controller.model.access import Credential, RegistryAccess
from controller.model.deadline import Deadline
from controller.model.evidence import EvidenceSet
from controller.model.image import ResolvedImage
from controller.model.reference import Reference
from controller.registry.addresses import AddressRules
from controller.registry.authentication import Authenticator, Login
from controller.registry.discovery import Discovery
from controller.registry.endpoints import Endpoints
from controller.registry.remembered import Remembered
from controller.registry.repository import Repository
from controller.registry.transport import Transport
from controller.review.budget import Budget, Room
from controller.review.flights import Flights
from controller.review.ports import Clock
from controller.settings import RegistrySettings

T = TypeVar("T")

FLIGHT_REQUESTS = 3  # a flight is bounded to as many times the bound on one request; callers have their own deadlines
MAX_LOGINS = 10_000  # bounds what is remembered of which credential opened which repository


@dataclasses.dataclass(frozen=True, slots=True)
class _Seen:
    """Which credential opened a repository (None: nobody's); a value, so that *unknown* is something else."""

    credential: Credential | None


class RegistryClient:
    """Implements `review.ports.Registry` over HTTP. An asynchronous context manager that belongs to one event loop.

    What is fetched is taken from `budget` (default: no bound). `denied_addresses` are never connected to, beside those
    of the settings: the API server's own. `environment` has the proxy variables. Raises `ConfigurationError` for
    settings that cannot be used.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        *,
        clock: Clock,
        budget: Budget | None = None,
        denied_addresses: Iterable[str] = (),
        environment: Mapping[str, str] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._budget = budget or Budget(sys.maxsize)
        self._endpoints = Endpoints(settings)
        self._transport = Transport(
            settings,
            endpoints=self._endpoints,
            rules=AddressRules(settings, denied=denied_addresses),
            environment=os.environ if environment is None else environment,
            monotonic=monotonic,
        )
        self._authenticator = Authenticator(self._transport, settings, monotonic=monotonic)
        self._logins: Remembered[tuple[str, str], _Seen] = Remembered(MAX_LOGINS)
        bound, most = FLIGHT_REQUESTS * float(settings.registry_request_timeout), settings.registry_flights
        self._resolving: Flights[Hashable, ResolvedImage] = Flights(bound=bound, most=most, setting="registry_flights")
        self._discovering: Flights[Hashable, EvidenceSet] = Flights(bound=bound, most=most, setting="registry_flights")

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.gather(self._resolving.close(), self._discovering.close())
        await self._authenticator.close()
        await self._transport.close()

    async def resolve(self, reference: Reference, *, access: RegistryAccess, deadline: Deadline) -> ResolvedImage:
        """What the reference names now: its manifest is fetched and hashed, by digest if it has one, else by tag.

        Raises `Unavailable`, `NotFound`, `AccessDenied`, or another `Unacceptable` (`DigestMismatch`,
        `ManifestAmbiguous`, `ManifestMalformed`, `ManifestUnsupported`, `SchemaOneUnsupported`, `AddressForbidden`,
        `LimitExceeded`).
        """
        image = await self._resolving.join(
            (reference.name, reference.digest or reference.tag, access.scope(reference)),
            lambda own: self._resolve(reference, access, own),
            deadline=deadline,
            doing=f"asking {reference.registry} for {reference}",
        )
        return dataclasses.replace(image, reference=reference)

    async def discover(self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline) -> EvidenceSet:
        """All signatures and attestations of the image, unverified.

        Raises `Unavailable`, `AccessDenied` or `LimitExceeded`; what else is wrong with an artefact is among the
        set's problems.
        """
        reference = image.reference
        return await self._discovering.join(
            (reference.name, image.digest, access.scope(reference)),
            lambda own: self._discover(image, access, own),
            deadline=deadline,
            doing=f"asking {reference.registry} for the evidence of {image.digest}",
        )

    async def _resolve(self, reference: Reference, access: RegistryAccess, deadline: Deadline) -> ResolvedImage:
        name = reference.digest or reference.tag or "latest"
        with closing(self._budget.open()) as room:
            manifest = await self._with_login(
                reference, access, lambda repository: repository.manifest(name, deadline=deadline), room=room
            )
            return manifest.resolved(reference)

    async def _discover(self, image: ResolvedImage, access: RegistryAccess, deadline: Deadline) -> EvidenceSet:
        room = self._budget.open()
        try:
            return await self._discover_within(room, image, access, deadline)
        except BaseException:
            room.close()
            raise

    async def _discover_within(
        self, room: Room, image: ResolvedImage, access: RegistryAccess, deadline: Deadline
    ) -> EvidenceSet:
        reference = image.reference
        candidates = access.for_reference(reference)
        key = (reference.name, access.scope(reference))
        if self._logins.get(key) is None and len(candidates) > 1:
            # Which of them opens the repository is not known: a place that one may not see would look empty.
            await self._with_login(
                reference, access, lambda repository: repository.manifest(image.digest, deadline=deadline), room=room
            )
        seen = self._logins.get(key) or _Seen(candidates[0] if candidates else None)
        discovery = Discovery(
            self._repository(reference, seen.credential, room), image.digest, settings=self._settings, deadline=deadline
        )
        try:
            await discovery.run()
        except AccessDenied:
            self._logins.forget(key)
            raise
        return EvidenceSet(
            image=image.digest,
            repository=reference.name,
            artifacts=discovery.artifacts,
            fetched_at=self._clock(),
            problems=discovery.problems,
            held=room,
        )

    async def _with_login(
        self, reference: Reference, access: RegistryAccess, ask: Callable[[Repository], Awaitable[T]], *, room: Room
    ) -> T:
        """Ask with each credential that covers the image, in their order, until one is answered; else with none.

        A registry hides what one may not see behind 403 or 404 alike, so both lead on to the next credential.
        """
        key = (reference.name, access.scope(reference))
        candidates: tuple[Credential | None, ...] = access.for_reference(reference) or (None,)
        seen = self._logins.get(key)
        if seen is not None and seen.credential in candidates:
            candidates = (seen.credential, *(other for other in candidates if other != seen.credential))
        refusals: list[AccessDenied | NotFound] = []
        for credential in candidates:
            try:
                answer = await ask(self._repository(reference, credential, room))
            except (AccessDenied, NotFound) as exc:
                refusals.append(exc)
                continue
            self._logins.put(key, _Seen(credential))
            return answer
        self._logins.forget(key)
        raise next((refusal for refusal in refusals if isinstance(refusal, AccessDenied)), refusals[0])

    def _repository(self, reference: Reference, credential: Credential | None, room: Room) -> Repository:
        return Repository(
            Login(self._endpoints.of(reference.registry), reference.repository, credential),
            transport=self._transport,
            authenticator=self._authenticator,
            room=room,
            settings=self._settings,
        )
