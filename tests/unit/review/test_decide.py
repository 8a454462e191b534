"""The one place where evaluations become an answer: whole decisions, and what may never be otherwise."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.decision import Decision, ErrorKind, Evaluation, NoMatch, Outcome, Reason, Verdict
from controller.model.policy import Action, FailurePolicy
from controller.review.decide import Subject, decide
from tests.support.review import digest, evaluation, image_use

APP, WEB = image_use(), image_use("ghcr.io/acme/web:2", name="web", index=1)
UNAVAILABLE = {"error_kind": ErrorKind.UNAVAILABLE}
IGNORE = {"failure_policy": FailurePolicy.IGNORE}
CAUSE = "SignatureMissing: the image has no signature"
DENIAL = (
    "Pod shop/web: 1 image lacks the evidence that is required.\n"
    f'container "app" runs ghcr.io/acme/app:1 ({digest("app")})\n'
    "  ClusterEvidencePolicy signed, signatures: SignatureMissing: the image has no signature\n"
    "record r-1"
)


def answer(
    *evaluations: Evaluation, images: Any = (APP,), no_match: NoMatch = NoMatch.ALLOW, softened: str = ""
) -> Decision:
    return decide(evaluations, images=images, no_match=no_match, subject=Subject("Pod shop/web", "r-1", softened))


def expected(*evaluations: Evaluation, **changes: Any) -> Decision:
    fields: dict[str, Any] = {"verdict": Verdict.ALLOW, "message": "", "warnings": (), "flags": ()}
    fields["audit"] = (
        ("record", "r-1"),
        *((("evaluations", " ".join(f"{e.policy}={e.outcome}" for e in evaluations)),) if evaluations else ()),
    )
    return Decision(**(fields | changes), evaluations=evaluations)


@pytest.mark.parametrize(
    ("given", "decision"),
    [
        pytest.param(e := evaluation(), expected(e), id="satisfied"),
        pytest.param(
            e := evaluation(Outcome.VIOLATED),
            expected(e, verdict=Verdict.DENY, message=DENIAL),
            id="violated under Deny",
        ),
        pytest.param(
            e := evaluation(Outcome.VIOLATED, actions=(Action.WARN,)),
            expected(
                e,
                warnings=(f"ClusterEvidencePolicy signed (warns only): ghcr.io/acme/app:1: {CAUSE}",),
                flags=("warn", "no-match"),
            ),
            id="violated under Warn",
        ),
        pytest.param(
            e := evaluation(Outcome.VIOLATED, actions=(Action.AUDIT,)),
            expected(
                e,
                audit=(
                    ("record", "r-1"),
                    ("evaluations", "ClusterEvidencePolicy/signed=Violated"),
                    (
                        "audited",
                        f"ClusterEvidencePolicy signed: ghcr.io/acme/app:1: {CAUSE}",
                    ),
                ),
                flags=("audit", "no-match"),
            ),
            id="violated under Audit",
        ),
        pytest.param(
            e := evaluation(Outcome.ERROR),
            expected(
                e,
                verdict=Verdict.DENY,
                message=DENIAL.replace("lacks the evidence that is required", "could not be judged").replace(
                    "SignatureMissing", "cannot be judged, SignatureMissing"
                ),
                flags=("error",),
            ),
            id="error under Deny",
        ),
        pytest.param(
            e := evaluation(Outcome.ERROR, **UNAVAILABLE),
            expected(
                e,
                verdict=Verdict.DENY,
                message=DENIAL.replace("lacks the evidence that is required", "could not be judged").replace(
                    "SignatureMissing", "cannot tell now, SignatureMissing"
                ),
                flags=("error",),
            ),
            id="unavailable, failurePolicy Fail",
        ),
        pytest.param(
            e := evaluation(Outcome.ERROR, **UNAVAILABLE, **IGNORE),
            expected(
                e,
                warnings=(
                    (
                        "ghcr.io/acme/app:1 was NOT verified and is let in, since ClusterEvidencePolicy signed has "
                        f"failurePolicy Ignore: {CAUSE}"
                    ),
                ),
                flags=("error", "fail-open"),
            ),
            id="unavailable, failurePolicy Ignore",
        ),
        pytest.param(
            e := evaluation(Outcome.EXEMPT),
            expected(
                e,
                warnings=(
                    (
                        "ghcr.io/acme/app:1 is exempt from ClusterEvidencePolicy signed until 2026-11-23 12:00Z by "
                        f"exception hotfix, approved by jane: {CAUSE}"
                    ),
                ),
                audit=(
                    ("record", "r-1"),
                    ("evaluations", "ClusterEvidencePolicy/signed=Exempt"),
                    (
                        "exceptions",
                        (
                            "ClusterEvidencePolicy signed: ghcr.io/acme/app:1: hotfix until 2026-11-23 12:00Z, "
                            "approved by jane"
                        ),
                    ),
                ),
                flags=("exempt",),
            ),
            id="exempt",
        ),
        pytest.param(
            e := replace(evaluation(Outcome.EXEMPT), exceptions=()),
            expected(e, verdict=Verdict.DENY, message=DENIAL, flags=("exempt",)),
            id="exempt by nothing",
        ),
    ],
)
def test_one_evaluation_comes_to_exactly_this(given: Evaluation, decision: Decision) -> None:
    assert answer(given) == decision


UNMATCHED = "ghcr.io/acme/app:1: no ClusterEvidencePolicy with Deny matches this image"


@pytest.mark.parametrize(
    ("no_match", "decision"),
    [
        (NoMatch.ALLOW, expected(flags=("no-match",))),
        (NoMatch.WARN, expected(warnings=(UNMATCHED,), flags=("no-match",))),
        (
            NoMatch.DENY,
            expected(
                verdict=Verdict.DENY,
                message=(
                    "Pod shop/web: 1 image lacks the evidence that is required.\n"
                    'container "app" runs ghcr.io/acme/app:1: no policy covers this image, and here only '
                    "covered images may run (noMatch: Deny).\n"
                    "  next: ask the platform's owners for a ClusterEvidencePolicy that matches it\n"
                    "record r-1"
                ),
                flags=("no-match",),
            ),
        ),
    ],
)
def test_an_image_that_nothing_covers_comes_to_what_no_match_says(no_match: NoMatch, decision: Decision) -> None:
    assert answer(no_match=no_match) == decision


@pytest.mark.parametrize(
    "only",
    [
        evaluation(kind="EvidencePolicy"),
        evaluation(actions=(Action.WARN,)),
        evaluation(actions=(Action.AUDIT,)),
        evaluation(image=WEB),
    ],
    ids=["namespaced", "warns", "audits", "another image's"],
)
def test_only_a_cluster_policy_that_denies_makes_its_image_matched(only: Evaluation) -> None:
    assert answer(only, no_match=NoMatch.DENY).verdict is Verdict.DENY
    assert answer(only, evaluation(), no_match=NoMatch.DENY).verdict is Verdict.ALLOW


def test_a_softened_denial_is_a_warning_with_the_same_cause() -> None:
    violated = evaluation(Outcome.VIOLATED)
    assert answer(
        violated, images=(APP, WEB), no_match=NoMatch.DENY, softened="pods of this Job will be denied"
    ) == expected(
        violated,
        warnings=(
            f"pods of this Job will be denied: ClusterEvidencePolicy signed: ghcr.io/acme/app:1: {CAUSE}",
            "ghcr.io/acme/web:2: no ClusterEvidencePolicy with Deny matches this image",
        ),
        flags=("warn", "no-match", "softened"),
    )


def test_softening_an_allow_changes_nothing() -> None:
    assert answer(evaluation(), softened="x") == answer(evaluation())


def test_all_reasons_are_kept_sorted_by_policy_and_image() -> None:
    found = [
        evaluation(Outcome.VIOLATED, image=WEB, name="b"),
        evaluation(Outcome.VIOLATED, image=APP, name="b"),
        evaluation(Outcome.VIOLATED, image=WEB, name="a"),
    ]
    decision = answer(*found, images=(APP, WEB))
    assert decision.evaluations == (found[2], found[1], found[0])
    assert decision.message.count("SignatureMissing") == 3
    assert "2 images lack" in decision.message


outcomes = st.sampled_from(list(Outcome))


@st.composite
def some_evaluations(draw: st.DrawFn) -> list[Evaluation]:
    keys = st.tuples(
        st.sampled_from([APP, WEB]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["ClusterEvidencePolicy", "EvidencePolicy"]),
    )
    return [
        evaluation(
            draw(outcomes),
            image=image,
            name=name,
            kind=kind,
            actions=draw(
                st.sampled_from([(Action.DENY,), (Action.WARN,), (Action.AUDIT,), (Action.DENY, Action.AUDIT)])
            ),
            failure_policy=draw(st.sampled_from(list(FailurePolicy))),
            error_kind=draw(st.sampled_from(list(ErrorKind))),
        )
        for image, name, kind in draw(st.lists(keys, unique=True, max_size=6))
    ]


@pytest.mark.guarantee(7)
@given(some_evaluations(), st.sampled_from(list(NoMatch)), st.sampled_from(["", "softly"]), st.randoms())
def test_order_never_matters(found: list[Evaluation], no_match: NoMatch, soft: str, shuffled: random.Random) -> None:
    other = found[:]
    shuffled.shuffle(other)
    one = answer(*found, images=(APP, WEB), no_match=no_match, softened=soft)
    assert answer(*other, images=(APP, WEB), no_match=no_match, softened=soft) == one


@pytest.mark.guarantee(7)
@given(some_evaluations(), outcomes, st.sampled_from([Action.WARN, Action.AUDIT]), st.sampled_from(list(NoMatch)))
def test_a_policy_that_warns_or_audits_never_changes_the_verdict(
    found: list[Evaluation], outcome: Outcome, action: Action, no_match: NoMatch
) -> None:
    mild = evaluation(outcome, name="mild", actions=(action,))
    before = answer(*found, images=(APP, WEB), no_match=no_match)
    after = answer(*found, mild, images=(APP, WEB), no_match=no_match)
    assert (after.verdict, after.message) == (before.verdict, before.message)


@pytest.mark.guarantee(6)
@given(some_evaluations(), st.sampled_from(list(NoMatch)))
def test_nothing_under_deny_is_let_in_but_satisfied_exempt_and_unavailable_with_ignore(
    found: list[Evaluation], no_match: NoMatch
) -> None:
    decision = answer(*found, images=(APP, WEB), no_match=no_match)
    lets_in = {(Outcome.SATISFIED, None), (Outcome.EXEMPT, None)}
    for e in found:
        excused = e.outcome is Outcome.ERROR and (e.error_kind, e.failure_policy) == (
            ErrorKind.UNAVAILABLE,
            FailurePolicy.IGNORE,
        )
        if Action.DENY in e.actions and (e.outcome, None) not in lets_in and not excused:
            assert decision.verdict is Verdict.DENY
            assert decision.message


@given(some_evaluations(), some_evaluations(), st.sampled_from(list(NoMatch)))
def test_more_evaluations_of_policies_that_deny_never_turn_a_denial_into_an_allow(
    found: list[Evaluation], more: list[Evaluation], no_match: NoMatch
) -> None:
    named = [e for e in more if (e.image, e.policy) not in {(f.image, f.policy) for f in found}]
    before = answer(*found, no_match=NoMatch.ALLOW)
    if before.verdict is Verdict.DENY:
        assert answer(*found, *named, no_match=no_match).verdict is Verdict.DENY


@pytest.mark.guarantee(6)
@pytest.mark.parametrize(
    ("code", "let_in"),
    [
        ("RegistryUnavailable", True),
        ("RegistryTimeout", True),
        ("DeadlineExceeded", False),
        ("WorkTimeout", False),
        ("ReviewBytesFull", False),
        ("ShuttingDown", False),
        ("WorkersStopped", False),
        ("NamespaceUnavailable", False),
        ("NamespaceUnknown", False),
    ],
)
def test_ignore_covers_a_registry_that_is_away_and_neither_assays_own_end_nor_the_api_servers(
    code: str, let_in: bool
) -> None:
    away = evaluation(Outcome.ERROR, **UNAVAILABLE, **IGNORE, reasons=(Reason(code, "evidence", "it is away"),))
    decision = answer(away)
    assert (decision.verdict is Verdict.ALLOW) is let_in
    assert ("fail-open" in decision.flags) is let_in
