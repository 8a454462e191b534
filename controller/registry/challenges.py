"""What a registry asks for when it answers 401: the `WWW-Authenticate` header, parsed (RFC 9110, section 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from yarl import URL

from controller.errors import Unacceptable

MAX_CHALLENGE_LENGTH = 8192  # characters; bounds the work on one header
MAX_VALUE_LENGTH = 2048  # characters of a realm or service

_SCHEME = re.compile(r"[\s,]*([A-Za-z][A-Za-z0-9-]*)(?:\s+|(?=,|$))")
_PARAMETER = re.compile(r'\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,\s*|$)')


@dataclass(frozen=True, slots=True)
class BasicChallenge:
    """The registry takes user name and password themselves."""


@dataclass(frozen=True, slots=True)
class BearerChallenge:
    """The registry takes a token, which `realm` hands out for `service`
    (https://distribution.github.io/distribution/spec/auth/token/)."""

    realm: URL
    service: str


Challenge = BasicChallenge | BearerChallenge


def parse_challenges(headers: Iterable[str], *, host: str, insecure: bool) -> Challenge | None:
    """The challenge to answer, a token before a password; None when there is none that Assay knows.

    Raises `Unacceptable` (`ChallengeMalformed`) for a realm that is no https URL: a password must not travel in the
    open. `insecure` allows plain HTTP, for a host that is spoken to that way itself.
    """
    found: dict[str, dict[str, str]] = {}
    for header in headers:
        for scheme, parameters in _parse(header[:MAX_CHALLENGE_LENGTH]):
            found.setdefault(scheme, parameters)
    if "bearer" in found:
        return BearerChallenge(
            realm=_realm(found["bearer"].get("realm", ""), host=host, insecure=insecure),
            service=found["bearer"].get("service", "")[:MAX_VALUE_LENGTH],
        )
    return BasicChallenge() if "basic" in found else None


def _realm(text: str, *, host: str, insecure: bool) -> URL:
    try:
        realm = URL(text[:MAX_VALUE_LENGTH])
        usable = realm.scheme in {"https", *(("http",) if insecure else ())} and bool(realm.host) and not realm.user
    except ValueError:
        usable = False
    if not usable:
        raise Unacceptable("ChallengeMalformed", f"{host} names a token realm that is no https URL")
    return realm.with_fragment(None)


def _parse(header: str) -> list[tuple[str, dict[str, str]]]:
    challenges: list[tuple[str, dict[str, str]]] = []
    position = 0
    while position < len(header):
        parameter = _PARAMETER.match(header, position)
        if parameter is not None and challenges:
            value = parameter[3] if parameter[2] is None else re.sub(r"\\(.)", r"\1", parameter[2])
            challenges[-1][1].setdefault(parameter[1].lower(), value)
            position = parameter.end()
            continue
        scheme = _SCHEME.match(header, position)
        if scheme is None:
            break
        challenges.append((scheme[1].lower(), {}))
        position = scheme.end()
    return challenges
