"""Strangers' JSON has one reading or none."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.verification import strict_json
from controller.verification.failures import Unjudged

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def parse(content: bytes, *, depth: int = 50, size: int = 100_000) -> object:
    return strict_json.parse(content, what="it", max_bytes=size, max_depth=depth)


@given(JSON)
def test_what_one_writer_wrote_is_read_back(value: object) -> None:
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value
    assert parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_named_failure(content: bytes) -> None:
    with contextlib.suppress(Unjudged):
        json.dumps(parse(content))


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1, "a": 1}',
        b'{"x": {"a": 1, "a": 2}}',
        b"{} {}",
        b"{}\x00",
        b'{"a": NaN}',
        b"[Infinity]",
        b"[1e999]",
        b'{"a": -1e999}',
        b'["\\ud800"]',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        b'{"a": 1,}',
        b"",
        b'"',
        b"[" + b"9" * 5000 + b"]",
    ],
)
def test_two_readings_are_none(content: bytes) -> None:
    with pytest.raises(Unjudged) as caught:
        parse(content)
    assert caught.value.code == "JsonMalformed"


@pytest.mark.guarantee(10)
def test_nesting_and_size_are_bounded_before_the_value_is_built() -> None:
    for content in (b"[" * 51 + b"]" * 51, b'{"a":' * 51 + b"1" + b"}" * 51, b"[" * 90_000):
        with pytest.raises(Unjudged) as caught:
            parse(content)
        assert caught.value.code == "LimitExceeded"
    assert parse(b"[" * 50 + b"]" * 50)
    with pytest.raises(Unjudged) as caught:
        parse(b'"' + b"a" * 100_000 + b'"')
    assert caught.value.code == "LimitExceeded"


def test_brackets_within_strings_are_no_nesting() -> None:
    assert parse(b'["' + b"[" * 500 + b'\\"[[[\\\\", {}]') == ["[" * 500 + '"[[[\\', {}]


def test_measuring_the_depth_takes_steps_in_proportion_to_the_bytes() -> None:
    for unclosed in (b'"' + b'\\"' * 40_000, b'"\\' * 40_000):
        with pytest.raises(Unjudged):
            parse(unclosed)


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    "content", [b"[" + b"0," * 9 + b"0]", b"[" + b"[]," * 4 + b"[]]", b'{"a":{},"b":{},"c":[1,2,3,4],"d":0}']
)
def test_values_are_bounded_before_they_are_made_and_those_in_strings_are_none(content: bytes) -> None:
    def within(most: int | None, given: bytes = content) -> object:
        return strict_json.parse(given, what="it", max_bytes=100_000, max_depth=50, max_values=most)

    assert within(10) is not None
    with pytest.raises(Unjudged, match="MAX_VALUES"):
        within(9 if content.startswith(b"[0") else 5)
    assert within(None) is not None
    text = json.dumps(["[,,,,,,,,,,,,{{{{"]).encode()
    assert within(1, text) == ["[,,,,,,,,,,,,{{{{"]


@pytest.mark.guarantee(10)
def test_content_may_be_as_long_as_its_bound_and_no_longer() -> None:
    assert parse(b"[1]", size=3) == [1]
    with pytest.raises(Unjudged, match="document_max_bytes"):
        parse(b"[1] ", size=3)
