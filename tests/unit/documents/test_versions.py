"""Versions in each ecosystem's order: the examples of each specification, and that each is an order at all."""

from __future__ import annotations

import itertools
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import InvalidVersion, Version

from controller.documents.versions import parse_range
from controller.documents.versions.order import Unorderable
from controller.documents.versions.ranges import ORDERS

# Ascending. Each list is taken from the specification that the order's module names.
ASCENDING = {
    "maven": [
        ["1-alpha", "1-beta", "1-milestone", "1-rc", "1-snapshot", "1", "1-sp", "1-foo", "1-1", "1.1"],
        ["1.0-alpha-1", "1.0-alpha-2", "1.0-beta-1", "1.0-rc1", "1.0", "1.0.1", "1.0.10", "1.1"],
        ["2.0-beta9", "2.0-rc1", "2.0", "2.3.1", "2.12.2", "2.14.1", "2.15.0", "2.17.0", "2.17.1"],
        ["1-a1", "1-b1", "1-m1", "1-cr2", "1-SNAPSHOT", "1"],
        ["1.foo", "1-1"],
    ],
    "npm": [
        [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
        ],
        ["1.9.0", "1.10.0", "1.11.0", "2.0.0", "2.1.0", "2.1.1"],
    ],
    "golang": [["v0.0.0-20190101000000-abcdef123456", "v0.0.1", "v1.2.3-pre", "v1.2.3", "v2.0.0+incompatible"]],
    "pypi": [
        [
            "1.dev0",
            "1.0.dev456",
            "1.0a1",
            "1.0a2.dev456",
            "1.0a12.dev456",
            "1.0a12",
            "1.0b1.dev456",
            "1.0b2",
            "1.0b2.post345.dev456",
            "1.0b2.post345",
            "1.0rc1.dev456",
            "1.0rc1",
            "1.0",
            "1.0+abc.5",
            "1.0+abc.7",
            "1.0+5",
            "1.0.post456.dev34",
            "1.0.post456",
            "1.0.15",
            "1.1.dev1",
            "1!0.5",
        ],
    ],
    "deb": [
        ["1.0~~", "1.0~beta1~svn1245", "1.0~beta1", "1.0", "1.0-1", "1.0-2", "1.0a", "1.0+b1", "1.0.1", "1:0.1"],
        ["2.36-9+deb12u1", "2.36-9+deb12u4", "2.36-10"],
        ["0.9", "0.10"],
    ],
    "rpm": [
        ["1.0~beta1", "1.0~rc1", "1.0", "1.0^git1", "1.0^git2", "1.0.1"],
        ["1.0a", "1.0.1"],
        ["1.0-1.fc38", "1.0-2.fc38", "1.0-10.fc38", "1:0.1-1"],
        ["a", "1"],
    ],
    "apk": [
        [
            "1.2_alpha",
            "1.2_alpha2",
            "1.2_beta",
            "1.2_pre3",
            "1.2_rc1",
            "1.2",
            "1.2-r1",
            "1.2-r10",
            "1.2_p1",
            "1.2a",
            "1.2.1",
            "1.10",
        ],
        ["1.05", "1.1"],
        ["3.0.8-r0", "3.0.8-r3", "3.1.4-r5"],
    ],
}
EQUAL = {
    "maven": [
        ("1.0.0", "1"),
        ("1-ga", "1"),
        ("1.final", "1"),
        ("1.0.RELEASE", "1"),
        ("1a1", "1-alpha-1"),
        ("1.0.0-rc1", "1-cr1"),
    ],
    "npm": [("1.0.0+a", "1.0.0+b"), ("1.2", "1.2.0")],
    "pypi": [("1.0", "1.0.0"), ("1.0-1", "1.0.post1"), ("1.0.RC1", "1.0c1"), ("v1.0", "1.0")],
    "deb": [("0:1.0", "1.0"), ("1.0-0", "1.0"), ("1.00", "1.0")],
    "rpm": [("1.0", "1_0"), ("1.0", "1.0-5"), ("0:1", "1"), ("1.01", "1.1")],
    "apk": [("1.2_p", "1.2_p0")],
}
NO_VERSION = {
    "maven": ["", "${project.version}", "unknown", "1 2", "-".join("1" * 100)],
    "npm": ["", "latest", "1.x", "^1.0.0", "1.0.0.0", "01.a"],
    "golang": ["(devel)", "go1.20"],
    "pypi": ["", "latest", "1.0-x.y.z", "1.0+"],
    "deb": ["", "unknown", "1.0_1", ":1"],
    "rpm": ["", "1-2-3", "x:1", "a b"],
    "apk": ["", "latest", "1.2~abcdef", "v1.2"],
}


@pytest.mark.parametrize(
    ("type_", "ascending"), [(type_, versions) for type_, lists in ASCENDING.items() for versions in lists]
)
def test_versions_are_ordered_as_their_specification_says(type_: str, ascending: list[str]) -> None:
    key = ORDERS[type_]
    for lower, higher in itertools.combinations(ascending, 2):
        assert key(lower) < key(higher), (lower, higher)
        assert key(higher) > key(lower), (lower, higher)
        assert key(lower) != key(higher), (lower, higher)


@pytest.mark.parametrize(("type_", "a", "b"), [(t, a, b) for t, pairs in EQUAL.items() for a, b in pairs])
def test_different_spellings_of_one_version_are_equal(type_: str, a: str, b: str) -> None:
    assert ORDERS[type_](a) == ORDERS[type_](b)


@pytest.mark.parametrize(("type_", "text"), [(t, text) for t, texts in NO_VERSION.items() for text in texts])
def test_what_is_no_version_has_no_order(type_: str, text: str) -> None:
    with pytest.raises(Unorderable):
        ORDERS[type_](text)


WORDS = st.sampled_from(["alpha", "beta", "rc", "snapshot", "sp", "final", "x", "p", "pre", "git", "dev", "post"])
VERSION = st.lists(
    st.one_of(st.integers(0, 30).map(str), WORDS, st.sampled_from([".", "-", "_", "~", "+", "^"])),
    min_size=1,
    max_size=7,
).map(lambda parts: "1" + "".join(parts))


@pytest.mark.parametrize("type_", sorted(ORDERS))
@given(data=st.data())
def test_every_order_is_total_and_transitive(type_: str, data: st.DataObject) -> None:
    versions = data.draw(st.lists(VERSION, min_size=3, max_size=3))
    try:
        keys = [ORDERS[type_](version) for version in versions]
    except Unorderable:
        return
    for a, b in itertools.permutations(keys, 2):
        assert (a < b) + (a > b) + (a == b) == 1
    a, b, c = sorted(keys)
    if type_ != "rpm" or all("-" in version for version in versions):  # a missing release equals any, which is no order
        assert a <= c
        assert (a < c) or (a == b == c)


@given(VERSION)
def test_python_versions_are_those_of_the_packaging_library(text: str) -> None:
    try:
        expected = Version(text)
    except InvalidVersion:
        with pytest.raises(Unorderable):
            ORDERS["pypi"](text)
        return
    for other in ("1", "1.0.dev1", "1a1", "1.post1", "1.5", "1+x.1"):
        assert (ORDERS["pypi"](text) < ORDERS["pypi"](other)) == (expected < Version(other))
        assert (ORDERS["pypi"](text) == ORDERS["pypi"](other)) == (expected == Version(other))


@given(st.text(alphabet=string.printable, max_size=300))
def test_no_text_makes_an_order_fail_otherwise(text: str) -> None:
    for key in ORDERS.values():
        try:
            key(text)
        except Unorderable:
            continue


@pytest.mark.parametrize(
    ("range_", "type_", "inside", "outside"),
    [
        ("<2.17.1", "maven", ["2.14.1", "2.17.0", "2.17.1-rc1"], ["2.17.1", "2.18"]),
        (">=1,<2", "npm", ["1.0.0", "1.99.1"], ["2.0.0", "0.9.0"]),
        ("1.2.3", "npm", ["1.2.3"], ["1.2.4"]),
        ("!=1.2.3", "npm", ["1.2.4"], ["1.2.3"]),
        ("vers:npm/1.2.3|>=2.0.0|<5.0.0", "npm", ["1.2.3", "2.0.0", "4.9.9"], ["1.2.4", "5.0.0", "1.0.0"]),
        ("vers:npm/<1.0.0|>=3.0.0", "npm", ["0.1.0", "3.0.0", "9.0.0"], ["1.0.0", "2.0.0"]),
        ("vers:maven/>=2.0|!=2.5|<3", "maven", ["2.0", "2.6"], ["2.5", "3", "1"]),
        ("vers:npm/>=5.0.0|<2.0.0", "npm", ["1.0.0", "5.0.0"], ["2.0.0", "4.0.0"]),
        ("vers:deb/<1%3A2.0", "deb", ["9.0", "1:1.9"], ["1:2.0"]),
        ("vers:generic/1.0|2.0", "generic", ["1.0", "2.0"], ["3.0"]),
        ("*", "npm", ["whatever"], []),
        ("vers:golang/<v1.5.0", "golang", ["v1.4.9"], ["v1.5.0"]),
    ],
)
def test_ranges_contain_what_they_say(range_: str, type_: str, inside: list[str], outside: list[str]) -> None:
    parsed = parse_range(range_, type_)
    assert [version for version in inside if parsed.contains(version) is not True] == []
    assert [version for version in outside if parsed.contains(version) is not False] == []


@pytest.mark.parametrize(
    ("range_", "type_", "version"), [("<2", "npm", "latest"), ("<2", "generic", "1"), ("<2", "npm", "1" * 300)]
)
def test_what_cannot_be_ordered_is_neither_in_nor_out(range_: str, type_: str, version: str) -> None:
    assert parse_range(range_, type_).contains(version) is None


@pytest.mark.parametrize(
    ("range_", "type_"),
    [
        ("", "npm"),
        ("<", "npm"),
        ("<2,", "npm"),
        ("vers:npm/<2", "maven"),
        ("vers:npm", "npm"),
        ("<latest", "npm"),
        ("~>1", "npm"),
        ("<1.*", "npm"),
        ("|".join(["<1"] * 100), "npm"),
        ("<2 <3", "npm"),
        ("vers:unknown/<1", "generic"),
        ("2.14.0,2.14.1", "maven"),  # a list of versions, as its author meant it, contains none of them
        ("1,2", "generic"),
        ("<1.2,>=2,<2.17.1", "maven"),
        (">=2,<2", "npm"),
        (">2.0,<=2.0", "pypi"),
        ("=1,<1", "npm"),
        ("=1,!=1.0", "maven"),
        ("vers:npm/<1|<2", "npm"),  # 1.5 would be in one of them and not in the range
        ("vers:maven/>=2|>=3|<4", "maven"),
        ("vers:npm/<1|>2|<3|<4", "npm"),
    ],
)
def test_a_range_that_means_nothing_is_refused(range_: str, type_: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the documented error
        parse_range(range_, type_)


@given(
    st.lists(st.tuples(st.sampled_from(["<", "<=", ">", ">="]), st.integers(0, 20)), min_size=1, max_size=4),
    st.integers(0, 20),
)
def test_bare_comparators_all_have_to_hold(parts: list[tuple[str, int]], version: int) -> None:
    holds = {"<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__}
    text = ",".join(f"{comparator}{bound}.0.0" for comparator, bound in parts)
    expected = all(holds[comparator](version, bound) for comparator, bound in parts)
    try:
        parsed = parse_range(text, "npm")
    except ValueError:
        assert not expected  # nothing at all is in it
    else:
        assert parsed.contains(f"{version}.0.0") is expected
