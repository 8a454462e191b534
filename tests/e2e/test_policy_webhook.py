"""Policies as they are written, on a real API server: each mistake refused in exact words, and taken once mended."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import DENYING, Rig, pod
from tests.support.mistakes import MISTAKES, policy, rule
from tests.support.processes import wait_until

API = "/apis/assay.dev/v1alpha1"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/assay"
DENIED = 'admission webhook "validate-policy.assay.dev" denied the request: '
JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"


@pytest.fixture(scope="module", autouse=True)
def _namespace(rig: Rig) -> None:
    rig.cluster.create_namespace("shop")


def collection(obj: dict[str, Any]) -> str:
    if obj["kind"] == "EvidencePolicy":
        return f"{API}/namespaces/{obj['metadata']['namespace']}/evidencepolicies"
    return f"{API}/clusterevidencepolicies"


def create(rig: Rig, obj: dict[str, Any], *, query: str = "?dryRun=All") -> tuple[int, dict[str, Any]]:
    return rig.cluster.request("POST", f"{collection(obj)}{query}", body=obj)


@pytest.mark.parametrize("name", [name for name, mistake in MISTAKES.items() if mistake.refused])
def test_a_mistake_is_refused_with_its_place_and_taken_once_it_is_mended(rig: Rig, name: str) -> None:
    mistake = MISTAKES[name]
    obj = mistake.policy("mistaken")
    status, answer = create(rig, obj)
    assert (status, answer["reason"]) == (422, "Invalid"), answer
    assert answer["message"] == f"{DENIED}{mistake.refusal('mistaken')}"
    details = {"name": "mistaken", "group": "assay.dev", "kind": obj["kind"], "causes": mistake.causes}
    assert answer["details"] == details
    status, answer = create(rig, mistake.fixed("mended"))
    assert status == 201, answer


@pytest.mark.parametrize("name", [name for name, mistake in MISTAKES.items() if not mistake.refused])
def test_what_is_odd_is_taken_with_a_warning_that_kubectl_shows(rig: Rig, name: str) -> None:
    mistake = MISTAKES[name]
    applied = rig.cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(mistake.policy("odd")))
    assert applied.stderr.splitlines() == [f"Warning: {warning}" for warning in mistake.warnings]
    mended = rig.cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(mistake.fixed("even")))
    assert mended.stderr == ""


def test_kubectl_shows_every_mistake_with_its_place_and_a_caret(rig: Rig) -> None:
    applied = rig.cluster.apply(MISTAKES["several at once"].policy("mistaken"), check=False)
    assert applied.status == 1
    assert applied.stderr == (
        'The ClusterEvidencePolicy "mistaken" is invalid: \n'
        "* spec.authorities[0].key.pem: is no PEM (-----BEGIN PUBLIC KEY-----), or has something beside it; expected a "
        "SubjectPublicKeyInfo\n"
        "* spec.match.images[0]: the image pattern 'ghcr.io/acme/app:1' names a tag or digest; patterns see "
        "registry/repository only\n"
        "* spec.validations[0].expression: line 1, column 6: there is no name 'signature' here; did you mean "
        "'signatures'?\n"
        "size(signature) > 0\n"
        "     ^^^^^^^^^\n"
    )


def test_a_name_that_the_api_server_makes_up_is_no_mistake(rig: Rig) -> None:
    obj = policy("p")
    obj["metadata"] = {"generateName": "made-up-"}
    status, answer = create(rig, obj)
    assert status == 201, answer


@contextlib.contextmanager
def hook(rig: Rig, **client_config: str) -> Iterator[None]:
    """The webhook for policies with another client configuration, for the length of the block."""
    configuration = rig.cluster.get(CONFIGURATIONS)
    index = next(n for n, h in enumerate(configuration["webhooks"]) if h["name"] == "validate-policy.assay.dev")
    before = configuration["webhooks"][index]

    def patch(field: str, value: Any) -> None:
        body = [{"op": "replace", "path": f"/webhooks/{index}/{field}", "value": value}]
        status, answer = rig.cluster.request("PATCH", CONFIGURATIONS, body=body, content_type=JSON_PATCH)
        assert status == 200, answer

    def answers(good: bool) -> bool:
        """Whether the API server has heard of it."""
        return (create(rig, MISTAKES["several at once"].policy("probe"))[0] == 422) is good

    try:
        for name, value in client_config.items():
            patch(f"clientConfig/{name}", value)
        wait_until(lambda: answers(good=False), what="the API server asks elsewhere", timeout=30)
        yield
    finally:
        for name in client_config:
            patch(f"clientConfig/{name}", before["clientConfig"][name])
        wait_until(lambda: answers(good=True), what="the API server asks Assay again", timeout=30)


def test_while_assay_is_away_nothing_is_taken_and_everything_can_be_mended(rig: Rig) -> None:
    obj = policy("away", match={"images": ["away.example/**"]})
    assert create(rig, obj, query="")[0] == 201
    path = f"{collection(obj)}/away"
    with hook(rig, url="https://127.0.0.1:1/validate-policy"):
        status, answer = create(rig, policy("another"))
        assert status == 500
        assert 'failed calling webhook "validate-policy.assay.dev"' in answer["message"]
        assert (
            rig.cluster.request("PATCH", path, body={"spec": {"digest": "Require"}}, content_type=MERGE_PATCH)[0] == 500
        )
        labels = {"metadata": {"labels": {"team": "a"}, "finalizers": ["example.com/hold"]}}
        assert rig.cluster.request("PATCH", path, body=labels, content_type=MERGE_PATCH)[0] == 200
        assert rig.cluster.request("DELETE", path)[0] == 200
        finalizers: dict[str, Any] = {"metadata": {"finalizers": None}}
        assert rig.cluster.request("PATCH", path, body=finalizers, content_type=MERGE_PATCH)[0] == 200
        assert rig.cluster.request("GET", path)[0] == 404


def test_a_policy_that_became_invalid_can_be_labelled_and_deleted_and_changed_only_for_the_better(rig: Rig) -> None:
    configuration = rig.cluster.get(CONFIGURATIONS)
    without = {**configuration, "webhooks": [h for h in configuration["webhooks"] if h["name"] == "validate.assay.dev"]}
    obj = MISTAKES["several at once"].policy("invalid")
    obj["spec"]["match"] = {"images": ["invalid.example/app:1"]}
    assert rig.cluster.request("PUT", CONFIGURATIONS, body=without)[0] == 200
    try:
        wait_until(lambda: create(rig, obj)[0] == 201, what="nobody checks policies", timeout=30)
        assert create(rig, obj, query="")[0] == 201
    finally:
        current = rig.cluster.get(CONFIGURATIONS)
        restored = {**current, "webhooks": configuration["webhooks"]}
        assert rig.cluster.request("PUT", CONFIGURATIONS, body=restored)[0] == 200
    wait_until(lambda: create(rig, MISTAKES["several at once"].policy("probe"))[0] == 422, what="policies are checked")
    path = f"{collection(obj)}/invalid"
    label = {"metadata": {"labels": {"team": "a"}}}
    assert rig.cluster.request("PATCH", path, body=label, content_type=MERGE_PATCH)[0] == 200
    change = {"spec": {"digest": "Require"}}
    assert rig.cluster.request("PATCH", path, body=change, content_type=MERGE_PATCH)[0] == 422
    mended = {"spec": {**policy("p", match={"images": ["invalid.example/**"]})["spec"], "validations": None}}
    status, answer = rig.cluster.request("PATCH", path, body=mended, content_type=MERGE_PATCH)
    assert status == 200, answer
    assert rig.cluster.request("DELETE", path)[0] == 200


def test_a_trust_root_is_checked_as_it_is_written(rig: Rig) -> None:
    obj = {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": {"name": "mistaken"},
        "spec": {"publicKeys": [{"pem": "not a key"}]},
    }
    status, answer = rig.cluster.request("POST", f"{API}/trustroots?dryRun=All", body=obj)
    assert status == 422
    assert answer["message"] == (
        f'{DENIED}TrustRoot.assay.dev "mistaken" is invalid: spec.publicKeys[0].pem: is no PEM (-----BEGIN PUBLIC '
        "KEY-----), or has something beside it; expected a SubjectPublicKeyInfo"
    )


def test_a_change_of_policy_is_enforced_within_a_second(rig: Rig) -> None:
    # A benchmark figure (make bench); here within ten times that, as the design has it.
    image, _ = rig.signed("enforced")
    namespaced = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}
    obj = rig.policy("enforced", match={"images": [f"{rig.registry.host}/acme/enforced"], **namespaced})
    assert set(obj["spec"]["match"]) == {"images", "namespaceSelector"}

    def admitted() -> bool:
        body = pod("enforced", "shop", image)
        return rig.cluster.request("POST", "/api/v1/namespaces/shop/pods?dryRun=All", body=body)[0] == 201

    assert admitted()
    rig.cluster.apply(obj)
    rig.cluster.apply({**obj, "spec": {**obj["spec"], **rule("image.repository == 'acme/other'")}})
    wait_until(lambda: not admitted(), what="the change is enforced", timeout=10)
    rig.cluster.apply(obj)
    wait_until(admitted, what="the change back is enforced", timeout=10)
    rig.cluster.kubectl("delete", "clusterevidencepolicy", "enforced")


def test_what_a_policy_denied_is_told_in_its_status(rig: Rig) -> None:
    path = f"{API}/clusterevidencepolicies/{DENYING}"
    wait_until(
        lambda: rig.cluster.get(path)["status"].get("deniedLastHour") == 2,
        what="two different images are counted",
        timeout=90,  # they are counted once a minute
    )
