"""Nothing from outside is taken without a bound (guarantee 10), and no content for another (guarantee 3)."""

from __future__ import annotations

import asyncio
import gzip
import json
import pickle

import pytest
from aiohttp import web

from controller.errors import AssayError, LimitExceeded, Unacceptable, Unavailable
from controller.model.access import ANONYMOUS
from controller.model.evidence import EvidenceSet
from controller.model.image import ResolvedImage
from controller.settings import Seconds
from tests.contract.registry_servers.clients import client, ref, soon
from tests.contract.registry_servers.scripted import (
    OCI_MANIFEST,
    Answer,
    ScriptedRegistry,
    Users,
    digest_of,
    encoded,
)

APP = "acme/app"


async def resolved(server: ScriptedRegistry, name: str = ":1.0", **settings: object) -> ResolvedImage:
    """What a fresh client makes of one reference."""
    async with client(**settings) as registry:
        return await registry.resolve(ref(f"{server.host}/{APP}{name}"), access=ANONYMOUS, deadline=soon())


async def discovered(server: ScriptedRegistry, **settings: object) -> EvidenceSet:
    """What a fresh client finds beside the image 1.0."""
    async with client(**settings) as registry:
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        return await registry.discover(image, access=ANONYMOUS, deadline=soon())


# Content and digest


@pytest.mark.guarantee(3)
async def test_other_content_for_a_digest_is_refused() -> None:
    async with ScriptedRegistry() as server:
        asked, other = server.put_image(APP, "1.0"), server.put_image(APP, "2.0", mark="other")
        server.manifests[APP, asked] = server.manifests[APP, other]
        with pytest.raises(Unacceptable) as raised:
            await resolved(server, f"@{asked}")
        assert raised.value.code == "DigestMismatch"
        # A lying header makes it no better.
        content = server.manifests[APP, other][0]

        async def lie(_: web.BaseRequest) -> web.Response:
            headers = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": asked}
            return web.Response(body=content, headers=headers)

        server.answer(f"/v2/{APP}/manifests/{asked}", lie)
        with pytest.raises(Unacceptable, match="DigestMismatch"):
            await resolved(server, f"@{asked}")


@pytest.mark.guarantee(3)
@pytest.mark.parametrize("header", [f"sha256:{'0' * 64}", f"sha512:{'0' * 128}", "nonsense"])
async def test_a_tag_whose_content_has_another_digest_than_said_is_refused(header: str) -> None:
    async with ScriptedRegistry() as server:
        server.put_image(APP, "1.0")
        content = server.manifests[APP, "1.0"][0]

        async def lie(_: web.BaseRequest) -> web.Response:
            headers = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": header}
            return web.Response(body=content, headers=headers)

        server.answer(f"/v2/{APP}/manifests/1.0", lie)
        with pytest.raises(Unacceptable, match="DigestMismatch") as raised:
            await resolved(server)
        assert header not in raised.value.message


@pytest.mark.guarantee(3)
async def test_a_digest_beside_a_tag_decides() -> None:
    async with ScriptedRegistry() as server:
        pinned = server.put_image(APP, "1.0")
        server.put_image(APP, "1.0", mark="moved")
        assert str((await resolved(server, f":1.0@{pinned}")).digest) == pinned


@pytest.mark.guarantee(3)
async def test_other_content_for_an_artefact_is_a_problem_and_never_evidence() -> None:
    for what in ("manifest", "blob", "longer", "shorter"):
        async with ScriptedRegistry() as server:
            digest = server.put_image(APP, "1.0")
            artefact = server.put_referrer(APP, digest, b"bundle")
            content = digest_of(b"bundle")
            if what == "manifest":
                other = server.put_referrer(APP, digest, b"another")
                server.manifests[APP, artefact] = server.manifests.pop((APP, other))
            else:
                server.blobs[content] = {"blob": b"BUNDLE", "longer": b"bundle!", "shorter": b""}[what]
            evidence = await discovered(server)
            assert b"BUNDLE" not in {found.content for found in evidence.artifacts}
            assert all(digest_of(found.content) == str(found.digest) for found in evidence.artifacts)
            assert "DigestMismatch" in {problem.code for problem in evidence.problems}


# Two readings (CVE-2021-41190)


@pytest.mark.parametrize(
    ("change", "content_type", "code"),
    [
        ({"manifests": []}, OCI_MANIFEST, "ManifestAmbiguous"),
        ({"Manifests": []}, OCI_MANIFEST, "ManifestAmbiguous"),
        ({}, "application/vnd.oci.image.index.v1+json", "ManifestAmbiguous"),
        ({}, "application/vnd.docker.distribution.manifest.v2+json", "ManifestAmbiguous"),
        ({}, "application/json", "ManifestUnsupported"),
        ({}, "application/vnd.docker.distribution.manifest.v1+prettyjws", "SchemaOneUnsupported"),
        ({"schemaVersion": 1}, OCI_MANIFEST, "SchemaOneUnsupported"),
        ({"schemaVersion": True}, OCI_MANIFEST, "ManifestMalformed"),
    ],
)
async def test_a_manifest_with_two_readings_is_refused(change: dict[str, object], content_type: str, code: str) -> None:
    async with ScriptedRegistry() as server:
        server.put_image(APP, "1.0")
        value = json.loads(server.manifests[APP, "1.0"][0]) | change
        server.put_manifest(APP, value, media_type=content_type, tag="1.0")
        with pytest.raises(Unacceptable) as raised:
            await resolved(server)
        assert raised.value.code == code


# Bounds


async def test_a_manifest_past_its_bound_is_refused_whether_or_not_it_says_its_length() -> None:
    async with ScriptedRegistry() as server:
        server.put_image(APP, "1.0")
        for chunked in (False, True):

            async def large(_: web.BaseRequest, chunked: bool = chunked) -> web.Response:
                response = web.Response(body=b" " * 5000, headers={"Content-Type": OCI_MANIFEST})
                if chunked:
                    response.enable_chunked_encoding()
                return response

            server.answer(f"/v2/{APP}/manifests/1.0", large)
            with pytest.raises(LimitExceeded) as raised:
                await resolved(server, registry_max_manifest_bytes=4096)
            assert raised.value.setting == "registry_max_manifest_bytes"


async def test_an_answer_that_says_it_is_too_long_is_not_waited_for() -> None:
    async def promise(request: web.BaseRequest) -> web.Response:
        response = web.StreamResponse(headers={"Content-Type": OCI_MANIFEST, "Content-Length": str(10**12)})
        await response.prepare(request)
        await asyncio.sleep(3600)
        return web.Response()

    async with ScriptedRegistry() as server:
        server.answer(f"/v2/{APP}/manifests/1.0", promise)
        with pytest.raises(LimitExceeded, match="registry_max_manifest_bytes"):
            await resolved(server)


async def _endless(request: web.BaseRequest) -> web.Response:
    response = web.StreamResponse(headers={"Content-Type": OCI_MANIFEST})
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


async def test_an_endless_answer_ends_at_the_bound() -> None:
    async with ScriptedRegistry() as server:
        server.answer(f"/v2/{APP}/manifests/1.0", _endless)
        with pytest.raises(LimitExceeded, match="registry_max_manifest_bytes"):
            await resolved(server)


async def test_an_endless_error_ends_too() -> None:
    async def endless(request: web.BaseRequest) -> web.Response:
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        while True:
            await response.write(b"SECRET-FOREIGN-TEXT" * 1000)

    async with ScriptedRegistry() as server:
        server.answer(f"/v2/{APP}/manifests/1.0", endless)
        with pytest.raises(Unavailable, match="answered 500") as raised:
            await resolved(server)
        assert "SECRET" not in str(raised.value)


@pytest.mark.guarantee(18)
@pytest.mark.parametrize("where", ["before", "headers", "body"])
async def test_a_slow_answer_ends_at_the_bound_on_a_request(where: str) -> None:
    async def slow(request: web.BaseRequest) -> web.Response:
        if where == "before":
            await asyncio.sleep(3600)
        response = web.StreamResponse(headers={"Content-Type": OCI_MANIFEST})
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(3600 if where == "headers" else 0.05)

    async with ScriptedRegistry() as server:
        server.answer(f"/v2/{APP}/manifests/1.0", slow)
        with pytest.raises(Unavailable) as raised:
            await resolved(server, registry_request_timeout=Seconds(0.4))
        assert raised.value.code == "RegistryTimeout"


async def test_a_compressed_answer_is_neither_asked_for_nor_unfolded() -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)

    async def squeeze(_: web.BaseRequest) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Type": OCI_MANIFEST, "Content-Encoding": "gzip"})

    async with ScriptedRegistry() as server:
        server.answer(f"/v2/{APP}/manifests/1.0", squeeze)
        with pytest.raises(Unacceptable) as raised:
            await resolved(server)
        assert raised.value.code == "ContentEncodingRefused"
        assert all("Accept-Encoding" not in seen.headers for seen in server.requests)


async def test_a_ring_of_redirects_ends() -> None:
    async with ScriptedRegistry() as server:
        server.status(f"/v2/{APP}/manifests/1.0", 307, Location="1.0")
        with pytest.raises(LimitExceeded, match="registry_max_redirects"):
            await resolved(server, registry_max_redirects=3)
        assert len(server.requests) == 4


async def test_more_artefacts_than_the_bound_fail_the_whole_set() -> None:
    async with ScriptedRegistry(page_size=4) as server:
        digest = server.put_image(APP, "1.0")
        for number in range(10):
            server.put_referrer(APP, digest, b"bundle %d" % number)
        assert len((await discovered(server, registry_max_referrers=10)).artifacts) == 10
        with pytest.raises(LimitExceeded) as raised:
            await discovered(server, registry_max_referrers=9)
        assert raised.value.setting == "registry_max_referrers"


async def test_layers_count_towards_the_bound() -> None:
    async with ScriptedRegistry() as server:
        digest = server.put_image(APP, "1.0")
        for number in range(4):
            server.put_signature(APP, digest, b"payload", {"dev.cosignproject.cosign/signature": str(number)})
        assert len((await discovered(server, registry_max_referrers=4)).artifacts) == 4
        with pytest.raises(LimitExceeded, match="registry_max_referrers"):
            await discovered(server, registry_max_referrers=3)


async def test_more_bytes_than_the_bound_fail_the_whole_set() -> None:
    async with ScriptedRegistry() as server:
        digest = server.put_image(APP, "1.0")
        for number in range(4):
            server.put_referrer(APP, digest, b"%d" % number * 5000)
        with pytest.raises(LimitExceeded) as raised:
            await discovered(server, registry_max_evidence_bytes=15000)
        assert raised.value.setting == "registry_max_evidence_bytes"


async def test_a_blob_past_its_bound_is_a_problem_before_it_is_fetched() -> None:
    async with ScriptedRegistry() as server:
        digest = server.put_image(APP, "1.0")
        server.put_referrer(APP, digest, b"x" * 5000)
        server.put_referrer(APP, digest, b"small")
        evidence = await discovered(server, registry_max_blob_bytes=4096)
        assert [found.content for found in evidence.artifacts] == [b"small"]
        assert ["registry_max_blob_bytes" in str(problem) for problem in evidence.problems] == [True]
        assert len(server.seen("/blobs/")) == 1


async def test_pages_without_end_end() -> None:
    async with ScriptedRegistry() as server:
        digest = server.put_image(APP, "1.0")
        path = f"/v2/{APP}/referrers/{digest}"

        async def page(request: web.BaseRequest) -> web.Response:
            number = int(request.query.get("n", "0")) + 1
            headers = {
                "Content-Type": "application/vnd.oci.image.index.v1+json",
                "Link": f'<{path}?n={number}>; rel="next"',
            }
            return web.Response(body=encoded({"schemaVersion": 2, "manifests": []}), headers=headers)

        server.answer(path, page)
        evidence = await discovered(server)
        assert [problem.code for problem in evidence.problems] == ["LimitExceeded"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "TokenMalformed"),
        (b"[]", "TokenMalformed"),
        (b"{}", "TokenMalformed"),
        (b'{"token": ""}', "TokenMalformed"),
        (b'{"token": 5}', "TokenMalformed"),
        (b'{"token": "a\\r\\nX-Injected: b"}', "TokenMalformed"),
        (b'{"token": "a b"}', "TokenMalformed"),
        (b'{"token": "\\u00e9"}', "TokenMalformed"),
        (b'{"token": "a", "expires_in": "soon"}', "TokenMalformed"),
        (b"[" * 60000, "TokenMalformed"),
        (b'{"token": "' + b"a" * 40000 + b'"}', "LimitExceeded"),
        (b" " * 70000, "LimitExceeded"),
    ],
)
async def test_a_token_that_cannot_be_used_is_refused(body: bytes, code: str) -> None:
    async def tell(_: web.BaseRequest) -> web.Response:
        return web.Response(body=body)

    async with ScriptedRegistry(users=Users(anonymous=True)) as server:
        server.answer("/token", tell)
        with pytest.raises(Unacceptable) as raised:
            await resolved(server)
        assert raised.value.code == code
        assert not any("Authorization" in seen.headers for seen in server.requests)


async def test_both_names_of_a_token_are_known_and_odd_lifetimes_do_no_harm() -> None:
    for answer in (
        {"access_token": "token-x"},
        {"token": "token-x", "expires_in": -1},
        {"token": "token-x", "expires_in": 0},
    ):

        async def tell(_: web.BaseRequest, answer: dict[str, object] = answer) -> web.Response:
            return web.json_response(answer)

        async with ScriptedRegistry(users=Users(anonymous=True)) as server:
            digest = server.put_image(APP, "1.0")
            server.tokens["token-x"] = APP
            server.answer("/token", tell)
            assert str((await resolved(server)).digest) == digest


async def test_problems_are_kept_without_what_led_to_them() -> None:
    """They are cached with the set for long, and travel to worker processes."""
    async with ScriptedRegistry() as server:
        digest = server.put_image(APP, "1.0")
        artefact = server.put_referrer(APP, digest, b"bundle")
        server.manifests[APP, artefact] = (b"not the artefact", OCI_MANIFEST)
        evidence = await discovered(server)
        (problem,) = evidence.problems
        assert (problem.__traceback__, problem.__cause__, problem.__context__) == (None, None, None)
        assert str(pickle.loads(pickle.dumps(evidence)).problems[0]) == str(problem)  # noqa: S301 - our own bytes


@pytest.mark.guarantee(12)
async def test_no_message_holds_what_a_registry_or_realm_said() -> None:
    """Every answer with a status of its own, at every place: foreign text and secrets stay out of what is shown."""

    for status in (200, 204, 300, 302, 400, 401, 402, 403, 404, 409, 410, 418, 429, 451, 500, 502, 503, 504):
        for path in (f"/v2/{APP}/manifests/1.0", "/token"):
            async with ScriptedRegistry(users=Users({"dev": "right"})) as server:
                server.answer(path, _speak(status))
                with pytest.raises(AssayError) as raised:
                    await resolved(server)
                assert "FOREIGN" not in str(raised.value)


def _speak(status: int) -> Answer:
    async def speak(_: web.BaseRequest) -> web.Response:
        return web.Response(
            status=status,
            text="FOREIGN",
            headers={
                "X": "FOREIGN",
                "Location": "https://169.254.169.254/FOREIGN",
                "WWW-Authenticate": "FOREIGN x=FOREIGN",
            },
        )

    return speak
