"""A recorded proof is made again from the stored bytes, or it is said that it cannot be."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest

from controller.errors import Unavailable
from controller.model.decision import Evaluation, Outcome
from controller.model.evidence import Artifact, EvidenceSet
from controller.model.image import ContainerKind, ImageUse, ResolvedImage
from controller.model.policy import (
    Authority,
    CertificateAuthority,
    CertificateIdentity,
    Cryptography,
    KeyAuthority,
    KeyIn,
    Need,
    Policy,
    PolicyIdentity,
    PolicySpec,
    Problem,
    SignatureRequirement,
    TrustRoot,
)
from controller.model.reference import Digest, Reference
from controller.policy.canonical import canonical_spec, policy_hash
from controller.policy.compiled import compile_policy
from controller.policy.pems import CODE_SIGNING
from controller.policy.trust import faulty, parse_trust_root
from controller.review.leaf import Judged, _blobs, evaluation_record
from controller.review.ports import AssessmentJob
from controller.settings import DocumentSettings, PolicySettings
from controller.workers.assessment import assess
from controller.workers.replay import Replayed, replay
from tests.support.authorities import WHO, new_ca
from tests.support.fixtures import recorded_bundle, recorded_layer
from tests.unit.policy.make import policy as make_policy
from tests.unit.verification.evidence import IMAGE, NOW, ROOTS, Signer, artifact, authority_for, b64, statement
from tests.unit.verification.legacy import layer_artifact, layer_authority, root_of


class Archive:
    """What an inventory would hold of one verdict: the leaf, and the bytes by their digest."""

    def __init__(
        self, found: Artifact, authority: Authority, *roots: TrustRoot, image: Digest, pem: str = "", **spec: Any
    ) -> None:
        wanted = PolicySpec(authorities=(authority,), signatures=SignatureRequirement((authority.name,)), **spec)
        identity = PolicyIdentity("ClusterEvidencePolicy", "", "signed", policy_hash(wanted))
        policy = Policy(identity, wanted)
        if pem:  # what a reference led to: not part of the hash
            assert authority.key is not None
            resolved = dataclasses.replace(authority, key=dataclasses.replace(authority.key, pem=pem))
            policy = dataclasses.replace(policy, spec=dataclasses.replace(wanted, authorities=(resolved,)))
        reference = Reference.parse(f"registry.test/acme/app@{image}")
        resolved_image = ResolvedImage(reference, image, "application/vnd.oci.image.manifest.v1+json", 1)
        evidence = EvidenceSet(image, reference.name, (found,), NOW)
        job = AssessmentJob(image=resolved_image, evidence=evidence, policy=policy, trust_roots=roots, now=NOW)
        assessment = assess(job, documents=DocumentSettings(), policy=PolicySettings())
        assert assessment.outcome is Outcome.SATISFIED, assessment
        use = ImageUse(ContainerKind.REGULAR, "app", str(reference), "/spec/containers/0/image", "image")
        judged = Judged(
            Evaluation(use, image, identity, (), wanted.failure_policy, wanted.digest, assessment.outcome),
            compile_policy(policy, PolicySettings()),
            resolved_image,
            evidence,
            assessment,
            roots,
        )
        written = {"image": 0, **evaluation_record(judged)}
        self.leaf: dict[str, Any] = json.loads(
            json.dumps({"decidedAt": NOW.isoformat(), "images": [{"digest": str(image)}], "evaluations": [written]})
        )
        self.bytes = {str(digest): content for digest, content in _blobs([judged]).items()}

    def replayed(self, digest: str = "") -> list[Replayed]:
        return replay(self.leaf, self.bytes.get, limits=DocumentSettings(), digest=digest)

    def trouble(self) -> str:
        (found,) = self.replayed()
        assert found.untold is found.trouble.startswith(("BytesMissing", "ReplayImpossible"))
        assert found.holds is (not found.trouble)
        return found.trouble


def by_key() -> Archive:
    signer = Signer()
    return Archive(artifact(signer.envelope(statement())), signer.authority(), image=IMAGE)


def keyless() -> Archive:
    bundle = recorded_bundle("workflow.rekor2+timestamp.signature")
    return Archive(
        artifact(bundle.raw), authority_for(bundle, log=Need.REQUIRED), ROOTS["main"], image=Digest.parse(bundle.digest)
    )


def legacy() -> Archive:
    layer = recorded_layer("workflow.rekor1.signature")
    authority = layer_authority(layer, log=Need.REQUIRED)
    return Archive(layer_artifact(layer), authority, root_of(layer), image=Digest.parse(layer.digest))


def referred() -> Archive:
    signer = Signer()
    key = KeyAuthority("", "main", KeyIn("release", "cosign.pub"))
    authority = Authority("release", key=key, transparency_log=Need.IGNORE)
    return Archive(artifact(signer.envelope(statement())), authority, image=IMAGE, pem=Signer().pem + signer.pem)


def own_ca() -> Archive:
    signer, ca = Signer(), new_ca()
    certificate = {"rawBytes": b64(ca.issue(signer.private.public_key()))}
    bundle = signer.envelope(statement()) | {"verificationMaterial": {"certificate": certificate}}
    wanted = CertificateAuthority("", (CertificateIdentity(WHO),), (CODE_SIGNING,), "own")
    authority = Authority("acme", certificate=wanted, transparency_log=Need.IGNORE)
    spec = {"certificateAuthorities": [{"chain": ca.chain, "validity": {"until": "2100-06-01T00:00:00Z"}}]}
    obj = {"apiVersion": "assay.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": "own"}, "spec": spec}
    root = parse_trust_root(obj)
    assert isinstance(root, TrustRoot)
    return Archive(artifact(bundle), authority, root, image=IMAGE, cryptography=Cryptography.FIPS)


EVERY = [by_key, keyless, legacy, referred, own_ca]


@pytest.mark.parametrize("made", EVERY)
def test_a_proof_is_made_again_from_the_stored_bytes_alone(made: Any) -> None:
    archive = made()
    (found,) = archive.replayed()
    assert found.trouble == ""
    assert list(found.steps) == archive.leaf["evaluations"][0]["signatures"][0]["steps"]
    assert archive.replayed(digest=archive.leaf["images"][0]["digest"]) == [found]
    assert archive.replayed(digest=str(Digest.of(b"another"))) == []


@pytest.mark.parametrize("made", EVERY)
def test_without_any_one_of_its_bytes_or_with_others_it_does_not_hold(made: Any) -> None:
    archive = made()
    used = {*archive.bytes}
    assert len(used) >= 2
    for digest in used:
        kept = archive.bytes.pop(digest)
        missing = archive.trouble()
        archive.bytes[digest] = kept + b" "
        altered = archive.trouble()
        archive.bytes[digest] = kept
        assert missing.startswith("BytesMissing"), missing
        assert altered.startswith("BytesAltered"), altered
    assert archive.trouble() == ""


@pytest.mark.guarantee(5)
@pytest.mark.parametrize(
    "change",
    [
        lambda proof: proof["signer"].update(subject="somebody@else.example"),
        lambda proof: proof["signer"].update(key="sha256:00"),
        lambda proof: proof.update(authority="another"),
        lambda proof: proof.update(signedAt="2020-01-01T00:00:00.000000Z"),
        lambda proof: proof["logEntry"].update(index=700_000),
        lambda proof: proof.update(predicateType="https://slsa.dev/provenance/v1"),
        lambda proof: proof.update(location="elsewhere"),
    ],
)
def test_a_record_that_says_more_than_the_bytes_prove_fails(change: Any) -> None:
    archive = keyless()
    change(archive.leaf["evaluations"][0]["signatures"][0])
    assert archive.trouble() == "the stored bytes no longer prove it"


def test_evidence_of_another_image_fails() -> None:
    archive = by_key()
    archive.leaf["images"][0]["digest"] = str(Digest.of(b"another"))
    assert archive.trouble() == "the stored bytes no longer prove it"


def test_another_policy_or_root_in_the_records_place_is_told() -> None:
    archive, other = keyless(), by_key()
    evaluation = archive.leaf["evaluations"][0]
    swapped = copy.deepcopy(evaluation["policy"])
    evaluation["policy"]["hash"] = other.leaf["evaluations"][0]["policy"]["hash"]
    archive.bytes |= other.bytes
    assert archive.trouble() == "the stored bytes no longer prove it"
    evaluation["policy"] = swapped
    strange = ROOTS["other"]
    archive.bytes[strange.hash] = strange.content
    evaluation["used"]["trustRoots"] = {"main": strange.hash}
    assert archive.trouble() == "the stored bytes no longer prove it"
    evaluation["used"]["trustRoots"] = {"main": swapped["hash"]}
    assert archive.trouble().startswith("ReplayImpossible")


def test_a_database_that_is_away_says_nothing_of_a_proof() -> None:
    archive = by_key()

    def away(_: str) -> bytes:
        raise Unavailable("DatabaseBusy", "the database did not answer in time")

    (found,) = replay(archive.leaf, away, limits=DocumentSettings())
    assert (found.untold, found.trouble) == (True, "DatabaseBusy: the database did not answer in time")


def test_an_older_record_says_what_it_lacks() -> None:
    archive = by_key()
    del archive.leaf["evaluations"][0]["artifacts"]
    assert archive.trouble().startswith("ReplayImpossible")


def test_every_policys_canonical_form_is_read_back_as_itself() -> None:
    full = make_policy(
        match={
            "images": ["ghcr.io/acme/**"],
            "namespaceSelector": {"matchExpressions": [{"key": "env", "operator": "Exists"}]},
            "conditions": [{"name": "c", "expression": "true"}],
        },
        variables=[{"name": "v", "expression": "1"}],
        validations=[{"expression": "true", "messageExpression": "'m'", "reason": "Because"}],
    )
    assert full.problems == ()
    for spec in (full.spec, dataclasses.replace(full.spec, cryptography=Cryptography.FIPS)):
        again = make_policy(**canonical_spec(spec))
        assert again.problems == ()
        assert again.identity.hash == policy_hash(spec)


def test_a_root_that_could_not_be_had_takes_no_proof_with_it_that_needs_none() -> None:
    signer = Signer()
    missing = faulty("main", Problem("TufUnread", "spec.tuf", "nothing was read yet"))
    wanted = signer.authority(log=Need.IGNORE)
    assert Archive(artifact(signer.envelope(statement())), wanted, missing, image=IMAGE).trouble() == ""
