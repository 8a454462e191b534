"""`/api/v1/findings`: what scanners found in running images, and what clears it."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool

from controller.inventory.questions import Questions
from controller.reading.access import Access
from controller.reading.whole import listed
from controller.reading.wire.findings import FindingPage, FindingsAsked


def install(app: FastAPI, questions: Questions, access: Access) -> None:
    """Add the route to the application."""

    @app.get("/api/v1/findings", summary="What verified reports found in running images, the worst first")
    @listed
    async def findings(asked: Annotated[FindingsAsked, Query()], request: Request) -> FindingPage:
        await access.require(request, verb="list", resource="images", namespace=asked.namespace)
        page = await run_in_threadpool(
            questions.findings.findings,
            asked.where(),
            as_of=asked.as_of,
            limit=asked.limit,
            cursor=asked.cursor,
            known_at=asked.known_at,
        )
        return FindingPage.model_validate(page)
