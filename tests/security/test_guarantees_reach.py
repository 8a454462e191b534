"""Guarantees 8, 11, 12, 15 and 17: every way into a cluster, no way out of Assay, and the same verdict everywhere."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from controller.demo import story
from controller.model.workload import POD_PATHS
from tests.contract.registry_servers.scripted import ScriptedRegistry, Users, digest_of
from tests.support.commands import assay
from tests.support.fixtures import DEMO_LAYOUT, recorded_manifest
from tests.support.pipeline import APP, Rig, load_demo, pod, pull_secret, running, workload

SIGNATURE = "release.none.signature"
DIGEST = digest_of(recorded_manifest())
TEMPLATES = sorted(kind for kind in POD_PATHS if POD_PATHS[kind])


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as running_rig:
        running_rig.publish(running_rig.policy())
        yield running_rig


# 08: every container kind, every path


def _in(place: str, main: str, image: str) -> dict[str, Any]:
    """A pod that runs `main` and has `image` at one of the four places."""
    if place == "containers":
        return pod(main, image)
    if place == "volumes":
        return pod(main, volumes=[{"name": "x", "image": {"reference": image}}])
    return pod(main, **{place: [{"name": "x", "image": image}]})


PLACES = ["initContainers", "containers", "ephemeralContainers", "volumes"]


@pytest.mark.parametrize("place", PLACES)
async def test_guarantee_08_an_image_is_reviewed_wherever_it_stands_in_a_pod(rig: Rig, place: str) -> None:
    signed, unsigned = rig.image(SIGNATURE), rig.other_image()
    good = await rig.review(_in(place, signed, signed))
    assert good.allowed, good.message
    assert json.dumps(good.object["spec"]).count(f"{signed}@{DIGEST}") == 2
    bad = await rig.review(_in(place, signed, unsigned))
    assert not bad.allowed
    assert unsigned in bad.message
    assert any(image["field"].startswith(f"spec.{place}[") for image in rig.leaves()[0]["images"])


@pytest.mark.parametrize("kind", TEMPLATES, ids="/".join)
async def test_guarantee_08_an_image_is_reviewed_in_every_kind_of_template(
    tmp_path: Path, kind: tuple[str, str]
) -> None:
    async with running(tmp_path, templates="Deny") as rig:
        rig.publish(rig.policy())
        signed, unsigned = rig.image(SIGNATURE), rig.other_image()
        for place in PLACES:
            good = workload(*kind, _in(place, signed, signed))
            answer = await rig.review(good)
            assert (answer.allowed, answer.patch) == (True, []), answer.message
            bad = await rig.review(workload(*kind, _in(place, signed, unsigned)))
            assert not bad.allowed
            assert unsigned in bad.message
            changed = await rig.review(workload(*kind, _in(place, signed, unsigned)), old=good)
            assert not changed.allowed


async def test_guarantee_08_a_templates_verdict_is_a_warning_and_its_pods_are_denied(rig: Rig) -> None:
    unsigned = rig.other_image()
    deployment = await rig.review(workload("apps", "Deployment", pod(unsigned)))
    assert (deployment.allowed, deployment.patch) == (True, [])
    assert "pods of this Deployment will be denied" in deployment.warnings
    made = pod(unsigned)
    made["metadata"] |= {
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app", "uid": "1"}],
        "labels": {"assay.dev/verdict": "Allow"},
        "annotations": {"assay.dev/verdict": "Allow"},
    }
    assert not (await rig.review(made)).allowed


async def test_guarantee_08_an_update_of_an_image_is_reviewed_and_one_of_nothing_else(rig: Rig) -> None:
    signed, unsigned = rig.image(SIGNATURE), rig.other_image()
    before = pod(signed, unsigned, uid="1")
    labelled = {**before, "metadata": {**before["metadata"], "labels": {"a": "b"}}}
    assert (await rig.review(labelled, old=before)).response["allowed"]
    assert rig.leaves() == []
    swapped = await rig.review(pod(unsigned, unsigned, uid="1"), old=before)
    assert not swapped.allowed
    assert swapped.images[1] == unsigned  # a running container's image string is left as it is
    renamed = pod(signed, unsigned, uid="1")
    renamed["spec"]["containers"][1]["name"] = "another"
    assert not (await rig.review(renamed, old=before)).allowed


async def test_guarantee_08_an_ephemeral_container_added_later_is_reviewed(rig: Rig) -> None:
    signed, unsigned = rig.image(SIGNATURE), rig.other_image()
    before = pod(signed, uid="1")
    for image, admitted in ((unsigned, False), (signed, True)):
        after = pod(signed, uid="1", ephemeralContainers=[{"name": "dbg", "image": image}])
        answer = await rig.review(after, old=before, subResource="ephemeralcontainers")
        assert answer.allowed == admitted, answer.message


async def test_guarantee_08_saying_that_the_pod_is_being_deleted_lets_no_image_in(rig: Rig) -> None:
    before = pod(rig.image(SIGNATURE), uid="1")
    after = pod(rig.other_image(), uid="1")
    after["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not (await rig.review(after, old=before)).allowed


# 11: no request is made for somebody else


async def test_guarantee_11_nothing_is_fetched_for_an_image_that_no_policy_matches(rig: Rig) -> None:
    rig.image(SIGNATURE, repository="other/app")
    answer = await rig.review(rig.reference("1", repository="other/app"))
    assert (answer.allowed, answer.patch) == (True, [])
    assert rig.registry.requests == []
    assert "no-match" in rig.leaves()[0]["flags"]


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]:80", "0.0.0.0:5000", "[::ffff:a9fe:a9fe]"])
async def test_guarantee_11_no_registry_is_asked_at_a_forbidden_address(tmp_path: Path, host: str) -> None:
    async with running(tmp_path) as rig:
        rig.publish(rig.policy(match={"images": ["**"]}, failurePolicy="Fail"))
        answer = await rig.review(f"{host}/{APP}:1")
        assert not answer.allowed
        assert "cannot be judged, AddressForbidden" in answer.message


async def test_guarantee_11_loopback_is_forbidden_unless_it_is_allowed(tmp_path: Path) -> None:
    async with running(tmp_path, registry_allow_loopback=False) as rig:
        rig.publish(rig.policy())
        answer = await rig.review(rig.image(SIGNATURE))
        assert not answer.allowed
        assert "AddressForbidden" in answer.message
        assert rig.registry.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_guarantee_11_a_redirect_to_a_forbidden_address_is_refused(rig: Rig, status: int) -> None:
    image = rig.image(SIGNATURE)
    rig.registry.status(f"/v2/{APP}/manifests/{DIGEST}", status, Location="https://169.254.169.254/latest/meta-data/")
    answer = await rig.review(f"{image}@{DIGEST}")
    assert not answer.allowed
    assert "AddressForbidden" in answer.message


async def test_guarantee_11_credentials_go_only_to_the_host_that_they_are_for(rig: Rig) -> None:
    image = rig.image(SIGNATURE)
    async with ScriptedRegistry() as elsewhere:

        async def away(request: web.BaseRequest) -> web.Response:
            return web.Response(status=307, headers={"Location": f"{elsewhere.url}{request.path}"})

        rig.registry.users = Users(passwords={"jane": "hunter2-secret"}, bearer=False)
        rig.registry.answer(f"/v2/{APP}/manifests/{DIGEST}", away)
        rig.publish(rig.policy(), pull_secrets=pull_secret(rig.registry.host, "jane", "hunter2-secret"))
        await rig.review(pod(f"{image}@{DIGEST}", imagePullSecrets=[{"name": "pull"}]))
        assert elsewhere.requests
        assert not any("Authorization" in request.headers for request in elsewhere.requests)


async def test_guarantee_11_private_evidence_serves_only_who_can_reach_it(rig: Rig) -> None:
    rig.registry.users = Users(passwords={"jane": "hunter2-secret"})
    image = f"{rig.image(SIGNATURE)}@{DIGEST}"
    rig.publish(rig.policy(), pull_secrets=pull_secret(rig.registry.host, "jane", "hunter2-secret"))
    mine = await rig.review(pod(image, imagePullSecrets=[{"name": "pull"}]))
    assert mine.allowed, mine.message
    for other in (pod(image), pod(image, namespace="other", imagePullSecrets=[{"name": "pull"}])):
        refused = await rig.review(other)
        assert not refused.allowed
        assert "cannot be judged, AccessDenied" in refused.message


async def test_guarantee_11_a_remembered_private_image_serves_only_who_can_reach_it(rig: Rig) -> None:
    rig.registry.users = Users(passwords={"jane": "hunter2-secret"})
    image = f"{rig.image(SIGNATURE)}@{DIGEST}"
    rule = {"expression": "image.registry != ''"}  # holds for all, and needs no evidence
    secrets = pull_secret(rig.registry.host, "jane", "hunter2-secret")
    rig.publish(rig.policy(authorities=None, signatures=None, validations=[rule]), pull_secrets=secrets)
    assert (await rig.review(pod(image, imagePullSecrets=[{"name": "pull"}]))).allowed
    assert "AccessDenied" in (await rig.review(pod(image))).message


async def test_guarantee_11_remembered_private_evidence_serves_only_who_can_reach_it(rig: Rig) -> None:
    async def for_jane(request: web.BaseRequest) -> web.Response:
        if "Authorization" in request.headers:
            return await rig.registry._standard(request)
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    image = f"{rig.image(SIGNATURE)}@{DIGEST}"
    rig.registry.answer(f"/v2/{APP}/referrers/{DIGEST}", for_jane)  # the image itself is public
    rig.publish(rig.policy(), pull_secrets=pull_secret(rig.registry.host, "jane", "hunter2-secret"))
    assert (await rig.review(pod(image, imagePullSecrets=[{"name": "pull"}]))).allowed
    assert "AccessDenied" in (await rig.review(pod(image))).message


# 12: no secret is kept, shown or logged


SECRETS = ["hunter2-secret", "ENV-VALUE-SECRET", "ARGUMENT-SECRET", "ANNOTATION-SECRET", "SECRET-FOREIGN-TEXT"]


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


async def test_guarantee_12_no_secret_reaches_the_inventory_the_answer_or_the_log(
    tmp_path: Path, everything_logged: pytest.LogCaptureFixture
) -> None:
    answers = []
    async with running(tmp_path) as rig:
        rig.registry.users = Users(passwords={"jane": "hunter2-secret"})
        image = rig.image(SIGNATURE)
        rule = {"expression": "object.spec.containers[0].env[0].value == 'x'", "message": "the environment is wrong"}
        for password in ("hunter2-secret", "hunter2-secret-but-wrong"):
            rig.publish(
                rig.policy(),
                rig.policy("reads-the-object", validations=[rule]),
                pull_secrets=pull_secret(rig.registry.host, "jane", password),
            )
            for reference in (image, rig.reference("gone"), rig.other_image()):
                wanted = pod(reference, imagePullSecrets=[{"name": "pull"}])
                wanted["metadata"]["annotations"] = {"note": "ANNOTATION-SECRET"}
                wanted["spec"]["containers"][0] |= {
                    "env": [{"name": "PASSWORD", "value": "ENV-VALUE-SECRET"}],
                    "args": ["--password=ARGUMENT-SECRET"],
                }
                answers.append(await rig.review(wanted))
        tokens = list(rig.registry.tokens)
        assert len(rig.leaves()) == 6
        metrics = (await rig.get("/metrics"))[1]
    assert {answer.allowed for answer in answers} == {False}  # the rule about the environment does not hold
    assert tokens
    hidden = [*SECRETS, *(f"Bearer {token}" for token in tokens), base64.b64encode(b"jane:hunter2-secret").decode()]
    written = b"".join(file.read_bytes() for file in sorted(tmp_path.glob("inventory.db*")))  # noqa: ASYNC240
    assert b"the environment is wrong" in written
    said = "\n".join([everything_logged.text, *(json.dumps(answer.response) for answer in answers), metrics.decode()])
    for secret in hidden:
        assert secret.encode() not in written, f"{secret} is in the database"
        assert secret not in said, f"{secret} was said"


FOREIGN = "FOREIGN-WORDS"
HOSTILE: dict[str, dict[str, Any]] = {
    "error body": {"status": 500, "text": FOREIGN},
    "reason phrase": {"status": 418, "reason": FOREIGN},
    "redirect": {"status": 307, "headers": {"Location": f"https://169.254.169.254/{FOREIGN}"}},
    "broken redirect": {"status": 307, "headers": {"Location": f"{FOREIGN}://x"}},
    "challenge": {"status": 401, "headers": {"WWW-Authenticate": f'Bearer realm="{FOREIGN}",service="{FOREIGN}"'}},
    "unknown challenge": {"status": 401, "headers": {"WWW-Authenticate": f"{FOREIGN} x"}},
    "content type": {"text": "{}", "headers": {"Content-Type": f"application/{FOREIGN}"}},
    "digest header": {"text": "{}", "headers": {"Docker-Content-Digest": FOREIGN, "Content-Type": "application/json"}},
    "media type": {"text": json.dumps({"schemaVersion": 2, "mediaType": FOREIGN, "manifests": FOREIGN})},
    "retry": {"status": 429, "headers": {"Retry-After": FOREIGN}},
}


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("what", ["manifests/1", f"referrers/{DIGEST}"])
async def test_guarantee_12_a_denial_quotes_nothing_that_a_registry_said(
    rig: Rig, what: str, hostile: str, everything_logged: pytest.LogCaptureFixture
) -> None:
    async def said_so(_: web.BaseRequest) -> web.Response:
        return web.Response(**HOSTILE[hostile])

    image = rig.image(SIGNATURE)
    rig.registry.answer(f"/v2/{APP}/{what}", said_so)
    answer = await rig.review(image)
    assert not answer.allowed
    assert FOREIGN not in json.dumps([answer.response, *rig.leaves()])
    assert FOREIGN not in everything_logged.text


# 15: a dry run leaves no record


async def test_guarantee_15_a_dry_run_gets_the_same_verdict_and_leaves_no_record(rig: Rig) -> None:
    for number, image in enumerate((rig.image(SIGNATURE), rig.other_image())):
        dry = await rig.review(pod(image, uid=image), dryRun=True)
        assert len(rig.leaves()) == number
        wet = await rig.review(pod(image, uid=image))
        assert {**dry.response, "uid": ""} == {**wet.response, "uid": ""}
        assert wet.allowed == (number == 0)
        assert len(rig.leaves()) == number + 1


# 17: the same verdict everywhere, and no rule without its input


async def cli(*arguments: str | Path, folder: Path) -> tuple[int, str, str]:
    """Run `assay` as a process of its own."""
    done = await asyncio.to_thread(assay, *arguments, folder=folder)
    return done.returncode, done.stdout, done.stderr


def said(response: Mapping[str, Any]) -> tuple[Any, ...]:
    """A response without what is about this one call."""
    text = response.get("status", {}).get("message", "").rpartition("\nrecord ")[0]
    annotations = {k: v for k, v in response.get("auditAnnotations", {}).items() if k != "record"}
    return response["allowed"], text, response.get("warnings"), annotations


async def test_guarantee_17_webhook_and_command_line_say_the_same_of_every_image_of_the_demo(
    rig: Rig, tmp_path: Path
) -> None:
    load_demo(rig.registry)
    directory = rig.publish((story.write_policies(tmp_path) / "policies.yaml").read_text())
    pods = [pod(scene.image, name=scene.pod) for scene in story.scenes(rig.registry.host)]
    file = tmp_path / "pods.yaml"
    file.write_text(yaml.safe_dump_all(pods))
    root = f"demo={DEMO_LAYOUT / 'trusted_root.json'}"
    status, out, err = await cli(
        "review", str(file), "--policies", str(directory), "--trusted-root", root, "-n", "shop", "-o", "json",
        folder=tmp_path,
    )  # fmt: skip
    assert status == 1, err
    by_cli = json.loads(out)["items"]
    assert len(by_cli) == len(pods)
    for wanted, review in zip(pods, by_cli, strict=True):
        answer = await rig.review(wanted)
        assert said(answer.response) == said(review["response"]), wanted["metadata"]["name"]
        patch = review["response"].get("patch")
        assert (json.loads(base64.b64decode(patch)) if patch else []) == answer.patch


@pytest.mark.parametrize(
    "expression",
    [
        "object.metadata.labels.team == 'red'",
        "!(object.metadata.labels.team == 'blue')",
        "oldObject.spec.containers.all(c, c.image != '')",
        "object.spec.volumes.all(v, has(v.image))",
    ],
)
async def test_guarantee_17_a_rule_whose_input_is_absent_is_an_error_here_and_there(
    rig: Rig, tmp_path: Path, expression: str
) -> None:
    directory = rig.publish(rig.policy(validations=[{"expression": expression}]))
    wanted = pod(rig.image(SIGNATURE))
    answer = await rig.review(wanted)
    assert not answer.allowed
    assert "cannot be judged" in answer.message
    assert rig.leaves()[0]["evaluations"][0]["outcome"] == "Error"
    file = tmp_path / "pod.json"
    file.write_text(json.dumps(wanted))
    status, out, err = await cli("review", str(file), "--policies", str(directory), "-o", "json", folder=tmp_path)
    assert status == 2, err
    assert said(json.loads(out)["response"]) == said(answer.response)
