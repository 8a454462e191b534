"""Policies and exceptions as they come and go, by a real API server: whoever asks is told of them, used or not."""

from __future__ import annotations

import json
import urllib.parse
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.model.reference import Digest
from tests.e2e.conftest import Rig, in_force, pod
from tests.e2e.test_sightings import runs_as
from tests.support.commands import assay
from tests.support.processes import wait_until


def listed(rig: Rig, what: str, name: str, **asked: str) -> list[dict[str, Any]]:
    query = urllib.parse.urlencode({"name": name, **asked})
    items: list[dict[str, Any]] = rig.assay.inventory(f"/api/v1/{what}?{query}")["items"]
    return items


def states(rig: Rig, what: str, name: str) -> list[str]:
    return [item["state"] for item in listed(rig, what, name)]


def test_an_exception_that_nobody_uses_is_in_the_inventory_and_so_is_its_end(rig: Rig) -> None:
    end = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    spec = {"policies": [{"name": "acme-signed"}], "images": ["ghcr.io/acme/spare"], "reason": "OPS-7", "expires": end}
    spare = {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "EvidenceException",
        "metadata": {"name": "spare"},
        "spec": spec,
    }
    # As somebody who is not the test's administrator: the approver is who applied it.
    who = ("--as=joan", "--as-group=system:masters")
    rig.cluster.kubectl("apply", *who, "-f", "-", stdin=json.dumps(spare))
    wait_until(lambda: states(rig, "exceptions", "spare") == ["InForce"], what="it is in the inventory")
    (found,) = listed(rig, "exceptions", "spare")
    assert (found["uses"], found["lastUsedAt"], found["approver"], found["approval"]) == (0, None, "joan", "stamped")
    assert (found["reason"], found["endedAt"]) == ("OPS-7", None)
    rig.cluster.kubectl("delete", "evidenceexception", "spare")
    wait_until(lambda: states(rig, "exceptions", "spare") == ["Deleted"], what="its end is")
    then = found["appliedAt"]
    assert [item["state"] for item in listed(rig, "exceptions", "spare", asOf=then)] == ["InForce"]
    database = ("--database-url", f"sqlite:///{rig.assay.folder / 'inventory.db'}")
    shown = assay("inventory", "exceptions", "spare", *database, folder=rig.assay.folder)
    assert shown.returncode == 0, shown.stderr
    assert "  joan  " in shown.stdout
    assert "  Deleted  " in shown.stdout


def test_a_policy_is_in_the_inventory_from_when_it_is_applied_and_refuses_nothing_once_it_is_gone(rig: Rig) -> None:
    """By its word alone a pod would be refused that runs since before it."""
    namespace = "facts"
    rig.cluster.create_namespace(namespace)
    reference, digest = rig.signed("facts")
    rig.cluster.apply(pod("web", namespace, reference))
    runs_as(rig, "web", namespace, f"{reference.rpartition(':')[0]}@{digest}")
    sbom = {"name": "sbom", "type": "SBOM", "authorities": ["release"], "minimum": 1}
    own = {"images": [f"{rig.registry.host}/acme/facts"]}
    rig.cluster.apply(rig.policy("facts-strict", match=own, attestations=[sbom]))
    in_force(rig, "facts-strict")
    wait_until(lambda: states(rig, "policies", "facts-strict") == ["InForce"], what="it is in the inventory")
    (found,) = listed(rig, "policies", "facts-strict")
    assert (found["manager"], found["problem"], found["generation"]) == ("kubectl-client-side-apply", "", 1)
    database = ("--database-url", f"sqlite:///{rig.assay.folder / 'inventory.db'}")
    content = assay("inventory", "blob", found["hash"], *database, folder=rig.assay.folder).stdout.encode()
    assert str(Digest.of(content)) == found["hash"]
    assert json.loads(content)["spec"]["attestations"] == [sbom]
    assert rig.cluster.apply(pod("again", namespace, reference), check=False).status == 1

    def refused() -> list[str]:
        items = rig.assay.inventory(f"/api/v1/refused?namespace={namespace}")["items"]
        return [refusal["policy"]["name"] for item in items for refusal in item["refusals"]]

    wait_until(lambda: refused() == ["facts-strict"], what="what runs would be refused today")
    rig.cluster.kubectl("delete", "clusterevidencepolicy", "facts-strict")
    wait_until(lambda: states(rig, "policies", "facts-strict") == ["Deleted"], what="its end is in the inventory")
    assert refused() == []
    shown = assay("inventory", "policies", "facts-strict", *database, folder=rig.assay.folder)
    assert shown.returncode == 0, shown.stderr
    assert "  Deleted  " in shown.stdout
