"""The snapshot: candidates by index, only what changed compiled, secrets of the own namespace only."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import event, given, settings
from hypothesis import strategies as st

from controller.model.access import Credential
from controller.model.policy import Namespace
from controller.model.reference import Reference
from controller.model.workload import Workload
from controller.policy import snapshot as snapshot_module
from controller.policy.match import ANYWHERE, ImageMatcher, ImagePattern
from controller.policy.snapshot import Snapshot, build_policies
from tests.support.authorities import new_ca, of_unknown_key, of_version, pem_of
from tests.unit.policy.make import resource


def names(objects: list[dict[str, object]], image: str, namespace: str = "default") -> list[str]:
    return [str(c.policy.identity) for c in build_policies(objects).candidates(Reference.parse(image), namespace)]


def workload(namespace: str = "a", account: str = "", secrets: tuple[str, ...] = ()) -> Workload:
    return Workload("Pod", namespace, "n", "", True, {}, account, secrets, (), ())


def credential(name: str) -> Credential:
    return Credential("ghcr.io", name, "password")


def test_candidates_are_the_policies_of_the_cluster_and_of_the_own_namespace_sorted() -> None:
    objects = [
        resource("z", namespace="a"),
        resource("other", namespace="b"),
        resource("y", match={"images": ["ghcr.io/acme/**"]}),
        resource("x", match={"images": ["quay.io/**"]}),
        resource("w"),
    ]
    assert names(objects, "ghcr.io/acme/app", "a") == [
        "ClusterEvidencePolicy/w",
        "ClusterEvidencePolicy/y",
        "EvidencePolicy/a/z",
    ]
    assert names(objects, "quay.io/app", "c") == ["ClusterEvidencePolicy/w", "ClusterEvidencePolicy/x"]


hosts = st.sampled_from(["ghcr.io", "*", "*.io", "**", "docker.io", "gh**"])
parts = st.sampled_from(["acme", "team", "app", "*", "**", "a*", "*m", "t**", "**p", "library"])
one_pattern = st.tuples(st.sampled_from(["", "", "", "!"]), hosts, st.lists(parts, min_size=1, max_size=4)).map(
    lambda drawn: f"{drawn[0]}{drawn[1]}/{'/'.join(drawn[2])}"
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.lists(one_pattern, max_size=2), min_size=1, max_size=4),
    st.sampled_from(["ghcr.io", "quay.io", "docker.io"]),
    st.lists(st.sampled_from(["acme", "team", "app", "x"]), min_size=1, max_size=4),
)
def test_the_index_finds_what_matching_every_policy_finds(
    patterns: list[list[str]], host: str, path: list[str]
) -> None:
    reference = Reference.parse(f"{host}/{'/'.join(path)}")
    index = build_policies(resource(f"p{i}", match={"images": texts}) for i, texts in enumerate(patterns))
    slow = [c.name for c in index if c.images.matches(reference)]
    assert [c.name for c in index.candidates(reference, "default")] == slow
    event(f"{len(slow)} match")


@pytest.mark.parametrize(
    ("pattern", "anchor"),
    [
        ("ghcr.io/acme/**", (0, "ghcr.io/acme")),
        ("ghcr.io/acme*/app", (0, "ghcr.io")),
        ("nginx", (0, "docker.io/library/nginx")),
        ("*/acme/**", (1, "acme")),
        ("*.io/*/app", (2, "app")),
        ("**/app", ANYWHERE),
        ("*/a**/app", ANYWHERE),
        ("**", ANYWHERE),
    ],
)
def test_a_pattern_is_filed_under_what_it_spells_out(pattern: str, anchor: tuple[int, str]) -> None:
    written = pattern if pattern != "nginx" else "docker.io/library/nginx"
    assert ImagePattern.parse(written).anchor == anchor


def test_an_image_is_compared_with_its_candidates_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A review among a thousand policies asks as many patterns as one among those that it matches."""
    match = [f"ghcr.io/team-{i}/**" if i % 2 else f"*/team-{i}/**" for i in range(998)]
    index = build_policies(resource(f"p{i}", match={"images": [text]}) for i, text in enumerate([*match, "**", "*/*"]))
    asked: list[str] = []
    real = ImageMatcher.matches_name

    def spy(self: ImageMatcher, name: str) -> bool:
        asked.append(name)
        return real(self, name)

    monkeypatch.setattr(ImageMatcher, "matches_name", spy)
    for number in (7, 8):
        asked.clear()
        reference = Reference.parse(f"ghcr.io/team-{number}/app:1")
        found = [c.policy.identity.name for c in index.candidates(reference, "shop")]
        assert (found, len(asked)) == ([f"p{number}", "p998"], 3)
        assert index.candidates(reference, "shop")
        assert len(asked) == 3


def test_a_change_of_one_policy_of_a_thousand_parses_and_compiles_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def objects() -> list[dict[str, Any]]:
        made = [resource(f"p{i}", validations=[{"expression": "true"}]) for i in range(1000)]
        for obj in made:
            obj["metadata"]["uid"] = obj["metadata"]["name"]
        return made

    calls: list[str] = []

    def counting(module: Any, name: str) -> None:
        real = getattr(module, name)

        def spy(*arguments: Any) -> Any:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(module, name, spy)

    before = objects()
    first = build_policies(before)
    for name in ("parse_policy", "compile_policy"):
        counting(snapshot_module, name)
    changed = before.copy()
    changed[500] = resource("p500", generation=2, validations=[{"expression": "false"}])
    second = build_policies(changed, first)
    assert calls == ["parse_policy", "compile_policy"]
    same = [one is other for one, other in zip(first, second, strict=True)]
    assert same.count(False) == 1
    calls.clear()
    status_written = [{**obj, "status": {}} for obj in objects()]
    status_written[500] = changed[500]
    assert all(one is other for one, other in zip(second, build_policies(status_written, second), strict=True))
    assert calls == []


@pytest.mark.parametrize("generation", [1, 2])
def test_an_object_that_only_looks_the_same_is_read_again(generation: int) -> None:
    """One and true are equal to Python, and not to a policy's author; a file's objects have no versions."""
    one, other = resource("p"), resource("p", generation=generation)
    one["spec"]["signatures"]["minimum"], other["spec"]["signatures"]["minimum"] = 1, True
    if generation == 2:
        one["metadata"]["uid"] = other["metadata"]["uid"] = "u"
    (compiled,) = build_policies([other], build_policies([one]))
    assert [problem.code for problem in compiled.policy.problems] == ["WrongType"]


@pytest.mark.guarantee(7)
def test_a_broken_policy_stays_in_the_index_with_its_problems() -> None:
    broken = resource("broken", match={"images": ["ghcr.io/**", "nginx"]})
    uncompiled = resource("uncompiled", validations=[{"expression": "sboms.find("}])
    index = build_policies([broken, uncompiled, resource("good")])
    found = {
        c.policy.identity.name: [p.code for p in c.policy.problems]
        for c in index.candidates(Reference.parse("quay.io/x"), "a")
    }
    assert found == {"broken": ["ImagePatternMalformed"], "uncompiled": ["ExpressionMalformed"], "good": []}


def test_only_what_changed_is_compiled_again() -> None:
    first = build_policies([resource("a"), resource("b")])
    second = build_policies([resource("a"), resource("b", validationActions=["Warn"])], first)
    same, changed = (second.by_name(("ClusterEvidencePolicy", "", name)) for name in "ab")
    assert same is first.by_name(("ClusterEvidencePolicy", "", "a"))
    assert changed is not first.by_name(("ClusterEvidencePolicy", "", "b"))
    assert changed is not None
    assert changed.policy.spec.validation_actions == ("Warn",)
    assert len(build_policies([resource("a")], second)) == 1


def test_an_image_whose_name_cannot_be_read_is_under_every_policy_of_its_scope() -> None:
    objects = [
        resource("x", match={"images": ["quay.io/**"]}),
        resource("y", namespace="a"),
        resource("z", namespace="b"),
    ]
    assert [c.policy.identity.name for c in build_policies(objects).unparseable("a")] == ["x", "y"]


def test_a_pod_uses_its_own_secrets_then_its_service_account_s_of_its_own_namespace_only() -> None:
    snapshot = Snapshot(
        service_accounts={("a", "default"): ("s2", "s1"), ("a", "builder"): ("s3",), ("b", "default"): ("s4",)},
        pull_secrets={
            ("a", "s1"): (credential("one"),),
            ("a", "s2"): (credential("two"),),
            ("a", "s3"): (credential("three"),),
            ("b", "s4"): (credential("four"),),
            ("b", "s1"): (credential("foreign"),),
        },
    )

    def users(pod: Workload) -> list[str]:
        return [c.username for c in snapshot.access(pod).credentials]

    assert users(workload(secrets=("s1", "missing"))) == ["one", "two"]
    assert users(workload(account="builder")) == ["three"]
    assert users(workload(namespace="b", secrets=("s3",))) == ["four"]
    assert users(workload(namespace="c")) == []


@pytest.mark.guarantee(12)
def test_a_snapshot_never_shows_a_secret() -> None:
    snapshot = Snapshot(pull_secrets={("a", "s"): (Credential("ghcr.io", "user-x", "password-x"),)})
    assert "user-x" not in repr(snapshot)
    assert "password-x" not in repr(snapshot)


def test_a_snapshot_does_not_change_with_what_it_was_made_of() -> None:
    namespaces = {"a": Namespace("a")}
    snapshot = Snapshot().with_namespaces(namespaces)
    namespaces["b"] = Namespace("b")
    assert set(snapshot.namespaces) == {"a"}
    later = snapshot.with_policies(build_policies([resource("p")]))
    assert (len(snapshot.policies), len(later.policies), set(later.namespaces)) == (0, 1, {"a"})


ROOT = new_ca().certificate.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("der", [of_version(ROOT, 9), of_unknown_key(ROOT)], ids=["version", "key"])
def test_a_chain_that_no_library_reads_spoils_its_own_policy_and_no_other(der: bytes) -> None:
    ca = {"name": "release", "certificate": {"chain": pem_of(der), "identities": [{"subject": "me"}]}}
    index = build_policies([resource("bad", namespace="tenant", authorities=[ca]), resource("good")])
    found = {str(c.policy.identity): [p.code for p in c.policy.problems] for c in index}
    assert found == {"EvidencePolicy/tenant/bad": ["ChainMalformed"], "ClusterEvidencePolicy/good": []}
