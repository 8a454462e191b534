"""Reads untyped YAML or JSON field by field and remembers everything that is wrong with it.

One mistake must not hide the next, and none may be passed over: a field that is not known is a bound that is not set.
So nothing here raises; each mistake becomes a `Problem` with the field's path, and the reader goes on.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from controller.model.policy import Problem

MAX_TEXT = 65_536  # characters of one text field; bounds what is compiled, hashed and shown
MAX_ITEMS = 256  # entries of one list or map of a policy
NOT_SUPPORTED_YET = "NotSupportedYet"

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d")

_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

Choice = TypeVar("Choice", bound=StrEnum)


class Fields:
    """One JSON object at a path. A field is known once it was asked for; `close` reports the others.

    `null` is the same as absent, as in Kubernetes.
    """

    def __init__(self, value: Any, path: str, problems: list[Problem]) -> None:
        self.path = path
        self.problems = problems
        self._known: set[str] = set()
        self._value: Mapping[Any, Any] = {}
        if isinstance(value, Mapping):
            self._value = value
        elif value is not None:
            self.problem("WrongType", f"must be an object, not {_kind(value)}")

    def problem(self, code: str, message: str, name: str = "") -> None:
        """Note that the field (or the object itself) is wrong. `message` completes "the field …"."""
        self.problems.append(Problem(code=code, field=_printable(self.at(name)), message=_printable(message)))

    def at(self, name: str) -> str:
        """The path of a field."""
        return ".".join(part for part in (self.path, name) if part)

    def has(self, name: str) -> bool:
        """Whether the field is given."""
        self._known.add(name)
        return self._value.get(name) is not None

    def raw(self, name: str) -> Any:
        """The value as it stands; None if absent."""
        self._known.add(name)
        return self._value.get(name)

    def text(self, name: str, default: str = "", *, required: bool = False) -> str:
        """A string; `required` means given and not empty."""
        value = self.raw(name)
        if value is None:
            if required:
                self.problem("FieldMissing", "is required", name)
            return default
        return self._as_text(value, name, required=required) or default

    def optional_text(self, name: str) -> str | None:
        """A string, or None if absent. An empty one is a mistake: it would match nothing or everything."""
        value = self.raw(name)
        return None if value is None else self._as_text(value, name, required=True)

    def _as_text(self, value: Any, name: str, *, required: bool) -> str | None:
        if not isinstance(value, str):
            self.problem("WrongType", f"must be a string, not {_kind(value)}{_quote_hint(value)}", name)
            return None
        if len(value) > MAX_TEXT:
            self.problem("TooLong", f"has {len(value)} characters; at most {MAX_TEXT} are allowed", name)
            return None
        if not value and required:
            self.problem("FieldMissing", "must not be empty", name)
            return None
        if _printable(value) != value:
            self.problem("WrongType", "holds half of a surrogate pair and is no Unicode text", name)
            return None
        return value

    def integer(self, name: str, default: int, *, minimum: int, maximum: int = 1000) -> int:
        """A whole number within bounds; the default where it is absent or wrong."""
        value = self.raw(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.problem("WrongType", f"must be a whole number, not {_kind(value)}", name)
            return default
        if not minimum <= value <= maximum:
            self.problem("OutOfRange", f"is {value}; it must be from {minimum} to {maximum}", name)
            return default
        return value

    def duration(self, name: str) -> float | None:
        """A time as the API writes it (`250ms`, `30s`, `5m`, `24h`, `14d`), in seconds; None where absent or wrong."""
        text = self.text(name)
        if not text:
            return None
        found = _DURATION.fullmatch(text)
        if found is None:
            must = "it must be a number of ms, s, m, h or d, such as 24h"
            self.problem("DurationMalformed", f"is {text[:20]!r}; {must}", name)
            return None
        return int(found[1]) * _UNITS[found[2]]

    def choice(self, name: str, default: Choice) -> Choice:
        """One of an enumeration's words; the default where it is absent or wrong."""
        value = self.raw(name)
        return default if value is None else self._as_choice(value, type(default), name) or default

    def choices(self, name: str, kind: type[Choice], default: tuple[Choice, ...]) -> tuple[Choice, ...]:
        """A list of an enumeration's words, each once, in the enumeration's order; the default if any is wrong."""
        if not self.has(name):
            return default
        found = [self._as_choice(value, kind, f"{name}[{i}]") for i, value in enumerate(self._list(name))]
        if not found and isinstance(self.raw(name), list):
            self.problem("FieldMissing", f"must name at least one of {_words(kind)}", name)
        return tuple(word for word in kind if word in found) if found and None not in found else default

    def _as_choice(self, value: Any, kind: type[Choice], name: str) -> Choice | None:
        try:
            return kind(value)
        except ValueError:
            shown = repr(value[:100]) if isinstance(value, str) else _kind(value)
            hint = _nearest(value, [str(word) for word in kind])
            self.problem("ValueUnknown", f"is {shown}; it must be one of {_words(kind)}{hint}", name)
            return None

    def boolean(self, name: str, *, default: bool) -> bool:
        """true or false; the default where it is absent or wrong."""
        value = self.raw(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.problem("WrongType", f"must be true or false, not {_kind(value)}", name)
        return default

    def time(self, name: str, *, required: bool = False) -> datetime | None:
        """A moment with its zone (RFC 3339), in UTC; None where it is absent or wrong."""
        value = self.raw(name)
        if value is None:
            if required:
                self.problem("FieldMissing", "is required", name)
            return None
        if isinstance(value, datetime):  # YAML reads an unquoted one as such
            value = value.isoformat()
        text = value if isinstance(value, str) else ""
        try:
            time = datetime.fromisoformat(text)
            if time.tzinfo is not None and _TIME.match(text):
                return time.astimezone(UTC)
        except (ValueError, OverflowError):  # the last hours of the year 9999, west of Greenwich, are no time in UTC
            pass
        self.problem("TimeMalformed", "must be a time with its zone (RFC 3339), such as 2026-01-31T00:00:00Z", name)
        return None

    def node(self, name: str) -> Fields:
        """The object in this field; an empty one where it is absent."""
        return Fields(self.raw(name), self.at(name), self.problems)

    def nodes(self, name: str) -> Iterator[Fields]:
        """The objects of a list."""
        for i, value in enumerate(self._list(name)):
            if value is None:
                self.problem("WrongType", "must be an object, not null", f"{name}[{i}]")
            yield Fields(value, self.at(f"{name}[{i}]"), self.problems)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings that are not empty. Wrong entries are left out, and are problems."""
        found = (self._as_text(value, f"{name}[{i}]", required=True) for i, value in enumerate(self._list(name)))
        return tuple(value for value in found if value is not None)

    def map_of_texts(self, name: str) -> tuple[tuple[str, str], ...]:
        """An object of strings, sorted by key."""
        value = self.raw(name)
        if value is None:
            return ()
        if not isinstance(value, Mapping):
            self.problem("WrongType", f"must be an object, not {_kind(value)}", name)
            return ()
        if len(value) > MAX_ITEMS:
            self.problem("TooMany", f"has {len(value)} entries; at most {MAX_ITEMS} are allowed", name)
            return ()
        found = []
        for key, entry in value.items():
            text = self._as_text(entry, f"{name}.{key}", required=False)
            if not isinstance(key, str) or _printable(key) != key:
                self.problem("WrongType", "has a key that is no Unicode string", name)
            elif text is not None:
                found.append((key, text))
        return tuple(sorted(found))

    def _list(self, name: str) -> list[Any]:
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.problem("WrongType", f"must be a list, not {_kind(value)}", name)
            return []
        if len(value) > MAX_ITEMS:
            self.problem("TooMany", f"has {len(value)} entries; at most {MAX_ITEMS} are allowed", name)
            return []
        return value

    def not_supported(self, name: str, what: str, *, unless: str = "") -> None:
        """A field of the API that this version does not carry out: given, it is refused and never ignored.

        `unless` is the one value that asks for what is done anyway.
        """
        if self.has(name) and self.raw(name) not in ([], {}, unless):
            self.problem(NOT_SUPPORTED_YET, f"is not supported yet ({what}); remove it", name)

    def close(self) -> None:
        """Report every field that was never asked for."""
        for name in self._value:
            if name not in self._known:
                hint = _nearest(name, sorted(self._known))
                self.problem("FieldUnknown", f"is no field of {self.path or 'the object'}{hint}", str(name)[:100])


def _printable(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can write and nothing can hash or store."""
    return text.encode(errors="replace").decode()


def _nearest(word: Any, known: list[str]) -> str:
    lowered = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(str(word)[:100].lower(), list(lowered), n=1, cutoff=0.5)
    return f"; did you mean {lowered[close[0]]!r}?" if close else ""


def _words(kind: type[StrEnum]) -> str:
    return ", ".join(str(word) for word in kind)


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", type(None): "null"}
    return names.get(type(value), "an object" if isinstance(value, Mapping) else type(value).__name__)


def _quote_hint(value: Any) -> str:
    return " (put it in quotes)" if isinstance(value, bool | int | float) else ""
