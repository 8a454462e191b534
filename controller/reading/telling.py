"""What may be told of an error: by the interface, and by a command, which needs no web framework for it."""

from __future__ import annotations

from http import HTTPStatus

from controller.errors import InputError, Unavailable

UNEXPECTED = "the question could not be answered"


class Refused(Exception):
    """A question that is not answered: 401 to nobody, 403 to somebody who may not."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message


def told(error: Exception) -> dict[str, object]:
    """What may be told of an error whose answer has begun already: as `problems.problem` has it."""
    match error:
        case Refused():
            status, code, detail = error.status, error.code, error.message
        case InputError():
            status, code, detail = HTTPStatus.BAD_REQUEST, error.code, error.message
        case Unavailable():
            status, code, detail = HTTPStatus.SERVICE_UNAVAILABLE, error.code, error.message
        case _:
            status, code, detail = HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", UNEXPECTED
    return {"status": int(status), "code": code, "detail": detail}
