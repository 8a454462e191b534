"""The one edge at which HTTP's failures become Assay's: one table for the library's errors, one for status codes.

Messages name the host and what was asked for. They never quote what came back: it is foreign, and it is shown to
whoever created the pod (guarantee 12).
"""

from __future__ import annotations

import ssl
from enum import Enum

import aiohttp
from aiohttp import client_exceptions, http_exceptions

from controller.errors import AccessDenied, AssayError, NotFound, Unacceptable, Unavailable


class Meaning(Enum):
    """What a failure of the HTTP library says about the other side."""

    AWAY = "could not be reached"
    DROPPED = "ended the connection early"
    LATE = "did not answer in time"
    UNTRUSTED = "has no certificate that is trusted here"
    TLS = "could not agree on TLS"
    UNRESOLVED = "has a name that does not resolve"
    PROXY = "could not be reached through the proxy"
    GARBLED = "gave an answer that is not HTTP"
    ADDRESS = "has an address that is none"


# Looked up along the error's class hierarchy, so the most specific line wins. A test compares it with the library's.
MEANINGS: dict[type[BaseException], Meaning] = {
    client_exceptions.ClientConnectorCertificateError: Meaning.UNTRUSTED,
    client_exceptions.ClientConnectorSSLError: Meaning.TLS,
    client_exceptions.ClientSSLError: Meaning.TLS,
    client_exceptions.ServerFingerprintMismatch: Meaning.UNTRUSTED,
    client_exceptions.ClientConnectorDNSError: Meaning.UNRESOLVED,
    client_exceptions.ClientProxyConnectionError: Meaning.PROXY,
    client_exceptions.ClientHttpProxyError: Meaning.PROXY,
    client_exceptions.UnixClientConnectorError: Meaning.AWAY,
    client_exceptions.ClientConnectorError: Meaning.AWAY,
    client_exceptions.ClientConnectionResetError: Meaning.DROPPED,
    client_exceptions.ClientOSError: Meaning.DROPPED,
    client_exceptions.SocketTimeoutError: Meaning.LATE,
    client_exceptions.ConnectionTimeoutError: Meaning.LATE,
    client_exceptions.ServerTimeoutError: Meaning.LATE,
    client_exceptions.ServerDisconnectedError: Meaning.DROPPED,
    client_exceptions.ServerConnectionError: Meaning.DROPPED,
    client_exceptions.ClientConnectionError: Meaning.DROPPED,
    client_exceptions.ClientPayloadError: Meaning.DROPPED,
    client_exceptions.InvalidURL: Meaning.ADDRESS,
    client_exceptions.InvalidUrlClientError: Meaning.ADDRESS,
    client_exceptions.InvalidUrlRedirectClientError: Meaning.ADDRESS,
    client_exceptions.NonHttpUrlClientError: Meaning.ADDRESS,
    client_exceptions.NonHttpUrlRedirectClientError: Meaning.ADDRESS,
    client_exceptions.RedirectClientError: Meaning.ADDRESS,
    client_exceptions.TooManyRedirects: Meaning.GARBLED,
    client_exceptions.ContentTypeError: Meaning.GARBLED,
    client_exceptions.ClientResponseError: Meaning.GARBLED,
    client_exceptions.ClientError: Meaning.GARBLED,
    http_exceptions.HttpProcessingError: Meaning.GARBLED,
    ssl.SSLError: Meaning.TLS,
    TimeoutError: Meaning.LATE,
    OSError: Meaning.DROPPED,
}

TRANSLATED = (aiohttp.ClientError, http_exceptions.HttpProcessingError, OSError)
_ANSWERED = frozenset({Meaning.GARBLED, Meaning.ADDRESS})


def meaning(error: BaseException) -> Meaning:
    """What this failure says."""
    return next(MEANINGS[kind] for kind in type(error).__mro__ if kind in MEANINGS)


def says_unreachable(error: BaseException) -> bool:
    """Whether the failure counts towards the host's circuit."""
    return meaning(error) not in _ANSWERED


def translated(error: BaseException, *, host: str, what: str) -> AssayError:
    """The failure as Assay's error; the caller raises it `from` the original."""
    said = meaning(error)
    text = f"{host} {said.value} (asked for {what})"
    if said in _ANSWERED:
        return Unacceptable("RegistryAnswerMalformed", text)
    return Unavailable("RegistryTimeout" if said is Meaning.LATE else "RegistryUnavailable", text)


def raise_for_status(status: int, *, host: str, what: str, credentials: str) -> None:
    """Raise unless the status is 200. `credentials` says in words with what was asked."""
    if status == 200:
        return
    if status in {401, 403}:
        raise AccessDenied("AccessDenied", f"{host} refused {what} ({status}), asked {credentials}")
    if status == 404:
        raise NotFound("NotFound", f"{host} does not have {what}")
    if status in {408, 425} or status >= 500:
        raise Unavailable("RegistryUnavailable", f"{host} answered {status} when asked for {what}")
    raise Unacceptable("RegistryAnswerUnexpected", f"{host} answered {status} when asked for {what}")
