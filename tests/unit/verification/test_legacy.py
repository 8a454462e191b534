"""cosign's formats before bundles count for their own signer and image, as what they are, and for nothing else."""

from __future__ import annotations

import dataclasses
import json

import pytest

from controller.model.evidence import Artifact, ArtifactKind
from controller.model.policy import Authority, Identity, KeyAuthority, KeylessAuthority, Need
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.verification.failures import EvidenceFailure
from controller.verification.legacy import MAX_CERTIFICATE_BYTES, MAX_PAYLOAD_BYTES
from controller.verification.simple_signing import check_payload
from tests.support.fixtures import RecordedLayer, recorded_layer, recorded_layers
from tests.unit.verification.evidence import (
    IMAGE,
    OTHER_IMAGE,
    ROOTS,
    SIGNING,
    Signer,
    b64,
    counted,
    judge,
    only_rejection,
    pae,
    statement,
)
from tests.unit.verification.legacy import (
    CERTIFICATE,
    SIGNATURE,
    judge_layer,
    layer_artifact,
    layer_authority,
    root_of,
    with_annotations,
)

LAYERS = recorded_layers()
LOGGED = [layer for layer in LAYERS if layer.log.startswith("rekor")]
STAMPED = [layer for layer in LAYERS if "timestamp" in layer.log]
by_name = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
logged_by_name = pytest.mark.parametrize("layer", LOGGED, ids=lambda layer: layer.name)

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE = "application/vnd.dsse.envelope.v1+json"


def payload(image: Digest = IMAGE, kind: str = "cosign container image signature") -> bytes:
    """cosign's payload about an image."""
    critical = {"identity": {"docker-reference": ""}, "image": {"docker-manifest-digest": str(image)}, "type": kind}
    return json.dumps({"critical": critical, "optional": None}).encode()


def signed_layer(signer: Signer, content: bytes) -> Artifact:
    """A `.sig` layer over any payload."""
    annotations = ((SIGNATURE, b64(signer.sign(content))),)
    return Artifact(ArtifactKind.COSIGN_SIGNATURE, SIMPLE_SIGNING, content, Digest.of(content), "tag", annotations)


@by_name
def test_recorded_layer_counts_for_its_own_signer_as_what_it_is(layer: RecordedLayer) -> None:
    evidence = judge_layer(layer)
    assert evidence.rejections == ()
    assert counted(evidence) == ((1, 0) if layer.purpose == "signature" else (0, 1))
    (found,) = (*evidence.signatures, *evidence.attestations)
    assert (found.proof.signer.issuer, found.proof.signer.subject) == (layer.issuer, layer.identity)
    assert [a.predicate_type for a in evidence.attestations] == [layer.predicate_type][: len(evidence.attestations)]
    assert (found.proof.log_entry is not None) == layer.log.startswith("rekor")


@by_name
@pytest.mark.guarantee(1)
def test_recorded_layer_never_counts_for_another_digest(layer: RecordedLayer) -> None:
    assert only_rejection(judge_layer(layer, image=OTHER_IMAGE)) == ("SubjectMismatch", False)


@by_name
def test_recorded_layer_never_counts_for_another_key(layer: RecordedLayer) -> None:
    key = KeyAuthority(Signer().pem, trust_root="legacy")
    authority = Authority("other", key=key, transparency_log=Need.OPTIONAL)
    code = "SignatureInvalid" if layer.key else "SignedWithCertificate"
    assert only_rejection(judge_layer(layer, authority)) == (code, False)


@by_name
def test_recorded_layer_never_counts_for_another_identity(layer: RecordedLayer) -> None:
    keyless = KeylessAuthority((Identity(issuer="https://accounts.google.com", subject="dev@acme.example"),), "legacy")
    authority = Authority("other", keyless=keyless, transparency_log=Need.OPTIONAL)
    assert only_rejection(judge_layer(layer, authority)) == (
        "SignedWithKey" if layer.key else "IdentityMismatch",
        False,
    )


@logged_by_name
def test_logged_layer_never_counts_under_another_sigstores_root(layer: RecordedLayer) -> None:
    authority = layer_authority(layer, log=Need.REQUIRED, timestamp=Need.OPTIONAL, root="main")
    code, unjudged = only_rejection(
        judge(layer_artifact(layer), authority, image=Digest.parse(layer.digest), roots=ROOTS)
    )
    assert (code, unjudged) == ("TimestampInvalid" if layer in STAMPED else "LogUnknown", False)


@by_name
def test_required_log_and_timestamp_are_met_exactly_by_layers_that_have_them(layer: RecordedLayer) -> None:
    logged = judge_layer(layer, layer_authority(layer, log=Need.REQUIRED))
    stamped = judge_layer(layer, layer_authority(layer, timestamp=Need.REQUIRED))
    assert (sum(counted(logged)) == 1) == (layer in LOGGED)
    assert (sum(counted(stamped)) == 1) == (layer in STAMPED)
    assert layer in LOGGED or only_rejection(logged) == ("LogEntryMissing", False)
    assert layer in STAMPED or only_rejection(stamped) == ("TimestampMissing", False)


@pytest.mark.parametrize("layer", [layer for layer in LOGGED if not layer.key], ids=lambda layer: layer.name)
def test_certificate_needs_somebody_who_says_when_it_signed(layer: RecordedLayer) -> None:
    bare = with_annotations(layer, bundle=None, timestamp=None)
    for log in (Need.OPTIONAL, Need.IGNORE):
        assert only_rejection(judge_layer(bare, layer_authority(layer, log=log))) == ("TimeUnproven", False)


@pytest.mark.guarantee(4)
@pytest.mark.parametrize("name", ["release.rekor1.custom", "workflow.rekor1.custom"])
def test_predicate_type_is_the_statements_own_and_never_an_annotations(name: str) -> None:
    layer = recorded_layer(name)
    annotations = dict(layer.annotations) | {"predicateType": SIGNING}
    forged = dataclasses.replace(layer, annotations=tuple(annotations.items()))
    evidence = judge_layer(forged)
    assert counted(evidence) == (0, 1)
    assert evidence.attestations[0].predicate_type == layer.predicate_type


@pytest.mark.guarantee(4)
def test_two_signatures_over_one_payload_are_told_apart_by_their_annotations() -> None:
    release, stranger = recorded_layer("release.none.signature"), recorded_layer("stranger.none.signature")
    assert release.content == stranger.content
    evidence = judge(
        [layer_artifact(release), layer_artifact(stranger)],
        layer_authority(release),
        image=Digest.parse(release.digest),
    )
    assert counted(evidence) == (1, 0)
    assert [r.code for r in evidence.rejections] == ["SignatureInvalid"]


def test_attestation_layer_with_the_signing_predicate_is_a_signature() -> None:
    signer = Signer()
    signed = json.dumps(statement()).encode()
    envelope = {
        "payload": b64(signed),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"sig": b64(signer.sign(pae(signed)))}],
    }
    content = json.dumps(envelope).encode()
    layer = Artifact(ArtifactKind.COSIGN_ATTESTATION, DSSE, content, Digest.of(content), "tag")
    assert counted(judge(layer, signer.authority())) == (1, 0)


def test_payload_made_on_the_spot_counts_for_its_image_alone() -> None:
    signer = Signer()
    assert counted(judge(signed_layer(signer, payload()), signer.authority())) == (1, 0)
    (rejection,) = judge(signed_layer(signer, payload(OTHER_IMAGE)), signer.authority()).rejections
    assert (rejection.code, rejection.unjudged) == ("SubjectMismatch", False)
    assert "signed by key sha256:" in rejection.message


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "JsonMalformed"),
        (b"[]", "PayloadMalformed"),
        (b"{}", "PayloadMalformed"),
        (b'{"critical": {"type": "cosign container image signature"}}', "PayloadMalformed"),
        (b'{"critical": {"type": "cosign container image signature", "image": {}}}', "PayloadMalformed"),
        (payload(kind="atomic container signature"), "PayloadTypeUnsupported"),
        (payload(kind=""), "PayloadTypeUnsupported"),
        (payload().replace(b"sha256:", b"sha512:"), "DigestAlgorithmUnsupported"),
        (payload() + b" {}", "JsonMalformed"),
        (payload().replace(b'"optional"', b'"critical": {}, "critical"'), "JsonMalformed"),
        (b" " * (1024 * 1024 + 1), "LimitExceeded"),
    ],
)
def test_signed_payload_that_is_not_cosigns_signature_counts_for_nothing(content: bytes, code: str) -> None:
    signer = Signer()
    assert only_rejection(judge(signed_layer(signer, content), signer.authority())) == (code, True)


def test_digest_of_the_payload_must_be_the_images_to_the_letter() -> None:
    for digest in (IMAGE.hex, f"sha256:{IMAGE.hex.upper()}", f"sha256:{IMAGE.hex} ", f"sha256:{IMAGE.hex[:-1]}", ""):
        content = json.dumps(
            {"critical": {"image": {"docker-manifest-digest": digest}, "type": "cosign container image signature"}}
        )
        with pytest.raises(EvidenceFailure):
            check_payload(content.encode(), image=IMAGE, limits=DocumentSettings())


@pytest.mark.parametrize(
    "annotations",
    [
        {},
        {SIGNATURE: ""},
        {SIGNATURE: "MEU*"},
        {SIGNATURE: b64(bytes(2049))},
        {SIGNATURE: b64(b"x"), "dev.sigstore.cosign/bundle": "[]"},
        {SIGNATURE: b64(b"x"), "dev.sigstore.cosign/bundle": '{"Payload": []}'},
        {SIGNATURE: b64(b"x"), "dev.sigstore.cosign/bundle": '{"Payload": {"body": "e30=", "logID": "xyz"}}'},
        {SIGNATURE: b64(b"x"), "dev.sigstore.cosign/rfc3161timestamp": '{"SignedRFC3161Timestamp": 7}'},
        {SIGNATURE: b64(b"x"), CERTIFICATE: "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n"},
        {SIGNATURE: b64(b"x"), CERTIFICATE: "x" * (64 * 1024 + 1)},
        {
            SIGNATURE: b64(b"x"),
            CERTIFICATE: "#\n" * 32 * 1024 + dict(recorded_layer("workflow.rekor1.signature").annotations)[CERTIFICATE],
        },
        {
            SIGNATURE: b64(b"x"),
            CERTIFICATE: dict(recorded_layer("workflow.rekor1.signature").annotations)[CERTIFICATE] * 2,
        },
    ],
)
def test_malformed_layer_counts_for_nobody(annotations: dict[str, str]) -> None:
    content = payload()
    layer = Artifact(
        ArtifactKind.COSIGN_SIGNATURE, SIMPLE_SIGNING, content, Digest.of(content), "tag", tuple(annotations.items())
    )
    assert only_rejection(judge(layer, Signer().authority())) == ("LayerMalformed", True)


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        (ArtifactKind.COSIGN_SIGNATURE, DSSE),
        (ArtifactKind.COSIGN_ATTESTATION, SIMPLE_SIGNING),
        (ArtifactKind.COSIGN_SIGNATURE, "application/octet-stream"),
    ],
)
def test_layer_of_another_media_type_than_its_tag_has_is_not_read(kind: ArtifactKind, media_type: str) -> None:
    signer = Signer()
    good = signed_layer(signer, payload())
    layer = dataclasses.replace(good, kind=kind, media_type=media_type)
    assert only_rejection(judge(layer, signer.authority())) == ("MediaTypeUnsupported", True)


def test_a_payload_and_a_certificate_may_be_as_long_as_their_bounds_and_no_longer() -> None:
    layer = recorded_layer("workflow.rekor1.signature")
    image = Digest.parse(layer.digest)

    def refused(changed: RecordedLayer) -> str:
        found = judge(layer_artifact(changed), layer_authority(changed), image=image, roots={"legacy": root_of(layer)})
        return only_rejection(found)[0]

    for size, code in ((MAX_PAYLOAD_BYTES, "SignatureInvalid"), (MAX_PAYLOAD_BYTES + 1, "LimitExceeded")):
        longer = dataclasses.replace(layer, content=layer.content.ljust(size))
        assert refused(longer) == code
    pem = dict(layer.annotations)[CERTIFICATE]
    whole = pem + "\n" * (MAX_CERTIFICATE_BYTES - len(pem))
    good = with_annotations(layer, certificate=whole)
    assert counted(
        judge(layer_artifact(good), layer_authority(good), image=image, roots={"legacy": root_of(layer)})
    ) == (1, 0)
    assert refused(with_annotations(layer, certificate=whole + "\n")) == "LayerMalformed"
