"""`/api/v1/assets`: the asset list, in the columns of FedRAMP's Integrated Inventory Workbook."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool

from controller.inventory.questions import Questions
from controller.reading.access import Access
from controller.reading.whole import listed
from controller.reading.wire.assets import AssetPage, AssetsAsked


def install(app: FastAPI, questions: Questions, access: Access) -> None:
    """Add the route to the application."""

    @app.get("/api/v1/assets", summary="Images that run, as rows of FedRAMP's Integrated Inventory Workbook")
    @listed
    async def assets(asked: Annotated[AssetsAsked, Query()], request: Request) -> AssetPage:
        await access.require(request, verb="list", resource="images", namespace=asked.namespace)
        page = await run_in_threadpool(
            questions.assets.assets,
            as_of=asked.as_of,
            namespace=asked.namespace,
            cluster=asked.cluster,
            limit=asked.limit,
            cursor=asked.cursor,
            known_at=asked.known_at,
        )
        return AssetPage.of(page)
