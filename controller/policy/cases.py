"""The format of policy tests: from a `PolicyTest` document to cases with everything filled in. Pure.

Nothing is passed over: a key that is not known, a case that expects nothing and a document without cases are mistakes.
A test that checks less than its author believes is worse than none. Format: docs/reference/policy-tests.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from controller.errors import InputError
from controller.model.decision import NoMatch, Templates, Verdict
from controller.model.policy import Namespace, Problem
from controller.model.workload import User
from controller.policy.fields import Fields
from controller.policy.kinds import API_VERSION, POLICY_TEST

MAX_CASES = 1000  # of one document; bounds what one command runs
DEFAULT_NAMESPACE = "default"

_SHARED = ("policies", "evidence", "trustRoots", "exceptions", "now", "user", "namespace", "noMatch", "templates")
"""What the document may say once for all of its cases; a case's own value replaces it whole."""


class Expected(StrEnum):
    """What a policy is to say of an image. `NotMatched`: it is not about the image at all."""

    SATISFIED = "Satisfied"
    VIOLATED = "Violated"
    ERROR = "Error"
    EXEMPT = "Exempt"
    NOT_MATCHED = "NotMatched"


@dataclass(frozen=True, slots=True)
class ExpectedReason:
    """One reason by its code, and, where they are not empty, by its rule and a part of its message."""

    code: str
    rule: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class ExpectedEvaluation:
    """What one policy says of the images that fit: those of this reference, container and platform, where given.

    `reasons` are all that there are; None leaves them open.
    """

    policy: str
    outcome: Expected
    image: str = ""
    container: str = ""
    platform: str = ""
    reasons: tuple[ExpectedReason, ...] | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a case must come to; what is None is left open. `warnings` are all of them, each by a part of its text."""

    verdict: Verdict | None = None
    evaluations: tuple[ExpectedEvaluation, ...] | None = None
    warnings: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One case. Paths are as written: relative to the folder of the file that they stand in.

    Exactly one of `image`, `object` and `file` is set. `bundles` are judged in the place of what lies beside the image
    in `layout`; without a layout the image's own registry is asked.
    """

    name: str
    index: int
    policies: tuple[str, ...]
    expect: Expectation | None
    image: str = ""
    object: Mapping[str, Any] | None = None
    file: str = ""
    layout: str = ""
    bundles: tuple[str, ...] = ()
    trust_roots: tuple[tuple[str, str], ...] = ()
    exceptions: tuple[str, ...] = ()
    now: datetime | None = None
    user: User = User()
    namespace: Namespace = Namespace(DEFAULT_NAMESPACE)
    no_match: NoMatch = NoMatch.ALLOW
    templates: Templates = Templates.WARN


def is_policy_test(document: Any) -> bool:
    """Whether the document says that it is one."""
    return isinstance(document, Mapping) and document.get("kind") == POLICY_TEST


def parse_cases(document: Mapping[str, Any], *, where: str, unfinished: bool = False) -> tuple[Case, ...]:
    """The cases of a document. `unfinished` lets a case be without `expect`: it is about to be filled in.

    Raises `InputError` (`PolicyTestMalformed`) with every mistake, each with its field.
    """
    problems: list[Problem] = []
    fields = Fields(document, "", problems)
    if fields.text("apiVersion") != API_VERSION or fields.text("kind") != POLICY_TEST:
        fields.problem("KindUnknown", f"must say apiVersion {API_VERSION} and kind {POLICY_TEST}", "kind")
    shared = {name: fields.raw(name) for name in _SHARED}
    given = fields.raw("cases")
    if not isinstance(given, list) or not given:
        fields.problem("FieldMissing", "must be a list of at least one case", "cases")
        given = []
    if len(given) > MAX_CASES:
        fields.problem("TooMany", f"has {len(given)} cases; at most {MAX_CASES} are allowed", "cases")
        given = []
    _circumstances(Fields(shared, "", problems))  # what is wrong with it is said even if each case replaces it
    cases = tuple(
        _case(value, i, shared=shared, problems=problems, unfinished=unfinished) for i, value in enumerate(given)
    )
    fields.close()
    _check_names(cases, problems)
    if problems:
        text = "; ".join(f"{p.field or 'the document'} {p.message}" for p in dict.fromkeys(problems))
        raise InputError("PolicyTestMalformed", f"{where}: {text}")
    return cases


def _case(value: Any, index: int, *, shared: Mapping[str, Any], problems: list[Problem], unfinished: bool) -> Case:
    path = f"cases[{index}]"
    own = Fields(value, path, problems)
    if value is None:
        own.problem("WrongType", "must be an object, not null")
    name = own.text("name", required=True)
    expect = _expectation(own, unfinished=unfinished)
    image, obj, file = own.text("image"), own.raw("object"), own.text("file")
    if sum(own.has(source) for source in ("image", "object", "file")) != 1:
        own.problem("FieldMissing", "must say what is judged by exactly one of image, object and file")
    if obj is not None and not isinstance(obj, Mapping):
        own.problem("WrongType", "must be a Kubernetes object", "object")
        obj = None
    for field in _SHARED:
        own.has(field)
    own.close()
    effective = {field: own.raw(field) if own.raw(field) is not None else shared[field] for field in _SHARED}
    circumstances = _circumstances(Fields(effective, path, problems))
    if not circumstances["policies"]:
        own.problem("FieldMissing", "must name at least one file or folder of policies", "policies")
    return Case(name=name, index=index, expect=expect, image=image, object=obj, file=file, **circumstances)


def _circumstances(fields: Fields) -> dict[str, Any]:
    """What a case has in common with others."""
    evidence, user, namespace = fields.node("evidence"), fields.node("user"), fields.node("namespace")
    found: dict[str, Any] = {
        "policies": fields.texts("policies"),
        "layout": evidence.text("layout"),
        "bundles": evidence.texts("bundles"),
        "trust_roots": fields.map_of_texts("trustRoots"),
        "exceptions": fields.texts("exceptions"),
        "now": _time(fields, "now"),
        "user": User(user.text("username"), user.text("uid"), user.texts("groups")),
        "namespace": Namespace(
            namespace.text("name", DEFAULT_NAMESPACE),
            dict(namespace.map_of_texts("labels")),
            dict(namespace.map_of_texts("annotations")),
        ),
        "no_match": fields.choice("noMatch", NoMatch.ALLOW),
        "templates": fields.choice("templates", Templates.WARN),
    }
    for node in (evidence, user, namespace):
        node.close()
    return found


def _time(fields: Fields, name: str) -> datetime | None:
    text = fields.text(name)
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        fields.problem("WrongType", "must be a time with its zone, such as 2026-01-31T12:00:00Z (RFC 3339)", name)
        return None
    return found


def _expectation(case: Fields, *, unfinished: bool) -> Expectation | None:
    if not case.has("expect"):
        if not unfinished:
            case.problem("FieldMissing", "is required: a case that expects nothing tests nothing", "expect")
        return None
    fields = case.node("expect")
    verdict = fields.choice("verdict", Verdict.DENY) if fields.has("verdict") else None
    evaluations = tuple(_evaluation(entry) for entry in fields.nodes("evaluations"))
    warnings = fields.texts("warnings") if fields.has("warnings") else None
    fields.close()
    if verdict is None and not evaluations:
        fields.problem("FieldMissing", "must say a verdict, or at least one of evaluations")
    return Expectation(verdict, evaluations if fields.has("evaluations") else None, warnings)


def _evaluation(fields: Fields) -> ExpectedEvaluation:
    reasons = tuple(_reason(fields, i) for i in range(_count(fields, "reasons")))
    found = ExpectedEvaluation(
        policy=fields.text("policy", required=True),
        outcome=fields.choice("outcome", Expected.SATISFIED),
        image=fields.text("image"),
        container=fields.text("container"),
        platform=fields.text("platform"),
        reasons=reasons if fields.has("reasons") else None,
    )
    if not fields.has("outcome"):
        fields.problem("FieldMissing", "is required", "outcome")
    if reasons and found.outcome is Expected.NOT_MATCHED:
        fields.problem("FieldConflict", "says why, and a policy that is not about the image has no reasons", "reasons")
    fields.close()
    return found


def _reason(evaluation: Fields, index: int) -> ExpectedReason:
    """A code alone, or an object with code, rule and message."""
    value = evaluation.raw("reasons")[index]
    if isinstance(value, str) and value:
        return ExpectedReason(value)
    fields = Fields(value, evaluation.at(f"reasons[{index}]"), evaluation.problems)
    found = ExpectedReason(fields.text("code", required=True), fields.text("rule"), fields.text("message"))
    fields.close()
    return found


def _count(fields: Fields, name: str) -> int:
    value = fields.raw(name)
    if value is not None and not isinstance(value, list):
        fields.problem("WrongType", "must be a list", name)
        return 0
    return len(value or ())


def _check_names(cases: tuple[Case, ...], problems: list[Problem]) -> None:
    seen: dict[str, int] = {}
    for case in cases:
        if case.name and seen.setdefault(case.name, case.index) != case.index:
            message = f"is {case.name!r}, the name of cases[{seen[case.name]}] already"
            problems.append(Problem("FieldConflict", f"cases[{case.index}].name", message))
