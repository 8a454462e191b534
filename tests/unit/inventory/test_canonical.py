"""The quick way writes what the reference implementation of RFC 8785 writes, and refuses what it refuses."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from controller.inventory import canonical as module
from controller.inventory.canonical import canonical, joined

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.text(st.characters(max_codepoint=0x7F))
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=25
)


@given(VALUES)
def test_it_writes_what_the_reference_writes(value: Any) -> None:
    try:
        expected = rfc8785.dumps(value)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - any, as the reference
            canonical(value)
    else:
        assert canonical(value) == expected


@given(st.dictionaries(st.text(), VALUES, max_size=6), st.data())
def test_members_that_are_at_hand_are_joined_to_what_the_whole_would_be(value: dict[str, Any], data: Any) -> None:
    at_hand = data.draw(st.sets(st.sampled_from(sorted(value)))) if value else set()
    try:
        expected = rfc8785.dumps(value)
        encoded = {name: rfc8785.dumps(value[name]) for name in at_hand}
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - any, as the reference
            joined(value, {})
    else:
        assert joined(value, encoded) == expected


def test_what_is_nested_deeper_than_the_quick_way_goes_is_written_all_the_same() -> None:
    value: Any = "innermost"
    for _ in range(300):  # orjson goes 254 deep
        value = [value]
    assert canonical(value) == rfc8785.dumps(value)
    assert joined({"a": value, "b": 1}, {"b": b"1"}) == rfc8785.dumps({"a": value, "b": 1})


@pytest.mark.parametrize("value", [{"b": 1, "a": ["é", "\x7f", '\n\x1f"\\', True, None, -5]}, {"x": {"y": ()}}])
def test_ordinary_values_take_the_quick_way(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rfc8785.dumps(value)
    monkeypatch.setattr(module.rfc8785, "dumps", lambda _: pytest.fail("took the slow way"))
    assert canonical(value) == expected


def test_names_are_sorted_by_utf16_units() -> None:
    # U+10000 is written with surrogates, which sort before U+FFFF: RFC 8785 section 3.2.3.
    assert canonical({"￿": 1, "𐀀": 2}) == '{"𐀀":2,"￿":1}'.encode()


@pytest.mark.parametrize("value", [2**53, float("nan"), float("inf"), "\ud800", {"\ud800": 1}, {1: 2}, {"a": object()}])
def test_what_json_cannot_hold_exactly_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any
        canonical(value)


def test_endless_nesting_is_refused() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="nested"):
        canonical(value)
    while value:  # taken apart by hand: the interpreter would recurse too
        value = value[0]


def test_what_was_written_takes_no_more_memory_than_it_has_bytes() -> None:
    """What follows from a judgement is kept, and a queue of leaves waits to be written: both are bounded by length."""
    if not hasattr(ctypes.CDLL(None), "malloc_usable_size"):
        pytest.skip("this C library does not tell")
    usable = ctypes.CDLL(None).malloc_usable_size
    usable.argtypes, usable.restype = [ctypes.c_void_p], ctypes.c_size_t
    value = {"text": "x" * 2500}
    for written in (canonical(value), joined({"a": 1, **value}, {"text": canonical(value["text"])})):
        assert usable(id(written)) < len(written) + 200
