"""`assay policy test` as its users meet it: a process with exit status, a table, and files for programs."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from controller.demo import story
from controller.demo.registry import EmbeddedRegistry, Layout
from tests.support.commands import assay
from tests.support.exceptions import DAY, NOW, exception, stamp
from tests.support.fixtures import DEMO_LAYOUT

LAYOUT = json.loads((DEMO_LAYOUT / "index.json").read_text())["manifests"]
HEAD = f"""# what this folder is about
apiVersion: assay.dev/v1alpha1
kind: PolicyTest
policies: [../policies]
evidence: {{layout: {DEMO_LAYOUT}}}
trustRoots: {{demo: {DEMO_LAYOUT}/trusted_root.json}}
cases:
"""
GOOD = """\
- name: signed   # by the release key
  image: registry.acme.example/acme/shop:1.4
  expect:
    verdict: Allow
    warnings: []
    evaluations:
    - {policy: release-signed, outcome: Satisfied}
    - {policy: no-log4shell, outcome: Satisfied}
    - {policy: checkout-by-its-workflow, outcome: NotMatched}
- name: vulnerable
  image: registry.acme.example/acme/search:3.2
  expect:
    verdict: Deny
    evaluations:
    - {policy: release-signed, outcome: Satisfied}
    - policy: no-log4shell
      outcome: Violated
      reasons: [{code: VulnerableComponent, rule: "validations[0]", message: Log4Shell}]
"""
WRONG = """\
- name: nobody signed it
  image: registry.acme.example/acme/newsletter:0.9
  expect:
    verdict: Allow   # hoped for
    evaluations:
    - {policy: release-signed, outcome: Satisfied}
    - {policy: no-log4shell, outcome: Violated, reasons: [AttestationMissing]}
"""


class Desk:
    """A folder with the demo's policies, and tests of them beside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tests = folder / "tests"
        self.tests.mkdir()
        self.file = self.tests / "cases.yaml"
        story.write_policies(folder)

    def run(self, cases: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
        """Write the cases and test them."""
        self.file.write_text(HEAD + cases)
        return self.again(*options)

    def again(self, *options: str | Path) -> subprocess.CompletedProcess[str]:
        """Test what is there."""
        return assay("policy", "test", self.tests, *options, folder=self.folder)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_cases_that_hold_pass_without_a_network(desk: Desk) -> None:
    done = desk.run(GOOD)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"passed   {desk.file}: signed\npassed   {desk.file}: vulnerable\n2 passed\n"


def test_a_wrong_expectation_fails_and_shows_what_was_expected_and_found(desk: Desk) -> None:
    done = desk.run(GOOD + WRONG, "-q")
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"failed   {desk.file}: nobody signed it"
    assert "    - expected  Allow" in lines
    assert "    + found     Deny" in lines
    assert any(line.startswith("    + found     Violated: SignatureMissing at signatures (") for line in lines)
    assert lines[-1] == "2 passed, 1 failed"


def test_a_failing_case_names_the_rule_and_what_its_parts_came_to(desk: Desk) -> None:
    done = desk.run(GOOD.replace("VulnerableComponent", "SomethingElse"), "-q")
    assert done.returncode == 1
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert any("VulnerableComponent at validations[0]" in line for line in lines)
    assert "validations[0] is false" in lines
    assert any(line.split() == ["size(variables.bad)", "2"] for line in lines)  # in both SBOMs
    assert any("log4j-core@2.14.1" in line for line in lines)
    assert not any("release-signed (Deny)" in line for line in lines)  # as expected, so nobody asks why
    wrong = GOOD.replace(
        "checkout-by-its-workflow, outcome: NotMatched", "checkout-by-its-workflow, outcome: Satisfied"
    )
    done = desk.run(wrong, "-q")
    why = "not images: none of */acme/checkout, */acme/checkout-fork matches registry.acme.example/acme/shop"
    assert why in done.stdout


def test_programs_get_json_with_a_schema(desk: Desk) -> None:
    done = desk.run(GOOD + WRONG, "-o", "json")
    shown = json.loads(done.stdout)
    assert done.returncode == 1
    assert set(shown) == {"schema", "passed", "failed", "error", "updated", "results"}
    assert shown["schema"] == "assay.dev/policy-test-results/v1alpha1"
    assert (shown["passed"], shown["failed"], shown["error"], shown["updated"]) == (2, 1, 0, 0)
    failed = shown["results"][2]
    assert (failed["status"], failed["found"]["verdict"]) == ("failed", "Deny")
    codes = {e["policy"]: [r["code"] for r in e["reasons"]] for e in failed["found"]["evaluations"]}
    assert codes["ClusterEvidencePolicy/release-signed"] == ["SignatureMissing"]
    assert {d["what"] for d in failed["differences"]} >= {"verdict"}


def test_ci_gets_junit_xml(desk: Desk) -> None:
    report = desk.folder / "junit.xml"
    done = desk.run(GOOD + WRONG + "- {name: broken, image: 'a/b:1', policies: [../gone], expect: {verdict: Deny}}\n",
                    "--junit", report)  # fmt: skip
    assert done.returncode == 1
    root = ET.fromstring(report.read_text())  # noqa: S314 - our own
    assert (root.tag, root.attrib["tests"], root.attrib["failures"], root.attrib["errors"]) == (
        "testsuites",
        "4",
        "1",
        "1",
    )
    (suite,) = root
    found: dict[str, Any] = {case.attrib["name"]: [child.tag for child in case] for case in suite}
    assert found == {"signed": [], "vulnerable": [], "nobody signed it": ["failure"], "broken": ["error"]}
    assert "SignatureMissing" in str(suite[2][0].text)
    assert suite[3][0].attrib["type"] == "PolicyTestFileMissing"


def test_update_writes_what_was_found_and_then_the_cases_pass(desk: Desk) -> None:
    unfinished = "- name: to be filled in\n  image: registry.acme.example/acme/reports:1.1\n"
    done = desk.run(GOOD + WRONG + unfinished, "--update")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("2 passed, 2 updated\n")
    text = desk.file.read_text()
    assert text.startswith(HEAD + GOOD)  # with every comment
    written = yaml.safe_load(text)["cases"]
    assert written[2]["expect"]["verdict"] == "Deny"
    assert {"policy": "checkout-by-its-workflow", "outcome": "NotMatched"} in written[3]["expect"]["evaluations"]
    assert desk.again("-q").stdout == "4 passed\n"
    assert desk.again("--update").returncode == 0
    assert desk.file.read_text() == text


def test_k_chooses_cases_by_name_and_choosing_none_is_an_error(desk: Desk) -> None:
    assert desk.run(GOOD + WRONG, "-k", "VULNERABLE").stdout.endswith("vulnerable\n1 passed\n")
    done = desk.again("-k", "nothing like it")
    assert (done.returncode, done.stdout) == (2, "")
    assert "PolicyTestMissing" in done.stderr


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        ("- {name: a, image: 'a/b:1'}\n", "cases[0].expect is required"),
        ("- {name: a, image: 'a/b:1', expcet: {verdict: Deny}}\n", "did you mean 'expect'?"),
        (" []\n", "must be a list of at least one case"),
    ],
)
def test_a_test_that_cannot_be_read_is_never_a_pass(desk: Desk, cases: str, said: str) -> None:
    done = desk.run(cases)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("assay: PolicyTestMalformed: ")
    assert said in done.stderr


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("evidence: {}, expect: {verdict: Deny}", "EvidenceMissing"),
        ("evidence: {layout: ../policies}, expect: {verdict: Deny}", "LayoutUnreadable"),
        ("policies: [../tests], expect: {verdict: Deny}", "NoPolicies"),
        ("trustRoots: {demo: cases.yaml}, expect: {verdict: Deny}", "TrustRootMalformed"),
        ("expect: {evaluations: [{policy: release-singed, outcome: NotMatched}]}", "ExpectationUnknown"),
    ],
)
def test_a_case_that_cannot_be_run_is_an_error_and_no_verdict(desk: Desk, case: str, code: str) -> None:
    done = desk.run(GOOD + f"- {{name: broken, image: 'registry.acme.example/acme/shop:1.4', {case}}}\n")
    assert done.returncode == 2
    assert f"error    {desk.file}: broken\n  {code}: " in done.stdout
    assert done.stdout.endswith("2 passed, 1 error\n")


def test_an_exception_lets_in_until_it_ends_and_not_after(desk: Desk) -> None:
    policies = [{"kind": "ClusterEvidencePolicy", "name": name} for name in ("release-signed", "no-log4shell")]
    granted = exception(policies=policies, images=["registry.acme.example/acme/newsletter"], expires=stamp(NOW + DAY))
    (desk.folder / "exception.json").write_text(json.dumps(granted))
    image = "image: registry.acme.example/acme/newsletter:0.9"
    written = "".join(
        f"- name: {name}\n  {image}\n  exceptions: [../exception.json]\n  now: {stamp(moment)}\n"
        for name, moment in (("before", NOW), ("after", NOW + DAY))
    )
    assert desk.run(written, "--update").returncode == 0
    before, after = (case["expect"] for case in yaml.safe_load(desk.file.read_text())["cases"])
    assert before["verdict"] == "Allow"
    assert {e["policy"]: e["outcome"] for e in before["evaluations"]} == {
        "release-signed": "Exempt", "no-log4shell": "Exempt", "checkout-by-its-workflow": "NotMatched",
    }  # fmt: skip
    assert after["verdict"] == "Deny"
    assert {e["outcome"] for e in after["evaluations"]} == {"Violated", "NotMatched"}
    assert desk.again("-q").stdout == "2 passed\n"


def test_online_asks_the_images_own_registry(desk: Desk) -> None:
    with EmbeddedRegistry(Layout(DEMO_LAYOUT)) as registry:
        cases = (
            f"- {{name: live, image: '{registry.host}/acme/shop:1.4', evidence: {{}}, expect: {{verdict: Allow}}}}\n"
        )
        assert desk.run(cases).returncode == 2
        assert desk.again("--online").stdout == f"passed   {desk.file}: live\n1 passed\n"


def test_bundles_are_judged_in_the_place_of_what_lies_beside_the_image(desk: Desk) -> None:
    digests = {entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"] for entry in LAYOUT}
    shop = digests["acme/shop:1.4"]
    for number, blob in enumerate((DEMO_LAYOUT / "blobs" / "sha256").iterdir()):
        content = blob.read_bytes()
        if content.startswith(b"{") and b'"dsseEnvelope"' in content:
            statement = json.loads(base64.b64decode(json.loads(content)["dsseEnvelope"]["payload"]))
            if statement["subject"][0]["digest"]["sha256"] == shop.removeprefix("sha256:"):
                (desk.tests / f"{number}.bundle").write_bytes(content)
    names = sorted(path.name for path in desk.tests.glob("*.bundle"))
    assert len(names) == 3  # a signature and two SBOMs
    evidence = json.dumps({"layout": str(DEMO_LAYOUT), "bundles": names})
    cases = "".join(
        f"- name: {name}\n  image: registry.acme.example/acme/{name}\n  evidence: {evidence}\n"
        f"  expect: {{verdict: {verdict}}}\n"
        for name, verdict in (("shop:1.4", "Allow"), ("catalog:1.0", "Deny"))  # the latter is signed in the layout
    )
    assert desk.run(cases).stdout.endswith("2 passed\n")


def test_an_empty_folder_tests_nothing_and_says_so(desk: Desk) -> None:
    done = desk.again()
    assert (done.returncode, done.stdout) == (2, "")
    assert "PolicyTestMissing" in done.stderr
