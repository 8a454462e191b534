"""Who may read what. Whoever asks shows a token of the cluster; the cluster's own authorizer says what he may see.

Each question is about one namespace, or about all of them. The permissions are verbs on resources of the API group
`inventory.assay.dev`, which nobody serves and every authorizer can grant (docs/how-to/read-the-inventory.md). What
somebody may not see is not there for him: the answer is the one for what does not exist.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Protocol

from fastapi import Request

from controller.model.workload import User
from controller.reading.telling import Refused

GROUP = "inventory.assay.dev"
EVERYWHERE = ""
WHO = "assay_reader"  # in a request's `state`: who asks
ASKED = "assay_asked"  # in a request's `state`: with which verb, and about which namespace, he was let in


class Readers(Protocol):
    """Knows who asks, and what he may read."""

    async def identify(self, token: str) -> User | None:
        """Whose token this is; None for one that is nobody's. Raises `Unavailable`."""
        ...

    async def may(self, user: User, *, verb: str, resource: str, namespace: str) -> bool:
        """Whether the user may; `namespace` `EVERYWHERE` means in each. Raises `Unavailable`."""
        ...


class Access:
    """Decides for each question. Without `readers` everybody may read everything: for loopback alone."""

    def __init__(self, readers: Readers | None) -> None:
        self._readers = readers

    async def require(self, request: Request, *, verb: str, resource: str, namespace: str | None) -> None:
        """Raise `Refused` unless who asks may: in this namespace, or, where None is named, in all."""
        user = await self._who(request)
        if user is None or await self._may(user, verb, resource, namespace or EVERYWHERE):
            setattr(request.state, ASKED, (verb, namespace or EVERYWHERE))
            return
        what = f"{verb} {resource}.{GROUP}"
        where = f"in namespace {namespace}" if namespace else "in all namespaces; name one with ?namespace="
        raise Refused(HTTPStatus.FORBIDDEN, "AccessDenied", f"{user.username} may not {what} {where}")

    async def sees(self, request: Request, *, resource: str, namespace: str) -> bool:
        """Whether who asks may get something of this namespace. Raises `Refused` for nobody."""
        user = await self._who(request)
        setattr(request.state, ASKED, ("get", namespace))
        return user is None or await self._may(user, "get", resource, namespace)

    async def identified(self, request: Request) -> None:
        """Raise `Refused` for nobody."""
        await self._who(request)

    async def _may(self, user: User, verb: str, resource: str, namespace: str) -> bool:
        assert self._readers is not None  # noqa: S101 - there are users only where there are readers
        return await self._readers.may(user, verb=verb, resource=resource, namespace=namespace)

    async def _who(self, request: Request) -> User | None:
        """Who asks; None where nobody is asked to say."""
        if self._readers is None:
            return None
        known: User | None = getattr(request.state, WHO, None)
        if known is not None:
            return known
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        user = await self._readers.identify(token.strip()) if scheme.lower() == "bearer" and token.strip() else None
        if user is None:
            message = "show a token of the cluster: Authorization: Bearer …, as `kubectl create token` makes it"
            raise Refused(HTTPStatus.UNAUTHORIZED, "TokenRequired", message)
        setattr(request.state, WHO, user)
        return user
