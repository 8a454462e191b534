"""Multi-platform images: evidence on the index covers what it names; `Each` and `Nodes` ask it of what may run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controller.model.image import Platform
from controller.model.reference import Digest
from controller.review.judge import MAX_MANIFESTS
from controller.review.platforms import MAX_PLATFORMS
from tests.contract.registry_servers.scripted import OCI_INDEX, OCI_MANIFEST
from tests.support.pipeline import APP, Answer, Rig, pod, running
from tests.unit.verification.evidence import Signer, statement

AMD, ARM, NONE = "linux/amd64", "linux/arm64", ""
ATTESTATION = "unknown/unknown"
RELEASE, STRANGER = Signer(), Signer()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path, registry_circuit_failures=1000) as running_rig:
        yield running_rig


class Image:
    """A multi-platform image in the rig's registry; children by their platform."""

    def __init__(self, rig: Rig, *platforms: str, media_type: str = OCI_MANIFEST) -> None:
        self.rig = rig
        self.children: dict[str, str] = {}
        entries = []
        for number, platform in enumerate(platforms):
            digest = rig.registry.put_image(APP, f"child-{number}", mark=f"{platform} {number}")
            self.children[platform] = digest
            entry: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": 1}
            if platform:
                system, architecture = platform.split("/")
                entry["platform"] = {"os": system, "architecture": architecture}
            if platform == ATTESTATION:
                entry["annotations"] = {
                    "vnd.docker.reference.type": "attestation-manifest",
                    "vnd.docker.reference.digest": self.children.get(AMD, "unknown"),
                }
            entries.append(entry)
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        self.digest = rig.registry.put_manifest(APP, index, media_type=OCI_INDEX, tag="1")

    @property
    def reference(self) -> str:
        return f"{self.rig.registry.host}/{APP}:1@{self.digest}"

    def sign(self, *platforms: str, by: Signer = RELEASE, index: bool = False) -> None:
        """Sign these children, or the index, by themselves."""
        for digest in [self.digest] if index else [self.children[platform] for platform in platforms]:
            bundle = by.envelope(statement(Digest.parse(digest)))
            self.rig.registry.put_referrer(APP, digest, json.dumps(bundle).encode())

    async def review(self, platforms: str, *, nodes: tuple[str, ...] = (), **spec: Any) -> Answer:
        key = {"name": "release", "key": {"pem": RELEASE.pem}, "transparencyLog": "Ignore"}
        known = frozenset(Platform(*node.split("/")) for node in nodes)
        self.rig.publish(self.rig.policy(platforms=platforms, authorities=[key], **spec), node_platforms=known)
        return await self.rig.review(self.reference)


@pytest.mark.guarantee(1)
@pytest.mark.parametrize(
    ("platforms", "on_index", "signed", "allowed"),
    [
        ("Index", True, (), True),
        ("Index", False, (AMD, ARM), False),
        ("Each", False, (AMD, ARM), True),
        ("Each", True, (), False),
        ("Each", True, (AMD,), False),
        ("Each", False, (ARM,), False),
    ],
)
async def test_guarantee_01_evidence_is_demanded_of_the_index_or_of_each_child(
    rig: Rig, platforms: str, on_index: bool, signed: tuple[str, ...], allowed: bool
) -> None:
    image = Image(rig, AMD, ARM)
    if on_index:
        image.sign(index=True)
    image.sign(*signed)
    assert (await image.review(platforms)).allowed is allowed


@pytest.mark.guarantee(1)
async def test_guarantee_01_a_strangers_signature_on_one_child_is_none(rig: Rig) -> None:
    image = Image(rig, AMD, ARM)
    image.sign(AMD)
    image.sign(ARM, by=STRANGER)
    answer = await image.review("Each")
    assert not answer.allowed
    assert f"of {ARM}, {image.children[ARM]}" in answer.message
    assert AMD not in answer.message


@pytest.mark.guarantee(1)
async def test_guarantee_01_a_signature_of_one_child_does_not_count_for_another(rig: Rig) -> None:
    image = Image(rig, AMD, ARM)
    image.sign(AMD)
    stolen = RELEASE.envelope(statement(Digest.parse(image.children[AMD])))
    rig.registry.put_referrer(APP, image.children[ARM], json.dumps(stolen).encode())
    assert not (await image.review("Each")).allowed


async def test_attestation_manifests_of_buildkit_need_no_evidence_and_others_without_a_platform_do(rig: Rig) -> None:
    image = Image(rig, AMD, ATTESTATION)
    image.sign(AMD)
    assert (await image.review("Each")).allowed
    unnamed = Image(rig, AMD, NONE)
    unnamed.sign(AMD)
    assert not (await unnamed.review("Each")).allowed
    unnamed.sign(NONE)
    assert (await unnamed.review("Each")).allowed


@pytest.mark.guarantee(5)
@pytest.mark.parametrize("platforms", ["Index", "Each"])
async def test_guarantee_05_what_buildkit_attested_is_shown_as_unsigned_and_satisfies_nothing(
    rig: Rig, platforms: str
) -> None:
    image = Image(rig, AMD, ARM, ATTESTATION)
    answer = await image.review(platforms)
    assert not answer.allowed
    assert "unsigned; nobody vouches for what is in it" in answer.message
    evaluations = rig.leaves()[0]["evaluations"]
    assert {e["outcome"] for e in evaluations} == {"Violated"}  # that it counts for nothing is certain: no Error
    told = [
        e.get("child", {}).get("platform") for e in evaluations if [r["code"] for r in e["rejections"]] == ["Unsigned"]
    ]
    assert told == [None if platforms == "Index" else AMD]
    image.sign(AMD, ARM)
    image.sign(index=True)
    assert (await image.review(platforms)).allowed


async def test_a_single_image_is_its_own_only_manifest(rig: Rig) -> None:
    image = Image(rig, AMD)
    image.digest = image.children[AMD]
    image.sign(AMD)
    assert (await image.review("Each")).allowed


@pytest.mark.guarantee(2)
@pytest.mark.parametrize(
    ("children", "media_type", "code"),
    [
        ((), OCI_MANIFEST, "PlatformsMissing"),
        ((ATTESTATION,), OCI_MANIFEST, "PlatformsMissing"),
        ((AMD,), OCI_INDEX, "PlatformsNested"),
        (tuple(f"linux/a{number}" for number in range(MAX_PLATFORMS + 1)), OCI_MANIFEST, "MAX_PLATFORMS"),
    ],
    ids=["empty", "attestations alone", "nested", "too many"],
)
async def test_guarantee_02_an_index_without_what_could_be_judged_is_an_error(
    rig: Rig, children: tuple[str, ...], media_type: str, code: str
) -> None:
    image = Image(rig, *children, media_type=media_type)
    image.sign(index=True)
    answer = await image.review("Each")
    assert not answer.allowed
    assert code in answer.message
    (evaluation,) = rig.leaves()[0]["evaluations"]
    assert (evaluation["outcome"], evaluation["errorKind"]) == ("Error", "Unacceptable")


@pytest.mark.guarantee(1)
@pytest.mark.parametrize(
    ("nodes", "signed", "allowed"),
    [
        ((AMD,), (AMD,), True),
        ((AMD,), (ARM,), False),
        ((AMD, ARM), (AMD,), False),
        ((AMD, ARM), (AMD, ARM), True),
        (("linux/s390x",), (AMD, ARM), False),
        ((), (AMD, ARM), False),
    ],
)
async def test_guarantee_01_nodes_asks_it_of_what_a_node_could_run(
    rig: Rig, nodes: tuple[str, ...], signed: tuple[str, ...], allowed: bool
) -> None:
    image = Image(rig, AMD, ARM)
    image.sign(*signed)
    answer = await image.review("Nodes", nodes=nodes)
    assert answer.allowed is allowed
    if not nodes:
        assert "NodesUnknown" in answer.message


async def test_a_child_without_a_platform_may_run_on_any_node(rig: Rig) -> None:
    image = Image(rig, AMD, NONE)
    image.sign(AMD)
    assert not (await image.review("Nodes", nodes=(AMD,))).allowed


async def test_rules_see_the_manifest_that_they_are_asked_about(rig: Rig) -> None:
    image = Image(rig, AMD, ARM)
    image.sign(AMD, ARM)
    rule = {"expression": f"image.platforms == ['{AMD}'] && image.digest == '{image.children[AMD]}'"}
    answer = await image.review("Each", validations=[rule])
    assert not answer.allowed
    outcomes = {e["child"]["platform"]: e["outcome"] for e in rig.leaves()[0]["evaluations"]}
    assert outcomes == {AMD: "Satisfied", ARM: "Violated"}


@pytest.mark.guarantee(13)
async def test_guarantee_13_the_record_says_what_was_proven_of_which_child(rig: Rig) -> None:
    image = Image(rig, AMD, ARM)
    image.sign(AMD, ARM)
    assert (await image.review("Each")).allowed
    (leaf,) = rig.leaves()
    assert [found["digest"] for found in leaf["images"]] == [image.digest]
    children = {e["child"]["platform"]: (e["child"]["digest"], len(e["signatures"])) for e in leaf["evaluations"]}
    assert children == {platform: (digest, 1) for platform, digest in image.children.items()}
    known = rig.store.queries.image(image.digest)
    assert known is not None
    assert {finding.detail["child"]["platform"] for finding in known.signatures} == {AMD, ARM}


CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = {"digest": f"sha256:{'ab' * 32}", "size": 7}
FOREIGN = {
    "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "urls": ["https://layers.example/x"],
}
FORMS: dict[str, dict[str, Any]] = {
    "about another image": {"subject": {"mediaType": OCI_MANIFEST, **LAYER}},
    "empty config": {"config": {"mediaType": "application/vnd.oci.empty.v1+json", **LAYER, "data": "e30="}},
    "zstd layers": {"layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", **LAYER}]},
    "foreign layers": {"layers": [FOREIGN | LAYER]},
    "an artefact type": {"artifactType": "application/vnd.acme.model"},
    "annotations that claim evidence": {"annotations": {"dev.cosignproject.cosign/signature": "AAAA"}},
    "no layers": {"layers": []},
}


@pytest.mark.guarantee(1)
@pytest.mark.parametrize("form", FORMS)
async def test_guarantee_01_an_image_of_any_form_is_judged_by_what_is_signed_of_its_digest(rig: Rig, form: str) -> None:
    image = Image(rig)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": CONFIG, **LAYER},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **LAYER}],
        **FORMS[form],
    }
    image.digest = rig.registry.put_manifest(APP, manifest)
    assert not (await image.review("Each")).allowed
    image.sign(index=True)
    assert (await image.review("Each")).allowed


@pytest.mark.parametrize(
    "media_type",
    ["application/vnd.oci.artifact.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws"],
)
async def test_guarantee_01_a_manifest_of_another_type_is_an_error(rig: Rig, media_type: str) -> None:
    image = Image(rig)
    image.digest = rig.registry.put_manifest(APP, {"schemaVersion": 2, "mediaType": media_type}, media_type=media_type)
    image.sign(index=True)
    answer = await image.review("Index")
    assert not answer.allowed
    assert rig.leaves()[0]["evaluations"][0]["outcome"] == "Error"


@pytest.mark.guarantee(1)
@pytest.mark.parametrize(
    ("unsigned", "signed", "nodes"),
    [
        ("linux/x86_64", AMD, (AMD,)),
        ("linux/x86-64", AMD, (AMD,)),
        ("Linux/AMD64", AMD, (AMD,)),
        ("linux/aarch64", ARM, (ARM,)),
        ("/amd64", AMD, (AMD,)),
        ("linux/386", ARM, (AMD, ARM)),
        ("linux/i386", ARM, (AMD, ARM)),
        ("linux/arm", AMD, (AMD, ARM)),
        ("linux/armhf", AMD, (AMD, ARM)),
        ("linux/armel", AMD, (AMD, ARM)),
    ],
)
async def test_guarantee_01_what_a_node_runs_under_another_name_needs_evidence_too(
    rig: Rig, unsigned: str, signed: str, nodes: tuple[str, ...]
) -> None:
    image = Image(rig, unsigned, signed)
    image.sign(signed)
    answer = await image.review("Nodes", nodes=nodes)
    assert not answer.allowed
    assert image.children[unsigned] in answer.message


async def test_a_manifest_that_is_listed_for_two_platforms_is_judged_for_both(rig: Rig) -> None:
    image = Image(rig, AMD)
    child = {"mediaType": OCI_MANIFEST, "digest": image.children[AMD], "size": 1}
    entries = [{**child, "platform": {"os": "linux", "architecture": a}} for a in ("arm64", "amd64")]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    image.digest = rig.registry.put_manifest(APP, index, media_type=OCI_INDEX, tag="1")
    image.sign(AMD)
    assert (await image.review("Each")).allowed
    assert not (await image.review("Each", validations=[{"expression": f"image.platforms == ['{AMD}']"}])).allowed


@pytest.mark.guarantee(10)
async def test_guarantee_10_a_request_of_many_images_of_many_manifests_is_an_error(rig: Rig) -> None:
    image = Image(rig, *(f"linux/a{number}" for number in range(MAX_PLATFORMS)))
    rig.publish(rig.policy(platforms="Each", authorities=[{"name": "release", "key": {"pem": RELEASE.pem}}]))
    crowded = pod(image.reference)
    (container,) = crowded["spec"]["containers"]
    number = MAX_MANIFESTS // MAX_PLATFORMS
    crowded["spec"]["containers"] = [container | {"name": f"c{n}"} for n in range(number + 1)]
    assert "MAX_MANIFESTS" in (await rig.review(crowded)).message
    assert len(rig.leaves()[0]["evaluations"]) == number + 1
    crowded["spec"]["containers"].pop()
    assert "MAX_MANIFESTS" not in (await rig.review(crowded)).message
