"""`assay policy lint`: what the webhook would refuse or warn of, before anything is applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from controller import app
from controller.cli import options, render
from controller.cli.policy import sarif
from controller.policy.sources import Located, Report, lint_files
from controller.settings import Settings

SCHEMA = "assay.dev/lint/v1alpha1"
EXIT_CLEAN, EXIT_FINDINGS, EXIT_UNREADABLE = 0, 1, 2


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="FILE|DIR...")
@click.option("--strict", is_flag=True, help="Count warnings as findings.")
@click.option(
    "-o", "--output", "form", type=click.Choice(["table", "json", "yaml", "sarif"]), default="table", show_default=True,
    help="A table for people; JSON or YAML for programs; SARIF 2.1.0 for code scanning.",
)  # fmt: skip
@options.with_settings(
    "trusted_root",
    "assay_namespace",
    "assay_image",
    "exception_max_duration",
    "policy_cel_max_length",
    "policy_cel_max_total_length",
    "policy_cel_max_depth",
)
def lint(load: Callable[..., Settings], *, paths: tuple[Path, ...], strict: bool, form: str) -> int:
    """Check policies, trust roots and exceptions in files, as the webhook checks them when they are applied.

    Says of each mistake where it is and how to mend it. Objects of other kinds are passed over, except for Secrets and
    ConfigMaps, which are what references lead to.
    Exit status: 0 clean (warnings allowed, unless --strict), 1 findings, 2 a file that cannot be read.
    """
    settings = load()
    around = replace(app.read_surroundings(settings), now=app.now(), exceptions=settings.exceptions)
    report = lint_files(paths, around, settings.policy)
    if form == "table":
        _print(report)
    elif form == "sarif":
        render.dump(sarif.log(report.findings), "json")
    else:
        render.dump(_document(report), form)
    if any(located.unreadable for located in report.findings):
        return EXIT_UNREADABLE
    return EXIT_FINDINGS if report.errors or (strict and report.warnings) else EXIT_CLEAN


def _print(report: Report) -> None:
    for located in report.findings:
        finding = located.finding
        where = f"{located.path}:{located.place.line}:{located.place.column}"
        subject = str(finding.subject) if finding.subject.kind else "file"
        click.echo(f"{where}: {render.coloured(str(finding.severity))} {finding.code} {subject}")
        click.echo(render.indented(finding.text, "    "))
        if finding.excerpt:
            click.echo(render.indented(finding.excerpt, "      "))
    counted = [_number(report.checked, "object"), _number(report.errors, "error"), _number(report.warnings, "warning")]
    others = f" ({_number(report.others, 'object')} of other kinds passed over)" if report.others else ""
    click.echo(f"{', '.join(counted)}{others}", err=True)


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _document(report: Report) -> dict[str, Any]:
    """The answer for programs: docs/how-to/check-policies.md tells its fields."""
    return {
        "schema": SCHEMA,
        "checked": report.checked,
        "errors": report.errors,
        "warnings": report.warnings,
        "findings": [_entry(located) for located in report.findings],
    }


def _entry(located: Located) -> dict[str, Any]:
    finding = located.finding
    return {
        "severity": str(finding.severity),
        "code": finding.code,
        "object": {
            "kind": finding.subject.kind,
            "namespace": finding.subject.namespace,
            "name": finding.subject.name,
        },
        "field": finding.field,
        "message": finding.message,
        "excerpt": finding.excerpt,
        "file": str(located.path),
        "line": located.place.line,
        "column": located.place.column,
    }
