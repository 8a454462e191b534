"""The read-only REST interface: every question is a GET, every answer says what it is, and nobody can write.

With `readers` each question is answered to who may ask it (`access`). Without, it belongs on loopback. A page in
somebody's browser could still reach it there under a name of its own (DNS rebinding), so a request has to name a host
that this server is known by.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse

from controller import __version__
from controller.errors import InputError
from controller.inventory.querying.questions import OwnQuestions
from controller.inventory.questions import Questions
from controller.model.reference import Digest
from controller.reading import (
    admissions,
    affected,
    assets,
    findings,
    holds,
    packages,
    problems,
    query,
    read_log,
    refused,
    sboms,
    wire,
)
from controller.reading import evidence as proofs
from controller.reading import ledger as routes
from controller.reading.access import Access, Readers
from controller.reading.answers import FOR_EVER, Answers, matches
from controller.reading.evidence import Evidence
from controller.reading.ledger import matter_of
from controller.reading.reads import ReadRecorder
from controller.reading.whole import listed

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_PROBLEM: dict[int | str, dict[str, Any]] = {
    "default": {"description": "A problem (RFC 9457) with a reason code.", "content": {problems.MEDIA_TYPE: {}}}
}


def create_app(
    questions: Questions,
    *,
    own: OwnQuestions | None = None,
    readers: Readers | None = None,
    reads: ReadRecorder | None = None,
    hosts: Sequence[str] = LOOPBACK_NAMES,
    evidence: Evidence | None = None,
) -> FastAPI:
    """The application.

    `own` answers questions in SQL; without it there are none. `reads` records what is read. Without `readers`
    everybody may read, and `hosts` are the names (without port) that requests may ask for. `evidence` says where the
    keys of proofs and exports lie.
    """
    access = Access(readers)
    queries = questions.queries
    app = FastAPI(
        title="Assay inventory",
        version=__version__,
        description="What was decided, on which evidence, and when. Read only.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # the stock pages load scripts from elsewhere
        redoc_url=None,
        responses=_PROBLEM,
        # Before any parameter is looked at: who is nobody learns nothing of a question, not even what is wrong with it.
        dependencies=[Depends(access.identified)],
    )
    problems.install(app)
    known = frozenset(host.lower() for host in hosts)
    app.add_middleware(Answers, is_known=lambda host: readers is not None or host in known, reads=reads)
    app.add_route("/livez", _livez, include_in_schema=False)

    @app.get("/api/v1/decisions", summary="Decisions, newest first")
    @listed
    async def decisions(asked: Annotated[wire.DecisionsAsked, Query()], request: Request) -> wire.DecisionPage:
        await access.require(request, verb="list", resource="decisions", namespace=asked.namespace)
        where = asked.where()
        page = await run_in_threadpool(
            queries.decisions,
            where,
            limit=asked.limit,
            cursor=asked.cursor,
            as_of=asked.as_of,
            known_at=asked.known_at,
        )
        return wire.DecisionPage.model_validate(page)

    @app.get("/api/v1/decisions/{identity}", summary="One decision whole", response_model=wire.DecisionRecord)
    async def decision(
        identity: str, asked: Annotated[wire.Asked, Query()], request: Request, response: Response
    ) -> wire.DecisionRecord | Response:
        record = await run_in_threadpool(queries.decision, identity, as_of=asked.as_of, known_at=asked.known_at)
        if record is None or not await access.sees(request, **matter_of(record)):
            return _absent("decision")
        response.headers.update(FOR_EVER)
        return wire.DecisionRecord.model_validate(record)

    @app.get("/api/v1/images/{digest}", summary="All that is known of a digest", response_model=wire.ImageRecord)
    async def image(
        digest: str, asked: Annotated[wire.ImageAsked, Query()], request: Request
    ) -> wire.ImageRecord | Response:
        await access.require(request, verb="get", resource="images", namespace=asked.namespace)
        record = await run_in_threadpool(
            queries.image,
            str(Digest.parse(digest)),
            limit=asked.limit,
            as_of=asked.as_of,
            known_at=asked.known_at,
            namespace=asked.namespace,
        )
        return _absent("image") if record is None else wire.ImageRecord.model_validate(record)

    @app.get("/api/v1/runs", summary="What ran, by the digest that the kubelet reported, the latest started first")
    @listed
    async def runs(asked: Annotated[wire.RunsAsked, Query()], request: Request) -> wire.RunPage:
        await access.require(request, verb="list", resource="runs", namespace=asked.namespace)
        if asked.ever and asked.as_of is not None:
            raise InputError("ParameterInvalid", "ever is whatever ran at any time: leave out asOf, or ever")
        page = await run_in_threadpool(
            queries.runs,
            as_of=asked.as_of,
            now=not asked.ever,
            namespace=asked.namespace,
            cluster=asked.cluster,
            digest=asked.digest,
            admission=asked.admission,
            signed=asked.signed,
            signer=asked.signer,
            limit=asked.limit,
            cursor=asked.cursor,
            known_at=asked.known_at,
        )
        return wire.RunPage.model_validate(page)

    @app.get("/api/v1/exceptions", summary="Exceptions, and how often each was used")
    @listed
    async def exceptions(asked: Annotated[wire.ExceptionsAsked, Query()], request: Request) -> wire.ExceptionPage:
        await access.require(request, verb="list", resource="exceptions", namespace=None)
        page = await run_in_threadpool(
            queries.exceptions,
            name=asked.name,
            in_force=asked.in_force,
            limit=asked.limit,
            cursor=asked.cursor,
            as_of=asked.as_of,
            known_at=asked.known_at,
        )
        return wire.ExceptionPage.model_validate(page)

    @app.get("/api/v1/policies", summary="Versions of policies as they came and went, the latest applied first")
    @listed
    async def policies(asked: Annotated[wire.PoliciesAsked, Query()], request: Request) -> wire.PolicyPage:
        await access.require(request, verb="list", resource="policies", namespace=None)
        page = await run_in_threadpool(
            queries.policies,
            name=asked.name,
            cluster=asked.cluster,
            in_force=asked.in_force,
            limit=asked.limit,
            cursor=asked.cursor,
            as_of=asked.as_of,
            known_at=asked.known_at,
        )
        return wire.PolicyPage.model_validate(page)

    @app.get("/api/v1/blobs/{digest}", summary="Raw evidence, unchanged", response_class=Response)
    async def blob(digest: str, asked: Annotated[wire.BlobAsked, Query()], request: Request) -> Response:
        await access.require(request, verb="get", resource="blobs", namespace=asked.namespace)
        name = Digest.parse(digest)
        etag = f'"{name}"'
        content = await run_in_threadpool(queries.blob, str(name), known_at=asked.known_at, namespace=asked.namespace)
        if content is None:
            return _absent("blob")
        headers = {"ETag": etag, **FOR_EVER}
        if matches(request.headers.get("If-None-Match", ""), etag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        headers["Content-Disposition"] = f'attachment; filename="{name.hex}"'
        return Response(content, media_type="application/octet-stream", headers=headers)

    read_log.install(app, questions, access)
    if own is not None:
        query.install(app, own, access)
    proofs.install(app, questions, access, evidence or Evidence())
    routes.install(app, questions.ledger, queries, access)
    for family in (admissions, affected, packages, sboms, findings, assets, refused, holds):
        family.install(app, questions, access)
    return app


async def _livez(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _absent(what: str) -> Response:
    return problems.problem(HTTPStatus.NOT_FOUND, "NotFound", f"the inventory has no such {what}")
