"""Whole lists: any list of the interface as CSV, JSONL or NDJSON, from its first item to its last.

`listed` makes it of a list's endpoint, which answers one page: the stream is page after page, each asked for only when
the one before has gone out, so that its size costs no memory. All are of one state: what had been recorded when the
first was asked for (`known_at`). The first page is there, and who asks was found to be allowed, before the first byte
leaves; each further one asks again, so that a permission that is taken away ends a stream.

A stream that cannot go on does not end as one that is finished: the connection breaks off without the last chunk
(RFC 9112, 7.1), and in JSONL and NDJSON the last line is a record of `problem` alone.
"""

from __future__ import annotations

import functools
import logging
import typing
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from controller.errors import InputError
from controller.inventory.asking.asker import MAX_LIMIT
from controller.reading.telling import told
from controller.reading.wire.base import Paged
from controller.reading.wire.rows import Form, Rows

log = logging.getLogger(__name__)

Page = TypeVar("Page", bound=BaseModel)
WEAK = "assay_weak"  # in a request's `state`: that its answer is a list
_ACCEPTED = {"text/csv": Form.CSV, "application/jsonl": Form.JSONL, "application/x-ndjson": Form.NDJSON}


def listed(endpoint: Callable[..., Awaitable[Page]]) -> Callable[..., Awaitable[Page | Response]]:
    """Of an endpoint (`asked: Paged`, `request`, the path's) that answers one page (`items`, `cursor`), one of whole
    lists. Put it under the route's own decorator.
    """
    page_model: type[BaseModel] = typing.get_type_hints(endpoint)["return"]

    @functools.wraps(endpoint)
    async def answer(*, asked: Paged, request: Request, **path: Any) -> Page | Response:
        form = form_of(asked, request)
        if form is None:
            setattr(request.state, WEAK, True)
            return await endpoint(asked=asked, request=request, **path)
        if given := {"limit", "cursor"} & asked.model_fields_set:
            raise InputError("ParameterInvalid", f"a whole list takes no {min(given)}: {form} is all of it")
        known_at = asked.known_at or datetime.now(UTC)
        asked = asked.model_copy(update={"limit": MAX_LIMIT, "known_at": known_at})

        def ask(cursor: str | None) -> Awaitable[Page]:
            return endpoint(asked=asked.model_copy(update={"cursor": cursor}), request=request, **path)

        name = request.url.path.rstrip("/").rpartition("/")[2]
        return StreamingResponse(
            _stream(ask, await ask(None), Rows(page_model, form)),
            media_type=form.media_type,
            headers={
                "Content-Disposition": f'attachment; filename="{name}.{form}"',
                "Cache-Control": "no-store",
                "Assay-Known-At": known_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        )

    return answer


def form_of(asked: Paged, request: Request) -> Form | None:
    """The form of a whole list that is asked for, by `format` or else by Accept; None for a page in JSON."""
    if asked.format is not None:
        return None if asked.format == "json" else Form(asked.format)
    return by_accept(request)


def by_accept(request: Request) -> Form | None:
    """The form that the header Accept prefers; None for JSON, or whatever else."""
    wanted: list[tuple[float, Form | None]] = []
    for item in request.headers.get("Accept", "").split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        try:
            quality = float(weight)
        except ValueError:
            quality = 0.0
        if media in _ACCEPTED:
            wanted.append((quality, _ACCEPTED[media]))
        elif media in {"application/json", "application/*", "*/*"}:
            wanted.append((quality, None))
    best = max((quality for quality, _ in wanted), default=0.0)
    return next((form for quality, form in wanted if quality == best), None) if best > 0 else None


async def _stream(ask: Callable[[str], Awaitable[Any]], page: Any, rows: Rows) -> AsyncIterator[bytes]:
    yield rows.head()
    while True:
        yield await run_in_threadpool(rows.items, page.items)
        if page.cursor is None:
            return
        try:
            page = await ask(page.cursor)
        except Exception as exc:
            log.warning("a list broke off before its end: %s", type(exc).__name__)
            yield rows.problem(told(exc))
            raise
