"""The ledger over HTTP: checkpoint and tiles where public tools look for them (C2SP tlog-tiles), proofs for others.

The prefix of the log is `/ledger`. Nothing in tiles or entries tells what was recorded.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Query, Response
from fastapi.responses import PlainTextResponse

from controller.errors import InputError
from controller.inventory.ledger_reading import LedgerReader
from controller.reading import problems, wire

_FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}


def install(app: FastAPI, ledger: LedgerReader) -> None:
    """Add the ledger's routes to the application."""

    @app.get("/ledger/checkpoint", summary="The newest signed checkpoint", response_class=PlainTextResponse)
    def checkpoint() -> Response:
        note = ledger.checkpoint()
        if note is None:
            return _absent("no checkpoint was signed yet")
        return PlainTextResponse(note)

    @app.get("/ledger/tile/{path:path}", summary="A tile, or a bundle of entries", response_class=Response)
    def tile(path: str) -> Response:
        try:
            content = ledger.tile(f"tile/{path}")
        except InputError as exc:
            return _absent(exc.message)
        if content is None:
            return _absent("the ledger does not go that far")
        return Response(content, media_type="application/octet-stream", headers=_FOR_EVER)

    @app.get(
        "/api/v1/ledger/proofs/{record}",
        summary="That a decision is in the ledger (RFC 6962, 2.1.1)",
        response_model=wire.InclusionProof,
    )
    def proof(record: str) -> wire.InclusionProof | Response:
        found = ledger.prove(record)
        return _absent("no such record has a number yet") if found is None else wire.InclusionProof.of(found)

    @app.get(
        "/api/v1/ledger/consistency",
        summary="That one size of the ledger is the beginning of another (RFC 6962, 2.1.2)",
        response_model=wire.ConsistencyProof,
    )
    def consistency(asked: Annotated[wire.ConsistencyAsked, Query()]) -> wire.ConsistencyProof:
        return wire.ConsistencyProof.of(asked.old, asked.new, ledger.continues(asked.old, asked.new))


def _absent(why: str) -> Response:
    return problems.problem(HTTPStatus.NOT_FOUND, "NotFound", why)
