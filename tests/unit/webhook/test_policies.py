"""`/validate-policy`: lint's findings in the form of the API server's own refusals; whole answers compared."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI

from controller.errors import NotReady
from controller.model.deadline import Deadline
from controller.model.workload import User
from controller.policy.lint import Surroundings
from controller.policy.references import Materials
from controller.settings import ExceptionSettings, PolicySettings, WebhookSettings
from controller.webhook import policies as under_test
from controller.webhook.app import create_app
from controller.webhook.policies import PolicyReviews
from tests.support.asgi import Answer, call
from tests.support.mistakes import ASSAY_NAMESPACE, MISTAKES, by_key, policy, rule, surroundings
from tests.support.review import World, pod, review


class Around:
    """Everything is known: one trust root, and no Secret."""

    async def of(self, obj: Mapping[str, Any], *, deadline: Deadline) -> Surroundings:
        del obj, deadline
        return surroundings(trust_roots=frozenset({"public-good"}), materials=Materials(ASSAY_NAMESPACE))


class Glass:
    """`root` may break it."""

    async def may_break(self, user: User, *, deadline: Deadline) -> bool:
        del deadline
        return user.username == "root"


class NeverReady:
    """A replica that knows nothing yet."""

    def check(self) -> None:
        raise NotReady("NotReady", "nothing was read yet")


@asynccontextmanager
async def webhook(world: World | None = None, **settings: Any) -> AsyncIterator[FastAPI]:
    pipeline = (world or World()).pipeline()
    reviews = PolicyReviews(
        PolicySettings(), ExceptionSettings(), around=Around(), glass=Glass(), clock=lambda: datetime.now(UTC)
    )
    try:
        yield create_app(WebhookSettings(**settings), pipeline=pipeline, readiness=NeverReady(), policies=reviews)
    finally:
        reviews.close()
        await pipeline.close()


def asked(obj: dict[str, Any], old: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The AdmissionReview of an object of Assay's own that is created, or changed."""
    plural = {"ClusterEvidencePolicy": "clusterevidencepolicies", "EvidencePolicy": "evidencepolicies"}
    request = {
        "uid": "request-1",
        "kind": {"group": "assay.dev", "version": "v1alpha1", "kind": obj["kind"]},
        "resource": {"group": "assay.dev", "version": "v1alpha1", "resource": plural.get(obj["kind"], "trustroots")},
        "operation": "CREATE" if old is None else "UPDATE",
        "namespace": obj["metadata"].get("namespace", ""),
        "name": obj["metadata"].get("name", ""),
        "userInfo": {"username": "jane"},
        "dryRun": False,
        "object": obj,
        "oldObject": old,
        **more,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


async def post(app: FastAPI, content: Any, path: str = "/validate-policy", *, query: str = "timeout=10s") -> Answer:
    return await call(app, "POST", path, json.dumps(content).encode(), query=query)


async def validate(content: Any) -> dict[str, Any]:
    async with webhook() as app:
        return (await post(app, content)).response


@pytest.mark.parametrize("name", MISTAKES)
async def test_what_lint_says_the_webhook_says(name: str) -> None:
    mistake = MISTAKES[name]
    response = await validate(asked(mistake.policy("p")))
    expected: dict[str, Any] = {"uid": "request-1", "allowed": not mistake.refused}
    if mistake.refused:
        kind = mistake.policy("p")["kind"]
        expected["status"] = {
            "status": "Failure",
            "code": 422,
            "reason": "Invalid",
            "message": mistake.refusal("p"),
            "details": {"name": "p", "group": "assay.dev", "kind": kind, "causes": mistake.causes},
        }
    if mistake.warnings:
        expected["warnings"] = mistake.warnings
    assert response == expected


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_policy_is_taken_once_the_mistake_is_mended(name: str) -> None:
    assert await validate(asked(MISTAKES[name].fixed("p"))) == {"uid": "request-1", "allowed": True}


BROKEN = MISTAKES["several at once"]


async def test_an_update_that_leaves_the_spec_alone_is_never_refused() -> None:
    old, new = BROKEN.policy("p"), BROKEN.policy("p")
    new["metadata"] |= {"labels": {"team": "a"}, "finalizers": [], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert await validate(asked(new, old)) == {"uid": "request-1", "allowed": True}
    new["spec"]["digest"] = "Require"
    assert (await validate(asked(new, old)))["allowed"] is False


async def test_a_change_that_mends_and_one_that_breaks_are_judged_by_what_comes_of_them() -> None:
    assert (await validate(asked(BROKEN.fixed("p"), BROKEN.policy("p"))))["allowed"] is True
    assert (await validate(asked(BROKEN.policy("p"), BROKEN.fixed("p"))))["allowed"] is False


async def test_a_dry_run_is_judged_the_same_and_a_deletion_never() -> None:
    assert (await validate(asked(BROKEN.policy("p"), dryRun=True)))["allowed"] is False
    deleted = asked(BROKEN.policy("p"), BROKEN.policy("p"), operation="DELETE", object=None)
    assert await validate(deleted) == {"uid": "request-1", "allowed": True}


async def test_a_name_that_is_still_to_be_made_up_is_no_mistake() -> None:
    obj = policy("p")
    obj["metadata"] = {"generateName": "p-"}
    assert (await validate(asked(obj)))["allowed"] is True


async def test_an_object_that_is_none_of_assay_s_is_refused() -> None:
    response = await validate(review(pod("ghcr.io/acme/app")))
    assert response == {
        "uid": "request-1",
        "allowed": False,
        "status": {
            "status": "Failure",
            "code": 400,
            "reason": "BadRequest",
            "message": "Assay cannot read this object: KindUnsupported:  Pod is none of ClusterEvidencePolicy, "
            "EvidencePolicy, TrustRoot, EvidenceException of assay.dev/v1alpha1",
        },
    }


async def test_a_trust_root_is_checked() -> None:
    obj = {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": {"name": "acme"},
        "spec": {"trustedRoot": "{}"},
    }
    response = await validate(asked(obj))
    assert response["status"]["details"]["causes"] == [
        {
            "reason": "TrustRootMalformed",
            "field": "spec.trustedRoot",
            "message": "has no mediaType application/vnd.dev.sigstore.trustedroot…, so it is no Sigstore TrustedRoot",
        }
    ]


def exception(**fields: Any) -> dict[str, Any]:
    """An exception as its author writes it, good but for the fields."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    spec = {
        "policies": [{"name": "release-signed"}],
        "images": ["ghcr.io/acme/**"],
        "reason": "a known false alarm",
        "expires": end.isoformat(),
        **fields,
    }
    metadata = {"name": "p"}
    return {"apiVersion": "assay.dev/v1alpha1", "kind": "EvidenceException", "metadata": metadata, "spec": spec}


async def stamped(app: FastAPI, obj: dict[str, Any], old: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The exception as `/mutate-policy` leaves it."""
    response = (await post(app, asked(obj, old, **more), "/mutate-policy")).response
    assert response["allowed"] is True
    changed: dict[str, Any] = json.loads(json.dumps(obj))
    for operation in json.loads(base64.b64decode(response.get("patch", "W10="))):
        assert operation["op"] == "add"
        changed["spec"][operation["path"].removeprefix("/spec/")] = operation["value"]
    return changed


@pytest.mark.guarantee(16)
async def test_an_exception_is_stamped_with_who_asks_and_any_other_approver_is_refused() -> None:
    async with webhook() as app:
        good = await stamped(app, exception())
        assert good["spec"]["approver"] == "jane"
        assert (await post(app, asked(good))).response == {"uid": "request-1", "allowed": True}
        forged = await stamped(app, exception(approver="the boss"))
        causes = (await post(app, asked(forged))).response["status"]["details"]["causes"]
        assert [(cause["reason"], cause["field"]) for cause in causes] == [("ApproverForged", "spec.approver")]
        bare = (await post(app, asked(exception()))).response["status"]["details"]["causes"]
        assert "ApproverMissing" in {cause["reason"] for cause in bare}, "whatever became of the mutating webhook"


@pytest.mark.guarantee(16)
async def test_breaking_the_glass_needs_the_right_to() -> None:
    digest = "sha256:" + "0" * 64
    emergency = exception(breakGlass=True, namespaces=["shop"], digests=[digest], images=None)
    async with webhook() as app:
        for user, allowed in (("jane", False), ("root", True)):
            who = {"userInfo": {"username": user}}
            response = (await post(app, asked(await stamped(app, emergency, **who), **who))).response
            assert response["allowed"] is allowed
        assert response == {"uid": "request-1", "allowed": True}
        who = {"userInfo": {"username": "jane"}}
        response = (await post(app, asked(await stamped(app, emergency, **who), **who))).response
        assert response["status"]["details"]["causes"] == [
            {
                "reason": "BreakGlassForbidden",
                "field": "spec.breakGlass",
                "message": "needs the verb break-glass on evidenceexceptions.assay.dev, which you do not have",
            }
        ]


async def test_nothing_but_exceptions_is_stamped() -> None:
    async with webhook() as app:
        answer = (await post(app, asked(policy("p")), "/mutate-policy")).response
    assert answer == {"uid": "request-1", "allowed": True}


@pytest.mark.guarantee(10)
async def test_a_refusal_is_bounded_whatever_the_number_and_length_of_mistakes() -> None:
    who = {"issuer": "https://issuer.example", "subject": "me", "claims": {"nonsense": "x"}}
    obj = policy("p", authorities=[{"name": "release", "keyless": {"identities": [who] * 200}}])
    status = (await validate(asked(obj)))["status"]
    assert len(status["message"]) == 16_000
    assert len(status["details"]["causes"]) == 51
    assert status["details"]["causes"][-1]["message"] == "and 150 more"


@pytest.mark.guarantee(10)
async def test_each_mistake_is_bounded() -> None:
    obj = policy(
        "p", authorities=[by_key(f"{'x' * 58}{n}") for n in range(60)], signatures={"authorities": ["release"]}
    )
    (cause,) = (await validate(asked(obj)))["status"]["details"]["causes"]
    assert cause["message"].startswith("there is no authority 'release'; spec.authorities has xxx")
    assert (len(cause["message"]), cause["message"][-1]) == (2_000, "…")


@pytest.mark.guarantee(10)
async def test_warnings_are_bounded_and_each_is_one_line() -> None:
    obj = policy("p", match={"images": ["ghcr.io/acme/**", *(f"ghcr.io/acme/{'x' * 200}/{n}" for n in range(60))]})
    warnings = (await validate(asked(obj)))["warnings"]
    assert sum(len(warning.encode()) for warning in warnings) <= 4096
    assert warnings[-1].startswith("and ")
    assert not any("\n" in warning for warning in warnings)


async def test_a_replica_that_is_not_ready_for_pods_checks_policies() -> None:
    async with webhook() as app:
        refused = (await post(app, review(pod("ghcr.io/acme/app")), "/validate")).response
        assert refused["status"]["reason"] == "ServiceUnavailable"
        assert (await post(app, asked(policy("p")))).response["allowed"] is True


@pytest.mark.guarantee(10)
async def test_policies_and_pods_have_bounds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()
    real = under_test.lint

    def slow(*args: Any) -> Any:
        began.set()
        assert go_on.wait(60)
        return real(*args)

    monkeypatch.setattr(under_test, "lint", slow)
    async with webhook(webhook_max_policy_reviews=1, webhook_max_reviews=0) as app:
        first = asyncio.create_task(post(app, asked(policy("p"))))
        await asyncio.to_thread(began.wait, 60)
        second = await post(app, asked(policy("q")))
        assert (second.status, second.body) == (
            429,
            b"TooManyReviews: more reviews are under way than webhook_max_policy_reviews allows\n",
        )
        pods = await post(app, review(pod("ghcr.io/acme/app")), "/validate")
        assert (pods.status, pods.body) == (
            429,
            b"TooManyReviews: more reviews are under way than webhook_max_reviews allows\n",
        )
        go_on.set()
        assert (await first).response["allowed"] is True


@pytest.mark.guarantee(18)
async def test_a_check_that_takes_too_long_is_refused_in_time_and_holds_up_no_pod(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(under_test, "lint", lambda *_: go_on.wait(60))
    async with webhook() as app:
        late = asyncio.create_task(post(app, asked(policy("p")), query="timeout=200ms"))
        pods = await post(app, review(pod("ghcr.io/acme/app")), "/validate")
        assert pods.response["status"]["reason"] == "ServiceUnavailable", "answered while the check still runs"
        assert not late.done()
        status = (await late).response["status"]
        assert (status["code"], status["reason"]) == (504, "Timeout")
        go_on.set()


@pytest.mark.guarantee(10)
async def test_bodies_of_policies_are_bounded_together_by_a_setting_of_their_own() -> None:
    async with webhook(webhook_max_policy_bytes=1000) as app:
        answer = await post(app, asked(policy("p", **rule(f"'{'x' * 2000}' != ''"))))
        assert (answer.status, answer.body) == (
            429,
            b"TooManyBytes: reviews of 1000 bytes are under way (bound: webhook_max_policy_bytes)\n",
        )


async def test_without_policies_the_endpoint_is_not_there() -> None:
    pipeline = World().pipeline()
    app = create_app(WebhookSettings(), pipeline=pipeline, readiness=NeverReady())
    assert (await post(app, asked(policy("p")))).status == 404
    await pipeline.close()
