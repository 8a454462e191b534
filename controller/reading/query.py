"""Questions of one's own over HTTP, in SQL over the stable views (docs/reference/views.md).

They see everything, so they are for who may `create queries.inventory.assay.dev` in all namespaces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from controller.inventory.querying.answer import Answer, Cell
from controller.inventory.querying.questions import OwnQuestions
from controller.inventory.querying.statement import MAX_STATEMENT
from controller.reading.access import Access
from controller.reading.whole import by_accept
from controller.reading.wire.base import Shown
from controller.reading.wire.rows import Form, json_line, table

CUT = "Assay-Cut"  # the header that says of a CSV that it was cut, and by which bound


class QueryAsked(BaseModel):
    """A question in SQL."""

    model_config = ConfigDict(extra="forbid")

    sql: str = Field(max_length=MAX_STATEMENT, description="One SELECT (or WITH … SELECT) over the views.")
    explain: bool = Field(False, description="How the database would find the answer, instead of the answer.")
    format: Literal["json", "csv", "jsonl", "ndjson"] | None = Field(None, description="Default: by Accept.")


class QueryAnswer(Shown):
    """The answer: rows of values by column. `cut` says that there was more than `rows` or `bytes` allow, else empty."""

    columns: list[str]
    rows: list[list[Cell]]
    cut: str


def install(app: FastAPI, own: OwnQuestions, access: Access) -> None:
    """Add the route to the application."""

    @app.get("/api/v1/query", summary="The answer to a question in SQL, read only", response_model=QueryAnswer)
    async def query(asked: Annotated[QueryAsked, Query()], request: Request) -> QueryAnswer | Response:
        await access.require(request, verb="create", resource="queries", namespace=None)
        answer = await run_in_threadpool(own.ask, asked.sql, explain=asked.explain)
        form = by_accept(request) if asked.format is None else None if asked.format == "json" else Form(asked.format)
        if form is None:
            return QueryAnswer(columns=list(answer.columns), rows=[list(row) for row in answer.rows], cut=answer.cut)
        headers = {"Cache-Control": "no-store", **({CUT: answer.cut} if answer.cut else {})}
        return StreamingResponse(lines(answer, form), media_type=form.media_type, headers=headers)


def lines(answer: Answer, form: Form) -> Iterator[bytes]:
    """The answer as CSV or JSONL; in JSONL the last line of one that was cut says so."""
    yield from table(answer.columns, answer.rows, form)
    if answer.cut and form is not Form.CSV:
        yield json_line({"problem": {"code": "AnswerCut", "detail": f"there was more than {answer.cut} allow"}})
