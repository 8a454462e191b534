"""Documents and configurations in rules, on recorded real evidence: what did not meet this policy is not there.

Guarantee 5 for the names `provenances`, `vulnerabilities`, `vex` and `image.…`, through the whole of Assay.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controller.inventory.asking.affected.resting import Footing
from tests.contract.registry_servers.scripted import OCI_INDEX, OCI_MANIFEST, descriptor, digest_of, encoded
from tests.support import canaries
from tests.support.pipeline import APP, Rig, running

SIGNED, SCAN, VEX = "release.none.signature", "release.none.vuln", "release.none.openvex"
THEIR_VEX = "workflow.rekor2+timestamp.openvex"
SLSA, THEIR_SLSA = "release.none.slsaprovenance1", "workflow.rekor2+timestamp.slsaprovenance1"
CANARY = "canary-4711"
CLEARED = "vulnerabilities.matching('MEDIUM').all(f, vex.clears(f))"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as running_rig:
        yield running_rig


def entry(name: str, type_: str) -> dict[str, Any]:
    return {"name": name, "type": type_, "authorities": ["release"]}


def publish(rig: Rig, *expressions: str, **spec: Any) -> None:
    rules = [{"expression": expression} for expression in expressions]
    rig.publish(rig.policy(validations=rules, **spec))


async def test_guarantee_05_a_scan_and_vex_of_this_policys_signer_are_what_rules_see(rig: Rig) -> None:
    entries = [entry("scan", "Vulnerability"), entry("vex", "OpenVEX")]
    publish(rig, CLEARED, "vulnerabilities.size() == 1 && vex.size() == 1", attestations=entries)
    answer = await rig.review(rig.image(SIGNED, SCAN, VEX, THEIR_VEX))
    assert answer.allowed, answer.message


async def test_guarantee_05_anothers_vex_clears_nothing(rig: Rig) -> None:
    entries = [entry("scan", "Vulnerability"), entry("vex", "OpenVEX")]
    publish(rig, CLEARED, attestations=entries)
    answer = await rig.review(rig.image(SIGNED, SCAN, THEIR_VEX))
    assert not answer.allowed
    assert "vex" in answer.message


async def test_guarantee_05_a_finding_that_nobody_clears_is_told(rig: Rig) -> None:
    publish(rig, "vulnerabilities.matching('MEDIUM').size() == 0", attestations=[entry("scan", "Vulnerability")])
    answer = await rig.review(rig.image(SIGNED, SCAN, VEX))
    assert not answer.allowed


async def test_guarantee_05_vex_about_an_image_of_another_name_clears_nothing(rig: Rig) -> None:
    """The same bytes, signatures and statements in another repository: `pkg:oci/app` is another image's name."""
    entries = [entry("scan", "Vulnerability"), entry("vex", "OpenVEX")]
    publish(rig, CLEARED, attestations=entries)
    assert (await rig.review(rig.image(SIGNED, SCAN, VEX))).allowed
    assert not (await rig.review(rig.image(SIGNED, SCAN, VEX, repository="acme/renamed"))).allowed


async def test_guarantee_05_provenance_of_this_policys_signer_alone(rig: Rig) -> None:
    publish(
        rig,
        "provenances.size() == 1 && provenances.all(p, has(p.builder) && p.builder.startsWith('https://'))",
        attestations=[entry("built", "SLSAProvenance")],
    )
    answer = await rig.review(rig.image(SIGNED, SLSA, THEIR_SLSA))
    assert answer.allowed, answer.message


def put_configured(rig: Rig, *configs: dict[str, Any], tag: str = "1") -> str:
    """An index with an image for each of these configurations, and BuildKit's unsigned attestation beside them."""
    entries = []
    for number, config in enumerate([*configs, {}]):
        content = rig.registry.put_blob(encoded(config))
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(content, "application/vnd.oci.image.config.v1+json"),
            "layers": [],
            "annotations": {"number": str(number)},
        }
        rig.registry.put_manifest(APP, manifest)
        attests = number == len(configs)
        platform = (
            {"os": "unknown", "architecture": "unknown"} if attests else {"os": "linux", "architecture": f"a{number}"}
        )
        entries.append(descriptor(encoded(manifest), OCI_MANIFEST, platform=platform))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    rig.registry.put_manifest(APP, index, media_type=OCI_INDEX, tag=tag)
    return rig.reference(tag)


RULES: dict[str, Any] = {"authorities": None, "signatures": None}


async def test_guarantee_03_what_a_configuration_says_is_judged_recorded_and_fetched_once(rig: Rig) -> None:
    publish(rig, "image.nonRoot && image.labels.team == 'shop' && image.configs.size() == 2", **RULES)
    config = {"config": {"User": "65532", "Labels": {"team": "shop"}}}
    image = put_configured(rig, config | {"os": "linux"}, config | {"os": "plan9"})
    answer = await rig.review(image)
    assert answer.allowed, answer.message
    asked = len(rig.registry.seen("/blobs/"))
    assert asked == 2
    assert (await rig.review(image)).allowed
    assert len(rig.registry.seen("/blobs/")) == asked
    used = rig.leaves()[0]["evaluations"][0]["used"]["configs"]
    assert [one["platform"] for one in used] == ["linux/a0", "linux/a1"]
    assert [(one["user"], one["os"]) for one in used] == [("65532", "linux"), ("65532", "plan9")]
    for one in used:
        assert rig.store.queries.blob(one["digest"]) is None  # its bytes hold environment values and commands


SECRETIVE: dict[str, Any] = {
    "os": "linux",
    "architecture": "amd64",
    "author": f"{CANARY}-author",
    "config": {
        "User": "65532",
        "Env": ["PATH=/bin", f"TOKEN={CANARY}-value", f"{CANARY}-without-a-name", "AGAIN=hidden-in-a-label"],
        "Entrypoint": ["/app", f"--password={CANARY}-entrypoint"],
        "Cmd": [f"{CANARY}-command"],
        "WorkingDir": f"/{CANARY}-directory",
        "Volumes": {f"/{CANARY}-volume": {}},
        "Healthcheck": {"Test": ["CMD", f"{CANARY}-health"]},
        "OnBuild": [f"ENV X={CANARY}-onbuild"],
        "Shell": [f"{CANARY}-shell"],
        "Labels": {
            "team": f"{CANARY}-label",
            "org.opencontainers.image.description": f"{CANARY}-description",
            "org.opencontainers.image.source": f"https://jane:{CANARY}-user@github.com/acme/app?token={CANARY}#{CANARY}",
            "org.opencontainers.image.vendor": "was hidden-in-a-label too",
            "org.opencontainers.image.version": "7.1",
        },
    },
    "history": [{"created_by": f"RUN deploy --token={CANARY}-history", "comment": f"{CANARY}-comment"}],
    f"{CANARY}-field": "x",
}


async def test_guarantee_12_nothing_of_an_images_environment_commands_or_history_is_kept_or_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    with caplog.at_level(logging.DEBUG):
        async with running(tmp_path) as rig:
            image = put_configured(rig, SECRETIVE)
            for rules in (
                ["image.nonRoot"],
                ["image.user == 'root'"],
                ["int(image.labels.team) == 1", "image.configs.all(p, image.configs[p].cmd[0] == 'x')"],
            ):
                publish(rig, *rules, **RULES)
                said.append(json.dumps((await rig.review(image)).response))
            used = [leaf["evaluations"][0]["used"]["configs"][0] for leaf in rig.leaves()]
            said.append((await rig.get("/metrics"))[1].decode())
    assert len(used) == 3
    assert all(one["labels"] == SHOWN and one["user"] == "65532" for one in used)
    assert canaries.found(tmp_path, [used[0]["digest"]])  # what is looked for would be seen
    assert canaries.found(tmp_path, [CANARY, "hidden-in-a-label"]) == set()
    for text in (*said, caplog.text):
        assert CANARY not in text
        assert "hidden-in-a-label" not in text


SHOWN = {
    "org.opencontainers.image.source": "https://github.com/acme/app",
    "org.opencontainers.image.version": "7.1",
}


BASE_NAME, BASE_DIGEST = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"


async def test_guarantee_05_what_an_image_claims_of_its_base_is_told_as_its_own_word(rig: Rig) -> None:
    """By an annotation of the index about a manifest, by one of the manifest itself, and by a label."""
    config = rig.registry.put_blob(encoded({"os": "linux", "config": {"Labels": {BASE_NAME: "alpine:3.20"}}}))
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [],
        "annotations": {BASE_NAME: "docker.io/library/debian:12"},
    }
    rig.registry.put_manifest(APP, manifest)
    about = {BASE_NAME: "docker.io/library/debian:12-slim", BASE_DIGEST: "sha256:" + "0b" * 32}
    entry = descriptor(
        encoded(manifest), OCI_MANIFEST, platform={"os": "linux", "architecture": "a0"}, annotations=about
    )
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry], "annotations": {BASE_NAME: "scratch"}}
    rig.registry.put_manifest(APP, index, media_type=OCI_INDEX, tag="1")
    publish(rig, "size(image.configs) == 1", **RULES)
    assert (await rig.review(rig.reference("1"))).allowed
    index_digest, child = digest_of(encoded(index)), entry["digest"]
    affected = rig.store.questions.affected
    for asked, source, digest, by in (
        ("debian:12-slim", "annotation", child, index_digest),
        ("sha256:" + "0b" * 32, "annotation", child, index_digest),
        ("debian:12", "annotation", child, child),
        ("alpine", "label", child, digest_of(config)),
        ("scratch", "annotation", index_digest, index_digest),
    ):
        (found,) = affected.images(Footing.BASE, asked).items
        told = (found.digest, [told.source for told in found.sources], found.artifacts, found.is_claimed)
        assert told == (digest, [source], (by,), True), asked
        extent = affected.extent(Footing.BASE, asked)
        assert (extent.images, extent.claimed, extent.admitted) == (1, 1, 1)


async def test_no_configuration_is_fetched_for_a_policy_that_reads_none(rig: Rig) -> None:
    publish(rig, "image.repository == 'acme/app'", **RULES)
    assert (await rig.review(put_configured(rig, {}))).allowed
    assert rig.registry.seen("/blobs/") == []
    assert "configs" not in rig.leaves()[0]["evaluations"][0]["used"]


@pytest.mark.parametrize(
    ("configs", "allowed"),
    [
        ([{"config": {"User": "1"}}, {"config": {"User": "1"}}], True),
        ([{"config": {"User": "1"}}, {"config": {"User": "0"}}], False),
        ([{"config": {"User": "1"}}, {}], False),
        ([{"config": {"User": "1", "user": "0"}}], False),
        ([{"config": {"User": ["1"]}}], False),
    ],
)
async def test_a_rule_about_the_user_holds_for_every_platform_or_not_at_all(
    rig: Rig, configs: list[dict[str, Any]], allowed: bool
) -> None:
    publish(rig, "image.nonRoot", **RULES)
    assert (await rig.review(put_configured(rig, *configs))).allowed is allowed


async def test_each_platform_may_be_judged_by_its_own_configuration(rig: Rig) -> None:
    publish(rig, "image.user == '1' || image.user == '2'", platforms="Each", **RULES)
    image = put_configured(rig, {"config": {"User": "1"}}, {"config": {"User": "2"}})
    answer = await rig.review(image)
    assert answer.allowed, answer.message
    publish(rig, "image.user == '1' || image.user == '2'", **RULES)
    assert "PlatformsDiffer" in (await rig.review(image)).message


async def test_guarantee_06_a_configuration_that_cannot_be_had_hides_no_violation(rig: Rig) -> None:
    image = put_configured(rig, {"config": {"User": "1"}})
    for digest in list(rig.registry.blobs):
        rig.registry.status(f"/v2/{APP}/blobs/{digest}", 503)
    host = [f"{rig.registry.host}/acme/**"]
    publish(rig, "image.nonRoot", failurePolicy="Ignore", match={"images": host}, **RULES)
    assert (await rig.review(image)).allowed
    publish(rig, "image.nonRoot", "image.repository == 'x'", failurePolicy="Ignore", match={"images": host}, **RULES)
    assert not (await rig.review(image)).allowed
