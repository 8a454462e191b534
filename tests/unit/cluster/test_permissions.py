"""Who may break the glass: a plain yes of the API server, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from controller.cluster.client import ClusterClient
from controller.cluster.permissions import REVIEWS, ClusterGlass
from controller.errors import ConfigurationError, DeadlineExceeded, Unavailable
from controller.model.deadline import Deadline
from controller.model.workload import User
from controller.settings import ClusterSettings

JANE = User("jane", "u-1", ("oncall",), (("scopes.example", ("a", "b")),))


class _Cluster(ClusterClient):
    """An API server that answers so, and remembers what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    async def create(self, path: str, body: Any, **_: Any) -> dict[str, Any]:
        assert path == REVIEWS
        self.asked.append(body)
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"status": self.answer} if self.answer is not None else {}


def glass(answer: Any) -> tuple[ClusterGlass, _Cluster]:
    made, cluster = ClusterGlass(ClusterSettings()), _Cluster(answer)
    made._client = cluster
    return made, cluster


@pytest.mark.guarantee(16)
@pytest.mark.parametrize(
    ("answer", "may"),
    [
        ({"allowed": True}, True),
        ({"allowed": False}, False),
        ({"allowed": True, "denied": True}, False),
        ({"allowed": "true"}, False),
        ({}, False),
        (None, False),
    ],
)
async def test_guarantee_16_only_a_plain_yes_breaks_the_glass(answer: Any, may: bool) -> None:
    asking, _ = glass(answer)
    assert await asking.may_break(JANE, deadline=Deadline.after(5)) is may


@pytest.mark.guarantee(16)
@pytest.mark.parametrize(
    "error", [Unavailable("ClusterUnavailable", "away"), ConfigurationError("ClusterAccessDenied", "no right to ask")]
)
async def test_guarantee_16_what_cannot_be_asked_is_no_yes(error: Exception) -> None:
    asking, _ = glass(error)
    with pytest.raises(Unavailable, match="PermissionUnknown"):
        await asking.may_break(JANE, deadline=Deadline.after(5))
    with pytest.raises(DeadlineExceeded):
        await asking.may_break(JANE, deadline=Deadline.after(-1))


async def test_the_authorizer_is_told_all_that_is_known_of_the_user() -> None:
    asking, cluster = glass({"allowed": True})
    await asking.may_break(JANE, deadline=Deadline.after(5))
    assert cluster.asked == [
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": "jane",
                "uid": "u-1",
                "groups": ["oncall"],
                "extra": {"scopes.example": ["a", "b"]},
                "resourceAttributes": {
                    "group": "assay.dev",
                    "version": "v1alpha1",
                    "resource": "evidenceexceptions",
                    "verb": "break-glass",
                },
            },
        }
    ]
