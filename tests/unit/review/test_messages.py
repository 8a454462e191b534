"""What people read: the cause first, one line a fact, and no word that a name from outside made up."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.decision import ErrorKind, Evaluation, Outcome, Reason
from controller.model.image import ContainerKind, ImageUse
from controller.model.policy import PolicyIdentity, Problem
from controller.review import messages
from tests.support.exceptions import DAY, GLASS, NOW, stamp
from tests.support.review import digest, evaluation, granted, image_use

CAUSE_WITHIN = 800  # an Event holds 1,024, and the API server writes its own words before these


def denied(*reasons: Reason, image: ImageUse | None = None, **changes: Any) -> Evaluation:
    return evaluation(Outcome.VIOLATED, image=image, reasons=reasons, **changes)


def test_a_denial_names_container_image_policy_rule_expected_found_and_next_step() -> None:
    reason = Reason(
        "SignatureNotTrusted",
        "signatures",
        "no signature that was found counts",
        expected="1 signature of release (key sha256:abc…)",
        found=tuple(f"referrer {n}: signed by a stranger" for n in range(6)),
        fix="sign this digest with the key of release",
    )
    text = messages.denial("Pod shop/web", "r-1", [denied(reason)], [])
    assert text == (
        "Pod shop/web: 1 image lacks the evidence that is required.\n"
        f'container "app" runs ghcr.io/acme/app:1 ({digest("app")})\n'
        "  ClusterEvidencePolicy signed, signatures: SignatureNotTrusted: no signature that was found counts\n"
        "    required: 1 signature of release (key sha256:abc…)\n"
        "    found: referrer 0: signed by a stranger\n"
        "           referrer 1: signed by a stranger\n"
        "           referrer 2: signed by a stranger\n"
        "           referrer 3: signed by a stranger\n"
        "           and 2 more\n"
        "    next: sign this digest with the key of release\n"
        "record r-1"
    )


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (ContainerKind.INIT, 'init container "app" runs'),
        (ContainerKind.REGULAR, 'container "app" runs'),
        (ContainerKind.EPHEMERAL, 'ephemeral container "app" runs'),
        (ContainerKind.VOLUME, 'image volume "app"'),
    ],
)
def test_a_denial_says_where_the_image_stands(kind: ContainerKind, words: str) -> None:
    use = dataclasses.replace(image_use(), kind=kind)
    assert f"\n{words}" in messages.denial("Pod shop/web", "r-1", [denied(image=use)], [])


def test_an_evaluation_without_a_reason_is_still_named() -> None:
    text = messages.denial("Pod shop/web", "r-1", [denied()], [])
    assert "ClusterEvidencePolicy signed: Violated" in text


@pytest.mark.parametrize(
    ("kind", "words"),
    [(ErrorKind.UNAVAILABLE, "cannot tell now, X: y"), (ErrorKind.UNACCEPTABLE, "cannot be judged, X: y")],
)
def test_cannot_tell_now_and_cannot_be_judged_read_differently(kind: ErrorKind, words: str) -> None:
    error = evaluation(Outcome.ERROR, error_kind=kind, reasons=(Reason("X", "image", "y"),))
    text = messages.denial("Pod shop/web", "r-1", [error], [])
    assert words in text
    assert text.startswith("Pod shop/web: 1 image could not be judged.")


def extreme(**changes: Any) -> Evaluation:
    use = ImageUse(ContainerKind.EPHEMERAL, "n" * 63, "r" * 500 + "@tail", "/p", "f")
    reason = Reason(
        "C" * 40, f"attestations[{'a' * 63}]", "the cause " + "m" * 3000, "e" * 9000, ("f" * 9000,) * 9, "x" * 9000
    )
    base = evaluation(Outcome.ERROR, image=use, reasons=(reason,))
    policy = PolicyIdentity("EvidencePolicy", "s" * 63, "p" * 253, "h")
    return dataclasses.replace(base, policy=policy, **changes)


def test_the_cause_stands_at_the_beginning_however_long_every_name_is() -> None:
    text = messages.denial("ReplicationController " + "n" * 63 + "/" + "w" * 253, "r-1", [extreme()], [])
    assert f"{'C' * 40}: the cause" in text[:CAUSE_WITHIN]
    assert "…" in text
    assert "@tail" in text[:CAUSE_WITHIN], "a reference keeps its end: tag and digest"


def test_a_denial_is_bounded_and_names_its_record_last() -> None:
    many = [dataclasses.replace(extreme(), image=image_use(index=n)) for n in range(50)]
    text = messages.denial("Pod shop/web", "r-1", many, [image_use(index=n) for n in range(99)])
    assert len(text) <= messages.MAX_DENIAL + 100
    assert " more\nrecord r-1" in text


@pytest.mark.parametrize(
    "make",
    [
        messages.warning,
        lambda e: messages.fail_open(e, let_in=True),
        lambda e: messages.fail_open(e, let_in=False),
        lambda e: messages.softened(e, "why " * 12),
    ],
)
def test_a_warning_fits_and_still_says_the_cause(make: Any) -> None:
    text = make(extreme())
    assert len(text) <= messages.MAX_WARNING == 256
    assert "CCCC" in text


@pytest.mark.guarantee(16)
def test_guarantee_16_a_warning_of_an_exception_tells_its_end_and_its_approver_whatever_else_there_is() -> None:
    long = granted("n" * 253, approver="system:serviceaccount:" + "a" * 900, **GLASS)
    text = messages.exempt(replace(extreme(), exceptions=(long,) * 99))
    assert len(text) <= messages.MAX_WARNING
    assert text.startswith("BREAK-GLASS: ")
    assert " until 2026-11-22 16:00Z by exception nnn" in text
    assert ", approved by system:service" in text
    claimed = replace(evaluation(Outcome.EXEMPT), exceptions=(granted(claimed=True),))
    assert "until 2026-11-23 12:00Z by exception hotfix, claimed by jane: " in messages.exempt(claimed)


def test_a_denial_says_that_an_exception_has_ended() -> None:
    problem = Problem("Expired", "spec.expires", "was 2026-11-22T12:00:00Z; it excepts nothing any more")
    found = replace(
        denied(Reason("SignatureMissing", "signatures", "none", fix="sign it")), lapsed=(("ops-42", problem),) * 9
    )
    text = messages.denial("Pod shop/web", "r-1", [found], [])
    line = "    exception ops-42: spec.expires was 2026-11-22T12:00:00Z; it excepts nothing any more"
    assert text.split("\n")[3:] == ["    next: sign it", line, line, "record r-1"]


def test_of_several_exceptions_the_one_that_ends_last_is_told() -> None:
    several = (granted("a"), granted("b", expires=stamp(NOW + 3 * DAY)), granted("c", expires=stamp(NOW + 2 * DAY)))
    text = messages.exempt(replace(evaluation(Outcome.EXEMPT), exceptions=several))
    assert " until 2026-11-25 12:00Z by exception b and 2 more, approved by jane: " in text


def test_every_exception_used_is_in_the_audit_log_and_breaking_the_glass_twice() -> None:
    glass = granted("g", **GLASS)
    both = replace(evaluation(Outcome.EXEMPT), exceptions=(granted("a"), glass))
    assert messages.exceptions([evaluation(Outcome.SATISFIED)]) == ()
    about = "ClusterEvidencePolicy signed: ghcr.io/acme/app:1:"
    broken = f"{about} g until 2026-11-22 16:00Z, approved by jane"
    assert messages.exceptions([both, evaluation()]) == (
        ("exceptions", f"{about} a until 2026-11-23 12:00Z, approved by jane; {broken}"),
        ("break-glass", f"{broken}: the signing service is down, see OPS-42"),
    )


FORGED = 'x\nrecord r-9\n  next: kubectl label ns shop trusted=true\r\x1b[2K\u202e\u2028\ud800"'


@pytest.mark.guarantee(12)
def test_no_name_or_text_from_outside_writes_a_line_of_its_own() -> None:
    use = ImageUse(ContainerKind.REGULAR, FORGED, FORGED, "/p", FORGED)
    reason = Reason("Code", FORGED, FORGED, FORGED, (FORGED, FORGED), FORGED)
    forged = evaluation(Outcome.VIOLATED, image=use, reasons=(reason,), name=FORGED)
    by = replace(granted(**GLASS), name=FORGED, approver=FORGED, reason=FORGED)
    lapsed = ((FORGED, Problem("Code", FORGED, FORGED)),)
    text = messages.denial(f"Pod {FORGED}", "r-1", [replace(forged, lapsed=lapsed)], [use])
    assert text.count("\n") == 1 + 1 + 4 + 1 + 1 + 2
    assert all(line.isprintable() for line in text.split("\n"))
    assert [line for line in text.split("\n") if line.startswith("record")] == ["record r-1"]
    for line in (
        messages.warning(forged),
        messages.fail_open(forged, let_in=True),
        messages.exempt(replace(forged, exceptions=(by,))),
        *(value for _, value in messages.exceptions([replace(forged, exceptions=(by,))])),
        messages.softened(forged, "why"),
        messages.unmatched(use),
        *(value for _, value in messages.audit("r-1", [forged], [forged])),
    ):
        assert line.isprintable()


@given(st.text(max_size=300), st.text(max_size=600), st.text(max_size=2000))
def test_whatever_the_texts_are_lines_and_lengths_hold(name: str, image: str, message: str) -> None:
    use = ImageUse(ContainerKind.REGULAR, name, image, "/p", "f")
    found = evaluation(Outcome.VIOLATED, image=use, reasons=(Reason("Code", "image", message),))
    text = messages.denial("Pod shop/web", "r-1", [found], [])
    assert len(text.split("\n")) == 4
    assert text.index("Code: ") < CAUSE_WITHIN
    assert len(messages.warning(found)) <= messages.MAX_WARNING
    text.encode()


def test_audit_annotations_are_bounded_and_say_every_policy_once() -> None:
    found = [evaluation(), evaluation(image=image_use(index=1)), evaluation(Outcome.VIOLATED, name="b")]
    assert messages.audit("r-1", found, found[2:]) == (
        ("record", "r-1"),
        ("evaluations", "ClusterEvidencePolicy/signed=Satisfied ClusterEvidencePolicy/b=Violated"),
        ("audited", "ClusterEvidencePolicy b: ghcr.io/acme/app:1: SignatureMissing: the image has no signature"),
    )
    long = [dataclasses.replace(extreme(), policy=PolicyIdentity("P", "", f"p{n}" * 60, "h")) for n in range(60)]
    assert all(len(value) <= messages.MAX_AUDIT for _, value in messages.audit("r-1", long, long))
