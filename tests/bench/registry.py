"""A registry in a process of its own that makes its images when they are asked for, and counts who asks.

`python -m tests.bench.registry PORT KEYFILE`. It has the referrers API. Under `/-/` it is steered: `delay?seconds=`
sets how long each answer takes, `prepare` makes images before they are asked for, so that a review does not wait for
that, and `log` gives the requests since the last look as `[repository, begin, end]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import OrderedDict
from pathlib import Path

import uvloop
from aiohttp import web

from tests.bench.images import INDEX, TAG, Content, Evidence, Signer, digest_of, image

KEPT = 64  # images whose evidence is kept after it was made: an image is asked for in one go
KEPT_BYTES = 100_000  # evidence smaller than this is kept for ever: another signature would be other evidence


class Registry:
    """Answers, counted and delayed."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._small: dict[str, tuple[Evidence, ...]] = {}
        self._large: OrderedDict[str, tuple[Evidence, ...]] = OrderedDict()
        self._log: list[tuple[str, float, float]] = []
        self._delay = 0.0

    def application(self) -> web.Application:
        """Its routes."""
        app = web.Application()
        app.router.add_get("/-/log", self._take_log)
        app.router.add_get("/-/delay", self._set_delay)
        app.router.add_post("/-/prepare", self._prepare)
        app.router.add_get("/v2/{repository:.+}/{what:manifests|blobs|referrers}/{reference}", self._serve)
        app.router.add_get("/v2/", self._ping)
        return app

    async def _take_log(self, _: web.Request) -> web.Response:
        taken, self._log = self._log, []
        return web.Response(text=json.dumps(taken))

    async def _set_delay(self, request: web.Request) -> web.Response:
        self._delay = float(request.query["seconds"])
        return web.Response()

    async def _prepare(self, request: web.Request) -> web.Response:
        for repository in await request.json():
            self._evidence(repository)
        return web.Response()

    async def _ping(self, _: web.Request) -> web.Response:
        return await self._answer("", time.perf_counter(), Content("application/json", b"{}"))

    async def _serve(self, request: web.Request) -> web.Response:
        began = time.perf_counter()
        repository, reference = request.match_info["repository"], request.match_info["reference"]
        what = request.match_info["what"]
        found: Content | None = None
        if what == "referrers":
            found = self._referrers(repository, reference)
        elif what == "blobs":
            found = next((e.bundle for e in self._evidence(repository) if e.bundle.digest == reference), None)
        else:
            own = image(repository)
            if reference in {TAG, own.digest}:
                found = own
            elif reference.startswith("sha256:"):
                found = next((e.manifest for e in self._evidence(repository) if e.manifest.digest == reference), None)
        return await self._answer(repository, began, found)

    async def _answer(self, repository: str, began: float, found: Content | None) -> web.Response:
        if self._delay:
            await asyncio.sleep(self._delay)
        self._log.append((repository, began, time.perf_counter()))
        if found is None:
            return web.Response(status=404, body=b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')
        headers = {"Content-Type": found.media_type, "Docker-Content-Digest": digest_of(found.body)}
        return web.Response(body=found.body, headers=headers)

    def _referrers(self, repository: str, digest: str) -> Content:
        evidence = self._evidence(repository) if digest == image(repository).digest else ()
        entries = [{**e.manifest.descriptor, "artifactType": e.bundle.media_type} for e in evidence]
        return Content(INDEX, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode())

    def _evidence(self, repository: str) -> tuple[Evidence, ...]:
        known = self._small.get(repository) or self._large.get(repository)
        if known is None:
            known = self._signer.evidence(repository)
            if sum(len(e.bundle.body) for e in known) < KEPT_BYTES:
                self._small[repository] = known
            else:
                self._large[repository] = known
                if len(self._large) > KEPT:
                    self._large.popitem(last=False)
        return known


async def _serve(port: int, signer: Signer) -> None:
    runner = web.AppRunner(Registry(signer).application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(_serve(int(sys.argv[1]), Signer.from_pem(Path(sys.argv[2]).read_bytes())))
