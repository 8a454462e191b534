"""The floor: two webhooks that read the review and allow it, on Assay's own server and event loop, no more.

`python -m tests.bench.floor PORT CERTIFICATE KEY`. What any webhook in Python costs on this machine at this moment.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import uvloop
from fastapi import FastAPI, Request, Response

from controller.webhook.server import Server


def application() -> FastAPI:
    """Both webhooks."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/mutate")
    @app.post("/validate")
    async def review(request: Request) -> Response:
        uid = json.loads(await request.body())["request"]["uid"]
        answer = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {"uid": uid, "allowed": True},
        }
        return Response(json.dumps(answer), media_type="application/json")

    @app.get("/livez")
    async def livez() -> Response:
        return Response("ok\n")

    return app


async def _serve(port: int, certificate: Path, key: Path) -> None:
    server = Server(application(), host="127.0.0.1", port=port, certificate=certificate, key=key)
    await server.start()
    await server.serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(_serve(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))
