"""Exceptions on a real API server: who approves them, what they let in, and that they end without anybody's doing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.conftest import Rig, pod
from tests.support.commands import assay
from tests.support.kubernetes import Completed
from tests.support.processes import wait_until

API = "/apis/assay.dev/v1alpha1/evidenceexceptions"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
DENIED = 'admission webhook "validate-policy.assay.dev" denied the request: '


@pytest.fixture(scope="module", autouse=True)
def _people(rig: Rig) -> None:
    """Jane and Joe may approve exceptions; Kim is on call and may break the glass besides."""
    rules = {
        "approvers": ["get", "list", "watch", "create", "update", "patch", "delete"],
        "breakers": ["get", "list", "watch", "create", "update", "patch", "delete", "break-glass"],
    }
    for name, verbs in rules.items():
        rule = {"apiGroups": ["assay.dev"], "resources": ["evidenceexceptions"], "verbs": verbs}
        kind, group = "ClusterRole", "rbac.authorization.k8s.io"
        role = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": name}, "rules": [rule]}
        subject = {"kind": "Group", "name": name, "apiGroup": group}
        reference = {"apiGroup": group, "kind": kind, "name": name}
        binding = role | {"kind": f"{kind}Binding", "roleRef": reference, "subjects": [subject]}
        del binding["rules"]
        rig.cluster.apply(role, binding)


@pytest.fixture
def namespace(rig: Rig, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    name = request.node.name.removeprefix("test_guarantee_16_").replace("_", "-")[:60].rstrip("-")
    rig.cluster.create_namespace(name)
    return str(name)


def ending(seconds: float) -> str:
    """A time so many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def exception(name: str, **spec: Any) -> dict[str, Any]:
    """As its author writes it: nobody has approved it yet."""
    fields: dict[str, Any] = {
        "policies": [{"name": "acme-signed"}],
        "reason": "the signing service is down, OPS-42",
        "expires": ending(3600),
    }
    return {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "EvidenceException",
        "metadata": {"name": name},
        "spec": fields | spec,
    }


def apply(rig: Rig, obj: Mapping[str, Any], *, user: str, group: str = "approvers", check: bool = True) -> Completed:
    """`kubectl apply` as somebody else."""
    as_ = (f"--as={user}", f"--as-group={group}", "--as-group=system:authenticated")
    return rig.cluster.kubectl("apply", *as_, "-f", "-", stdin=json.dumps(obj), check=check)


def spec_of(rig: Rig, name: str) -> dict[str, Any]:
    return dict(rig.cluster.get(f"{API}/{name}")["spec"])


def ready(rig: Rig, name: str) -> tuple[str, str]:
    """Status and reason of its condition *Ready*."""
    conditions = rig.cluster.get(f"{API}/{name}").get("status", {}).get("conditions", ())
    return next(((c["status"], c["reason"]) for c in conditions if c["type"] == "Ready"), ("", ""))


def run(rig: Rig, name: str, namespace: str, image: str) -> Completed:
    return rig.cluster.apply(pod(name, namespace, image), namespace=namespace, check=False)


def reasons_of_events(rig: Rig, name: str) -> set[str]:
    return {e["reason"] for e in rig.cluster.get(EVENTS)["items"] if e["regarding"]["name"] == name}


@pytest.mark.guarantee(16)
def test_guarantee_16_an_exception_is_approved_by_its_maker_in_force_at_once_and_told(rig: Rig, namespace: str) -> None:
    image, digest = rig.unsigned("excepted")
    assert run(rig, "before", namespace, image).status == 1
    granted = exception("told", images=[f"{rig.registry.host}/acme/excepted"], namespaces=[namespace])
    before = datetime.now(UTC).replace(microsecond=0)
    assert apply(rig, granted, user="jane").stderr == ""
    stored = spec_of(rig, "told")
    assert stored["approver"] == "jane"
    assert before <= datetime.fromisoformat(stored["approvedAt"]) <= datetime.now(UTC)
    began = time.monotonic()
    while (admitted := run(rig, "after", namespace, image)).status != 0:
        assert time.monotonic() - began < 10, admitted.stderr  # ten times what it may take
    end = f"{datetime.fromisoformat(stored['expires']):%Y-%m-%d %H:%MZ}"
    told = f" is exempt from ClusterEvidencePolicy acme-signed until {end} by exception told, approved by jane: "
    assert "Warning: " in admitted.stderr
    assert told in admitted.stderr
    assert run(rig, "elsewhere", "default", image).status == 1
    pinned = rig.cluster.get(f"/api/v1/namespaces/{namespace}/pods/after")["spec"]["containers"][0]["image"]
    assert pinned == f"{image}@{digest}"
    leaf = rig.assay.decision(rig.decisions(namespace)[0]["id"])
    assert (leaf["verdict"], leaf["flags"]) == ("Allow", ["exempt"])
    (used,) = leaf["evaluations"][0]["exceptions"]
    assert (used["name"], used["approver"], used["claimed"]) == ("told", "jane", False)
    (audited,) = [
        event["annotations"]["validate.assay.dev/exceptions"]
        for event in rig.cluster.audit_events()
        if event["objectRef"].get("namespace") == namespace
        and "validate.assay.dev/exceptions" in event.get("annotations", {})
    ]
    assert "told until " in audited
    wait_until(lambda: ready(rig, "told") == ("True", "ExpiresSoon"), what="its status says so")
    shown = rig.cluster.kubectl("get", "assay", "-o", "wide").stdout
    (line,) = [line.split() for line in shown.splitlines() if line.startswith("evidenceexception.assay.dev/told ")]
    assert line[1:6] == ["jane", stored["expires"], "false", "True", "ExpiresSoon"]
    (listed,) = rig.assay.inventory("/api/v1/exceptions?name=told")["items"]
    assert (listed["approver"], listed["approval"], listed["uses"]) == ("jane", "stamped", 1)
    database = ("--database-url", f"sqlite:///{rig.assay.folder / 'inventory.db'}")
    table = assay("inventory", "exceptions", "told", *database, folder=rig.assay.folder).stdout.splitlines()
    assert (table[1].split()[0], "  jane  " in table[1]) == ("told", True)
    again = assay("inventory", "show", leaf["id"], "--replay", *database, folder=rig.assay.folder)
    by = f"until {stored['expires']} by told, approved by jane: the signing service is down, OPS-42"
    assert again.returncode == 0
    assert f"  holds  exception from ClusterEvidencePolicy/acme-signed, {by}\n" in again.stdout
    (only,) = rig.assay.decisions(namespace=namespace, exception="told")
    assert only["id"] == leaf["id"]


@pytest.mark.guarantee(16)
def test_guarantee_16_a_forged_approver_is_refused_and_a_change_is_approved_anew(rig: Rig) -> None:
    forged = exception("forged", images=["docker.io/**"], approver="boss")
    refused = apply(rig, forged, user="joe", check=False)
    assert refused.status == 1
    assert refused.stderr.strip().endswith(
        'The EvidenceException "forged" is invalid: spec.approver: '
        "is 'boss', and you are 'joe'; leave it out, Assay fills it in"
    )
    made = exception("forged", images=["docker.io/**"])
    apply(rig, made, user="jane")
    first = spec_of(rig, "forged")
    apply(rig, made | {"metadata": {"name": "forged", "labels": {"team": "shop"}}}, user="joe")
    assert spec_of(rig, "forged") == first  # a label approves nothing
    time.sleep(1.1)
    longer = made | {"spec": made["spec"] | {"expires": ending(7200)}}
    apply(rig, longer, user="joe")
    second = spec_of(rig, "forged")
    assert second["approver"] == "joe"
    assert second["approvedAt"] > first["approvedAt"]
    path = f"{API}/forged"
    patch = {"spec": {"approver": "boss"}}
    status, answer = rig.cluster.request("PATCH", path, body=patch, content_type="application/merge-patch+json")
    assert (status, answer["reason"]) == (422, "Invalid")
    assert f"{DENIED}EvidenceException.assay.dev" in answer["message"]
    for wrong, told in (
        ({"expires": ending(31 * 86_400)}, "an exception ends within 30 d (bound: exception_max_duration)"),
        ({"expires": ending(-60)}, "it excepts nothing any more"),
        ({"reason": " "}, "spec.reason: must say why, for the auditor"),
        ({"images": ["app"]}, "matches no image, since it has no repository"),
    ):
        refused = apply(rig, exception("wrong", **({"images": ["docker.io/**"]} | wrong)), user="joe", check=False)
        assert refused.status == 1
        assert told in refused.stderr


@pytest.mark.guarantee(16)
def test_guarantee_16_an_exception_ends_without_anybodys_doing(rig: Rig, namespace: str) -> None:
    image, digest = rig.unsigned("briefly")
    apply(rig, exception("brief", digests=[digest], expires=ending(15)), user="jane")
    wait_until(lambda: run(rig, "early", namespace, image).status == 0, what="the exception is in force", timeout=12)
    wait_until(lambda: ready(rig, "brief") == ("False", "Expired"), what="it says that it is over", timeout=30)
    assert datetime.now(UTC) >= datetime.fromisoformat(spec_of(rig, "brief")["expires"])
    late = run(rig, "late", namespace, image)
    assert late.status == 1
    assert "SignatureMissing" in late.stderr
    assert f"exception brief: spec.expires was {spec_of(rig, 'brief')['expires']}; it excepts nothing" in late.stderr
    wait_until(lambda: reasons_of_events(rig, "brief") == {"ExpiresSoon", "Expired"}, what="Events tell of it")
    described = rig.cluster.kubectl("describe", "evx", "brief").stdout
    assert "approved by jane: the signing service is down, OPS-42" in described


@pytest.mark.guarantee(16)
def test_guarantee_16_an_approval_outlives_every_way_of_writing_the_same_again(rig: Rig) -> None:
    granted = exception("again", images=["docker.io/**"])
    for tool in (["create"], ["replace"], ["apply", "--server-side", "--force-conflicts"]):
        for user in ("jane", "joe") if tool != ["create"] else ("jane",):
            as_ = (f"--as={user}", "--as-group=approvers", "--as-group=system:authenticated")
            rig.cluster.kubectl(*tool, *as_, "-f", "-", stdin=json.dumps(granted))
            stored = spec_of(rig, "again")
            assert stored["approver"] == "jane", tool
            assert stored["approvedAt"]
    wait_until(lambda: ready(rig, "again") == ("True", "ExpiresSoon"), what="it is in force")


@pytest.mark.guarantee(16)
def test_guarantee_16_a_deleted_exception_ends_at_once_whatever_holds_it(rig: Rig, namespace: str) -> None:
    image, _ = rig.unsigned("held")
    held = exception("held", images=[f"{rig.registry.host}/acme/held"])
    held["metadata"]["finalizers"] = ["example.com/hold"]
    apply(rig, held, user="jane")
    wait_until(lambda: run(rig, "before", namespace, image).status == 0, what="it is in force", timeout=10)
    assert rig.cluster.request("DELETE", f"{API}/held")[0] == 200
    dry = ("apply", "--dry-run=server", "-f", "-")
    wanted = json.dumps(pod("after", namespace, image))

    def denied() -> bool:
        return "denied the request" in rig.cluster.kubectl(*dry, stdin=wanted, namespace=namespace, check=False).stderr

    wait_until(denied, what="it is over", timeout=10)
    wait_until(lambda: ready(rig, "held") == ("False", "BeingDeleted"), what="its status says so")
    freed = {"metadata": {"finalizers": None}}
    path = f"{API}/held"
    assert rig.cluster.request("PATCH", path, body=freed, content_type="application/merge-patch+json")[0] == 200
    assert rig.cluster.request("GET", path)[0] == 404


@pytest.mark.guarantee(16)
def test_guarantee_16_only_who_has_the_verb_breaks_the_glass(rig: Rig, namespace: str) -> None:
    image, digest = rig.unsigned("incident")
    glass = exception("glass", breakGlass=True, digests=[digest], namespaces=[namespace])
    refused = apply(rig, glass, user="jane", check=False)
    assert refused.status == 1
    assert "spec.breakGlass: needs the verb break-glass on evidenceexceptions.assay.dev" in refused.stderr
    longer = glass | {"spec": glass["spec"] | {"expires": ending(5 * 3600)}}
    refused = apply(rig, longer, user="kim", group="breakers", check=False)
    assert refused.status == 1
    assert "a break-glass exception ends within 4 h (bound: BREAK_GLASS_MAX)" in refused.stderr
    apply(rig, glass, user="kim", group="breakers")
    assert spec_of(rig, "glass")["approver"] == "kim"
    reworded = glass | {"spec": glass["spec"] | {"reason": "another"}}
    assert apply(rig, reworded, user="jane", check=False).status == 1  # nor may she change one
    wait_until(lambda: run(rig, "restored", namespace, image).status == 0, what="the glass is broken", timeout=10)
    leaf = rig.assay.decision(rig.decisions(namespace)[0]["id"])
    assert leaf["flags"] == ["break-glass", "exempt"]
    wait_until(lambda: "BreakGlass" in reasons_of_events(rig, "glass"), what="an Event tells of it")
    _, metrics = rig.assay.get("/metrics")
    assert 'assay_exception_uses_total{break_glass="true",exception="glass"}' in metrics
    assert 'assay_exception_expires_timestamp_seconds{break_glass="true",exception="glass"}' in metrics


@pytest.mark.guarantee(16)
def test_guarantee_16_what_came_past_the_webhook_excepts_nothing(rig: Rig, namespace: str) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/{}webhookconfigurations/assay"
    paths = [path.format(kind) for kind in ("mutating", "validating")]
    before = {each: rig.cluster.get(each) for each in paths}
    image, _ = rig.unsigned("smuggled")
    smuggled = exception("smuggled", images=["**"], approver="jane")
    try:
        for each, configuration in before.items():
            kept = [hook for hook in configuration["webhooks"] if "policy" not in hook["name"]]
            assert rig.cluster.request("PUT", each, body={**configuration, "webhooks": kept})[0] == 200
        query = "?dryRun=All"
        wait_until(
            lambda: rig.cluster.request("POST", API + query, body=smuggled)[0] == 201, what="nobody checks", timeout=30
        )
        assert rig.cluster.request("POST", API, body=smuggled)[0] == 201
    finally:
        for each, configuration in before.items():
            restored = {**rig.cluster.get(each), "webhooks": configuration["webhooks"]}
            assert rig.cluster.request("PUT", each, body=restored)[0] == 200
    wait_until(lambda: ready(rig, "smuggled") == ("False", "NotApproved"), what="its status says so")
    assert run(rig, "smuggled", namespace, image).status == 1
    mended = smuggled | {"spec": smuggled["spec"] | {"images": [f"{rig.registry.host}/acme/smuggled"]}}
    del mended["spec"]["approver"]

    def approved() -> bool:
        apply(rig, mended, user="joe", check=False)
        return spec_of(rig, "smuggled")["approver"] == "joe"

    wait_until(approved, what="the webhooks are asked again", timeout=30)
    wait_until(lambda: run(rig, "approved", namespace, image).status == 0, what="it is in force", timeout=10)


@pytest.mark.guarantee(16)
@pytest.mark.guarantee(17)
def test_guarantee_16_the_command_line_excepts_what_the_cluster_does(rig: Rig, namespace: str) -> None:
    image, _ = rig.unsigned("everywhere")
    granted = exception("everywhere", images=[f"{rig.registry.host}/acme/everywhere"], namespaces=[namespace])
    apply(rig, granted, user="jane")
    wait_until(lambda: run(rig, "here", namespace, image).status == 0, what="it is in force", timeout=10)
    folder = rig.assay.folder.parent / "exported"
    folder.mkdir(exist_ok=True)
    for name, what in (("policy", "cevp/acme-signed"), ("exception", "evx/everywhere")):
        (folder / f"{name}.json").write_text(rig.cluster.kubectl("get", what, "-o", "json").stdout)
    done = assay("review", "-", "--policies", folder, folder=folder, stdin=json.dumps(pod("here", namespace, image)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "by exception everywhere, claimed by jane: " in done.stdout
    elsewhere = json.dumps(pod("here", "other", image))
    assert assay("review", "-", "--policies", folder, folder=folder, stdin=elsewhere).returncode == 1
