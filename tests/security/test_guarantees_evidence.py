"""Guarantees 1 to 5: what counts as evidence, for which digest, and under which name it may stand.

Real recorded evidence, a registry that serves it as a test wants, and everything of Assay between the two.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.demo import story
from tests.contract.registry_servers.scripted import OCI_INDEX, OCI_MANIFEST, Answer, descriptor, digest_of
from tests.support.fixtures import recorded_manifest
from tests.support.pipeline import (
    APP,
    Rig,
    key_authority,
    load_demo,
    pod,
    put_annotated_referrer,
    running,
    workflow_authority,
)

SIGNATURE = "release.none.signature"
DIGEST = digest_of(recorded_manifest())
SBOM = {"name": "sbom", "type": "SBOM", "authorities": ["release"]}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as running_rig:
        yield running_rig


# 01: admitted only if verified for exactly the digest that will run


async def test_guarantee_01_a_signed_image_is_admitted_as_the_digest_that_was_verified(rig: Rig) -> None:
    rig.publish(rig.policy())
    image = rig.image(SIGNATURE)
    answer = await rig.review(image)
    assert answer.allowed, answer.message
    assert answer.images == [f"{image}@{DIGEST}"]
    (leaf,) = rig.leaves()
    assert leaf["images"][0]["digest"] == DIGEST
    assert [proof["authority"] for proof in leaf["evaluations"][0]["signatures"]] == ["release"]


async def test_guarantee_01_a_moved_tag_is_denied_and_the_digest_that_was_signed_is_not(rig: Rig) -> None:
    rig.publish(rig.policy())
    image = rig.image(SIGNATURE)
    assert (await rig.review(image)).allowed
    rig.other_image(tag="1")
    moved = await rig.review(image)
    assert not moved.allowed
    assert "SignatureMissing" in moved.message
    assert (await rig.review(f"{image}@{DIGEST}")).allowed


@pytest.mark.parametrize("bundle", [SIGNATURE, "release.none.manifest"])
async def test_guarantee_01_a_signature_attached_to_another_image_does_not_count(rig: Rig, bundle: str) -> None:
    rig.publish(rig.policy())
    rig.image(bundle)
    assert (await rig.review(rig.reference("1"))).allowed
    answer = await rig.review(rig.other_image(bundle))
    assert not answer.allowed
    assert "SignatureNotTrusted" in answer.message


async def test_guarantee_01_a_listing_that_names_another_images_signature_does_not_count(rig: Rig) -> None:
    rig.publish(rig.policy())
    rig.image(SIGNATURE)
    other = rig.registry.put_image(APP, "other", mark="other")
    listing = rig.registry._listing(APP, DIGEST)
    rig.registry.put_manifest(APP, listing, media_type=OCI_INDEX, tag=rig.registry._listing_name(other))
    assert not (await rig.review(rig.reference("other"))).allowed


async def test_guarantee_01_one_platforms_signature_is_not_the_indexs(rig: Rig) -> None:
    rig.publish(rig.policy())
    rig.image(SIGNATURE)
    child = {**descriptor(recorded_manifest(), OCI_MANIFEST), "platform": {"os": "linux", "architecture": "amd64"}}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}
    rig.registry.put_manifest(APP, index, media_type=OCI_INDEX, tag="multi")
    answer = await rig.review(rig.reference("multi"))
    assert not answer.allowed
    assert "SignatureMissing" in answer.message
    assert (await rig.review(f"{rig.registry.host}/{APP}@{DIGEST}")).allowed


async def test_guarantee_01_a_key_that_no_authority_names_does_not_count(rig: Rig) -> None:
    rig.publish(rig.policy())
    answer = await rig.review(rig.image("stranger.none.signature"))
    assert not answer.allowed
    assert "SignatureNotTrusted" in answer.message


@pytest.mark.parametrize(
    ("bundle", "admitted"),
    [
        ("workflow.rekor2+timestamp.signature", True),
        ("workflow.rekor1.signature", True),
        ("branch.rekor2+timestamp.signature", False),
        ("person.rekor2+timestamp.signature", False),
        ("other-sigstore-workflow.rekor2+timestamp.signature", False),
        ("workflow.timestamp.signature", False),
        ("workflow.none.signature", False),
        ("another-image-workflow.rekor2+timestamp.signature", False),
    ],
)
async def test_guarantee_01_only_the_named_identity_of_the_named_sigstore_counts(
    rig: Rig, bundle: str, admitted: bool
) -> None:
    rig.publish(rig.policy(authorities=[workflow_authority()], signatures={"authorities": ["workflow"]}))
    answer = await rig.review(rig.image(bundle))
    assert answer.allowed == admitted, answer.message


@pytest.mark.parametrize("mode", ["Pin", "Require"])
async def test_guarantee_01_a_tag_that_was_not_pinned_is_never_admitted(rig: Rig, mode: str) -> None:
    rig.publish(rig.policy(digest=mode))
    image = rig.image(SIGNATURE)
    unpinned = await rig.review(image, mutate=False)  # as if another webhook had come between
    assert not unpinned.allowed
    assert ("DigestNotPinned" if mode == "Pin" else "DigestRequired") in unpinned.message
    assert (await rig.review(f"{image}@{DIGEST}", mutate=False)).allowed


async def test_guarantee_01_every_image_of_the_demo_gets_the_verdict_that_it_deserves(rig: Rig, tmp_path: Path) -> None:
    load_demo(rig.registry)
    rig.publish((story.write_policies(tmp_path) / "policies.yaml").read_text())
    scenes = story.scenes(rig.registry.host)
    assert {scene.allowed for scene in scenes} == {True, False}
    for scene in scenes:
        answer = await rig.review(scene.image)
        assert answer.allowed == scene.allowed, f"{scene.pod}: {scene.because}\n{answer.message}"


# 02: empty evidence fails


async def test_guarantee_02_no_evidence_satisfies_nothing(rig: Rig) -> None:
    image = rig.image()
    rig.publish(rig.policy())
    assert "SignatureMissing" in (await rig.review(image)).message
    rig.publish(rig.policy(signatures=None, attestations=[SBOM]))
    assert "AttestationMissing" in (await rig.review(image)).message


@pytest.mark.parametrize(
    "spec",
    [
        {"authorities": []},
        {"authorities": [], "signatures": {"authorities": []}},
        {"signatures": {"authorities": []}},
        {"signatures": {"authorities": ["release"], "minimum": 0}},
        {"signatures": {}},
        {"signatures": None, "attestations": []},
        {"signatures": None, "attestations": [{**SBOM, "authorities": []}]},
        {"signatures": None, "attestations": [{**SBOM, "minimum": 0}]},
        {"authorities": [{"name": "release", "keyless": {"identities": []}}]},
        {"authorities": [{"name": "release"}]},
    ],
    ids=json.dumps,
)
async def test_guarantee_02_a_policy_that_asks_for_nothing_admits_nothing(rig: Rig, spec: dict[str, Any]) -> None:
    rig.publish(rig.policy(**spec))
    answer = await rig.review(rig.image(SIGNATURE, "release.none.spdxjson"))
    assert not answer.allowed
    assert "mend the policy" in answer.message


@pytest.mark.parametrize(
    "expression",
    ["sboms.all(s, false)", "attestations.all(a, false)", "signatures.all(s, false)", "size(vulnerabilities) == 0"],
)
async def test_guarantee_02_a_rule_over_evidence_that_no_requirement_asks_for_admits_nothing(
    rig: Rig, expression: str
) -> None:
    rig.publish(rig.policy(signatures=None, validations=[{"expression": expression}]))
    answer = await rig.review(rig.image(SIGNATURE, "release.none.spdxjson"))
    assert not answer.allowed
    assert "mend the policy" in answer.message


# 03: one reference, one digest, and content that is hashed


def _alternating(rig: Rig, digests: list[str]) -> None:
    """Let the tag `1` name each of these in turn, and the last for ever."""

    async def around(request: web.BaseRequest, standard: Answer) -> web.Response:
        if request.path.endswith("/manifests/1"):
            digest = digests.pop(0) if len(digests) > 1 else digests[0]
            content, media_type = rig.registry.manifests[APP, digest]
            headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
            return web.Response(body=content, headers=headers)
        return await standard(request)

    rig.registry.around = around


async def test_guarantee_03_a_tag_is_asked_for_once_by_mutation_and_validation_together(rig: Rig) -> None:
    rig.publish(rig.policy(), rig.policy("again"))
    rig.image(SIGNATURE)
    other = rig.registry.put_image(APP, mark="other")
    _alternating(rig, [DIGEST, other])
    image = rig.reference("1")
    answer = await rig.review(pod(image, image))
    assert answer.allowed, answer.message
    assert answer.images == [f"{image}@{DIGEST}"] * 2
    assert len(rig.registry.seen("/manifests/1")) == 1
    assert rig.registry.seen(f"/manifests/{DIGEST}") == []
    assert {shown["digest"] for shown in rig.leaves()[0]["images"]} == {DIGEST}


async def test_guarantee_03_a_registry_that_changes_its_mind_cannot_lend_one_images_signature_to_another(
    rig: Rig,
) -> None:
    rig.publish(rig.policy())
    rig.image(SIGNATURE)
    other = rig.registry.put_image(APP, mark="other")
    _alternating(rig, [other, DIGEST])
    answer = await rig.review(rig.reference("1"))
    assert answer.images == [f"{rig.reference('1')}@{other}"]
    assert not answer.allowed


async def test_guarantee_03_other_bytes_than_the_digest_names_are_refused(rig: Rig) -> None:
    rig.publish(rig.policy())
    image = rig.image(SIGNATURE)
    other = rig.registry.put_image(APP, mark="other")
    rig.registry.manifests[APP, DIGEST] = rig.registry.manifests[APP, other]
    answer = await rig.review(f"{image}@{DIGEST}")
    assert not answer.allowed
    assert "cannot be judged, DigestMismatch" in answer.message


async def test_guarantee_03_a_tags_digest_is_that_of_its_bytes_whatever_the_header_says(rig: Rig) -> None:
    rig.publish(rig.policy())
    rig.image(SIGNATURE)
    other = rig.registry.put_image(APP, mark="other")

    async def lying(_: web.BaseRequest) -> web.Response:
        content, media_type = rig.registry.manifests[APP, other]
        return web.Response(body=content, headers={"Content-Type": media_type, "Docker-Content-Digest": DIGEST})

    rig.registry.answer(f"/v2/{APP}/manifests/1", lying)
    answer = await rig.review(rig.reference("1"))
    assert not answer.allowed
    assert DIGEST not in "".join(answer.images)


async def test_guarantee_03_evidence_that_is_not_the_bytes_it_is_listed_as_is_not_judged(rig: Rig) -> None:
    rig.publish(rig.policy())
    image = rig.image(SIGNATURE)
    for digest, content in list(rig.registry.blobs.items()):
        rig.registry.blobs[digest] = content + b" "
    answer = await rig.review(image)
    assert not answer.allowed
    assert "cannot be judged" in answer.message
    assert rig.leaves()[0]["evaluations"][0]["outcome"] == "Error"


# 04: a signature is a signature, a statement is its own type, a signer counts once


@pytest.mark.parametrize("attestation", ["release.none.spdxjson", "release.none.vuln", "release.none.slsaprovenance1"])
async def test_guarantee_04_an_attestation_is_not_a_signature(rig: Rig, attestation: str) -> None:
    rig.publish(rig.policy())
    answer = await rig.review(rig.image(attestation))
    assert not answer.allowed
    assert "signature" in answer.message


async def test_guarantee_04_a_signature_is_not_an_attestation(rig: Rig) -> None:
    rig.publish(rig.policy(signatures=None, attestations=[SBOM]))
    assert not (await rig.review(rig.image(SIGNATURE))).allowed


async def test_guarantee_04_a_statement_about_another_image_does_not_count(rig: Rig) -> None:
    rig.publish(rig.policy())
    answer = await rig.review(rig.image("another-image-release.none.signature"))
    assert not answer.allowed
    assert rig.leaves()[0]["evaluations"][0]["signatures"] == []


@pytest.mark.parametrize("claimed", ["https://spdx.dev/Document", "https://sigstore.dev/cosign/sign/v1"])
async def test_guarantee_04_the_statements_own_type_counts_and_no_annotations(rig: Rig, claimed: str) -> None:
    rig.image()
    annotations = {"dev.sigstore.bundle.predicateType": claimed, "dev.sigstore.bundle.content": "dsse-envelope"}
    put_annotated_referrer(rig, "release.none.vuln", annotations)
    rig.publish(
        rig.policy(), rig.policy("with-sbom", signatures=None, attestations=[SBOM]), rig.policy("vuln", **_VULN)
    )
    await rig.review(rig.reference("1"))
    outcomes = {e["policy"]["name"]: e["outcome"] for e in rig.leaves()[0]["evaluations"]}
    assert outcomes == {"signed": "Violated", "with-sbom": "Violated", "vuln": "Satisfied"}


_VULN: dict[str, Any] = {
    "signatures": None,
    "attestations": [{"name": "scan", "type": "Vulnerability", "authorities": ["release"]}],
}


async def test_guarantee_04_one_key_under_two_names_counts_once(rig: Rig) -> None:
    two = [key_authority("release"), key_authority("security")]
    for distinct in ("Signer", "Authority"):
        wanted = {"minimum": 2, "authorities": ["release", "security"], "distinct": distinct}
        rig.publish(rig.policy(authorities=two, signatures=wanted))
        answer = await rig.review(rig.image(SIGNATURE, "release.timestamp.signature", "release.none.manifest"))
        assert not answer.allowed
        assert "SignaturesTooFew: 1 of 2" in answer.message


async def test_guarantee_04_two_keys_count_as_two(rig: Rig) -> None:
    two = [key_authority("release"), key_authority("security", key="stranger")]
    rig.publish(rig.policy(authorities=two, signatures={"minimum": 2, "authorities": ["release", "security"]}))
    one = await rig.review(rig.image(SIGNATURE))
    assert not one.allowed
    assert "next: sign this digest with the key of security (cosign sign --key)" in one.message
    answer = await rig.review(rig.image(SIGNATURE, "stranger.none.signature", repository="acme/both"))
    assert answer.allowed, answer.message


# 05: what is not verified stands nowhere under a verified name


async def test_guarantee_05_rules_see_verified_documents_and_no_others(rig: Rig) -> None:
    image = rig.image("release.none.spdxjson", "stranger.none.spdxjson", "stranger.none.cyclonedx", SIGNATURE)
    wanted = "size(sboms) == 1 && size(attestations) == 1"
    rig.publish(rig.policy(signatures=None, attestations=[SBOM], validations=[{"expression": wanted}]))
    answer = await rig.review(image)
    assert answer.allowed, answer.message
    (evaluation,) = rig.leaves()[0]["evaluations"]
    assert len(evaluation["attestations"]) == 1
    assert len({a["signer"]["key"] for a in evaluation["attestations"]}) == 1
    stranger = {r["artifact"] for r in evaluation["rejections"]}
    assert stranger
    assert stranger.isdisjoint(a["artifact"] for a in evaluation["attestations"])


async def test_guarantee_05_what_one_authority_attested_is_not_seen_under_anothers_requirement(rig: Rig) -> None:
    both = [key_authority("release"), key_authority("other", key="stranger")]
    wanted = {"signatures": {"authorities": ["other"]}, "attestations": [{**SBOM, "authorities": ["other"]}]}
    rule = {"expression": "size(sboms) == 1 && size(signatures) == 1"}
    rig.publish(rig.policy(authorities=both, validations=[rule], **wanted))
    image = rig.image(SIGNATURE, "release.none.spdxjson", "stranger.none.signature", "stranger.none.spdxjson")
    answer = await rig.review(image)
    assert answer.allowed, answer.message
    (evaluation,) = rig.leaves()[0]["evaluations"]
    assert {proof["authority"] for proof in (*evaluation["signatures"], *evaluation["attestations"])} == {"other"}


async def test_guarantee_05_a_message_calls_nobody_a_signer_whose_signature_was_not_verified(rig: Rig) -> None:
    rig.publish(rig.policy(authorities=[workflow_authority()], signatures={"authorities": ["workflow"]}))
    answer = await rig.review(rig.image("other-sigstore-workflow.rekor2+timestamp.signature"))
    assert not answer.allowed
    assert "signed by https://github.com/acme/app" not in answer.message
    assert "a signature by" not in answer.message
    assert rig.leaves()[0]["evaluations"][0]["signatures"] == []
    branch = await rig.review(rig.image("branch.rekor2+timestamp.signature", repository="acme/branch"))
    assert not branch.allowed
    # Here the signature held, and who it was may and must be said.
    assert "signed by https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main" in branch.message
