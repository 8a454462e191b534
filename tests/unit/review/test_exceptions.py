"""Exceptions where they apply: exactly what they name, for as long as they say, and nothing else ever.

The last part holds for random policies, exceptions and images: with exceptions the answer differs from the one without
only where one of them names policy, namespace and image, and it never turns an allow into a denial.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.model.decision import ErrorKind, Evaluation, NoMatch, Outcome, Reason, Verdict
from controller.model.exception import EvidenceException
from controller.model.image import ImageUse, Platform, PlatformManifest
from controller.model.policy import Action, DigestMode, FailurePolicy, PolicyIdentity
from controller.model.reference import Digest, Reference
from controller.policy.exception_index import ExceptionIndex, build_exceptions
from controller.policy.exceptions import fault, parse_exception
from controller.policy.match import ImageMatcher, ImagePattern
from controller.review.decide import Subject, decide
from controller.review.exceptions import excepted
from controller.settings import ExceptionSettings
from tests.support.exceptions import DAY, GLASS, NOW, exception, stamp
from tests.support.review import evaluation, image_use

ONE, TWO = Digest.of(b"one"), Digest.of(b"two")
PINNED = image_use(f"ghcr.io/acme/app:1@{ONE}")


def applied(found: Evaluation, *granted: dict[str, Any], namespace: str = "shop", now: Any = NOW) -> Evaluation:
    (answer,) = excepted([found], exceptions=build_exceptions(granted), namespace=namespace, now=now)
    return answer


def names(found: Evaluation) -> list[str]:
    return [each.name for each in found.exceptions]


def violated(text: str = "ghcr.io/acme/app:1", **changes: Any) -> Evaluation:
    return replace(evaluation(Outcome.VIOLATED, image=image_use(text)), **changes)


# --- what it means to be excepted


def test_what_is_excepted_keeps_its_reasons_and_what_it_would_be() -> None:
    before = evaluation(Outcome.ERROR, error_kind=ErrorKind.UNAVAILABLE)
    after = applied(before, exception())
    assert after == replace(
        before, outcome=Outcome.EXEMPT, otherwise=Outcome.ERROR, exceptions=(parse_exception(exception()),)
    )
    assert after.reasons == before.reasons
    assert after.error_kind is ErrorKind.UNAVAILABLE


def test_a_satisfied_image_uses_no_exception() -> None:
    found = evaluation(Outcome.SATISFIED)
    assert applied(found, exception()) is found


def test_all_that_apply_are_recorded_in_one_order() -> None:
    granted = [exception(name) for name in "cab"]
    for order in itertools.permutations([*granted, exception("not-this", policies=[{"name": "other"}])]):
        assert names(applied(violated(), *order)) == ["a", "b", "c"]


# --- scope: policy, namespace, image


@pytest.mark.parametrize(
    ("policy", "fits"),
    [
        ({"name": "signed"}, True),
        ({"name": "signe"}, False),
        ({"name": "signed2"}, False),
        ({"kind": "EvidencePolicy", "namespace": "shop", "name": "signed"}, False),
    ],
)
def test_it_excepts_from_the_policies_that_it_names(policy: dict[str, str], fits: bool) -> None:
    assert bool(names(applied(violated(), exception(policies=[policy])))) is fits


def test_a_namespaced_policy_is_named_with_its_namespace() -> None:
    found = evaluation(Outcome.VIOLATED, kind="EvidencePolicy")
    named = {"kind": "EvidencePolicy", "name": "signed"}
    assert applied(found, exception(policies=[named | {"namespace": "shop"}])).outcome is Outcome.EXEMPT
    assert applied(found, exception(policies=[named | {"namespace": "web"}])) is found
    assert applied(found, exception()) is found  # the ClusterEvidencePolicy of this name is another policy


@pytest.mark.parametrize(
    ("namespaces", "namespace", "fits"),
    [(None, "shop", True), (["shop"], "shop", True), (["a", "shop"], "shop", True), (["shop"], "shopping", False),
     (["shop"], "", False), (["*"], "shop", False)],
)  # fmt: skip
def test_it_holds_in_the_namespaces_that_it_names(namespaces: list[str] | None, namespace: str, fits: bool) -> None:
    assert bool(names(applied(violated(), exception(namespaces=namespaces), namespace=namespace))) is fits


@pytest.mark.parametrize(
    ("patterns", "text", "fits"),
    [
        (["ghcr.io/acme/**"], "ghcr.io/acme/app:1", True),
        (["ghcr.io/acme/*"], "ghcr.io/acme/team/app:1", False),
        (["ghcr.io/acme/app"], "ghcr.io/acme/app:1", True),
        (["ghcr.io/acme/app"], "ghcr.io/acme/apps:1", False),
        (["ghcr.io/acme/app"], "evil.example/ghcr.io/acme/app:1", False),
        (["ghcr.io/acme/app"], "GHCR.IO:443/acme/app:1", True),
        (["docker.io/library/nginx"], "nginx", True),
        (["ghcr.io/acme/**", "!ghcr.io/acme/app"], "ghcr.io/acme/app:1", False),
        (["**"], "ghcr.io/acme/app:1", True),
        (["*.io/acme/app"], "ghcr.io/acme/app:1", True),
    ],
)
def test_patterns_see_what_a_policys_patterns_see(patterns: list[str], text: str, fits: bool) -> None:
    assert bool(names(applied(violated(text), exception(images=patterns)))) is fits


def test_an_image_whose_name_cannot_be_read_is_named_by_nothing() -> None:
    found = violated("not an image", digest=ONE)
    assert applied(found, exception(images=["**"], digests=[str(ONE)])) is found


def test_by_pattern_an_image_is_meant_whatever_its_evidence() -> None:
    for outcome, kind in ((Outcome.VIOLATED, None), *((Outcome.ERROR, kind) for kind in ErrorKind)):
        found = evaluation(outcome, error_kind=kind)
        assert applied(found, exception()).outcome is Outcome.EXEMPT


def test_by_digest_exactly_the_content_is_meant() -> None:
    by_one = exception(images=None, digests=[str(ONE)])
    found = replace(evaluation(Outcome.VIOLATED, image=PINNED), digest=ONE)
    assert names(applied(found, by_one)) == ["hotfix"]
    assert names(applied(replace(found, digest=TWO), by_one)) == []
    assert names(applied(replace(found, digest=None), by_one)) == []
    elsewhere = replace(found, image=image_use(f"docker.io/other/app@{ONE}"))
    assert names(applied(elsewhere, by_one)) == ["hotfix"]  # the same bytes, wherever they lie


def test_what_an_excluding_pattern_names_is_not_meant_by_its_digest_either() -> None:
    both = exception(images=["ghcr.io/**", "!ghcr.io/acme/app"], digests=[str(ONE)])
    assert names(applied(replace(evaluation(Outcome.VIOLATED, image=PINNED), digest=ONE), both)) == []


@pytest.mark.parametrize("code", ["DigestRequired", "DigestNotPinned"])
def test_a_tag_that_was_not_pinned_is_not_shown_to_be_the_digest(code: str) -> None:
    unpinned = Reason(code, "digest", "the image has no digest")
    found = replace(violated(), digest=ONE, reasons=(unpinned,))
    assert names(applied(found, exception(images=None, digests=[str(ONE)]))) == []
    assert names(applied(found, exception())) == ["hotfix"]
    own = replace(found, reasons=(Reason(code, "validations[0]", "a policy's own word"),))
    assert names(applied(own, exception(images=None, digests=[str(ONE)]))) == ["hotfix"]


def test_of_a_multi_platform_image_the_digest_of_all_or_of_the_one_manifest_is_meant() -> None:
    child = PlatformManifest(TWO, Platform("linux", "arm64"))
    found = replace(evaluation(Outcome.VIOLATED, image=PINNED), digest=ONE, child=child)
    for digest in (ONE, TWO):
        assert names(applied(found, exception(images=None, digests=[str(digest)]))) == ["hotfix"]
    other = replace(found, child=PlatformManifest(Digest.of(b"x"), Platform("linux", "amd64")))
    assert names(applied(other, exception(images=None, digests=[str(TWO)]))) == []


# --- time


@pytest.mark.guarantee(16)
def test_guarantee_16_the_end_is_asked_for_at_each_review() -> None:
    index, found = build_exceptions([exception()]), violated()
    for moment, outcome in (
        (NOW, Outcome.EXEMPT),
        (NOW + DAY - timedelta(microseconds=1), Outcome.EXEMPT),
        (NOW + DAY, Outcome.VIOLATED),
    ):
        (answer,) = excepted([found], exceptions=index, namespace="shop", now=moment)
        assert answer.outcome is outcome


@pytest.mark.guarantee(16)
@pytest.mark.parametrize(
    "spec",
    [
        {"reason": None},
        {"approver": None},
        {"expires": None},
        {"approvedAt": None},
        {"approvedAt": stamp(NOW + DAY)},
        {"expires": stamp(NOW + 31 * DAY)},
        GLASS | {"expires": stamp(NOW + timedelta(hours=5)), "digests": [str(ONE)]},
        GLASS | {"namespaces": None, "digests": [str(ONE)]},
    ],
)
def test_guarantee_16_what_lacks_reason_approver_or_end_excepts_nothing(spec: dict[str, Any]) -> None:
    found = replace(evaluation(Outcome.VIOLATED, image=PINNED), digest=ONE)
    assert replace(applied(found, exception(**spec)), lapsed=()) == found
    assert list(build_exceptions([exception(**spec)]).idle(now=NOW))


def test_a_broken_exception_takes_no_other_with_it() -> None:
    index = build_exceptions([exception("broken", reason=None), exception("good")])
    assert [each.name for each in index] == ["good"]
    assert list(index.problems) == ["broken"]
    (answer,) = excepted([violated()], exceptions=index, namespace="shop", now=NOW)
    assert names(answer) == ["good"]


def test_an_exception_that_ended_is_told_of_for_a_week_and_one_that_is_void_until_its_end() -> None:
    ended, void = exception(), exception("void", expires=stamp(NOW + 31 * DAY))

    def told(now: Any, *granted: dict[str, Any], namespace: str = "shop") -> list[tuple[str, str]]:
        found = applied(violated(), *granted, now=now, namespace=namespace)
        return [(name, problem.code) for name, problem in found.lapsed]

    assert told(NOW, ended) == []
    assert told(NOW + DAY, ended, void) == [("hotfix", "Expired"), ("void", "EndTooFar")]
    assert told(NOW + 8 * DAY, ended) == [("hotfix", "Expired")]
    assert told(NOW + 8 * DAY + timedelta(seconds=1), ended) == []
    assert told(NOW + DAY, exception(policies=[{"name": "other"}]), exception("b", images=["docker.io/**"])) == []
    assert told(NOW + DAY, exception(namespaces=["web"])) == []
    assert told(NOW, void, exception()) == []  # another lets it in


def test_thousands_of_exceptions_cost_a_review_what_five_do() -> None:
    def asked(count: int) -> int:
        granted = [
            exception(f"e{i}", images=[f"ghcr.io/team{i}/**"], digests=[str(Digest.of(b"%d" % i))])
            for i in range(count)
        ]
        index = build_exceptions([*granted, exception()])
        return len(list(index._candidates(("ClusterEvidencePolicy", "", "signed"), "ghcr.io/acme/app", {ONE})))

    assert asked(3000) == asked(5) == 1


# --- whatever there is

HOSTS = ("ghcr.io", "docker.io")
REPOSITORIES = ("acme/app", "acme/web", "other/app", "acme/team/app")
TEXTS = [
    *(f"{host}/{repository}{tail}" for host in HOSTS for repository in REPOSITORIES for tail in (":1", f"@{ONE}")),
    "not an image",
]
PATTERNS = ("**", "ghcr.io/**", "ghcr.io/acme/*", "ghcr.io/acme/app", "docker.io/other/**", "*.io/acme/web")
NAMES = ("signed", "scanned")
DIGESTS = (str(ONE), str(TWO))


@st.composite
def grants(draw: st.DrawFn) -> dict[str, Any]:
    patterns = draw(st.lists(st.sampled_from(PATTERNS), max_size=2))
    unless = draw(st.lists(st.sampled_from(PATTERNS), max_size=1)) if patterns else []
    digests = draw(st.lists(st.sampled_from(DIGESTS), min_size=0 if patterns else 1, max_size=2))
    policies = draw(st.lists(st.sampled_from(POLICIES), min_size=1, max_size=2))
    hours = draw(st.integers(-30, 800))
    return exception(
        draw(st.sampled_from("abcdef")),
        policies=[
            {"kind": p.kind, "name": p.name, **({"namespace": p.namespace} if p.namespace else {})} for p in policies
        ],
        images=[*patterns, *(f"!{text}" for text in unless)],
        digests=digests,
        namespaces=draw(st.lists(st.sampled_from(("shop", "web")), max_size=2)),
        approver=draw(st.sampled_from(("jane", "joe", None))),
        approvedAt=stamp(NOW - timedelta(hours=draw(st.integers(-5, 30)))),
        expires=stamp(NOW + timedelta(hours=hours)),
    )


POLICIES = tuple(
    PolicyIdentity(kind, namespace, name, str(Digest.of(name.encode())))
    for kind, namespace in (("ClusterEvidencePolicy", ""), ("EvidencePolicy", "shop"))
    for name in NAMES
)


@st.composite
def findings(draw: st.DrawFn) -> Evaluation:
    number = draw(st.integers(0, 3))
    use = image_use(draw(st.sampled_from(TEXTS)), name=f"c{number}", index=number)
    outcome = draw(st.sampled_from((Outcome.SATISFIED, Outcome.VIOLATED, Outcome.ERROR)))
    reasons = draw(st.sampled_from((Reason("Any", "signatures", "x"), Reason("DigestNotPinned", "digest", "x"))))
    return Evaluation(
        image=use,
        digest=draw(st.sampled_from((None, ONE, TWO))),
        policy=draw(st.sampled_from(POLICIES)),
        actions=tuple(draw(st.sets(st.sampled_from(Action), min_size=1))),
        failure_policy=draw(st.sampled_from(FailurePolicy)),
        digest_mode=DigestMode.PIN,
        outcome=outcome,
        reasons=() if outcome is Outcome.SATISFIED else (reasons,),
        error_kind=draw(st.sampled_from(ErrorKind)) if outcome is Outcome.ERROR else None,
        child=draw(st.sampled_from((None, PlatformManifest(TWO, None)))),
    )


def in_scope(granted: EvidenceException, found: Evaluation, namespace: str) -> bool:
    """The words of the design once more, as naively as can be: what an exception is about."""
    identity = found.policy
    if (identity.kind, identity.namespace, identity.name) not in granted.policies:
        return False
    if granted.namespaces and namespace not in granted.namespaces:
        return False
    if found.image.text == "not an image" or fault(granted, now=NOW, settings=ExceptionSettings()) is not None:
        return False
    name = Reference.parse(found.image.text).name
    patterns = [ImagePattern.parse(text) for text in granted.images]
    if any(ImageMatcher([replace(p, excludes=False)]).matches_name(name) for p in patterns if p.excludes):
        return False
    if any(ImageMatcher([p]).matches_name(name) for p in patterns if not p.excludes):
        return True
    if any(reason.code == "DigestNotPinned" for reason in found.reasons):
        return False
    return found.digest in granted.digests or (found.child is not None and found.child.digest in granted.digests)


def verdict(evaluations: Sequence[Evaluation], images: Sequence[ImageUse], no_match: NoMatch) -> Verdict:
    return decide(evaluations, images=images, no_match=no_match, subject=Subject("Pod shop/web", "r")).verdict


@pytest.mark.guarantee(16)
@settings(max_examples=150, deadline=None)
@given(
    found=st.lists(findings(), max_size=6),
    given_=st.lists(grants(), max_size=5, unique_by=lambda obj: obj["metadata"]["name"]),
    namespace=st.sampled_from(("shop", "web", "other")),
    no_match=st.sampled_from(NoMatch),
    data=st.data(),
)
def test_guarantee_16_exceptions_widen_by_exactly_their_scope_and_never_deny(
    found: list[Evaluation], given_: list[dict[str, Any]], namespace: str, no_match: NoMatch, data: st.DataObject
) -> None:
    index = build_exceptions(given_)
    after = excepted(found, exceptions=index, namespace=namespace, now=NOW)
    assert len(after) == len(found)
    for one, other in zip(found, after, strict=True):
        applying = [each for each in index if in_scope(each, one, namespace)]
        if one.outcome is Outcome.SATISFIED or not applying:
            assert replace(other, lapsed=()) == one
        else:
            expected = replace(one, outcome=Outcome.EXEMPT, otherwise=one.outcome, exceptions=tuple(applying))
            assert other == expected
            assert all(each.reason and each.approver and each.expires > NOW for each in other.exceptions)
    images = tuple({e.image: None for e in found})
    if verdict(found, images, no_match) is Verdict.ALLOW:
        assert verdict(after, images, no_match) is Verdict.ALLOW
    if verdict(after, images, no_match) is Verdict.ALLOW:  # then what is not excepted passes by itself
        rest = [one for one, other in zip(found, after, strict=True) if other.outcome is not Outcome.EXEMPT]
        assert verdict(rest, (), no_match) is Verdict.ALLOW
    shuffled = ExceptionIndex(data.draw(st.permutations(list(index))), problems=index.problems)
    assert excepted(found, exceptions=shuffled, namespace=namespace, now=NOW) == after
