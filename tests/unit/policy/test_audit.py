"""Audit annotations: keys that the API server takes and that no two policies share, values within bounds."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from controller.model.policy import AuditAnnotation, PolicyIdentity
from controller.policy.audit import MAX_KEY, MAX_VALUE, MAX_VALUES, check_annotations, full_key, joined

QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")  # apimachinery, `IsQualifiedName`
names = st.from_regex(r"[a-z0-9](?:[a-z0-9.-]{0,28}[a-z0-9])?", fullmatch=True)
keys = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,28}[A-Za-z0-9])?", fullmatch=True)
policies = st.builds(
    PolicyIdentity, st.sampled_from(["ClusterEvidencePolicy", "EvidencePolicy"]), st.just("shop"), names, st.just("")
)


@given(policies, keys, policies, keys)
def test_two_annotations_of_one_answer_never_share_a_key(
    one: PolicyIdentity, key: str, other: PolicyIdentity, other_key: str
) -> None:
    same = (one.kind, one.name, key) == (other.kind, other.name, other_key)
    assert (full_key(one, key) == full_key(other, other_key)) is same


@given(policies, keys)
def test_every_key_that_is_accepted_is_one_that_the_api_server_takes(policy: PolicyIdentity, key: str) -> None:
    problems = list(check_annotations(policy.kind, policy.name, [AuditAnnotation(key, "'v'")]))
    full = full_key(policy, key)
    assert bool(problems) is (len(full) > MAX_KEY)
    assert QUALIFIED.fullmatch(full)
    assert full not in {"record", "evaluations", "audited"}


def test_several_values_are_joined_each_once_in_their_own_order() -> None:
    given_ = [("b", "2"), ("a", "9"), ("b", "10"), ("b", "2")]
    assert joined(given_) == joined(reversed(given_)) == (("a", "9"), ("b", "10, 2"))


@given(st.lists(st.tuples(keys, st.text()), max_size=8))
def test_whatever_the_values_each_answer_s_are_bounded_and_none_is_empty(values: list[tuple[str, str]]) -> None:
    found = joined(values)
    assert [key for key, _ in found] == sorted({key for key, _ in found})
    assert all(value and len(value.encode(errors="replace")) <= MAX_VALUE for _, value in found)


def test_no_namespaced_policy_takes_the_room_of_a_cluster_wide_one() -> None:
    cluster = PolicyIdentity("ClusterEvidencePolicy", "", "release", "")
    tenant = PolicyIdentity("EvidencePolicy", "shop", "aaa", "")
    values = [(full_key(tenant, f"k{i}"), "x" * MAX_VALUE) for i in range(9)]
    found = joined([*values, (full_key(cluster, "signer__key"), "v")])
    assert ("release_signer__key", "v") in found
    assert [key for key, _ in found] == sorted(key for key, _ in found)


def test_the_last_keys_go_first_where_there_is_too_much() -> None:
    found = joined((f"k{i}", "é" * MAX_VALUE) for i in range(9))
    sizes = [len(value.encode()) for _, value in found]
    assert [key for key, _ in found] == [f"k{i}" for i in range(7)]
    assert sizes == [MAX_VALUE] * 6 + [MAX_VALUES - 6 * MAX_VALUE]
