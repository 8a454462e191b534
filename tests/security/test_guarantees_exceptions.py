"""Guarantee 16 over the whole of Assay but its sockets: who excepts what until when, and that every use is recorded."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller import telemetry
from controller.policy.exception_index import build_exceptions
from controller.policy.exceptions import parse_exception
from tests.contract.registry_servers.scripted import digest_of
from tests.support import exceptions
from tests.support.exceptions import stamp
from tests.support.fixtures import recorded_manifest
from tests.support.pipeline import APP, Rig, pod, running

SIGNATURE = "release.none.signature"
DIGEST = digest_of(recorded_manifest())
NOW = datetime.now(UTC).replace(microsecond=0)
END = NOW + timedelta(hours=3)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as running_rig:
        yield running_rig


def exception(name: str = "hotfix", **spec: Any) -> dict[str, Any]:
    """An exception from `signed` for all images, approved by jane just now, for three hours."""
    fields = {"images": ["**"], "approvedAt": stamp(NOW), "expires": stamp(END)}
    return exceptions.exception(name, **(fields | spec))


def grant(rig: Rig, *granted: Mapping[str, Any], policies: tuple[Mapping[str, Any], ...] = ()) -> None:
    """Put the policies in force, and these exceptions as the cluster would hold them."""
    rig.publish(*(policies or (rig.policy(),)), exceptions=build_exceptions(granted))


def unsigned(rig: Rig) -> str:
    return rig.other_image(tag="unsigned")


@pytest.mark.guarantee(16)
async def test_guarantee_16_every_use_is_told_and_recorded(rig: Rig) -> None:
    grant(rig, exception())
    answer = await rig.review(unsigned(rig))
    assert answer.allowed
    assert "@sha256:" in answer.images[0]  # excepted, and pinned all the same
    assert f"until {END:%Y-%m-%d %H:%MZ} by exception hotfix, approved by jane: SignatureMissing" in answer.warnings
    annotations = answer.response["auditAnnotations"]
    assert annotations["evaluations"] == "ClusterEvidencePolicy/signed=Exempt"
    assert annotations["exceptions"].endswith(f": hotfix until {END:%Y-%m-%d %H:%MZ}, approved by jane")
    (leaf,) = rig.leaves()
    assert (leaf["verdict"], leaf["flags"]) == ("Allow", ["exempt"])
    (evaluation,) = leaf["evaluations"]
    assert (evaluation["outcome"], evaluation["otherwise"]) == ("Exempt", "Violated")
    assert [reason["code"] for reason in evaluation["reasons"]] == ["SignatureMissing"]
    granted = parse_exception(exception())
    assert evaluation["exceptions"] == [
        {
            "name": "hotfix",
            "hash": granted.hash,
            "approver": "jane",
            "claimed": False,
            "approvedAt": f"{NOW:%Y-%m-%dT%H:%M:%S}.000000Z",
            "reason": "the signing service is down, see OPS-42",
            "expires": f"{END:%Y-%m-%dT%H:%M:%S}.000000Z",
            "breakGlass": False,
        }
    ]
    assert granted.hash in leaf["blobs"]
    stored = rig.store.queries.blob(granted.hash)
    assert stored is not None
    assert digest_of(stored) == granted.hash


@pytest.mark.guarantee(16)
async def test_guarantee_16_without_its_exception_the_image_is_denied_again(rig: Rig) -> None:
    image = unsigned(rig)
    for granted, allowed in (
        ([], False),
        ([exception()], True),
        ([exception(expires=stamp(NOW - timedelta(seconds=1)), approvedAt=stamp(NOW - timedelta(hours=1)))], False),
        ([exception(approver=None)], False),
        ([exception(namespaces=["web"])], False),
        ([exception(policies=[{"name": "another"}])], False),
        ([exception(images=["docker.io/**"])], False),
        ([exception()], True),
    ):
        grant(rig, *granted)
        answer = await rig.review(image)
        assert answer.allowed is allowed, granted
        assert ("is exempt" in answer.warnings) is allowed


@pytest.mark.guarantee(16)
async def test_guarantee_16_remembered_verdicts_know_no_exceptions(tmp_path: Path) -> None:
    # Judged while excepted, and judged anew from memory once that is over: and the other way round.
    async with running(tmp_path, tag_max_age=600, missing_max_age=600) as rig:
        image = unsigned(rig)
        grant(rig, exception())
        assert (await rig.review(image)).allowed
        asked = len(rig.registry.requests)
        grant(rig)
        assert not (await rig.review(image)).allowed
        grant(rig, exception())
        assert (await rig.review(image)).allowed
        assert len(rig.registry.requests) == asked


@pytest.mark.guarantee(16)
async def test_guarantee_16_a_satisfied_image_uses_no_exception(rig: Rig) -> None:
    grant(rig, exception())
    answer = await rig.review(rig.image(SIGNATURE))
    assert answer.allowed
    assert answer.warnings == ""
    (leaf,) = rig.leaves()
    assert leaf["flags"] == []
    assert "exceptions" not in leaf["evaluations"][0]


@pytest.mark.guarantee(16)
async def test_guarantee_16_an_exception_from_one_policy_is_none_from_another(rig: Rig) -> None:
    grant(rig, exception(), policies=(rig.policy("signed"), rig.policy("also")))
    answer = await rig.review(unsigned(rig))
    assert not answer.allowed
    assert "ClusterEvidencePolicy also" in answer.message
    assert "ClusterEvidencePolicy signed" not in answer.message
    (leaf,) = rig.leaves()
    assert (leaf["verdict"], leaf["flags"]) == ("Deny", ["exempt"])
    assert [e["outcome"] for e in leaf["evaluations"]] == ["Violated", "Exempt"]


@pytest.mark.guarantee(16)
async def test_guarantee_16_of_two_images_only_the_named_one_is_excepted(rig: Rig) -> None:
    one, two = unsigned(rig), rig.other_image(repository="acme/two", mark="two")
    grant(rig, exception(images=[f"{rig.registry.host}/{APP}"]))
    answer = await rig.review(pod(one, two))
    assert not answer.allowed
    assert '"c1"' in answer.message
    assert '"c0"' not in answer.message


@pytest.mark.guarantee(16)
async def test_guarantee_16_a_digest_names_what_will_run_and_no_tag_that_was_not_pinned(rig: Rig) -> None:
    image = rig.image()
    grant(rig, exception(images=None, digests=[DIGEST]))
    assert (await rig.review(image)).allowed
    assert (await rig.review(f"{image}@{DIGEST}")).allowed
    assert not (await rig.review(image, mutate=False)).allowed  # the tag may name something else a moment later
    assert not (await rig.review(unsigned(rig))).allowed
    rig.registry.put_image(APP, "1", mark="moved")
    assert not (await rig.review(f"{rig.registry.host}/{APP}:1@{digest_of(b'other')}")).allowed


@pytest.mark.guarantee(16)
async def test_guarantee_16_an_exception_holds_while_the_registry_is_away(rig: Rig) -> None:
    pinned = f"{rig.image()}@{DIGEST}"
    grant(rig, exception("by-pattern"))
    rig.registry.status(f"/v2/{APP}/manifests/{DIGEST}", 503)
    answer = await rig.review(pinned)
    assert answer.allowed
    grant(rig, exception("by-digest", images=None, digests=[DIGEST]))
    answer = await rig.review(pinned)
    assert answer.allowed
    for leaf in rig.leaves():
        (evaluation,) = leaf["evaluations"]
        assert (evaluation["otherwise"], evaluation["errorKind"]) == ("Error", "Unavailable")
        assert leaf["flags"] == ["exempt"]


@pytest.mark.guarantee(16)
async def test_guarantee_16_an_excepted_image_is_matched_and_needs_no_digest(rig: Rig) -> None:
    grant(rig, exception(), policies=(rig.policy(digest="Require"),))
    answer = await rig.review(unsigned(rig))
    assert answer.allowed
    (leaf,) = rig.leaves()
    assert leaf["evaluations"][0]["reasons"][0]["code"] == "DigestRequired"
    assert "no-match" not in leaf["flags"]


@pytest.mark.guarantee(16)
async def test_guarantee_16_no_annotation_or_label_of_an_object_excepts_it(rig: Rig) -> None:
    words = {
        f"{prefix}{word}": value
        for prefix in ("", "assay.dev/", "evidenceexceptions.assay.dev/", "admission.assay.dev/")
        for word in ("exempt", "exception", "exceptions", "break-glass", "breakGlass", "skip", "hotfix", "approver")
        for value in ("true",)
    }
    grant(rig, exception(images=["docker.io/**"]))
    wanted = pod(unsigned(rig))
    wanted["metadata"] |= {"annotations": words, "labels": words}
    plain = await rig.review(pod(unsigned(rig)))
    marked = await rig.review(wanted)
    assert not marked.allowed
    assert marked.message.rpartition("\n")[0] == plain.message.rpartition("\n")[0]
    assert all(leaf["flags"] == [] for leaf in rig.leaves())


@pytest.mark.guarantee(16)
async def test_guarantee_16_breaking_the_glass_is_loud(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    glass = exception("emergency", images=None, digests=[DIGEST], namespaces=["shop"], breakGlass=True)
    grant(rig, glass)
    before = telemetry.EXCEPTION_USES.labels("emergency", "true")._value.get()
    with caplog.at_level(logging.WARNING, "controller.review.pipeline"):
        answer = await rig.review(rig.image())
    assert answer.allowed
    assert answer.warnings.startswith("BREAK-GLASS: ")
    assert "OPS-42" in answer.response["auditAnnotations"]["break-glass"]
    (leaf,) = rig.leaves()
    assert leaf["flags"] == ["break-glass", "exempt"]
    assert leaf["evaluations"][0]["exceptions"][0]["breakGlass"] is True
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    for told in (
        "break-glass: Pod shop/app by jane",
        "exempt from ClusterEvidencePolicy/signed by emergency",
        "OPS-42",
    ):
        assert told in record.getMessage()
    assert telemetry.EXCEPTION_USES.labels("emergency", "true")._value.get() == before + 1
    assert not (await rig.review(pod(rig.image(), namespace="web"))).allowed


@pytest.mark.guarantee(16)
async def test_guarantee_16_each_exception_that_is_used_has_a_record_of_its_own(rig: Rig) -> None:
    wanted = pod(unsigned(rig), uid="pod-1")
    for granted in (exception("a"), exception("a"), exception("b"), exception("a", reason="another reason")):
        grant(rig, granted)
        assert (await rig.review(wanted)).allowed
    assert len(rig.leaves()) == 3
