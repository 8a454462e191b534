"""Texts: cel-go's `ext.Strings` version 2, as a Kubernetes 1.34 API server has it. Positions count characters."""

from __future__ import annotations

from typing import Any

from controller.policy.cel.failure import CelError
from controller.policy.cel.libraries.formatting import check_format, format_text, quoted
from controller.policy.cel.meter import Meter
from controller.policy.cel.overloads import SCANS, Library
from controller.policy.cel.schema import DYN, INT, STRING, list_of

LIBRARY = Library(
    "strings", "Functions over texts. Positions count characters, from 0.", "cel-go ext.Strings version 2"
)

_SPACE = (  # Unicode's White_Space, which Python's strip() is not
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005"
    "\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_ENTRY = 16  # what one entry of a list costs, in bytes
_BUILDS = f"{SCANS} of the text and of the result"
_QUADRATIC = 64  # searching backwards may compare the part at every character; this many at once are free


@LIBRARY.method("charAt", STRING, INT, returns=STRING)
def char_at(_meter: Meter, text: str, index: int) -> str:
    """The character at a position; empty at the end of the text."""
    if not 0 <= index <= len(text):
        raise CelError("index out of range")
    return text[index : index + 1]


@LIBRARY.method("indexOf", STRING, STRING, returns=INT, cost=SCANS)
@LIBRARY.method("indexOf", STRING, STRING, INT, returns=INT, cost=SCANS)
def index_of(meter: Meter, text: str, part: str, start: int = 0) -> int:
    """Where the part stands first, from a position on; -1 if it does not."""
    meter.charge(len(text) + len(part))
    if not part:
        return start
    if start < 0:
        raise CelError("index out of range")
    return text.find(part, start)


@LIBRARY.method("lastIndexOf", STRING, STRING, returns=INT, cost=SCANS)
@LIBRARY.method("lastIndexOf", STRING, STRING, INT, returns=INT, cost=SCANS)
def last_index_of(meter: Meter, text: str, part: str, start: int | None = None) -> int:
    """Where the part stands last, from a position backwards; -1 if it does not."""
    meter.charge(len(text) * (1 + len(part) // _QUADRATIC))
    if not part:
        return len(text) if start is None else start
    if start is None:
        return text.rfind(part)
    if start < 0:
        raise CelError("index out of range")
    return text.rfind(part, 0, start + len(part)) if start < len(text) else -1


@LIBRARY.method("join", list_of(STRING), returns=STRING, cost=_BUILDS)
@LIBRARY.method("join", list_of(STRING), STRING, returns=STRING, cost=_BUILDS)
def join(meter: Meter, entries: Any, separator: str = "") -> str:
    """All texts one after the other, with a separator between them."""
    size = 0
    for entry in entries:
        if not isinstance(entry, str):
            raise CelError("join: not all entries are strings")
        size += len(entry)
    meter.build(size + len(separator) * max(0, len(entries) - 1) + len(entries) * _ENTRY)
    return separator.join(entries)


@LIBRARY.method("lowerAscii", STRING, returns=STRING, cost=_BUILDS)
def lower(meter: Meter, text: str) -> str:
    """The text with A to Z in lower case."""
    meter.build(len(text))
    return text.translate(_LOWER)


@LIBRARY.method("upperAscii", STRING, returns=STRING, cost=_BUILDS)
def upper(meter: Meter, text: str) -> str:
    """The text with a to z in upper case."""
    meter.build(len(text))
    return text.translate(_UPPER)


@LIBRARY.method("replace", STRING, STRING, STRING, returns=STRING, cost=_BUILDS)
@LIBRARY.method("replace", STRING, STRING, STRING, INT, returns=STRING, cost=_BUILDS)
def replace(meter: Meter, text: str, old: str, new: str, count: int = -1) -> str:
    """The text with each part, or the first so many, replaced; a negative number means all."""
    meter.charge(len(text) + len(old))
    found = text.count(old)
    if 0 <= count < found:
        found = count
    meter.build(len(text) + found * max(0, len(new) - len(old)))
    return text.replace(old, new, found)


@LIBRARY.method("split", STRING, STRING, returns=list_of(STRING), cost=_BUILDS)
@LIBRARY.method("split", STRING, STRING, INT, returns=list_of(STRING), cost=_BUILDS)
def split(meter: Meter, text: str, separator: str, count: int = -1) -> list[str]:
    """The parts between the separators, at most so many; with an empty separator, the characters."""
    meter.charge(len(text) + len(separator))
    if count == 0:
        return []
    parts = len(text) if not separator else text.count(separator) + 1
    if 0 < count < parts:
        parts = count
    meter.build(len(text) + parts * _ENTRY)
    if separator:
        return text.split(separator, parts - 1)
    return [*text[: parts - 1], text[parts - 1 :]] if text else []


@LIBRARY.method("substring", STRING, INT, returns=STRING, cost=_BUILDS)
@LIBRARY.method("substring", STRING, INT, INT, returns=STRING, cost=_BUILDS)
def substring(meter: Meter, text: str, start: int, end: int | None = None) -> str:
    """The characters from one position up to another one, which is not among them."""
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise CelError("index out of range")
    meter.build(stop - start)
    return text[start:stop]


@LIBRARY.method("trim", STRING, returns=STRING, cost=_BUILDS)
def trim(meter: Meter, text: str) -> str:
    """The text without the white space around it."""
    meter.build(len(text))
    return text.strip(_SPACE)


@LIBRARY.method("format", STRING, list_of(DYN), returns=STRING, cost=_BUILDS, check=check_format, counts=True)
def formatted(meter: Meter, text: str, arguments: Any) -> str:
    """The text with %s, %d, %f, %e, %b, %o, %x and %X (and %.3f) replaced by the entries of the list, and %% by %."""
    return format_text(meter, text, arguments)


@LIBRARY.function("strings.quote", STRING, returns=STRING, cost=_BUILDS)
def quote(meter: Meter, text: str) -> str:
    """The text as a literal in double quotes."""
    meter.build(2 * len(text) + 2)
    return quoted(text)
