"""Proofs and exports over HTTP: the chain from what ran to its evidence, and the evidence bundle as a stream.

Both are of one namespace, or of all, as who asks may. An export is settled, and found to be allowed and not too large,
before its first byte; one that breaks off has no end, which every reader of tar archives notices.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from controller import __version__
from controller.errors import ConfigurationError, Unavailable
from controller.inventory.asking.gathering import Gathered
from controller.inventory.bundle import archive, assembling
from controller.inventory.bundle.export_key import ledger_key, open_export_key
from controller.inventory.bundle.proving import Chain, prove
from controller.inventory.bundle.signing import ExportKey
from controller.inventory.bundle.source import Circumstances, Selection
from controller.inventory.ledger.notes import NoteKey
from controller.inventory.questions import Questions
from controller.reading import problems
from controller.reading.access import Access
from controller.reading.wire.proofs import ExportAsked, Proof, ProofAsked
from controller.settings import DocumentSettings, InventorySettings

MAX_EXPORTS = 2  # streams at a time in one process
TAR = "application/x-tar"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What proofs and exports need beside the inventory: limits of documents, and where keys lie (None: nowhere)."""

    documents: DocumentSettings = DocumentSettings()
    inventory: InventorySettings | None = None
    _running: threading.BoundedSemaphore = field(default_factory=partial(threading.BoundedSemaphore, MAX_EXPORTS))

    def ledger_key(self) -> NoteKey | None:
        """The ledger's verifier key, if it is known here."""
        return ledger_key(self.inventory) if self.inventory is not None else None

    def export_key(self) -> ExportKey:
        """The key that signs. Raises `Unavailable` (`ExportUnavailable`)."""
        if self.inventory is None:
            raise Unavailable("ExportUnavailable", "this server has no key to sign exports with")
        try:
            return open_export_key(self.inventory)
        except ConfigurationError as exc:
            # What is wrong with the server's files is not for who reads.
            raise Unavailable("ExportUnavailable", "this server cannot read its key for exports") from exc

    def begin(self) -> None:
        """Take one of the places for exports. Raises `Unavailable` (`ExportsBusy`)."""
        if not self._running.acquire(blocking=False):
            raise Unavailable("ExportsBusy", f"{MAX_EXPORTS} exports are under way already: ask again later")

    def end(self) -> None:
        """Give the place back."""
        self._running.release()


def install(app: FastAPI, questions: Questions, access: Access, evidence: Evidence) -> None:
    """Add the routes to the application."""

    @app.get(
        "/api/v1/proofs/{name:path}",
        summary="That evidence is about the very image that ran, link by link",
        response_model=Proof,
    )
    async def proof(name: str, asked: Annotated[ProofAsked, Query()], request: Request) -> Proof | Response:
        await access.require(request, verb="get", resource="proofs", namespace=asked.namespace)
        chosen, moment = Selection.named(name, asked.namespace), asked.known_at or datetime.now(UTC)
        found = await run_in_threadpool(
            questions.gatherer.gather, chosen, known_at=moment, newest=asked.limit, confined=True
        )
        if found is None:
            return problems.problem(HTTPStatus.NOT_FOUND, "NotFound", "the inventory has no record of that")
        return Proof.model_validate(await run_in_threadpool(_chain, found, evidence, asked.document))

    @app.get("/api/v1/exports", summary="An evidence bundle (tar), which verifies elsewhere", response_class=Response)
    async def export(asked: Annotated[ExportAsked, Query()], request: Request) -> Response:
        await access.require(request, verb="get", resource="exports", namespace=asked.namespace)
        evidence.begin()
        try:
            answer = await run_in_threadpool(_export, questions, asked, evidence)
        except BaseException:
            evidence.end()
            raise
        if answer is None:
            evidence.end()
            return problems.problem(HTTPStatus.NOT_FOUND, "NotFound", "the inventory has no record of that")
        return _Stream(answer, evidence)


def _chain(found: Gathered, evidence: Evidence, document: str | None) -> Chain:
    from controller.workers.replay import replay  # all that verifies comes with it: 16 MiB, for who asks for a proof

    key = evidence.ledger_key()
    again = partial(replay, blob=found.blob, limits=evidence.documents)
    return prove(found, again, keys=[key] if key else [], artifact=document)


def _export(questions: Questions, asked: ExportAsked, evidence: Evidence) -> Iterator[bytes] | None:
    now = datetime.now(UTC)
    chosen, moment = asked.selection(), asked.known_at or now
    key = evidence.export_key()
    found = questions.gatherer.gather(chosen, known_at=moment, confined=True)
    if found is None:
        return None
    about = Circumstances(chosen, moment, now, evidence.ledger_key(), __version__)
    return archive.write(assembling.assemble(found, about, key))


class _Stream(StreamingResponse):
    """The archive on its way; its place is given back however it ends."""

    def __init__(self, pieces: Iterator[bytes], evidence: Evidence) -> None:
        headers = {"Content-Disposition": 'attachment; filename="evidence.tar"', "Cache-Control": "no-store"}
        super().__init__(pieces, media_type=TAR, headers=headers)
        self._evidence = evidence

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._evidence.end()
