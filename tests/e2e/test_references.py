"""Keys and trust roots in Secrets and ConfigMaps of a real cluster, with the rights that the chart gives Assay."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import DEVELOPER, Rig, in_force, pod
from tests.support.processes import wait_until

ASSAY_NAMESPACE = "assay-system"
API = "/apis/assay.dev/v1alpha1"
DOCUMENT = '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'


def _secret(name: str, namespace: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


def _referring(rig: Rig, name: str, images: str) -> dict[str, Any]:
    key = {"secretRef": {"name": name, "key": "cosign.pub"}}
    return rig.policy(
        name,
        match={"images": [f"{rig.registry.host}/{images}"]},
        authorities=[{"name": "release", "key": key, "transparencyLog": "Optional"}],
    )


def _ready(rig: Rig, path: str) -> tuple[str, str, str]:
    conditions = rig.cluster.get(f"{API}/{path}").get("status", {}).get("conditions", ())
    found: dict[str, Any] = next((c for c in conditions if c["type"] == "Ready"), {})
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def _create(rig: Rig, obj: dict[str, Any]) -> tuple[int, str]:
    namespace = obj["metadata"]["namespace"]
    status, answer = rig.cluster.request(
        "POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", body=obj, user=DEVELOPER
    )
    return status, answer.get("message", "")


@pytest.mark.guarantee(1)
def test_a_key_in_a_secret_binds_is_rotated_and_once_deleted_admits_nobody(rig: Rig) -> None:
    rig.cluster.create_namespace("rotated")
    rig.cluster.kubectl("create", "rolebinding", "dev", "--clusterrole=edit", "--user=developer", namespace="rotated")
    image, _ = rig.signed("rotated")
    other = rig.cosign.generate_key_pair("rotated-other")
    rig.cluster.apply(_secret("rotated", ASSAY_NAMESPACE, **{"cosign.pub": rig.key.public_pem}))
    rig.cluster.apply(_referring(rig, "rotated", "acme/rotated"))
    in_force(rig, "rotated")
    policy_hash = rig.cluster.get(f"{API}/clusterevidencepolicies/rotated")["status"]["hash"]
    pending = pod("p", "rotated", image)
    assert _create(rig, pending) == (201, "")

    # The key is taken from the signer: what was remembered as satisfied is satisfied no longer.
    rig.cluster.apply(_secret("rotated", ASSAY_NAMESPACE, **{"cosign.pub": other.public_pem}))
    wait_until(lambda: _create(rig, pending)[0] != 201, what="the other key binds", timeout=10)
    assert "SignatureMissing" in _create(rig, pending)[1] or "signature" in _create(rig, pending)[1]
    assert rig.cluster.get(f"{API}/clusterevidencepolicies/rotated")["status"]["hash"] == policy_hash

    rig.cluster.apply(_secret("rotated", ASSAY_NAMESPACE, **{"cosign.pub": rig.key.public_pem}))
    wait_until(lambda: _create(rig, pending)[0] == 201, what="the first key binds again", timeout=10)

    rig.cluster.kubectl("delete", "secret", "rotated", namespace=ASSAY_NAMESPACE)
    wait_until(lambda: _create(rig, pending)[0] != 201, what="the deleted key counts no more", timeout=10)
    status, message = _create(rig, pending)
    assert status != 201
    assert "ReferenceMissing" in message
    assert f"Secret {ASSAY_NAMESPACE}/rotated" in message
    path = "clusterevidencepolicies/rotated"
    wait_until(lambda: _ready(rig, path)[:2] == ("False", "ReferenceMissing"), what="its condition", timeout=10)
    rig.cluster.kubectl("delete", "clusterevidencepolicy", "rotated")


@pytest.mark.guarantee(12)
def test_a_private_key_in_a_secret_is_refused_and_never_shown(rig: Rig) -> None:
    private = rig.key.private.read_text()
    rig.cluster.apply(_secret("private", ASSAY_NAMESPACE, **{"cosign.pub": private}))
    rig.cluster.apply(_referring(rig, "private", "acme/private-key"))
    path = "clusterevidencepolicies/private"
    wait_until(lambda: _ready(rig, path)[1] == "ReferencePrivateKey", what="its condition", timeout=10)
    line = private.splitlines()[1]
    assert line not in str(rig.cluster.get(f"{API}/{path}")["status"])
    rig.cluster.kubectl("delete", "clusterevidencepolicy", "private")


def test_a_namespaced_policy_reads_its_own_namespace_and_no_other(rig: Rig) -> None:
    for namespace in ("tenant-a", "tenant-b"):
        rig.cluster.create_namespace(namespace)
    rig.cluster.apply(_secret("theirs", "tenant-b", **{"cosign.pub": rig.key.public_pem}), namespace="tenant-b")
    rig.cluster.apply(_secret("theirs", ASSAY_NAMESPACE, **{"cosign.pub": rig.key.public_pem}))
    policy = _referring(rig, "theirs", "acme/theirs") | {"kind": "EvidencePolicy"}
    policy["metadata"] = {"name": "theirs", "namespace": "tenant-a"}
    rig.cluster.apply(policy, namespace="tenant-a")
    path = "namespaces/tenant-a/evidencepolicies/theirs"
    wait_until(lambda: _ready(rig, path)[0] != "", what="its condition", timeout=10)
    status, reason, message = _ready(rig, path)
    assert (status, reason) == ("False", "ReferenceMissing")
    assert "Secret tenant-a/theirs" in message
    rig.cluster.apply(_secret("theirs", "tenant-a", **{"cosign.pub": rig.key.public_pem}), namespace="tenant-a")
    wait_until(lambda: _ready(rig, path)[0] == "True", what="the key of its own namespace binds", timeout=10)
    rig.cluster.kubectl("delete", "evidencepolicy", "theirs", namespace="tenant-a")


@pytest.mark.parametrize(("source", "kind"), [("secretRef", "Secret"), ("configMapRef", "ConfigMap")])
def test_a_trust_root_is_read_from_assays_namespace_and_says_what_is_missing(rig: Rig, source: str, kind: str) -> None:
    name = f"root-{kind.lower()}"
    rig.cluster.apply(
        {
            "apiVersion": "assay.dev/v1alpha1",
            "kind": "TrustRoot",
            "metadata": {"name": name},
            "spec": {source: {"name": name, "key": "root.json"}},
        }
    )
    path = f"trustroots/{name}"
    wait_until(lambda: _ready(rig, path)[:2] == ("False", "ReferenceMissing"), what="its condition", timeout=10)
    assert f"{kind} {ASSAY_NAMESPACE}/{name}" in _ready(rig, path)[2]
    data = {"stringData" if kind == "Secret" else "data": {"root.json": DOCUMENT}}
    metadata = {"name": name, "namespace": ASSAY_NAMESPACE}
    rig.cluster.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, **data})
    wait_until(lambda: _ready(rig, path)[0] == "True", what="the document is read", timeout=10)
    rig.cluster.apply(
        {"apiVersion": "v1", "kind": kind, "metadata": metadata}
        | {name: {"root.json": "not a document"} for name in data}
    )
    wait_until(
        lambda: _ready(rig, path)[1] == "TrustRootMalformed", what="the malformed one counts no more", timeout=10
    )
    rig.cluster.kubectl("delete", "trustroot", name)
