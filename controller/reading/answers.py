"""What every answer bears, around all routes: whom it may reach, what a browser may do with it, and its tag.

An answer in JSON has an ETag (RFC 9110, 8.8): strong of one record, weak of a list, which says the same with other
bytes: its cursor has the time of the question, and that of an earlier answer goes on as well. Whoever shows it by
If-None-Match is told that nothing changed, without the bytes. It is made of the answer, so it never says *unchanged* of
what is not; it saves the line, not the question.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from controller.errors import AssayError
from controller.reading import problems
from controller.reading.reads import ReadRecorder
from controller.reading.whole import WEAK

log = logging.getLogger(__name__)

HEADERS = {
    "Cache-Control": "private, no-cache",  # who keeps it asks again, and may be told that it did not change
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}
"""Of what never changes: raw bytes, full tiles, one record."""
VARY = "Authorization, Accept"
_CURSOR = re.compile(rb'"cursor":"[A-Za-z0-9_-]+"')  # no text in JSON has it: its quotes would be escaped


class Answers:
    """The outermost part of the application.

    `is_known` says whether requests may ask for a host of this name; `reads` records what is read before it leaves.
    """

    def __init__(self, app: ASGIApp, *, is_known: Callable[[str], bool], reads: ReadRecorder | None = None) -> None:
        self._app = app
        self._reads = reads
        self._is_known = is_known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = _Answer(send, asked=headers.get("If-None-Match", ""), scope=scope, reads=self._reads)
        if self._is_known(host_of(headers.get("Host", ""))):
            await self._app(scope, receive, answer.send)
            return
        refusal = problems.problem(
            HTTPStatus.MISDIRECTED_REQUEST, "HostUnknown", "this server is not known by the name that was asked for"
        )
        await refusal(scope, receive, answer.send)


class _Answer:
    """One answer on its way. A JSON answer comes whole from the application, so it is held back for its tag."""

    def __init__(self, send: Send, *, asked: str, scope: Scope, reads: ReadRecorder | None) -> None:
        self._reads = reads
        self._withheld = False
        self._send = send
        self._asked = asked
        self._scope = scope
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        """Take one message of the application."""
        if self._withheld:
            return
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Vary", VARY)
            if message["status"] == HTTPStatus.OK and headers.get("Content-Type") == "application/json":
                self._start = message
                return
            if not await self._may_leave(message, None):
                return
        elif self._start is not None:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)
            return
        await self._send(message)

    async def _finish(self, start: Message) -> None:
        whole = self._body
        headers = MutableHeaders(scope=start)
        is_list = self._scope.get("state", {}).get(WEAK)
        told = _CURSOR.sub(b'"cursor":""', self._body) if is_list else self._body
        tag = headers.setdefault("ETag", f'{"W/" if is_list else ""}"{hashlib.sha256(told).hexdigest()}"')
        if matches(self._asked, tag):
            start["status"] = int(HTTPStatus.NOT_MODIFIED)
            del headers["Content-Length"]
            del headers["Content-Type"]
            self._body = b""
        if await self._may_leave(start, whole):
            await self._send(start)
            await self._send({"type": "http.response.body", "body": self._body})

    async def _may_leave(self, start: Message, body: bytes | None) -> bool:
        """Whether this answer may leave: recorded, if reads are; else another one has left in its place."""
        if self._reads is None or not self._reads.covers(self._scope, start["status"]):
            return True
        MutableHeaders(scope=start)["Cache-Control"] = "no-store"  # what is read again is recorded again
        try:
            await self._reads.record(self._scope, start["status"], body)
        except AssayError as exc:
            log.error("a read could not be recorded, so it is not answered: %s", exc)  # noqa: TRY400 - its cause is in it
            self._withheld = True
            refusal = problems.problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "ReadNotRecorded", "what is read is recorded first, and cannot be now"
            )
            await refusal(self._scope, _nothing, self._send)
            return False
        return True


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


def matches(asked: str, tag: str) -> bool:
    """Whether If-None-Match names this tag, by the weak comparison (RFC 9110, 8.8.3.2)."""
    named = {part.strip().removeprefix("W/") for part in asked.split(",")}
    return asked.strip() == "*" or tag.removeprefix("W/") in named


def host_of(header: str) -> str:
    """The host that was asked for, without port."""
    host = header.lower()
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]
