"""docs/reference/cel.md: its examples give what it says, and it leaves nothing out."""

from __future__ import annotations

import pytest

from controller.policy.cel import Environment, compile_expression, schema, shown
from controller.policy.cel.libraries import TABLE
from controller.policy.cel.meter import Meter
from controller.policy.cel.tree import MACROS
from controller.settings import PolicySettings
from docs import cel_page

LIMITS = PolicySettings()
EXAMPLES = [example for examples in cel_page.EXAMPLES.values() for example in examples]


@pytest.mark.parametrize(("expression", "given"), EXAMPLES, ids=[expression for expression, _ in EXAMPLES])
def test_each_example_gives_what_the_page_says(expression: str, given: object) -> None:
    program = compile_expression(expression, Environment(names={}), LIMITS)
    assert shown.as_json(program.value({}, Meter(LIMITS))) == given


def test_every_name_function_and_macro_is_on_the_page() -> None:
    page = cel_page.page()
    assert set(cel_page.NAMES) == set(schema.NAMES)
    for name in schema.NAMES:
        assert f"| `{name}` |" in page
    for library in TABLE.libraries:
        for overload in library.overloads:
            assert overload.text in page
            assert overload.name.strip("_").replace("[_]", "[") in page
    for macro in MACROS:
        assert f".{macro}(" in page


def test_every_library_of_plain_values_has_examples() -> None:
    assert {library.name for library in TABLE.libraries} - set(cel_page.EXAMPLES) == {
        *("sboms", "vulnerabilities", "vex", "images")
    }
