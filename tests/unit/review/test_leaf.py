"""The record of a decision: what a replay needs, nothing secret, one for each outcome of each object."""

from __future__ import annotations

import dataclasses
import json
import math
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import rfc8785

from controller import admission, images
from controller.errors import Unacceptable, Unavailable
from controller.model.bases import BaseClaim
from controller.model.deadline import Deadline
from controller.model.decision import Decision, ErrorKind, Outcome, Verdict
from controller.model.evidence import (
    Artifact,
    ArtifactKind,
    LogEntry,
    Proof,
    Rejection,
    Signer,
    VerifiedEvidence,
    VerifiedSignature,
)
from controller.model.image import Platform, PlatformManifest, ResolvedImage
from controller.model.policy import Namespace, TrustRoot
from controller.model.reference import Digest, Reference
from controller.policy.references import SECRET, Materials, ObjectRef
from controller.policy.snapshot import build_policies
from controller.review import leaf
from controller.settings import ReviewSettings
from controller.verification.keys import load_public_key
from tests.support.review import NOW, World, assessment, digest, evaluation, evidence, pod, policy, review
from tests.unit.policy.make import pem

LATER = Deadline(math.inf)


async def recorded(world: World, obj: Mapping[str, Any], settings: ReviewSettings | None = None) -> dict[str, Any]:
    """The leaf that validating the object leaves."""
    request = admission.parse_request(review(obj)["request"])
    await world.pipeline(settings).validate(request, deadline=LATER)
    return world.records[-1]


def pinned(name: str) -> str:
    return f"{name}@{digest(name)}"


APP = pinned("ghcr.io/acme/app")
UNSIGNED = pinned("ghcr.io/acme/unsigned")


async def test_a_leaf_holds_what_a_replay_needs() -> None:
    world = World()
    obj = pod(UNSIGNED, metadata={"labels": {"app": "web"}}, serviceAccountName="builder")
    found = await recorded(world, obj)
    compiled = next(iter(world.current().policies))
    identity = compiled.policy.identity
    assert found.pop("latencyUs") >= 0
    assert len(found.pop("salt")) == 32
    identifier = found.pop("id")
    uid, whole = found.pop("decisionKey").split(":")
    assert uid == "pod-1"
    assert len(whole) == 64
    assert (int(whole[:32], 16) ^ uuid.UUID(identifier).int) % 2**62 == 0  # of one hash
    assert found.pop("message").endswith(f"record {identifier}")
    (judgement,) = found.pop("evaluations")
    assert found == {
        "schema": "assay.dev/decision/v1alpha1",
        "decidedAt": "2026-11-22T12:00:00.000000Z",
        "cluster": "local",
        "verdict": "Deny",
        "flags": [],
        "warnings": [],
        "request": {
            "uid": "request-1",
            "operation": "CREATE",
            "group": "",
            "version": "v1",
            "kind": "Pod",
            "resource": "pods",
            "subresource": "",
            "namespace": "shop",
            "name": "web",
            "user": {"username": "alice", "uid": "", "groups": ["dev"]},
        },
        "object": {
            "uid": "pod-1",
            "hash": leaf.hash_of(obj),
            "kind": "Pod",
            "namespace": "shop",
            "name": "web",
            "serviceAccount": "builder",
            "labels": {"app": "web"},
            "namespaceLabels": {"team": "shop"},
        },
        "images": [
            {
                "kind": "container",
                "container": "c0",
                "field": "spec.containers[0].image",
                "reference": UNSIGNED,
                "repository": "ghcr.io/acme/unsigned",
                "digest": str(digest("ghcr.io/acme/unsigned")),
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "manifests": [],
            }
        ],
        "blobs": sorted([identity.hash, str(Digest.of(b"evidence of ghcr.io/acme/unsigned"))]),
        "verifier": leaf.VERIFIER,
    }
    assert judgement["image"] == 0
    assert judgement["policy"] == {
        "kind": "ClusterEvidencePolicy",
        "namespace": "",
        "name": "signed",
        "hash": identity.hash,
    }
    assert (judgement["outcome"], judgement["errorKind"], judgement["actions"]) == ("Violated", None, ["Deny"])
    assert judgement["reasons"] == [
        {
            "code": "SignatureMissing",
            "rule": "signatures",
            "message": "the image has no signature",
            "expected": "1 signature",
            "found": ["nothing"],
            "fix": "sign it",
        }
    ]
    assert judgement["used"] == {"verifier": "test"}


async def test_every_blob_that_a_leaf_names_travels_with_it_and_hashes_to_its_name() -> None:
    world = World()
    found = await recorded(world, pod(APP, UNSIGNED))
    assert found["blobs"] == sorted(str(name) for name in world.blobs)
    assert len(found["blobs"]) == 3
    assert all(Digest.of(content) == name for name, content in world.blobs.items())
    assert found["evaluations"][0]["evidenceSet"]


async def test_what_an_image_claims_of_its_base_is_recorded_by_manifest_and_bounded() -> None:
    children = tuple(
        PlatformManifest(digest(f"child {n}"), None, base=BaseClaim("debian:12", str(digest("base"))))
        for n in range(99)
    )
    whole = ResolvedImage(Reference.parse(UNSIGNED), digest("index"), "x", 7, children, base=BaseClaim(name="alpine"))
    bare = dataclasses.replace(whole, platforms=(), base=None)
    use = evaluation().image
    found = leaf._image(use, whole)["bases"]
    assert len(found) == leaf.MAX_BASES
    assert {json.dumps(one | {"manifest": ""}) for one in found} <= {
        json.dumps({"manifest": "", "name": "debian:12", "digest": str(digest("base"))}),
        json.dumps({"manifest": "", "name": "alpine"}),
    }
    few = dataclasses.replace(whole, platforms=children[:1])
    assert sorted(one["manifest"] for one in leaf._image(use, few)["bases"]) == sorted(
        [str(digest("index")), str(digest("child 0"))]
    )
    assert "bases" not in leaf._image(use, bare)
    assert "bases" not in leaf._image(use, None)


@pytest.mark.guarantee(12)
async def test_a_leaf_holds_no_environment_argument_command_annotation_or_secret() -> None:
    secret = {
        "env": [{"name": "TOKEN-hunter2", "value": "hunter2"}],
        "envFrom": [{"secretRef": {"name": "hunter2"}}],
        "args": ["--password=hunter2"],
        "command": ["hunter2"],
        "lifecycle": {"postStart": {"exec": {"command": ["hunter2"]}}},
        "workingDir": "/hunter2",
    }
    obj = pod(APP, UNSIGNED, metadata={"annotations": {"hunter2": "hunter2"}})
    for container in obj["spec"]["containers"]:
        container.update(secret)
    obj["spec"]["imagePullSecrets"] = [{"name": "hunter2"}]
    obj["spec"]["volumes"] = [{"name": "v", "secret": {"secretName": "hunter2"}}]
    world = World()
    world.namespaces = {"shop": Namespace("shop", {"team": "shop"}, {"token": "hunter2"})}
    found = await recorded(world, obj)
    assert "hunter2" not in json.dumps(found)
    assert not any(b"hunter2" in content for content in world.blobs.values())


async def test_a_leaf_with_everything_in_it_is_canonical_json() -> None:
    proof = Proof(
        artifact=Digest.of(b"a"),
        location="referrer",
        authority="release",
        signer=Signer(issuer="https://issuer.example", subject="ä", claims=(("sourceRepositoryURI", "x"),)),
        log_entry=LogEntry("id", 2**40, NOW),
        signed_at=datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2))),
        steps=("one", "two"),
    )
    rejection = Rejection(Digest.of(b"b"), "tag", "", "NotVerified", "no", unjudged=True)
    many = VerifiedEvidence(digest("app"), rejections=(rejection,) * (leaf.MAX_REJECTIONS + 3))
    verified = VerifiedEvidence(digest("app"), signatures=(VerifiedSignature(proof),), rejections=(rejection,))
    record = leaf.evaluation_record(
        leaf.Judged(
            evaluation(Outcome.ERROR),
            next(iter(World().current().policies)),
            evidence=evidence(digest("app"), b"x"),
            assessment=assessment(evidence=verified),
            trust_roots=(TrustRoot("public-good", b"{}", str(Digest.of(b"{}"))),),
        )
    )
    assert json.loads(rfc8785.dumps(record)) == record
    (signature,) = record["signatures"]
    assert signature["signedAt"] == "2025-12-31T22:00:00.000000Z"
    assert signature["signer"]["claims"] == {"sourceRepositoryURI": "x"}
    assert record["rejections"] == [
        {"artifact": str(Digest.of(b"b")), "location": "tag", "authority": "", "code": "NotVerified", "message": "no"}
    ]
    assert record["rejectionsOmitted"] == 0
    policy_in_force = next(iter(World().current().policies))
    assert record["artifacts"] == []
    layer = Artifact(ArtifactKind.COSIGN_SIGNATURE, "x", b"a", Digest.of(b"a"), "referrer", (("name", "value"),))
    elsewhere = dataclasses.replace(layer, location="tag")
    layered = dataclasses.replace(evidence(digest("app")), artifacts=(layer, elsewhere))
    replayed = leaf.evaluation_record(
        leaf.Judged(
            evaluation(Outcome.SATISFIED),
            policy_in_force,
            evidence=layered,
            assessment=assessment(evidence=dataclasses.replace(verified, rejections=())),
        )
    )
    assert replayed["artifacts"] == [
        {
            "artifact": str(Digest.of(b"a")),
            "location": "referrer",
            "kind": "cosign-signature",
            "mediaType": "x",
            "annotations": {"name": "value"},
        }
    ]
    crowded = leaf.evaluation_record(
        leaf.Judged(evaluation(Outcome.ERROR), policy_in_force, assessment=assessment(evidence=many))
    )
    assert (len(crowded["rejections"]), crowded["rejectionsOmitted"]) == (leaf.MAX_REJECTIONS, 3)


@pytest.mark.guarantee(13)
async def test_the_same_call_has_one_record_and_each_other_outcome_its_own() -> None:
    async def identifier(world: World, obj: Mapping[str, Any] | None = None, **settings: Any) -> str:
        found: str = (await recorded(world, obj or pod(APP), ReviewSettings(**settings)))["id"]
        return found

    first = await identifier(World())
    assert await identifier(World()) == first
    assert await identifier(World(now=NOW + timedelta(days=1))) == first

    def away() -> None:
        raise Unavailable("RegistryUnavailable", "no connection")

    def unreadable() -> None:
        raise Unacceptable("Malformed", "it is")

    other_uid = pod(APP, metadata={"uid": "pod-2"})
    other_object = pod(APP, restartPolicy="Never")
    ignoring = policy(match={"images": ["ghcr.io/acme/**"]}, failurePolicy="Ignore")
    others = [
        await identifier(World(), other_uid),
        await identifier(World(), other_object),
        await identifier(World(policies=[])),
        await identifier(World(policies=[]), no_match="Deny"),
        await identifier(World(policies=[policy("other")])),
        await identifier(World(policies=[policy(digest="Require")])),
        await identifier(World(fail={"discover": away})),
        await identifier(World(fail={"discover": unreadable})),
        await identifier(World(policies=[ignoring], fail={"discover": away})),
        await identifier(World(policies=[ignoring], fail={"discover": unreadable})),
    ]
    assert len({first, *others}) == len(others) + 1


@pytest.mark.guarantee(13)
def test_the_same_outcome_by_rotated_material_has_a_record_of_its_own() -> None:
    authority = {"name": "release", "key": {"secretRef": {"name": "release", "key": "cosign.pub"}}}

    def material(key: str, root: bytes) -> str:
        held = Materials("assay-system", {ObjectRef(SECRET, "assay-system", "release"): {"cosign.pub": key.encode()}})
        (compiled,) = build_policies([policy(authorities=[authority])], materials=held)
        roots = (TrustRoot("public-good", root, str(Digest.of(root))),)
        return leaf.material([leaf.Judged(evaluation(), compiled, trust_roots=roots)])

    key, other = pem(), pem.__wrapped__()
    assert material(key, b"root") == material(key, b"root")
    assert len({material(key, b"root"), material(other, b"root"), material(key, b"new root")}) == 3


@pytest.mark.guarantee(13)
def test_an_allow_by_ignore_is_not_hidden_behind_an_earlier_denial() -> None:
    """Both are an Error of the same policy about the same object; one is let in and the other is not."""
    request = admission.parse_request(review(pod(APP))["request"])
    kinds = [evaluation(Outcome.ERROR, error_kind=kind) for kind in ErrorKind]
    first, second = (leaf.record_name(request, [e], object_hash="h", setup="") for e in kinds)
    assert first != second


@pytest.mark.guarantee(13)
def test_what_was_found_of_one_platform_is_not_hidden_behind_what_was_found_of_another() -> None:
    """One manifest may be listed for two platforms, and a rule may hold of the one and not of the other."""
    request = admission.parse_request(review(pod(APP))["request"])
    listed = [PlatformManifest(digest(APP), Platform("linux", name)) for name in ("amd64", "arm64")]

    def identifier(*outcomes: Outcome) -> leaf.RecordName:
        found = [
            dataclasses.replace(evaluation(outcome), child=child)
            for outcome, child in zip(outcomes, listed, strict=True)
        ]
        return leaf.record_name(request, found, object_hash="h", setup="")

    assert identifier(Outcome.SATISFIED, Outcome.VIOLATED) != identifier(Outcome.VIOLATED, Outcome.SATISFIED)


def test_the_order_of_evaluations_is_no_part_of_an_id() -> None:
    request = admission.parse_request(review(pod(APP))["request"])
    found = [evaluation(name="a"), evaluation(name="b", outcome=Outcome.VIOLATED)]
    assert leaf.record_name(request, found, object_hash="h", setup="") == leaf.record_name(
        request, found[::-1], object_hash="h", setup=""
    )


def test_an_id_begins_with_the_objects_creation_where_that_can_be_read() -> None:
    def identifier(**metadata: Any) -> str:
        request = admission.parse_request(review(pod(APP, metadata=metadata))["request"])
        return leaf.record_name(request, [evaluation()], object_hash="h", setup="").id

    first, second = (identifier(creationTimestamp=f"2026-11-22T12:00:0{number}Z") for number in (1, 2))
    assert first[:13] == "01a20320-a5e8"  # 1,795,348,801,000 ms
    assert second[:13] > first[:13]
    unread = [identifier(creationTimestamp=value) for value in ("soon", "2026-11-22T12:00:01", 7, None)]
    assert set(unread) == {identifier()}


def test_an_object_hash_does_not_depend_on_the_order_of_names() -> None:
    assert leaf.hash_of({"a": 1, "b": [2]}) == leaf.hash_of({"b": [2], "a": 1})
    assert leaf.hash_of({"a": 1}) != leaf.hash_of({"a": "1"})


def test_times_are_utc_with_microseconds() -> None:
    assert leaf.timestamp(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)) == "2026-01-02T03:04:05.000006Z"


async def test_two_decisions_have_two_salts() -> None:
    world = World()
    salts = {(await recorded(world, pod(APP)))["salt"] for _ in range(2)}
    assert len(salts) == 2


async def test_what_a_leaf_names_of_a_trust_root_is_its_bytes() -> None:
    root = TrustRoot("public-good", b"root", str(Digest.of(b"root")))
    world = World()
    snapshot = world.current()
    compiled = next(iter(snapshot.policies))
    judged = leaf.Judged(evaluation(), compiled, trust_roots=(root,))
    request = admission.parse_request(review(pod("ghcr.io/acme/app:1"))["request"])
    workload = dataclasses.replace(images.extract(request), changed=(judged.evaluation.image,))
    context = leaf.Context(
        request, workload, None, "local", NOW, 1, "salt", record=leaf.RecordName("r-1", "k-1"), object_hash="h"
    )
    decision = Decision(Verdict.ALLOW, "", (), (), (), (judged.evaluation,))
    content, blobs = leaf.build(decision, [judged], context)
    assert blobs[Digest.of(b"root")] == b"root"
    assert content["object"]["namespaceLabels"] is None
    assert content["id"] == "r-1"


async def test_a_key_that_the_policy_only_refers_to_is_kept_under_its_fingerprint() -> None:
    authority = {"name": "release", "key": {"secretRef": {"name": "release", "key": "cosign.pub"}}}
    held = Materials("assay-system", {ObjectRef(SECRET, "assay-system", "release"): {"cosign.pub": pem().encode()}})
    (compiled,) = build_policies([policy(authorities=[authority])], materials=held)
    judged = leaf.Judged(evaluation(), compiled)
    blobs = leaf._blobs([judged])  # the public way needs a whole decision
    fingerprint = Digest.parse(load_public_key(pem()).fingerprint)
    assert Digest.of(blobs[fingerprint]) == fingerprint
    assert Digest.parse(compiled.policy.identity.hash) in blobs
    (gone,) = build_policies([policy(authorities=[authority])], materials=Materials("assay-system"))
    assert set(leaf._blobs([leaf.Judged(evaluation(), gone)])) == {Digest.parse(compiled.policy.identity.hash)}
