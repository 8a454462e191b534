"""What a person sees: `kubectl get assay`, the short names, and `kubectl explain`, with the real kubectl."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.inventory.store import Store
from controller.operator import denials
from controller.operator.service import Operator
from controller.settings import ClusterSettings
from tests.support.inventory import evaluation, image, leaf, soon, sqlite_database
from tests.support.kubernetes import ADMIN, ApiServer
from tests.support.mistakes import policy
from tests.support.processes import ServerError, wait_until
from tests.unit.policy import make

CRDS = Path(__file__).parents[2] / "charts" / "assay" / "crds"
OTHER = "sha256:" + "99" * 32
END = (datetime.now(UTC) + timedelta(days=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
Schema = dict[str, Any]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("seen")) as server:
        server.kubectl("apply", "--server-side", "-f", CRDS)
        server.kubectl("wait", "--for=condition=Established", "-f", CRDS, "--timeout=30s")
        server.create_namespace("shop")
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with sqlite_database(tmp_path).open() as opened:
        yield opened


def _denied(name: str, *images: dict[str, Any], minutes: int) -> dict[str, Any]:
    judged = [
        {**evaluation(number, policy=name, outcome="Violated"), "signatures": [], "attestations": []}
        for number in range(len(images))
    ]
    moment = (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return leaf(verdict="Deny", decidedAt=moment, images=list(images), evaluations=judged)


async def test_kubectl_get_assay_shows_what_a_person_needs(
    cluster: ApiServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(denials, "INTERVAL", 0.2)
    root = {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": {"name": "acme"},
        "spec": {"publicKeys": [{"pem": make.pem()}]},
    }
    exception = {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "EvidenceException",
        "metadata": {"name": "false-alarm"},
        "spec": {
            "policies": [{"name": "signed"}],
            "images": ["ghcr.io/acme/app"],
            "reason": "why",
            "approver": "jane",
            "approvedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "expires": END,
        },
    }
    cluster.apply(
        policy("signed"),
        policy("watching", validationActions=["Warn", "Audit"], digest="Resolve"),
        policy("broken", validations=[{"expression": "nothing > 1"}]),
        policy("theirs", namespace="shop"),
        root,
        exception,
    )
    for recorded in (
        _denied("signed", image(), minutes=5),
        _denied("signed", image(), image("ghcr.io/acme/other:1", OTHER), minutes=1),
        _denied("signed", image("ghcr.io/acme/old:1", "sha256:" + "77" * 32), minutes=61),
    ):
        await store.writer.record(recorded, blobs={}, deadline=soon())
    own = cluster.kubeconfig_for(ADMIN, namespace="kube-system")  # kubectl writes its own anew each time
    operator = Operator(
        ClusterSettings(kubeconfig=str(own)),
        write_status=True,
        denied=lambda since: store.queries.denied(since=since, cluster="local"),
    )
    operator.start()
    try:
        expected = f"""\
NAME                                             ACTIONS            READY   REASON        DENIED-1H   AGE
clusterevidencepolicy.assay.dev/broken           ["Deny"]           False   NameUnknown   0           AGE
clusterevidencepolicy.assay.dev/signed           ["Deny"]           True    InForce       2           AGE
clusterevidencepolicy.assay.dev/watching         ["Warn","Audit"]   True    InForce       0           AGE

NAME                                      APPROVER   EXPIRES                READY   REASON    AGE
evidenceexception.assay.dev/false-alarm   jane       {END}   True    InForce   AGE

NAME                                ACTIONS    READY   REASON    DENIED-1H   AGE
evidencepolicy.assay.dev/theirs     ["Deny"]   True    InForce   0           AGE

NAME                      READY   REASON    REFRESHED   AGE
trustroot.assay.dev/acme   True    InForce               AGE
"""

        def shown() -> str:
            output = cluster.kubectl("get", "assay", "--namespace", "shop").stdout
            return re.sub(r"\b\d+[smh](\d+s)?$", "AGE", output, flags=re.MULTILINE)

        def squeezed(text: str) -> str:
            return re.sub(r" {2,}", "  ", text)

        with contextlib.suppress(ServerError):  # the comparison below says more
            wait_until(lambda: squeezed(shown()) == squeezed(expected), what="all is told", timeout=30)
        assert squeezed(shown()) == squeezed(expected)
    finally:
        operator.stop()


@pytest.mark.parametrize(
    ("short", "plural"),
    [
        ("cevp", "clusterevidencepolicies"),
        ("evp", "evidencepolicies"),
        ("evx", "evidenceexceptions"),
        ("troot", "trustroots"),
    ],
)
def test_each_resource_has_a_short_name(cluster: ApiServer, short: str, plural: str) -> None:
    listed = [cluster.kubectl("get", name, "--all-namespaces", "-o", "name").stdout for name in (short, plural)]
    assert listed[0] == listed[1]


def _fields(schema: Schema, path: str = "") -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        inner = f"{path}.{name}".lstrip(".")
        if inner in {"metadata", "apiVersion", "kind"}:  # Kubernetes' own
            continue
        yield inner
        yield from _fields(child.get("items", child), inner)


def test_kubectl_explains_every_field(cluster: ApiServer) -> None:
    # `kubectl explain` shows what the API server publishes for it, and one process a field would take minutes.
    published = cluster.get("/openapi/v3/apis/assay.dev/v1alpha1")["components"]["schemas"]
    for file in CRDS.iterdir():
        definition = yaml.safe_load(file.read_text())["spec"]
        kind = definition["names"]["kind"]
        written = definition["versions"][0]["schema"]["openAPIV3Schema"]
        served = published[f"dev.assay.v1alpha1.{kind}"]
        for path in _fields(written):
            assert _description(served, path) == _description(written, path) != "", f"{kind}.{path}"
        explained = cluster.kubectl("explain", definition["names"]["singular"], "--recursive").stdout
        assert {name.rpartition(".")[2] for name in _fields(written)} <= set(
            re.findall(r"^\s*(\w+)\t", explained, re.MULTILINE)
        )


def _description(schema: Schema, path: str) -> str:
    for name in path.split("."):
        schema = schema.get("items", schema)["properties"][name]
    text: str = schema.get("description", "")
    return text


@pytest.mark.parametrize(
    "path",
    [
        "clusterevidencepolicy.spec.authorities.keyless.identities.claims",
        "evidenceexception.spec.expires",
        "troot.spec.tuf",
    ],
)
def test_kubectl_explain_prints_the_field_s_text(cluster: ApiServer, path: str) -> None:
    explained = cluster.kubectl("explain", path).stdout
    assert "<empty>" not in explained
    assert "DESCRIPTION" in explained
