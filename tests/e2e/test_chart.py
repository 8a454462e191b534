"""The chart: `helm template` output applied whole to a real API server, and its values' rules."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller import __version__, settings
from controller.operator.resources import RESOURCES
from tests.support.kubernetes import ApiServer
from tests.support.tools import CommandError, run_tool

CHART = Path(__file__).parents[2] / "charts" / "assay"
NAMESPACE = "assay-system"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:assay"


def _render(*values: str) -> list[dict[str, Any]]:
    arguments = [argument for value in values for argument in ("--set", value)]
    text = run_tool("helm", "template", "assay", CHART, "--namespace", NAMESPACE, *arguments)
    return [document for document in yaml.safe_load_all(text) if document]


def _one(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [obj for obj in objects if obj["kind"] == kind]
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("chart")) as server:
        server.create_namespace(NAMESPACE)
        server.kubectl("apply", "--server-side", "-f", CHART / "crds")
        yield server


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("webhook.url=https://127.0.0.1:8443",),
        ("replicas=3", "database.existingSecret=database", "webhook.certificate.existingSecret=certificate"),
        ("persistence.enabled=false", "settings.evidence_max_age=5m", "imagePullSecrets[0].name=pull"),
        (
            "webhook.clientCA.existingConfigMap=ca",
            "networkPolicy.enabled=true",
            "networkPolicy.ingressCIDRs={10.0.0.0/24,fd00::/64}",
        ),
        (
            "exceptions.approver.clusterRole=true",
            "exceptions.approver.labels.acme\\.example/team=oncall",
            "exceptions.breakGlass.clusterRole=true",
        ),
        (
            "serviceAccountAnnotations.eks\\.amazonaws\\.com/role-arn=arn:aws:iam::123456789012:role/assay",
            "extraInitContainers[0].name=plugin",
            "extraInitContainers[0].image=registry.example/plugin:1",
            "extraInitContainers[0].volumeMounts[0].name=plugins",
            "extraInitContainers[0].volumeMounts[0].mountPath=/plugins",
            "extraVolumes[0].name=plugins",
            "extraVolumes[0].emptyDir.sizeLimit=64Mi",
            "extraVolumeMounts[0].name=plugins",
            "extraVolumeMounts[0].mountPath=/etc/assay/plugins",
        ),
    ],
    ids=["defaults", "by url", "replicas", "others", "callers", "exceptions", "plugins"],
)
def test_everything_applies_with_no_field_unknown(cluster: ApiServer, values: tuple[str, ...]) -> None:
    status = cluster.kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        "--validate=strict",
        "-f",
        "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": _render(*values)}),
        namespace=NAMESPACE,
    )
    assert "Warning" not in status.stderr


def test_the_account_may_do_what_the_program_does_and_nothing_like_the_rest(cluster: ApiServer) -> None:
    cluster.apply(*(obj for obj in _render() if "rbac" in obj["apiVersion"]))

    def may(verb: str, what: str, *more: str) -> bool:
        answer = cluster.kubectl("auth", "can-i", verb, what, f"--as={ACCOUNT}", "-A", *more, check=False).stdout
        return answer.strip() == "yes"

    for resource in RESOURCES:
        assert may("list", f"{resource.plural}.assay.dev")
        assert may("watch", f"{resource.plural}.assay.dev")
        assert may("patch", f"{resource.plural}.assay.dev", "--subresource=status")
        assert not may("patch", f"{resource.plural}.assay.dev")
        assert may("get", f"customresourcedefinitions.apiextensions.k8s.io/{resource.plural}.assay.dev")
    for collection in ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"):
        assert may("patch", f"{collection}.admissionregistration.k8s.io/assay")
        assert not may("patch", f"{collection}.admissionregistration.k8s.io/another")
        for verb in ("create", "delete", "update"):
            assert not may(verb, f"{collection}.admissionregistration.k8s.io/assay")
    assert may("create", "subjectaccessreviews.authorization.k8s.io")
    assert cluster.kubectl("auth", "can-i", "create", "events.events.k8s.io", f"--as={ACCOUNT}", "-n", "default")
    assert not may("create", "events.events.k8s.io")
    assert not may("break-glass", "evidenceexceptions.assay.dev")
    assert not may("create", "evidenceexceptions.assay.dev")
    assert may("get", "namespaces/shop")
    assert may("watch", "secrets")
    assert may("list", "pods")
    assert may("watch", "pods")
    assert not may("create", "tokenreviews.authentication.k8s.io")  # only where the inventory asks who reads
    for verb, what in (
        ("get", "secrets"),
        ("create", "secrets"),
        ("get", "pods"),
        ("create", "pods"),
        ("patch", "pods"),
        ("get", "pods/log"),
        ("create", "pods/exec"),
        ("delete", "pods"),
    ):
        assert not may(verb, what)


def test_nobody_may_break_the_glass_unless_the_chart_is_told_who_might() -> None:
    roles = [obj["metadata"]["name"] for obj in _render() if obj["kind"] == "ClusterRole"]
    assert roles == ["assay-exceptions", "assay"]
    values = ("exceptions.breakGlass.clusterRole=true", "exceptions.approver.clusterRole=true")
    made = {obj["metadata"]["name"]: obj["rules"][0] for obj in _render(*values) if obj["kind"] == "ClusterRole"}
    assert "break-glass" in made["assay-break-glass"]["verbs"]
    assert "break-glass" not in made["assay-exception-approver"]["verbs"]


def test_the_webhook_configurations_are_as_the_design_says() -> None:
    objects = _render()
    mutating, validating = (
        _one(objects, "MutatingWebhookConfiguration"),
        _one(objects, "ValidatingWebhookConfiguration"),
    )
    (mutate, stamp), (validate, check) = mutating["webhooks"], validating["webhooks"]
    for hook in (mutate, validate):
        assert hook["sideEffects"] == "NoneOnDryRun"
        assert hook["matchPolicy"] == "Equivalent"
        assert hook["failurePolicy"] == "Fail"
        assert hook["timeoutSeconds"] == 10
        assert hook["namespaceSelector"] == {
            "matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", NAMESPACE]}
            ]
        }
        assert "objectSelector" not in hook
        assert "caBundle" not in hook["clientConfig"]
    assert mutate["reinvocationPolicy"] == "IfNeeded"
    assert _reviewed(mutate) == {("", "pods"): {"CREATE", "UPDATE"}, ("", "pods/ephemeralcontainers"): {"UPDATE"}}
    both = {"CREATE", "UPDATE"}
    assert _reviewed(validate) == {
        ("", "pods"): both,
        ("", "pods/ephemeralcontainers"): {"UPDATE"},
        ("", "replicationcontrollers"): both,
        ("", "podtemplates"): both,
        ("apps", "deployments"): both,
        ("apps", "replicasets"): both,
        ("apps", "statefulsets"): both,
        ("apps", "daemonsets"): both,
        ("batch", "jobs"): both,
        ("batch", "cronjobs"): both,
    }

    for hook in (stamp, check):
        assert hook["sideEffects"] == "None"
        assert hook["matchPolicy"] == "Equivalent"
        assert hook["failurePolicy"] == "Fail"
        assert hook["timeoutSeconds"] == 10
        assert hook["matchConditions"] == [
            {
                "name": "spec-changed",
                "expression": "request.operation != 'UPDATE' || object.spec != oldObject.spec",
            }
        ]
        assert not {"namespaceSelector", "objectSelector"} & set(hook), "policies are checked wherever they are"
        assert "caBundle" not in hook["clientConfig"]
    scopes = {resource.plural: "Namespaced" if resource.namespaced else "Cluster" for resource in RESOURCES}
    assert {name: rule["scope"] for rule in check["rules"] for name in rule["resources"]} == scopes
    assert _reviewed(check) == {("assay.dev", name): both for name in scopes}
    assert _reviewed(stamp) == {("assay.dev", "evidenceexceptions"): both}
    paths = {hook["name"]: hook["clientConfig"]["service"]["path"] for hook in (mutate, stamp, validate, check)}
    assert paths == {
        "mutate.assay.dev": "/mutate",
        "mutate-policy.assay.dev": "/mutate-policy",
        "validate.assay.dev": "/validate",
        "validate-policy.assay.dev": "/validate-policy",
    }


@pytest.mark.parametrize("values", [("webhook.failurePolicy=Ignore",), ("webhook.failurePolicy=Fail",)])
def test_an_exception_is_never_let_in_unchecked_whatever_becomes_of_pods(values: tuple[str, ...]) -> None:
    objects = _render(*values)
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        _, own = _one(objects, kind)["webhooks"]
        assert (own["name"].endswith("-policy.assay.dev"), own["failurePolicy"]) == (True, "Fail")


def _reviewed(hook: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    return {
        (group, resource): set(rule["operations"])
        for rule in hook["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_the_pod_is_restricted_and_its_environment_are_settings_that_the_program_knows() -> None:
    deployment = _one(_render("settings.evidence_max_age=5m"), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    probes = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probes == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    loaded = settings.load(environment=environment)
    assert loaded.webhook.webhook_names == ("assay.assay-system.svc", "assay.assay-system.svc.cluster.local")
    assert loaded.cluster.webhook_configuration == "assay"
    assert loaded.cluster.assay_namespace == NAMESPACE
    assert loaded.cluster.assay_image == container["image"]
    assert loaded.review.evidence_max_age == 300


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("replicas=2",), "existingSecret"),
        (("replicas=2", "database.existingSecret=x"), "certificate"),
        (("replica=2",), "replica"),
        (("noMatch=Maybe",), "noMatch"),
        (("webhook.url=http://insecure.example",), "url"),
        (("networkPolicy.enabled=true",), "ingressCIDRs"),
        (("networkPolicy.enabled=true", "networkPolicy.ingressCIDRs={everybody}"), "ingressCIDRs"),
        (("webhook.clientCA.existingSecret=a", "webhook.clientCA.existingConfigMap=b"), "one of"),
        (("webhook.clientCA.names={api}",), "needs a CA"),
    ],
)
def test_values_that_cannot_work_are_refused(values: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError) as caught:
        _render(*values)
    assert said in str(caught.value)


def test_replicas_without_a_database_are_refused_even_where_the_schema_is_skipped() -> None:
    with pytest.raises(CommandError, match="SQLite belongs to one process"):
        run_tool("helm", "template", "assay", CHART, "--set", "replicas=2", "--skip-schema-validation")


@pytest.mark.parametrize("kind", ["existingSecret", "existingConfigMap"])
def test_a_client_ca_is_mounted_without_its_key_where_the_program_looks_for_it(kind: str) -> None:
    assert _kinds(_render()) >= {"Deployment", "Service"}
    deployment = _one(_render(f"webhook.clientCA.{kind}=ca", "webhook.clientCA.names={api,apiserver}"), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    loaded = settings.load(environment={entry["name"]: entry["value"] for entry in container["env"]}).webhook
    assert loaded.webhook_client_names == ("api", "apiserver")
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "client-ca"]
    assert loaded.webhook_client_ca_file == f"{mount['mountPath']}/ca.crt"
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "client-ca"]
    if kind == "existingSecret":
        assert volume["secret"] == {"secretName": "ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    else:
        assert volume["configMap"] == {"name": "ca"}


def test_the_ledger_s_key_is_mounted_where_the_program_looks_for_it_and_volumes_go_with_a_node_selector() -> None:
    deployment = _one(
        _render(
            "ledger.existingSecret=ledger",
            "nodeSelector.disk=ssd",
            "extraVolumes[0].name=more",
            "extraVolumes[0].emptyDir.medium=Memory",
        ),
        "Deployment",
    )
    pod = deployment["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["ledger"]["secret"] == {
        "secretName": "ledger",
        "items": [{"key": "ledger.key", "path": "ledger.key"}],
    }
    assert "more" in volumes
    assert pod["nodeSelector"] == {"disk": "ssd"}
    (container,) = pod["containers"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "ledger"]
    (key_file,) = [e["value"] for e in container["env"] if e["name"] == "ASSAY_LEDGER_KEY_FILE"]
    assert (key_file, mount["readOnly"]) == (f"{mount['mountPath']}/ledger.key", True)


def test_the_network_policy_lets_in_the_named_networks_alone_and_only_to_the_webhook() -> None:
    assert "NetworkPolicy" not in _kinds(_render())
    objects = _render("networkPolicy.enabled=true", "networkPolicy.ingressCIDRs={10.0.0.0/24}")
    spec, deployment = _one(objects, "NetworkPolicy")["spec"], _one(objects, "Deployment")["spec"]
    assert spec["podSelector"] == deployment["selector"]
    assert spec["policyTypes"] == ["Ingress"]
    assert spec["ingress"] == [
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/24"}}], "ports": [{"protocol": "TCP", "port": "webhook"}]}
    ]


def _kinds(objects: list[dict[str, Any]]) -> set[str]:
    return {obj["kind"] for obj in objects}


def test_the_chart_lints_and_has_the_program_s_version() -> None:
    assert "0 chart(s) failed" in run_tool("helm", "lint", "--strict", CHART)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__


def test_the_inventory_is_not_reachable_from_outside_the_pod() -> None:
    objects = _render()
    assert [port["name"] for port in _one(objects, "Service")["spec"]["ports"]] == ["webhook"]
    (container,) = _one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert [port["name"] for port in container["ports"]] == ["webhook"]


def test_a_package_of_the_chart_has_no_program_in_it(tmp_path: Path) -> None:
    run_tool("helm", "package", CHART, "--destination", tmp_path)
    (archive,) = tmp_path.iterdir()
    listed = subprocess.run(["tar", "tzf", archive], check=True, capture_output=True, text=True, timeout=30).stdout
    assert "assay/crds/trustroots.yaml" in listed
    assert ".py" not in listed
