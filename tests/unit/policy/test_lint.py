"""What is said of a policy before it bites: every mistake at once, with its field, and nothing of a good one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.policy.lint import Surroundings, lint, lint_all
from controller.policy.references import Materials
from tests.support.mistakes import ASSAY_NAMESPACE, MISTAKES, Told, by_key, caret, error, policy, rule, surroundings
from tests.unit.policy import make


def around(**more: Any) -> Surroundings:
    known: dict[str, Any] = {"trust_roots": frozenset({"public-good"}), "materials": Materials(ASSAY_NAMESPACE)}
    return surroundings(**(known | more))


def told(obj: dict[str, Any], **more: Any) -> list[Told]:
    found = lint(obj, around(**more))
    assert all(str(finding.subject) == f"{obj['kind']}/p" for finding in found if "namespace" not in obj["metadata"])
    return [(str(f.severity), f.code, f.field, f.message, f.excerpt) for f in found]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_field_cause_and_fix(name: str) -> None:
    assert told(MISTAKES[name].policy("p")) == list(MISTAKES[name].told)


@pytest.mark.parametrize("name", MISTAKES)
def test_nothing_is_said_once_the_mistake_is_mended(name: str) -> None:
    assert told(MISTAKES[name].fixed("p")) == []


def test_what_is_not_known_is_no_finding() -> None:
    missing = [MISTAKES["a trust root that is not there"], MISTAKES["a secret that is not there"]]
    assert [told(mistake.policy("p"), trust_roots=None, materials=None) for mistake in missing] == [[], []]
    unread = Materials(ASSAY_NAMESPACE, unread=dict.fromkeys(_wanted(missing[1].policy("p")), "away"))
    assert told(missing[1].policy("p"), materials=unread) == []


def _wanted(obj: dict[str, Any]) -> Any:
    from controller.policy.references import wanted

    return wanted([obj], namespace=ASSAY_NAMESPACE)


@pytest.mark.parametrize(
    ("images", "useless"),
    [
        (["ghcr.io/acme/**", "ghcr.io/**"], [0]),
        (["ghcr.io/acme/*", "ghcr.io/acme/**"], [0]),
        (["ghcr.io/acme/**", "ghcr.io/acme/*"], [1]),
        (["ghcr.io/acme/**", "ghcr.io/acme/**"], [1]),
        (["ghcr.io/*/app", "ghcr.io/acme/*"], []),
        (["ghcr.io/*/app", "ghcr.io/**/app"], [0]),
        (["ghcr.io/acme*/**", "ghcr.io/acme/**"], [1]),
        (["!ghcr.io/acme/x/**", "!ghcr.io/acme/**", "ghcr.io/**"], [0]),
        (["ghcr.io/acme/x", "!ghcr.io/acme/**"], [0]),
        (["ghcr.io/**", "!ghcr.io/acme/**"], []),
        (["nginx.example/app", "docker.io/library/nginx", "index.docker.io/nginx"], [2]),
    ],
)
def test_a_pattern_is_redundant_only_if_another_matches_all_of_it(images: list[str], useless: list[int]) -> None:
    found = told(policy("p", match={"images": images}, validationActions=["Audit"]))
    assert [(code, field) for _, code, field, *_ in found] == [
        ("PatternRedundant", f"spec.match.images[{index}]") for index in useless
    ]


def test_a_denial_that_rests_on_the_object_s_metadata_is_told_and_a_warning_or_a_record_is_not() -> None:
    match = {"images": ["ghcr.io/acme/**"], "conditions": [{"name": "c", "expression": "has(object.metadata.labels)"}]}
    assert [code for _, code, *_ in told(policy("p", match=match))] == ["SelectedByAuthor"]
    assert told(policy("p", match=match, validationActions=["Warn", "Audit"])) == []


@pytest.mark.parametrize(
    "reader",
    [
        {"validations": [{"expression": "size(variables.v) > 0"}]},
        {"validations": [{"expression": "size(image.repository) > 0", "messageExpression": "variables.v"}]},
        {"auditAnnotations": [{"key": "k", "valueExpression": "variables.v"}]},
        {"validations": [{"expression": "variables['v' + ''] == 'x'"}]},
    ],
)
def test_a_variable_counts_as_read_wherever_it_is_read(reader: dict[str, Any]) -> None:
    variables = [{"name": "v", "expression": "image.repository"}]
    assert told(policy("p", variables=variables, **reader)) == []


def test_a_policy_in_a_namespace_that_is_never_asked_about_is_told_so() -> None:
    for namespace, fields in (
        ("kube-system", {}),
        (ASSAY_NAMESPACE, {}),
        (ASSAY_NAMESPACE, {"match": {}, "validationActions": ["Warn"]}),
    ):
        found = told(policy("p", namespace=namespace, **fields))
        assert [(severity, code) for severity, code, *_ in found] == [("warning", "NamespaceNotReviewed")]


def test_a_mistake_that_cannot_be_read_hides_no_other_and_makes_none_up() -> None:
    obj = policy("p", digest="Resolve", signatures={"authorities": ["release"], "minimum": "2"}, match={"image": []})
    obj["spec"] |= {"failurePolicy": "Ignore", "atestations": []}
    assert [(code, field) for _, code, field, *_ in told(obj)] == [
        ("FieldUnknown", "spec.atestations"),
        ("ResolveWithDeny", "spec.digest"),
        ("FieldUnknown", "spec.match.image"),
        ("WrongType", "spec.signatures.minimum"),
    ]


@pytest.mark.parametrize("broken", [{}, {"kind": "EvidencePolicy"}, {"metadata": 3}, {"spec": []}, {"kind": None}])
def test_no_object_is_too_broken_to_be_told_about(broken: dict[str, Any]) -> None:
    obj = policy("p") | broken
    found = lint(obj, around())
    assert bool(found) is bool(broken)
    assert all(str(finding.severity) == "error" for finding in found)


def test_a_trust_root_is_checked_and_what_it_refers_to_is_a_warning() -> None:
    def root(**spec: Any) -> list[tuple[str, ...]]:
        obj = {"apiVersion": "assay.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": "p"}, "spec": spec}
        return [entry[:3] for entry in told(obj)]

    reference = {"name": "roots", "key": "root.json"}
    tuf_root = json.dumps({"signed": {"_type": "root"}})
    assert root(trustedRoot="{}") == [("error", "TrustRootMalformed", "spec.trustedRoot")]
    assert root(secretRef=reference) == [("warning", "ReferenceMissing", "spec.secretRef")]
    assert ("error", "WrongType", "spec.secretRef") in root(secretRef="roots")
    assert root(tuf={"url": "https://tuf.example", "root": tuf_root}) == [], "what it distributes only time tells"
    assert root(tuf={"url": "https://tuf.example", "root": "{}"}) == [("error", "TufRootMalformed", "spec.tuf.root")]
    assert ("error", "WrongType", "spec.tuf") in root(tuf="x")
    assert root(publicKeys=[{"pem": "x"}]) == [("error", "KeyMalformed", "spec.publicKeys[0].pem")]


def test_a_trust_root_s_document_is_read_by_who_can() -> None:
    document = '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'
    obj = {"apiVersion": "assay.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": "p"}}
    inline = obj | {"spec": {"trustedRoot": document}}
    assert [f.text for f in lint(inline, around(read_document=lambda root: f"of {root.name} is bad"))] == [
        "spec.trustedRoot: of p is bad"
    ]
    assert lint(inline, around(read_document=lambda _: "")) == lint(inline, around()) == ()
    keys = obj | {"spec": {"publicKeys": [{"pem": make.pem()}]}}
    assert lint(keys, around(read_document=lambda _: "has no document")) == ()


@pytest.mark.guarantee(10)
def test_what_all_expressions_of_a_policy_may_cost_is_bounded() -> None:
    long = f"image.repository != '{'x' * 9_000}'"
    obj = policy(
        "p", validations=[{"expression": long}] * 4, variables=[{"name": f"v{n}", "expression": long} for n in range(4)]
    )
    bound = "bound: policy_cel_max_total_length 65536"
    message = f"has expressions of {8 * len(long)} characters in all ({bound}); make it several policies"
    assert told(obj) == [error("ExpressionTooLong", "spec", message)]
    obj["spec"]["variables"] = []
    assert told(obj) == []


def test_no_control_character_of_a_policy_reaches_a_terminal() -> None:
    found = lint(policy("p", **rule("'\x1b[2J' + signature")), around())
    assert [finding.excerpt for finding in found] == [caret("'\ufffd[2J' + signature", "signature")]
    odd = policy("p")
    odd["spec"]["\x1b[2J"] = 1
    assert [finding.field for finding in lint(odd, around())] == ["spec.\ufffd[2J"]


def exception(**fields: Any) -> dict[str, Any]:
    spec = {"policies": [{"name": "p"}], "images": ["ghcr.io/acme/**"], "reason": "why"}
    return {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "EvidenceException",
        "metadata": {"name": "p"},
        "spec": {**spec, "expires": "2026-11-23T11:00:00Z", **fields},
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"approver": "jane"}, []),
        ({"expires": "2026-11-22T10:00:00Z"}, [("warning", "Expired", "spec.expires")]),
        ({"expires": "2028-11-22T10:00:00Z"}, [("error", "EndTooFar", "spec.expires")]),
        ({"reason": None}, [("error", "FieldMissing", "spec.reason")]),
        ({"images": ["ghcr.io/acme/app:1"]}, [("error", "ImagePatternMalformed", "spec.images[0]")]),
        ({"policies": [{"name": "q"}]}, [("warning", "PolicyMissing", "spec.policies")]),
        ({"policies": [{"kind": "EvidencePolicy", "namespace": "shop", "name": "p"}]},
         [("warning", "PolicyMissing", "spec.policies")]),
    ],
)  # fmt: skip
def test_an_exception_in_a_file_is_checked_and_needs_no_approver_yet(
    fields: dict[str, Any], expected: list[tuple[str, str, str]]
) -> None:
    now = datetime(2026, 11, 22, 11, 0, tzinfo=UTC)
    _, found = lint_all([policy("p"), exception(**fields)], around(now=now))
    assert [(str(f.severity), f.code, f.field) for f in found] == expected


def test_an_exception_s_end_and_policies_are_not_judged_where_neither_is_known() -> None:
    assert lint(exception(expires="2020-01-01T00:00:00Z", policies=[{"name": "q"}]), around()) == ()


def test_of_two_objects_of_one_name_the_second_is_told() -> None:
    found = lint_all([policy("a"), policy("b"), policy("a", namespace="shop"), policy("a")], around())
    assert [[(f.code, f.message) for f in each] for each in found] == [
        [],
        [],
        [],
        [("PolicyDuplicate", "ClusterEvidencePolicy/a is there already; only one of them can be in a cluster")],
    ]


def test_a_trust_root_among_the_objects_is_one_that_is_there() -> None:
    obj = policy("p", authorities=[by_key("release", transparencyLog="Required")])
    root = {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": {"name": "public-good"},
        "spec": {"publicKeys": [{"pem": make.pem()}]},
    }
    alone = lint_all([obj], around(trust_roots=frozenset()))
    assert [[finding.code for finding in each] for each in alone] == [["TrustRootMissing"]]
    assert lint_all([obj, root], around(trust_roots=frozenset())) == [(), ()]
