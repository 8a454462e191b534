"""Guarantees 6, 7, 9 and 10: what cannot be judged is an Error of its kind, whatever stands beside it.

Nothing here may become an allow: not a registry that is away, not a bound that is crossed, not a policy that is broken,
not a webhook that has not yet read its policies.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller import app
from controller.operator.holder import SnapshotHolder
from controller.webhook.app import create_app
from tests.contract.registry_servers.scripted import digest_of
from tests.support.fixtures import recorded_bundle, recorded_manifest
from tests.support.pipeline import APP, Answer, Rig, key_authority, pod, running

SIGNATURE, SPDX = "release.none.signature", "release.none.spdxjson"
DIGEST = digest_of(recorded_manifest())
SBOM = {"name": "sbom", "type": "SBOM", "authorities": ["release"]}
MANIFEST = f"/v2/{APP}/manifests/{DIGEST}"
LISTING = f"/v2/{APP}/referrers/{DIGEST}"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path, registry_request_timeout=0.4, registry_circuit_failures=1000) as running_rig:
        yield running_rig


def pinned(rig: Rig) -> str:
    """The signed image, by digest: pinning asks nothing."""
    return f"{rig.image(SIGNATURE)}@{DIGEST}"


def evaluation(rig: Rig) -> dict[str, Any]:
    """The only evaluation of the only decision."""
    (leaf,) = rig.leaves()
    (only,) = leaf["evaluations"]
    return dict(only)


async def break_registry(rig: Rig, path: str, how: str) -> None:
    """Let the registry fail at a path: by a status, by silence, by hanging up, or by a broken body."""

    async def silent(_: web.BaseRequest) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def hang_up(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async def nonsense(_: web.BaseRequest) -> web.Response:
        return web.Response(body=b"<html>", headers={"Content-Type": "text/html"})

    if how.isdigit():
        rig.registry.status(path, int(how))
    else:
        rig.registry.answer(path, {"silence": silent, "hang-up": hang_up, "nonsense": nonsense}[how])


AWAY = ["500", "502", "503", "429", "silence", "hang-up"]
ANSWERED = ["401", "403", "nonsense"]


# 06: cannot verify now, and not verified


@pytest.mark.parametrize("path", [MANIFEST, LISTING], ids=["image", "evidence"])
@pytest.mark.parametrize(
    ("how", "kind"), [*((h, "Unavailable") for h in AWAY), *((h, "Unacceptable") for h in ANSWERED)]
)
async def test_guarantee_06_a_failing_registry_is_an_error_and_never_a_missing_signature(
    rig: Rig, path: str, how: str, kind: str
) -> None:
    rig.publish(rig.policy())
    image = pinned(rig)
    await break_registry(rig, path, how)
    answer = await rig.review(image)
    assert not answer.allowed
    assert ("cannot tell now, " if kind == "Unavailable" else "cannot be judged, ") in answer.message
    assert "Signature" not in answer.message
    assert rig.registry.host in answer.message
    found = evaluation(rig)
    assert (found["outcome"], found["errorKind"]) == ("Error", kind)
    assert "error" in rig.leaves()[0]["flags"]


async def test_guarantee_06_a_registry_that_nobody_answers_at_is_unavailable(rig: Rig) -> None:
    rig.publish(rig.policy(match={"images": ["127.0.0.1:9/acme/**"]}))  # discard: nobody listens there
    answer = await rig.review(f"127.0.0.1:9/{APP}@{DIGEST}")
    assert not answer.allowed
    assert "cannot tell now, RegistryUnavailable" in answer.message


async def test_guarantee_06_an_image_that_is_not_there_is_an_answer(rig: Rig) -> None:
    rig.publish(rig.policy())
    answer = await rig.review(rig.reference("gone"))
    assert not answer.allowed
    assert "cannot be judged, NotFound" in answer.message
    assert evaluation(rig)["errorKind"] == "Unacceptable"


@pytest.mark.parametrize("path", [MANIFEST, LISTING], ids=["image", "evidence"])
@pytest.mark.parametrize(("how", "admitted"), [*((h, True) for h in AWAY), *((h, False) for h in ANSWERED)])
async def test_guarantee_06_ignore_covers_unavailable_and_nothing_else(
    rig: Rig, path: str, how: str, admitted: bool
) -> None:
    rig.publish(rig.policy(failurePolicy="Ignore"))
    image = pinned(rig)
    await break_registry(rig, path, how)
    answer = await rig.review(image)
    assert answer.allowed == admitted, answer.message
    assert ("was NOT verified and is let in" in answer.warnings) == admitted
    assert ("fail-open" in rig.leaves()[0]["flags"]) == admitted
    assert evaluation(rig)["outcome"] == "Error"


async def test_guarantee_06_ignore_covers_neither_a_violation_nor_a_bound_nor_wrong_content(rig: Rig) -> None:
    rig.publish(rig.policy(failurePolicy="Ignore"))
    assert "SignatureMissing" in (await rig.review(rig.other_image())).message
    assert "NotFound" in (await rig.review(rig.reference("gone"))).message
    image = pinned(rig)
    rig.registry.manifests[APP, DIGEST] = (b"{}", "application/vnd.oci.image.manifest.v1+json")
    assert "DigestMismatch" in (await rig.review(image)).message
    assert not any("fail-open" in leaf["flags"] for leaf in rig.leaves())


async def test_guarantee_06_unreadable_evidence_is_an_error_and_never_absent(rig: Rig) -> None:
    rig.publish(rig.policy(failurePolicy="Ignore"))
    rig.image()
    rig.registry.put_referrer(APP, DIGEST, b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"')
    answer = await rig.review(rig.reference("1"))
    assert not answer.allowed
    assert "cannot be judged, EvidenceNotJudged" in answer.message
    assert evaluation(rig)["outcome"] == "Error"


# 07: order, actions and broken policies


def _without_place(answer: Answer) -> tuple[bool, frozenset[str]]:
    return answer.allowed, frozenset(line.strip() for line in answer.message.splitlines()[1:-1])


async def test_guarantee_07_the_order_of_policies_changes_no_word(rig: Rig) -> None:
    image = rig.other_image(SIGNATURE)
    policies = [
        rig.policy("a-denies"),
        rig.policy("b-warns", validationActions=["Warn"]),
        rig.policy("c-is-broken", signatures={"authorities": ["nobody"]}),
        rig.policy("d-wants-an-sbom", signatures=None, attestations=[SBOM]),
    ]
    answers = []
    for order in itertools.permutations(policies):
        rig.publish(*order)
        answers.append(await rig.review(pod(image, uid="the same pod")))
    first = answers[0]
    assert not first.allowed
    for answer in answers:
        assert {**answer.response, "uid": ""} == {**first.response, "uid": ""}
    assert len(rig.leaves()) == 1


async def test_guarantee_07_the_order_of_containers_changes_no_verdict(rig: Rig) -> None:
    rig.publish(rig.policy())
    good, bad, gone = pinned(rig), rig.other_image(), rig.reference("gone")
    answers = []
    for order in itertools.permutations([("good", good), ("bad", bad), ("gone", gone)]):
        wanted = pod(name="app")
        wanted["spec"]["containers"] = [{"name": name, "image": image} for name, image in order]
        answers.append(_without_place(await rig.review(wanted)))
    assert len(set(answers)) == 1
    assert not answers[0][0]


@pytest.mark.parametrize("action", ["Warn", "Audit"])
@pytest.mark.parametrize("first", ["denies", "other"])
async def test_guarantee_07_a_policy_that_does_not_deny_weakens_none_that_does(
    rig: Rig, action: str, first: str
) -> None:
    denies = rig.policy("denies")
    other = rig.policy("other", validationActions=[action], digest="Resolve", failurePolicy="Ignore")
    rig.publish(*([denies, other] if first == "denies" else [other, denies]))
    answer = await rig.review(rig.other_image())
    assert answer.images[0].startswith(f"{rig.reference('other')}@sha256:")
    assert not answer.allowed
    rig.registry.status(MANIFEST, 503)
    unavailable = await rig.review(f"{rig.registry.host}/{APP}@{DIGEST}")
    assert not unavailable.allowed
    assert "let in" not in unavailable.warnings


@pytest.mark.parametrize(
    "spec",
    [
        {"signatures": {"authorities": ["release"], "minimun": 2}},
        {"validations": [{"expression": "size(sboms) ="}]},
        {"validations": [{"expression": "nobody.knows == 1"}]},
        {"authorities": [{"name": "release", "key": {"pem": "no key"}}]},
        {"grace": "1h"},
        {"authorities": [{"name": "release", "key": {"secretRef": {"name": "x", "key": "y"}}}]},
        {"platforms": "Each"},
        {"failurePolicy": "Ignored"},
        {"match": {"images": ["["]}},
    ],
    ids=json.dumps,
)
async def test_guarantee_07_a_broken_policy_denies_and_says_so_beside_a_good_one(
    rig: Rig, spec: dict[str, Any]
) -> None:
    image = pinned(rig)
    rig.publish(rig.policy("good"), rig.policy("broken", **spec))
    answer = await rig.review(image)
    assert not answer.allowed
    assert "ClusterEvidencePolicy broken" in answer.message
    assert "mend the policy" in answer.message
    outcomes = {e["policy"]["name"]: e["outcome"] for e in rig.leaves()[0]["evaluations"]}
    assert outcomes == {"broken": "Error", "good": "Satisfied"}


async def test_guarantee_07_a_condition_that_cannot_be_judged_is_an_error_and_never_unmatched(rig: Rig) -> None:
    condition = {"name": "team", "expression": "object.metadata.labels.team == 'red'"}  # the pod has no labels
    match = {"images": [f"{rig.registry.host}/acme/**"], "conditions": [condition]}
    rig.publish(rig.policy(match=match))
    answer = await rig.review(pinned(rig))
    assert not answer.allowed
    assert "cannot be judged" in answer.message


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
        rig.webhook = create_app(rig.settings.webhook, pipeline=rig.pipeline, readiness=app.Readiness(holder))
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
        assert evaluation(rig)["outcome"] == "Error"


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
        answer = await rig.review(pinned(rig))
        assert not answer.allowed
        assert "policy_cel_steps" in answer.message
