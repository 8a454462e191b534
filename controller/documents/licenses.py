"""The licences in what a component says of its own: SPDX licence expressions (SPDX 2.3, annex D), read flat.

A rule that forbids a licence must find it wherever it stands: beside others (`MIT OR GPL-3.0-only`), in brackets, with
an exception, in other letter case, and in text that is no expression. So what is found are the names of all licences,
whatever joins them. What cannot be read as an expression is found as it was written, and beside it each name in it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from controller.documents.spdx_licenses import IDENTIFIERS
from controller.documents.unquoted import Unusable
from controller.errors import LimitExceeded

NO_ASSERTION = "NOASSERTION"
"""What stands for the licence of a component that names none, as in SPDX."""

MAX_NAMES = 1000  # licences named in one text
MAX_PATTERN_LENGTH = 200  # characters
_REMEMBERED = 4096  # an SBOM of thousands of components has some dozens of different texts

_LISTED = {identifier.lower(): identifier for identifier in IDENTIFIERS} | dict.fromkeys(
    ("noassertion", "none"), NO_ASSERTION
)
_TOKEN = re.compile(r"[()]|[^\s(),;/|&]+")
_NAME = re.compile(r"(?:DocumentRef-[A-Za-z0-9.-]+:)?[A-Za-z0-9.-]+\+?")
_OPERATORS = frozenset({"and", "or", "with"})
_VERSIONS = re.compile(r"(?:\+|-only|-or-later)$")


def names(written: Iterable[str]) -> tuple[str, ...]:
    """The names of all licences in some texts, each once, in their order; `NOASSERTION` alone where there are none.

    A listed identifier is written as the SPDX list writes it. Raises `LimitExceeded` (`MAX_NAMES`).
    """
    found = dict.fromkeys(name for text in written for name in _names(text))
    return tuple(found) or (NO_ASSERTION,)


def named(written: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether one of the licences in these texts is one of `patterns` (see `pattern`)."""
    found = {_plain(name) for name in names(written)}
    return any(fnmatch.fnmatchcase(name, pattern) for name in found for pattern in patterns)


def pattern(text: str) -> str:
    """A licence that `named` looks for: an SPDX identifier, `*` standing for anything (`GPL-*`).

    Which versions a licence is granted in makes no difference (`GPL-2.0`, `GPL-2.0+`, `GPL-2.0-only`,
    `GPL-2.0-or-later`), nor does letter case. Raises `Unusable`.
    """
    if not text or len(text) > MAX_PATTERN_LENGTH or not re.fullmatch(r"[A-Za-z0-9.:+*-]+", text):
        raise Unusable("{} is no SPDX licence identifier such as 'GPL-3.0-only' or 'GPL-*'", text)
    return _plain(text)


@lru_cache(maxsize=_REMEMBERED)
def _names(text: str) -> tuple[str, ...]:
    tokens = _TOKEN.findall(text)
    if len(tokens) > 4 * MAX_NAMES:
        raise LimitExceeded("MAX_NAMES", f"a component names more than {MAX_NAMES} licences in one text")
    if "".join(text.split()) == "".join(tokens) and _is_expression(tokens):
        found = [_listed(token) for token in _licensed(tokens)]
    else:
        mentioned = (token for token in tokens if token.rstrip("+").lower() in _LISTED or "LicenseRef-" in token)
        found = [text.strip(), *map(_listed, mentioned)]
    return tuple(dict.fromkeys(filter(None, found)))


def _is_expression(tokens: Sequence[str]) -> bool:
    """Whether the tokens are names joined by operators, in brackets that close."""
    depth, wanted = 0, True  # a name or an opening bracket is wanted next
    for part in tokens:
        if part == "(":
            depth += 1
            if not wanted:
                return False
        elif part == ")":
            depth -= 1
            if wanted or depth < 0:
                return False
        elif part.lower() in _OPERATORS:
            if wanted:
                return False
            wanted = True
        else:
            if not wanted or not _NAME.fullmatch(part):
                return False
            wanted = False
    return not wanted and depth == 0


def _licensed(tokens: Sequence[str]) -> Iterable[str]:
    """The names that are licences: what follows `WITH` is an exception to one, unless it is a licence of the list."""
    before = ""
    for token in tokens:
        if token not in {"(", ")"} and token.lower() not in _OPERATORS and (before != "with" or _is_listed(token)):
            yield token
        before = token.lower()


def _is_listed(name: str) -> bool:
    return not _LISTED.keys().isdisjoint({name.lower(), name.removesuffix("+").lower()})


def _listed(name: str) -> str:
    """A name as the list writes it. `+` means *or any later version*, and a few listed names end with it."""
    known = _LISTED.get(name.lower())
    if known is not None:
        return known
    plain = _LISTED.get(name.removesuffix("+").lower())
    return f"{plain}+" if plain is not None else name


def _plain(name: str) -> str:
    return _VERSIONS.sub("", name.lower())
