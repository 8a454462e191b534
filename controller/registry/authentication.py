"""Credentials to `Authorization` headers: Basic, tokens from the realm that a registry names, identity tokens.

A challenge is remembered by host and a token by host, repository and credential, so that only the first request to a
repository costs more than itself. A token is never sent to another host, nor for another repository or credential.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from controller.errors import AccessDenied, LimitExceeded, Unacceptable, Unavailable
from controller.model.access import Credential
from controller.model.deadline import Deadline
from controller.registry.challenges import BearerChallenge, Challenge, parse_challenges
from controller.registry.endpoints import Endpoint
from controller.registry.remembered import Remembered
from controller.registry.transport import Answer, Request, Transport
from controller.review.flights import Flights
from controller.settings import RegistrySettings

MAX_REMEMBERED = 10_000  # bounds tokens and challenges kept
MAX_TOKEN_ANSWER_BYTES = 64 * 1024  # bounds what a realm may answer
MAX_TOKEN_LENGTH = 32 * 1024  # characters
DEFAULT_LIFETIME = 60.0  # seconds a token lives when its answer does not say (the token specification's own default)
MAX_LIFETIME = 3600.0  # seconds after which a token is asked for anew, whatever its answer says
SAFETY = 0.8  # the part of a token's lifetime in which it is used


@dataclass(frozen=True, slots=True)
class Login:
    """One repository, as one credential (or nobody) may see it."""

    endpoint: Endpoint
    repository: str
    credential: Credential | None

    @property
    def account(self) -> str:
        """A name for the credential that is safe to keep; empty for nobody's."""
        c = self.credential
        return (
            "" if c is None else hashlib.sha256(repr((c.username, c.password, c.identity_token)).encode()).hexdigest()
        )

    @property
    def words(self) -> str:
        """With what the registry is asked, as a sentence ends that a developer reads."""
        if self.credential is None:
            return "without credentials (no pull secret or credential provider has any for the image)"
        return f"with {self.credential.words}"


@dataclass(frozen=True, slots=True)
class _Token:
    header: str = field(repr=False)
    until: float


class Authenticator:
    """Answers challenges. `monotonic` is the clock, in seconds."""

    def __init__(
        self, transport: Transport, settings: RegistrySettings, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._transport = transport
        self._monotonic = monotonic
        self._challenges: Remembered[str, Challenge] = Remembered(MAX_REMEMBERED)
        self._tokens: Remembered[Login, _Token] = Remembered(MAX_REMEMBERED)
        self._flights: Flights[tuple[Login, Challenge], str] = Flights(
            bound=settings.registry_request_timeout, most=settings.registry_flights, setting="registry_flights"
        )

    async def header(self, login: Login, *, deadline: Deadline) -> str | None:
        """The header to send without having been asked: what the host asked for before, else none."""
        challenge = self._challenges.get(login.endpoint.name)
        return None if challenge is None else await self._answer(login, challenge, deadline=deadline)

    async def challenged(self, login: Login, answer: Answer, *, used: str | None, deadline: Deadline) -> str:
        """The header that meets the challenge of a 401, other than the one `used`.

        Raises `AccessDenied` when there is none: no challenge that Assay knows, no credential, or the realm refuses.
        """
        host = login.endpoint.name
        challenge = parse_challenges(
            answer.headers.getall("WWW-Authenticate", []), host=host, insecure=login.endpoint.insecure
        )
        if challenge is not None:
            self._challenges.put(host, challenge)
            token = self._tokens.get(login)
            if token is not None and token.header == used:
                self._tokens.forget(login)
            header = await self._answer(login, challenge, deadline=deadline)
            if header is not None and header != used:
                return header
        raise AccessDenied("AccessDenied", f"{host} refused {login.repository} (401), asked {login.words}")

    async def close(self) -> None:
        """End what is under way."""
        await self._flights.close()

    async def _answer(self, login: Login, challenge: Challenge, *, deadline: Deadline) -> str | None:
        if not isinstance(challenge, BearerChallenge):
            return None if login.credential is None else _basic(login.credential)
        token = self._tokens.get(login)
        if token is not None and self._monotonic() < token.until:
            return token.header
        return await self._flights.join(
            (login, challenge),
            lambda own: self._fetch(login, challenge, own),
            deadline=deadline,
            doing=f"asking for a token for {login.endpoint.name}/{login.repository}",
        )

    async def _fetch(self, login: Login, challenge: BearerChallenge, deadline: Deadline) -> str:
        host = login.endpoint.name
        answer = await self._transport.send(_token_request(login, challenge), deadline=deadline)
        if answer.status >= 500 or answer.status == 408:
            raise Unavailable("RegistryUnavailable", f"the token realm of {host} answered {answer.status}")
        if answer.status != 200:
            raise AccessDenied(
                "AccessDenied", f"the token realm of {host} refused ({answer.status}), asked {login.words}"
            )
        token = _token(answer.body, host=host, now=self._monotonic())
        self._tokens.put(login, token)
        return token.header


def _token_request(login: Login, challenge: BearerChallenge) -> Request:
    # The scope is always this one, whatever the registry asks for: what is fetched is read from one repository.
    asked = {"scope": f"repository:{login.repository}:pull"}
    if challenge.service:
        asked["service"] = challenge.service
    credential = login.credential
    what = f"a token for {login.endpoint.name}"
    if credential is not None and credential.identity_token:
        form = asked | {
            "grant_type": "refresh_token",
            "client_id": "assay",
            "refresh_token": credential.identity_token,
        }
        return _realm_request(challenge.realm, what, account=login.account, form=form)
    return _realm_request(
        challenge.realm.update_query(asked),
        what,
        account=login.account,
        authorization=None if credential is None else _basic(credential),
    )


def _realm_request(
    url: URL, what: str, *, account: str, authorization: str | None = None, form: Mapping[str, str] | None = None
) -> Request:
    return Request(
        url=url,
        what=what,
        max_bytes=MAX_TOKEN_ANSWER_BYTES,
        setting="MAX_TOKEN_ANSWER_BYTES",
        accept="application/json",
        authorization=authorization,
        account=account,
        form=form,
        follow_redirects=False,  # a realm is the one host that credentials are sent to on another's word
    )


def _basic(credential: Credential) -> str:
    try:
        return aiohttp.encode_basic_auth(credential.username, credential.password)
    except ValueError as exc:
        raise Unacceptable("CredentialUnusable", f"the user name of {credential.words} has a colon") from exc


def _token(body: bytes, *, host: str, now: float) -> _Token:
    try:
        content: Any = json.loads(body)
        text = content.get("token") or content["access_token"]
        lifetime = content.get("expires_in") or DEFAULT_LIFETIME
        if not isinstance(text, str) or isinstance(lifetime, bool) or not isinstance(lifetime, int | float):
            raise TypeError(host)
        if not text or not all("!" <= character <= "~" for character in text):
            raise ValueError(host)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise Unacceptable("TokenMalformed", f"the token realm of {host} gave no token that can be used") from exc
    if len(text) > MAX_TOKEN_LENGTH:
        raise LimitExceeded("MAX_TOKEN_LENGTH", f"the token realm of {host} gave a token that is too long")
    return _Token(header=f"Bearer {text}", until=now + SAFETY * min(max(0.0, lifetime), MAX_LIFETIME))
