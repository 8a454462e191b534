"""The page docs/reference/cel.md: made from the table of functions and the schema, with examples that a test evaluates."""

from __future__ import annotations

import dataclasses
import json
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path

from controller import settings
from controller.policy.cel import schema
from controller.policy.cel.libraries import TABLE
from controller.policy.cel.overloads import Library, Overload, applied
from controller.policy.cel.schema import Type

ROOT = Path(__file__).resolve().parent.parent

NAMES = {
    "image": "the image, by its digest; `tag` is the user's word, and so is read anew for each request",
    "container": "the container that uses the image",
    "object": "the object of the request; null when there is none",
    "oldObject": "the object as it was before an update; null when there is none",
    "request": "the AdmissionRequest (admission.k8s.io/v1)",
    "namespaceObject": "the object's namespace",
    "signatures": "the signatures that count for `spec.signatures`; only with that requirement",
    "attestations": "by the name of the entry of `spec.attestations`, the attestations that count for it",
    "sboms": "the SBOMs among them; only with an entry of such a type",
    "provenances": "the SLSA provenances among them; only with an entry of such a type",
    "vulnerabilities": "the vulnerability scans among them; only with an entry of such a type",
    "vex": "the OpenVEX documents among them; only with an entry of such a type",
    "now": "the time of the review",
    "variables": "`spec.variables`, those before this one; each is computed when it is first read",
}

MACROS = {
    "has(e.f)": "Whether the object `e` has a field `f`. What is no object is an error.",
    "e.all(x, p)": "Whether `p` is true of every entry of a list, or of every key of a map.",
    "e.exists(x, p)": "Whether `p` is true of an entry.",
    "e.exists_one(x, p)": "Whether `p` is true of exactly one entry. Any error is the result.",
    "e.filter(x, p)": "The entries of which `p` is true. Any error is the result.",
    "e.map(x, t)": "`t` of each entry. Any error is the result.",
    "e.map(x, p, t)": "`t` of each entry of which `p` is true.",
    "e.sortBy(x, t)": "The entries of a list in the order of `t`, which is of one type that has an order.",
}

NOT_SUPPORTED = {
    "optional syntax (`a.?b`, `a[?i]`, `optional.of`, `optMap`)": "use `has()`; what `format` gives has `hasValue()`, "
    "`value()` and `orValue(x)`",
    "comprehensions with two variables (`all(i, v, …)`, `transformList` and its like)": "use the macros above",
    "`cel.bind`, `cel.block`": "use `spec.variables`",
    "protobuf messages (`Type{field: value}`), names with a leading dot, names in backticks": "use `object['a-b']`",
    "`reduce` (cel-python's own)": "use `sum()`, `map` and `filter`",
    "Kubernetes' `authorizer`": "it asks the API server; a rule here asks nobody",
}

EXAMPLES: dict[str, list[tuple[str, object]]] = {
    "operators": [("7 / -2", -3), ("dyn('a') == 1", False), ("2 in [1, 2.0 == 2.0 ? 2 : 3]", True)],
    "standard": [("size('größe')", 5), ("'v1.2'.matches('^v[0-9]')", True), ("string(1.5)", "1.5"),
                 ("type(1u) == uint", True)],
    "numbers": [("int('12') + 1", 13), ("-7 % 3", -1), ("uint(2.9)", 2)],
    "times": [("timestamp('2026-01-01T00:00:00Z') + duration('36h')", "2026-01-02T12:00:00Z"),
              ("timestamp('2026-07-01T00:00:00Z').getHours('Europe/Berlin')", 2)],
    "strings": [("'a,b'.split(',')", ["a", "b"]), ("'%s has %d'.format(['x', 2])", "x has 2"),
                ("'Ab'.lowerAscii()", "ab"), ("strings.quote('a\"b')", '"a\\"b"')],
    "lists": [("[3, 1, 2].sort()", [1, 2, 3]), ("[1, 2, 3].sum()", 6), ("[[1], [2, 3]].flatten()", [1, 2, 3]),
              ("['bb', 'a'].sortBy(s, s.size())", ["a", "bb"])],
    "sets": [("sets.contains(['a', 'b'], ['b'])", True), ("sets.equivalent([1, 2], [2, 1, 1])", True)],
    "regex": [("'v1.2.3'.find('[0-9]+')", "1"), ("'1.2.3'.findAll('[0-9]+', 2)", ["1", "2"])],
    "url": [("url('https://example.com:8443/a').getPort()", "8443"), ("isURL('example.com')", False)],
    "net": [("cidr('10.0.0.0/8').containsIP('10.1.2.3')", True), ("ip('::1').isLoopback()", True)],
    "quantity": [("quantity('1Gi').isGreaterThan(quantity('1G'))", True), ("quantity('1k').asInteger()", 1000)],
    "semver": [("semver('v1.10', true).isGreaterThan(semver('1.9.0'))", True), ("semver('1.2.3').minor()", 2)],
    "format": [("format.dns1123Label().validate('Not-ok').hasValue()", True)],
}  # fmt: skip
"""By library: expressions and what they give, as `assay policy eval -o json` prints it."""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            *_head(),
            *_names(),
            *_types(),
            *_macros(),
            *_functions(),
            *_bounds(),
            *_absent(),
        ]
    )


def _head() -> Iterator[str]:
    yield "# CEL\n"
    yield "The expressions of policies are [CEL](https://cel.dev) as a Kubernetes 1.34 API server has it, with functions of"
    yield "Assay's own. `assay policy eval EXPRESSION` evaluates any of them; every example here is evaluated by a test.\n"
    yield "An expression is checked when its policy is read: names, fields, functions and types. Where nothing is known of a"
    yield "type (`dyn`: `object`, predicates, lists of several types), it is looked at when the expression is evaluated. A"
    yield "rule that has no value is an Error of its policy, never true and never false.\n"
    yield "An error is passed over only by `||`, `&&`, `all` and `exists`, and only if another side decides. A crossed bound,"
    yield "evidence that cannot be read and input that is absent are passed over by nothing. The first side that decides ends"
    yield "the operator: what stands behind it is not evaluated.\n"


def _names() -> Iterator[str]:
    yield "## Names\n"
    yield "`match.conditions` have no evidence, no `now` and no `variables`, and of `image` only what was written.\n"
    yield "| name | type | |\n| --- | --- | --- |"
    for name, declared in schema.NAMES.items():
        yield f"| `{name}` | `{declared.name}` | {NAMES[name]} |"
    yield ""


def _types() -> Iterator[str]:
    yield "## Objects\n"
    yield "A field that the document or request does not have is absent: ask with `has()`.\n"
    for name, fields in sorted(_objects().items()):
        yield f"### {name}\n"
        yield "| field | type |\n| --- | --- |"
        yield from (f"| `{field}` | `{declared.name}` |" for field, declared in fields.items())
        yield ""


def _objects() -> dict[str, dict[str, Type]]:
    found: dict[str, dict[str, Type]] = {}
    waiting = list(schema.NAMES.values())
    while waiting:
        declared = waiting.pop()
        if declared.fields is not None and declared.name not in found:
            found[declared.name] = dict(declared.fields)
            waiting += declared.fields.values()
        waiting += [part for part in (declared.element, declared.key) if part is not None]
    return found


def _macros() -> Iterator[str]:
    yield "## Macros\n"
    yield "Each entry costs a step, and what is evaluated for it.\n"
    yield "| macro | |\n| --- | --- |"
    yield from (f"| `{macro}` | {text} |" for macro, text in MACROS.items())
    yield ""


def _functions() -> Iterator[str]:
    yield "## Functions and operators\n"
    yield "Each costs a step, each constant, name, field and operator too; what a function costs beyond that is told.\n"
    for library in TABLE.libraries:
        yield f"### {library.name}\n"
        source = f" (as in {library.source})" if library.source else ""
        yield f"{library.text.rstrip('.')}{source}.\n"
        yield "| function | cost | |\n| --- | --- | --- |"
        yield from _rows(library)
        yield ""
        if library.name in EXAMPLES:
            yield "```"
            yield from (
                f"{expression}  // {json.dumps(shown, ensure_ascii=False)}"
                for expression, shown in EXAMPLES[library.name]
            )
            yield "```\n"


def _rows(library: Library) -> Iterator[str]:
    grouped: dict[tuple[str, str, str], list[Overload]] = {}
    for overload in library.overloads:
        grouped.setdefault((overload.name, overload.cost, overload.text), []).append(overload)
    for (_, cost, text), overloads in grouped.items():
        signatures = "<br>".join(f"`{_signature(overload)}`" for overload in overloads)
        yield f"| {signatures} | {'' if cost == '1 step' else cost} | {text} |".replace("||", "\\|\\|")


def _signature(overload: Overload) -> str:
    if "_" not in overload.name:
        return overload.signature
    types = [declared.name for declared in overload.operands]
    return f"{applied(overload.name, types, method=False)} -> {overload.result.name}"


def _bounds() -> Iterator[str]:
    yield "## Bounds\n"
    yield "Crossing one is an Error that names it. A rule has its budget for itself, with the variables that it is the first"
    yield "to read.\n"
    yield "| setting | default | |\n| --- | --- | --- |"
    kind = typing.get_type_hints(settings.Settings)["policy"]
    for field in dataclasses.fields(kind):
        if field.name.startswith("policy_cel_"):
            shown = f"{field.default:g}s" if isinstance(field.default, settings.Seconds) else field.default
            yield f"| `{field.name}` | `{shown}` | {field.metadata['help']} |"
    yield "\nRegular expressions are RE2: linear in the text, with bounds on their length and memory.\n"


def _absent() -> Iterator[str]:
    yield "## What of CEL is not supported\n"
    yield "Refused by name (`NotSupported`) when a policy is read:\n"
    yield from (f"- {what}: {instead}." for what, instead in NOT_SUPPORTED.items())
    yield "\n## Where it differs from Kubernetes\n"
    yield "On purpose, each with recorded cases (`tests/fixtures/cel_cases/different.toml`):\n"
    different = tomllib.loads((ROOT / "tests" / "fixtures" / "cel_cases" / "different.toml").read_text())
    yield from (f"- {group['why']} For example: `{group['expressions'][0]}`" for group in different.values())
    yield ""
