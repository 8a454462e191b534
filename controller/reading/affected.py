"""`/api/v1/affected`: the blast radius of what turned out bad, counted, and its lists."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool

from controller.inventory.questions import Questions
from controller.reading.access import Access
from controller.reading.whole import listed
from controller.reading.wire.affected import (
    AffectedAsked,
    AffectedDecisions,
    AffectedImages,
    AffectedRuns,
    AffectedRunsAsked,
    Extent,
    ExtentAsked,
)


def install(app: FastAPI, questions: Questions, access: Access) -> None:
    """Add the routes to the application. Who asks how far it reaches needs to see runs and decisions."""
    affected = questions.affected

    @app.get("/api/v1/affected", summary="How much rests on what turned out bad: a signer, a builder, a base image…")
    async def extent(asked: Annotated[ExtentAsked, Query()], request: Request) -> Extent:
        await access.require(request, verb="list", resource="runs", namespace=asked.namespace)
        await access.require(request, verb="list", resource="decisions", namespace=asked.namespace)
        found = await run_in_threadpool(
            affected.extent, *asked.bad(), as_of=asked.as_of, namespace=asked.namespace, known_at=asked.known_at
        )
        return Extent.model_validate(found)

    @app.get("/api/v1/affected/runs", summary="What runs, or ran, that rests on it, the latest started first")
    @listed
    async def runs(asked: Annotated[AffectedRunsAsked, Query()], request: Request) -> AffectedRuns:
        await access.require(request, verb="list", resource="runs", namespace=asked.namespace)
        page = await run_in_threadpool(affected.runs, *asked.bad(), ever=asked.ever, **_paging(asked))
        return AffectedRuns.model_validate(page)

    @app.get("/api/v1/affected/decisions", summary="The decisions that let it in, the latest first")
    @listed
    async def decisions(asked: Annotated[AffectedAsked, Query()], request: Request) -> AffectedDecisions:
        await access.require(request, verb="list", resource="decisions", namespace=asked.namespace)
        page = await run_in_threadpool(affected.decisions, *asked.bad(), **_paging(asked))
        return AffectedDecisions.model_validate(page)

    @app.get("/api/v1/affected/images", summary="The images that rest on it, by digest")
    @listed
    async def images(asked: Annotated[AffectedAsked, Query()], request: Request) -> AffectedImages:
        await access.require(request, verb="list", resource="images", namespace=asked.namespace)
        page = await run_in_threadpool(affected.images, *asked.bad(), **_paging(asked))
        return AffectedImages.model_validate(page)


def _paging(asked: AffectedAsked) -> dict[str, Any]:
    return {
        "as_of": asked.as_of,
        "namespace": asked.namespace,
        "limit": asked.limit,
        "cursor": asked.cursor,
        "known_at": asked.known_at,
    }
