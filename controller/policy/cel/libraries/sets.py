"""Lists as sets: cel-go's `ext.Sets`."""

from __future__ import annotations

from typing import Any

from controller.policy.cel.compare import contained
from controller.policy.cel.meter import Meter
from controller.policy.cel.overloads import Library
from controller.policy.cel.schema import BOOL, A, list_of
from controller.policy.cel.values import to_cel

LIBRARY = Library("sets", "Lists as sets, whatever the order and the repetitions.", "cel-go ext.Sets")

_PAIRS = "1 step for each pair of entries compared, and 1 for each 16 bytes"


@LIBRARY.function("sets.contains", list_of(A), list_of(A), returns=BOOL, cost=_PAIRS)
def contains(meter: Meter, entries: Any, wanted: Any) -> bool:
    """Whether the first list has every entry of the second."""
    return all(contained(meter, to_cel(entry), entries) for entry in wanted)


@LIBRARY.function("sets.equivalent", list_of(A), list_of(A), returns=BOOL, cost=_PAIRS)
def equivalent(meter: Meter, a: Any, b: Any) -> bool:
    """Whether both lists have the same entries."""
    return contains(meter, a, b) and contains(meter, b, a)


@LIBRARY.function("sets.intersects", list_of(A), list_of(A), returns=BOOL, cost=_PAIRS)
def intersects(meter: Meter, a: Any, b: Any) -> bool:
    """Whether the lists have an entry in common."""
    return any(contained(meter, to_cel(entry), b) for entry in a)
