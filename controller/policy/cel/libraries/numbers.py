"""Arithmetic and the conversions between numbers, in 64 bits: past them is an error, never a wrong number."""

from __future__ import annotations

import math
import re
from typing import Any

from controller.policy.cel.failure import CelError
from controller.policy.cel.meter import Meter
from controller.policy.cel.overloads import Library
from controller.policy.cel.schema import DOUBLE, DURATION, INT, STRING, TIMESTAMP, UINT
from controller.policy.cel.values import INT_MAX, INT_MIN, SECOND, UINT_MAX, Duration, Timestamp, Uint

LIBRARY = Library("numbers", "Arithmetic within one type, and conversions. Division and remainder go towards zero.")

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_UNSIGNED = re.compile(r"[0-9]{1,20}")
_DECIMAL = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?|inf(?:inity)?|nan)", re.IGNORECASE)
_EXPONENT_FROM = 6  # of ten from which a double as text gets an exponent (Go, strconv: `%g`)
MAX_DIGITS = 400  # of a double as text: more say nothing


def int64(value: int) -> int:
    """An int that fits. Raises `CelError`."""
    if not INT_MIN <= value <= INT_MAX:
        raise CelError("the int is out of range")
    return value


def uint64(value: int) -> Uint:
    """A uint that fits. Raises `CelError`."""
    if not 0 <= value <= UINT_MAX:
        raise CelError("the uint is out of range")
    return Uint(value)


@LIBRARY.function("_+_", INT, INT, returns=INT, text="The sum.")
def add_ints(_meter: Meter, a: int, b: int) -> int:
    return int64(a + b)


@LIBRARY.function("_+_", UINT, UINT, returns=UINT, text="The sum.")
def add_uints(_meter: Meter, a: Uint, b: Uint) -> Uint:
    return uint64(int(a) + int(b))


@LIBRARY.function("_+_", DOUBLE, DOUBLE, returns=DOUBLE, text="The sum.")
def add_doubles(_meter: Meter, a: float, b: float) -> float:
    return a + b


@LIBRARY.function("_-_", INT, INT, returns=INT, text="The difference.")
def subtract_ints(_meter: Meter, a: int, b: int) -> int:
    return int64(a - b)


@LIBRARY.function("_-_", UINT, UINT, returns=UINT, text="The difference; below 0 is an error.")
def subtract_uints(_meter: Meter, a: Uint, b: Uint) -> Uint:
    return uint64(int(a) - int(b))


@LIBRARY.function("_-_", DOUBLE, DOUBLE, returns=DOUBLE, text="The difference.")
def subtract_doubles(_meter: Meter, a: float, b: float) -> float:
    return a - b


@LIBRARY.function("_*_", INT, INT, returns=INT, text="The product.")
def multiply_ints(_meter: Meter, a: int, b: int) -> int:
    return int64(a * b)


@LIBRARY.function("_*_", UINT, UINT, returns=UINT, text="The product.")
def multiply_uints(_meter: Meter, a: Uint, b: Uint) -> Uint:
    return uint64(int(a) * int(b))


@LIBRARY.function("_*_", DOUBLE, DOUBLE, returns=DOUBLE, text="The product.")
def multiply_doubles(_meter: Meter, a: float, b: float) -> float:
    return a * b


@LIBRARY.function("_/_", INT, INT, returns=INT, text="The quotient, towards zero; by 0 is an error.")
def divide_ints(_meter: Meter, a: int, b: int) -> int:
    if b == 0:
        raise CelError("division by zero")
    quotient = abs(a) // abs(b)
    return int64(quotient if (a < 0) == (b < 0) else -quotient)


@LIBRARY.function("_/_", UINT, UINT, returns=UINT, text="The quotient; by 0 is an error.")
def divide_uints(_meter: Meter, a: Uint, b: Uint) -> Uint:
    if b == 0:
        raise CelError("division by zero")
    return Uint(int(a) // int(b))


@LIBRARY.function("_/_", DOUBLE, DOUBLE, returns=DOUBLE, text="The quotient; by 0 is infinite or no number.")
def divide_doubles(_meter: Meter, a: float, b: float) -> float:
    if b != 0:
        return a / b
    if a == 0 or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1, b)


@LIBRARY.function("_%_", INT, INT, returns=INT, text="The remainder, with the sign of the first; by 0 is an error.")
def remainder_of_ints(_meter: Meter, a: int, b: int) -> int:
    if b == 0:
        raise CelError("remainder by zero")
    if a == INT_MIN and b == -1:
        raise CelError("the int is out of range")
    remainder = abs(a) % abs(b)
    return -remainder if a < 0 else remainder


@LIBRARY.function("_%_", UINT, UINT, returns=UINT, text="The remainder; by 0 is an error.")
def remainder_of_uints(_meter: Meter, a: Uint, b: Uint) -> Uint:
    if b == 0:
        raise CelError("remainder by zero")
    return Uint(int(a) % int(b))


@LIBRARY.function("-_", INT, returns=INT, text="The negative.")
def negative_of_int(_meter: Meter, value: int) -> int:
    return int64(-value)


@LIBRARY.function("-_", DOUBLE, returns=DOUBLE, text="The negative.")
def negative_of_double(_meter: Meter, value: float) -> float:
    return -value


@LIBRARY.function("int", INT, returns=INT)
@LIBRARY.function("int", UINT, returns=INT)
@LIBRARY.function("int", DOUBLE, returns=INT)
@LIBRARY.function("int", STRING, returns=INT)
@LIBRARY.function("int", TIMESTAMP, returns=INT, text="Seconds since 1970.")
@LIBRARY.function("int", DURATION, returns=INT, text="Nanoseconds.")
def to_int(_meter: Meter, value: Any) -> int:
    """The int: of a double without its fraction, of a text in decimal digits."""
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            raise CelError("the string is no int")
        return int64(int(value))
    if isinstance(value, Timestamp):
        return value.ns // SECOND
    if isinstance(value, Duration):
        return value.ns
    return _of_double(value) if isinstance(value, float) else int64(int(value))


def _of_double(value: float) -> int:
    # Strictly between: the doubles at both ends may stand for integers that do not fit (cel-go, `types.Double`).
    if math.isnan(value) or not float(INT_MIN) < value < float(INT_MAX):
        raise CelError("the double is out of range for an int")
    return int(value)


@LIBRARY.function("uint", UINT, returns=UINT)
@LIBRARY.function("uint", INT, returns=UINT)
@LIBRARY.function("uint", DOUBLE, returns=UINT)
@LIBRARY.function("uint", STRING, returns=UINT)
def to_uint(_meter: Meter, value: Any) -> Uint:
    """The uint: of a double without its fraction, of a text in decimal digits."""
    if isinstance(value, str):
        if not _UNSIGNED.fullmatch(value):
            raise CelError("the string is no uint")
        return uint64(int(value))
    if isinstance(value, float) and not (0 <= value < float(UINT_MAX)):
        raise CelError("the double is out of range for a uint")
    return uint64(int(value))


@LIBRARY.function("double", DOUBLE, returns=DOUBLE)
@LIBRARY.function("double", INT, returns=DOUBLE)
@LIBRARY.function("double", UINT, returns=DOUBLE)
@LIBRARY.function("double", STRING, returns=DOUBLE)
def to_double(_meter: Meter, value: Any) -> float:
    """The nearest double."""
    if not isinstance(value, str):
        return float(value)
    if len(value) > MAX_DIGITS or not _DECIMAL.fullmatch(value):
        raise CelError("the string is no double")
    number = float(value)
    if math.isinf(number) and "n" not in value.lower():
        raise CelError("the string is out of range for a double")
    return number


def text_of_double(value: float) -> str:
    """As `%g` of C and Go with as many digits as tell the value apart."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    sign, digits, exponent = decimal_of(value)
    if exponent < -4 or exponent >= _EXPONENT_FROM:
        return _scientific(sign, digits, exponent)
    return sign + positional(digits, exponent)


def decimal_of(value: float) -> tuple[str, str, int]:
    """Sign, shortest digits, and the power of ten of the first digit."""
    mantissa, _, power = f"{value!r}".lower().partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(power or 0)
    exponent = point - 1 - (len(whole + fraction) - len(digits))
    return sign, digits.rstrip("0") or "0", exponent


def _scientific(sign: str, digits: str, exponent: int) -> str:
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02}"


def positional(digits: str, exponent: int) -> str:
    """Digits with a decimal point where the power of ten says."""
    if exponent < 0:
        return f"0.{'0' * (-exponent - 1)}{digits}"
    if exponent + 1 >= len(digits):
        return digits + "0" * (exponent + 1 - len(digits))
    return f"{digits[: exponent + 1]}.{digits[exponent + 1 :]}"
