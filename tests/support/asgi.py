"""One request to an ASGI application, in memory: what the server in front of it would hand over, byte for byte."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from typing import Any

JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)

    @property
    def response(self) -> dict[str, Any]:
        """`response` of the AdmissionReview that came back; fails for anything else."""
        review = self.json
        assert self.status == 200
        assert self.headers["content-type"] == "application/json"
        assert set(review) == {"apiVersion", "kind", "response"}
        assert (review["apiVersion"], review["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        response: dict[str, Any] = review["response"]
        return response


async def call(
    app: Any,
    method: str,
    path: str,
    body: bytes | AsyncIterable[bytes] = b"",
    *,
    query: str = "",
    headers: Mapping[str, str] = JSON,
) -> Answer:
    """Send a request and take its answer. A body that is a stream and ends in None is a client that went away."""
    chunks = body if isinstance(body, AsyncIterable) else _one(body)
    messages = _messages(chunks)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return await anext(messages)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 443),
    }
    await app(scope, receive, send)
    start = next(message for message in sent if message["type"] == "http.response.start")
    content = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return Answer(start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, content)


async def _one(body: bytes) -> Any:
    yield body


async def _messages(chunks: AsyncIterable[bytes | None]) -> Any:
    async for chunk in chunks:
        if chunk is None:
            yield {"type": "http.disconnect"}
            return
        yield {"type": "http.request", "body": chunk, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}
    while True:
        yield {"type": "http.disconnect"}
