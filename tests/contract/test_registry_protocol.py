"""The distribution protocol's corners, against a registry whose answers the test decides."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from controller.errors import AccessDenied, DeadlineExceeded, Unavailable
from controller.model.access import ANONYMOUS, Credential, RegistryAccess
from controller.model.deadline import Deadline
from controller.model.evidence import ArtifactKind
from tests.contract.registry_servers.certificates import Authority
from tests.contract.registry_servers.clients import Monotonic, client, ref, soon
from tests.contract.registry_servers.scripted import (
    BUNDLE,
    EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
    SIMPLE_SIGNING,
    Answer,
    Around,
    ScriptedRegistry,
    Users,
    descriptor,
    digest_of,
    encoded,
)

APP = "acme/app"
OTHER = digest_of(b"another image")
LAYER = descriptor(b"payload", SIMPLE_SIGNING)
DSSE = "application/vnd.dsse.envelope.v1+json"


def access(registry: ScriptedRegistry, *passwords: str, user: str = "dev") -> RegistryAccess:
    """Credentials for the host, the first the most specific one."""
    prefixes = (f"{registry.host}/{APP}", f"{registry.host}/acme", registry.host)
    return RegistryAccess(
        tuple(
            Credential(prefix=prefix, username=user, password=word)
            for prefix, word in zip(prefixes, passwords, strict=False)
        )
    )


# Authentication


async def test_a_token_is_asked_for_once_and_used_for_everything_of_the_repository() -> None:
    async with ScriptedRegistry(users=Users({"dev": "right"}), delay=0.1) as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        server.put_referrer(APP, digest, b"bundle")
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=access(server, "right"), deadline=soon())
        evidence = await registry.discover(image, access=access(server, "right"), deadline=soon())
        assert str(image.digest) == digest
        assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]
        (asked,) = server.seen("/token")
        assert asked.query == {"service": ["scripted"], "scope": [f"repository:{APP}:pull"]}
        assert server.round_trips() == 6  # the manifest, refused; the token; then the four of an anonymous registry


async def test_the_second_repository_of_a_host_is_not_refused_first() -> None:
    async with ScriptedRegistry(users=Users(anonymous=True)) as server, client() as registry:
        for repository in (APP, "acme/other"):
            server.put_image(repository, "1.0")
            await registry.resolve(ref(f"{server.host}/{repository}:1.0"), access=ANONYMOUS, deadline=soon())
        assert [seen.path for seen in server.requests] == [
            f"/v2/{APP}/manifests/1.0",
            "/token",
            f"/v2/{APP}/manifests/1.0",
            "/token",
            "/v2/acme/other/manifests/1.0",
        ]


async def test_a_token_is_renewed_before_it_ends_and_when_it_is_refused() -> None:
    monotonic = Monotonic()
    users = Users(anonymous=True, expires_in=300)
    async with ScriptedRegistry(users=users) as server, client(monotonic=monotonic) as registry:
        server.put_image(APP, "1.0")
        for added, revoke, tokens in ((0, False, 1), (0, False, 1), (299, False, 2), (299, True, 3)):
            monotonic.added = added
            if revoke:
                server.tokens = {f"revoked-{name}": "" for name in server.tokens}
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            assert len(server.seen("/token")) == tokens


async def test_basic_credentials_are_sent_where_the_registry_takes_them() -> None:
    async with ScriptedRegistry(users=Users({"dev": "right"}, bearer=False)) as server, client() as registry:
        server.put_image(APP, "1.0")
        await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=access(server, "right"), deadline=soon())
        assert [seen.headers.get("Authorization") for seen in server.requests] == [None, "Basic ZGV2OnJpZ2h0"]


async def test_an_identity_token_is_exchanged_by_post() -> None:
    async with ScriptedRegistry(users=Users({"id": "identity"})) as server, client() as registry:
        server.put_image(APP, "1.0")
        credential = Credential(prefix=server.host, username="", password="", identity_token="identity")
        await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=RegistryAccess((credential,)), deadline=soon())
        (asked,) = server.seen("/token")
        assert (asked.method, asked.query, "Authorization" in asked.headers) == ("POST", {}, False)
        assert b"refresh_token=identity" in asked.body


@pytest.mark.parametrize("bearer", [True, False])
async def test_wrong_credentials_are_denied_without_being_quoted(bearer: bool) -> None:
    async with ScriptedRegistry(users=Users({"dev": "right"}, bearer=bearer)) as server, client() as registry:
        server.put_image(APP, "1.0")
        with pytest.raises(AccessDenied) as raised:
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=access(server, "HUSH-HUSH"), deadline=soon())
        assert raised.value.code == "AccessDenied"
        assert "HUSH" not in f"{raised.value!r} {raised.value.__cause__!r}"
        assert f"with the credentials for {server.host}/{APP}" in raised.value.message
        with pytest.raises(AccessDenied, match="without credentials"):
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())


async def test_credentials_are_tried_in_order_and_the_one_that_opens_is_kept() -> None:
    async with ScriptedRegistry(users=Users({"dev": "right"}, bearer=False)) as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        server.put_referrer(APP, digest, b"bundle")
        known = access(server, "old", "right")
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=known, deadline=soon())
        evidence = await registry.discover(image, access=known, deadline=soon())
        assert len(evidence.artifacts) == 1
        assert [seen.headers.get("Authorization") for seen in server.requests[:3]] == [
            None,
            "Basic ZGV2Om9sZA==",
            "Basic ZGV2OnJpZ2h0",
        ]
        assert {seen.headers.get("Authorization") for seen in server.requests[3:]} == {"Basic ZGV2OnJpZ2h0"}


async def test_evidence_is_looked_for_with_the_credential_that_opens_the_repository() -> None:
    """Discovery alone, as after a restart: asked with the wrong one of two credentials, all places would look empty."""
    async with ScriptedRegistry(users=Users({"dev": "right"}, bearer=False)) as server:
        digest = server.put_image(APP, "1.0")
        server.put_referrer(APP, digest, b"bundle")

        async def hide(request: web.BaseRequest, standard: Answer) -> web.Response:
            answer = await standard(request)
            return web.Response(status=404) if answer.status == 401 and "Authorization" in request.headers else answer

        server.around = hide  # many registries say 404 for what one may not see
        known = access(server, "old", "right")
        async with client() as registry:
            image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=known, deadline=soon())
        async with client() as fresh:
            evidence = await fresh.discover(image, access=known, deadline=soon())
        assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]


async def test_a_credential_that_stops_opening_the_repository_is_not_held_to() -> None:
    users = Users({"dev": "first"}, bearer=False)
    async with ScriptedRegistry(users=users) as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        server.put_referrer(APP, digest, b"bundle")
        known = access(server, "first", "second")
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=known, deadline=soon())
        users.passwords = {"dev": "second"}
        with pytest.raises(AccessDenied):
            await registry.discover(image, access=known, deadline=soon())
        evidence = await registry.discover(image, access=known, deadline=soon())
        assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]


async def test_a_credential_is_not_sent_for_an_image_that_it_does_not_cover() -> None:
    async with ScriptedRegistry(users=Users({"dev": "right"}, anonymous=True)) as server, client() as registry:
        server.put_image("other/app", "1.0")
        credential = Credential(prefix=f"{server.host}/acme", username="dev", password="right")
        await registry.resolve(
            ref(f"{server.host}/other/app:1.0"), access=RegistryAccess((credential,)), deadline=soon()
        )
        assert not any(seen.headers.get("Authorization", "").startswith("Basic") for seen in server.requests)


# Discovery


async def test_a_cold_signed_image_takes_four_round_trips_in_a_row() -> None:
    for referrers in (True, False):
        async with ScriptedRegistry(referrers=referrers, delay=0.1) as server, client() as registry:
            digest = server.put_image(APP, "1.0")
            for number in range(3):
                server.put_referrer(APP, digest, b"bundle %d" % number)
            server.put_signature(APP, digest, b"payload", {"dev.cosignproject.cosign/signature": "one"})
            image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
            assert len(evidence.artifacts) == 4
            assert server.round_trips() == 4


async def test_pages_of_referrers_are_followed() -> None:
    async with ScriptedRegistry(page_size=3) as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        for number in range(10):
            server.put_referrer(APP, digest, b"bundle %d" % number)
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert {artifact.content for artifact in evidence.artifacts} == {b"bundle %d" % number for number in range(10)}


@pytest.mark.parametrize("status", [400, 404, 405, 406, 501])
async def test_a_registry_without_the_referrers_api_is_read_by_its_fallback_tag(status: int) -> None:
    async with ScriptedRegistry(referrers=False) as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        server.put_referrer(APP, digest, b"bundle")
        server.status(f"/v2/{APP}/referrers/{digest}", status)
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert [artifact.content for artifact in evidence.artifacts] == [b"bundle"]
        assert evidence.problems == ()


async def test_the_manifest_says_what_an_artefact_is_and_not_the_index_entry() -> None:
    async with ScriptedRegistry(referrers=False) as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        server.put_referrer(APP, digest, b"bundle", listed_type=EMPTY)
        server.put_referrer(
            APP, digest, b"sbom", artifact_type="application/spdx+json", listed_type=BUNDLE, layer_type=BUNDLE
        )
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert [(artifact.kind, artifact.content) for artifact in evidence.artifacts] == [
            (ArtifactKind.BUNDLE, b"bundle")
        ]
        assert [problem.code for problem in evidence.problems] == ["Unsigned"]
        assert "an SPDX document without a signature" in evidence.problems[0].message


@pytest.mark.parametrize(
    "artifact_type",
    [
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/vnd.dev.sigstore.bundle.v0.2+json",
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "application/vnd.dev.sigstore.bundle+json; version=0.2",
    ],
)
async def test_every_spelling_of_the_bundle_type_is_known(artifact_type: str) -> None:
    async with ScriptedRegistry() as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        server.put_referrer(APP, digest, b"bundle", artifact_type=artifact_type)
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert [artifact.media_type for artifact in evidence.artifacts] == [artifact_type]


@pytest.mark.guarantee(1)
async def test_an_artefact_about_another_image_is_a_problem_and_never_evidence() -> None:
    async with ScriptedRegistry() as server, client() as registry:
        digest, other = server.put_image(APP, "1.0"), server.put_image(APP, "2.0", mark="other")
        listed = server.put_referrer(APP, digest, b"bundle", about=other)
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert evidence.artifacts == ()
        assert [(problem.code, listed in problem.message) for problem in evidence.problems] == [
            ("SubjectMismatch", True)
        ]


async def test_signatures_over_the_same_payload_are_each_kept_and_fetched_once() -> None:
    async with ScriptedRegistry() as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        for signature in ("one", "two"):
            server.put_signature(APP, digest, b"payload", {"dev.cosignproject.cosign/signature": signature})
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert [
            dict(artifact.annotations)["dev.cosignproject.cosign/signature"] for artifact in evidence.artifacts
        ] == [
            "one",
            "two",
        ]
        assert len(server.seen("/blobs/")) == 1


def _late(part: str) -> Around:
    async def late(request: web.BaseRequest, standard: Answer) -> web.Response:
        await asyncio.sleep(0.03 if part in request.path else 0)
        return await standard(request)

    return late


@pytest.mark.guarantee(7)
async def test_the_set_is_the_same_whatever_answers_first() -> None:
    hashes, locations = set(), set()
    for slow in ("/referrers/", ".sig", ".att", "none"):
        async with ScriptedRegistry() as server, client() as registry:
            digest = server.put_image(APP, "1.0")
            server.put_referrer(APP, digest, b"bundle")
            server.put_referrer(APP, digest, b"sbom", artifact_type="application/spdx+json")
            server.put_signature(APP, digest, b"payload", {"dev.cosignproject.cosign/signature": "one"})
            server.around = _late(slow)
            image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
            hashes.add(evidence.hash)
            locations.add(tuple(a.location for a in evidence.artifacts) + tuple(str(p) for p in evidence.problems))
    assert (len(hashes), len(locations)) == (1, 1)


@pytest.mark.guarantee(6)
@pytest.mark.parametrize("place", ["referrers", "fallback", "sig", "att", "artefact", "content"])
async def test_half_an_answer_is_none(place: str) -> None:
    async with ScriptedRegistry() as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        artefact = server.put_referrer(APP, digest, b"bundle")
        content = json.loads(server.manifests[APP, artefact][0])["layers"][0]["digest"]
        tag = digest.replace(":", "-")
        path = {
            "referrers": f"referrers/{digest}",
            "fallback": f"manifests/{tag}",
            "sig": f"manifests/{tag}.sig",
            "att": f"manifests/{tag}.att",
            "artefact": f"manifests/{artefact}",
            "content": f"blobs/{content}",
        }[place]
        server.status(f"/v2/{APP}/{path}", 503)
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        with pytest.raises(Unavailable) as raised:
            await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert raised.value.code == "RegistryUnavailable"
        server.status(f"/v2/{APP}/{path}", 403)
        with pytest.raises(AccessDenied):
            await registry.discover(image, access=ANONYMOUS, deadline=soon())


@pytest.mark.parametrize(
    ("suffix", "media_type", "change", "code"),
    [
        (".sig", OCI_MANIFEST, {"subject": {"mediaType": OCI_MANIFEST, "digest": OTHER, "size": 1}}, "SubjectMismatch"),
        (".sig", OCI_INDEX, {"manifests": []}, "ArtifactMalformed"),
        (".sig", OCI_MANIFEST, {"layers": [LAYER | {"mediaType": DSSE}]}, "UnsupportedArtifact"),
        (".att", OCI_MANIFEST, {"layers": [LAYER]}, "UnsupportedArtifact"),
        ("", OCI_MANIFEST, {}, "ReferrersMalformed"),
    ],
)
async def test_a_tag_that_holds_something_else_is_a_problem_and_never_evidence(
    suffix: str, media_type: str, change: dict[str, object], code: str
) -> None:
    async with ScriptedRegistry(referrers=False) as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        server.put_blob(b"payload")
        value: dict[str, object] = {"schemaVersion": 2, "config": LAYER | {"mediaType": EMPTY}, "layers": [LAYER]}
        value = {"schemaVersion": 2} | change if media_type == OCI_INDEX else value | change
        server.put_manifest(APP, value, media_type=media_type, tag=digest.replace(":", "-") + suffix)
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert (evidence.artifacts, [problem.code for problem in evidence.problems]) == ((), [code])


async def test_an_artefact_that_is_listed_and_missing_is_a_problem() -> None:
    async with ScriptedRegistry() as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        artefact = server.put_referrer(APP, digest, b"bundle")
        del server.manifests[APP, artefact]
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert (evidence.artifacts, [problem.code for problem in evidence.problems]) == ((), ["NotFound"])


async def test_a_referrers_answer_that_is_no_index_is_a_problem_and_hides_nothing_else() -> None:
    async with ScriptedRegistry() as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        server.put_signature(APP, digest, b"payload", {"dev.cosignproject.cosign/signature": "one"})

        async def page(_: web.BaseRequest) -> web.Response:
            return web.Response(text="<html>SECRET-FOREIGN-TEXT</html>", content_type="text/html")

        server.answer(f"/v2/{APP}/referrers/{digest}", page)
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert len(evidence.artifacts) == 1
        assert [problem.code for problem in evidence.problems] == ["ReferrersMalformed"]
        assert "SECRET" not in str(evidence.problems)


# Trouble


@pytest.mark.guarantee(19)
async def test_retry_after_is_obeyed_by_host() -> None:
    monotonic = Monotonic()
    async with ScriptedRegistry() as server, client(monotonic=monotonic) as registry:
        server.put_image(APP, "1.0")
        server.status(f"/v2/{APP}/manifests/1.0", 429, Retry_After="120")
        for _ in range(3):
            with pytest.raises(Unavailable) as raised:
                await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            assert raised.value.code == "RegistryThrottled"
            assert 110 < (raised.value.retry_after or 0) <= 120
        assert len(server.requests) == 1
        server.answers.clear()
        monotonic.added = 121
        await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())


async def test_a_registry_that_is_down_is_called_that_and_then_left_alone() -> None:
    monotonic = Monotonic()
    async with ScriptedRegistry() as server:
        digest = server.put_image(APP, "1.0")
        host, port = server.host, server.port
        assert digest
    async with client(monotonic=monotonic, registry_circuit_failures=3) as registry:
        codes = []
        for _ in range(5):
            with pytest.raises(Unavailable) as raised:
                await registry.resolve(ref(f"{host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            codes.append(raised.value.code)
        assert codes == ["RegistryUnavailable"] * 3 + ["CircuitOpen"] * 2
        assert host in raised.value.message
        monotonic.added = 60
        with pytest.raises(Unavailable) as raised:
            await registry.resolve(ref(f"{host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert raised.value.code == "RegistryUnavailable"  # one probe
        with pytest.raises(Unavailable) as raised:
            await registry.resolve(ref(f"{host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert raised.value.code == "CircuitOpen"
    assert port


async def test_a_registry_that_is_back_is_asked_again_after_the_pause() -> None:
    monotonic = Monotonic()
    async with ScriptedRegistry() as server, client(monotonic=monotonic, registry_circuit_failures=1) as registry:
        server.put_image(APP, "1.0")

        async def drop(request: web.BaseRequest) -> web.Response:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        server.answer(f"/v2/{APP}/manifests/1.0", drop)
        for code in ("RegistryUnavailable", "CircuitOpen"):
            with pytest.raises(Unavailable) as raised:
                await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            assert raised.value.code == code
        server.answers.clear()
        monotonic.added = 60
        for _ in range(2):
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())


async def test_what_is_not_http_is_refused_and_not_quoted() -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SECRET-FOREIGN-TEXT\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    async with server, client() as registry:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(Exception, match="RegistryAnswerMalformed") as raised:
            await registry.resolve(ref(f"{host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert "SECRET" not in str(raised.value)


@pytest.mark.guarantee(18)
async def test_a_callers_deadline_is_kept_and_the_work_goes_on() -> None:
    async with ScriptedRegistry(delay=0.3) as server, client() as registry:
        server.put_image(APP, "1.0")
        patient = asyncio.create_task(
            registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        )
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded):
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=Deadline.after(0.05))
        assert (await patient).reference.tag == "1.0"
        assert len(server.requests) == 1


@pytest.mark.guarantee(19)
async def test_many_callers_make_one_request_and_each_gets_its_own_reference() -> None:
    async with ScriptedRegistry(delay=0.05) as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        texts = [f"{server.host}/{APP}:1.0", f"127.0.0.1:0{server.port}/{APP}:1.0"] * 20
        images = await asyncio.gather(
            *(registry.resolve(ref(text), access=ANONYMOUS, deadline=soon()) for text in texts)
        )
        assert [image.reference.text for image in images] == texts
        assert {str(image.digest) for image in images} == {digest}
        assert len(server.requests) == 1


async def test_callers_with_other_credentials_never_share_an_answer() -> None:
    async with ScriptedRegistry(users=Users({"dev": "right"}), delay=0.05) as server, client() as registry:
        server.put_image(APP, "1.0")
        reference = ref(f"{server.host}/{APP}:1.0")
        outcomes = await asyncio.gather(
            registry.resolve(reference, access=access(server, "right"), deadline=soon()),
            registry.resolve(reference, access=access(server, "wrong"), deadline=soon()),
            registry.resolve(reference, access=ANONYMOUS, deadline=soon()),
            return_exceptions=True,
        )
        assert [isinstance(outcome, AccessDenied) for outcome in outcomes] == [False, True, True]


async def test_a_tag_that_moves_gives_each_time_the_digest_of_its_content() -> None:
    async with ScriptedRegistry() as server, client() as registry:
        reference = ref(f"{server.host}/{APP}:1.0")
        first = server.put_image(APP, "1.0")
        assert str((await registry.resolve(reference, access=ANONYMOUS, deadline=soon())).digest) == first
        second = server.put_image(APP, "1.0", mark="moved")
        assert str((await registry.resolve(reference, access=ANONYMOUS, deadline=soon())).digest) == second != first


# TLS


async def test_a_host_is_trusted_by_its_own_authority_and_no_other_host_is(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server_context("127.0.0.1")
    async with ScriptedRegistry(tls=tls) as server, ScriptedRegistry(tls=tls) as other:
        for one in (server, other):
            one.put_image(APP, "1.0")
        async with client(registry_ca_files=(f"{server.host}={authority.file}",)) as registry:
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        async with client(
            registry_ca_files=(f"{server.host}={authority.file}", f"{other.host}={Authority(tmp_path / 'b').file}")
        ) as registry:
            with pytest.raises(Unavailable, match="has no certificate that is trusted here"):
                await registry.resolve(ref(f"{other.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with ScriptedRegistry(tls=authority.server_context("registry.example")) as server:
        server.put_image(APP, "1.0")
        async with client(registry_ca_files=(f"{server.host}={authority.file}",)) as registry:
            with pytest.raises(Unavailable, match="has no certificate that is trusted here"):
                await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())


async def test_an_empty_listing_is_no_evidence() -> None:
    async with ScriptedRegistry(referrers=False) as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        server.put_manifest(
            APP, encoded({"schemaVersion": 2, "manifests": []}), media_type=OCI_INDEX, tag=digest.replace(":", "-")
        )
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        assert (evidence.artifacts, evidence.problems) == ((), ())
