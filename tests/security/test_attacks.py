"""Attacks that were tried on the whole of Assay, each of which once worked or could have: what an image's author, a
tenant who may create pods and pull secrets, or a registry may do to get an image in, to forge a record, or to keep
others from starting pods.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller import documents
from controller.documents.packages import PackageIndex, Query, find
from controller.errors import AssayError, InputError
from controller.model.access import ANONYMOUS, MAX_CREDENTIALS, Credential, RegistryAccess, parse_docker_config
from controller.model.documents import Component
from controller.settings import DocumentSettings, Seconds
from tests.contract.registry_servers.clients import client, ref, soon
from tests.contract.registry_servers.scripted import ScriptedRegistry, Users, digest_of
from tests.support.fixtures import recorded_layer, recorded_manifest
from tests.support.pipeline import APP, Rig, pod, review_of, running

LOG4J = Query.parse("pkg:maven/org.apache.logging.log4j/log4j-core", "<2.17.1")
SAFE = {"name": "app", "SPDXID": "SPDXRef-app", "versionInfo": "1"}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as running_rig:
        yield running_rig


# Wrong allows: the clock, which an attacker can run down


def _junk(rig: Rig, count: int, size: int = 100) -> str:
    """An unsigned image with as many artefacts beside it that are no evidence."""
    image = rig.other_image()
    digest = rig.registry.put_image(APP, "other", mark="other")
    for number in range(count):
        rig.registry.put_referrer(APP, digest, (b'{"%d": "' % number).ljust(size, b"x") + b'"}')
    return f"{image}@{digest}"


async def test_guarantee_06_a_deadline_run_down_by_the_volume_of_evidence_never_fails_open(tmp_path: Path) -> None:
    registry = ScriptedRegistry(delay=0.05)
    async with registry, running(tmp_path, registry=registry, registry_connections_per_host=2) as rig:
        rig.publish(rig.policy(failurePolicy="Ignore"))
        answer = await rig.review(_junk(rig, 100), timeout="2s", mutate=False)
    assert not answer.allowed
    assert "DeadlineExceeded" in answer.message


async def test_guarantee_06_work_that_reaches_its_own_bound_never_fails_open(tmp_path: Path) -> None:
    registry = ScriptedRegistry(delay=0.05)
    async with (
        registry,
        running(tmp_path, registry=registry, registry_connections_per_host=2, review_work_timeout=1) as rig,
    ):
        rig.publish(rig.policy(failurePolicy="Ignore"))
        answer = await rig.review(_junk(rig, 100), timeout="10s", mutate=False)
    assert not answer.allowed
    assert "WorkTimeout" in answer.message


async def test_guarantee_06_a_deadline_run_down_by_the_verification_of_evidence_never_fails_open(rig: Rig) -> None:
    rig.publish(rig.policy(failurePolicy="Ignore"))
    image = rig.other_image()
    digest = rig.registry.put_image(APP, "other", mark="other")
    for number in range(12):
        rig.registry.put_referrer(APP, digest, b'{"%d":[%s]}' % (number, b",".join([b"[]"] * 1_500_000)))
    answer = await rig.review(f"{image}@{digest}", timeout="3s", mutate=False)
    assert not answer.allowed


# Wrong allows: what an SBOM says where Assay did not look


def _found(predicate_type: str, document: dict[str, Any]) -> list[Component]:
    sbom = documents.parse(predicate_type, document, DocumentSettings())
    assert sbom is not None
    return find([PackageIndex(sbom)], LOG4J)


def _spdx(*packages: dict[str, Any]) -> list[Component]:
    document = {"spdxVersion": "SPDX-2.3", "name": "x", "packages": [SAFE, *packages]}
    return _found("https://spdx.dev/Document", document)


def _cyclonedx(**document: Any) -> list[Component]:
    return _found("https://cyclonedx.org/bom", {"bomFormat": "CycloneDX", "specVersion": "1.6", **document})


def _purl(locator: str, kind: str = "purl") -> dict[str, str]:
    return {"referenceCategory": "PACKAGE-MANAGER", "referenceType": kind, "referenceLocator": locator}


BAD_PURL = "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"


def test_a_package_is_found_by_every_package_url_that_spdx_gives_it() -> None:
    package = {"name": "x", "SPDXID": "a", "externalRefs": [_purl("pkg:generic/harmless@1"), _purl(BAD_PURL)]}
    assert [component.purl for component in _spdx(package)] == [BAD_PURL]


def test_a_package_url_is_read_under_the_full_name_of_its_spdx_type() -> None:
    package = {"name": "x", "SPDXID": "a", "externalRefs": [_purl(BAD_PURL, "http://spdx.org/rdf/references/purl")]}
    assert [component.purl for component in _spdx(package)] == [BAD_PURL]


@pytest.mark.parametrize(
    "name", ["log4j-core", "org.apache.logging.log4j:log4j-core", "org.apache.logging.log4j/log4j-core"]
)
def test_a_package_without_a_package_url_is_found_by_its_name(name: str) -> None:
    bad = {"name": name, "SPDXID": "a", "versionInfo": "2.14.1"}
    assert [component.name for component in _spdx(bad)] == [name]
    assert not _spdx({**bad, "versionInfo": "2.17.1"})


def test_components_inside_of_the_image_itself_are_components() -> None:
    main = {"type": "container", "name": "image", "components": [{"type": "library", "name": "l", "purl": BAD_PURL}]}
    other = [{"type": "library", "name": "app", "purl": "pkg:generic/app@1"}]
    assert _cyclonedx(metadata={"component": main}, components=other)
    assert _cyclonedx(metadata={"component": main})


# Forged records


async def test_nobody_who_can_reach_the_webhook_can_take_a_decisions_record_away_beforehand(rig: Rig) -> None:
    rig.publish(rig.policy())
    before = pod(rig.image("release.none.signature"), uid="7f6f2b1c-0000-4000-8000-000000000000")
    after = pod(rig.other_image(), uid="7f6f2b1c-0000-4000-8000-000000000000")
    # The attacker knows the pod that he is about to update, and says beforehand that somebody else did it.
    await rig.ask("/validate", after, old=before, userInfo={"username": "victim"}, namespace="elsewhere")
    await rig.ask("/validate", after, old=before, userInfo={"username": "mallory"})
    assert ("mallory", "shop") in {
        (leaf["request"]["user"]["username"], leaf["request"]["namespace"]) for leaf in rig.leaves()
    }


async def test_a_call_that_the_api_server_repeats_is_recorded_once(rig: Rig) -> None:
    rig.publish(rig.policy())
    body = json.dumps(review_of(pod(rig.other_image(), uid="7f6f2b1c-0000-4000-8000-000000000000"))).encode()
    await rig.post("/validate", body)
    await rig.post("/validate", body)
    assert len(rig.leaves()) == 1


async def test_evidence_that_counts_for_nothing_does_not_fill_the_inventorys_disk(rig: Rig) -> None:
    rig.publish(rig.policy())
    answer = await rig.review(_junk(rig, 12, size=1024 * 1024))
    assert not answer.allowed
    (leaf,) = rig.leaves()
    assert len(leaf["evaluations"][0]["used"]["artifacts"]) == 12  # by hash, all of them
    written = sum(file.stat().st_size for file in rig.folder.glob("inventory.db*"))
    assert written < 6 * 1024 * 1024


# Cluster blocks: one tenant, one registry or one image against all others


def test_a_pull_secrets_pattern_costs_no_more_than_its_length() -> None:
    program = """
import sys
from controller.model.access import Credential
from controller.model.reference import Reference
hostile = Credential("*a" * 40 + "b.example.com", "u", "p")
print(hostile.covers(Reference.parse("a" * 200 + ".example.com/x")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_guarantee_10_the_credentials_of_one_pull_secret_are_bounded() -> None:
    entry = {"username": "u", "password": "p"}
    allowed = {f"h{number}.example.com": entry for number in range(MAX_CREDENTIALS)}
    assert len(parse_docker_config(json.dumps({"auths": allowed}).encode())) == MAX_CREDENTIALS
    with pytest.raises(InputError, match="MAX_CREDENTIALS"):
        parse_docker_config(json.dumps({"auths": allowed | {"one.more": entry}}).encode())


async def test_a_registry_cannot_have_another_one_left_alone_by_redirecting_to_it_late() -> None:
    async with (
        ScriptedRegistry() as hostile,
        ScriptedRegistry() as victim,
        client(registry_request_timeout=Seconds(0.5), registry_circuit_failures=2) as registry,
    ):
        image = victim.put_image("acme/app", "1")

        async def late(_: web.BaseRequest) -> web.Response:
            await asyncio.sleep(0.4)
            raise web.HTTPTemporaryRedirect(f"{victim.url}/v2/slow")

        async def slow(_: web.BaseRequest) -> web.Response:
            await asyncio.sleep(0.4)
            return web.Response(status=404)

        victim.answer("/v2/slow", slow)
        for name in ("a", "b", "c"):
            hostile.answer(f"/v2/{name}/manifests/1", late)
            with pytest.raises(AssayError):
                await registry.resolve(ref(f"{hostile.host}/{name}:1"), access=ANONYMOUS, deadline=soon())
        found = await registry.resolve(ref(f"{victim.host}/acme/app:1"), access=ANONYMOUS, deadline=soon())
        assert str(found.digest) == image


@pytest.mark.parametrize("name", ["bundle", "rfc3161timestamp", "certificate"])
async def test_an_annotation_that_is_no_text_keeps_no_signed_image_out(rig: Rig, name: str) -> None:
    """Half of a surrogate pair, which JSON can write, once ended the verification of all that lay beside the image."""
    rig.publish(rig.policy())
    image = rig.image("release.none.signature")
    layer = recorded_layer("release.none.signature")
    annotations = {**dict(layer.annotations), f"dev.sigstore.cosign/{name}": "\ud800"}
    rig.registry.put_signature(APP, digest_of(recorded_manifest()), layer.content, annotations)
    answer = await rig.review(image)
    assert answer.allowed, answer.message


async def test_one_images_artefacts_do_not_take_all_connections_to_its_registry() -> None:
    under_way, most = 0, 0
    async with ScriptedRegistry() as registry, client() as asking:
        digest = registry.put_image("acme/app", "1")
        for number in range(100):
            registry.put_referrer("acme/app", digest, b'{"%d": 1}' % number)

        async def counted(request: web.BaseRequest, answer: Any) -> web.Response:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1
            found: web.Response = await answer(request)
            return found

        registry.around = counted
        image = await asking.resolve(ref(f"{registry.host}/acme/app:1"), access=ANONYMOUS, deadline=soon())
        found = await asking.discover(image, access=ANONYMOUS, deadline=soon())
    assert len(found.artifacts) == 100
    assert most <= 12


async def test_conditions_over_a_large_object_leave_the_event_loop_to_others(rig: Rig) -> None:
    expensive = "object.spec.containers.all(c, c.env.all(e, e.value.startsWith('x') && e.name.startsWith('n')))"
    condition = {"conditions": [{"name": "env", "expression": expensive}]}
    rig.publish(*(rig.policy(f"policy-{number}", match=condition) for number in range(10)))
    obj = pod("127.0.0.1:9/acme/app:1")
    obj["spec"]["containers"][0]["env"] = [{"name": f"n{number}", "value": "x"} for number in range(7000)]
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(others())
    await rig.ask("/validate", obj)
    ticking.cancel()
    assert turns > 20


async def test_a_namespace_with_images_at_a_silent_registry_does_not_keep_others_from_starting_pods(
    tmp_path: Path,
) -> None:
    async with ScriptedRegistry() as silent, running(tmp_path, review_flights=16, registry_flights=16) as rig:
        forever = asyncio.Event()

        async def never(_: web.BaseRequest, __: Any) -> web.Response:
            await forever.wait()
            raise AssertionError

        silent.around = never
        rig.publish(rig.policy(match={"images": ["**"]}))
        hostile = pod(*(f"{silent.host}/evil/{number}:1" for number in range(100)), namespace="hostile")
        attack = asyncio.create_task(rig.review(hostile, timeout="30s", mutate=False))
        await asyncio.sleep(0.2)
        answer = await rig.review(rig.image("release.none.signature"))
        assert answer.allowed, answer.message
        assert not attack.done()
        attack.cancel()


async def test_who_uses_up_a_registrys_free_requests_does_not_keep_paying_accounts_from_it() -> None:
    users = Users({"alice": "secret"}, anonymous=True)
    async with ScriptedRegistry(users=users) as registry, client() as asking:
        digest = registry.put_image("acme/app", "1")
        image = ref(f"{registry.host}/acme/app:1")

        async def limited(request: web.BaseRequest, answer: Any) -> web.Response:
            if request.path == "/token" and "Authorization" not in request.headers:
                return web.Response(status=429, headers={"Retry-After": "3600"})
            found: web.Response = await answer(request)
            return found

        registry.around = limited
        alice = RegistryAccess((Credential(registry.host, "alice", "secret"),))
        with pytest.raises(AssayError, match="RegistryThrottled"):
            await asking.resolve(image, access=ANONYMOUS, deadline=soon())
        asked = len(registry.requests)
        with pytest.raises(AssayError, match="RegistryThrottled"):
            await asking.resolve(image, access=ANONYMOUS, deadline=soon())
        assert len(registry.requests) == asked  # what it asked for is kept to
        assert str((await asking.resolve(image, access=alice, deadline=soon())).digest) == digest


async def test_guarantee_10_the_credentials_that_a_pod_may_name_are_bounded(rig: Rig) -> None:
    many = {("shop", f"s{n}"): tuple(Credential(f"h{i}.{n}.io", "u", "p") for i in range(256)) for n in range(5)}
    rig.publish(rig.policy(), pull_secrets=many)
    image = rig.image("release.none.signature")
    named = [{"name": name} for _, name in many]
    assert (await rig.review(pod(image, imagePullSecrets=named[:4]))).allowed
    response = await rig.ask("/validate", pod(image, imagePullSecrets=named))
    assert not response["allowed"]
    assert "MAX_POD_CREDENTIALS" in response["status"]["message"]
