"""Quantities of resources (`1500m`, `2Gi`): Kubernetes' own library, over numbers that are bounded here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from controller.policy.cel.failure import CelError
from controller.policy.cel.meter import Meter
from controller.policy.cel.overloads import SCANS, Library
from controller.policy.cel.schema import BOOL, DOUBLE, INT, STRING, opaque
from controller.policy.cel.values import INT_MAX, INT_MIN, register_class

QUANTITY = opaque("kubernetes.Quantity")
LIBRARY = Library("quantity", "Quantities of resources.", "k8s.io/apiserver pkg/cel/library")

_QUANTITY = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(|[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,9})", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_NANO = -9  # the least power of ten; less is rounded away from zero
_FAST_DIGITS = 18  # digits up to which Kubernetes keeps an int64, which decides whether it is an integer
MAX_TEXT = 100  # characters of a quantity
MAX_EXPONENT = 100  # of ten; Kubernetes takes more, and then computes with as many digits


@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """`value` times ten to the power of `scale`. `exact` says that Kubernetes keeps it as an int64."""

    value: int
    scale: int
    exact: bool
    text: str = ""

    def __str__(self) -> str:
        return self.text or f"{self.value}e{self.scale}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and compared(self, other) == 0

    def __hash__(self) -> int:
        return hash(self.value * 10 ** (self.scale + MAX_EXPONENT + MAX_TEXT))

    def integer(self) -> int | None:
        """As an int, if Kubernetes has one of it."""
        if not self.exact or self.scale < 0:
            return None
        value = self.value * 10**self.scale
        return value if INT_MIN <= value <= INT_MAX else None


register_class(Quantity, "kubernetes.Quantity")


def parse(text: str) -> Quantity:
    """A quantity (k8s.io/apimachinery pkg/api/resource). Raises `CelError`."""
    found = _QUANTITY.fullmatch(text) if 0 < len(text) <= MAX_TEXT else None
    if found is None:
        raise CelError("the string is no quantity, such as 500m or 2Gi")
    sign, whole, fraction, suffix = found[1], found[2].lstrip("0"), found[3] or "", found[4]
    number = whole or "0"
    value, scale = int(number + fraction), -len(fraction)
    exact = True
    if suffix in _BINARY:
        bits = _BINARY[suffix]
        exact = not fraction and 15 - len(number) - bits * 3 // 10 - 1 >= 0
        value <<= bits
    else:
        scale += _DECIMAL[suffix] if suffix in _DECIMAL else int(suffix[1:])
        exact = len(number) + len(fraction) <= _FAST_DIGITS and scale >= _NANO
    if abs(scale) > MAX_EXPONENT:
        raise CelError(f"a quantity is less than ten to the power of {MAX_EXPONENT}")
    if not exact:
        value, scale = _rounded(value, scale)
        if suffix in _BINARY and value > INT_MAX * 10**-scale:
            value, scale = INT_MAX, 0
    return Quantity(-value if sign == "-" else value, scale, exact, text)


def _rounded(value: int, scale: int) -> tuple[int, int]:
    """No finer than nano; what is finer is rounded up."""
    if value == 0:
        return 0, 0
    if scale >= _NANO:
        return value * 10 ** (scale - _NANO), _NANO
    return -(-value // 10 ** (_NANO - scale)), _NANO


def compared(a: Quantity, b: Quantity) -> int:
    """-1, 0 or 1."""
    one, other = _aligned(a, b)
    return (one > other) - (one < other)


def _aligned(a: Quantity, b: Quantity) -> tuple[int, int]:
    """Both values at the finer scale of the two; scales are bounded, so these are small numbers."""
    scale = min(a.scale, b.scale)
    return a.value * int(10 ** (a.scale - scale)), b.value * int(10 ** (b.scale - scale))


def _sum(a: Quantity, b: Quantity) -> Quantity:
    if a.exact and b.exact and (a.value == 0 or b.value == 0):
        return b if a.value == 0 else Quantity(a.value, a.scale, exact=True)
    scale = min(a.scale, b.scale)
    one, other = _aligned(a, b)
    fits = all(INT_MIN <= number <= INT_MAX for number in (one, other, one + other))
    if abs(one + other) >= 10 ** (3 * MAX_EXPONENT):
        raise CelError("the quantity is out of range")
    return Quantity(one + other, scale, exact=a.exact and b.exact and fits)


def _negative(quantity: Quantity) -> Quantity:
    return Quantity(-quantity.value, quantity.scale, quantity.exact)


def _of(value: Quantity | int) -> Quantity:
    return value if isinstance(value, Quantity) else Quantity(value, 0, exact=True)


@LIBRARY.function("quantity", STRING, returns=QUANTITY, cost=SCANS)
def to_quantity(meter: Meter, text: str) -> Quantity:
    """The quantity that a text says."""
    meter.charge(len(text))
    return parse(text)


@LIBRARY.function("isQuantity", STRING, returns=BOOL, cost=SCANS)
def is_quantity(meter: Meter, text: str) -> bool:
    """Whether the text is a quantity."""
    meter.charge(len(text))
    try:
        parse(text)
    except CelError:
        return False
    return True


@LIBRARY.function("sign", QUANTITY, returns=INT)
@LIBRARY.method("sign", QUANTITY, returns=INT)
def sign_of(_meter: Meter, quantity: Quantity) -> int:
    """-1, 0 or 1."""
    return (quantity.value > 0) - (quantity.value < 0)


@LIBRARY.method("add", QUANTITY, QUANTITY, returns=QUANTITY)
@LIBRARY.method("add", QUANTITY, INT, returns=QUANTITY)
def add(_meter: Meter, a: Quantity, b: Quantity | int) -> Quantity:
    """The sum."""
    return _sum(a, _of(b))


@LIBRARY.method("sub", QUANTITY, QUANTITY, returns=QUANTITY)
@LIBRARY.method("sub", QUANTITY, INT, returns=QUANTITY)
def subtract(_meter: Meter, a: Quantity, b: Quantity | int) -> Quantity:
    """The difference."""
    return _sum(a, _negative(_of(b)))


@LIBRARY.method("isGreaterThan", QUANTITY, QUANTITY, returns=BOOL)
def is_greater(_meter: Meter, a: Quantity, b: Quantity) -> bool:
    """Whether the first is more."""
    return compared(a, b) == 1


@LIBRARY.method("isLessThan", QUANTITY, QUANTITY, returns=BOOL)
def is_less(_meter: Meter, a: Quantity, b: Quantity) -> bool:
    """Whether the first is less."""
    return compared(a, b) == -1


@LIBRARY.method("compareTo", QUANTITY, QUANTITY, returns=INT)
def compare(_meter: Meter, a: Quantity, b: Quantity) -> int:
    """-1, 0 or 1: the first is less, the same or more."""
    return compared(a, b)


@LIBRARY.method("isInteger", QUANTITY, returns=BOOL)
def is_integer(_meter: Meter, quantity: Quantity) -> bool:
    """Whether `asInteger` has a value."""
    return quantity.integer() is not None


@LIBRARY.method("asInteger", QUANTITY, returns=INT)
def as_integer(_meter: Meter, quantity: Quantity) -> int:
    """As an int; one with a fraction, or too large, is an error."""
    value = quantity.integer()
    if value is None:
        raise CelError("the quantity is no int")
    return value


@LIBRARY.method("asApproximateFloat", QUANTITY, returns=DOUBLE)
def as_float(_meter: Meter, quantity: Quantity) -> float:
    """As a double, about."""
    return float(quantity.value) * float(f"1e{quantity.scale}")
