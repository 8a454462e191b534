"""Who reads, by the real API server: its tokens, its RBAC, and Assay with the rights that the chart gives it."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ASSAY, render_chart
from tests.support.assay import Assay, serving
from tests.support.kubernetes import ApiServer, User
from tests.support.processes import ServerError, wait_until
from tests.support.review import ONLY_ACME, pod, review

SHOPPER, AUDITOR, STRANGER = User("shopper"), User("auditor", ("auditors",)), User("stranger")
ROLE = "assay-inventory-reader"


@dataclass(frozen=True)
class World:
    """A cluster, and an inventory that asks it."""

    cluster: ApiServer
    assay: Assay
    shop: str
    bank: str

    def get(self, path: str, token: str = "") -> tuple[int, Any]:
        """Ask the inventory over HTTPS, by the CA that Assay made."""
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.assay.inventory_port}{path}",
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
        context = ssl.create_default_context(cafile=str(self.assay.ca_file))
        handler = urllib.request.HTTPSHandler(context=context)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)
        try:
            with opener.open(request, timeout=60) as response:
                content = response.read()
                is_json = response.headers["Content-Type"] == "application/json"
                return response.status, json.loads(content) if is_json else content.decode(errors="replace")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


def decided(assay: Assay, namespace: str) -> None:
    body = review(pod("ghcr.io/acme/app:1", metadata={"namespace": namespace, "uid": namespace}), namespace=namespace)
    status, _ = assay.post("/validate", body)
    assert status == 200


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("readers")
    policies = folder / "policies"
    policies.mkdir()
    (policies / "policy.yaml").write_text(ONLY_ACME)
    with ApiServer(folder / "cluster", users=[SHOPPER, AUDITOR, STRANGER, ASSAY]) as cluster:
        for namespace in ("assay-system", "shop", "bank"):
            cluster.create_namespace(namespace)
        chart = render_chart(inventory__enabled="true")
        cluster.apply(*(obj for obj in chart if obj["kind"] in {"ServiceAccount", "ClusterRole", "ClusterRoleBinding"}))
        group = "rbac.authorization.k8s.io"
        role = {"apiGroup": group, "kind": "ClusterRole", "name": ROLE}
        cluster.apply(
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "shopper", "namespace": "shop"},
                "roleRef": role,
                "subjects": [{"apiGroup": group, "kind": "User", "name": SHOPPER.name}],
            },
            {
                "apiVersion": f"{group}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "auditors"},
                "roleRef": role,
                "subjects": [{"apiGroup": group, "kind": "Group", "name": "auditors"}],
            },
        )
        with serving(
            folder / "assay",
            policies=str(policies),
            kubeconfig=str(cluster.kubeconfig_for(ASSAY)),
            inventory_access="Kubernetes",
            ledger_merge_delay="100ms",
        ) as assay:
            decided(assay, "shop")
            decided(assay, "bank")
            found: dict[str, str] = {}
            probe = World(cluster, assay, "", "")

            def seen() -> bool:
                _, page = probe.get("/api/v1/decisions", AUDITOR.token)
                found.update({item["namespace"]: item["id"] for item in page["items"]})
                return len(found) == 2

            wait_until(seen, what="both decisions can be read")
            yield World(cluster, assay, found["shop"], found["bank"])


@pytest.mark.guarantee(20)
def test_guarantee_20_who_shows_no_token_of_the_cluster_reads_nothing(world: World) -> None:
    for token in ("", "made-up"):
        status, body = world.get("/api/v1/decisions", token)
        assert (status, body["code"]) == (401, "TokenRequired")
    status, body = world.get("/api/v1/decisions?namespace=shop", STRANGER.token)
    assert (status, body["code"]) == (403, "AccessDenied")
    assert body["detail"] == "stranger may not list decisions.inventory.assay.dev in namespace shop"


@pytest.mark.guarantee(20)
def test_guarantee_20_the_cluster_s_rbac_says_who_sees_which_namespace(world: World) -> None:
    status, page = world.get("/api/v1/decisions?namespace=shop", SHOPPER.token)
    assert (status, [item["id"] for item in page["items"]]) == (200, [world.shop])
    assert world.get(f"/api/v1/decisions/{world.shop}", SHOPPER.token)[0] == 200
    assert world.get(f"/api/v1/decisions/{world.bank}", SHOPPER.token)[0] == 404
    assert world.get("/api/v1/decisions?namespace=bank", SHOPPER.token)[0] == 403
    assert world.get("/api/v1/decisions", SHOPPER.token)[0] == 403
    assert world.get("/api/v1/exceptions", SHOPPER.token)[0] == 403
    assert world.get("/api/v1/ledger/consistency?old=1&new=1", SHOPPER.token)[0] == 403
    status, page = world.get("/api/v1/decisions", AUDITOR.token)
    assert (status, {item["id"] for item in page["items"]}) == (200, {world.shop, world.bank})
    assert world.get(f"/api/v1/decisions/{world.bank}", AUDITOR.token)[0] == 200


@pytest.mark.guarantee(20)
def test_guarantee_20_exports_and_proofs_hold_nothing_of_another_namespace(world: World) -> None:
    for path in ("/api/v1/exports", f"/api/v1/proofs/{world.shop}"):
        assert world.get(path, SHOPPER.token)[0] == 403
        assert world.get(f"{path}?namespace=bank", SHOPPER.token)[0] == 403
        assert world.get(f"{path}?namespace=shop", STRANGER.token)[0] == 403
    status, bundle = world.get("/api/v1/exports?namespace=shop", SHOPPER.token)
    assert (status, world.shop in bundle, world.bank in bundle) == (200, True, False)
    assert "bank" not in bundle
    assert world.get(f"/api/v1/exports?namespace=shop&record={world.bank}", SHOPPER.token)[0] == 404
    assert world.get(f"/api/v1/proofs/{world.bank}?namespace=shop", SHOPPER.token)[0] == 404
    status, proof = world.get(f"/api/v1/proofs/{world.shop}?namespace=shop", SHOPPER.token)
    assert (status, [link["code"] for link in proof["missing"]]) == (
        200,
        ["NeverSeenRunning", "Denied", "NothingVerified"],
    )
    status, bundle = world.get(f"/api/v1/exports?record={world.bank}", AUDITOR.token)
    assert (status, world.bank in bundle) == (200, True)


@pytest.mark.guarantee(20)
def test_guarantee_20_a_permission_that_was_taken_away_ends_within_seconds(world: World) -> None:
    world.cluster.create_namespace("temporary")
    world.cluster.kubectl("create", "serviceaccount", "reader", "--namespace", "temporary")
    made = world.cluster.kubectl("create", "token", "reader", "--namespace", "temporary").stdout.strip()
    asked = "/api/v1/decisions?namespace=temporary"
    assert world.get(asked, made)[0] == 403
    world.cluster.kubectl(
        "create", "rolebinding", "reader", f"--clusterrole={ROLE}", "--serviceaccount=temporary:reader",
        "--namespace", "temporary",
    )  # fmt: skip
    wait_until(lambda: world.get(asked, made)[0] == 200, what="the service account may read")
    world.cluster.kubectl("delete", "rolebinding", "reader", "--namespace", "temporary")
    wait_until(lambda: world.get(asked, made)[0] == 403, what="the service account may no longer read")


def test_an_inventory_that_others_can_reach_asks_who_reads_or_does_not_start(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "policy.yaml").write_text(ONLY_ACME)
    with (
        pytest.raises(ServerError, match="inventory_access must be Kubernetes"),
        serving(tmp_path / "assay", policies=str(policies), inventory_host="192.0.2.1"),
    ):
        pass
