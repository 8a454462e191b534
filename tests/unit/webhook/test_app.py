"""Reviews end to end but for the network: a real pipeline over ports in memory, whole answers compared."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from controller.errors import Unavailable
from controller.settings import ReviewSettings, Seconds, WebhookSettings
from controller.webhook import app as webhook
from controller.webhook.app import MAX_REMEMBERED_QUERY, REMEMBERED_QUERIES, create_app
from tests.support.asgi import Answer, call
from tests.support.review import World, digest, pod, policy, review

APP, UNSIGNED = "ghcr.io/acme/app", "ghcr.io/acme/unsigned"


def pin(name: str, tag: str = "") -> str:
    return f"{name}{tag}@{digest(name)}"


async def ask(
    world: World, path: str, content: Any, *, query: str = "timeout=10s", settings: ReviewSettings | None = None
) -> Answer:
    pipeline = world.pipeline(settings)
    app = create_app(WebhookSettings(), pipeline=pipeline, readiness=world)
    try:
        return await call(app, "POST", path, json.dumps(content).encode(), query=query)
    finally:
        await asyncio.sleep(0)
        await pipeline.close()


async def validate(world: World, content: Any, **options: Any) -> dict[str, Any]:
    return (await ask(world, "/validate", content, **options)).response


async def mutate(world: World, content: Any, **options: Any) -> Any:
    """The answer of `/mutate`: None for no patch, else the operations."""
    response = (await ask(world, "/mutate", content, **options)).response
    if set(response) == {"uid", "allowed"}:
        assert response == {"uid": content["request"]["uid"], "allowed": True}
        return None
    patch = json.loads(base64.b64decode(response.pop("patch")))
    assert response == {"uid": content["request"]["uid"], "allowed": True, "patchType": "JSONPatch"}
    return patch


@pytest.mark.guarantee(1)
async def test_a_signed_image_is_allowed_and_recorded() -> None:
    world = World()
    assert await validate(world, review(pod(pin(APP)))) == {
        "uid": "request-1",
        "allowed": True,
        "auditAnnotations": {
            "record": world.records[0]["id"],
            "evaluations": "ClusterEvidencePolicy/signed=Satisfied",
        },
    }
    assert [record["verdict"] for record in world.records] == ["Allow"]


@pytest.mark.guarantee(1)
async def test_an_unsigned_image_is_denied_with_its_cause_and_recorded() -> None:
    world = World()
    response = await validate(world, review(pod(pin(APP), pin(UNSIGNED))))
    record = world.records[0]["id"]
    assert response == {
        "uid": "request-1",
        "allowed": False,
        "status": {
            "status": "Failure",
            "code": 403,
            "reason": "Forbidden",
            "message": (
                "Pod shop/web: 1 image lacks the evidence that is required.\n"
                f'container "c1" runs {pin(UNSIGNED)}\n'
                "  ClusterEvidencePolicy signed, signatures: SignatureMissing: the image has no signature\n"
                "    required: 1 signature\n"
                "    found: nothing\n"
                "    next: sign it\n"
                f"record {record}"
            ),
        },
        "auditAnnotations": {
            "record": record,
            "evaluations": "ClusterEvidencePolicy/signed=Satisfied ClusterEvidencePolicy/signed=Violated",
        },
    }
    assert [found["verdict"] for found in world.records] == ["Deny"]


@pytest.mark.guarantee(13)
async def test_the_record_is_durable_before_the_answer() -> None:
    world, order = World(), []
    written = asyncio.Event()

    async def slow() -> None:
        await written.wait()
        order.append("recorded")

    world.fail["record"] = slow
    answer = asyncio.create_task(validate(world, review(pod(pin(APP)))))
    answer.add_done_callback(lambda _: order.append("answered"))
    for _ in range(50):
        await asyncio.sleep(0)
    assert order == []
    written.set()
    await answer
    assert order == ["recorded", "answered"]


@pytest.mark.guarantee(3)
async def test_mutation_pins_every_changed_image_of_a_pod_to_what_it_names_now() -> None:
    world = World()
    obj = pod(
        f"{APP}:1",
        "nginx",
        pin(APP),
        initContainers=[{"name": "i", "image": f"{APP}:2"}],
        ephemeralContainers=[{"name": "e", "image": f"{APP}:3"}],
        volumes=[{"name": "v", "image": {"reference": f"{APP}:4"}}],
    )
    hub = "docker.io/library/nginx"

    def ops(path: str, before: str, after: str) -> list[dict[str, str]]:
        return [
            {"op": "test", "path": path, "value": before},
            {"op": "replace", "path": path, "value": after},
        ]

    patch = await mutate(world, review(obj))
    assert sorted(patch, key=lambda op: (op["path"], op["op"] == "replace")) == [
        *ops("/spec/containers/0/image", f"{APP}:1", pin(APP, ":1")),
        *ops("/spec/containers/1/image", "nginx", pin(hub, ":latest")),
        *ops("/spec/ephemeralContainers/0/image", f"{APP}:3", pin(APP, ":3")),
        *ops("/spec/initContainers/0/image", f"{APP}:2", pin(APP, ":2")),
        *ops("/spec/volumes/0/image/reference", f"{APP}:4", pin(APP, ":4")),
    ]
    assert world.records == []


@pytest.mark.guarantee(3)
async def test_what_mutation_pinned_is_what_validation_judges() -> None:
    world = World()
    pipeline = world.pipeline()
    app = create_app(WebhookSettings(), pipeline=pipeline, readiness=world)
    await call(app, "POST", "/mutate", json.dumps(review(pod(f"{APP}:1"))).encode())
    for _ in range(50):
        await asyncio.sleep(0)
    answer = await call(app, "POST", "/validate", json.dumps(review(pod(pin(APP, ":1")))).encode())
    assert answer.response["allowed"] is True
    assert [c for c in world.calls if c.startswith("resolve")] == [f"resolve {APP}:1"], "resolved once"
    assert sum(c.startswith("assess") for c in world.calls) == 1, "verified once"
    await pipeline.close()


async def test_mutation_never_denies_and_never_records() -> None:
    def down() -> None:
        raise Unavailable("RegistryUnavailable", "no connection")

    for world in (World(), World(fail={"resolve": down}), World(fail={"discover": down, "assess": down})):
        for image in (f"{APP}:1", f"{UNSIGNED}:1", "ghcr.io/acme/missing:1", "NOT A REFERENCE", ""):
            await mutate(world, review(pod(image)))
        assert world.records == []


async def test_mutation_leaves_alone_what_is_not_to_be_pinned() -> None:
    require = World(policies=[policy(digest="Require")])
    warns = World(policies=[policy(digest="Resolve", validationActions=["Warn"])])
    elsewhere = World(policies=[policy(match={"images": ["quay.io/**"]})])
    for world in (require, warns, elsewhere):
        assert await mutate(world, review(pod(f"{APP}:1"))) is None
    assert not any(c.startswith("resolve") for c in elsewhere.calls), "nothing is fetched for what no policy matches"
    template = {"metadata": {"name": "web"}, "spec": {"template": {"spec": pod(f"{APP}:1")["spec"]}}}
    assert await mutate(World(), review(template, kind="Deployment", group="apps")) is None


@pytest.mark.guarantee(8)
async def test_only_what_an_update_changes_is_pinned() -> None:
    before = pod(f"{APP}:1", f"{APP}:2")
    after = pod(f"{APP}:1", f"{APP}:3")
    patch = await mutate(World(), review(after, before))
    assert [op["path"] for op in patch] == ["/spec/containers/1/image"] * 2


@pytest.mark.guarantee(1)
@pytest.mark.parametrize(("mode", "code"), [("Pin", "DigestNotPinned"), ("Require", "DigestRequired")])
async def test_validation_admits_no_image_without_a_digest(mode: str, code: str) -> None:
    world = World(policies=[policy(digest=mode)])
    response = await validate(world, review(pod(f"{APP}:1")))
    assert response["allowed"] is False
    assert code in response["status"]["message"]


@pytest.mark.guarantee(6)
@pytest.mark.parametrize(
    "image", ["sha256:" + "a" * 64, "Acme/app", "NOT A REFERENCE", "", f"{APP}@sha512:{'a' * 128}"]
)
async def test_an_image_that_cannot_be_read_is_denied_by_every_policy_of_its_scope(image: str) -> None:
    elsewhere = policy(match={"images": ["quay.io/**"]})
    response = await validate(World(policies=[elsewhere]), review(pod(image)))
    assert response["allowed"] is False
    assert "could not be judged" in response["status"]["message"]


@pytest.mark.guarantee(6)
async def test_ignore_lets_in_what_is_unavailable_and_nothing_else() -> None:
    def down() -> None:
        raise Unavailable("RegistryUnavailable", "ghcr.io does not answer")

    ignoring = policy(match={"images": ["ghcr.io/acme/**"]}, failurePolicy="Ignore")
    world = World(policies=[ignoring], fail={"discover": down})
    response = await validate(world, review(pod(pin(APP))))
    assert response["allowed"] is True
    assert "NOT verified" in response["warnings"][0]
    assert world.records[0]["flags"] == ["error", "fail-open"]
    for image in (pin("ghcr.io/acme/broken"), pin("ghcr.io/acme/missing"), pin(UNSIGNED)):
        assert (await validate(World(policies=[ignoring]), review(pod(image))))["allowed"] is False


@pytest.mark.guarantee(7)
async def test_a_policy_that_cannot_be_enforced_denies_what_it_matches() -> None:
    broken = policy(validations=[{"expression": "no_such_name == 1"}])
    response = await validate(World(policies=[broken]), review(pod(pin(APP))))
    assert response["allowed"] is False
    assert "cannot be judged" in response["status"]["message"]


@pytest.mark.guarantee(8)
@pytest.mark.parametrize(
    "spec",
    [
        {"initContainers": [{"name": "x", "image": pin(UNSIGNED)}]},
        {"ephemeralContainers": [{"name": "x", "image": pin(UNSIGNED)}]},
        {"volumes": [{"name": "x", "image": {"reference": pin(UNSIGNED)}}]},
    ],
    ids=lambda spec: next(iter(spec)),
)
async def test_every_container_kind_is_judged(spec: dict[str, Any]) -> None:
    assert (await validate(World(), review(pod(pin(APP), **spec))))["allowed"] is False


@pytest.mark.guarantee(8)
async def test_an_ephemeral_container_added_to_a_running_pod_is_judged_and_the_rest_is_not() -> None:
    before = pod(f"{UNSIGNED}:1")
    after = pod(f"{UNSIGNED}:1", ephemeralContainers=[{"name": "debug", "image": pin(UNSIGNED)}])
    world = World()
    response = await validate(world, review(after, before, subResource="ephemeralcontainers"))
    assert response["allowed"] is False
    assert 'ephemeral container "debug"' in response["status"]["message"]
    assert len(world.records[0]["images"]) == 1


BAD = f"{UNSIGNED}:1"


@pytest.mark.parametrize(
    ("after", "before"),
    [
        (pod(BAD, metadata={"labels": {"a": "b"}}), pod(BAD)),
        (pod(BAD, metadata={"finalizers": []}), pod(BAD, metadata={"finalizers": ["x"]})),
        (pod(f"{BAD}9"), pod(BAD, metadata={"deletionTimestamp": "2026-11-22T12:00:00Z"})),
    ],
    ids=["metadata", "finalizer", "being deleted"],
)
async def test_what_changes_no_image_or_is_being_deleted_passes_untouched(after: Any, before: Any) -> None:
    world = World()
    for path in ("/validate", "/mutate"):
        assert (await ask(world, path, review(after, before))).response == {"uid": "request-1", "allowed": True}
    assert (world.records, world.calls) == ([], [])


async def test_deletions_pass_untouched() -> None:
    world = World()
    assert await validate(world, review(None, pod(BAD), operation="DELETE")) == {"uid": "request-1", "allowed": True}
    assert world.calls == []


@pytest.mark.guarantee(8)
async def test_an_update_does_not_pass_by_saying_of_itself_that_it_is_being_deleted() -> None:
    leaving = {"deletionTimestamp": "2026-11-22T12:00:00Z"}
    update = review(pod(pin(UNSIGNED), metadata=leaving), pod(pin(APP)))
    assert (await validate(World(), update))["allowed"] is False
    created = review(pod(pin(UNSIGNED), metadata=leaving))
    assert (await validate(World(), created))["allowed"] is False


@pytest.mark.guarantee(15)
async def test_a_dry_run_gets_the_same_answer_and_leaves_no_record() -> None:
    for image in (pin(APP), pin(UNSIGNED)):
        world, real = World(), World()
        dry = await validate(world, review(pod(image), dryRun=True))
        assert dry == await validate(real, review(pod(image)))
        assert (world.records, world.blobs) == ([], {})
        assert len(real.records) == 1


TEMPLATE = {
    "metadata": {"name": "web"},
    "spec": {"template": {"spec": {"containers": [{"name": "c", "image": pin(UNSIGNED)}]}}},
}


@pytest.mark.parametrize(("setting", "allowed"), [("Warn", True), ("Deny", False), ("Ignore", True)])
async def test_a_templates_verdict_is_what_the_setting_says(setting: str, allowed: bool) -> None:
    world = World()
    response = await validate(
        world, review(TEMPLATE, kind="Deployment", group="apps"), settings=ReviewSettings(templates=setting)
    )
    assert response["allowed"] is allowed
    match setting:
        case "Warn":
            (warning,) = response["warnings"]
            assert warning.startswith("pods of this Deployment will be denied: ClusterEvidencePolicy signed: ")
            assert world.records[0]["flags"] == ["softened", "warn"]
        case "Deny":
            assert "SignatureMissing" in response["status"]["message"]
        case _:
            assert (response, world.calls) == ({"uid": "request-1", "allowed": True}, [])


@pytest.mark.parametrize(
    ("user", "groups", "node", "mirror", "allowed"),
    [
        ("system:node:n1", ["system:nodes"], "n1", True, True),
        ("system:node:n2", ["system:nodes"], "n1", True, False),
        ("system:node:n1", ["system:nodes"], "n1", False, False),
        ("system:node:n1", ["dev"], "n1", True, False),
        ("system:node:", ["system:nodes"], "", True, False),
        ("alice", ["system:nodes"], "n1", True, False),
    ],
)
async def test_only_a_mirror_pod_of_its_own_nodes_kubelet_is_recorded_and_not_denied(
    user: str, groups: list[str], node: str, mirror: bool, allowed: bool
) -> None:
    metadata = {"annotations": {"kubernetes.io/config.mirror": "abc"} if mirror else {}}
    obj = pod(pin(UNSIGNED), metadata=metadata, nodeName=node)
    world = World()
    response = await validate(world, review(obj, userInfo={"username": user, "groups": groups}))
    assert response["allowed"] is allowed
    assert len(world.records) == 1
    if allowed:
        assert response["warnings"][0].startswith("this static pod runs already and is recorded, not denied: ")


@pytest.mark.parametrize("no_match", ["Allow", "Warn", "Deny"])
async def test_an_image_that_no_policy_matches_is_recorded_and_nothing_is_fetched_for_it(no_match: str) -> None:
    world = World(policies=[policy(match={"images": ["quay.io/**"]})])
    response = await validate(world, review(pod(f"{APP}:1")), settings=ReviewSettings(no_match=no_match))
    assert response["allowed"] is (no_match != "Deny")
    assert ("warnings" in response) is (no_match == "Warn")
    assert world.records[0]["flags"] == ["no-match"]
    assert [c for c in world.calls if c.split()[0] in {"resolve", "discover", "assess"}] == []


async def test_a_policy_is_about_the_namespaces_and_objects_that_it_selects() -> None:
    async def allowed(spec: dict[str, Any], **changes: Any) -> bool:
        obj = pod(pin(UNSIGNED), metadata={"labels": {"tier": "web"}})
        return bool((await validate(World(policies=[policy(match=spec)]), review(obj, **changes)))["allowed"])

    assert await allowed({"namespaceSelector": {"matchLabels": {"team": "shop"}}}) is False
    assert await allowed({"namespaceSelector": {"matchLabels": {"team": "other"}}}) is True
    assert await allowed({"objectSelector": {"matchLabels": {"tier": "web"}}}) is False
    assert await allowed({"objectSelector": {"matchLabels": {"tier": "db"}}}) is True
    only_alice = {"conditions": [{"name": "alice", "expression": "request.userInfo.username == 'alice'"}]}
    assert await allowed(only_alice) is False
    assert await allowed(only_alice, userInfo={"username": "bob"}) is True
    assert await allowed(only_alice, userInfo={}) is False, "a condition that cannot be judged is an Error"


async def test_an_unknown_namespace_is_asked_for_and_never_unmatched() -> None:
    selecting = policy(match={"namespaceSelector": {"matchExpressions": [{"key": "exempt", "operator": "Exists"}]}})
    fetched = World(policies=[selecting], namespaces={})
    assert (await validate(fetched, review(pod(pin(UNSIGNED)))))["allowed"] is True
    assert "fetch shop" in fetched.calls

    def down() -> None:
        raise Unavailable("ApiServerUnavailable", "the API server does not answer")

    away = World(policies=[selecting], namespaces={}, fail={"fetch": down})
    response = await validate(away, review(pod(pin(APP))))
    assert response["allowed"] is False
    assert "ApiServerUnavailable" in response["status"]["message"]
    nameless = await validate(World(policies=[selecting]), review(pod(pin(APP)), namespace=""))
    assert nameless["allowed"] is False
    assert "NamespaceMissing" in nameless["status"]["message"]


async def test_a_namespaced_policy_binds_its_own_namespace_only() -> None:
    world = World(policies=[policy("own", namespace="shop"), policy("others", namespace="other")])
    assert (await validate(world, review(pod(pin(UNSIGNED)))))["allowed"] is False
    assert {e["policy"]["name"] for e in world.records[0]["evaluations"]} == {"own"}


async def test_a_namespaced_policy_never_weakens_a_cluster_one() -> None:
    mild = policy("own", namespace="shop", validationActions=["Audit"])
    world = World(policies=[policy(), mild])
    assert (await validate(world, review(pod(pin(UNSIGNED)))))["allowed"] is False


@pytest.mark.guarantee(18)
async def test_a_registry_that_hangs_is_answered_before_the_deadline_and_the_retry_is_warm() -> None:
    world, gate = World(), asyncio.Event()
    world.fail["discover"] = gate.wait
    pipeline = world.pipeline(ReviewSettings(answer_reserve=Seconds(0)))
    app = create_app(WebhookSettings(), pipeline=pipeline, readiness=world)
    body = json.dumps(review(pod(pin(APP)))).encode()
    response = (await call(app, "POST", "/validate", body, query="timeout=100ms")).response
    assert response["allowed"] is False
    assert "DeadlineExceeded" in response["status"]["message"] or response["status"]["reason"] == "Timeout"
    gate.set()
    for _ in range(50):
        await asyncio.sleep(0)
    assert (await call(app, "POST", "/validate", body)).response["allowed"] is True
    assert sum(c.startswith("discover") for c in world.calls) == 1
    await pipeline.close()


async def test_a_time_that_is_none_is_refused_each_time_and_none_but_short_ones_are_remembered() -> None:
    world = World()
    app = create_app(WebhookSettings(), pipeline=world.pipeline(), readiness=world)
    body = json.dumps(review(pod(pin(APP)))).encode()
    for query in 2 * ["timeout=soon", "timeout=31s", "timeout=0s"]:
        answer = await call(app, "POST", "/validate", body, query=query)
        assert (answer.status, answer.body.split(b":")[0]) == (400, b"TimeoutMalformed")
    known = webhook._asked.cache_info().currsize
    for number in range(2 * REMEMBERED_QUERIES):
        for query in (f"timeout=9s&n={number}", f"timeout=9s&n={number:0{MAX_REMEMBERED_QUERY}}"):
            assert (await call(app, "POST", "/validate", body, query=query)).response["allowed"] is True
    assert known < webhook._asked.cache_info().currsize == REMEMBERED_QUERIES


async def test_the_other_endpoints_answer() -> None:
    world = World()
    app = create_app(WebhookSettings(), pipeline=world.pipeline(), readiness=world)
    assert (await call(app, "GET", "/livez")).status == 200
    assert (await call(app, "GET", "/readyz")).status == 200
    metrics = await call(app, "GET", "/metrics")
    assert b"assay_reviews_total" in metrics.body
    world.ready = False
    assert (await call(app, "GET", "/livez")).status == 200
    unready = await call(app, "GET", "/readyz")
    assert (unready.status, unready.body) == (503, b"NotReady: policies were not loaded yet\n")


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/redoc", "/validate/", "/mutate-policy"])
async def test_nothing_else_is_served(path: str) -> None:
    world = World()
    app = create_app(WebhookSettings(), pipeline=world.pipeline(), readiness=world)
    assert (await call(app, "GET", path)).status in {404, 307, 405}
    assert (await call(app, "GET", "/validate")).status == 405
