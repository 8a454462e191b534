"""Files as lint reads them: each finding with file, line and column, and no file that stops the others."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.errors import ConfigurationError
from controller.policy.sources import Report, lint_files
from tests.support.mistakes import ASSAY_NAMESPACE, MISTAKES, by_key, policy, rule, surroundings
from tests.unit.policy import make


def checked(*paths: Path) -> Report:
    return lint_files(paths, surroundings(trust_roots=frozenset({"public-good"})))


def shown(report: Report) -> list[str]:
    return [f"{f.path.name}:{f.place.line}:{f.place.column} {f.finding.code}" for f in report.findings]


def write(path: Path, *objects: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump_all(objects, sort_keys=False))
    return path


def test_each_finding_has_its_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        f"""\
apiVersion: v1
kind: List
items:
- apiVersion: assay.dev/v1alpha1
  kind: ClusterEvidencePolicy
  metadata: {{name: a}}
  spec:
    digest: Resolve
    validationActions: [Deny]
    authorities:
    - name: release
      transparencyLog: Ignore
      key:
        pem: |
{"".join(f"          {line}" + chr(10) for line in make.pem().splitlines())}\
    signatures: {{authorities: [release, security]}}
    validations:
    - expression: |
        size(signatures) > 0 &&
          size(signature) > 1
"""
    )
    assert shown(checked(tmp_path)) == [
        "a.yaml:8:5 ResolveWithDeny",
        "a.yaml:19:18 AuthorityUnknown",
        "a.yaml:23:16 NameUnknown",
    ]


def test_a_file_that_cannot_be_read_is_a_finding_and_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    (tmp_path / "deep.yaml").write_text("[" * 500)
    write(tmp_path / "good.yaml", policy("good"))
    write(tmp_path / "wrong.yaml", policy("wrong", **rule("false")))
    report = checked(tmp_path)
    assert shown(report) == [
        "broken.yaml:2:1 PolicyFileUnreadable",
        "deep.yaml:1:1 PolicyFileUnreadable",
        f"wrong.yaml:{_line(tmp_path / 'wrong.yaml', 'expression')}:5 RuleNeverTrue",
    ]
    assert [located.unreadable for located in report.findings] == [True, True, False]
    assert (report.checked, report.others) == (2, 0)


def _line(path: Path, text: str) -> int:
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def test_other_objects_are_passed_over_and_unknown_kinds_of_assay_s_group_are_not(tmp_path: Path) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    test = {"apiVersion": "assay.dev/v1alpha1", "kind": "PolicyTest", "metadata": {"name": "t"}}
    typo = policy("p") | {"kind": "ClusterEvidencePolicies"}
    old = policy("q") | {"apiVersion": "assay.dev/v1"}
    (tmp_path / "text.yaml").write_text("just words\n")
    write(tmp_path / "all.yaml", pod, test, typo, old)
    report = checked(tmp_path)
    assert [located.finding.code for located in report.findings] == ["KindUnknown", "KindUnknown"]
    assert (report.checked, report.others) == (2, 1)


def test_names_that_stand_twice_are_found_across_files(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", policy("p"))
    write(tmp_path / "b.yaml", policy("p"))
    assert shown(checked(tmp_path)) == ["b.yaml:4:3 PolicyDuplicate"]
    assert shown(checked(tmp_path / "a.yaml", tmp_path)) == ["b.yaml:4:3 PolicyDuplicate"], "a file is read once"


def test_a_key_that_stands_twice_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", policy("p"))
    path.write_text(path.read_text() + "  failurePolicy: Fail\n  failurePolicy: Fail\n")
    (found,) = checked(tmp_path).findings
    assert (found.finding.code, found.place.line) == ("KeyDuplicate", len(path.read_text().splitlines()))


def test_secrets_among_the_files_are_what_references_lead_to_and_are_never_shown(tmp_path: Path) -> None:
    referring = policy("p", authorities=[by_key("release", key={"secretRef": {"name": "keys", "key": "cosign.pub"}})])
    write(tmp_path / "policy.yaml", referring)
    assert [located.finding.code for located in checked(tmp_path).findings] == ["ReferenceMissing"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": ASSAY_NAMESPACE}}
    encoded = base64.b64encode(make.pem().encode()).decode()
    write(tmp_path / "secret.yaml", secret | {"data": {"cosign.pub": encoded}})
    assert checked(tmp_path).findings == ()
    write(tmp_path / "secret.yaml", secret | {"stringData": {"cosign.pub": "hunter2"}})
    (found,) = checked(tmp_path).findings
    assert (found.finding.code, str(found.finding.severity)) == ("KeyMalformed", "warning")
    write(tmp_path / "secret.yaml", secret | {"data": {"cosign.pub": "hunter2!"}})
    (found,) = checked(tmp_path).findings
    assert (found.finding.code, str(found.finding.severity)) == ("ReferenceMalformed", "warning")
    assert found.finding.message == "data.cosign.pub is no base64; use stringData for plain text"
    write(tmp_path / "policy.yaml", policy("p"))
    assert checked(tmp_path).findings == (), "what nobody refers to may be encrypted"


def test_the_findings_of_a_file_are_those_of_the_object(tmp_path: Path) -> None:
    for number, mistake in enumerate(MISTAKES.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder / "policy.yaml", mistake.policy("p"))
        around = surroundings(trust_roots=frozenset({"public-good"}))
        found = [located.finding for located in lint_files([folder], around).findings]
        told = [(str(f.severity), f.code, f.field, f.message, f.excerpt) for f in found]
        assert sorted(told) == sorted(mistake.told)


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="PolicyFileUnreadable"):
        checked(tmp_path / "nowhere")
