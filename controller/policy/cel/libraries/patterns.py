"""Regular expressions (RE2) that give what they match: Kubernetes' own library."""

from __future__ import annotations

from controller.policy.cel.libraries.standard import PATTERN_COST, check_pattern, regular_expression
from controller.policy.cel.meter import Meter
from controller.policy.cel.overloads import Library
from controller.policy.cel.schema import INT, STRING, list_of

LIBRARY = Library("regex", "What a regular expression (RE2) matches.", "k8s.io/apiserver pkg/cel/library")

_RESCAN = 64  # a search may look ahead to the end of the text; RE2 reads so many bytes in the time of one step's 16


@LIBRARY.method("find", STRING, STRING, returns=STRING, cost=PATTERN_COST, check=check_pattern)
def find(meter: Meter, text: str, pattern: str) -> str:
    """The first match; empty if there is none."""
    found = regular_expression(meter, text, pattern).search(text)
    return found.group(0) if found is not None else ""


_ALL_COST = f"{PATTERN_COST}, and for each match 1 step for each 1024 characters that are left"


@LIBRARY.method("findAll", STRING, STRING, returns=list_of(STRING), cost=_ALL_COST, check=check_pattern)
@LIBRARY.method("findAll", STRING, STRING, INT, returns=list_of(STRING), cost=_ALL_COST, check=check_pattern)
def find_all(meter: Meter, text: str, pattern: str, count: int = -1) -> list[str]:
    """Every match that does not overlap another one, or the first so many."""
    compiled = regular_expression(meter, text, pattern)
    matches: list[str] = []
    at, last_end, size = 0, -1, 0
    while at <= len(text) and len(matches) != count:
        meter.charge((len(text) - at) // _RESCAN + 16)
        found = compiled.search(text, at)
        if found is None:
            break
        start, end = found.span()
        meter.charge(end - start)
        if start != end or start != last_end:  # an empty match right behind another one does not count (Go, regexp)
            matches.append(found.group(0))
            size += end - start + 16
            meter.bound(size)
        last_end = end
        at = end if end > start else end + 1
    return matches
