"""`assay policy explain`: the verdict of `assay review`, with what led to it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import assay
from tests.support.fixtures import POLICIES, POLICIES_EVIDENCE

OFFLINE = ("--offline", POLICIES_EVIDENCE, "--trusted-root", POLICIES_EVIDENCE / "trusted_root.json")
NOW = ("--now", "2026-11-29T12:00:00+0000")
SECRET = "hunter2-s3cr3t"


def explain(folder: Path, subject: str | Path, name: str, *options: Any, stdin: str = "") -> Any:
    arguments = ("policy", "explain", subject, "--policies", POLICIES / name, *OFFLINE, *options)
    done: subprocess.CompletedProcess[str] = assay(*arguments, folder=folder, stdin=stdin)
    assert done.stderr == ""
    return done


def test_a_denied_image_shows_what_was_verified_and_what_each_part_of_the_rule_came_to(tmp_path: Path) -> None:
    done = explain(tmp_path, "ghcr.io/acme/indexer:1.0", "vulnerability-scan", *NOW)
    assert done.returncode == 1
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0] == "Deny  Pod default/explain"
    assert "ClusterEvidencePolicy/vulnerability-scan (Deny)" in lines
    assert "images: ghcr.io/acme/** matches ghcr.io/acme/indexer" in lines
    assert {"attestations[scan]: met", "attestations[vex]: met", "validations[0] is true"} < set(lines)
    assert "validations[1] is false" in lines
    assert any(
        line.startswith("verified: scan (https://cosign.sigstore.dev/attestation/vuln/v1) by ") for line in lines
    )
    assert any(line.split() == ["vex.clears(finding)", "false"] for line in lines)


def test_an_unmet_requirement_says_what_did_not_count_and_that_rules_were_not_asked(tmp_path: Path) -> None:
    done = explain(tmp_path, "ghcr.io/acme/checkout:2.0-fork", "sbom-complete")
    assert done.returncode == 1
    assert "attestations[sbom]: not met" in done.stdout
    assert "IdentityMismatch" in done.stdout
    assert "rules were not asked" in done.stdout
    assert "validations[0] is" not in done.stdout


def test_a_policy_that_is_not_about_the_image_says_why_not(tmp_path: Path) -> None:
    done = explain(tmp_path, "registry.example/acme/app:1", "signed-by-key")
    assert done.returncode == 0
    assert "ClusterEvidencePolicy/signed-by-key is not about it\n" in done.stdout
    assert "not images: none of ghcr.io/acme/** matches registry.example/acme/app\n" in done.stdout


def test_programs_get_everything_with_a_schema(tmp_path: Path) -> None:
    done = explain(tmp_path, "ghcr.io/acme/toolbox:1.1", "minimal-image", "-o", "json")
    shown = json.loads(done.stdout)
    assert set(shown) == {"schema", "object", "verdict", "message", "warnings", "flags", "images"}
    assert (shown["schema"], shown["verdict"]) == ("assay.dev/policy-explanation/v1alpha1", "Deny")
    (image,) = shown["images"]
    (policy,) = image["policies"]
    assert set(policy) == {"policy", "matched", "checks", "conditions", "evaluations"}
    (evaluation,) = policy["evaluations"]
    assert evaluation["requirements"] == [{"rule": "attestations[sbom]", "met": True}]
    assert (evaluation["outcome"], evaluation["rulesAsked"], evaluation["error"]) == ("Violated", True, None)
    values = {one["name"]: one["value"] for one in evaluation["expressions"]}
    assert values["validations[0]"] == {"type": "bool", "text": "true"}
    assert values["validations[1]"] == {"type": "bool", "text": "false"}
    assert values["variables.tools"] == {"type": "list", "text": "[]"}


@pytest.mark.guarantee(12)
def test_a_manifest_is_explained_container_by_container_and_its_environment_withheld(tmp_path: Path) -> None:
    policy = yaml.safe_load((POLICIES / "digest-required" / "policy.yaml").read_text())
    policy["spec"]["match"]["conditions"].append(
        {"name": "env", "expression": "object.spec.containers.exists(c, c.env.exists(e, e.value != 'x'))"}
    )
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "policy.json").write_text(json.dumps(policy))
    environment = [{"name": "PASSWORD", "value": SECRET}]
    containers = [{"name": n, "image": f"ghcr.io/acme/{n}:1", "env": environment} for n in ("one", "two")]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers}}
    for options in ((), ("-o", "json")):
        done = assay("policy", "explain", "-", "--policies", folder, *OFFLINE, *options, folder=tmp_path,
                     stdin=json.dumps(pod))  # fmt: skip
        assert (done.returncode, done.stderr) == (1, "")
        assert "ghcr.io/acme/one:1" in done.stdout
        assert "ghcr.io/acme/two:1" in done.stdout
        assert "match.conditions[env]" in done.stdout
        assert SECRET not in done.stdout
        assert "(withheld)" in done.stdout


@pytest.mark.parametrize("subject", ["no such file.yaml", "UPPER/case", ""])
def test_what_is_neither_file_nor_image_is_an_error(tmp_path: Path, subject: str) -> None:
    done = assay("policy", "explain", subject, "--policies", POLICIES / "signed-by-key", *OFFLINE, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is no file and no image" in done.stderr


def test_the_exit_status_is_that_of_review(tmp_path: Path) -> None:
    for image, status in (("ghcr.io/acme/shop:1.4", 0), ("ghcr.io/acme/newsletter:0.9", 1), ("ghcr.io/acme/gone:1", 2)):
        assert explain(tmp_path, image, "signed-by-key").returncode == status
