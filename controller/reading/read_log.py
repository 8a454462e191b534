"""`/api/v1/reads`: who read what."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool

from controller.inventory.questions import Questions
from controller.reading.access import Access
from controller.reading.whole import listed
from controller.reading.wire.reads import ReadPage, ReadsAsked


def install(app: FastAPI, questions: Questions, access: Access) -> None:
    """Add the route to the application. Who reads is told to those who may list reads in all namespaces."""

    @app.get("/api/v1/reads", summary="Who read what, the latest first, where that is recorded")
    @listed
    async def reads(asked: Annotated[ReadsAsked, Query()], request: Request) -> ReadPage:
        await access.require(request, verb="list", resource="reads", namespace=None)
        page = await run_in_threadpool(
            questions.reads.reads,
            username=asked.username,
            resource=asked.resource,
            identity=asked.identity,
            since=asked.since,
            until=asked.until,
            limit=asked.limit,
            cursor=asked.cursor,
            as_of=asked.as_of,
            known_at=asked.known_at,
        )
        return ReadPage.model_validate(page)
