"""Evidence in a repository of its own: looked for where the authority says, and verified as anywhere."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from controller.model.access import Credential
from controller.model.reference import Digest
from tests.contract.registry_servers.scripted import ScriptedRegistry, Users
from tests.support.pipeline import APP, Answer, Rig, pull_secret, running
from tests.unit.verification.evidence import Signer, statement

ELSEWHERE = "security/signatures"
RELEASE, STRANGER = Signer(), Signer()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path, registry_circuit_failures=1000) as running_rig:
        yield running_rig


def authority(rig: Rig, *, source: bool = True, name: str = "release", **more: Any) -> dict[str, Any]:
    where = {"source": {"repository": f"{rig.registry.host}/{ELSEWHERE}", **more}} if source else {}
    return {"name": name, "key": {"pem": RELEASE.pem}, "transparencyLog": "Ignore", **where}


def put(rig: Rig, repository: str, digest: str, *, by: Signer = RELEASE, about: str = "") -> None:
    bundle = by.envelope(statement(Digest.parse(about or digest)))
    rig.registry.put_referrer(repository, digest, json.dumps(bundle).encode())


async def review(rig: Rig, digest: str, *authorities: Mapping[str, Any], **parts: Any) -> Answer:
    names = [given["name"] for given in authorities]
    policy = rig.policy(authorities=list(authorities), signatures={"authorities": names})
    rig.publish(policy, **parts)
    return await rig.review(f"{rig.registry.host}/{APP}:1@{digest}")


@pytest.mark.guarantee(1)
async def test_guarantee_01_evidence_counts_where_its_authority_says_that_it_lies(rig: Rig) -> None:
    digest = rig.registry.put_image(APP, "1")
    put(rig, APP, digest)
    assert not (await review(rig, digest, authority(rig))).allowed  # beside the image is not where it is to be
    put(rig, ELSEWHERE, digest)
    assert (await review(rig, digest, authority(rig))).allowed
    (signature,) = rig.leaves()[0]["evaluations"][0]["signatures"]
    assert signature["location"].startswith(f"{rig.registry.host}/{ELSEWHERE}, ")


@pytest.mark.guarantee(1)
async def test_guarantee_01_evidence_elsewhere_is_verified_as_anywhere(rig: Rig) -> None:
    digest, other = rig.registry.put_image(APP, "1"), rig.registry.put_image(APP, "2", mark="other")
    put(rig, ELSEWHERE, digest, by=STRANGER)
    put(rig, ELSEWHERE, digest, about=other)
    answer = await review(rig, digest, authority(rig))
    assert not answer.allowed
    codes = {r["code"] for r in rig.leaves()[0]["evaluations"][0]["rejections"]}
    assert codes == {"SignatureInvalid", "SubjectMismatch"}


async def test_both_places_are_looked_into_where_authorities_name_both(rig: Rig) -> None:
    digest = rig.registry.put_image(APP, "1")
    put(rig, APP, digest)
    both = (authority(rig, source=False, name="beside"), authority(rig, name="elsewhere"))
    assert (await review(rig, digest, *both)).allowed
    looked = {seen.path.split("/referrers/")[0].removeprefix("/v2/") for seen in rig.registry.seen("/referrers/")}
    assert looked == {APP, ELSEWHERE}


async def test_nothing_is_asked_beside_the_image_where_no_authority_looks_there(rig: Rig) -> None:
    digest = rig.registry.put_image(APP, "1")
    put(rig, ELSEWHERE, digest)
    assert (await review(rig, digest, authority(rig))).allowed
    assert {seen.path.split("/referrers/")[0] for seen in rig.registry.seen("/referrers/")} == {f"/v2/{ELSEWHERE}"}


@pytest.mark.guarantee(6)
async def test_guarantee_06_a_place_that_is_away_is_an_error_and_not_missing_evidence(rig: Rig) -> None:
    digest = rig.registry.put_image(APP, "1")
    put(rig, APP, digest)
    rig.registry.status(f"/v2/{ELSEWHERE}/referrers/{digest}", 503)
    both = (authority(rig, source=False, name="beside"), authority(rig, name="elsewhere"))
    assert not (await review(rig, digest, *both)).allowed
    (evaluation,) = rig.leaves()[0]["evaluations"]
    assert (evaluation["outcome"], evaluation["errorKind"]) == ("Error", "Unavailable")


@pytest.mark.guarantee(11)
async def test_guarantee_11_a_place_with_a_pull_secret_is_read_with_that_and_nothing_else(tmp_path: Path) -> None:
    registry = ScriptedRegistry(users=Users({"pod": "pods-own", "auditor": "auditors-own"}, bearer=False))
    async with registry, running(tmp_path, registry=registry) as rig:
        digest = registry.put_image(APP, "1")
        put(rig, ELSEWHERE, digest)
        secrets: dict[tuple[str, str], tuple[Credential, ...]] = {
            **pull_secret(registry.host, "pod", "pods-own"),
            ("assay-system", "auditor"): (Credential(registry.host, "auditor", "auditors-own"),),
            ("shop", "auditor"): (Credential(registry.host, "pod", "pods-own"),),
        }
        accounts = {("shop", "default"): tuple(name for namespace, name in secrets if namespace == "shop")}
        wanted = authority(rig, pullSecretRef={"name": "auditor"})
        answer = await review(rig, digest, wanted, pull_secrets=secrets, service_accounts=accounts)
        assert answer.allowed

        sent = {
            base64.b64decode(seen.headers["Authorization"].split()[1]).decode()
            for seen in registry.seen(f"/v2/{ELSEWHERE}/")
            if "Authorization" in seen.headers
        }
        assert sent == {"auditor:auditors-own"}
        absent = authority(rig, pullSecretRef={"name": "absent"})
        refused = await review(rig, digest, absent, pull_secrets=secrets, service_accounts=accounts)
        assert not refused.allowed
        assert "ReferenceMissing" in refused.message
        assert "assay-system/absent" in refused.message
