"""What was found against what was expected: nothing that was found goes unspoken of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import InputError
from controller.model.decision import Reason, Verdict
from controller.model.policy import PolicyIdentity
from controller.policy.cases import Expectation, Expected, ExpectedEvaluation, ExpectedReason
from controller.policy.expectations import Found, FoundEvaluation, Subject, differences, expectation_of

SIGNED = PolicyIdentity("ClusterEvidencePolicy", "", "signed", "sha256:1")
OTHER = PolicyIdentity("EvidencePolicy", "shop", "other", "sha256:2")
APP = Subject("ghcr.io/acme/app:1", "app", "/spec/containers/0/image")
SIDE = Subject("ghcr.io/acme/side:1", "side", "/spec/containers/1/image")
MISSING = Reason("SignatureMissing", "signatures", "the image has no signature")
RULE = Reason("RuleViolated", "validations[0]", "contains log4j")


def evaluation(
    outcome: Expected = Expected.VIOLATED, *reasons: Reason, policy: PolicyIdentity = SIGNED, subject: Subject = APP,
    platform: str = "",
) -> FoundEvaluation:  # fmt: skip
    return FoundEvaluation(policy, subject, platform, outcome, reasons)


def found(*evaluations: FoundEvaluation, verdict: Verdict = Verdict.DENY, warnings: tuple[str, ...] = ()) -> Found:
    subjects = tuple(dict.fromkeys(e.subject for e in evaluations)) or (APP,)
    return Found(verdict, evaluations, warnings, (SIGNED, OTHER), subjects)


def expects(*entries: ExpectedEvaluation, **more: Any) -> Expectation:
    return Expectation(evaluations=entries, **more)


def violated(*reasons: ExpectedReason) -> ExpectedEvaluation:
    return ExpectedEvaluation("signed", Expected.VIOLATED, reasons=reasons)


UNSIGNED, BROKEN = ExpectedReason("SignatureMissing"), ExpectedReason("RuleViolated")
VIOLATED = evaluation(Expected.VIOLATED, MISSING, RULE)


@pytest.mark.parametrize(
    "entry",
    [
        ExpectedEvaluation("signed", Expected.VIOLATED),
        ExpectedEvaluation("ClusterEvidencePolicy/signed", Expected.VIOLATED),
        ExpectedEvaluation("signed", Expected.VIOLATED, image=APP.image, container="app"),
        violated(BROKEN, UNSIGNED),
        violated(replace(UNSIGNED, rule="signatures", message="no sig"), replace(BROKEN, message="log4j")),
    ],
)  # fmt: skip
def test_what_was_expected_is_no_difference(entry: ExpectedEvaluation) -> None:
    assert differences(expects(entry, verdict=Verdict.DENY, warnings=()), found(VIOLATED)) == ()


@pytest.mark.parametrize(
    "entry",
    [
        ExpectedEvaluation("signed", Expected.SATISFIED),
        ExpectedEvaluation("signed", Expected.ERROR),
        ExpectedEvaluation("signed", Expected.NOT_MATCHED),
        violated(),
        violated(UNSIGNED),
        violated(UNSIGNED, UNSIGNED),
        violated(UNSIGNED, replace(BROKEN, rule="validations[1]")),
        violated(UNSIGNED, replace(BROKEN, message="zlib")),
    ],
)  # fmt: skip
def test_what_is_otherwise_is_one_difference_that_shows_both_sides(entry: ExpectedEvaluation) -> None:
    (difference,) = differences(expects(entry), found(VIOLATED))
    assert difference.what == "ClusterEvidencePolicy/signed of ghcr.io/acme/app:1"
    assert difference.expected.startswith(str(entry.outcome))
    assert difference.found == (
        "Violated: RuleViolated at validations[0] (contains log4j); "
        "SignatureMissing at signatures (the image has no signature)"
    )
    assert difference.about == (SIGNED,)


def test_an_evaluation_that_no_expectation_is_about_is_a_difference() -> None:
    silent = evaluation(Expected.SATISFIED, policy=OTHER)
    (difference,) = differences(expects(ExpectedEvaluation("signed", Expected.VIOLATED)), found(VIOLATED, silent))
    assert difference.what.startswith("EvidencePolicy/shop/other of ")
    assert differences(Expectation(Verdict.DENY), found(VIOLATED, silent)) == ()  # left open as a whole


def test_a_policy_that_was_to_match_and_did_not_is_a_difference() -> None:
    (difference,) = differences(expects(ExpectedEvaluation("other", Expected.SATISFIED)), found())
    assert (difference.what, difference.found, difference.about) == ("other", "NotMatched", (OTHER,))
    assert differences(expects(ExpectedEvaluation("other", Expected.NOT_MATCHED)), found()) == ()


def test_an_entry_holds_for_every_image_that_it_fits_and_can_be_narrowed() -> None:
    both = found(evaluation(Expected.SATISFIED), evaluation(Expected.VIOLATED, subject=SIDE))
    (difference,) = differences(expects(ExpectedEvaluation("signed", Expected.SATISFIED)), both)
    assert difference.what.endswith(SIDE.image)
    narrowed = expects(
        ExpectedEvaluation("signed", Expected.SATISFIED, image=APP.image),
        ExpectedEvaluation("signed", Expected.VIOLATED, container="side"),
    )
    assert differences(narrowed, both) == ()
    by_platform = found(evaluation(Expected.SATISFIED, platform="linux/amd64"), evaluation(platform="linux/arm64"))
    entries = (("linux/amd64", Expected.SATISFIED), ("linux/arm64", Expected.VIOLATED))
    assert differences(expects(*(ExpectedEvaluation("signed", o, platform=p) for p, o in entries)), by_platform) == ()


def test_warnings_are_all_spoken_of_each_by_one_expectation() -> None:
    warned = found(VIOLATED, warnings=("policy a: bad", "policy a: worse"))
    assert differences(Expectation(Verdict.DENY, warnings=("policy a", "worse")), warned) == ()
    assert differences(Expectation(Verdict.DENY), warned) == ()
    for wrong in ((), ("policy a",), ("policy a", "policy a", "policy a"), ("bad", "bad")):
        assert differences(Expectation(Verdict.DENY, warnings=wrong), warned)


def test_the_verdict_is_compared_and_points_at_what_acted() -> None:
    (difference,) = differences(
        Expectation(Verdict.ALLOW), found(VIOLATED, evaluation(Expected.SATISFIED, policy=OTHER))
    )
    assert (difference.what, difference.expected, difference.found) == ("verdict", "Allow", "Deny")
    assert difference.about == (SIGNED,)


@pytest.mark.parametrize(
    "entry",
    [
        ExpectedEvaluation("sigend", Expected.NOT_MATCHED),
        ExpectedEvaluation("signed", Expected.NOT_MATCHED, image="ghcr.io/acme/app:2"),
        ExpectedEvaluation("signed", Expected.NOT_MATCHED, container="main"),
    ],
)
def test_an_expectation_about_nothing_that_is_there_never_passes(entry: ExpectedEvaluation) -> None:
    with pytest.raises(InputError, match="ExpectationUnknown"):
        differences(expects(entry), found())


reasons = st.lists(st.sampled_from([MISSING, RULE, replace(RULE, rule="validations[1]")]), max_size=4).map(tuple)


def evaluations(*platforms: str) -> Any:
    return st.builds(
        FoundEvaluation,
        policy=st.sampled_from([SIGNED, OTHER]),
        subject=st.sampled_from([APP, SIDE, replace(APP, container="again", path="/spec/containers/2/image")]),
        platform=st.sampled_from(platforms),
        outcome=st.sampled_from([o for o in Expected if o is not Expected.NOT_MATCHED]),
        reasons=reasons,
    )


def lists(one: Any) -> Any:
    return st.lists(one, max_size=5, unique_by=lambda e: (e.policy, e.subject, e.platform))


@given(
    lists(evaluations("")) | lists(evaluations("linux/amd64", "linux/arm64")),
    st.sampled_from(Verdict),
    st.lists(st.sampled_from(["a", "ab", "b c"]), max_size=3).map(tuple),
)
def test_what_update_writes_is_what_was_found(
    several: list[FoundEvaluation], verdict: Verdict, warnings: tuple[str, ...]
) -> None:
    made = found(*several, verdict=verdict, warnings=warnings)
    before = Expectation(verdict, (ExpectedEvaluation("signed", Expected.ERROR),), warnings=())
    assert differences(expectation_of(made, before), made) == ()
    assert differences(expectation_of(made, None), made) == ()


def test_update_keeps_the_part_of_a_message_that_still_fits() -> None:
    before = expects(
        ExpectedEvaluation("signed", Expected.ERROR, reasons=(ExpectedReason("RuleViolated", "", "log4j"),))
    )
    assert expectation_of(found(VIOLATED), before).evaluations == (
        ExpectedEvaluation(
            "signed",
            Expected.VIOLATED,
            reasons=(
                ExpectedReason("SignatureMissing", "signatures"),
                ExpectedReason("RuleViolated", "validations[0]", "log4j"),
            ),
        ),
        ExpectedEvaluation("other", Expected.NOT_MATCHED),
    )
