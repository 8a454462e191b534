"""`/api/v1/packages`, `/api/v1/components`, `/api/v1/bom`: what is in what runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from controller.inventory.asking.documents.merged import Subject, merge
from controller.inventory.questions import Questions
from controller.reading.access import Access
from controller.reading.whole import listed
from controller.reading.wire.packages import BomAsked, ComponentPage, ComponentsAsked, PackagePage, PackagesAsked


def install(app: FastAPI, questions: Questions, access: Access) -> None:
    """Add the routes to the application. Who asks needs to see runs, and components."""

    async def require(request: Request, namespace: str | None) -> None:
        for resource in ("runs", "components"):
            await access.require(request, verb="list", resource=resource, namespace=namespace)

    @app.get("/api/v1/packages", summary="What runs, or ran, that contains a package")
    @listed
    async def packages(asked: Annotated[PackagesAsked, Query()], request: Request) -> PackagePage:
        await require(request, asked.namespace)
        page = await run_in_threadpool(
            questions.packages.packages,
            asked.purl,
            asked.versions,
            as_of=asked.as_of,
            ever=asked.ever,
            namespace=asked.namespace,
            cluster=asked.cluster,
            unverified=asked.unverified,
            limit=asked.limit,
            cursor=asked.cursor,
            known_at=asked.known_at,
        )
        return PackagePage.model_validate(page)

    @app.get("/api/v1/components", summary="The components of what runs, each once")
    @listed
    async def components(asked: Annotated[ComponentsAsked, Query()], request: Request) -> ComponentPage:
        await require(request, asked.namespace)
        page = await run_in_threadpool(
            questions.components.components,
            as_of=asked.as_of,
            namespace=asked.namespace,
            cluster=asked.cluster,
            digest=asked.digest,
            unverified=asked.unverified,
            limit=asked.limit,
            cursor=asked.cursor,
            known_at=asked.known_at,
        )
        return ComponentPage.model_validate(page)

    @app.get(
        "/api/v1/bom", summary="One CycloneDX document of the components of what runs", response_class=StreamingResponse
    )
    async def bom(asked: Annotated[BomAsked, Query()], request: Request) -> StreamingResponse:
        await require(request, asked.namespace)
        at = asked.as_of or datetime.now(UTC)
        subject = Subject(at, cluster=asked.cluster or "", namespace=asked.namespace or "", digest=asked.digest or "")
        pieces = await run_in_threadpool(
            merge, questions.components, subject, unverified=asked.unverified, known_at=asked.known_at
        )
        return StreamingResponse(pieces, media_type="application/vnd.cyclonedx+json; version=1.6")
