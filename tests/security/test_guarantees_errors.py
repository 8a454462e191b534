"""Guarantees 6 and 7: what cannot be judged is an Error of its kind, and no policy weakens another.

Nothing here may become an allow: not a registry that is away, not a policy that is broken, not an order of things.
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

from tests.contract.registry_servers.scripted import digest_of
from tests.support.fixtures import recorded_manifest
from tests.support.pipeline import APP, Answer, Rig, pod, policy, running

SIGNATURE, SPDX = "release.none.signature", "release.none.spdxjson"
DIGEST = digest_of(recorded_manifest())
SBOM = {"name": "sbom", "type": "SBOM", "authorities": ["release"]}
MANIFEST = f"/v2/{APP}/manifests/{DIGEST}"
LISTING = f"/v2/{APP}/referrers/{DIGEST}"


@pytest.fixture
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """A rig; an impatient one where the registry is to be silent, since only there time is what is waited for."""
    how = request.node.callspec.params.get("how") if hasattr(request.node, "callspec") else None
    patience = {"registry_request_timeout": 0.4} if how == "silence" else {}
    async with running(tmp_path, registry_circuit_failures=1000, **patience) as running_rig:
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


@pytest.mark.parametrize("other", ["nothing", "a namespaced policy", "a policy that warns"])
async def test_guarantee_07_only_a_cluster_policy_that_denies_covers_an_image(tmp_path: Path, other: str) -> None:
    async with running(tmp_path, no_match="Deny") as rig:
        covers = rig.policy()
        satisfied = {
            "nothing": [],
            "a namespaced policy": [policy("own", namespace="shop", **covers["spec"])],
            "a policy that warns": [rig.policy(validationActions=["Warn"])],
        }[other]
        image = pinned(rig)
        rig.publish(*satisfied)
        answer = await rig.review(image)
        assert not answer.allowed
        assert "no policy covers this image" in answer.message
        rig.publish(rig.policy("covers"), *satisfied)
        assert (await rig.review(image)).allowed


@pytest.mark.parametrize(
    "spec",
    [
        {"signatures": {"authorities": ["release"], "minimun": 2}},
        {"validations": [{"expression": "size(sboms) ="}]},
        {"validations": [{"expression": "nobody.knows == 1"}]},
        {"authorities": [{"name": "release", "key": {"pem": "no key"}}]},
        {"grace": "1 hour"},
        {"authorities": [{"name": "release", "kms": {"uri": "awskms:///alias/release"}}]},
        {"platforms": "Every"},
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


async def test_guarantee_07_a_reference_to_nothing_denies_and_names_what_to_mend(rig: Rig) -> None:
    image = pinned(rig)
    absent = {"name": "release", "key": {"secretRef": {"name": "absent", "key": "cosign.pub"}}}
    rig.publish(rig.policy("good"), rig.policy("broken", authorities=[absent]))
    answer = await rig.review(image)
    assert not answer.allowed
    assert "ClusterEvidencePolicy broken" in answer.message
    assert "a fault of what the policy refers to" in answer.message
    outcomes = {e["policy"]["name"]: e["outcome"] for e in rig.leaves()[0]["evaluations"]}
    assert outcomes == {"broken": "Error", "good": "Satisfied"}


async def test_guarantee_07_a_condition_that_cannot_be_judged_is_an_error_and_never_unmatched(rig: Rig) -> None:
    condition = {"name": "team", "expression": "object.metadata.labels.team == 'red'"}  # the pod has no labels
    match = {"images": [f"{rig.registry.host}/acme/**"], "conditions": [condition]}
    rig.publish(rig.policy(match=match))
    answer = await rig.review(pinned(rig))
    assert not answer.allowed
    assert "cannot be judged" in answer.message
