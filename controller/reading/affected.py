"""`/api/v1/affected`: the blast radius of what turned out bad."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool

from controller.inventory.questions import Questions
from controller.reading.access import Access
from controller.reading.wire.affected import AffectedAsked, AffectedPage


def install(app: FastAPI, questions: Questions, access: Access) -> None:
    """Add the route to the application. Who asks needs to see runs and decisions."""

    @app.get("/api/v1/affected", summary="What rests on a signer, a log entry, an artefact that turned out bad")
    async def affected(asked: Annotated[AffectedAsked, Query()], request: Request) -> AffectedPage:
        await access.require(request, verb="list", resource="runs", namespace=asked.namespace)
        await access.require(request, verb="list", resource="decisions", namespace=asked.namespace)
        footing, value = asked.bad()
        page = await run_in_threadpool(
            questions.affected.affected,
            footing,
            value,
            listing=asked.list,
            as_of=asked.as_of,
            ever=asked.ever,
            namespace=asked.namespace,
            limit=asked.limit,
            cursor=asked.cursor,
            known_at=asked.known_at,
        )
        return AffectedPage.model_validate(page)
