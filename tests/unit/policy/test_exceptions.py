"""EvidenceExceptions as objects: read whole or not at all, in force or not, and approved by who wrote them."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import admission
from controller.errors import PolicyError
from controller.model.exception import EvidenceException
from controller.model.reference import Digest
from controller.model.workload import AdmissionRequest
from controller.policy.exceptions import (
    BREAK_GLASS_MAX,
    CLOCK_SKEW,
    breaks_glass,
    canonical_bytes,
    fault,
    parse_exception,
    review_exception,
    stamp,
)
from controller.settings import ExceptionSettings, Seconds
from tests.support.exceptions import DAY, DIGEST, GLASS, NOW, exception
from tests.support.exceptions import stamp as written

SETTINGS = ExceptionSettings()


def read(**spec: Any) -> EvidenceException | list[tuple[str, str]]:
    found = parse_exception(exception(**spec))
    return found if isinstance(found, EvidenceException) else [(problem.code, problem.field) for problem in found]


def good(**spec: Any) -> EvidenceException:
    found = read(**spec)
    assert isinstance(found, EvidenceException), found
    return found


def request(
    obj: Mapping[str, Any], old: Mapping[str, Any] | None = None, *, user: str = "jane", operation: str = ""
) -> AdmissionRequest:
    return admission.parse_request(
        {
            "uid": "r",
            "operation": operation or ("CREATE" if old is None else "UPDATE"),
            "kind": {"group": "assay.dev", "version": "v1alpha1", "kind": "EvidenceException"},
            "resource": {"group": "assay.dev", "version": "v1alpha1", "resource": "evidenceexceptions"},
            "name": "hotfix",
            "userInfo": {"username": user},
            "object": obj,
            "oldObject": old,
        }
    )


def stamped(
    obj: Mapping[str, Any], old: Mapping[str, Any] | None = None, *, user: str = "jane", now: datetime = NOW
) -> dict[str, Any]:
    """What the API server would store after `/mutate-policy`."""
    changed: dict[str, Any] = copy.deepcopy(dict(obj))
    for operation in stamp(request(obj, old, user=user), now=now):
        assert operation["op"] == "add"
        changed["spec"][operation["path"].removeprefix("/spec/")] = operation["value"]
    return changed


def refused(
    obj: Mapping[str, Any], old: Mapping[str, Any] | None = None, *, user: str = "jane", now: datetime = NOW
) -> list[tuple[str, str]]:
    problems = review_exception(request(obj, old, user=user), now=now, settings=SETTINGS)
    return [(problem.code, problem.field) for problem in problems]


def unstamped(**spec: Any) -> dict[str, Any]:
    return exception(**{"approver": None, "approvedAt": None} | spec)


# --- reading


def test_an_exception_is_read_whole() -> None:
    found = good(
        policies=[{"name": "b"}, {"kind": "EvidencePolicy", "namespace": "shop", "name": "a"}, {"name": "b"}],
        digests=[DIGEST],
        namespaces=["web", "shop"],
    )
    assert found == EvidenceException(
        name="hotfix",
        hash=str(Digest.of(canonical_bytes(found))),
        policies=(("ClusterEvidencePolicy", "", "b"), ("EvidencePolicy", "shop", "a")),
        images=("ghcr.io/acme/**",),
        digests=(Digest.parse(DIGEST),),
        namespaces=("shop", "web"),
        reason="the signing service is down, see OPS-42",
        approver="jane",
        approved_at=NOW,
        expires=NOW + DAY,
        generation=1,
    )
    assert parse_exception(exception(), claimed=True) == replace(good(), claimed=True)


@pytest.mark.guarantee(16)
@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"reason": None}, ("FieldMissing", "spec.reason")),
        ({"reason": ""}, ("FieldMissing", "spec.reason")),
        ({"reason": " \n"}, ("FieldMissing", "spec.reason")),
        ({"reason": "x" * 4097}, ("TooLong", "spec.reason")),
        ({"approver": None}, ("ApproverMissing", "spec.approver")),
        ({"approver": ""}, ("ApproverMissing", "spec.approver")),
        ({"approver": 7}, ("WrongType", "spec.approver")),
        ({"expires": None}, ("FieldMissing", "spec.expires")),
        ({"expires": "2026-12-01"}, ("TimeMalformed", "spec.expires")),
        ({"expires": "2026-12-01T00:00:00"}, ("TimeMalformed", "spec.expires")),
        ({"expires": "never"}, ("TimeMalformed", "spec.expires")),
    ],
)
def test_guarantee_16_an_exception_without_reason_approver_or_end_is_none(
    spec: dict[str, Any], problem: tuple[str, str]
) -> None:
    found = read(**spec)
    assert isinstance(found, list)
    assert problem in found


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"policies": None}, ("FieldMissing", "spec.policies")),
        ({"policies": [{"kind": "ClusterEvidencePolicy"}]}, ("FieldMissing", "spec.policies[0].name")),
        ({"policies": [{"kind": "Policy", "name": "p"}]}, ("ValueUnknown", "spec.policies[0].kind")),
        ({"policies": [{"kind": "EvidencePolicy", "name": "p"}]}, ("NamespaceMissing", "spec.policies[0].namespace")),
        ({"policies": [{"name": "p", "namespace": "shop"}]}, ("NamespaceMissing", "spec.policies[0].namespace")),
        ({"policies": [{"name": "p", "hash": "x"}]}, ("FieldUnknown", "spec.policies[0].hash")),
        ({"images": None}, ("FieldMissing", "spec")),
        ({"images": []}, ("FieldMissing", "spec")),
        ({"images": ["app"]}, ("ImagePatternMalformed", "spec.images[0]")),
        ({"images": ["!ghcr.io/acme/x"]}, ("ImagePatternMalformed", "spec.images")),
        ({"digests": ["sha512:00"]}, ("DigestMalformed", "spec.digests[0]")),
        ({"namespace": "shop"}, ("FieldUnknown", "spec.namespace")),
        ({"breakGlass": "true"}, ("WrongType", "spec.breakGlass")),
        (GLASS | {"namespaces": None}, ("BreakGlassTooWide", "spec.breakGlass")),
        (GLASS | {"digests": None, "images": ["ghcr.io/acme/app"]}, ("BreakGlassTooWide", "spec.breakGlass")),
        (GLASS | {"images": ["**"]}, ("BreakGlassTooWide", "spec.breakGlass")),
    ],
)
def test_every_mistake_is_named_with_its_field(spec: dict[str, Any], problem: tuple[str, str]) -> None:
    found = read(**spec)
    assert isinstance(found, list)
    assert problem in found


@pytest.mark.guarantee(16)
def test_guarantee_16_an_exception_that_is_deleted_ends_at_once_whatever_finalizer_holds_it() -> None:
    held = exception(metadata={"deletionTimestamp": written(NOW), "finalizers": ["example.com/hold"]})
    found = parse_exception(held)
    assert isinstance(found, tuple)
    assert [problem.code for problem in found] == ["BeingDeleted"]
    unheld = {**held, "metadata": held["metadata"] | {"finalizers": []}}
    assert refused(unheld, held) == []  # so that it can go


def test_one_mistake_does_not_hide_the_next() -> None:
    found = read(policies=[], reason=None, images=["app"], expires="soon", approver=None, extra=1)
    assert isinstance(found, list)
    assert {field for _, field in found} == {
        "spec.policies",
        "spec.reason",
        "spec.images[0]",
        "spec.expires",
        "spec.approver",
        "spec.extra",
    }


@pytest.mark.parametrize("change", [{"kind": "TrustRoot"}, {"apiVersion": "v1"}, {"metadata": {}}, {"metadata": None}])
def test_what_is_no_exception_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        parse_exception(exception() | change)


def test_a_file_and_the_cluster_give_one_hash() -> None:
    plain = """
        apiVersion: assay.dev/v1alpha1
        kind: EvidenceException
        metadata: {name: hotfix}
        spec:
          policies: [{name: signed}]
          images: [ghcr.io/acme/**]
          reason: the signing service is down, see OPS-42
          approver: jane
          approvedAt: 2026-11-22T13:00:00+01:00
          expires: 2026-11-23T12:00:00Z
    """
    found = parse_exception(yaml.safe_load(plain), claimed=True)
    assert isinstance(found, EvidenceException)
    assert found.hash == good().hash


def test_every_part_of_the_spec_is_in_the_hash_and_the_content_reads_back() -> None:
    others = [
        good(policies=[{"name": "other"}]),
        good(images=["ghcr.io/acme/app"]),
        good(digests=[DIGEST]),
        good(namespaces=["shop"]),
        good(reason="another"),
        good(approver="joe"),
        good(approvedAt=written(NOW + timedelta(seconds=1))),
        good(approvedAt=None),
        good(expires=written(NOW + 2 * DAY)),
        good(**GLASS),
        good(**GLASS | {"breakGlass": False}),
    ]
    assert len({found.hash for found in (good(), *others)}) == len(others) + 1
    for found in others:
        again = parse_exception(exception() | {"spec": json.loads(canonical_bytes(found))["spec"]})
        assert again == found


# --- in force or not


def code(now: datetime, settings: ExceptionSettings = SETTINGS, *, claimed: bool = False, **spec: Any) -> str:
    found = parse_exception(exception(**spec), claimed=claimed)
    assert isinstance(found, EvidenceException), found
    problem = fault(found, now=now, settings=settings)
    return problem.code if problem else ""


@pytest.mark.guarantee(16)
def test_guarantee_16_an_exception_ends_by_itself() -> None:
    last = NOW + DAY
    assert code(NOW) == ""
    assert code(last - timedelta(microseconds=1)) == ""
    assert code(last) == "Expired"
    assert code(last + 1000 * DAY) == "Expired"
    assert code(last, claimed=True) == "Expired"


@pytest.mark.guarantee(16)
def test_guarantee_16_an_end_past_the_maximum_makes_an_exception_void_for_ever() -> None:
    month = written(NOW + 30 * DAY)
    beyond = written(NOW + 30 * DAY + timedelta(seconds=1))
    assert code(NOW, expires=month) == ""
    for days in range(31):  # not dormant until its end is near enough: void
        assert code(NOW + days * DAY, expires=beyond) == "EndTooFar", days
    assert code(NOW, ExceptionSettings(exception_max_duration=Seconds(3600))) == "EndTooFar"
    assert code(NOW, ExceptionSettings(exception_max_duration=Seconds(0))) == "EndTooFar"
    assert code(NOW, ExceptionSettings(exception_max_duration=Seconds(1e18)), expires="9999-12-31T00:00:00Z") == ""


@pytest.mark.guarantee(16)
def test_guarantee_16_breaking_the_glass_lasts_four_hours_at_most() -> None:
    assert code(NOW, **GLASS) == ""
    assert code(NOW + timedelta(seconds=BREAK_GLASS_MAX), **GLASS) == "Expired"
    longer = GLASS | {"expires": written(NOW + timedelta(hours=4, seconds=1))}
    assert code(NOW, **longer) == "EndTooFar"
    assert code(NOW, ExceptionSettings(exception_max_duration=Seconds(3600)), **GLASS) == "EndTooFar"


@pytest.mark.guarantee(16)
def test_guarantee_16_an_approval_that_nobody_checked_counts_in_a_file_alone() -> None:
    assert code(NOW, approvedAt=None) == "NotApproved"
    assert code(NOW, approvedAt=None, claimed=True) == ""
    assert code(NOW, approvedAt=None, claimed=True, expires=written(NOW + 31 * DAY)) == "EndTooFar"
    later = written(NOW + timedelta(seconds=CLOCK_SKEW + 1))
    assert code(NOW, approvedAt=later) == "NotApproved"  # else whoever dates it ahead has it longer
    assert code(NOW, approvedAt=written(NOW + timedelta(seconds=CLOCK_SKEW))) == ""


def test_the_bound_is_named() -> None:
    found = good(expires=written(NOW + 45 * DAY))
    problem = fault(found, now=NOW, settings=SETTINGS)
    assert problem is not None
    assert problem.message == (
        "lies 45 d after its approval; an exception ends within 30 d (bound: exception_max_duration)"
    )
    glass = fault(good(**GLASS | {"expires": written(NOW + timedelta(hours=6))}), now=NOW, settings=SETTINGS)
    assert glass is not None
    assert glass.message == (
        "lies 6 h after its approval; a break-glass exception ends within 4 h (bound: BREAK_GLASS_MAX)"
    )


# --- approval


@pytest.mark.guarantee(16)
def test_guarantee_16_who_creates_an_exception_approves_it() -> None:
    made = stamped(unstamped(), user="joe", now=NOW + timedelta(seconds=1.5))
    assert made["spec"]["approver"] == "joe"
    assert made["spec"]["approvedAt"] == "2026-11-22T12:00:01Z"
    assert refused(made, user="joe") == []
    assert stamped(made, user="joe") == made  # asked again (reinvocationPolicy), it has nothing to add


@pytest.mark.guarantee(16)
def test_guarantee_16_a_forged_approver_is_left_for_the_refusal_and_refused() -> None:
    forged = unstamped(approver="boss")
    made = stamped(forged, user="joe")
    assert made["spec"]["approver"] == "boss"
    assert refused(made, user="joe") == [("ApproverForged", "spec.approver")]
    ahead = stamped(unstamped(approvedAt=written(NOW + DAY)), user="joe")
    assert refused(ahead, user="joe") == [("ApproverForged", "spec.approvedAt")]
    (problem,) = review_exception(request(made, user="joe"), now=NOW, settings=SETTINGS)
    assert problem.message == "is 'boss', and you are 'joe'; leave it out, Assay fills it in"


@pytest.mark.guarantee(16)
def test_guarantee_16_approval_holds_even_if_nobody_asked_the_mutating_webhook() -> None:
    assert refused(unstamped()) == [("ApproverMissing", "spec.approver")]
    assert refused(unstamped(approver="jane")) == [("NotApproved", "spec.approvedAt")]
    old = exception()
    assert refused(exception(reason="other"), old, user="joe") == [("ApproverForged", "spec.approver")]
    later = NOW + timedelta(hours=1)
    assert refused(exception(reason="other"), old, now=later) == [("ApproverForged", "spec.approvedAt")]


@pytest.mark.guarantee(16)
@pytest.mark.parametrize(
    "change",
    [
        {"reason": "another"},
        {"expires": written(NOW + 20 * DAY)},
        {"images": ["ghcr.io/acme/**", "docker.io/**"]},
        {"namespaces": ["shop"]},
        {"policies": [{"kind": "ClusterEvidencePolicy", "name": "other"}]},
        {"breakGlass": None},
    ],
)
def test_guarantee_16_every_change_of_the_spec_is_approved_anew(change: dict[str, Any]) -> None:
    old, later = exception(), NOW + timedelta(hours=2)
    made = stamped(exception(**change), old, user="joe", now=later)
    assert (made["spec"]["approver"], made["spec"]["approvedAt"]) == ("joe", "2026-11-22T14:00:00Z")
    assert refused(made, old, user="joe", now=later) == []
    assert refused(made, old, user="jane", now=later) == [("ApproverForged", "spec.approver")]


@pytest.mark.guarantee(16)
def test_guarantee_16_an_unchanged_spec_keeps_its_approval() -> None:
    old = exception()
    labelled = exception(metadata={"labels": {"team": "shop"}})
    assert stamped(labelled, old, user="joe") == labelled
    assert refused(labelled, old, user="joe") == []
    assert stamped(unstamped(), old, user="joe") == old  # written again from its file
    for field, value in (("approver", "joe"), ("approver", None), ("approvedAt", written(NOW + DAY))):
        assert refused(exception(**{field: value}), old, user="kim"), field


@pytest.mark.guarantee(16)
def test_guarantee_16_an_approval_is_taken_over_only_by_name_and_dated_anew() -> None:
    old, later = exception(), NOW + timedelta(hours=2)
    made = stamped(exception(approver="joe"), old, user="joe", now=later)
    assert (made["spec"]["approver"], made["spec"]["approvedAt"]) == ("joe", "2026-11-22T14:00:00Z")
    assert refused(made, old, user="joe", now=later) == []


def test_what_came_past_the_webhook_is_approved_by_the_next_change() -> None:
    old = unstamped()
    assert stamped(unstamped(), old, user="joe") == old
    made = stamped(unstamped(reason="looked at"), old, user="joe")
    assert refused(made, old, user="joe") == []


def test_an_end_that_may_not_be_granted_is_refused_and_an_expired_one_can_still_be_labelled_and_deleted() -> None:
    assert refused(exception(expires=written(NOW + 31 * DAY))) == [("EndTooFar", "spec.expires")]
    assert refused(exception(expires=written(NOW))) == [("Expired", "spec.expires")]
    old = exception(expires=written(NOW - DAY))
    assert refused(exception(expires=written(NOW - DAY), metadata={"labels": {"a": "b"}}), old) == []
    assert review_exception(request({}, old, operation="DELETE"), now=NOW, settings=SETTINGS) == ()
    assert stamp(request({}, old, operation="DELETE"), now=NOW) == ()


def test_an_extension_is_measured_from_its_own_approval() -> None:
    old, later = exception(expires=written(NOW + 29 * DAY)), NOW + 28 * DAY
    made = stamped(exception(expires=written(later + 30 * DAY)), old, user="joe", now=later)
    assert refused(made, old, user="joe", now=later) == []
    longer = stamped(exception(expires=written(later + 31 * DAY)), old, user="joe", now=later)
    assert refused(longer, old, user="joe", now=later) == [("EndTooFar", "spec.expires")]


def test_a_broken_exception_is_refused_with_every_mistake() -> None:
    assert refused(exception(reason=None, policies=[])) == [
        ("FieldMissing", "spec.reason"),
        ("FieldMissing", "spec.policies"),
    ]
    assert refused(exception() | {"spec": None}) != []
    assert stamp(request(exception() | {"spec": None}), now=NOW) == ()
    assert stamp(request(exception() | {"spec": []}), now=NOW) == ()


def test_an_exception_whose_name_is_still_to_be_made_up_is_reviewed_like_any_other() -> None:
    unnamed = unstamped() | {"metadata": {"generateName": "hotfix-"}}
    assert refused(stamped(unnamed)) == []
    assert refused(stamped(unnamed | {"spec": unnamed["spec"] | {"reason": ""}})) == [("FieldMissing", "spec.reason")]


def test_a_request_without_a_user_approves_nothing() -> None:
    made = stamped(unstamped(), user="")
    assert refused(made, user="") == [("ApproverMissing", "spec.approver")]


@pytest.mark.guarantee(16)
def test_guarantee_16_who_makes_or_changes_a_break_glass_exception_needs_the_verb() -> None:
    plain, glass = exception(), exception(**GLASS)
    assert breaks_glass(request(glass))
    assert breaks_glass(request(exception(**GLASS | {"reason": "other"}), glass))
    assert breaks_glass(request(glass, plain))
    assert breaks_glass(request(plain, glass))
    assert not breaks_glass(request(plain))
    assert not breaks_glass(request(exception(reason="other"), plain))
    assert not breaks_glass(request(exception(**GLASS, metadata={"labels": {"a": "b"}}), glass))
    assert not breaks_glass(request({}, glass, operation="DELETE"))


# --- whatever is written

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (*exception()["spec"], "digests", "namespaces", "other")
SOME = st.dictionaries(
    st.sampled_from(FIELDS), JSON | st.sampled_from(["\ud800", "0001-01-01T00:00:00+23:59", "!", ""])
)


@settings(max_examples=300, deadline=None)
@given(SOME, SOME | JSON)
def test_whatever_is_written_is_an_exception_or_a_list_of_mistakes(changes: dict[str, Any], old: Any) -> None:
    obj = exception() | {"spec": exception()["spec"] | changes}
    before = exception() | {"spec": exception()["spec"] | old if isinstance(old, dict) else old}
    found = parse_exception(obj)
    if isinstance(found, EvidenceException):
        assert found.reason.strip()
        assert found.approver
        assert found.hash == str(Digest.of(canonical_bytes(found)))
        fault(found, now=NOW, settings=SETTINGS)
    else:
        assert found
        assert all(problem.field and problem.message for problem in found)
    asked = request(obj, before)
    stamp(asked, now=NOW)
    breaks_glass(asked)
    problems = review_exception(asked, now=NOW, settings=SETTINGS)
    if not problems and obj["spec"] != before["spec"]:
        assert isinstance(found, EvidenceException)
        assert found.approver == "jane"
        assert fault(found, now=NOW, settings=SETTINGS) is None
