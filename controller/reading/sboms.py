"""`/api/v1/sboms`: which running images have an SBOM that can be worked with."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool

from controller.inventory.questions import Questions
from controller.reading.access import Access
from controller.reading.whole import listed
from controller.reading.wire.sboms import SbomPage, SbomsAsked


def install(app: FastAPI, questions: Questions, access: Access) -> None:
    """Add the route to the application."""

    @app.get("/api/v1/sboms", summary="Running images and the state of their SBOMs, those that are worst off first")
    @listed
    async def sboms(asked: Annotated[SbomsAsked, Query()], request: Request) -> SbomPage:
        await access.require(request, verb="list", resource="images", namespace=asked.namespace)
        page = await run_in_threadpool(
            questions.sboms.sboms,
            states=asked.state,
            demands=asked.demands(),
            as_of=asked.as_of,
            namespace=asked.namespace,
            cluster=asked.cluster,
            limit=asked.limit,
            cursor=asked.cursor,
            known_at=asked.known_at,
        )
        return SbomPage.model_validate(page)
