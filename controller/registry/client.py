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
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Self

from controller.errors import AccessDenied, AssayError, NotFound, Unavailable
from controller.model.access import Credential, RegistryAccess
from controller.model.deadline import Deadline
from controller.model.evidence import UNSIGNED, EvidenceSet
from controller.model.image import ConfigBlob, ResolvedImage
from controller.model.reference import Reference
from controller.registry.addresses import AddressRules
from controller.registry.authentication import Authenticator, Login
from controller.registry.configs import read_configs
from controller.registry.discovery import Discovery
from controller.registry.endpoints import Endpoints
from controller.registry.logins import Logins, Opened
from controller.registry.mirrors import Mirrors, Place
from controller.registry.providers import CredentialProviders
from controller.registry.remembered import Remembered
from controller.registry.repository import Repository
from controller.registry.transport import Transport
from controller.review.budget import Budget, Room
from controller.review.flights import Flights
from controller.review.ports import Clock
from controller.settings import RegistrySettings

FLIGHT_REQUESTS = 3  # a flight is bounded to as many times the bound on one request; callers have their own deadlines
MAX_TAGS = 1024  # bounds the tags of which is remembered what they named last
MAX_TAG_BYTES = 16 * 1024  # and the index of each of them, as its bytes are: more is read anew
_READ = frozenset({UNSIGNED, "UnsupportedArtifact"})  # problems of what was read whole, and counts for nothing anywhere


class RegistryClient:
    """Implements `review.ports.Registry` over HTTP. An asynchronous context manager that belongs to one event loop.

    What is fetched is taken from `budget` (default: no bound). `denied_addresses` are never connected to, beside those
    of the settings: the API server's own. `environment` has the proxy variables, and what credential providers may
    see of it. Raises `ConfigurationError` for settings that cannot be used.
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
        environment = os.environ if environment is None else environment
        self._settings = settings
        self._clock = clock
        self._budget = budget or Budget(sys.maxsize)
        self._endpoints = Endpoints(settings)
        self._transport = Transport(
            settings,
            endpoints=self._endpoints,
            rules=AddressRules(settings, denied=denied_addresses),
            environment=environment,
            monotonic=monotonic,
        )
        self._authenticator = Authenticator(self._transport, settings, monotonic=monotonic)
        self._mirrors = Mirrors(settings.registry_mirrors)
        self._providers = CredentialProviders(settings, environment=environment, monotonic=monotonic)
        self._logins = Logins(self._providers)
        self._tags: Remembered[tuple[str, str], ResolvedImage] = Remembered(MAX_TAGS)
        bound, most = FLIGHT_REQUESTS * float(settings.registry_request_timeout), settings.registry_flights
        self._resolving: Flights[Hashable, ResolvedImage] = Flights(bound=bound, most=most, setting="registry_flights")
        self._discovering: Flights[Hashable, EvidenceSet] = Flights(bound=bound, most=most, setting="registry_flights")
        self._configuring: Flights[Hashable, tuple[ConfigBlob, ...]] = Flights(
            bound=bound, most=most, setting="registry_flights"
        )

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.gather(self._resolving.close(), self._discovering.close(), self._configuring.close())
        await self._providers.close()
        await self._authenticator.close()
        await self._transport.close()

    async def resolve(self, reference: Reference, *, access: RegistryAccess, deadline: Deadline) -> ResolvedImage:
        """What the reference names now: its manifest is fetched and hashed, by digest if it has one, else by tag.

        A tag that was asked for before is asked for by HEAD, and its manifest not fetched again while it is the same.

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

    async def configs(
        self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline
    ) -> tuple[ConfigBlob, ...]:
        """The configuration of the image, or of each of its platforms, hashed.

        Raises as `configs.read_configs` does.
        """
        reference = image.reference
        return await self._configuring.join(
            (reference.name, image.digest, image.platforms, access.scope(reference)),
            lambda own: self._configs(image, access, own),
            deadline=deadline,
            doing=f"asking {reference.registry} for the configuration of {image.digest}",
        )

    async def _configs(
        self, image: ResolvedImage, access: RegistryAccess, deadline: Deadline
    ) -> tuple[ConfigBlob, ...]:
        """As the first place has them that has all, as for the image itself."""
        failures: list[AssayError] = []
        for place in self._mirrors.places(image.reference):

            async def ask(credential: Credential | None, place: Place = place) -> tuple[ConfigBlob, ...]:
                repository = self._repository(place.reference, credential, room)
                return await read_configs(repository, image, settings=self._settings, deadline=deadline)

            try:
                with closing(self._budget.open()) as room:
                    return await self._logins.open(place.reference, place.access(access), ask, deadline=deadline)
            except (AccessDenied, NotFound, Unavailable) as exc:
                failures.append(exc)
                place.failed()
        raise _told(failures)

    async def _resolve(self, reference: Reference, access: RegistryAccess, deadline: Deadline) -> ResolvedImage:
        """What the first place says that has it, as for a container runtime."""
        failures: list[AssayError] = []
        for place in self._mirrors.places(reference):
            try:
                with closing(self._budget.open()) as room:
                    return await self._resolve_at(place, access, room, deadline)
            except (AccessDenied, NotFound, Unavailable) as exc:
                failures.append(exc)
                place.failed()
        raise _told(failures)

    async def _resolve_at(self, place: Place, access: RegistryAccess, room: Room, deadline: Deadline) -> ResolvedImage:
        reference = place.reference
        tag = None if reference.digest else reference.tag or "latest"
        known = self._tags.get((reference.name, tag)) if tag else None

        async def ask(credential: Credential | None) -> ResolvedImage:
            repository = self._repository(reference, credential, room)
            if tag and known is not None:
                manifest = await repository.manifest_unless(known, tag, deadline=deadline)
                return known if manifest is None else manifest.resolved(reference)
            manifest = await repository.manifest(reference.digest or tag or "latest", deadline=deadline)
            return manifest.resolved(reference)

        image = await self._logins.open(reference, place.access(access), ask, deadline=deadline)
        if tag and (not image.is_index or image.size <= MAX_TAG_BYTES):
            self._tags.put((reference.name, tag), image)
        return image

    async def _discover(self, image: ResolvedImage, access: RegistryAccess, deadline: Deadline) -> EvidenceSet:
        """The evidence at the first place that has some, all of which can be read.

        A mirror that holds images need not hold what lies beside them: only the host itself may say that there is
        nothing, or the last mirror where the host is never asked and every mirror answered.
        """
        places = self._mirrors.places(image.reference)
        failures: list[AssayError] = []
        for place in places:
            room = self._budget.open()
            taken = False
            try:
                found = await self._discover_at(place, image, access, room, deadline)
                whole = bool(found.artifacts) and all(problem.code in _READ for problem in found.problems)
                taken = whole or place.own or (place is places[-1] and (bool(found.artifacts) or not failures))
                if taken:
                    return found
            except (AccessDenied, NotFound, Unavailable) as exc:
                failures.append(exc)
                place.failed()
            finally:
                if not taken:
                    room.close()
        raise _told(failures)

    async def _discover_at(
        self, place: Place, image: ResolvedImage, access: RegistryAccess, room: Room, deadline: Deadline
    ) -> EvidenceSet:
        reference, access = place.reference, place.access(access)

        async def probe(credential: Credential | None) -> Opened:
            await self._repository(reference, credential, room).manifest(image.digest, deadline=deadline)
            return Opened(credential)

        # Which credential opens the repository must be known: a place that one may not see would look empty.
        opened = await self._logins.known(reference, access, deadline=deadline)
        if opened is None:
            opened = await self._logins.open(reference, access, probe, deadline=deadline)
        repository = self._repository(reference, opened.credential, room)
        discovery = Discovery(repository, image.digest, settings=self._settings, deadline=deadline)
        try:
            await discovery.run()
        except AccessDenied:
            self._logins.forget(reference, access)
            raise
        return EvidenceSet(
            image=image.digest,
            repository=image.reference.name,
            artifacts=discovery.artifacts,
            fetched_at=self._clock(),
            problems=discovery.problems,
            held=room,
        )

    def _repository(self, reference: Reference, credential: Credential | None, room: Room) -> Repository:
        return Repository(
            Login(self._endpoints.of(reference.registry), reference.repository, credential),
            transport=self._transport,
            authenticator=self._authenticator,
            room=room,
            settings=self._settings,
        )


def _told(failures: Sequence[AssayError]) -> AssayError:
    """The failure to tell of those of several places: one that asking again may mend, else that of the last word."""
    return next((failure for failure in failures if isinstance(failure, Unavailable)), failures[-1])
