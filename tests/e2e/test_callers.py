"""The real API server, told to show a client certificate to its webhooks as docs/how-to/operate.md says."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.conftest import ASSAY, apply_chart, pod, trusted
from tests.support.assay import serving
from tests.support.clients import client
from tests.support.kubernetes import ApiServer
from tests.support.processes import free_port


def told(folder: Path, host: str, certificate: Path, key: Path) -> Path:
    """The file for `--admission-control-config-file`, with what it names."""
    user = {"name": host, "user": {"client-certificate": str(certificate), "client-key": str(key)}}
    kubeconfig = folder / "webhooks.kubeconfig"
    kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "users": [user]}))
    webhooks = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": str(kubeconfig),
    }
    names = ("ValidatingAdmissionWebhook", "MutatingAdmissionWebhook")
    plugins = [{"name": name, "configuration": webhooks} for name in names]
    file = folder / "admission.yaml"
    content = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins}
    file.write_text(json.dumps(content))
    return file


def test_an_api_server_with_the_certificate_is_reviewed_for_and_nobody_else(tmp_path: Path) -> None:
    port = free_port()
    certificate, key = client(tmp_path / "api", common_name="kube-apiserver")
    flag = f"--admission-control-config-file={told(tmp_path, f'127.0.0.1:{port}', certificate, key)}"
    with ApiServer(tmp_path / "cluster", users=[ASSAY], flags=[flag]) as cluster:
        cluster.create_namespace("assay-system")
        cluster.create_namespace("shop")
        apply_chart(cluster, port)
        with serving(
            tmp_path / "assay",
            webhook_port=port,
            kubeconfig=str(cluster.kubeconfig_for(ASSAY)),
            webhook_names="127.0.0.1",
            webhook_client_ca_file=str(tmp_path / "api" / "ca.crt"),
            webhook_client_names="kube-apiserver",
        ) as assay:
            trusted(cluster)
            made = cluster.apply(pod("web", "shop", "example.test/acme/app:1"), namespace="shop", check=False)
            assert (made.status, "web" in made.stdout) == (0, True), made.stderr
            assert [record["name"] for record in assay.decisions(namespace="shop")] == ["web"]
            forged = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}
            status, answer = assay.post("/validate", forged)
            assert (status, "ClientUnknown" in answer) == (403, True)
            assert assay.get("/readyz")[0] == 200
