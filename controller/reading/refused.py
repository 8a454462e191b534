"""`/api/v1/refused`: what runs though a policy would refuse it today, as it was last evaluated."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool

from controller.inventory.questions import Questions
from controller.reading.access import Access
from controller.reading.whole import listed
from controller.reading.wire.refused import RefusedAsked, RefusedPage


def install(app: FastAPI, questions: Questions, access: Access) -> None:
    """Add the route to the application. Who asks needs to see runs and decisions."""

    @app.get("/api/v1/refused", summary="What runs and would be refused, as last evaluated, the latest started first")
    @listed
    async def refused(asked: Annotated[RefusedAsked, Query()], request: Request) -> RefusedPage:
        await access.require(request, verb="list", resource="runs", namespace=asked.namespace)
        await access.require(request, verb="list", resource="decisions", namespace=asked.namespace)
        page = await run_in_threadpool(
            questions.refused.refused,
            as_of=asked.as_of,
            namespace=asked.namespace,
            cluster=asked.cluster,
            policy=asked.policy,
            limit=asked.limit,
            cursor=asked.cursor,
            known_at=asked.known_at,
        )
        return RefusedPage.model_validate(page)
