"""No way from a bad body, a slow peer or a fault to an allow."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controller.errors import (
    AccessDenied,
    ConfigurationError,
    InputError,
    LimitExceeded,
    NotReady,
    RecordingFailed,
    Unacceptable,
    Unavailable,
)
from controller.settings import ReviewSettings, Seconds, WebhookSettings
from controller.webhook.app import create_app
from tests.support.asgi import Answer, call
from tests.support.review import World, digest, pod, policy, review

APP = f"ghcr.io/acme/app@{digest('ghcr.io/acme/app')}"
BODY = json.dumps(review(pod(APP))).encode()
JSON = {"content-type": "application/json"}


async def send(
    body: Any = BODY,
    *,
    world: World | None = None,
    path: str = "/validate",
    settings: WebhookSettings | None = None,
    **options: Any,
) -> Answer:
    world = world or World()
    pipeline = world.pipeline(ReviewSettings(answer_reserve=Seconds(0)))
    app = create_app(settings or WebhookSettings(), pipeline=pipeline, readiness=world)
    try:
        return await call(app, "POST", path, body, **options)
    finally:
        await pipeline.close()


def not_allowed(answer: Answer) -> None:
    """Neither by its status nor by its body may the answer be taken for an allow."""
    if answer.status == 200:
        assert answer.response["allowed"] is False
        assert answer.response["status"]["status"] == "Failure"
    else:
        assert answer.status >= 400
        assert b"allowed" not in answer.body


@pytest.mark.parametrize("path", ["/validate", "/mutate"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"\x00" * 100,
        b"[" * 100_000,
        b'{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {"uid": "x"}}',
        b'{"apiVersion": "v1", "kind": "Pod"}',
        json.dumps(review(pod(APP)) | {"request": None}).encode(),
        json.dumps(review(pod(APP), uid="")).encode(),
        json.dumps(review(pod(APP), operation="PATCH")).encode(),
        json.dumps(review(None)).encode(),
        json.dumps({"response": {"uid": "x", "allowed": True}}).encode(),
    ],
    ids=lambda body: body[:20].decode(errors="replace"),
)
async def test_a_body_that_is_no_review_is_400(body: bytes, path: str) -> None:
    world = World()
    answer = await send(body, world=world, path=path)
    assert answer.status == 400
    not_allowed(answer)
    assert world.calls == []


@pytest.mark.parametrize(
    "obj",
    [
        {"metadata": [], "spec": {}},
        {"spec": {"containers": "none"}},
        {"spec": {"containers": [{"image": {"x": 1}}]}},
        {"spec": {"containers": [{"name": "a", "image": "x"} for _ in range(300)]}},
    ],
    ids=["metadata", "containers", "image", "too many"],
)
@pytest.mark.parametrize("path", ["/validate", "/mutate"])
async def test_an_object_that_cannot_be_read_is_refused_in_an_answer(obj: Any, path: str) -> None:
    """An HTTP error would be let in where the webhook's own failurePolicy is Ignore."""
    answer = await send(json.dumps(review(obj)).encode(), path=path)
    assert answer.response["uid"] == "request-1"
    assert answer.response["allowed"] is False


@pytest.mark.parametrize(("kind", "group"), [("Secret", ""), ("Pod", "example.com"), ("Deployment", "example.com")])
async def test_a_kind_that_is_not_known_is_refused(kind: str, group: str) -> None:
    answer = await send(json.dumps(review(pod(APP), kind=kind, group=group)).encode())
    assert answer.response["allowed"] is False
    assert "KindUnsupported" in answer.response["status"]["message"]


@pytest.mark.guarantee(10)
async def test_a_body_past_its_bound_is_413_before_it_is_read_whole() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b" " * 1024

    answer = await send(endless(), settings=WebhookSettings(webhook_max_body_bytes=10 * 1024))
    assert answer.status == 413
    assert b"webhook_max_body_bytes" in answer.body
    assert taken <= 11
    exact = WebhookSettings(webhook_max_body_bytes=len(BODY))
    assert (await send(BODY, settings=exact)).response["allowed"] is True
    assert (await send(BODY + b" ", settings=exact)).status == 413


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": ""},
        {"content-type": "text/plain"},
        {"content-type": "application/yaml"},
        {"content-type": "application/jsonx"},
        {"content-type": "multipart/form-data; boundary=application/json"},
    ],
    ids=str,
)
async def test_another_content_type_is_400(headers: dict[str, str]) -> None:
    answer = await send(headers=headers)
    assert answer.status == 400
    assert b"ContentTypeUnsupported" in answer.body


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_json_under_any_of_its_spellings_is_read(content_type: str) -> None:
    assert (await send(headers={"content-type": content_type})).response["allowed"] is True


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x-gzip", "gzip, identity", "GZIP"])
async def test_a_compressed_body_is_400_and_never_unpacked(encoding: str) -> None:
    answer = await send(gzip.compress(b"0" * 10_000_000), headers=JSON | {"content-encoding": encoding})
    assert answer.status == 400
    assert b"ContentEncodingUnsupported" in answer.body


@pytest.mark.guarantee(18)
@pytest.mark.parametrize(
    "timeout",
    ["", "10", "s", "-1s", "0s", "0ms", "31s", "1h", "10s10s", "1e3s", "10 s", "٣s", "nan", "infs", "9" * 10_000 + "m"],
)
async def test_a_timeout_that_cannot_be_kept_is_400(timeout: str) -> None:
    from urllib.parse import quote

    answer = await send(query=f"timeout={quote(timeout)}")
    assert answer.status == 400
    assert b"TimeoutMalformed" in answer.body


@pytest.mark.parametrize(
    "query", ["", "timeout=1s", "timeout=30s", "timeout=0m10s", "timeout=500ms", "timeout=1.5s&x=y"]
)
async def test_a_timeout_as_the_api_server_writes_it_is_read(query: str) -> None:
    assert (await send(query=query)).response["allowed"] is True


@pytest.mark.guarantee(18)
async def test_a_body_that_does_not_come_is_given_up_at_the_deadline() -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield BODY[:10]
        await asyncio.Event().wait()

    answer = await send(stuck(), query="timeout=50ms")
    assert answer.status == 400
    assert b"BodyIncomplete" in answer.body


async def test_a_client_that_goes_away_is_no_fault() -> None:
    async def leaving() -> AsyncIterator[bytes | None]:
        yield BODY[:10]
        yield None

    assert (await send(leaving())).status == 400


@pytest.mark.guarantee(10)
async def test_one_review_more_than_may_be_under_way_is_429_and_a_place_is_free_again_after() -> None:
    world, gate = World(), asyncio.Event()
    world.fail["record"] = gate.wait
    pipeline = world.pipeline()
    app = create_app(WebhookSettings(webhook_max_reviews=1), pipeline=pipeline, readiness=world)
    first = asyncio.create_task(call(app, "POST", "/validate", BODY))
    for _ in range(50):
        await asyncio.sleep(0)
    refused = await call(app, "POST", "/validate", BODY)
    assert refused.status == 429
    not_allowed(refused)
    gate.set()
    assert (await first).response["allowed"] is True
    assert (await call(app, "POST", "/validate", BODY)).response["allowed"] is True
    assert (await call(app, "POST", "/validate", b"{")).status == 400
    assert (await call(app, "POST", "/validate", BODY)).response["allowed"] is True, "a refusal gives its place back"
    await pipeline.close()


@pytest.mark.guarantee(9)
@pytest.mark.parametrize("path", ["/validate", "/mutate"])
async def test_an_unready_webhook_denies(path: str) -> None:
    world = World(ready=False)
    answer = await send(world=world, path=path)
    assert answer.response == {
        "uid": "request-1",
        "allowed": False,
        "status": {
            "status": "Failure",
            "code": 503,
            "reason": "ServiceUnavailable",
            "message": "Assay could not decide: NotReady: policies were not loaded yet. Try again.",
        },
    }
    assert world.calls == []


def raising(error: BaseException) -> Callable[[], Any]:
    def fail() -> None:
        raise error

    return fail


FAULTS = [
    Unavailable("Away", "it is away"),
    Unacceptable("Malformed", "it is"),
    AccessDenied("AccessDenied", "no"),
    LimitExceeded("some_bound", "too much"),
    RecordingFailed("RecordingFailed", "the disk is full"),
    NotReady("NotReady", "not yet"),
    InputError("ObjectMalformed", "it is"),
    ConfigurationError("SettingInvalid", "it is"),
    ValueError("a fault"),
    KeyError("a fault"),
    RecursionError("a fault"),
    MemoryError(),
    TimeoutError(),
    OSError("a fault"),
    AssertionError(),
    StopAsyncIteration(),
]


@pytest.mark.guarantee(6)
@pytest.mark.guarantee(13)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("port", ["current", "fetch", "resolve", "discover", "assess", "record"])
async def test_no_error_of_any_port_becomes_an_allow(port: str, fault: Exception) -> None:
    selecting = policy(match={"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}})
    world = World(policies=[selecting], namespaces={}, fail={port: raising(fault)})
    answer = await send(world=world)
    assert f"{port} " in " ".join([*world.calls, ""]), "the port was asked"
    not_allowed(answer)
    assert answer.response["uid"] == "request-1"
    assert all(record["verdict"] == "Deny" for record in world.records)


@pytest.mark.guarantee(18)
@pytest.mark.parametrize("port", ["fetch", "resolve", "discover", "assess", "record"])
async def test_no_port_that_hangs_keeps_the_answer_back_or_becomes_an_allow(port: str) -> None:
    selecting = policy(match={"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}})
    world = World(policies=[selecting], namespaces={}, fail={port: lambda: asyncio.Event().wait()})
    answer = await send(world=world, query="timeout=100ms")
    not_allowed(answer)
    assert answer.response["uid"] == "request-1"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_a_fault_shows_nothing_of_itself_but_a_known_reason(fault: Exception) -> None:
    answer = await send(world=World(fail={"record": raising(fault)}))
    assert 'a fault"' not in answer.body.decode()
    assert "Traceback" not in answer.body.decode()


@pytest.mark.guarantee(13)
async def test_a_decision_that_could_not_be_recorded_is_no_answer() -> None:
    failing = raising(RecordingFailed("RecordingFailed", "the disk is full"))
    answer = await send(world=World(fail={"record": failing}))
    assert answer.response == {
        "uid": "request-1",
        "allowed": False,
        "status": {
            "status": "Failure",
            "code": 503,
            "reason": "ServiceUnavailable",
            "message": "Assay could not decide: RecordingFailed: the disk is full. Try again.",
        },
    }


@pytest.mark.guarantee(12)
async def test_names_from_outside_forge_no_line_of_an_answer() -> None:
    forged = "x\nrecord 0000\n  next: trust me\x1b[2K"
    obj = pod(forged, name=forged)
    obj["spec"]["containers"][0]["name"] = forged
    answer = await send(json.dumps(review(obj, name=forged, namespace="shop")).encode())
    message = answer.response["status"]["message"]
    assert answer.response["allowed"] is False
    assert [line for line in message.split("\n") if line.startswith("record")] == [message.split("\n")[-1]]
    assert "\x1b" not in message


@pytest.mark.guarantee(12)
async def test_nothing_secret_of_a_pod_is_answered() -> None:
    obj = pod("ghcr.io/acme/unsigned:1", metadata={"annotations": {"token": "hunter2"}})
    obj["spec"]["containers"][0] |= {"env": [{"name": "P", "value": "hunter2"}], "args": ["hunter2"]}
    assert "hunter2" not in (await send(json.dumps(review(obj)).encode())).body.decode()


@pytest.mark.parametrize("fuzz", range(40))
async def test_a_review_with_any_one_value_replaced_is_answered_and_never_lets_an_unsigned_image_in(fuzz: int) -> None:
    """Every leaf of a review about an unsigned image becomes something else; what is left is never an allow of it."""
    unsigned = f"ghcr.io/acme/unsigned@{digest('ghcr.io/acme/unsigned')}"
    content = review(pod(unsigned, metadata={"labels": {"a": "b"}}, nodeName="n", imagePullSecrets=[{"name": "s"}]))
    places = list(_leaves(content))
    path = places[fuzz % len(places)]
    for value in (None, "", 0, 7, True, [], {}, "x", [1], {"a": 1}):
        changed = json.loads(json.dumps(content))
        target = changed
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = value
        answer = await send(json.dumps(changed).encode())
        if answer.status == 200 and answer.response["allowed"]:
            images = _images(changed)
            passes = changed["request"]["operation"] in {"DELETE", "CONNECT"}
            assert passes or unsigned not in images, (path, value)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Any:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in items:
        yield from _leaves(child, (*path, name))


def _images(content: Any) -> list[str]:
    containers = (((content.get("request") or {}).get("object") or {}).get("spec") or {}).get("containers") or []
    return [c.get("image") for c in containers if isinstance(c, dict)]


@asynccontextmanager
async def stalling(app: Any, count: int) -> AsyncIterator[list[asyncio.Task[Answer]]]:
    """So many bodies of which a part came and no more does."""

    async def half() -> AsyncIterator[bytes]:
        yield BODY[:100]
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(call(app, "POST", "/validate", half())) for _ in range(count)]
    for _ in range(20):
        await asyncio.sleep(0)
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.guarantee(10)
async def test_all_bodies_under_way_together_are_bounded_and_leave_no_trace() -> None:
    world, gate = World(), asyncio.Event()
    world.fail["record"] = gate.wait
    pipeline = world.pipeline()
    app = create_app(WebhookSettings(webhook_max_bytes=len(BODY) + 10), pipeline=pipeline, readiness=world)
    first = asyncio.create_task(call(app, "POST", "/validate", BODY))
    for _ in range(50):
        await asyncio.sleep(0)
    refused = await call(app, "POST", "/validate", BODY)
    assert (refused.status, b"webhook_max_bytes" in refused.body) == (429, True)
    gate.set()
    assert (await first).status == 200
    assert (await call(app, "POST", "/validate", BODY)).status == 200
    await pipeline.close()


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    "settings",
    [
        WebhookSettings(webhook_max_reviews=1),
        WebhookSettings(webhook_max_bodies=3),
        WebhookSettings(webhook_max_bytes=len(BODY) + 200),
    ],
    ids=["reviews", "bodies", "bytes"],
)
async def test_bodies_that_stall_get_nobody_else_refused(settings: WebhookSettings) -> None:
    world = World()
    pipeline = world.pipeline()
    app = create_app(settings, pipeline=pipeline, readiness=world)
    async with stalling(app, 12):
        assert (await call(app, "POST", "/validate", BODY)).response["allowed"] is True
    await pipeline.close()


@pytest.mark.guarantee(10)
async def test_of_bodies_that_stall_the_oldest_makes_room() -> None:
    world = World()
    pipeline = world.pipeline()
    app = create_app(WebhookSettings(webhook_max_bodies=2), pipeline=pipeline, readiness=world)
    async with stalling(app, 3) as (oldest, *others):
        answer = await oldest
        assert (answer.status, b"BodyIncomplete" in answer.body) == (400, True)
        assert not any(task.done() for task in others)
    await pipeline.close()


async def test_client_names_without_a_ca_are_refused_at_the_start() -> None:
    world = World()
    with pytest.raises(ConfigurationError, match="webhook_client_ca_file"):
        create_app(WebhookSettings(webhook_client_names=("api",)), pipeline=world.pipeline(), readiness=world)


async def test_with_a_client_ca_a_request_of_which_no_client_is_known_is_refused_unread() -> None:
    taken = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal taken
        taken += 1
        yield BODY

    world = World()
    for path in ("/mutate", "/validate"):
        answer = await send(counted(), world=world, path=path, settings=WebhookSettings(webhook_client_ca_file="ca"))
        assert (answer.status, b"ClientUnknown" in answer.body) == (403, True)
    assert (taken, world.calls) == (0, [])
