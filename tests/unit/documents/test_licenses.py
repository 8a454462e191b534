"""Licences: a rule that forbids one finds it however it is written, and one that wants one sees where there is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.documents import licenses
from controller.documents.licenses import MAX_NAMES, NO_ASSERTION
from controller.documents.spdx_licenses import IDENTIFIERS
from controller.errors import LimitExceeded

LISTED = st.sampled_from([name for name in IDENTIFIERS if not name.endswith("+")])


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("MIT", ["MIT"]),
        ("MIT OR GPL-3.0-only", ["MIT", "GPL-3.0-only"]),
        ("mit or gpl-3.0-ONLY", ["MIT", "GPL-3.0-only"]),
        ("GPL-2.0+", ["GPL-2.0+"]),
        ("gpl-2.0+", ["GPL-2.0+"]),
        ("Apache-2.0+", ["Apache-2.0+"]),
        ("(MIT AND (BSD-3-Clause OR Apache-2.0))", ["MIT", "BSD-3-Clause", "Apache-2.0"]),
        ("GPL-2.0-only WITH Classpath-exception-2.0 AND MIT", ["GPL-2.0-only", "MIT"]),
        ("LicenseRef-Acme OR DocumentRef-x:LicenseRef-y", ["LicenseRef-Acme", "DocumentRef-x:LicenseRef-y"]),
        ("MIT MIT", ["MIT MIT", "MIT"]),
        ("MIT OR (GPL-3.0-only", ["MIT OR (GPL-3.0-only", "MIT", "GPL-3.0-only"]),
        ("GPL-2.0/MIT", ["GPL-2.0/MIT", "GPL-2.0", "MIT"]),
        ("the gpl-2.0-only, or so", ["the gpl-2.0-only, or so", "GPL-2.0-only"]),
        ("GNU General Public License v3", ["GNU General Public License v3"]),
        ("NOASSERTION", [NO_ASSERTION]),
        ("None", [NO_ASSERTION]),
        ("OR", ["OR"]),
        ("", [NO_ASSERTION]),
        ("  ", [NO_ASSERTION]),
    ],
)
def test_every_licence_that_is_named_is_found(written: str, expected: list[str]) -> None:
    assert list(licenses.names([written])) == expected


def test_no_licence_is_seen_as_such() -> None:
    assert licenses.names([]) == (NO_ASSERTION,)
    assert licenses.names(["MIT", "MIT", "Apache-2.0 OR MIT"]) == ("MIT", "Apache-2.0")


@pytest.mark.parametrize(
    "written",
    ["GPL-3.0-only", "gpl-3.0", "GPL-3.0+", "GPL-3.0-or-later", "MIT OR GPL-3.0-only", "(MIT AND(GPL-3.0+))",
     "GPL-3.0-only WITH GCC-exception-3.1", "MIT, gpl-3.0-only", "MIT WITH GPL-3.0-only", "MIT with gpl-3.0+"],
)  # fmt: skip
@pytest.mark.parametrize("asked", ["GPL-3.0", "GPL-3.0-only", "gpl-3.0-or-later", "GPL-*", "*GPL*"])
def test_a_forbidden_licence_is_found_in_every_spelling(written: str, asked: str) -> None:
    assert licenses.named([written], [licenses.pattern("AGPL-*"), licenses.pattern(asked)])


@pytest.mark.parametrize("written", ["LGPL-3.0-only", "MIT", "", "GPL-2.0-only"])
def test_another_licence_is_not_found(written: str) -> None:
    assert not licenses.named([written], [licenses.pattern("GPL-3.0")])


@pytest.mark.parametrize("asked", ["", "GPL 3", "GPL-[23]", "G" * 300, "GPL?"])
def test_what_is_no_licence_is_refused(asked: str) -> None:
    with pytest.raises(ValueError, match="no SPDX licence identifier"):
        licenses.pattern(asked)


@given(names=st.lists(LISTED, min_size=1, max_size=6), joined=st.sampled_from([" OR ", " AND ", " or ", ") AND ("]))
def test_a_listed_licence_is_found_whatever_joins_it_and_in_any_case(names: list[str], joined: str) -> None:
    for text in (joined.join(names), f"({joined.join(names)})".lower()):
        assert set(names) <= set(licenses.names([text]))


@given(st.text(max_size=200))
def test_no_text_is_lost_or_breaks_it(text: str) -> None:
    assert licenses.names([text])


@pytest.mark.guarantee(10)
def test_the_licences_of_one_text_are_bounded() -> None:
    with pytest.raises(LimitExceeded) as raised:
        licenses.names([" OR ".join(f"L-{i}" for i in range(3 * MAX_NAMES))])
    assert raised.value.setting == "MAX_NAMES"
