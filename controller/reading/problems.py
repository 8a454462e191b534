"""Every error of the interface as `application/problem+json` (RFC 9457): a stable reason code, no foreign text."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from controller.errors import AssayError, InputError, Unavailable
from controller.reading.telling import UNEXPECTED, Refused

MEDIA_TYPE = "application/problem+json"
TIME_EXPECTED = (
    "expected a time with its zone, such as 2026-03-01T00:00:00Z (in an address the + of +02:00 is written %2B)"
)
_NO_TIME = {"timezone_aware", "datetime_parsing", "datetime_from_date_parsing", "datetime_type"}  # pydantic's names
RETRY_AFTER = 2  # seconds after which a database that was busy may be asked again
_CODES = {HTTPStatus.NOT_FOUND: "NotFound", HTTPStatus.METHOD_NOT_ALLOWED: "MethodNotAllowed"}


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """One problem. `code` is what programs look at, `detail` is for people."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code, "detail": detail}
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI) -> None:
    """Make the application answer every error this way."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(AssayError, _assay)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 - registered for nothing else
    headers = {"WWW-Authenticate": "Bearer"} if error.status is HTTPStatus.UNAUTHORIZED else None
    return problem(error.status, error.code, error.message, headers)


async def _assay(_request: Request, error: Exception) -> Response:
    if isinstance(error, InputError):
        return problem(HTTPStatus.BAD_REQUEST, error.code, error.message)
    if isinstance(error, Unavailable):
        headers = {"Retry-After": str(RETRY_AFTER)}
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, error.code, error.message, headers)
    return await _unexpected(_request, error)


async def _invalid(_request: Request, error: Exception) -> Response:
    """A parameter that is malformed, or that there is none of: a filter misspelt would answer with everything."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    first = error.errors()[0]
    name = next((str(each) for each in first["loc"][1:]), str(first["loc"][-1]))[:100]  # of a list: its name
    if first["type"] == "extra_forbidden":
        return problem(HTTPStatus.BAD_REQUEST, "ParameterUnknown", f"there is no parameter {name!r}")
    message = TIME_EXPECTED if first["type"] in _NO_TIME else first["msg"]
    return problem(HTTPStatus.BAD_REQUEST, "ParameterInvalid", f"parameter {name!r}: {message}")


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    status = HTTPStatus(error.status_code)
    code = _CODES.get(status, "RequestRefused")
    return problem(status, code, f"{status.phrase.lower()}: see /api/v1/openapi.json", dict(error.headers or {}))


async def _unexpected(_request: Request, _error: Exception) -> Response:
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", UNEXPECTED)
