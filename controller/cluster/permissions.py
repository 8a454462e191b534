"""Asks the cluster's own authorizer whether a user may do something (SubjectAccessReview). What it does not say is no.

https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.cluster.client import ClusterClient
from controller.errors import AssayError, Unavailable
from controller.model.deadline import Deadline
from controller.model.workload import User
from controller.policy.kinds import API_VERSION
from controller.settings import ClusterSettings

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
BREAK_GLASS = "break-glass"
_GROUP, _, _VERSION = API_VERSION.partition("/")
_GLASS = {"group": _GROUP, "version": _VERSION, "resource": "evidenceexceptions", "verb": BREAK_GLASS}


class ClusterGlass:
    """Knows who may break the glass. Belongs to the event loop that first uses it."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._client: ClusterClient | None = None

    async def may_break(self, user: User, *, deadline: Deadline) -> bool:
        """Whether the user has the verb `break-glass` on `evidenceexceptions.assay.dev`.

        Raises `Unavailable` (`PermissionUnknown`) where the API server does not say.
        """
        deadline.check("it was asked who may break the glass")
        try:
            if self._client is None:
                self._client = await ClusterClient.connect(self._settings)
            answer = await self._client.create(
                REVIEWS, review_of(user, _GLASS), timeout=max(deadline.remaining(), 0.001)
            )
        except AssayError as exc:
            raise Unavailable("PermissionUnknown", f"who may break the glass cannot be told: {exc.message}") from exc
        return is_allowed(answer)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None


def review_of(user: User, attributes: Mapping[str, str]) -> dict[str, Any]:
    """The question, with all that the API server said of the user: some authorizers decide by groups or `extra`."""
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user.username,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {name: list(values) for name, values in user.extra},
            "resourceAttributes": dict(attributes),
        },
    }


def is_allowed(answer: dict[str, Any]) -> bool:
    """Whether the answer is a plain yes: `denied` and an error of the evaluation beside it make it none."""
    status = answer.get("status")
    if not isinstance(status, dict):
        return False
    return status.get("allowed") is True and not status.get("denied")
