"""What is wrong with an expression, with its place shown below the line that it stands in."""

from __future__ import annotations

from controller.errors import PolicyError, Unacceptable
from controller.policy.cel.syntax import Place

_MAX_SHOWN = 160  # characters of a long line that an excerpt shows


class ExpressionError(PolicyError):
    """A mistake in an expression. `message` is one line and begins with the place; `excerpt` shows it with a caret."""

    def __init__(self, code: str, message: str, place: Place | None, text: str) -> None:
        where = f"line {place.line}, column {place.column}: " if place is not None else ""
        super().__init__(code, f"{where}{message}")
        self.place = place
        self.excerpt = excerpt(text, place if place is not None else place_at(text, len(text)))


class ExpressionFailed(Unacceptable):
    """An expression that has no value for what it was given. `message` and `excerpt` are as for `ExpressionError`."""

    def __init__(self, message: str, place: Place | None, text: str) -> None:
        where = f"line {place.line}, column {place.column}: " if place is not None else ""
        super().__init__("ExpressionFailed", f"{where}{message}")
        self.place = place
        self.excerpt = excerpt(text, place) if place is not None else ""


def place_at(text: str, start: int, end: int | None = None) -> Place:
    """The place of a character of a text."""
    line = text.count("\n", 0, start) + 1
    column = start - (text.rfind("\n", 0, start) + 1) + 1
    return Place(line, column, start, start + 1 if end is None else end)


def excerpt(text: str, place: Place) -> str:
    """The line of an expression with carets below the place; tabs stay tabs, so that the caret stands right."""
    lines = text.split("\n")
    line = lines[min(place.line, len(lines)) - 1].rstrip("\r")
    first = place.column - 1
    width = max(1, min(place.end - place.start, len(line) - first))
    begin = max(0, first - _MAX_SHOWN // 2) if len(line) > _MAX_SHOWN else 0
    shown = line[begin : begin + _MAX_SHOWN]
    indent = "".join("\t" if c == "\t" else " " for c in shown[: first - begin])
    carets = "^" * min(width, max(1, _MAX_SHOWN - len(indent)))
    return f"{shown}\n{indent}{carets}"
