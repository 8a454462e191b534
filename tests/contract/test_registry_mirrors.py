"""Mirrors: asked first as a container runtime asks them, believed no more than anybody, and given nobody's password."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from controller import telemetry
from controller.errors import AccessDenied, AssayError, NotFound, Unacceptable, Unavailable
from controller.model.access import ANONYMOUS, Credential, RegistryAccess
from controller.registry.repository import FIRST_BYTES
from controller.review.budget import Budget
from tests.contract.registry_servers.clients import client, ref, soon
from tests.contract.registry_servers.plugins import Plugin
from tests.contract.registry_servers.scripted import Answer, ScriptedRegistry, Users, digest_of

APP = "acme/app"
Trouble = Callable[[ScriptedRegistry], None]


def away(server: ScriptedRegistry) -> None:
    """A mirror that ends every connection without an answer."""

    async def answer(request: web.BaseRequest, _: Answer) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        raise ConnectionResetError

    server.around = answer


def put_signed(server: ScriptedRegistry, repository: str = APP, *, mark: str = "", evidence: bytes = b"bundle") -> str:
    """An image with one piece of evidence; returns its digest."""
    digest = server.put_image(repository, "1.0", mark=mark)
    server.put_referrer(repository, digest, evidence)
    return digest


def always(status: int) -> Trouble:
    """A mirror that answers everything so."""

    def trouble(server: ScriptedRegistry) -> None:
        async def answer(_: web.BaseRequest, __: Answer) -> web.Response:
            return web.Response(status=status)

        server.around = answer

    return trouble


async def test_a_mirror_is_asked_first_and_the_image_keeps_its_own_name() -> None:
    async with ScriptedRegistry() as mirror:
        digest = put_signed(mirror, "hub/library/nginx")
        settings = {"registry_mirrors": ("docker.io=" + mirror.host + "/hub", "docker.io=!")}
        async with client(**settings) as registry:
            image = await registry.resolve(ref("nginx:1.0"), access=ANONYMOUS, deadline=soon())
            evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert (str(image.digest), image.reference) == (digest, ref("nginx:1.0"))
        assert image.reference.name == evidence.repository == "docker.io/library/nginx"
        assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]


async def test_a_tag_is_what_the_first_mirror_that_has_it_says() -> None:
    async with contextlib.AsyncExitStack() as stack:
        none, one, two, host = [await stack.enter_async_context(ScriptedRegistry()) for _ in range(4)]
        one.put_image(APP, "1.0", mark="one")
        two.put_image(APP, "1.0", mark="two")
        host.put_image(APP, "1.0", mark="host")
        mirrors = tuple(f"{host.host}={mirror.host}" for mirror in (none, one, two))
        async with client(registry_mirrors=mirrors) as registry:
            image = await registry.resolve(ref(f"{host.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert str(image.digest) == one.put_image(APP, mark="one")
        assert [len(server.requests) for server in (none, one, two, host)] == [1, 1, 0, 0]


@pytest.mark.parametrize(
    "trouble",
    [always(404), always(403), always(401), always(500), always(503), always(429), away],
    ids=["404", "403", "401", "500", "503", "429", "away"],
)
async def test_a_mirror_in_trouble_is_passed_over_and_counted(trouble: Trouble) -> None:
    async with ScriptedRegistry() as mirror, ScriptedRegistry() as host:
        digest = put_signed(host)
        mirror.put_image(APP, "1.0", mark="another")
        trouble(mirror)
        before = telemetry.MIRROR_FAILURES.labels(mirror.host)._value.get()
        async with client(registry_mirrors=(f"{host.host}={mirror.host}",)) as registry:
            image = await registry.resolve(ref(f"{host.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert str(image.digest) == digest
        assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]
        assert telemetry.MIRROR_FAILURES.labels(mirror.host)._value.get() > before


async def test_a_mirror_is_passed_over_again_only_while_it_is_in_trouble() -> None:
    async with ScriptedRegistry() as mirror, ScriptedRegistry() as host:
        host.put_image(APP, "1.0", mark="host")
        mirror.put_image(APP, "1.0", mark="mirror")
        always(500)(mirror)
        async with client(registry_mirrors=(f"{host.host}={mirror.host}",)) as registry:
            reference = ref(f"{host.host}/{APP}:1.0")
            first = await registry.resolve(reference, access=ANONYMOUS, deadline=soon())
            mirror.around = None
            second = await registry.resolve(reference, access=ANONYMOUS, deadline=soon())
        assert str(first.digest) == host.put_image(APP, mark="host")
        assert str(second.digest) == mirror.put_image(APP, mark="mirror")


@pytest.mark.guarantee(3)
async def test_what_a_mirror_sends_for_a_digest_is_hashed_and_refused() -> None:
    async with ScriptedRegistry() as mirror, ScriptedRegistry() as host:
        digest = host.put_image(APP, "1.0")
        mirror.put_image(APP, "1.0", mark="another")
        mirror.manifests[APP, digest] = mirror.manifests[APP, "1.0"]
        async with client(registry_mirrors=(f"{host.host}={mirror.host}",)) as registry:
            with pytest.raises(Unacceptable, match="DigestMismatch"):
                await registry.resolve(ref(f"{host.host}/{APP}@{digest}"), access=ANONYMOUS, deadline=soon())


async def test_evidence_that_a_mirror_changed_is_never_evidence() -> None:
    async with ScriptedRegistry() as mirror, ScriptedRegistry() as host:
        digest = put_signed(mirror)
        put_signed(host)
        (evil,) = [name for name, content in mirror.blobs.items() if content == b"bundle"]
        mirror.blobs[evil] = b"bungle"
        async with client(registry_mirrors=(f"{host.host}={mirror.host}",)) as registry:
            image = await registry.resolve(ref(f"{host.host}/{APP}@{digest}"), access=ANONYMOUS, deadline=soon())
            evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]
        assert evidence.problems == ()


@pytest.mark.guarantee(11)
@pytest.mark.parametrize("bearer", [False, True], ids=["Basic", "Bearer"])
@pytest.mark.parametrize("prefix", ["{host}", "127.0.0.*:{port}", "{mirror}", "{mirror}/acme"])
async def test_no_pull_secret_ever_goes_to_a_mirror(bearer: bool, prefix: str) -> None:
    """Not the host's, not one whose pattern covers the mirror, not even one that names it: all are their pod's."""
    users = Users({"dev": "right"}, bearer=bearer)
    async with ScriptedRegistry(users=users) as mirror, ScriptedRegistry(users=users) as host:
        put_signed(mirror)
        digest = put_signed(host)
        written = prefix.format(host=host.host, mirror=mirror.host, port=mirror.port)
        access = RegistryAccess(
            tuple(Credential(prefix=text, username="dev", password="right") for text in {host.host, written})
        )
        async with client(registry_mirrors=(f"{host.host}={mirror.host}",)) as registry:
            image = await registry.resolve(ref(f"{host.host}/{APP}:1.0"), access=access, deadline=soon())
            evidence = await registry.discover(image, access=access, deadline=soon())
        assert str(image.digest) == digest
        assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]
        assert mirror.requests
        assert not any("Authorization" in seen.headers or b"right" in seen.body for seen in mirror.requests)
        assert any("Authorization" in seen.headers for seen in host.requests)


async def test_a_mirrors_own_credentials_come_from_a_provider_and_go_to_it_alone(tmp_path: Path) -> None:
    users = Users({"mirror": "word"}, bearer=False)
    async with ScriptedRegistry(users=users) as mirror, ScriptedRegistry() as host:
        host.put_image(APP, "2.0")
        digest = put_signed(mirror)
        plugin = Plugin(tmp_path, mirror.host)
        plugin.answer({mirror.host: ("mirror", "word"), host.host: ("mirror", "word")})
        async with client(registry_mirrors=(f"{host.host}={mirror.host}",), **plugin.settings) as registry:
            image = await registry.resolve(ref(f"{host.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            await registry.resolve(ref(f"{host.host}/{APP}:2.0"), access=ANONYMOUS, deadline=soon())
        assert str(image.digest) == digest
        assert {json.loads(run["request"])["image"] for run in plugin.runs} == {f"{mirror.host}/{APP}"}
        assert host.requests
        assert not any("Authorization" in seen.headers for seen in host.requests)


async def test_a_host_that_is_never_to_be_asked_is_not() -> None:
    async with ScriptedRegistry() as one, ScriptedRegistry() as two, ScriptedRegistry() as host:
        put_signed(host)
        mirrors = (f"{host.host}={one.host}", f"{host.host}=!", f"{host.host}={two.host}")
        async with client(registry_mirrors=mirrors) as registry:
            with pytest.raises(NotFound):
                await registry.resolve(ref(f"{host.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            always(500)(one)
            with pytest.raises(Unavailable):  # which might have it
                await registry.resolve(ref(f"{host.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert host.requests == []
        assert len(two.requests) == 2


@pytest.mark.parametrize("mirrored", [403, 404])
@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (403, AccessDenied)])
async def test_where_every_place_refuses_the_host_has_the_last_word(
    mirrored: int, status: int, error: type[AssayError]
) -> None:
    async with ScriptedRegistry() as mirror, ScriptedRegistry() as host:
        always(mirrored)(mirror)
        always(status)(host)
        async with client(registry_mirrors=(f"{host.host}={mirror.host}",)) as registry:
            with pytest.raises(error, match=host.host):
                await registry.resolve(ref(f"{host.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())


@pytest.mark.guarantee(6)
@pytest.mark.parametrize("status", [404, 403])
async def test_where_a_mirror_is_away_that_the_host_refuses_is_no_answer(status: int) -> None:
    async with ScriptedRegistry() as mirror, ScriptedRegistry() as host:
        always(500)(mirror)
        always(status)(host)
        async with client(registry_mirrors=(f"{host.host}={mirror.host}",)) as registry:
            with pytest.raises(Unavailable, match=mirror.host):
                await registry.resolve(ref(f"{host.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())


@pytest.mark.guarantee(11)
async def test_a_mirror_may_not_lead_to_an_address_that_no_registry_may() -> None:
    async with ScriptedRegistry() as mirror, ScriptedRegistry() as host:
        host.put_image(APP, "1.0")
        mirror.put_image(APP, "1.0")
        async with client(registry_mirrors=(f"{host.host}={mirror.host}",), denied=(mirror.host,)) as registry:
            with pytest.raises(Unacceptable, match="AddressForbidden"):
                await registry.resolve(ref(f"{host.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert mirror.requests == []


# Evidence


@pytest.mark.parametrize("beside", ["", "application/vnd.cncf.notary.signature", "application/spdx+json"])
async def test_evidence_that_a_mirror_has_whole_is_not_asked_for_elsewhere(beside: str) -> None:
    async with ScriptedRegistry() as mirror, ScriptedRegistry() as host:
        put_signed(host)
        digest = put_signed(mirror)
        if beside:  # what counts for nothing here counts for nothing there
            mirror.put_referrer(APP, digest, b"another", artifact_type=beside)
        async with client(registry_mirrors=(f"{host.host}={mirror.host}",)) as registry:
            image = await registry.resolve(ref(f"{host.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]
        assert host.requests == []


def without_blobs(mirror: ScriptedRegistry) -> None:
    """A mirror that lists evidence and does not have it."""
    mirror.blobs.clear()


def half(mirror: ScriptedRegistry) -> None:
    """A mirror that has one artefact of two."""
    del mirror.blobs[digest_of(b"second")]


def garbled(mirror: ScriptedRegistry) -> None:
    """A mirror whose listing is no index."""

    async def answer(request: web.BaseRequest, standard: Answer) -> web.Response:
        if "/referrers/" in request.path:
            return web.Response(text="<html>", content_type="text/html")
        return await standard(request)

    mirror.around = answer


@pytest.mark.parametrize("trouble", [lambda mirror: mirror.manifests.clear(), without_blobs, half, garbled])
async def test_where_a_mirror_lacks_evidence_the_host_says_what_there_is(trouble: Trouble) -> None:
    budget, held = Budget(1 << 30), []

    async def count(request: web.BaseRequest, standard: Answer) -> web.Response:
        held.append(budget.held)
        return await standard(request)

    async with ScriptedRegistry() as mirror, ScriptedRegistry() as host:
        for server in (mirror, host):
            digest = put_signed(server)
            server.put_referrer(APP, digest, b"second")
        host.around = count
        async with client(registry_mirrors=(f"{host.host}={mirror.host}",), budget=budget) as registry:
            image = await registry.resolve(ref(f"{host.host}/{APP}@{digest}"), access=ANONYMOUS, deadline=soon())
            trouble(mirror)
            evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert sorted(artifact.content for artifact in evidence.artifacts) == [b"bundle", b"second"]
        assert evidence.problems == ()
        assert held[0] % FIRST_BYTES == 0  # room for what the host may answer, and none for what the mirror did


@pytest.mark.guarantee(6)
async def test_a_mirror_without_evidence_says_nothing_about_a_host_that_is_away() -> None:
    """*Cannot verify now*, and never *not verified*."""
    async with ScriptedRegistry() as mirror, ScriptedRegistry() as host:
        digest = mirror.put_image(APP, "1.0")
        always(500)(host)
        async with client(registry_mirrors=(f"{host.host}={mirror.host}",)) as registry:
            image = await registry.resolve(ref(f"{host.host}/{APP}@{digest}"), access=ANONYMOUS, deadline=soon())
            with pytest.raises(Unavailable):
                await registry.discover(image, access=ANONYMOUS, deadline=soon())


async def test_where_the_host_is_never_asked_every_mirror_must_have_answered_before_there_is_nothing() -> None:
    async with ScriptedRegistry() as one, ScriptedRegistry() as two, ScriptedRegistry() as host:
        digest = one.put_image(APP, "1.0")
        two.put_image(APP, "1.0")
        put_signed(host)
        mirrors = (f"{host.host}={one.host}", f"{host.host}={two.host}", f"{host.host}=!")
        async with client(registry_mirrors=mirrors) as registry:
            image = await registry.resolve(ref(f"{host.host}/{APP}@{digest}"), access=ANONYMOUS, deadline=soon())
            evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
            assert (evidence.artifacts, evidence.problems) == ((), ())
            for server, error in ((one, Unavailable), (two, AssayError)):
                always(500 if error is Unavailable else 403)(server)
                with pytest.raises(error):
                    await registry.discover(image, access=ANONYMOUS, deadline=soon())
                server.around = None
            put_signed(two)
            always(500)(one)
            evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
            assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]
        assert host.requests == []


async def test_who_may_see_the_host_does_not_open_it_for_another() -> None:
    """A mirror that holds nothing changes nothing about whose credentials open what."""
    users = Users({"dev": "right"}, bearer=False)
    async with ScriptedRegistry() as mirror, ScriptedRegistry(users=users) as host:
        put_signed(host)
        access = RegistryAccess((Credential(prefix=host.host, username="dev", password="right"),))
        async with client(registry_mirrors=(f"{host.host}={mirror.host}",)) as registry:
            await registry.resolve(ref(f"{host.host}/{APP}:1.0"), access=access, deadline=soon())
            with pytest.raises(AccessDenied):
                await registry.resolve(ref(f"{host.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
