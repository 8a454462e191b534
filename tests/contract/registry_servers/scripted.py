"""A registry on loopback whose every answer a test decides: what real ones do on bad days, and hostile ones always.

It holds manifests and blobs and serves them as the distribution specification says, until a test puts another answer in
the way. It writes down each request with what it carried, and in which order requests began and ended.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs

from aiohttp import web

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"

Answer = Callable[[web.BaseRequest], Awaitable[web.Response]]
Around = Callable[[web.BaseRequest, Answer], Awaitable[web.Response]]


def digest_of(content: bytes) -> str:
    """`sha256:<hex>` of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    """The descriptor of some bytes."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


def encoded(value: Any) -> bytes:
    """JSON as a registry would store it."""
    return json.dumps(value).encode()


@dataclass
class Seen:
    """One request as it arrived. `began` and `ended` are places in the one order of all begins and ends."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    began: int
    ended: int = -1


@dataclass
class Users:
    """Who may read: user name to password. With `realm` set the registry hands out tokens there, else takes Basic."""

    passwords: Mapping[str, str] = field(default_factory=dict)
    anonymous: bool = False
    bearer: bool = True
    expires_in: int = 300


class ScriptedRegistry:
    """The registry. `async with` starts and stops it; `host` is `127.0.0.1:<port>`."""

    def __init__(
        self,
        *,
        referrers: bool = True,
        users: Users | None = None,
        tls: ssl.SSLContext | None = None,
        delay: float = 0.0,
        page_size: int = 1000,
    ) -> None:
        self.referrers = referrers
        self.users = users
        self.tls = tls
        self.delay = delay
        self.page_size = page_size
        self.requests: list[Seen] = []
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.answers: dict[str, Answer] = {}
        self.around: Around | None = None  # stands before every answer that is not in `answers`
        self.realm = ""
        self.tokens: dict[str, str] = {}
        self._order = 0

    async def __aenter__(self) -> Self:
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if self.tls else 'http'}://{self.host}"
        self.realm = self.realm or f"{self.url}/token"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    # What it holds

    def put_manifest(self, repository: str, value: Any, *, media_type: str = OCI_MANIFEST, tag: str = "") -> str:
        """Hold a manifest (a value, or bytes as they are) under its digest and a tag. Returns the digest."""
        content = value if isinstance(value, bytes) else encoded(value)
        for name in (digest_of(content), tag):
            if name:
                self.manifests[repository, name] = (content, media_type)
        return digest_of(content)

    def put_blob(self, content: bytes) -> bytes:
        """Hold a blob; returns it."""
        self.blobs[digest_of(content)] = content
        return content

    def put_image(self, repository: str, tag: str = "latest", *, mark: str = "") -> str:
        """Hold an image, another one for each `mark`. Returns its digest."""
        config = self.put_blob(encoded({"architecture": "amd64", "os": "linux", "mark": mark}))
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [],
        }
        return self.put_manifest(repository, manifest, tag=tag)

    def put_referrer(
        self,
        repository: str,
        subject: str,
        content: bytes,
        *,
        artifact_type: str = BUNDLE,
        about: str = "",
        listed_type: str = "",
        layer_type: str = "",
    ) -> str:
        """Hold an artefact listed for `subject`, about `about` (the subject if empty). Returns its digest.

        `listed_type` is the index entry's artifactType, `layer_type` the type of the layer (else both `artifact_type`).
        Without the referrers API the fallback tag lists it.
        """
        self.put_blob(content)
        empty = self.put_blob(b"{}")
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": descriptor(empty, EMPTY),
            "layers": [descriptor(content, layer_type or artifact_type)],
            "subject": {"mediaType": OCI_MANIFEST, "digest": about or subject, "size": 1},
        }
        raw = encoded(manifest)
        self.put_manifest(repository, raw)
        entry = descriptor(raw, OCI_MANIFEST, artifactType=listed_type or artifact_type)
        listing = self._listing(repository, subject)
        listing["manifests"].append(entry)
        self.put_manifest(repository, listing, media_type=OCI_INDEX, tag=self._listing_name(subject))
        return digest_of(raw)

    def put_signature(self, repository: str, image: str, content: bytes, annotations: Mapping[str, str]) -> None:
        """Add a layer to cosign's tag `sha256-<hex>.sig`."""
        tag = image.replace(":", "-") + ".sig"
        known = self.manifests.get((repository, tag))
        layers = json.loads(known[0])["layers"] if known else []
        layers.append(descriptor(self.put_blob(content), SIMPLE_SIGNING, annotations=dict(annotations)))
        config = self.put_blob(b"{}")
        value = {"schemaVersion": 2, "config": descriptor(config, EMPTY), "layers": layers}
        self.put_manifest(repository, value, tag=tag)

    def answer(self, path: str, answer: Answer) -> None:
        """From now on this path (without its query) is answered by `answer`."""
        self.answers[path] = answer

    def status(self, path: str, status: int, **headers: str) -> None:
        """From now on this path is answered with a bare status."""

        async def bare(_: web.BaseRequest) -> web.Response:
            return web.Response(status=status, headers={name.replace("_", "-"): text for name, text in headers.items()})

        self.answer(path, bare)

    # What it saw

    def seen(self, part: str = "") -> list[Seen]:
        """The requests whose path contains `part`."""
        return [request for request in self.requests if part in request.path]

    def round_trips(self) -> int:
        """The longest chain of requests each of which began after the one before had ended."""
        depths: list[int] = []
        for request in self.requests:
            before = [
                depths[i] for i, other in enumerate(self.requests[: len(depths)]) if 0 <= other.ended < request.began
            ]
            depths.append(1 + max(before, default=0))
        return max(depths, default=0)

    # How it answers

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._order += 1
        seen = Seen(
            method=request.method,
            path=request.path,
            query=parse_qs(request.query_string),
            headers=request.headers,
            body=await request.read(),
            began=self._order,
        )
        self.requests.append(seen)
        try:
            await asyncio.sleep(self.delay)
            if request.path in self.answers:
                return await self.answers[request.path](request)
            return await (self.around(request, self._standard) if self.around else self._standard(request))
        finally:
            self._order += 1
            seen.ended = self._order

    async def _standard(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/token":
            return await self._token(request)
        repository, kind, name = request.path.removeprefix("/v2/").rsplit("/", 2)
        refusal = self._refusal(request, repository)
        if refusal is not None:
            return refusal
        if kind == "manifests" and (repository, name) in self.manifests:
            content, media_type = self.manifests[repository, name]
            headers = {"Content-Type": media_type, "Docker-Content-Digest": digest_of(content)}
            return web.Response(body=content, headers=headers)
        if kind == "blobs" and name in self.blobs:
            return web.Response(body=self.blobs[name], headers={"Content-Type": "application/octet-stream"})
        if kind == "referrers" and self.referrers:
            return self._page(request, repository, name)
        return web.json_response({"errors": [{"code": "UNKNOWN", "message": "SECRET-FOREIGN-TEXT"}]}, status=404)

    def _page(self, request: web.BaseRequest, repository: str, subject: str) -> web.Response:
        listing = self._listing(repository, subject)
        first = int(request.query.get("first", "0"))
        entries = listing["manifests"]
        listing["manifests"] = entries[first : first + self.page_size]
        headers = {"Content-Type": OCI_INDEX}
        if first + self.page_size < len(entries):
            headers["Link"] = f'<{request.path}?first={first + self.page_size}>; rel="next"'
        return web.Response(body=encoded(listing), headers=headers)

    def _listing_name(self, subject: str) -> str:
        # With the API the listing is not to be had as a tag.
        return f"listing of {subject}" if self.referrers else subject.replace(":", "-")

    def _listing(self, repository: str, subject: str) -> dict[str, Any]:
        known = self.manifests.get((repository, self._listing_name(subject)))
        if known is None:
            return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        value: dict[str, Any] = json.loads(known[0])
        return value

    def _refusal(self, request: web.BaseRequest, repository: str) -> web.Response | None:
        if self.users is None:
            return None
        sent = request.headers.get("Authorization", "")
        if self.users.bearer:
            if self.tokens.get(sent.removeprefix("Bearer ")) == repository:
                return None
            challenge = f'Bearer realm="{self.realm}",service="scripted",scope="repository:{repository}:pull"'
        else:
            if self._user(sent) is not None:
                return None
            challenge = 'Basic realm="scripted"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    async def _token(self, request: web.BaseRequest) -> web.Response:
        users = self.users or Users(anonymous=True)
        form = parse_qs((await request.read()).decode())
        known = self._user(request.headers.get("Authorization", "")) is not None
        by_token = form.get("refresh_token", [""])[0] in users.passwords.values() and bool(form)
        if not (known or by_token or (users.anonymous and "Authorization" not in request.headers)):
            return web.Response(status=401)
        scope = request.query.get("scope") or form["scope"][0]
        token = f"token-{len(self.tokens)}"
        self.tokens[token] = scope.split(":")[1]
        return web.json_response({"token": token, "expires_in": users.expires_in})

    def _user(self, header: str) -> str | None:
        with contextlib.suppress(ValueError):
            name, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
            if self.users is not None and name and self.users.passwords.get(name) == password:
                return name
        return None
