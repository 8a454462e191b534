"""An exception that was used is applied again from the stored bytes, or it is said that it does not hold."""

from __future__ import annotations

from typing import Any

import pytest

from controller import admission
from controller.model.deadline import Deadline
from controller.model.decision import Verdict
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.workers.replay import replay
from tests.support.exceptions import GLASS, exception
from tests.support.review import World, digest, pod, review

UNSIGNED = "ghcr.io/acme/unsigned"


async def used(*granted: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The leaf and the bytes of a pod that these exceptions let in."""
    world = World(exceptions=list(granted))
    obj = pod(f"{UNSIGNED}@{digest(UNSIGNED)}")
    request = admission.parse_request(review(obj)["request"])
    decision = await world.pipeline().validate(request, deadline=Deadline.after(60))
    assert decision.verdict is Verdict.ALLOW
    return world.records[-1], {str(name): content for name, content in world.blobs.items()}


@pytest.mark.guarantee(16)
@pytest.mark.parametrize("spec", [{}, GLASS | {"digests": [str(digest(UNSIGNED))]}])
async def test_guarantee_16_an_exception_that_was_used_is_applied_again_from_the_stored_bytes(spec: Any) -> None:
    leaf, stored = await used(exception(**spec))
    (found,) = replay(leaf, stored.get, limits=DocumentSettings())
    assert (found.policy, found.recorded["name"]) == ("ClusterEvidencePolicy/signed", "hotfix")
    assert found.trouble == ""
    assert replay(leaf, stored.get, limits=DocumentSettings(), digest=str(Digest.of(b"another"))) == []


@pytest.mark.guarantee(16)
@pytest.mark.parametrize(
    ("path", "value", "trouble"),
    [
        ("evaluations/0/exceptions/0/approver", "joe", "something else than the record"),
        ("evaluations/0/exceptions/0/reason", "another", "something else than the record"),
        ("evaluations/0/exceptions/0/expires", "2027-01-01T00:00:00.000000Z", "something else than the record"),
        ("evaluations/0/exceptions/0/breakGlass", True, "something else than the record"),
        ("evaluations/0/exceptions/0/hash", str(Digest.of(b"gone")), "BytesMissing"),
        ("decidedAt", "2026-12-24T00:00:00.000000Z", "does not except this image"),
        ("images/0/reference", "docker.io/acme/app:1", "does not except this image"),
        ("evaluations/0/policy/name", "other", "does not except this image"),
    ],
)
async def test_guarantee_16_an_exception_that_does_not_say_what_the_record_says_is_told(
    path: str, value: Any, trouble: str
) -> None:
    leaf, stored = await used(exception())
    *parents, last = path.split("/")
    at: Any = leaf
    for part in parents:
        at = at[int(part)] if part.isdigit() else at[part]
    at[last] = value
    (found,) = replay(leaf, stored.get, limits=DocumentSettings())
    assert trouble in found.trouble
    assert found.untold is (trouble == "BytesMissing")


@pytest.mark.guarantee(16)
async def test_guarantee_16_an_altered_exception_is_found() -> None:
    leaf, stored = await used(exception())
    name = leaf["evaluations"][0]["exceptions"][0]["hash"]
    (found,) = replay(leaf, (stored | {name: stored[name].replace(b"jane", b"joe")}).get, limits=DocumentSettings())
    assert found.trouble.startswith("BytesAltered")
    assert not found.untold
