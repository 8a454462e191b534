"""CEL as policies have it: checked before it runs, strict while it runs, and nothing swallows what must not be."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller.errors import PolicyError, Unacceptable
from controller.policy.cel import Environment, compile_expression, libraries
from controller.policy.cel import schema as cel
from controller.policy.cel.libraries.sboms import Sboms
from controller.policy.cel.meter import Meter
from controller.policy.cel.problem import ExpressionError, ExpressionFailed
from controller.policy.cel.program import Program
from controller.settings import PolicySettings
from tests.unit.policy.make import LOG4J, sbom

LIMITS = PolicySettings()
NAMES = {
    "object": cel.DYN,
    "image": cel.IMAGE,
    "signatures": cel.list_of(cel.SIGNATURE),
    "sboms": cel.SBOMS,
    "now": cel.TIMESTAMP,
}
ENVIRONMENT = Environment(
    names=NAMES,
    refused={"attestations": ("EvidenceNotRequired", "attestations is not required")},
)
OBJECT = {
    "metadata": {"name": "pod", "labels": {"a": "b"}, "count": 3, "ratio": 0.5, "none": None, "huge": 10**30},
    "items": [1, 2, 3],
    "mixed": [1, "a", None],
    "yes": True,
}


def values(**others: Any) -> dict[str, Any]:
    return {
        "object": OBJECT,
        "image": {"registry": "ghcr.io", "tag": "1", "platforms": ["linux/amd64"]},
        "signatures": [{"authority": "release", "claims": {"x": "y"}}],
        "sboms": Sboms([sbom(f"{LOG4J}@2.14.1", "pkg:npm/left-pad@1.0.0")]),
        "now": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    } | others


def program(text: str) -> Program:
    return compile_expression(text, ENVIRONMENT, LIMITS)


def holds(text: str, **others: Any) -> bool:
    return program(text).holds(values(**others), Meter(LIMITS))


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "object.metadata.name == 'pod' && object['metadata']['name'] == 'pod'",
        "object.items[0] + 2 * 3 - 1 == 6 && 7 % 4 == 3 && 7 / 2 == 3 && -object.items[0] == -1",
        "object.items.all(i, i > 0) && object.items.exists(i, i == 2) && object.items.exists_one(i, i == 2)",
        "object.items.map(i, i * 2) == [2, 4, 6] && object.items.filter(i, i > 1) == [2, 3]",
        "object.items.map(i, i > 1, i * 2) == [4, 6]",
        "object.metadata.labels.all(k, k == 'a') && object.metadata.labels.exists(k, object.metadata.labels[k] == 'b')",
        "object.items.all(i, object.items.exists(j, j == i))",
        "has(object.metadata.labels) && !has(object.metadata.annotations)",
        "has(object.metadata.none) && object.metadata.none == null",
        "'a' in object.metadata.labels && 2 in object.items && !('x' in object.items)",
        "size(object.items) == 3 && object.items.size() == 3 && 'äb'.size() == 2",
        "'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c') && 'abc'.matches('^a.c$')",
        "'a' + 'b' == 'ab' && [1] + [2] == [1, 2]",
        "int('12') == 12 && string(12) == '12' && double('1.5') == 1.5 && bool('true') && string(true) == 'true'",
        "object.metadata.count == 3.0 && object.metadata.ratio < 1 && dyn(1u) == 1 && object.metadata.huge > 1",
        "{'a': 1}.a == 1 && {'a': 1, 'b': 2} == {'b': 2, 'a': 1}",
        "timestamp('2026-01-01T00:00:00Z') < now && now - timestamp('2026-01-01T00:00:00Z') > duration('24h')",
        "now.getFullYear() == 2026 && now - duration('1h') < now",
        "object.yes ? true : object.nothing",
        "signatures[0].claims['x'] == 'y' && image.platforms == ['linux/amd64']",
        f"size(sboms.find('{LOG4J}')) == 1 && size(sboms.find('{LOG4J}', '<2.17.1')) == 1",
        f"sboms.find('{LOG4J}', '>=2.17.1') == []",
        f"sboms.find('{LOG4J}')[0].version == '2.14.1' && sboms[0].components.exists(c, c.purl.startsWith('pkg:npm/'))",
        "size(sboms) == 1 && sboms.all(s, s.format == 'SPDX')",
        "dyn(object.metadata.name) == 'pod'",
        "b'ab' == b'ab' && size(b'ab') == 2 && string(b'ab') == 'ab'",
    ],
)  # fmt: skip
def test_what_is_true_holds(text: str) -> None:
    assert holds(text) is True


@pytest.mark.parametrize(
    "text",
    [
        "dyn('a') == 1",
        "dyn(1) == true",
        "null == dyn(0)",
        "object == 'x'",
        "[dyn(1)] == ['1']",
        "{'a': 1} == dyn({'a': '1'})",
        "object.metadata.name == object.metadata.count",
        "object.mixed == [1, 'a', 0]",
        "1 in ['1', true, null]",
    ],
)
def test_values_of_different_types_are_unequal_and_no_error(text: str) -> None:
    assert holds(text) is False
    assert holds(f"!({text})") is True


@pytest.mark.parametrize(
    "text",
    [
        "object.nothing",
        "object.nothing == 1",
        "has(object.nothing.more)",
        "object.items[3] == 1",
        "object.items[-1] == 3",
        "object.items['0'] == 1",
        "object.items.filter(i, i) == []",
        "object.items.exists_one(i, i)",
        "object.items.all(i, i)",
        "object.items.map(i, i.x) == []",
        "object.metadata.name.all(c, true)",
        "dyn(true) + dyn(true) == 2",
        "dyn(1) + dyn(1.0) == 2.0",
        "dyn('a') < 1",
        "dyn(true) < 2",
        "1 / 0 == 1",
        "9223372036854775807 + 1 > 0",
        "object.metadata.name ? true : true",
        "size(dyn(1)) == 1",
        "size(dyn(null)) == 0",
        "{'a': 1 / 0}.size() == 1",
        "int('x') == 1",
        "timestamp(object.metadata.name) == now",
        "object.metadata.count.find('pkg:npm/x') == []",
        "!object.metadata.name",
        "object.metadata.name && true",
    ],
)
def test_what_has_no_value_is_an_error_and_not_false(text: str) -> None:
    with pytest.raises(Unacceptable) as raised:
        holds(text)
    assert raised.value.code in {"ExpressionFailed", "ExpressionNotBoolean"}


@pytest.mark.parametrize("text", ["1", "'true'", "[true]", "null", "object", "{'a': true}", "1.0", "now"])
def test_only_a_real_boolean_is_true(text: str) -> None:
    with pytest.raises(Unacceptable) as raised:
        holds(text)
    assert raised.value.code == "ExpressionNotBoolean"


def test_logical_operators_ignore_an_error_only_where_the_other_side_decides() -> None:
    for decided in ("1/0 == 1 || true", "true || 1/0 == 1", "!(1/0 == 1 && false)", "[0, 1].exists(i, 1/i == 1)"):
        assert holds(decided) is True
    for undecided in ("1/0 == 1 || false", "false || 1/0 == 1", "1/0 == 1 && true", "[0, 2].exists(i, 1/i == 1)"):
        with pytest.raises(Unacceptable):
            holds(undecided)


@pytest.mark.guarantee(2)
@pytest.mark.parametrize(
    "text",
    [
        "size(sboms.find('pkg:npm/x')) == 0 || true",
        "false || size(sboms.find('pkg:npm/x')) == 0",
        "!(size(sboms.find('pkg:npm/x')) == 1 && false)",
        "[1].exists(i, size(sboms.find('pkg:npm/x')) == 0) || true",
        "[true, size(sboms.find('pkg:npm/x')) == 0].exists(b, b)",
        "!has(sboms.find('pkg:npm/x')[0].name)",
        "{'a': sboms.find('pkg:npm/x')}.size() == 1",
    ],
)
def test_nothing_swallows_evidence_that_cannot_be_read(text: str) -> None:
    with pytest.raises(Unacceptable) as raised:
        holds(text, sboms=Sboms([sbom()]))
    assert raised.value.code == "SbomEmpty"


@pytest.mark.parametrize(
    "text", ["size(sboms.find(object.metadata.name)) == 0 || true", "'x'.matches(object.bad) || true"]
)
def test_an_argument_that_means_nothing_ends_the_rule(text: str) -> None:
    with pytest.raises(Unacceptable) as raised:
        holds(text, object={"metadata": {"name": "log4j"}, "bad": "("})
    assert raised.value.code in {"ArgumentInvalid", "PatternMalformed"}


@pytest.mark.guarantee(12)
@pytest.mark.parametrize(
    "text",
    [
        "object.password.more == 1",
        "object.password + 1 == 1",
        "int(object.password) == 1",
        "object.password",
        "object[object.password]",
    ],
)
def test_an_error_never_shows_a_value(text: str) -> None:
    with pytest.raises(Unacceptable) as raised:
        holds(text, object={"password": "hunter2"})
    shown = [str(raised.value), *map(str, raised.value.args)]
    assert not [line for line in shown if "hunter2" in line]


def test_an_error_names_its_place() -> None:
    with pytest.raises(Unacceptable, match=r"line 2, column 10: no such field 'nothing'"):
        holds("true &&\n  object.nothing")


REFUSED: list[tuple[str, str, str]] = [
    ("object.x ==", "ExpressionMalformed", ""),
    ("", "ExpressionMalformed", ""),
    ("object. == 1", "ExpressionMalformed", "line 1, column 9"),
    ("objekt.x == 1", "NameUnknown", "line 1, column 1: there is no name 'objekt' here; did you mean 'object'?"),
    ("true && objekt == 1", "NameUnknown", "line 1, column 9"),
    ("object.all(x, y == 1)", "NameUnknown", "'y'"),
    ("image.digst == ''", "FieldUnknown", "did you mean 'digest'?"),
    ("image['digst'] == ''", "FieldUnknown", "did you mean 'digest'?"),
    ("signatures[0].isuer == ''", "FieldUnknown", "did you mean 'issuer'?"),
    ("signatures.all(s, s.isuer == '')", "FieldUnknown", "did you mean 'issuer'?"),
    ("signatures.filter(s, true).all(s, s.isuer == '')", "FieldUnknown", "issuer"),
    ("sboms.find('pkg:npm/x').all(c, c.license == '')", "FieldUnknown", "licenses"),
    ("image.tag.x == ''", "FieldUnknown", ""),
    ("image.usr == ''", "FieldUnknown", "did you mean 'user'?"),
    ("image.age('1h') < duration('1h')", "ArgumentCount", "0 arguments"),
    ("sboms.components[0].versoin == ''", "FieldUnknown", "did you mean 'version'?"),
    ("sboms.tools == []", "FieldUnknown", ""),
    ("attestations.sbom == []", "EvidenceNotRequired", "not required"),
    ("siz(object)", "FunctionUnknown", "did you mean 'size'?"),
    ("object.startWith('a')", "FunctionUnknown", "did you mean 'startsWith'?"),
    ("startsWith('a', 'b')", "FunctionUnknown", ""),
    ("object.int()", "FunctionUnknown", ""),
    ("object.size(1)", "ArgumentCount", "takes 0 arguments, not 1"),
    ("size()", "ArgumentCount", "takes 1 arguments, not 0"),
    ("sboms.find()", "ArgumentCount", "1 or 2"),
    ("object.all(x)", "ArgumentCount", ""),
    ("object.all(x.y, true)", "ArgumentInvalid", ""),
    ("object.all(image, true)", "ArgumentInvalid", "loop variable"),
    ("has(object)", "ArgumentInvalid", ""),
    ("has(object['x'])", "ArgumentInvalid", ""),
    ("sboms.find('log4j') == []", "ArgumentInvalid", "package URL"),
    ("sboms.find('pkg:npm/x', '<latest') == []", "ArgumentInvalid", "line 1, column 25: "),
    ("sboms.find('pkg:npm/x', '<latest') == []", "ArgumentInvalid", "no version of the package's type"),
    ("sboms.contains('log4j', '<latest')", "ArgumentInvalid", "line 1, column 16: "),
    ("sboms.contains('pkg:npm/x@1', string(object.a))", "ArgumentInvalid", "must be type, namespace and name only"),
    ("signatures.find('pkg:npm/x') == []", "FunctionUnknown", "find is a function of sbom or sboms or string only"),
    ("'a'.matches('(?=x)')", "PatternMalformed", "RE2"),
    ("object.reduce(a, b, 0, a + b) == 1", "NotSupported", ""),
    (".object == 1", "NotSupported", ""),
    ("Message{a: 1}", "NotSupported", ""),
    ("object.items.filter == 1 && .find", "NotSupported", ""),
    ("google.protobuf.Int32Value{}", "NotSupported", ""),
    ("(" * 30 + "true" + ")" * 30, "ExpressionTooDeep", "policy_cel_max_depth"),
    (" + ".join(["1"] * 300), "ExpressionTooDeep", "200"),
    ("object" + ".a" * 300, "ExpressionTooDeep", "200"),
    ("true || " * 2000 + "true", "ExpressionTooLong", "policy_cel_max_length"),
]


@pytest.mark.parametrize(("text", "code", "message"), REFUSED)
def test_what_could_only_fail_later_is_refused_with_its_place(text: str, code: str, message: str) -> None:
    with pytest.raises(PolicyError) as raised:
        program(text)
    assert raised.value.code == code
    assert message in raised.value.message


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("true", set()),
        ("image.tag == '1' && image.digest != ''", {"image.tag", "image.digest"}),
        ("image == object", {"image", "object"}),
        ("image['tag'] == '1'", {"image"}),
        ("[image].all(i, i.tag == '1')", {"image"}),
        ("signatures.all(now2, now2.key == '')", {"signatures"}),
        ("object.metadata.name == ''", {"object.metadata"}),
        ("false ? now == now : true", {"now"}),
        ("has(image.tag)", {"image.tag"}),
        ("sets.contains(image.platforms, ['a'])", {"image.platforms"}),
        ("format.dns1123Label().validate(image.tag).hasValue()", {"image.tag"}),
        ("'%s'.format([now]) == ''", {"now"}),
        ("signatures.sortBy(s, s.key)[0].key == object.x", {"signatures", "object.x"}),
        ("cidr('10.0.0.0/8').containsIP(object.status.ip)", {"object.status"}),
        ("image.age() < duration('1h')", {"image", "now"}),
        ("dyn(image).age() < duration('1h')", {"image", "now"}),
        ("[image].exists(i, i.age() < duration('1h'))", {"image", "now"}),
        ("false && image.age() < duration('1h')", {"image", "now"}),
    ],
)
def test_compiling_finds_everything_that_may_be_read(text: str, reads: set[str]) -> None:
    assert program(text).reads == reads


def test_what_is_not_evaluated_is_no_error() -> None:
    """The first side that decides ends it, as in Kubernetes: a guard may stand before what needs it."""
    assert holds("true || size(sboms.find(object.metadata.name)) == 0") is True
    assert holds("!(false && size(sboms.find(object.metadata.name)) == 0)") is True
    assert holds("true ? true : size(sboms.find(object.metadata.name)) == 0") is True


@pytest.mark.parametrize(
    "text", ["object.name.contains('y')", "object.name.find('[a-z]+') == 'x'", "object.name.startsWith('y')"]
)
def test_a_constant_that_some_receiver_takes_is_no_mistake(text: str) -> None:
    """What `object.name` is shows only later: a text has a part `y`, SBOMs contain no package `y`."""
    program(text)


MISTYPED: list[tuple[str, str, str]] = [
    ("size(1) == 1", "TypeMismatch", "line 1, column 1: there is no size(int)"),
    ("1 + 'a' == 2", "TypeMismatch", "line 1, column 3: there is no int + string"),
    ("object.x == 1 &&\n  1 + 'a' == 2", "TypeMismatch", "line 2, column 5: there is no int + string"),
    ("1 && true", "TypeMismatch", "line 1, column 1: && needs booleans, and this is int"),
    ("true || 'a'", "TypeMismatch", "|| needs booleans, and this is string"),
    ("!image.tag", "TypeMismatch", "there is no !string"),
    ("-true", "TypeMismatch", "there is no -bool"),
    ("1u - 1 == 0", "TypeMismatch", "there is no uint - int"),
    ("1.5 % 2.0 == 0.0", "TypeMismatch", "there is no double % double"),
    ("image.tag > 1", "TypeMismatch", "there is no string > int"),
    ("image < image", "TypeMismatch", "there is no image < image"),
    ("[1] < [2]", "TypeMismatch", "there is no list(int) < list(int)"),
    ("image.tag == 1", "TypeMismatch", "values of different types are never equal"),
    ("signatures == 'a'", "TypeMismatch", "there is no list(signature) == string"),
    ("1 == 1.0", "TypeMismatch", "there is no int == double"),
    ("'a' in ['b'] == 'c'", "TypeMismatch", "there is no bool == string"),
    ("1 in ['a']", "TypeMismatch", "there is no int in list(string)"),
    ("'a' in 'abc'", "TypeMismatch", "there is no string in string"),
    ("true ? 1 : 'a'", "TypeMismatch", "both sides of ?: have one type, and these are int and string"),
    ("image.tag ? 1 : 2", "TypeMismatch", "the condition of ?: is a boolean, and this is string"),
    ("signatures.foo == 1", "FieldUnknown", "there is no field 'foo': list(signature) has no fields"),
    ("has(image.tag.x)", "FieldUnknown", "there is no field 'x': string has no fields"),
    ("has(now.x)", "FieldUnknown", "timestamp has no fields"),
    ("signatures['a'] == 1", "TypeMismatch", "the index of list(signature) is int, and this is string"),
    ("signatures[0].claims[1] == 'a'", "TypeMismatch", "the index of map(string, string) is string, and this is int"),
    ("image.tag[0] == 'a'", "TypeMismatch", "string has no entries to take one of by [ ]"),
    ("image.tag.all(c, true)", "TypeMismatch", "all needs a list or a map, and this is string"),
    ("signatures.all(s, s.key)", "TypeMismatch", "the condition of all is a boolean, and this is string"),
    ("signatures.map(s, s.key, s) == []", "TypeMismatch", "the condition of map is a boolean, and this is string"),
    ("signatures.map(s, s.key).all(k, k > 1)", "TypeMismatch", "there is no string > int"),
    ("signatures.filter(s, true)[0].key.size() == 'a'", "TypeMismatch", "there is no int == string"),
    ("signatures.map(s, {'k': s.key})[0].k + 1 == 2", "TypeMismatch", "there is no string + int"),
    ("[1, 2].sum() == 'a'", "TypeMismatch", "there is no int == string"),
    ("['a'].sum() == 1", "FunctionUnknown", "sum is a function of"),
    ("image.platforms.join(1) == ''", "TypeMismatch", "there is no list(string).join(int); it is"),
    ("now + 1 == now", "TypeMismatch", "there is no timestamp + int"),
    ("duration('1x') == duration('1h')", "ArgumentInvalid", "line 1, column 10: duration: the string is no duration"),
    ("timestamp('yesterday') < now", "ArgumentInvalid", "the string is no timestamp of RFC 3339"),
    ("'%d'.format(['a', 1]) == ''", "ArgumentCount", "the text has 1 clauses, and the list 2 entries"),
    ("'%y'.format([1]) == ''", "ArgumentInvalid", "format: % stands before"),
    ("image.tag.find('(') == ''", "PatternMalformed", "RE2"),
    ("{1.5: 'a'} == {}", "TypeMismatch", "a map's keys are strings, ints, uints or booleans, and this is double"),
    ("ip('1.2.3.4').family() == '4'", "TypeMismatch", "there is no int == string"),
    ("ip('1.2.3.4') == cidr('1.2.3.4/8')", "TypeMismatch", "there is no net.IP == net.CIDR"),
    ("quantity('1').isGreaterThan(semver('1.0.0'))", "TypeMismatch", "kubernetes.Quantity.isGreaterThan"),
    ("sets.contians([1], [1])", "FunctionUnknown", "did you mean 'sets.contains'?"),
    ("'a'.lowerASCII() == 'a'", "FunctionUnknown", "did you mean 'lowerAscii'?"),
    ("charAt('a', 0) == 'a'", "FunctionUnknown", "it is a method: write it behind its receiver"),
    ("'5'.int() == 5", "FunctionUnknown", "it is a function, not a method"),
    ("format.dns1123Label().validate('a') == []", "TypeMismatch", "optional(list(string)) == list"),
]


@pytest.mark.parametrize(("text", "code", "message"), MISTYPED)
def test_types_that_do_not_fit_are_refused_when_compiled(text: str, code: str, message: str) -> None:
    with pytest.raises(PolicyError) as raised:
        program(text)
    assert raised.value.code == code
    assert message in raised.value.message


@pytest.mark.parametrize(
    "text",
    [
        "object.x + 1 == 2 && object.x.all(y, y.z) && size(object.x) == 1 && object.x == 'a'",
        "[1, 'a'].all(x, x == 1)",
        "{'a': 1, 'b': 'c'}.a + 1 == 2",
        "dyn(image.tag) == 1",
        "true ? dyn(1) : 'a'",
        "signatures.size() > 0.5 && 1u < 2",
        "[] == [1] && [1] + [] == [1] && {} == {'a': 1}",
        "timestamp('2026-01-01T00:00:00Z') != null",
        "type(image.tag) == string && type(1) != double",
        "signatures.sortBy(s, s.key)[0].key == ''",
    ],
)
def test_what_only_shows_when_it_is_evaluated_compiles(text: str) -> None:
    program(text)


NOT_SUPPORTED = [
    "object.?x == 1",
    "object[?0] == 1",
    "[?object.x] == []",
    "{?'a': 1} == {}",
    "[1, ?object.x] == []",
    "optional.of(1) == 1",
    "optional.none() == 1",
    "object.x.optMap(y, y) == 1",
    "cel.bind(x, 1, x == 1)",
    "cel.block([1], true)",
    "object.all(i, v, true)",
    "object.exists(i, v, true)",
    "object.existsOne(i, v, true)",
    "object.transformList(i, v, v) == []",
    "object.transformMap(k, v, v) == {}",
    "object.reduce(a, b, 0, a + b) == 1",
    ".object == 1",
    "google.protobuf.Int32Value{value: 1} == 1",
    "Message{} == 1",
    "object.`a-b` == 1",
]


@pytest.mark.parametrize("text", NOT_SUPPORTED)
def test_what_cel_has_and_we_have_not_is_refused_by_name(text: str) -> None:
    with pytest.raises(PolicyError) as raised:
        program(text)
    assert raised.value.code == "NotSupported"
    assert "not supported" in raised.value.message
    assert raised.value.message.startswith("line 1, column ")


def test_kubernetes_min_is_no_macro_of_the_library() -> None:
    assert holds("object.items.min() == 1 && [3, 1].min() == 1")


@pytest.mark.parametrize(
    ("text", "excerpt"),
    [
        ("objekt.x == 1", "objekt.x == 1\n^^^^^^"),
        ("object.x == 1 &&\n  size(image.tag, 1) == 1", "  size(image.tag, 1) == 1\n  ^^^^"),
        ("object.x ==", "object.x ==\n           ^"),
        ("(1 + 2) * 'a' == 3", "(1 + 2) * 'a' == 3\n        ^"),
        ("\ttrue && 1", "\ttrue && 1\n\t        ^"),
        ("'a\\qb' == ''", "'a\\qb' == ''\n  ^"),
        ("object.x == 'abc", "object.x == 'abc\n            ^"),
        ("image.digst == ''", "image.digst == ''\n      ^^^^^"),
        ("size(\n  object\n  ,1) == 1", "size(\n^^^^"),
    ],
)
def test_a_mistake_is_shown_with_a_caret_below_its_line(text: str, excerpt: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        program(text)
    assert raised.value.excerpt == excerpt
    assert "\n" not in raised.value.message


def test_an_excerpt_of_a_long_line_shows_what_is_around_the_mistake() -> None:
    with pytest.raises(ExpressionError) as raised:
        program(f"{'true && ' * 60}objekt.x == 1")
    line, caret = raised.value.excerpt.split("\n")
    assert len(line) <= 160
    assert line[caret.index("^") :].startswith("objekt")


def test_an_error_at_run_time_has_its_place_and_caret_too() -> None:
    with pytest.raises(ExpressionFailed) as raised:
        holds("true &&\n  object.items[7] == 1")
    assert raised.value.message == "line 2, column 3: index out of range"
    assert raised.value.excerpt == "  object.items[7] == 1\n  ^^^^^^^^^^^^^^^"


@pytest.mark.parametrize(
    ("text", "wanted", "code"),
    [
        ("1", cel.BOOL, "ExpressionNotBoolean"),
        ("image.tag", cel.BOOL, "ExpressionNotBoolean"),
        ("signatures.filter(s, true)", cel.BOOL, "ExpressionNotBoolean"),
        ("null", cel.BOOL, "ExpressionNotBoolean"),
        ("true", cel.STRING, "ExpressionNotString"),
        ("null", cel.STRING, "ExpressionNotString"),
        ("1", cel.STRING_OR_NULL, "ExpressionNotString"),
    ],
)
def test_an_expression_of_another_type_than_is_wanted_is_refused(text: str, wanted: cel.Type, code: str) -> None:
    with pytest.raises(PolicyError) as raised:
        compile_expression(text, ENVIRONMENT, LIMITS, wanted=wanted)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("object.x", cel.BOOL),
        ("true", cel.BOOL),
        ("object.x", cel.STRING),
        ("null", cel.STRING_OR_NULL),
        ("object.x ? 'a' : null", cel.STRING_OR_NULL),
    ],
)
def test_what_may_be_of_the_wanted_type_compiles(text: str, wanted: cel.Type) -> None:
    compile_expression(text, ENVIRONMENT, LIMITS, wanted=wanted)


@pytest.mark.guarantee(12)
def test_no_overload_names_types_and_never_values() -> None:
    with pytest.raises(Unacceptable) as raised:
        holds("object.secret.startsWith(object.items)", object={"secret": "hunter2", "items": ["swordfish"]})
    assert raised.value.message == "line 1, column 15: no such overload: string.startsWith(list)"


def test_no_function_reads_a_clock_without_saying_so() -> None:
    """A rule that reads `now` is judged at each request; one that read it in secret would be remembered."""
    folder = Path(libraries.__file__).parent
    clocks = {"now", "today", "time", "monotonic", "utcnow", "time_ns", "perf_counter", "localtime", "gmtime"}
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in clocks, f"{file.name}: {ast.unparse(node)}"
    overloads = [overload for library in libraries.TABLE.libraries for overload in library.overloads]
    assert {overload.name for overload in overloads if overload.reads} == {"age"}
