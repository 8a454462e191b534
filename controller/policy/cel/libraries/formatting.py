"""`'…'.format([…])`, as cel-go 0.26 has it for a Kubernetes API server (English separators included)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from controller.policy.cel.failure import CelError
from controller.policy.cel.libraries.numbers import text_of_double
from controller.policy.cel.libraries.times import text_of_duration, text_of_timestamp
from controller.policy.cel.meter import Meter
from controller.policy.cel.overloads import ConstantError, Listed
from controller.policy.cel.values import Duration, Timestamp, TypeValue, Uint, is_of, kind_of, to_cel, type_name

_CLAUSE = re.compile(r"%(?:(%)|(?:\.([0-9]+))?([sdfebxXo]))", re.ASCII)
_ESCAPES = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\", '"': '\\"'
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_PRECISION = 6
MAX_PRECISION = 200  # digits of one number: a double has no more to say


def quoted(text: str) -> str:
    """A text as a CEL literal."""
    return f'"{"".join(_ESCAPES.get(c, c) for c in text)}"'


def check_format(text: Any, arguments: Any) -> None:
    """Refuse a constant text with a clause that there is not, or with more or fewer than there are arguments."""
    if not isinstance(text, str):
        return
    try:
        clauses = sum(not isinstance(piece, str) for piece in _pieces(text))
    except CelError as exc:
        raise ConstantError(0, "ArgumentInvalid", exc.message) from exc
    listed = Listed(len(arguments)) if isinstance(arguments, list) else arguments
    if isinstance(listed, Listed) and listed.count != clauses:
        message = f"format: the text has {clauses} clauses, and the list {listed.count} entries"
        raise ConstantError(1, "ArgumentCount", message)


def format_text(meter: Meter, text: str, arguments: Any) -> str:
    """The text with its clauses replaced. Raises `CelError`."""
    meter.charge(len(text))
    built = 0
    parts = []
    waiting = iter(arguments)
    for piece in _pieces(text):
        if isinstance(piece, str):
            part = piece
        else:
            argument = next(waiting, waiting)
            if argument is waiting:
                raise CelError("format: there are fewer entries than clauses")
            part = _clause(meter, piece, to_cel(argument))
        built += len(part)
        meter.bound(built)  # the whole, so that many clauses do not pass the bound one by one
        meter.charge(len(part))
        parts.append(part)
    return "".join(parts)


def _pieces(text: str) -> Iterator[str | re.Match[str]]:
    """Plain text and clauses in turn."""
    at = 0
    while at < len(text):
        start = text.find("%", at)
        if start < 0:
            yield text[at:]
            return
        if start > at:
            yield text[at:start]
        found = _CLAUSE.match(text, start)
        if found is None:
            raise CelError("format: % stands before s, d, f, e, b, o, x, X or %, with .digits between them if need be")
        if len(found[2] or "") > len(str(MAX_PRECISION)) or int(found[2] or 0) > MAX_PRECISION:
            raise CelError(f"format: the precision is at most {MAX_PRECISION}")
        yield "%" if found[1] else found
        at = found.end()


def _clause(meter: Meter, clause: re.Match[str], value: Any) -> str:
    precision = int(clause[2]) if clause[2] is not None else _PRECISION
    match clause[3]:
        case "s":
            return _text(meter, value)
        case "f":
            return _fixed(_number(value, "f"), precision)
        case "e":
            return _scientific(_number(value, "e")).rjust(precision)  # the width, in this version
        case "d":
            return str(int(_integer(value, "d")))
        case "b":
            return format(int(value) if isinstance(value, bool) else _integer(value, "b"), "b")
        case "o":
            return format(_integer(value, "o"), "o")
    return _hexadecimal(meter, value, clause[3])


def _integer(value: Any, clause: str) -> int:
    if type(value) is int or type(value) is Uint:
        return int(value)
    raise CelError(f"format: %{clause} has no text for {type_name(value)}")


def _number(value: Any, clause: str) -> float:
    if type(value) is float:
        return value
    if isinstance(value, str) and value in _SPECIAL:
        return _SPECIAL[value]
    raise CelError(f"format: %{clause} has no text for {type_name(value)}")


def _hexadecimal(meter: Meter, value: Any, clause: str) -> str:
    if isinstance(value, str | bytes):
        meter.build(8 * len(value))
        try:
            text = (value.encode() if isinstance(value, str) else value).hex()
        except UnicodeEncodeError as exc:
            raise CelError("format: the string is no valid Unicode") from exc
    else:
        text = format(_integer(value, clause), "x")
    return text.upper() if clause == "X" else text


def _fixed(value: float, precision: int) -> str:
    return _special(value) or f"{value:,.{precision}f}"


def _scientific(value: float) -> str:
    if special := _special(value):
        return special
    mantissa, _, exponent = f"{value:.{_PRECISION}e}".partition("e")
    return f"{mantissa}\u00d710{exponent.removeprefix('+').translate(_SUPERSCRIPTS)}"


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "" if math.isfinite(value) else "∞" if value > 0 else "-∞"


def _text(meter: Meter, value: Any) -> str:
    """%s: as `string()`, and lists and maps as literals."""
    match value:
        case str():
            return value
        case float():
            return text_of_double(value)
        case Timestamp():
            return text_of_timestamp(value)
        case Duration():
            return text_of_duration(value)
    return _plain(meter, value)


def _plain(meter: Meter, value: Any) -> str:
    for classes, convert in _PLAIN:
        if isinstance(value, classes):
            return convert(value)
    if isinstance(value, bytes):
        meter.build(len(value))
        try:
            return value.decode()
        except UnicodeDecodeError as exc:
            raise CelError("format: the bytes are no UTF-8") from exc
    kind = kind_of(value)
    if is_of(kind, "list"):
        return f"[{', '.join(_literal(meter, to_cel(entry)) for entry in value)}]"
    if is_of(kind, "map"):
        pairs = [(_literal(meter, key), _literal(meter, to_cel(value[key]))) for key in value]
        return f"{{{', '.join(f'{key}:{entry}' for key, entry in sorted(pairs, key=lambda pair: pair[0]))}}}"
    raise CelError(f"format: %s has no text for {type_name(value)}")


_PLAIN: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    (type(None), lambda _: "null"),
    (bool, lambda value: "true" if value else "false"),
    (int, lambda value: str(int(value))),
    (TypeValue, lambda value: value.name),
)


def _literal(meter: Meter, value: Any) -> str:
    """An entry of a list or map, as it would be written in an expression."""
    match value:
        case str():
            meter.build(8 * len(value))
            return _go_quoted(value)
        case bytes():
            return f"b{_go_quoted(_plain(meter, value))}"
        case float():
            return f"{value:.{_PRECISION}f}" if math.isfinite(value) else f'"{text_of_double(value)}"'
        case Timestamp():
            return f'timestamp("{text_of_timestamp(value)}")'
        case Duration():
            return f'duration("{text_of_duration(value)}")'
    meter.charge(16)
    return _plain(meter, value)


def _go_quoted(text: str) -> str:
    parts = []
    for c in text:
        if c in _ESCAPES:
            parts.append(_ESCAPES[c])
        elif c.isprintable():
            parts.append(c)
        else:
            code = ord(c)
            parts.append(f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return f'"{"".join(parts)}"'
