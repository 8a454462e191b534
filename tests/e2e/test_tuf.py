"""A TrustRoot that a TUF repository distributes, in a real cluster: refreshed, and kept through what goes wrong."""

from __future__ import annotations

from typing import Any

from securesystemslib.signer import CryptoSigner

from controller.model.reference import Digest
from tests.e2e.conftest import Rig
from tests.support.fixtures import recorded_trusted_root
from tests.support.processes import wait_until

PATH = "/apis/assay.dev/v1alpha1/trustroots/distributed"
DOCUMENT = recorded_trusted_root("trusted_root.json")
NEXT = recorded_trusted_root("trusted_root.other.json")


def _status(rig: Rig) -> dict[str, Any]:
    status = rig.cluster.get(PATH).get("status", {})
    ready = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})
    return {"hash": status.get("hash"), "refreshedAt": status.get("refreshedAt"), **ready}


def test_a_trust_root_is_refreshed_and_outlives_a_repository_gone_wrong(rig: Rig) -> None:
    repository = rig.roots.repository
    repository.publish(DOCUMENT)
    rig.cluster.apply(
        {
            "apiVersion": "assay.dev/v1alpha1",
            "kind": "TrustRoot",
            "metadata": {"name": "distributed"},
            "spec": {"tuf": rig.roots.spec(refresh="10s")},
        }
    )
    wait_until(lambda: _status(rig)["hash"] == str(Digest.of(DOCUMENT)), what="the document is in force", timeout=20)
    first = _status(rig)
    assert (first["status"], first["reason"]) == ("True", "InForce")
    assert first["refreshedAt"]

    repository.rotate_root()
    repository.publish(NEXT)
    wait_until(lambda: _status(rig)["hash"] == str(Digest.of(NEXT)), what="the next document", timeout=30)

    repository.publish(DOCUMENT, signer=CryptoSigner.generate_ed25519())
    wait_until(lambda: _status(rig)["reason"] == "RefreshFailed", what="the condition tells", timeout=30)
    failed = _status(rig)
    assert (failed["status"], failed["hash"]) == ("True", str(Digest.of(NEXT)))
    assert "last good copy serves" in failed["message"]
    assert rig.roots.url in failed["message"]

    repository.publish(NEXT)
    wait_until(lambda: _status(rig)["reason"] == "InForce", what="it is well again", timeout=40)
    assert _status(rig)["refreshedAt"] > first["refreshedAt"]
    rig.cluster.kubectl("delete", "trustroot", "distributed")
