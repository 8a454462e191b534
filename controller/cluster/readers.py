"""Whose token it is, and what he may read: TokenReview and SubjectAccessReview, each remembered for seconds.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any

from controller.cluster.client import ClusterClient
from controller.cluster.permissions import REVIEWS as ACCESS_REVIEWS
from controller.cluster.permissions import is_allowed, review_of
from controller.errors import AssayError, Unavailable
from controller.model.workload import User
from controller.settings import ClusterSettings

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path
REMEMBERED = 10.0  # seconds for which an answer is remembered, so long a permission outlives its end
MAX_REMEMBERED = 4096  # answers
MAX_TOKEN = 16_384  # characters
MAX_AT_ONCE = 16  # questions under way: whoever reaches the port can ask about any token
TIMEOUT = 5.0  # seconds for one question


class ClusterReaders:
    """Implements `reading.access.Readers`. Belongs to the event loop that first uses it."""

    def __init__(self, settings: ClusterSettings, *, group: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._group = group
        self._clock = clock
        self._client: ClusterClient | None = None
        self._places = asyncio.Semaphore(MAX_AT_ONCE)
        self._known: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()

    async def identify(self, token: str) -> User | None:
        """Whose token this is; None for one that is nobody's. Raises `Unavailable` (`ReaderUnknown`)."""
        if len(token) > MAX_TOKEN:
            return None
        key = hashlib.sha256(token.encode()).digest()  # a token is not kept
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        found: User | None = await self._remembered(key, lambda: self._ask(TOKEN_REVIEWS, review, user_of))
        return found

    async def may(self, user: User, *, verb: str, resource: str, namespace: str) -> bool:
        """Whether the user may; an empty namespace means in all. Raises `Unavailable` (`ReaderUnknown`)."""
        attributes = {"group": self._group, "version": "v1", "resource": resource, "verb": verb, "namespace": namespace}
        review = review_of(user, attributes)
        key = (user, verb, resource, namespace)
        allowed: bool = await self._remembered(key, lambda: self._ask(ACCESS_REVIEWS, review, is_allowed))
        return allowed

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _remembered(self, key: Hashable, ask: Callable[[], Awaitable[Any]]) -> Any:
        known = self._known.get(key)
        if known is not None and self._clock() - known[0] < REMEMBERED:
            return known[1]
        asked = self._clock()
        answer = await ask()
        self._known[key] = (asked, answer)
        self._known.move_to_end(key)
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return answer

    async def _ask(self, path: str, review: Mapping[str, Any], read: Callable[[dict[str, Any]], Any]) -> Any:
        try:
            async with self._places:
                if self._client is None:
                    self._client = await ClusterClient.connect(self._settings)
                return read(await self._client.create(path, review, timeout=TIMEOUT))
        except AssayError as exc:
            raise Unavailable("ReaderUnknown", "the cluster does not say who asks, or what he may read") from exc


def user_of(answer: dict[str, Any]) -> User | None:
    """The user of a TokenReview's status; an error beside it makes it nobody's."""
    status = answer.get("status")
    if not isinstance(status, dict) or status.get("authenticated") is not True or status.get("error"):
        return None
    user = status.get("user")
    if not isinstance(user, dict) or not isinstance(user.get("username"), str) or not user["username"]:
        return None
    extra = user.get("extra") or {}
    return User(
        username=user["username"],
        uid=str(user.get("uid") or ""),
        groups=tuple(str(group) for group in user.get("groups") or ()),
        extra=tuple(sorted((str(name), tuple(map(str, values))) for name, values in extra.items())),
    )
