"""`/api/v1/holds`: what must not be dropped, and why. To be read here; who places and lifts one uses the command."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool

from controller.inventory.questions import Questions
from controller.reading.access import Access
from controller.reading.whole import listed
from controller.reading.wire.holds import HoldPage, HoldRecord, HoldsAsked


def install(app: FastAPI, questions: Questions, access: Access) -> None:
    """Add the route to the application. A hold may be about any namespace, so who asks must be allowed in all."""

    @app.get("/api/v1/holds", summary="Legal holds, in the order in which they were placed")
    @listed
    async def holds(asked: Annotated[HoldsAsked, Query()], request: Request) -> HoldPage:
        await access.require(request, verb="list", resource="holds", namespace=None)
        page = await run_in_threadpool(
            questions.holds.page,
            lifted=asked.lifted,
            limit=asked.limit,
            cursor=asked.cursor,
            as_of=asked.as_of,
            known_at=asked.known_at,
        )
        return HoldPage(items=[HoldRecord.of(hold) for hold in page.items], cursor=page.cursor)
