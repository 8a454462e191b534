"""Looks at an expression's text before the parser does: literals, nesting, and what is refused by name.

cel-python's grammar is lenient about literals and says of everything else only that it is no CEL. So each literal is
read here, by the language definition, and masked before the text goes on: a literal is then no more than its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from controller.policy.cel.values import INT_MAX, INT_MIN, UINT_MAX, Uint

_TOKEN = re.compile(
    r"""
    (?P<space>[\t\n\f\r ]+|//[^\r\n]*)
  | (?P<text>(?:[bB]?[rR]?)(?:\"\"\"|'''|"|'))
  | (?P<number>0x[0-9a-fA-F]+[uU]?|(?:[0-9]+\.[0-9]+|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|[0-9]+[uU]?)
  | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<sign>&&|\|\||[=!<>]=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"""\\(?:(?P<plain>[abfnrtv"'\\?`])|[xX](?P<hex>[0-9a-fA-F]{2})|(?P<octal>[0-3][0-7]{2})"""
    r"""|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8}))"""
)
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
RESERVED = frozenset(  # CEL specification, "Syntax": RESERVED and the literals
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in"}
    | {"let", "loop", "namespace", "null", "package", "return", "true", "var", "void", "while"}
)
_LITERAL_NAMES = {"true", "false", "null", "in"}
_OPEN, _CLOSE = "([{", ")]}"


class ScanError(Exception):
    """What is wrong with the text, from `start` to `end`."""

    def __init__(self, code: str, message: str, start: int, end: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.start = start
        self.end = start + 1 if end is None else end


@dataclass(frozen=True, slots=True)
class Scanned:
    """`masked` is the text for the parser, of the same length; `literals` the text literals by their start; `signs` the
    operators, each with its start, in order."""

    masked: str
    literals: dict[int, str | bytes]
    signs: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class _Piece:
    kind: str
    text: str
    start: int


def scan(text: str, *, max_depth: int) -> Scanned:
    """Read the literals and check what needs no tree. Raises `ScanError`."""
    literals: dict[int, str | bytes] = {}
    signs: list[tuple[int, str]] = []
    masked = list(text)
    depth = 0
    previous = [_Piece("", "", 0)] * 2
    for piece in _pieces(text, literals):
        start = piece.start
        if piece.kind == "text":
            prefix = re.match("[bBrR]*", piece.text)[0]  # type: ignore[index]  # matches everything
            masked[start : start + len(piece.text)] = _mask(piece.text, prefix)
        elif piece.text in _OPEN:
            depth += 1
            if depth > max_depth:
                message = f"is nested deeper than policy_cel_max_depth ({max_depth})"
                raise ScanError("ExpressionTooDeep", message, start)
        elif piece.text in _CLOSE:
            depth = max(0, depth - 1)
            if piece.text in "]}" and previous[1].text == "," and previous[0].text not in ("", ",", "[", "{", "("):
                masked[previous[1].start] = " "  # a trailing comma, which CEL takes and cel-python's grammar does not
        if piece.kind == "sign" or piece.text == "in":
            signs.append((start, piece.text))
        _refuse(piece, previous)
        previous = [previous[1], piece]
    return Scanned("".join(masked), literals, signs)


def _refuse(piece: _Piece, previous: list[_Piece]) -> None:
    before = previous[1]
    if piece.text == "?" and before.text in {".", "[", "{"}:
        raise ScanError("NotSupported", "optional syntax is not supported; use has()", piece.start)
    if piece.text == "?" and before.text == "," and piece.kind == "sign":
        raise ScanError("NotSupported", "optional syntax is not supported; use has()", piece.start)
    if piece.kind == "name" and piece.text in RESERVED - _LITERAL_NAMES and before.text != ".":
        raise ScanError("NameReserved", f"{piece.text} is a reserved word", piece.start, piece.start + len(piece.text))
    if piece.text == "." and before.kind == "number" and _end(before) == piece.start:
        raise ScanError("ExpressionMalformed", "a number ends with a digit", piece.start)
    touches = before.kind == "number" and _end(before) == piece.start
    if touches and piece.kind in {"name", "number", "text"} and piece.text != "in":
        raise ScanError("ExpressionMalformed", "a number ends before this", piece.start)


def _end(piece: _Piece) -> int:
    return piece.start + len(piece.text)


def _pieces(text: str, literals: dict[int, str | bytes]) -> Iterator[_Piece]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            message = "a name in backticks is not supported" if text[at] == "`" else "is no character of CEL"
            raise ScanError("NotSupported" if text[at] == "`" else "ExpressionMalformed", message, at)
        kind = found.lastgroup or ""
        end = found.end()
        if kind == "text":
            end = _end_of_text(text, found[0], end, at)
            literals[at] = _value(text[at:end], found[0], at)
        if kind != "space":
            yield _Piece(kind, text[at:end], at)
        at = end


def _end_of_text(text: str, opening: str, at: int, start: int) -> int:
    """Where a text literal that opened ends."""
    quotes = opening.lstrip("bBrR")
    raw = len(opening) - len(quotes) > 0 and opening[: -len(quotes)].lower().endswith("r")
    while at < len(text):
        if text.startswith(quotes, at):
            return at + len(quotes)
        if text[at] == "\\" and not raw:
            at += 2
            continue
        if text[at] in "\r\n" and len(quotes) == 1:
            break
        at += 1
    raise ScanError("ExpressionMalformed", "the text that begins here does not end", start)


def _mask(literal: str, prefix: str) -> str:
    """A literal of the same lines and length in which the grammar finds nothing to read."""
    quotes = 3 if literal[len(prefix) :].startswith(('"""', "'''")) and len(literal) >= len(prefix) + 6 else 1
    inner = literal[len(prefix) + quotes : len(literal) - quotes]
    filler = "".join(c if c in "\r\n" else "x" for c in inner)
    kept = "b" if "b" in prefix.lower() else ""
    mark = '"' * quotes
    return f"{kept.rjust(len(prefix))}{mark}{filler}{mark}"


def _value(literal: str, opening: str, start: int) -> str | bytes:
    quotes = opening.lstrip("bBrR")
    prefix = opening[: len(opening) - len(quotes)].lower()
    inner = literal[len(opening) : len(literal) - len(quotes)]
    if "\r" in inner:
        inner = inner.replace("\r\n", "\n").replace("\r", "\n")
    binary = "b" in prefix
    if "r" in prefix or "\\" not in inner:
        return _encoded(inner, start) if binary else inner
    return _unescape_bytes(inner, start, len(opening)) if binary else _unescape(inner, start, len(opening))


def _encoded(text: str, start: int) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise ScanError("ExpressionMalformed", "is no valid Unicode", start) from exc


def _escapes(inner: str, start: int, offset: int) -> Iterator[str | re.Match[str]]:
    at = 0
    while at < len(inner):
        if inner[at] != "\\":
            end = inner.find("\\", at)
            end = len(inner) if end < 0 else end
            yield inner[at:end]
            at = end
            continue
        found = _ESCAPE.match(inner, at)
        if found is None:
            raise ScanError("ExpressionMalformed", "is no escape sequence of CEL", start + offset + at)
        yield found
        at = found.end()


def _unescape(inner: str, start: int, offset: int) -> str:
    parts = []
    for part in _escapes(inner, start, offset):
        if isinstance(part, str):
            parts.append(part)
        elif part["plain"]:
            parts.append(_PLAIN.get(part["plain"], part["plain"]))
        else:
            code = int(part["octal"], 8) if part["octal"] else int(part["hex"] or part["short"] or part["long"], 16)
            if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                message = "is no character of Unicode"
                raise ScanError("ExpressionMalformed", message, start + offset + part.start())
            parts.append(chr(code))
    return "".join(parts)


def _unescape_bytes(inner: str, start: int, offset: int) -> bytes:
    parts = []
    for part in _escapes(inner, start, offset):
        if isinstance(part, str):
            parts.append(_encoded(part, start))
        elif part["plain"]:
            parts.append(_PLAIN.get(part["plain"], part["plain"]).encode())
        elif part["short"] or part["long"]:
            message = "bytes have no escapes of Unicode"
            raise ScanError("ExpressionMalformed", message, start + offset + part.start())
        else:
            parts.append(bytes([int(part["octal"], 8) if part["octal"] else int(part["hex"], 16)]))
    return b"".join(parts)


def number(token: str) -> Any:
    """The value of a number as written, sign included. Raises `ValueError` for one that is out of range."""
    if token[-1] in "uU":
        value = int(token[:-1], 0 if "0x" in token else 10)
        if not 0 <= value <= UINT_MAX:
            raise ValueError("a uint is from 0 to 18446744073709551615")
        return Uint(value)
    if "0x" not in token and any(c in token for c in ".eE"):
        return _double(token)
    value = int(token, 0 if "0x" in token else 10)
    if not INT_MIN <= value <= INT_MAX:
        raise ValueError("an int is from -9223372036854775808 to 9223372036854775807")
    return value


def _double(token: str) -> float:
    value = float(token)
    if value in (float("inf"), float("-inf")):
        raise ValueError("is no double: too large")
    return value
