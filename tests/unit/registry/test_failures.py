"""Every failure of the HTTP library has a meaning in the table, and every status code is one kind of error."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import client_exceptions

from controller.errors import AccessDenied, AssayError, NotFound, Unacceptable, Unavailable
from controller.registry.failures import MEANINGS, raise_for_status

# Neither web sockets nor uploads are ever used here.
ELSEWHERE = {"WSServerHandshakeError", "WSMessageTypeError", "UploadAbortedError"}


def test_the_table_has_every_error_of_the_library() -> None:
    library = {
        error
        for name in client_exceptions.__all__
        if isinstance(error := getattr(client_exceptions, name), type) and issubclass(error, Exception)
    }
    assert {error.__name__ for error in library - MEANINGS.keys()} <= ELSEWHERE
    assert aiohttp.ClientError in library


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AccessDenied),
        (403, AccessDenied),
        (404, NotFound),
        (408, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
        (599, Unavailable),
        (201, Unacceptable),
        (206, Unacceptable),
        (304, Unacceptable),
        (400, Unacceptable),
        (410, Unacceptable),
        (451, Unacceptable),
    ],
)
def test_status_codes(status: int, kind: type[AssayError]) -> None:
    with pytest.raises(AssayError) as raised:
        raise_for_status(status, host="registry.example", what="the image", credentials="without credentials")
    assert type(raised.value) is kind
    assert "registry.example" in raised.value.message


def test_only_200_is_an_answer() -> None:
    raise_for_status(200, host="registry.example", what="the image", credentials="")
