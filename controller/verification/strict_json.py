"""JSON from strangers, read in one way only.

Two readers that disagree about one document are how a signature over one meaning is shown with another: so duplicate
keys, `NaN`, numbers that become infinite, lone surrogates, trailing bytes and deep nesting are refused instead of
interpreted (RFC 8259, RFC 7493).
"""

from __future__ import annotations

import itertools
import json
import math
import re
from typing import Any, Never

from controller.verification.failures import Unjudged

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)  # never gives back, never fails: linear on any bytes
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


MAX_VALUES = 200_000  # in what nobody trusted has signed yet: a value of two bytes costs sixty once it is read


def parse(content: bytes, *, what: str, max_bytes: int, max_depth: int, max_values: int | None = MAX_VALUES) -> Any:
    """The JSON value of `content`.

    `what` names it in the message; `max_values` bounds the values in it, members and elements, None for what a trusted
    signer wrote. Raises `Unjudged` (`LimitExceeded`, `JsonMalformed`).
    """
    if len(content) > max_bytes:
        raise Unjudged("LimitExceeded", f"{what} has {len(content)} bytes (bound: document_max_bytes)")
    bare = _STRINGS.sub(b"", content)
    if max_values is not None and bare.count(b",") + bare.count(b"[") + bare.count(b"{") > max_values:
        raise Unjudged("LimitExceeded", f"{what} has more than {max_values} values (bound: MAX_VALUES)")
    if _depth(bare) > max_depth:
        raise Unjudged("LimitExceeded", f"{what} is nested past {max_depth} levels (bound: document_max_depth)")
    del bare
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
        if _SURROGATE.search(content):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as exc:
        raise Unjudged("JsonMalformed", f"{what} is not well-formed JSON") from exc
    return value


def _depth(bare: bytes) -> int:
    """The nesting of JSON whose strings were taken out."""
    brackets = bare.translate(None, _ALL_BUT_BRACKETS)
    return max(itertools.accumulate(_STEP[bracket] for bracket in brackets), default=0)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate key")
    return value


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):  # 1e999: one reader's infinity is another's largest number, and nobody's JSON
        raise ValueError("a number out of range")
    return value
