"""`/api/v1/admissions`: under which policy versions an object was judged, and what each rule came to."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool

from controller.inventory.asking.decisions.admissions import MAX_ADMISSIONS
from controller.inventory.questions import Questions
from controller.reading.access import Access
from controller.reading.whole import listed
from controller.reading.wire.admissions import AdmissionPage, AdmissionsAsked


def install(app: FastAPI, questions: Questions, access: Access) -> None:
    """Add the route to the application. Who asks needs to see the decisions."""

    @app.get("/api/v1/admissions", summary="Under which policy versions an object was judged, by which rule values")
    @listed
    async def admissions(asked: Annotated[AdmissionsAsked, Query()], request: Request) -> AdmissionPage:
        await access.require(request, verb="get", resource="decisions", namespace=asked.namespace)
        page = await run_in_threadpool(
            questions.admissions.admissions,
            uid=asked.uid,
            namespace=asked.namespace,
            name=asked.name,
            kind=asked.kind,
            cluster=asked.cluster,
            limit=min(asked.limit, MAX_ADMISSIONS),  # a whole list is asked for in larger pages
            cursor=asked.cursor,
            as_of=asked.as_of,
            known_at=asked.known_at,
            confined=True,
        )
        return AdmissionPage.model_validate(page)
