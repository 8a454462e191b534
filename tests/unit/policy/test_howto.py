"""The examples of docs/how-to/write-a-policy.md: each compiles, admits what is good, and refuses what is bad."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.model.decision import Outcome
from tests.unit.documents.predicates import load
from tests.unit.policy.make import DIGEST, compiled
from tests.unit.policy.test_documents import (
    CYCLONEDX,
    SLSA,
    SLSA_0_2,
    VULN,
    config,
    fixture,
    judge,
    read,
    vex,
)

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "write-a-policy.md"
SCANNED = datetime(2026, 1, 6, tzinfo=UTC)
CLEARED = [{"vulnerability": {"name": name}} for name in ("CVE-2021-44228", "CVE-2025-0001")]
AFFECTED = [{"vulnerability": {"name": "CVE-2021-44228"}, "status": "affected"}]
OTHER_IMAGE = [CLEARED[0] | {"products": [{"@id": "pkg:oci/other"}]}, CLEARED[1]]
LABELLED = (("org.opencontainers.image.source", "https://github.com/acme/app"),)


def examples() -> dict[str, dict[str, Any]]:
    """The spec under each heading of the page."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)[1:]
    sections = dict(zip(parts[0::2], parts[1::2], strict=True))
    return {
        title: yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0]) for title, text in sections.items()
    }


def package(**changes: Any) -> Any:
    """An SBOM of one component."""
    component = {
        "type": "library",
        "name": "x",
        "version": "1",
        "purl": "pkg:npm/x@1",
        "licenses": [{"expression": "MIT"}],
    }
    components = [{name: value for name, value in (component | changes).items() if value is not None}]
    return read(CYCLONEDX, load("cyclonedx-1.7") | {"components": components})


BUILT, SCAN, SBOM, STARTS = examples()
CASES: list[tuple[str, list[Any], dict[str, Any], list[int]]] = [
    (BUILT, [fixture(SLSA, "slsa-1-cloud-build")], {}, []),
    (BUILT, [fixture(SLSA_0_2, "slsa-0.2-buildkit")], {}, [0, 1]),
    (SCAN, [fixture(VULN, "trivy"), vex(*CLEARED)], {"now": SCANNED}, []),
    (SCAN, [fixture(VULN, "trivy"), vex(*CLEARED)], {"now": SCANNED + timedelta(days=8)}, [0]),
    (SCAN, [fixture(VULN, "trivy"), vex(*AFFECTED)], {"now": SCANNED}, [1]),
    (SCAN, [fixture(VULN, "trivy"), vex(*OTHER_IMAGE)], {"now": SCANNED}, [1]),
    (SBOM, [package()], {}, []),
    (SBOM, [package(version=None, purl="pkg:npm/x")], {}, [2]),
    (SBOM, [package(purl="pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1", version="2.14.1")], {}, [0]),
    (SBOM, [package(licenses=[{"expression": "MIT OR gpl-3.0+"}])], {}, [3]),
    (STARTS, [], {"configs": (config(labels=LABELLED),)}, []),
    (STARTS, [], {"configs": (config(labels=LABELLED, user="root"),)}, [0]),
    (STARTS, [], {"configs": (config(labels=LABELLED, created=datetime(1970, 1, 1, tzinfo=UTC)),)}, [1]),
    (STARTS, [], {"configs": (config(),)}, [2]),
]


@pytest.mark.parametrize(("title", "found", "facts", "broken"), CASES)
def test_an_example_admits_what_is_good_and_names_the_rule_that_is_broken(
    title: str, found: list[Any], facts: dict[str, Any], broken: list[int]
) -> None:
    made = compiled(**examples()[title])
    assert made.policy.problems == ()
    judged = judge(made, *found, **facts)
    assert judged.outcome is (Outcome.VIOLATED if broken else Outcome.SATISFIED), judged.reasons
    assert [reason.rule for reason in judged.violations] == [f"validations[{number}]" for number in broken]


def test_the_page_says_what_a_denial_says() -> None:
    made = compiled(**examples()[SCAN])
    judged = judge(made, fixture(VULN, "trivy"), vex(*AFFECTED), now=SCANNED)
    assert judged.violations[0].message == (
        "CVE-2021-44228 in org.apache.logging.log4j:log4j-core has a fix and is not cleared"
    )
    made = compiled(**examples()[SBOM])
    judged = judge(made, package(licenses=[{"expression": "MIT OR gpl-3.0+"}]))
    assert judged.violations[0].message == "x is under a licence that is not allowed here"


def test_a_digest_in_the_package_url_is_certain() -> None:
    made = compiled(**examples()[SCAN])
    named = {"products": [{"@id": f"pkg:oci/app@{DIGEST}?repository_url=ghcr.io/acme/app"}]}
    assert (
        judge(made, fixture(VULN, "trivy"), vex(*[c | named for c in CLEARED]), now=SCANNED).outcome
        is Outcome.SATISFIED
    )
