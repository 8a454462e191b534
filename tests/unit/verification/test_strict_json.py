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
