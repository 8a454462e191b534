"""HTTP in front of the pipeline: bytes to an AdmissionRequest, a decision to bytes, and every failure to a refusal.

Nothing here decides. What cannot be read is 400 or 413, what cannot be judged or recorded is a refusal with its cause;
there is no path from an exception to an allow.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect

from controller import admission, telemetry
from controller.errors import AssayError, ConfigurationError, InputError, NotReady, TooLarge, Unavailable
from controller.model.deadline import Deadline
from controller.model.workload import AdmissionRequest
from controller.review.pipeline import Pipeline
from controller.settings import WebhookSettings
from controller.webhook.policies import PolicyReviews
from controller.webhook.server import CLIENT

log = logging.getLogger(__name__)

MAX_TIMEOUT = 30.0  # seconds; the API server's own bound on `timeoutSeconds`
REMEMBERED_QUERIES = 64  # different queries of which the timeout is remembered: an API server has one for each webhook
MAX_REMEMBERED_QUERY = 64  # bytes of such a query
NETWORK_SHARE = 0.95  # of the API server's time; the rest is for the way there and back
_TIMEOUT = re.compile(r"(?:([0-9]{1,9})m)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)(m?)s)?")
Review = Callable[[AdmissionRequest, Deadline], Awaitable[dict[str, Any]]]
_Answer = Callable[[Request, str, Review, "_Lane"], Awaitable[Response]]


class Readiness(Protocol):
    """Whether this replica may judge."""

    def check(self) -> None:
        """Raise `NotReady` saying what is missing."""
        ...


def create_app(
    settings: WebhookSettings, *, pipeline: Pipeline, readiness: Readiness, policies: PolicyReviews | None = None
) -> FastAPI:
    """The ASGI application of the webhook role. Without `policies` it reviews pods alone.

    Raises `ConfigurationError` (`SettingInvalid`) for client names without a CA: they would be believed of anybody.
    """
    if settings.webhook_client_names and not settings.webhook_client_ca_file:
        raise ConfigurationError("SettingInvalid", "webhook_client_names needs webhook_client_ca_file")
    app = FastAPI(
        title="Assay webhook",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # Else every request looks whether somebody set up OpenTelemetry in this process.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    body = settings.webhook_max_body_bytes
    pods = _Lane(
        _Intake(
            one=body, all_=settings.webhook_max_bytes, all_bound="webhook_max_bytes", most=settings.webhook_max_bodies
        ),
        settings.webhook_max_reviews,
        "webhook_max_reviews",
    )

    async def answer(request: Request, endpoint: str, review: Review, lane: _Lane) -> Response:
        began = time.perf_counter()
        if (stranger := _stranger(request, settings)) is not None:
            return stranger
        verdict = "Refused"
        try:
            deadline = Deadline.after(NETWORK_SHARE * _timeout(request, settings))
            async with lane.intake.body(request, deadline) as body:
                with lane.place():
                    content = await _review(admission.parse_review(body), deadline, review)
            verdict = "Allow" if content["response"]["allowed"] else "Deny"
            return Response(json.dumps(content), media_type="application/json")
        except TooLarge as exc:
            return _problem(413, exc.code, exc.message)
        except Unavailable as exc:
            return _problem(429, exc.code, exc.message)
        except InputError as exc:
            return _problem(400, exc.code, exc.message)
        finally:
            telemetry.REVIEWS.labels(endpoint, verdict).inc()
            telemetry.REVIEW_SECONDS.labels(endpoint).observe(time.perf_counter() - began)

    async def mutate(request: AdmissionRequest, deadline: Deadline) -> dict[str, Any]:
        readiness.check()
        return admission.patch_response(request.uid, await pipeline.mutate(request, deadline=deadline))

    async def validate(request: AdmissionRequest, deadline: Deadline) -> dict[str, Any]:
        readiness.check()
        return admission.decision_response(request.uid, await pipeline.validate(request, deadline=deadline))

    async def mutate_endpoint(request: Request) -> Response:
        return await answer(request, "mutate", mutate, pods)

    async def validate_endpoint(request: Request) -> Response:
        return await answer(request, "validate", validate, pods)

    # Plain routes: they take the request as it is, and have no parameters for FastAPI to look for each time.
    app.add_route("/mutate", mutate_endpoint, methods=["POST"])
    app.add_route("/validate", validate_endpoint, methods=["POST"])
    if policies is not None:
        _add_policy_reviews(app, settings, policies, answer)
    _add_probes(app, readiness)
    return app


def _add_policy_reviews(app: FastAPI, settings: WebhookSettings, policies: PolicyReviews, answer: _Answer) -> None:
    """The endpoints of Assay's own resources, in a lane of their own: no flood of pods delays them, nor they a pod."""
    most = settings.webhook_max_policy_reviews
    intake = _Intake(
        one=settings.webhook_max_body_bytes,
        all_=settings.webhook_max_policy_bytes,
        all_bound="webhook_max_policy_bytes",
        most=most,
    )
    lane = _Lane(intake, most, "webhook_max_policy_reviews")

    async def validate_policy(request: Request) -> Response:
        return await answer(request, "validate-policy", policies.validate, lane)

    async def mutate_policy(request: Request) -> Response:
        return await answer(request, "mutate-policy", policies.mutate, lane)

    app.add_route("/validate-policy", validate_policy, methods=["POST"])
    app.add_route("/mutate-policy", mutate_policy, methods=["POST"])


def _add_probes(app: FastAPI, readiness: Readiness) -> None:
    """What probes and scrapers ask, who have no client certificate."""

    @app.get("/livez")
    async def livez() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.get("/readyz")
    async def readyz() -> Response:
        try:
            readiness.check()
        except NotReady as exc:
            return _problem(503, exc.code, exc.message)
        return Response("ok\n", media_type="text/plain")

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(telemetry.exposition(), media_type=telemetry.CONTENT_TYPE)


async def _review(request: AdmissionRequest, deadline: Deadline, review: Review) -> dict[str, Any]:
    """The review's answer, or a refusal in the same form: an HTTP error would be let in by `failurePolicy: Ignore`."""
    try:
        async with asyncio.timeout(deadline.remaining()):  # whatever a port does, the answer comes in time
            return await review(request, deadline)
    except TimeoutError:
        log.warning("the deadline of a review of %s %s/%s came", request.kind, request.namespace, request.name)
        message = "Assay could not decide: DeadlineExceeded: the API server's deadline came first. Try again."
        return admission.refusal_response(request.uid, code=504, reason="Timeout", message=message)
    except InputError as exc:
        message = f"Assay cannot read this object: {exc}"
        return admission.refusal_response(request.uid, code=400, reason="BadRequest", message=message)
    except AssayError as exc:
        log.warning("refused a review of %s %s/%s: %s", request.kind, request.namespace, request.name, exc)
        message = f"Assay could not decide: {str(exc).rstrip('.')}."
        if isinstance(exc, Unavailable | NotReady):
            message += " Try again."
        return admission.refusal_response(request.uid, code=503, reason="ServiceUnavailable", message=message)
    except Exception:  # the last line: a fault of Assay's own refuses, it never allows
        log.exception("a review of %s %s/%s failed", request.kind, request.namespace, request.name)
        message = "Assay could not decide: InternalError: a fault of its own, which its log describes"
        return admission.refusal_response(request.uid, code=500, reason="InternalError", message=message)


@dataclass(slots=True, eq=False)
class _Lane:
    """Reviews of one sort, bounded apart from others: `most` under way at once, by the setting `bound`."""

    intake: _Intake
    most: int
    bound: str
    under_way: int = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among those under way. Raises `Unavailable` (`TooManyReviews`)."""
        if self.under_way >= self.most:
            raise Unavailable("TooManyReviews", f"more reviews are under way than {self.bound} allows")
        self.under_way += 1
        telemetry.REVIEWS_UNDER_WAY.inc()
        try:
            yield
        finally:
            self.under_way -= 1
            telemetry.REVIEWS_UNDER_WAY.dec()


@dataclass(slots=True, eq=False)
class _Coming:
    """A body that is not there whole yet."""

    limit: asyncio.Timeout
    size: int = 0


class _Intake:
    """Bodies of reviews, bounded one by one and all together: whoever reaches the port may send them.

    An API server sends a body at once. So where there are too many, or too many bytes, the one that has been coming the
    longest makes room for the newest: whoever stalls bodies displaces his own, and nobody's review is refused for them.
    """

    def __init__(self, *, one: int, all_: int, all_bound: str, most: int) -> None:
        self._one, self._all, self._all_bound = one, all_, all_bound
        self._most = max(1, most)
        self._held = 0
        self._coming: dict[_Coming, None] = {}  # oldest first

    @asynccontextmanager
    async def body(self, request: Request, deadline: Deadline) -> AsyncIterator[bytes]:
        """The whole body, counted for as long as it is worked on.

        Raises `InputError` (`ContentTypeUnsupported`, `ContentEncodingUnsupported`, `BodyIncomplete`), `TooLarge`
        (`BodyTooLarge`) and `Unavailable` (`TooManyBytes`).
        """
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise InputError("ContentTypeUnsupported", "the body must be application/json")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise InputError("ContentEncodingUnsupported", "the body must not be compressed")
        coming = _Coming(asyncio.timeout(deadline.remaining()))
        try:
            try:
                async with coming.limit:
                    content = await self._whole(request, coming)
            except (TimeoutError, ClientDisconnect) as exc:
                raise InputError("BodyIncomplete", "the body did not come whole in time") from exc
            finally:
                self._coming.pop(coming, None)
            yield content
        finally:
            self._held -= coming.size

    async def _whole(self, request: Request, coming: _Coming) -> bytes:
        if len(self._coming) >= self._most:
            self._displace()
        self._coming[coming] = None
        chunks: list[bytes] = []
        async for chunk in request.stream():
            if coming not in self._coming:
                raise TimeoutError  # displaced, and its end came in the same moment as this chunk
            coming.size += len(chunk)
            self._held += len(chunk)
            if coming.size > self._one:
                message = f"the body has more than {self._one} bytes (bound: webhook_max_body_bytes)"
                raise TooLarge("BodyTooLarge", message)
            while self._held > self._all and next(iter(self._coming)) is not coming:
                self._displace()
            if self._held > self._all:
                message = f"reviews of {self._all} bytes are under way (bound: {self._all_bound})"
                raise Unavailable("TooManyBytes", message)
            chunks.append(chunk)
        return b"".join(chunks)

    def _displace(self) -> None:
        """End the body that has been coming the longest; its bytes are free as soon as its task has its turn."""
        oldest = next(iter(self._coming))
        del self._coming[oldest]
        self._held -= oldest.size
        oldest.size = 0
        oldest.limit.reschedule(0.0)


def _stranger(request: Request, settings: WebhookSettings) -> Response | None:
    """The refusal of a caller who is not who may ask, before a byte of his body is read; None for one who may."""
    if not settings.webhook_client_ca_file:
        return None
    names: frozenset[str] | None = request.scope.get("state", {}).get(CLIENT)
    if names is not None and (not settings.webhook_client_names or names & set(settings.webhook_client_names)):
        return None
    log.warning("refused a caller at %s", request.client.host if request.client else "an unknown address")
    if names is None:
        message = "a client certificate by webhook_client_ca_file is needed (docs/how-to/operate.md)"
        refusal = _problem(403, "ClientUnknown", message)
    else:
        message = "the client's certificate has none of the names in webhook_client_names"
        refusal = _problem(403, "ClientForbidden", message)
    refusal.headers["Connection"] = "close"
    return refusal


def _timeout(request: Request, settings: WebhookSettings) -> float:
    """The time that the API server gives, in seconds. Raises `InputError` (`TimeoutMalformed`)."""
    query: bytes = request.scope["query_string"]
    asked = _asked(query) if len(query) <= MAX_REMEMBERED_QUERY else _read_timeout(request.query_params.get("timeout"))
    return float(settings.webhook_timeout) if asked is None else asked


@lru_cache(maxsize=REMEMBERED_QUERIES)
def _asked(query: bytes) -> float | None:
    """The same of a query, which an API server writes alike each time. What raises is not remembered."""
    return _read_timeout(QueryParams(query).get("timeout"))


def _read_timeout(text: str | None) -> float | None:
    """The API server's `timeout` query parameter, a Go duration such as `10s`, `500ms` or `1m30s`, in seconds."""
    if text is None:
        return None
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        raise InputError("TimeoutMalformed", "the timeout parameter must be a duration such as 10s")
    seconds = 60 * int(match[1] or 0) + float(match[2] or 0) / (1000 if match[3] else 1)
    if not 0 < seconds <= MAX_TIMEOUT:
        raise InputError("TimeoutMalformed", f"the timeout parameter must be between 0 and {MAX_TIMEOUT:g} seconds")
    return seconds


def _problem(status: int, code: str, message: str) -> Response:
    return Response(f"{code}: {message}\n", status_code=status, media_type="text/plain")
