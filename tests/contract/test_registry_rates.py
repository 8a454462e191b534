"""Some registries count pulls. A HEAD is none, so what need not be pulled is not; and what is left is shown."""

from __future__ import annotations

import pytest
from aiohttp import web
from prometheus_client import Gauge

from controller import telemetry
from controller.errors import NotFound, Unavailable
from controller.model.access import ANONYMOUS
from tests.contract.registry_servers.clients import Monotonic, client, ref, soon
from tests.contract.registry_servers.scripted import (
    OCI_INDEX,
    OCI_MANIFEST,
    Answer,
    Around,
    ScriptedRegistry,
    Users,
    digest_of,
)

APP = "acme/app"


def methods(server: ScriptedRegistry, part: str = "/manifests/") -> list[str]:
    """The methods of the requests for manifests, in order."""
    return [seen.method for seen in server.seen(part)]


def shown(metric: Gauge, host: str) -> float | None:
    """What the metric says of a host."""
    return telemetry.METRICS.get_sample_value(metric._name, {"host": host})


def hub(limit: str = "100;w=21600", remaining: str = "76;w=21600") -> Around:
    """Docker Hub's headers on every answer about a manifest."""

    async def around(request: web.BaseRequest, standard: Answer) -> web.Response:
        answer = await standard(request)
        if "/manifests/" in request.path:
            answer.headers["ratelimit-limit"] = limit
            answer.headers["ratelimit-remaining"] = remaining
            answer.headers["docker-ratelimit-source"] = "192.0.2.1"
        return answer

    return around


def heads(status: int = 200, **headers: str) -> Around:
    """What a registry answers to HEAD."""

    async def around(request: web.BaseRequest, standard: Answer) -> web.Response:
        if request.method != "HEAD":
            return await standard(request)
        return web.Response(status=status, headers={name.replace("_", "-"): text for name, text in headers.items()})

    return around


async def test_a_tag_that_did_not_move_is_pulled_once() -> None:
    async with ScriptedRegistry(users=Users(anonymous=True)) as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        reference = ref(f"{server.host}/{APP}:1.0")
        images = [await registry.resolve(reference, access=ANONYMOUS, deadline=soon()) for _ in range(3)]
        assert [str(image.digest) for image in images] == [digest] * 3
        assert images[0] == images[1] == images[2]
        assert methods(server) == ["GET", "GET", "HEAD", "HEAD"]  # the first GET was asked for a token


async def test_an_index_too_large_to_remember_is_read_anew() -> None:
    entry = {"mediaType": OCI_MANIFEST, "digest": digest_of(b""), "size": 1}
    async with ScriptedRegistry() as server, client() as registry:
        for count in (10, 400):
            index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] * count}
            server.put_manifest(APP, index, media_type=OCI_INDEX, tag=f"of-{count}")
            for _ in range(2):
                reference = ref(f"{server.host}/{APP}:of-{count}")
                image = await registry.resolve(reference, access=ANONYMOUS, deadline=soon())
                assert len(image.platforms) == count
        assert methods(server) == ["GET", "HEAD", "GET", "GET"]


async def test_a_tag_that_moved_is_pulled_again_and_hashed() -> None:
    async with ScriptedRegistry() as server, client() as registry:
        reference = ref(f"{server.host}/{APP}:1.0")
        for mark in ("one", "two", "one"):
            digest = server.put_image(APP, "1.0", mark=mark)
            image = await registry.resolve(reference, access=ANONYMOUS, deadline=soon())
            assert str(image.digest) == digest
        assert methods(server) == ["GET", "HEAD", "GET", "HEAD", "GET"]


@pytest.mark.parametrize(
    "around",
    [
        heads(405),
        heads(400),
        heads(501),
        heads(401),
        heads(403),
        heads(200),
        heads(200, Docker_Content_Digest="sha256:nonsense"),
        heads(200, Docker_Content_Digest=digest_of(b"what nobody has"), Content_Type=OCI_INDEX),
    ],
    ids=["405", "400", "501", "401", "403", "no digest", "no digest at all", "another digest"],
)
async def test_whatever_a_head_says_that_is_not_the_known_digest_the_content_is_asked_for(around: Around) -> None:
    async with ScriptedRegistry() as server, client() as registry:
        reference = ref(f"{server.host}/{APP}:1.0")
        server.put_image(APP, "1.0", mark="one")
        await registry.resolve(reference, access=ANONYMOUS, deadline=soon())
        digest = server.put_image(APP, "1.0", mark="two")
        server.around = around
        image = await registry.resolve(reference, access=ANONYMOUS, deadline=soon())
        assert str(image.digest) == digest


async def test_a_digest_that_is_now_served_as_another_media_type_is_pulled_again() -> None:
    async with ScriptedRegistry() as server, client() as registry:
        reference = ref(f"{server.host}/{APP}:1.0")
        digest = server.put_image(APP, "1.0")
        await registry.resolve(reference, access=ANONYMOUS, deadline=soon())
        server.around = heads(200, Docker_Content_Digest=digest, Content_Type=OCI_INDEX)
        await registry.resolve(reference, access=ANONYMOUS, deadline=soon())
        assert methods(server) == ["GET", "HEAD", "GET"]


async def test_a_tag_that_is_gone_is_not_found_by_its_head() -> None:
    async with ScriptedRegistry() as server, client() as registry:
        reference = ref(f"{server.host}/{APP}:1.0")
        server.put_image(APP, "1.0")
        await registry.resolve(reference, access=ANONYMOUS, deadline=soon())
        del server.manifests[APP, "1.0"]
        with pytest.raises(NotFound):
            await registry.resolve(reference, access=ANONYMOUS, deadline=soon())
        assert methods(server) == ["GET", "HEAD"]


async def test_what_a_tag_was_for_one_who_may_see_it_is_nothing_for_one_who_may_not() -> None:
    users = Users(anonymous=True)
    async with ScriptedRegistry(users=users) as server, client() as registry:
        server.put_image(APP, "1.0")
        await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        users.anonymous = False
        server.tokens.clear()
        with pytest.raises(Exception, match="AccessDenied"):
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())


async def test_a_head_that_is_throttled_pauses_the_host_and_no_other() -> None:
    monotonic = Monotonic()
    async with ScriptedRegistry() as server, ScriptedRegistry() as other, client(monotonic=monotonic) as registry:
        digest = server.put_image(APP, "1.0")
        other.put_image(APP, "1.0")
        reference = ref(f"{server.host}/{APP}:1.0")
        await registry.resolve(reference, access=ANONYMOUS, deadline=soon())
        server.around = heads(429, Retry_After="120")
        for _ in range(3):
            with pytest.raises(Unavailable, match="RegistryThrottled") as caught:
                await registry.resolve(reference, access=ANONYMOUS, deadline=soon())
            assert caught.value.retry_after == pytest.approx(120, abs=30)
        assert methods(server) == ["GET", "HEAD"]
        await registry.resolve(ref(f"{other.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        server.around = None
        monotonic.added = 121
        assert str((await registry.resolve(reference, access=ANONYMOUS, deadline=soon())).digest) == digest


# Docker Hub


async def test_what_is_left_of_the_pulls_is_shown_by_host() -> None:
    async with ScriptedRegistry() as server, ScriptedRegistry() as other, client() as registry:
        for host in (server, other):
            host.put_image(APP, "1.0")
        for remaining in ("76;w=21600", "75;w=21600", "75"):
            server.around = hub(remaining=remaining)
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        await registry.resolve(ref(f"{other.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert shown(telemetry.RATELIMIT_LIMIT, server.host) == 100
        assert shown(telemetry.RATELIMIT_REMAINING, server.host) == 75
        assert shown(telemetry.RATELIMIT_LIMIT, other.host) is None


async def test_a_429_shows_what_is_left_too() -> None:
    async with ScriptedRegistry() as server, client() as registry:

        async def used_up(_: web.BaseRequest, __: Answer) -> web.Response:
            headers = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "0;w=21600", "Retry-After": "60"}
            return web.Response(status=429, headers=headers)

        server.around = used_up
        with pytest.raises(Unavailable, match="RegistryThrottled"):
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert shown(telemetry.RATELIMIT_REMAINING, server.host) == 0


@pytest.mark.parametrize("referrers", [True, False], ids=["referrers API", "tags only"])
async def test_where_pulls_are_counted_an_image_without_evidence_costs_one(referrers: bool) -> None:
    async with ScriptedRegistry(referrers=referrers) as server, client() as registry:
        server.put_image(APP, "1.0")
        server.around = hub()
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert (evidence.artifacts, evidence.problems) == ((), ())
        assert sorted(methods(server)) == ["GET", "HEAD", "HEAD", "HEAD"]


async def test_where_pulls_are_counted_the_evidence_is_found_all_the_same() -> None:
    async with ScriptedRegistry(referrers=False) as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        server.put_referrer(APP, digest, b"bundle")
        server.put_signature(APP, digest, b"payload", {"dev.cosignproject.cosign/signature": "one"})
        server.around = hub()
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert sorted(artifact.content for artifact in evidence.artifacts) == [b"bundle", b"payload"]


async def test_where_an_answer_came_from_by_redirect_is_not_shown() -> None:
    async with ScriptedRegistry() as server, ScriptedRegistry() as away, client() as registry:
        server.put_image(APP, "1.0")
        away.put_image(APP, "1.0")
        away.around = hub()
        path = f"/v2/{APP}/manifests/1.0"
        server.status(path, 307, Location=away.url + path)
        await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert away.requests
        assert shown(telemetry.RATELIMIT_LIMIT, away.host) is None
        assert shown(telemetry.RATELIMIT_LIMIT, server.host) is None
