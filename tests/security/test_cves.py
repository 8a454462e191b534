"""The known vulnerabilities of this field, one test each: what other tools once got wrong, put to Assay.

Each docstring says what went wrong there and where that is written down. A test here fails when the guard that it is
named for goes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.errors import AssayError, LimitExceeded, Unacceptable
from controller.model.access import ANONYMOUS
from controller.model.decision import Outcome
from controller.model.evidence import Artifact, ArtifactKind, EvidenceSet, VerifiedEvidence
from controller.model.policy import Authority, Need
from controller.model.reference import Digest
from controller.policy.requirements import check
from controller.registry.client import RegistryClient
from controller.settings import RegistrySettings
from tests.contract.registry_servers.clients import client, ref, soon
from tests.contract.registry_servers.scripted import (
    BUNDLE,
    EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    SIMPLE_SIGNING,
    ScriptedRegistry,
    descriptor,
    digest_of,
    encoded,
)
from tests.support.fixtures import RecordedBundle, recorded_bundle, recorded_layer, recorded_manifest
from tests.support.own_log import OwnLog, dsse, hashedrekord, hashedrekord_2
from tests.support.pipeline import APP, Rig, pod, put_annotated_referrer, running
from tests.unit.policy.make import policy
from tests.unit.verification.evidence import (
    IMAGE,
    NOW,
    Signer,
    artifact,
    authority_for,
    b64,
    counted,
    judge,
    only_rejection,
    pae,
    statement,
)
from tests.unit.verification.legacy import BUNDLE as LOG_ENTRY
from tests.unit.verification.legacy import (
    SIGNATURE,
    V0_1,
    judge_layer,
    layer_authority,
    root_of,
    with_annotations,
)

DSSE = "application/vnd.dsse.envelope.v1+json"
SPDX = "https://spdx.dev/Document"
SIGNED = "release.none.signature"
SBOM = {"name": "sbom", "type": "SBOM", "authorities": ["release"]}
RECORDED_IMAGE = Digest.of(recorded_manifest())


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as running_rig:
        yield running_rig


def _outcome(evidence: VerifiedEvidence, wanted: str) -> Outcome:
    """What a policy says that asks the tests' one authority for an attestation of this type, and for nothing else."""
    asked = [{"name": "wanted", "type": wanted, "authorities": ["signer"]}]
    key = {"name": "signer", "key": {"pem": recorded_bundle(SIGNED).public_key}}
    read = policy(signatures=None, attestations=asked, authorities=[key])
    assert read.problems == ()
    return check(read, evidence)[0].outcome


# The type of an attestation


@pytest.mark.parametrize("kind", ["vuln", "cyclonedx", "slsaprovenance1", "openvex", "custom"])
def test_cve_2022_35929_a_valid_attestation_of_another_type_is_not_the_one_asked_for(kind: str) -> None:
    """`cosign verify-attestation --type` passed if any attestation verified and none was of that type.

    https://github.com/sigstore/cosign/security/advisories/GHSA-vjxv-45g9-9296
    """
    other, wanted = recorded_bundle(f"release.none.{kind}"), recorded_bundle("release.none.spdxjson")
    both = [artifact(other.raw), artifact(wanted.raw)]
    evidence = judge(both[0], authority_for(other), image=RECORDED_IMAGE)
    assert counted(evidence) == (0, 1)
    assert _outcome(evidence, "SPDX") is Outcome.VIOLATED
    assert _outcome(evidence, SPDX) is Outcome.VIOLATED
    assert _outcome(evidence, other.predicate_type) is Outcome.SATISFIED
    assert _outcome(judge(both, authority_for(other), image=RECORDED_IMAGE), "SPDX") is Outcome.SATISFIED


@pytest.mark.parametrize("bundles", [("release.none.vuln",), (SIGNED, "release.none.vuln"), (SIGNED,), ()])
async def test_cve_2022_35930_an_image_without_an_attestation_of_the_type_is_not_admitted(
    rig: Rig, bundles: tuple[str, ...]
) -> None:
    """policy-controller admitted an image whose attestations verified, though none was of the type it was to have.

    https://github.com/sigstore/policy-controller/security/advisories/GHSA-739f-hw6h-7wq8
    """
    rig.publish(rig.policy(signatures=None, attestations=[SBOM]))
    answer = await rig.review(rig.image(*bundles))
    assert not answer.allowed
    assert "SBOM" in answer.message
    assert (await rig.review(rig.image(*bundles, "release.none.spdxjson", repository="acme/with-sbom"))).allowed


# One image, one manifest


@pytest.mark.parametrize("hostile_first", [True, False])
async def test_cve_2022_47633_a_registry_that_answers_otherwise_the_second_time_gains_nothing(
    rig: Rig, hostile_first: bool
) -> None:
    """Kyverno verified the manifest of one request and pinned the digest of another: a registry could give two.

    https://github.com/kyverno/kyverno/security/advisories/GHSA-m3cq-xcx9-3gvm
    """
    rig.publish(rig.policy())
    rig.image(SIGNED)
    signed, hostile = str(RECORDED_IMAGE), rig.registry.put_image(APP, mark="hostile")
    answers = [hostile, signed] if hostile_first else [signed, hostile]
    asked = 0

    async def around(request: web.BaseRequest, standard: Any) -> web.Response:
        nonlocal asked
        if not request.path.endswith("/manifests/1"):
            found: web.Response = await standard(request)
            return found
        digest = answers[min(asked, 1)]
        asked += 1
        content, media_type = rig.registry.manifests[APP, digest]
        return web.Response(body=content, headers={"Content-Type": media_type})

    rig.registry.around = around
    answer = await rig.review(rig.reference("1"))
    (image,) = answer.images
    assert answer.allowed is not hostile_first
    assert image.endswith(f"@{answers[0]}")  # what was judged is what would run
    assert asked == 1


async def test_cve_2022_47633_a_digest_is_never_answered_with_another_manifest() -> None:
    """The same, where the digest is known: the second answer is compared with it.

    https://github.com/kyverno/kyverno/security/advisories/GHSA-m3cq-xcx9-3gvm
    """
    async with ScriptedRegistry() as server, client() as registry:
        digest = server.put_image(APP, "1")
        other = server.put_image(APP, mark="other")
        first = await registry.resolve(ref(f"{server.host}/{APP}:1"), access=ANONYMOUS, deadline=soon())
        assert str(first.digest) == digest
        server.manifests[APP, "1"] = server.manifests[APP, other]
        pinned = ref(f"{server.host}/{APP}:1@{digest}")
        assert (await registry.resolve(pinned, access=ANONYMOUS, deadline=soon())).digest == first.digest
        server.manifests[APP, digest] = server.manifests[APP, other]
        with pytest.raises(Unacceptable) as raised:
            await registry.resolve(ref(f"{server.host}/{APP}@{digest}"), access=ANONYMOUS, deadline=soon())
        assert raised.value.code == "DigestMismatch"


@pytest.mark.parametrize("remembered", [0, 3600])
async def test_cve_2026_122321_what_was_verified_of_a_tag_is_not_believed_of_what_it_names_later(
    tmp_path: Path, remembered: int
) -> None:
    """Kyverno remembered verdicts by tag: once a signed image had been admitted, the tag could be moved to another.

    https://www.cve.org/CVERecord?id=CVE-2026-122321
    """
    async with running(tmp_path, tag_max_age=remembered) as rig:
        rig.publish(rig.policy())
        image = rig.image(SIGNED)
        assert (await rig.review(image)).allowed
        hostile = rig.registry.put_image(APP, "1", mark="hostile")
        answer = await rig.review(image)
        assert answer.images == [f"{image}@{RECORDED_IMAGE if remembered else hostile}"]
        assert answer.allowed is bool(remembered)
        assert not (await rig.review(f"{image}@{hostile}")).allowed


@pytest.mark.parametrize("by_tag", [True, False])
async def test_cve_2023_47630_a_digest_is_that_of_the_bytes_and_not_what_a_registry_says(
    rig: Rig, by_tag: bool
) -> None:
    """Kyverno took an image's digest from what the registry said, and so ran whatever that named.

    https://github.com/kyverno/kyverno/security/advisories/GHSA-3hfq-cx9j-923w
    """
    rig.publish(rig.policy())
    image = rig.image(SIGNED)
    rig.registry.put_image(APP, "hostile", mark="hostile")

    async def lying(_: web.BaseRequest) -> web.Response:
        content, media_type = rig.registry.manifests[APP, "hostile"]
        headers = {"Content-Type": media_type, "Docker-Content-Digest": str(RECORDED_IMAGE)}
        return web.Response(body=content, headers=headers)

    rig.registry.answer(f"/v2/{APP}/manifests/{'1' if by_tag else RECORDED_IMAGE}", lying)
    answer = await rig.review(image if by_tag else f"{image}@{RECORDED_IMAGE}")
    assert not answer.allowed
    assert "DigestMismatch" in answer.message


@pytest.mark.parametrize(
    ("change", "media_type"),
    [
        ({"manifests": []}, OCI_MANIFEST),
        ({"manifests": []}, OCI_INDEX),
        ({"mediaType": OCI_INDEX}, OCI_MANIFEST),
        ({"Manifests": []}, OCI_MANIFEST),
        ({"mediaType": None, "manifests": []}, OCI_MANIFEST),
        ({"mediaType": None, "manifests": []}, OCI_INDEX),
    ],
)
async def test_cve_2021_41190_a_manifest_that_is_an_index_as_well_is_refused(
    change: dict[str, Any], media_type: str
) -> None:
    """A document with `layers` and `manifests` was an image or an index, as the Content-Type had it: one digest, two.

    https://github.com/opencontainers/image-spec/security/advisories/GHSA-77vh-xpmg-72qh
    """
    async with ScriptedRegistry() as server, client() as registry:
        server.put_image(APP, "1")
        value = json.loads(server.manifests[APP, "1"][0]) | change
        value = {name: part for name, part in value.items() if part is not None}
        digest = server.put_manifest(APP, value, media_type=media_type, tag="1")
        for name in (":1", f"@{digest}"):
            with pytest.raises(Unacceptable) as raised:
                await registry.resolve(ref(f"{server.host}/{APP}{name}"), access=ANONYMOUS, deadline=soon())
            assert raised.value.code == "ManifestAmbiguous"


# Whose log entry it is

Body = Callable[[bytes, bytes, str], dict[str, Any]]


def _entries(signed: bytes, signature: bytes, signer: Signer, body: Body) -> dict[str, dict[str, Any]]:
    """The right body, and bodies that are wrong in one field."""
    other = Signer()
    return {
        "right": body(signed, signature, signer.pem),
        "other content": body(b"something else", signature, signer.pem),
        "other signature": body(signed, signer.sign(b"something else"), signer.pem),
        "other key": body(signed, signature, other.pem),
    }


FIELDS = ["right", "other content", "other signature", "other key"]


@pytest.mark.parametrize("log", [Need.REQUIRED, Need.OPTIONAL])
@pytest.mark.parametrize("field", FIELDS)
def test_cve_2022_36056_a_log_entry_of_another_signature_is_no_entry(field: str, log: Need) -> None:
    """cosign took a `rekorBundle` that was not of the signature, key or content beside it.

    https://github.com/sigstore/cosign/security/advisories/GHSA-8gw7-4j42-w388 (vulnerability 1)
    """
    own, signer = OwnLog(), Signer()
    payload = recorded_layer(SIGNED).content
    signature = signer.sign(payload)
    annotations = {
        SIGNATURE: b64(signature),
        LOG_ENTRY: own.annotation(_entries(payload, signature, signer, hashedrekord)[field]),
    }
    layer = Artifact(
        ArtifactKind.COSIGN_SIGNATURE,
        SIMPLE_SIGNING,
        payload,
        Digest.of(payload),
        "tag",
        tuple(sorted(annotations.items())),
    )
    image = Digest.parse(recorded_layer(SIGNED).digest)
    evidence = judge(layer, signer.authority(log=log), image=image, roots={"main": own.root})
    if field == "right":
        assert counted(evidence) == (1, 0)
    else:
        assert only_rejection(evidence) == ("LogEntryMismatch", False)


def test_cve_2022_36056_a_log_entry_does_not_stand_for_the_identity() -> None:
    """cosign did not compare identity and issuer with those asked for once it had a log entry.

    https://github.com/sigstore/cosign/security/advisories/GHSA-8gw7-4j42-w388 (vulnerability 2)
    """
    layer, bundle = recorded_layer("branch.rekor1.signature"), recorded_bundle("branch.rekor2+timestamp.signature")
    of_layer = judge_layer(layer, layer_authority(recorded_layer("workflow.rekor1.signature")))
    assert only_rejection(of_layer) == ("IdentityMismatch", False)
    wanted = authority_for(recorded_bundle("workflow.rekor1.signature"))
    of_bundle = judge(artifact(bundle.raw), wanted, image=Digest.parse(bundle.digest))
    assert only_rejection(of_bundle) == ("IdentityMismatch", False)


@pytest.mark.parametrize("log", [Need.REQUIRED, Need.OPTIONAL])
def test_cve_2022_36056_an_invalid_log_entry_is_never_as_good_as_none(log: Need) -> None:
    """cosign passed a signature with an invalid log entry: at once, or because logs were not asked for.

    https://github.com/sigstore/cosign/security/advisories/GHSA-8gw7-4j42-w388 (vulnerabilities 3 and 4)
    """
    layer = recorded_layer("release.rekor1.signature")
    record = json.loads(dict(layer.annotations)[LOG_ENTRY])
    record["Payload"]["integratedTime"] += 1
    changed = with_annotations(layer, bundle=json.dumps(record))
    evidence = judge_layer(changed, layer_authority(layer, log=log))
    assert only_rejection(evidence) == ("LogEntryInvalid", False)


@pytest.mark.parametrize("body", [dsse, hashedrekord, hashedrekord_2])
@pytest.mark.parametrize("field", FIELDS)
def test_cve_2026_22703_a_bundle_with_any_valid_log_entry_is_refused(field: str, body: Body) -> None:
    """cosign took a bundle with any entry of Rekor: digest, signature and key in its body were not compared.

    https://github.com/sigstore/cosign/security/advisories/GHSA-whqx-f9j3-ch6m
    """
    own, signer = OwnLog(), Signer()
    bundle = signer.envelope(statement())
    payload = json.dumps(statement()).encode()
    signature = signer.sign(pae(payload))
    bundle["dsseEnvelope"]["signatures"] = [{"sig": b64(signature)}]
    signed = payload if body is dsse else pae(payload)
    bundle["mediaType"] = V0_1
    bundle["verificationMaterial"]["tlogEntries"] = [own.entry(_entries(signed, signature, signer, body)[field])]
    evidence = judge(artifact(bundle), signer.authority(log=Need.REQUIRED), image=IMAGE, roots={"main": own.root})
    if field == "right":
        assert counted(evidence) == (1, 0)
    else:
        assert only_rejection(evidence) == ("LogEntryMismatch", False)


@pytest.mark.parametrize(
    ("name", "donor"),
    [
        ("release.rekor2.signature", "release.rekor2+timestamp.signature"),  # the same content and key, signed again
        ("release.rekor1.signature", "release.rekor1+timestamp.signature"),
        ("release.rekor1.manifest", "release.rekor1.blob"),
        ("release.rekor2+timestamp.manifest", "release.rekor2+timestamp.blob"),
        ("release.rekor2+timestamp.spdxjson", "release.rekor2+timestamp.cyclonedx"),
        ("release.rekor2+timestamp.signature", "stranger.rekor2+timestamp.signature"),
        ("release.rekor2+timestamp.signature", "workflow.rekor2+timestamp.signature"),
    ],
)
def test_cve_2026_22703_a_recorded_bundle_with_another_ones_log_entry_is_refused(name: str, donor: str) -> None:
    """The same with entries that real logs hold, in bundles that real tools wrote.

    https://github.com/sigstore/cosign/security/advisories/GHSA-whqx-f9j3-ch6m
    """
    bundle, lent = recorded_bundle(name), recorded_bundle(donor).parsed()
    parsed = bundle.parsed()
    parsed["verificationMaterial"]["tlogEntries"] = lent["verificationMaterial"]["tlogEntries"]
    assert counted(_judged(bundle, bundle.parsed())) != (0, 0)
    assert only_rejection(_judged(bundle, parsed)) == ("LogEntryMismatch", False)


def _judged(bundle: RecordedBundle, parsed: Any) -> VerifiedEvidence:
    asked: Authority = authority_for(bundle, log=Need.REQUIRED)
    return judge(artifact(parsed), asked, image=Digest.parse(bundle.digest), now=NOW)


# More than can be read. Of CVE-2023-42813 to 42816 the advisories say only that a registry's answer stopped Kyverno;
# the fix (https://github.com/kyverno/kyverno/pull/8428) bounds how many referrers are read, and how large each may be.

MOST = RegistrySettings().registry_max_referrers
SOCKETS = 64 * 1024 * 1024  # bytes that may be on their way on loopback without anybody having read them


async def _discovered(server: ScriptedRegistry, registry: RegistryClient) -> EvidenceSet:
    image = await registry.resolve(ref(f"{server.host}/{APP}:1"), access=ANONYMOUS, deadline=soon())
    return await registry.discover(image, access=ANONYMOUS, deadline=soon())


async def _refused(server: ScriptedRegistry, registry: RegistryClient, setting: str) -> None:
    """The evidence cannot be had, for this bound; and the next image, of another registry, is served as ever."""
    with pytest.raises(LimitExceeded) as raised:
        await _discovered(server, registry)
    assert raised.value.setting == setting
    async with ScriptedRegistry() as innocent:
        digest = innocent.put_image(APP, "1")
        innocent.put_referrer(APP, digest, recorded_bundle(SIGNED).raw)
        assert len((await _discovered(innocent, registry)).artifacts) == 1


class _Endless:
    """An answer without end, and how many bytes of it were taken."""

    def __init__(self, content_type: str = OCI_MANIFEST) -> None:
        self.content_type = content_type
        self.taken = 0

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        response = web.StreamResponse(headers={"Content-Type": self.content_type})
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)
            self.taken += 65536


async def test_cve_2023_42813_more_attestations_than_can_be_read_end_at_a_bound() -> None:
    """A registry's answer, asked for attestations, stopped Kyverno's Notary verifier: here, more than can be read.

    https://github.com/kyverno/kyverno/security/advisories/GHSA-wc3x-5rfv-hh5v
    """
    async with ScriptedRegistry() as server, client() as registry:
        digest = server.put_image(APP, "1")
        entries = [descriptor(b"%d" % n, OCI_MANIFEST, artifactType=BUNDLE) for n in range(MOST + 1)]
        listing = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        server.put_manifest(APP, listing, media_type=OCI_INDEX, tag=server._listing_name(digest))
        await _refused(server, registry, "registry_max_referrers")
        assert not server.seen("/blobs/")
        assert not server.seen("/manifests/sha256:")  # nothing of what is listed was asked for


@pytest.mark.parametrize("announced", [True, False])
async def test_cve_2023_42814_an_attestation_without_end_ends_at_a_bound(announced: bool) -> None:
    """A registry's answer, asked for attestations, stopped Kyverno's Notary verifier: here, one without end.

    https://github.com/kyverno/kyverno/security/advisories/GHSA-9g37-h7p2-2c6r
    """
    bound = 1024 * 1024
    async with ScriptedRegistry() as server, client(registry_max_blob_bytes=bound) as registry:
        digest = server.put_image(APP, "1")
        _referrer(server, digest, [descriptor(b"x", BUNDLE) | {"size": 10**12 if announced else bound}])
        endless = _Endless()
        server.answer(f"/v2/{APP}/blobs/{digest_of(b'x')}", endless)
        found = await _discovered(server, registry)
        assert found.artifacts == ()
        (problem,) = found.problems
        assert problem.code == ("LimitExceeded" if announced else "DigestMismatch")
        assert len(server.seen("/blobs/")) == (0 if announced else 1)
        assert endless.taken < bound + SOCKETS


async def test_cve_2023_42815_signatures_on_pages_without_end_end_at_a_bound() -> None:
    """A registry's answer, asked for signatures, stopped Kyverno's Notary verifier: here, pages without end.

    https://github.com/kyverno/kyverno/security/advisories/GHSA-hjpv-68f4-2262
    """
    async with ScriptedRegistry() as server, client() as registry:
        digest = server.put_image(APP, "1")
        path = f"/v2/{APP}/referrers/{digest}"

        async def page(request: web.BaseRequest) -> web.Response:
            number = int(request.query.get("n", "0"))
            entries = [descriptor(b"%d %d" % (number, n), OCI_MANIFEST, artifactType=BUNDLE) for n in range(50)]
            listing = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
            more = {"Content-Type": OCI_INDEX, "Link": f'<{path}?n={number + 1}>; rel="next"'}
            return web.Response(body=encoded(listing), headers=more)

        server.answer(path, page)
        await _refused(server, registry, "registry_max_referrers")
        assert len(server.seen("/referrers/")) <= MOST // 50 + 1


@pytest.mark.parametrize("place", ["image", "referrers", "signature tag", "attestation tag", "fallback tag"])
async def test_cve_2023_42816_a_manifest_without_end_ends_at_a_bound(place: str) -> None:
    """A registry's answer, asked for signatures, stopped Kyverno's Notary verifier: here, a manifest without end.

    https://github.com/kyverno/kyverno/security/advisories/GHSA-4mp4-46gq-hv3r
    """
    bound = 1024 * 1024
    async with ScriptedRegistry() as server, client(registry_max_manifest_bytes=bound) as registry:
        digest = server.put_image(APP, "1")
        tag = digest.replace(":", "-")
        path = {
            "image": "manifests/1",
            "referrers": f"referrers/{digest}",
            "signature tag": f"manifests/{tag}.sig",
            "attestation tag": f"manifests/{tag}.att",
            "fallback tag": f"manifests/{tag}",
        }[place]
        endless = _Endless(OCI_INDEX if place == "referrers" else OCI_MANIFEST)
        server.answer(f"/v2/{APP}/{path}", endless)
        try:
            (problem,) = (await _discovered(server, registry)).problems
        except AssayError as raised:
            problem = raised
        assert isinstance(problem, LimitExceeded)
        assert problem.setting == "registry_max_manifest_bytes"
        assert endless.taken < bound + SOCKETS


async def test_cve_2024_29902_attachments_larger_than_the_bound_are_not_read() -> None:
    """cosign read an attachment into memory whatever its size, and took the machine's memory.

    https://github.com/sigstore/cosign/security/advisories/GHSA-88jx-383q-w4qc
    """
    async with ScriptedRegistry() as server, client() as registry:
        digest = server.put_image(APP, "1")
        huge = descriptor(b"x", DSSE) | {"size": RegistrySettings().registry_max_blob_bytes + 1}
        signature = huge | {"mediaType": SIMPLE_SIGNING}
        tag = digest.replace(":", "-")
        for suffix, layer in (("att", huge), ("sig", signature)):
            manifest = {"schemaVersion": 2, "config": descriptor(b"{}", EMPTY), "layers": [layer]}
            server.put_manifest(APP, manifest, tag=f"{tag}.{suffix}")
        _referrer(server, digest, [huge | {"mediaType": BUNDLE}])
        found = await _discovered(server, registry)
        assert found.artifacts == ()
        assert [problem.code for problem in found.problems] == ["LimitExceeded"] * 3
        assert not server.seen("/blobs/")


async def test_cve_2024_29902_attachments_that_are_too_large_together_are_not_read() -> None:
    """The same with many, none of which is too large alone.

    https://github.com/sigstore/cosign/security/advisories/GHSA-88jx-383q-w4qc
    """
    async with ScriptedRegistry() as server, client(registry_max_evidence_bytes=100_000) as registry:
        digest = server.put_image(APP, "1")
        for number in range(3):
            server.put_referrer(APP, digest, b"%d" % number * 40_000)
        await _refused(server, registry, "registry_max_evidence_bytes")


@pytest.mark.parametrize("place", ["referrer", "signature tag", "attestation tag", "index"])
async def test_cve_2024_29903_one_manifest_with_thousands_of_layers_is_not_unfolded(place: str) -> None:
    """cosign made room for as many signatures, attestations or manifests as an artefact said that it has.

    https://github.com/sigstore/cosign/security/advisories/GHSA-95pr-fxf5-86gv
    """
    async with ScriptedRegistry() as server, client() as registry:
        digest = server.put_image(APP, "1")
        content = server.put_blob(recorded_bundle(SIGNED).raw)
        tag = digest.replace(":", "-")
        if place == "referrer":
            _referrer(server, digest, [descriptor(content, BUNDLE)] * (MOST + 1))
        elif place == "index":
            entries = [descriptor(b"%d" % n, OCI_MANIFEST) for n in range(10_000)]
            listing = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
            server.put_manifest(APP, listing, media_type=OCI_INDEX, tag=tag)
        else:
            suffix, kind = ("sig", SIMPLE_SIGNING) if place == "signature tag" else ("att", DSSE)
            layers = [descriptor(content, kind)] * 10_000
            manifest = {"schemaVersion": 2, "config": descriptor(b"{}", EMPTY), "layers": layers}
            server.put_manifest(APP, manifest, tag=f"{tag}.{suffix}")
        await _refused(server, registry, "registry_max_referrers")
        assert not server.seen("/blobs/")
        assert len(server.seen("/manifests/sha256:")) == (1 if place == "referrer" else 0)


def _referrer(
    server: ScriptedRegistry,
    image: str,
    layers: list[dict[str, Any]],
    *,
    listed: dict[str, Any] | None = None,
    **changes: Any,
) -> None:
    """Hold a referrer with these layers, listed as a bundle unless `listed` says otherwise."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": BUNDLE,
        "config": descriptor(server.put_blob(b"{}"), EMPTY),
        "layers": layers,
        "subject": {"mediaType": OCI_MANIFEST, "digest": image, "size": 1},
        **changes,
    }
    raw = encoded(manifest)
    server.put_manifest(APP, raw)
    listing = server._listing(APP, image)
    listing["manifests"].append(
        descriptor(raw, OCI_MANIFEST, **({"artifactType": BUNDLE} if listed is None else listed))
    )
    server.put_manifest(APP, listing, media_type=OCI_INDEX, tag=server._listing_name(image))


# Who says what it is


@pytest.mark.parametrize(
    "annotation",
    [
        {"kyverno.io/verify-images": json.dumps({"IMAGE": True})},
        {"kyverno.io/verify-images": json.dumps({"IMAGE": "pass"})},
        {"assay.dev/verified": "true", "assay.dev/digest": str(RECORDED_IMAGE)},
        {"policy.sigstore.dev/exclude": "true"},
    ],
)
async def test_forged_annotation_on_a_pod_hands_no_verdict_from_mutation_to_validation(
    rig: Rig, annotation: dict[str, str]
) -> None:
    """Kyverno notes in `kyverno.io/verify-images` what its mutating webhook verified; anybody may write that too.

    https://kyverno.io/docs/policy-types/cluster-policy/verify-images/
    """
    rig.publish(rig.policy())
    image = rig.other_image()
    digest = str(Digest.of(rig.registry.manifests[APP, "other"][0]))
    wanted = pod(f"{image}@{digest}")
    wanted["metadata"]["annotations"] = {
        name: text.replace("IMAGE", f"{image}@{digest}") for name, text in annotation.items()
    }
    for mutate in (True, False):
        answer = await rig.review(wanted, mutate=mutate)
        assert not answer.allowed
    assert {leaf["evaluations"][0]["outcome"] for leaf in rig.leaves()} == {"Violated"}


@pytest.mark.parametrize("kind", ["vuln", "custom"])
async def test_forged_annotation_on_an_artefact_makes_it_nothing_else(rig: Rig, kind: str) -> None:
    """cosign 3 annotates a bundle's manifest and its listing with a predicate type; the statement has its own.

    https://github.com/sigstore/cosign/blob/main/specs/BUNDLE_SPEC.md (`dev.sigstore.bundle.predicateType`)
    """
    rig.publish(rig.policy(signatures=None, attestations=[SBOM]), rig.policy("signed too"))
    rig.image()
    for claimed in (SPDX, "https://sigstore.dev/cosign/sign/v1"):
        forged = {"dev.sigstore.bundle.predicateType": claimed, "dev.sigstore.bundle.content": "dsse-envelope"}
        put_annotated_referrer(rig, f"release.none.{kind}", forged)
    answer = await rig.review(rig.reference("1"))
    assert not answer.allowed
    assert {evaluation["outcome"] for evaluation in rig.leaves()[0]["evaluations"]} == {"Violated"}


def test_forged_annotation_on_a_layer_does_not_change_the_type_of_its_statement() -> None:
    """`cosign download attestation` chose by the layer's `predicateType`, which anybody may write.

    https://github.com/sigstore/cosign/pull/3031
    """
    layer = recorded_layer("release.rekor1.custom")
    kept = [pair for pair in layer.annotations if pair[0] != "predicateType"]
    for claimed in (SPDX, "https://sigstore.dev/cosign/sign/v1"):
        forged = Artifact(
            ArtifactKind.COSIGN_ATTESTATION,
            layer.media_type,
            layer.content,
            Digest.of(layer.content),
            "tag",
            tuple(sorted([*kept, ("predicateType", claimed)])),
        )
        roots = {"legacy": root_of(layer)}
        evidence = judge(forged, layer_authority(layer), image=Digest.parse(layer.digest), roots=roots)
        assert [found.predicate_type for found in evidence.attestations] == [layer.predicate_type]
        assert evidence.signatures == ()
        assert _outcome(evidence, "SPDX") is Outcome.VIOLATED


@pytest.mark.parametrize(
    "listed",
    [
        {"artifactType": "application/vnd.cncf.notary.signature"},
        {"artifactType": "application/spdx+json"},
        {"artifactType": BUNDLE, "annotations": {"dev.sigstore.bundle.content": "none"}},
        {},
    ],
)
async def test_forged_annotation_of_an_index_entry_neither_makes_nor_hides_evidence(listed: dict[str, Any]) -> None:
    """What lists an artefact may call it anything: a reader that believes it finds evidence that is none, or misses it.

    https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
    """
    async with ScriptedRegistry() as server, client() as registry:
        digest = server.put_image(APP, "1")
        content = server.put_blob(recorded_bundle(SIGNED).raw)
        _referrer(server, digest, [descriptor(content, BUNDLE)], listed=listed)
        document = server.put_blob(b"a signature of another kind")
        notary = "application/vnd.cncf.notary.signature"
        _referrer(server, digest, [descriptor(document, notary)], artifactType=notary)  # listed as a bundle
        _referrer(server, digest, [descriptor(content, BUNDLE)], artifactType=notary)  # the same, with one inside
        _referrer(server, digest, [descriptor(document, notary)])  # calls itself one, and holds none
        elsewhere = {"mediaType": OCI_MANIFEST, "digest": digest_of(b"another image"), "size": 1}
        _referrer(server, digest, [descriptor(content, BUNDLE)], subject=elsewhere)  # about another image
        found = await _discovered(server, registry)
    assert [artefact.content for artefact in found.artifacts] == [content]
    assert sorted(problem.code for problem in found.problems) == ["SubjectMismatch"] + ["UnsupportedArtifact"] * 3
