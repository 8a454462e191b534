"""What `assay policy test` tells: a line a case for people, JSON with a schema for programs, JUnit XML for CI."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import click

from controller.cli import render
from controller.cli.policy import explaining
from controller.errors import AssayError
from controller.policy.casefiles import CaseFile
from controller.policy.cases import Case
from controller.policy.expectations import Difference, Found, FoundEvaluation
from controller.review.explanation import About

SCHEMA = "assay.dev/policy-test-results/v1alpha1"
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2


class Status(StrEnum):
    """What became of a case."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    UPDATED = "updated"


@dataclass(frozen=True, slots=True)
class Result:
    """One case. `found` is None where it could not be run (`error` says why).

    `explained` are the policies that a difference is about, with each image.
    """

    file: CaseFile
    case: Case
    seconds: float
    found: Found | None = None
    error: AssayError | None = None
    differences: tuple[Difference, ...] = ()
    explained: tuple[About, ...] = ()
    updated: bool = False

    @property
    def status(self) -> Status:
        """What became of it."""
        if self.error is not None:
            return Status.ERROR
        if self.updated:
            return Status.UPDATED
        return Status.FAILED if self.differences else Status.PASSED


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Schema `assay.dev/policy-test-results/v1alpha1` (docs/reference/policy-tests.md)."""
    return {
        "schema": SCHEMA,
        **{str(status): sum(r.status is status for r in results) for status in Status},
        "results": [_result(result) for result in results],
    }


def print_table(results: Iterable[Result], *, quiet: bool) -> None:
    """A line a case, and below one that failed what was expected, what was found, and why."""
    results = tuple(results)
    for result in results:
        if quiet and result.status is Status.PASSED:
            continue
        click.echo(f"{render.coloured(str(result.status)):7}  {result.file.path}: {result.case.name}")
        if result.error is not None:
            click.echo(f"  {result.error}")
        for difference in result.differences:
            click.echo(f"  {difference.what}")
            click.echo(f"    - expected  {difference.expected}")
            click.echo(f"    + found     {difference.found}")
        for about in result.explained:
            for line in explaining.about_lines(about):
                click.echo(f"  {line}")
    counts = [(str(status), sum(r.status is status for r in results)) for status in Status]
    click.echo(", ".join(f"{count} {word}" for word, count in counts if count or word == "passed"))


def write_junit(file: Path, results: Sequence[Result], *, seconds: float) -> None:
    """JUnit's XML as CI systems read it: a `testsuite` a file, a `testcase` a case."""
    root = ET.Element("testsuites", _counts("assay policy test", results, seconds))
    for path in dict.fromkeys(result.file.path for result in results):
        own = [result for result in results if result.file.path == path]
        suite = ET.SubElement(root, "testsuite", _counts(str(path), own, sum(r.seconds for r in own)))
        for result in own:
            about = {"classname": str(path), "name": _xml(result.case.name), "time": f"{result.seconds:.3f}"}
            case = ET.SubElement(suite, "testcase", about)
            if result.error is not None:
                error = ET.SubElement(case, "error", {"type": result.error.code, "message": _xml(result.error)})
                error.text = _xml(result.error)
            elif result.status is Status.FAILED:
                first = result.differences[0]
                message = f"{first.what}: expected {first.expected}, found {first.found}"
                failure = ET.SubElement(case, "failure", {"type": "Difference", "message": _xml(message)})
                failure.text = _xml("\n".join(_lines(result)))
    ET.indent(root)
    file.write_bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _lines(result: Result) -> Iterable[str]:
    for difference in result.differences:
        yield difference.what
        yield f"- expected  {difference.expected}"
        yield f"+ found     {difference.found}"
    for about in result.explained:
        yield from explaining.about_lines(about)


def _counts(name: str, results: Sequence[Result], seconds: float) -> dict[str, str]:
    return {
        "name": _xml(name),
        "tests": str(len(results)),
        "failures": str(sum(r.status is Status.FAILED for r in results)),
        "errors": str(sum(r.status is Status.ERROR for r in results)),
        "skipped": "0",
        "time": f"{seconds:.3f}",
    }


def _xml(text: object) -> str:
    return _NOT_XML.sub("\ufffd", str(text))


def _result(result: Result) -> dict[str, Any]:
    found = result.found
    return {
        "file": str(result.file.path),
        "name": result.case.name,
        "status": str(result.status),
        "seconds": round(result.seconds, 3),
        "error": {"code": result.error.code, "message": result.error.message} if result.error is not None else None,
        "found": {
            "verdict": str(found.verdict),
            "evaluations": [_evaluation(evaluation) for evaluation in found.evaluations],
            "warnings": list(found.warnings),
        }
        if found is not None
        else None,
        "differences": [{"what": d.what, "expected": d.expected, "found": d.found} for d in result.differences],
        "explanations": [explaining.about_json(about) for about in result.explained],
    }


def _evaluation(evaluation: FoundEvaluation) -> dict[str, Any]:
    return {
        "policy": str(evaluation.policy),
        "image": evaluation.subject.image,
        "container": evaluation.subject.container,
        "platform": evaluation.platform or None,
        "outcome": str(evaluation.outcome),
        "reasons": [{"code": r.code, "rule": r.rule, "message": r.message} for r in evaluation.reasons],
    }
