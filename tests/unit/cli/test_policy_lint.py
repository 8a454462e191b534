"""`assay policy lint`: what it prints in each form, and how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller import __version__
from controller.cli import run
from tests.support.fixtures import CHECKOUT
from tests.support.mistakes import MISTAKES, policy

WARNING, ERROR = MISTAKES["a rule that demands nothing"], MISTAKES["a rule that is never true"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my policies").mkdir()
    return tmp_path / "my policies"


def write(path: Path, *objects: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump_all(objects, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("objects", "options", "status"),
    [
        ([policy("p")], [], 0),
        ([policy("p")], ["--strict"], 0),
        ([WARNING.policy("p")], [], 0),
        ([WARNING.policy("p")], ["--strict"], 1),
        ([ERROR.policy("p")], [], 1),
    ],
)
def test_the_exit_status_is_0_for_clean_and_1_for_findings(
    folder: Path, objects: list[dict[str, Any]], options: list[str], status: int
) -> None:
    write(folder / "a.yaml", *objects)
    assert run(["policy", "lint", str(folder), *options]) == status
    assert run(["policy", "lint", str(folder), "-o", "json", *options]) == status


def test_the_exit_status_is_2_for_a_file_that_cannot_be_read_whatever_else_is_found(folder: Path) -> None:
    write(folder / "a.yaml", ERROR.policy("p"))
    (folder / "b.yaml").write_text("a: [1\n")
    assert run(["policy", "lint", str(folder)]) == 2
    assert run(["policy", "lint", str(folder / "nowhere")]) == 64
    assert run(["policy", "lint"]) == 64


def test_people_read_place_code_object_and_the_whole_message(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "a.yaml", ERROR.policy("p"), {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}})
    run(["policy", "lint", "my policies"])
    output = capsys.readouterr()
    line = next(n for n, text in enumerate((folder / "a.yaml").read_text().splitlines(), 1) if "expression" in text)
    assert output.out == (
        f"my policies/a.yaml:{line}:5: error RuleNeverTrue ClusterEvidencePolicy/p\n"
        f"    spec.validations[0].expression: {ERROR.told[0][3]}\n"
    )
    assert output.err == "1 object, 1 error, 0 warnings (1 object of other kinds passed over)\n"


def test_people_see_the_line_with_a_caret(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "a.yaml", MISTAKES["an unknown name"].policy("p"))
    run(["policy", "lint", "my policies"])
    shown = capsys.readouterr().out.splitlines()
    assert shown[1] == f"    spec.validations[0].expression: {MISTAKES['an unknown name'].told[0][3]}"
    assert shown[2:] == ["      size(signature) > 0", "           ^^^^^^^^^"]


def test_programs_read_a_versioned_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "a.yaml", ERROR.policy("p"))
    run(["policy", "lint", "my policies", "-o", "json"])
    written = json.loads(capsys.readouterr().out)
    line = written["findings"][0]["line"]
    assert written == {
        "schema": "assay.dev/lint/v1alpha1",
        "checked": 1,
        "errors": 1,
        "warnings": 0,
        "findings": [
            {
                "severity": "error",
                "code": "RuleNeverTrue",
                "object": {"kind": "ClusterEvidencePolicy", "namespace": "", "name": "p"},
                "field": "spec.validations[0].expression",
                "message": ERROR.told[0][3],
                "excerpt": "",
                "file": "my policies/a.yaml",
                "line": line,
                "column": 5,
            }
        ],
    }
    run(["policy", "lint", "my policies", "-o", "yaml"])
    assert yaml.safe_load(capsys.readouterr().out) == written


def test_the_document_s_fields_are_those_that_the_page_tells() -> None:
    page = (CHECKOUT / "docs" / "how-to" / "check-policies.md").read_text()
    told = set(re.findall(r"`(?:findings\[\]\.)?(\w+)`", page))
    fields = {"severity", "code", "object", "field", "message", "excerpt", "file", "line", "column"}
    assert {"checked", "errors", "warnings"} | fields <= told


def test_sarif_has_what_its_schema_requires_and_code_scanning_asks_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / "a.yaml", MISTAKES["several at once"].policy("p"), WARNING.policy("q"))
    run(["policy", "lint", "my policies", "-o", "sarif"])
    log = json.loads(capsys.readouterr().out)
    # Section 3.13 to 3.30 of the specification: what the schema says is required.
    assert log["version"] == "2.1.0"
    assert log["$schema"].startswith("https://docs.oasis-open.org/sarif/sarif/v2.1.0/")
    (ran,) = log["runs"]
    driver = ran["tool"]["driver"]
    assert (driver["name"], driver["semanticVersion"]) == ("assay", __version__)
    assert all(set(rule) == {"id", "shortDescription"} and rule["shortDescription"]["text"] for rule in driver["rules"])
    assert ran["columnKind"] == "unicodeCodePoints"
    assert len(ran["results"]) == len(MISTAKES["several at once"].told) + 1
    for result in ran["results"]:
        assert result["message"]["text"]
        assert result["level"] in {"error", "warning"}
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        (location,) = result["locations"]
        physical = location["physicalLocation"]
        assert physical["artifactLocation"] == {"uri": "my%20policies/a.yaml"}
        assert physical["region"]["startLine"] >= 1
        assert physical["region"]["startColumn"] >= 1
        (logical,) = location["logicalLocations"]
        assert logical["fullyQualifiedName"].startswith("ClusterEvidencePolicy/")
        assert len(result["partialFingerprints"]["assayFinding/v1"]) == 64
    assert {result["level"] for result in ran["results"]} == {"error", "warning"}


def test_a_finding_keeps_its_fingerprint_when_it_moves(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fingerprints() -> list[str]:
        run(["policy", "lint", "my policies", "-o", "sarif"])
        results = json.loads(capsys.readouterr().out)["runs"][0]["results"]
        return [result["partialFingerprints"]["assayFinding/v1"] for result in results]

    path = write(folder / "a.yaml", policy("p", validations=[{"expression": "size(signature) > 0"}]))
    before = fingerprints()
    path.write_text("# moved\n" + path.read_text().replace("size(", "1 < 2 && size("))
    assert fingerprints() == before
    path.write_text(path.read_text().replace("signature)", "evidence)"))
    assert fingerprints() != before


def test_a_trust_root_that_verification_cannot_read_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "tlogs": "none"}
    root = {"apiVersion": "assay.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": "acme"}}
    write(folder / "a.yaml", root | {"spec": {"trustedRoot": json.dumps(document)}})
    assert run(["policy", "lint", str(folder)]) == 1
    assert "spec.trustedRoot: is no Sigstore TrustedRoot document that Assay can read" in capsys.readouterr().out


def test_trust_roots_by_setting_are_there(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "root.json"
    root.write_text('{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    write(folder / "a.yaml", MISTAKES["a trust root that is not there"].policy("p"))
    assert run(["policy", "lint", str(folder), "--strict"]) == 1
    assert "TrustRootMissing" in capsys.readouterr().out
    assert run(["policy", "lint", str(folder), "--strict", "--trusted-root", f"nowhere={root}"]) == 0


def test_the_ready_policies_have_nothing_wrong_but_that_trust_roots_are_yours(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["policy", "lint", str(CHECKOUT / "policies"), "-o", "json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["checked"] >= 1
    assert {finding["code"] for finding in written["findings"]} <= {"TrustRootMissing", "ReferenceMissing"}
