"""Guarantees 9 and 10: nothing is admitted before policies are known, and nothing from outside is without a bound."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller import serving
from controller.operator.holder import SnapshotHolder
from controller.webhook.app import create_app
from tests.contract.registry_servers.scripted import digest_of
from tests.support.fixtures import recorded_bundle, recorded_manifest
from tests.support.pipeline import APP, Rig, key_authority, pod, running

SIGNATURE, SPDX = "release.none.signature", "release.none.spdxjson"
DIGEST = digest_of(recorded_manifest())
SBOM = {"name": "sbom", "type": "SBOM", "authorities": ["release"]}
MANIFEST = f"/v2/{APP}/manifests/{DIGEST}"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as running_rig:
        yield running_rig


# 09: not ready denies


async def test_guarantee_09_a_webhook_without_its_first_snapshot_denies_at_both_endpoints(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:  # nothing published
        assert (await rig.get("/readyz"))[0] == 503
        for endpoint in ("/mutate", "/validate"):
            response = await rig.ask(endpoint, pod("anything"))
            assert response["allowed"] is False
            assert response["status"]["code"] == 503
            assert "patch" not in response
        assert rig.leaves() == []
        rig.publish(rig.policy())
        assert (await rig.get("/readyz"))[0] == 200
        assert (await rig.review(rig.image(SIGNATURE))).allowed


async def test_guarantee_09_a_webhook_whose_watch_fell_silent_denies_and_forgets_no_policy(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        rig.publish(rig.policy())
        seconds = [0.0]
        holder = SnapshotHolder(sources=("policies",), max_age=60, clock=lambda: seconds[0])
        holder.publish(rig.holder.current())
        holder.sign("policies")
        rig.webhook = create_app(rig.settings.webhook, pipeline=rig.pipeline, readiness=serving.Readiness(holder))
        image = rig.image(SIGNATURE)
        assert (await rig.review(image)).allowed
        seconds[0] = 61
        assert (await rig.get("/readyz"))[0] == 503
        for endpoint in ("/mutate", "/validate"):
            assert (await rig.ask(endpoint, pod(f"{image}@{DIGEST}")))["allowed"] is False
        holder.sign("policies")
        assert (await rig.review(image)).allowed


# 10: every bound has a name, and crossing it is an Error that says it

RULES: dict[str, Any] = {"signatures": None, "attestations": [SBOM]}
LONG = f"('{'x' * 60}' + image.registry) != ''"
MANY = "[" + ",".join(["1"] * 40) + "]"


@pytest.mark.parametrize(
    ("setting", "bound", "spec"),
    [
        ("registry_max_manifest_bytes", 100, {}),
        ("registry_max_blob_bytes", 100, {}),
        ("registry_max_evidence_bytes", 1200, {}),
        ("review_max_bytes", 1200, {}),
        ("registry_max_referrers", 1, {}),
        ("document_max_bytes", 200, {}),
        ("document_max_depth", 3, {}),
        ("document_max_components", 1, RULES),
        ("policy_cel_steps", 200, {**RULES, "validations": [{"expression": f"{MANY}.all(a, {MANY}.all(b, a == b))"}]}),
        ("policy_cel_timeout", 0, {**RULES, "validations": [{"expression": f"{MANY}.all(a, a == 1)"}]}),
        ("policy_cel_max_value_bytes", 64, {**RULES, "validations": [{"expression": LONG}]}),
        ("policy_cel_max_length", 20, {**RULES, "validations": [{"expression": "true || true || true || true"}]}),
        ("policy_cel_max_depth", 3, {**RULES, "validations": [{"expression": "((((((((true))))))))"}]}),
    ],
)  # fmt: skip
async def test_guarantee_10_crossing_a_bound_is_an_error_that_names_it(
    tmp_path: Path, setting: str, bound: int, spec: dict[str, Any]
) -> None:
    bundles = (SIGNATURE, SPDX)
    async with running(tmp_path / "within") as rig:
        rig.publish(rig.policy(**spec))
        within = await rig.review(f"{rig.image(*bundles)}@{DIGEST}")
        assert setting not in within.message
    async with running(tmp_path / "over", **{setting: bound}) as rig:
        rig.publish(rig.policy(**spec))
        answer = await rig.review(f"{rig.image(*bundles)}@{DIGEST}")
        assert not answer.allowed
        assert setting in answer.message
        assert [e["outcome"] for leaf in rig.leaves() for e in leaf["evaluations"]] == ["Error"]


@pytest.mark.parametrize("bound", [0, 2])
async def test_guarantee_10_redirects_are_bounded(tmp_path: Path, bound: int) -> None:
    async with running(tmp_path, registry_max_redirects=bound) as rig:
        rig.publish(rig.policy())
        rig.image(SIGNATURE)

        async def onwards(request: web.BaseRequest) -> web.Response:
            count = int(request.query.get("n", "0"))
            return web.Response(status=307, headers={"Location": f"{request.path}?n={count + 1}"})

        rig.registry.answer(MANIFEST, onwards)
        answer = await rig.review(f"{rig.registry.host}/{APP}@{DIGEST}", mutate=False)
        assert not answer.allowed
        assert "registry_max_redirects" in answer.message
        assert len(rig.registry.seen(MANIFEST)) == bound + 1


async def test_guarantee_10_reviews_under_way_are_bounded(tmp_path: Path) -> None:
    async with running(tmp_path, webhook_max_reviews=1) as rig:
        rig.publish(rig.policy())
        image = f"{rig.image(SIGNATURE)}@{DIGEST}"
        waiting, go = asyncio.Event(), asyncio.Event()

        async def slow(request: web.BaseRequest) -> web.Response:
            waiting.set()
            await go.wait()
            return await rig.registry._standard(request)

        rig.registry.answer(MANIFEST, slow)
        first = asyncio.create_task(rig.review(image))
        await waiting.wait()
        status, body = await rig.post("/validate", b"{}")
        assert (status, b"webhook_max_reviews" in body) == (429, True)
        go.set()
        assert (await first).allowed


async def test_guarantee_10_bodies_nesting_and_images_are_bounded(tmp_path: Path) -> None:
    async with running(tmp_path, webhook_max_body_bytes=200_000) as rig:
        rig.publish(rig.policy())
        status, body = await rig.post("/validate", b" " * 200_001)
        assert (status, b"webhook_max_body_bytes" in body) == (413, True)
        status, body = await rig.post("/validate", b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}")
        assert status == 400
        status, body = await rig.post("/validate", b'{"a":' + b"[" * 300 + b"]" * 300 + b"}")
        assert (status, b"MAX_NESTING" in body) == (400, True)
        response = await rig.ask("/validate", pod(*[f"example.test/acme/{n}" for n in range(1500)]))
        assert response["allowed"] is False
        assert "MAX_IMAGES" in response["status"]["message"]


async def test_guarantee_10_one_images_hostile_evidence_costs_the_next_image_nothing(rig: Rig) -> None:
    deep = json.dumps({"a": 1}).replace("1", "[" * 100_000 + "]" * 100_000).encode()
    digest = rig.registry.put_image("acme/hostile", "1", mark="hostile")
    for content in (deep, b"\x00" * 1000, b'{"a":' * 5000, recorded_bundle(SIGNATURE).raw[:-20]):
        rig.registry.put_referrer("acme/hostile", digest, content)
    rig.publish(rig.policy())
    hostile, good = await asyncio.gather(
        rig.review(rig.reference("1", repository="acme/hostile")), rig.review(rig.image(SIGNATURE))
    )
    assert (hostile.allowed, good.allowed) == (False, True)
    assert "cannot be judged" in hostile.message


async def test_guarantee_10_expressions_cannot_swallow_the_bound_that_they_cross(tmp_path: Path) -> None:
    burn = f"{MANY}.all(a, {MANY}.all(b, {MANY}.all(c, a == b && b == c)))"
    async with running(tmp_path, policy_cel_steps=300) as rig:
        rule = {"expression": f"({burn}) || true"}
        rig.publish(rig.policy(authorities=[key_authority()], validations=[rule]))
        answer = await rig.review(f"{rig.image(SIGNATURE)}@{DIGEST}")
        assert not answer.allowed
        assert "policy_cel_steps" in answer.message


@pytest.mark.parametrize(
    "burn",
    [
        "{}.all(a, {}.all(b, {}.all(c, {}.all(d, {}.all(e, a + b + c + d + e < 0 || true)))))".replace("{}", MANY),
        f"request.operation != '' && {MANY}.all(a, {MANY}.all(b, {MANY}.all(c, {MANY}.all(d, {MANY}.all(e, true)))))",
        f"{MANY}.all(a, {MANY}.all(b, {MANY}.all(c, {MANY}.all(d, 'aaaaaaaaaaaaaaaa'.matches('(a|aa)+b') || true))))",
    ],
)
async def test_guarantee_10_a_hostile_policy_does_not_hold_up_the_answer_of_another(tmp_path: Path, burn: str) -> None:
    """Asked first, the hostile policy burns its whole time; the good one's answer is there before."""
    async with running(tmp_path, policy_cel_steps=10**9, policy_cel_timeout=3, worker_processes=2) as rig:
        good = rig.image(SIGNATURE)
        digest = rig.registry.put_image("acme/burnt", "1", mark="burnt")
        hostile = rig.reference("1", repository="acme/burnt")
        rig.registry.put_referrer("acme/burnt", digest, recorded_bundle(SIGNATURE).raw)
        rule = {"expression": burn}
        rig.publish(
            rig.policy(name="good", match={"images": [f"{rig.registry.host}/{APP}"]}),
            rig.policy(
                name="hostile", match={"images": [f"{rig.registry.host}/acme/burnt"]},
                signatures=None, attestations=None, validations=[rule],
            ),
        )  # fmt: skip
        ended: list[str] = []

        async def ask(name: str, image: str) -> Any:
            answer = await rig.review(image)
            ended.append(name)
            return answer

        burning = asyncio.create_task(ask("hostile", hostile))
        await asyncio.sleep(0.5)  # it is burning by now; were it not, the order below would say so
        answer = await ask("good", good)
        refused = await burning
        assert ended == ["good", "hostile"], refused.message
        assert answer.allowed
        assert not refused.allowed
        assert "policy_cel_timeout" in refused.message
        assert "validations[0]" in refused.message
