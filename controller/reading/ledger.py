"""The ledger over HTTP: checkpoint and tiles where public tools look for them (C2SP tlog-tiles), proofs for others.

The prefix of the log is `/ledger`. Nothing in tiles or entries tells what was recorded.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse

from controller.errors import InputError
from controller.inventory.asking.queries import Queries
from controller.inventory.ledger.reading import LedgerReader
from controller.inventory.records import DecisionRecord
from controller.reading import problems, wire
from controller.reading.access import EVERYWHERE, Access
from controller.reading.answers import FOR_EVER


def install(app: FastAPI, ledger: LedgerReader, queries: Queries, access: Access) -> None:
    """Add the ledger's routes to the application. All but the proof of one's own records are for the whole cluster."""

    @app.get("/ledger/checkpoint", summary="The newest signed checkpoint", response_class=PlainTextResponse)
    async def checkpoint(request: Request) -> Response:
        await access.require(request, verb="get", resource="ledger", namespace=None)
        note = await run_in_threadpool(ledger.checkpoint)
        if note is None:
            return _absent("no checkpoint was signed yet")
        return PlainTextResponse(note)

    @app.get("/ledger/tile/{path:path}", summary="A tile, or a bundle of entries", response_class=Response)
    async def tile(path: str, request: Request) -> Response:
        await access.require(request, verb="get", resource="ledger", namespace=None)
        try:
            content = await run_in_threadpool(ledger.tile, f"tile/{path}")
        except InputError as exc:
            return _absent(exc.message)
        if content is None:
            return _absent("the ledger does not go that far")
        return Response(content, media_type="application/octet-stream", headers=FOR_EVER)

    @app.get(
        "/api/v1/ledger/proofs/{record}",
        summary="That a record is in the ledger (RFC 6962, 2.1.1)",
        response_model=wire.InclusionProof,
    )
    async def proof(
        record: str, asked: Annotated[wire.BaseAsked, Query()], request: Request
    ) -> wire.InclusionProof | Response:
        known = await run_in_threadpool(queries.record, record, known_at=asked.known_at)
        seen = known is not None and await access.sees(request, **matter_of(known))
        found = await run_in_threadpool(ledger.prove, record) if seen else None
        return _absent("no such record has a number yet") if found is None else wire.InclusionProof.of(found)

    @app.get(
        "/api/v1/ledger/consistency",
        summary="That one size of the ledger is the beginning of another (RFC 6962, 2.1.2)",
        response_model=wire.ConsistencyProof,
    )
    async def consistency(asked: Annotated[wire.ConsistencyAsked, Query()], request: Request) -> wire.ConsistencyProof:
        await access.require(request, verb="get", resource="ledger", namespace=None)
        return wire.ConsistencyProof.of(
            asked.old, asked.new, await run_in_threadpool(ledger.continues, asked.old, asked.new)
        )


def matter_of(record: DecisionRecord) -> dict[str, str]:
    """Whose matter a record is: the resource and the namespace in which somebody must be allowed to get it."""
    leaf = record.leaf
    if "object" in leaf:
        return {"resource": "decisions", "namespace": leaf["object"]["namespace"] or EVERYWHERE}
    if "resource" in leaf:
        is_exception = leaf["resource"]["kind"] == "EvidenceException"
        return {"resource": "exceptions" if is_exception else "policies", "namespace": EVERYWHERE}
    return {"resource": "runs", "namespace": leaf["pod"]["namespace"] if "pod" in leaf else EVERYWHERE}


def _absent(why: str) -> Response:
    return problems.problem(HTTPStatus.NOT_FOUND, "NotFound", why)
