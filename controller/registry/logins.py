"""Which credential opens which repository: tried in order, and remembered.

Pull secrets come before what credential providers give, as for a kubelet; nobody's come last, and only where there are
none at all. Providers are asked only for what no pull secret opened. A registry hides what one may not see behind 403
or 404 alike, so both lead on to the next credential.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from controller.errors import AccessDenied, AssayError, NotFound, Unavailable
from controller.model.access import Credential, RegistryAccess
from controller.model.deadline import Deadline
from controller.model.reference import Reference
from controller.registry.providers import CredentialProviders, Provided
from controller.registry.remembered import Remembered

T = TypeVar("T")

MAX_LOGINS = 10_000  # bounds what is remembered of which credential opened which repository


@dataclass(frozen=True, slots=True)
class Opened:
    """The credential that opens a repository (None: nobody's); a value, so that *unknown* is something else."""

    credential: Credential | None

    @property
    def by_provider(self) -> bool:
        """Whether a credential provider gave it: then it changes, and is to be had there."""
        return self.credential is not None and bool(self.credential.provider)


class Logins:
    """What is known of who may see which repository, for each set of pull secrets apart."""

    def __init__(self, providers: CredentialProviders) -> None:
        self._providers = providers
        self._opened: Remembered[tuple[str, str], Opened] = Remembered(MAX_LOGINS)

    async def open(
        self,
        reference: Reference,
        access: RegistryAccess,
        ask: Callable[[Credential | None], Awaitable[T]],
        *,
        deadline: Deadline,
    ) -> T:
        """Ask with one credential after the other, what opened the repository before first, until one is answered.

        Raises what asking raises; of several failures, one that asking again may mend.
        """
        key = (reference.name, access.scope(reference))
        opened = self._opened.get(key)
        failures: list[AssayError] = []
        for by_provider in (True, False) if opened is not None and opened.by_provider else (False, True):
            gave = (
                await self._providers.credentials(reference, deadline=deadline)
                if by_provider
                else Provided(access.for_reference(reference))
            )
            for credential in sorted(gave.credentials, key=lambda one: opened is None or one != opened.credential):
                try:
                    answer = await ask(credential)
                except (AccessDenied, NotFound) as exc:
                    failures.append(exc)
                    continue
                self._opened.put(key, Opened(credential))
                return answer
            if gave.failure is not None:
                failures.append(gave.failure)
        self._opened.forget(key)
        if failures:
            raise _told(failures)
        answer = await ask(None)
        self._opened.put(key, Opened(None))
        return answer

    async def known(self, reference: Reference, access: RegistryAccess, *, deadline: Deadline) -> Opened | None:
        """Who opens the repository, without asking it: as before, or with the only credential there is.

        None when that must be tried.
        """
        opened = self._opened.get((reference.name, access.scope(reference)))
        if opened is not None and not opened.by_provider:
            return opened
        secrets = access.for_reference(reference)
        if not self._providers.serve(reference):
            return Opened(secrets[0] if secrets else None) if len(secrets) < 2 else None
        if opened is None and secrets:
            return None
        gave = await self._providers.credentials(reference, deadline=deadline)
        if opened is not None and opened.credential in gave.credentials:
            return opened
        if secrets or gave.failure is not None or len(gave.credentials) > 1:
            return None
        return Opened(gave.credentials[0] if gave.credentials else None)

    def forget(self, reference: Reference, access: RegistryAccess) -> None:
        """It does not open the repository any more."""
        self._opened.forget((reference.name, access.scope(reference)))


def _told(failures: Sequence[AssayError]) -> AssayError:
    """The failure to tell: one that asking again may mend, else a refusal, else the first."""
    order = (Unavailable, AccessDenied, AssayError)
    return min(failures, key=lambda failure: next(i for i, kind in enumerate(order) if isinstance(failure, kind)))
