"""`assay policy test`: what policies say of recorded images, held against what they should say."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

import click

from controller.cli import local, options, render
from controller.cli.policy import reports
from controller.cli.policy.reports import Result, Status
from controller.cli.policy.running import Ran, Runner, open_runner
from controller.errors import AssayError, ConfigurationError, InputError
from controller.policy.casefiles import CaseFile, read_case_files
from controller.policy.cases import Case, Expectation
from controller.policy.expectations import Difference, Found, differences, expectation_of
from controller.policy.rewriting import with_expectations
from controller.review.explanation import About
from controller.settings import Settings

EXIT_PASSED, EXIT_FAILED, EXIT_NOT_RUN = 0, 1, 2


@click.command()
@click.argument("directory", type=click.Path(exists=True, path_type=Path))
@click.option("-k", "keyword", default="", help="Only cases in whose file or name this text stands (any case).")
@click.option("--update", is_flag=True, help="Write what was found into the files, as what is expected from now on.")
@click.option("--online", is_flag=True, help="Let cases without recorded evidence ask their image's registry.")
@click.option("--junit", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit XML, for CI, to this file.")
@click.option("--timeout", default=local.SECONDS, show_default=True, help="Seconds that one case may take.")
@click.option("-q", "--quiet", is_flag=True, help="Print no line for a case that passes.")
@options.output
@options.with_settings("registry_insecure_hosts", "registry_ca_files", "registry_allow_private")
def test(
    load: Callable[..., Settings],
    *,
    directory: Path,
    keyword: str,
    update: bool,
    online: bool,
    junit: Path | None,
    timeout: float,
    quiet: bool,
    form: str,
) -> int:
    """Run the policy tests below DIRECTORY (or in one file): the verdicts that a cluster would give, on a laptop.

    A test is a YAML document of kind PolicyTest beside the policies:

    \b
      apiVersion: assay.dev/v1alpha1
      kind: PolicyTest
      policies: [../policy.yaml]            # files or folders, from the folder of this file
      evidence: {layout: ../../evidence}    # an OCI image layout with images and what is signed about them
      trustRoots: {public-good: ../../evidence/trusted_root.json}
      now: 2026-01-31T12:00:00Z             # the time of the verdict
      cases:
      - name: an unsigned image is denied
        image: ghcr.io/acme/newsletter:0.9  # or object: (a manifest), or file: (one, or an AdmissionReview)
        expect:
          verdict: Deny
          evaluations:
          - {policy: signed-by-key, outcome: Violated, reasons: [SignatureMissing]}

    Everything but `cases` may stand in a case as well; docs/reference/policy-tests.md has all of it. A failed case
    shows what was expected and found, and the value of each part of the rules. Without --online no network is used.

    Exit status: 0 all passed, 1 one failed, 2 a test could not be read or run.
    """
    began = time.perf_counter()
    files = read_case_files(directory, unfinished=update)
    chosen = [
        (file, case) for file in files for case in file.cases if keyword.lower() in f"{file.path} {case.name}".lower()
    ]
    if not chosen:
        raise InputError("PolicyTestMissing", f"no case in {directory} has {keyword!r} in its file or name")
    results = asyncio.run(_run(load(registry_allow_loopback=True), chosen, online=online, timeout=timeout))
    if update:
        results = _update(results)
    if junit is not None:
        _write(junit, results, seconds=time.perf_counter() - began)
    if form == "table":
        reports.print_table(results, quiet=quiet)
    else:
        render.dump(reports.as_json(results), form)
    statuses = {result.status for result in results}
    if Status.FAILED in statuses:
        return EXIT_FAILED
    return EXIT_NOT_RUN if Status.ERROR in statuses else EXIT_PASSED


async def _run(
    settings: Settings, chosen: Sequence[tuple[CaseFile, Case]], *, online: bool, timeout: float
) -> tuple[Result, ...]:
    async with open_runner(settings, online=online, timeout=timeout) as runner:
        return tuple(await asyncio.gather(*(_run_one(runner, file, case) for file, case in chosen)))


async def _run_one(runner: Runner, file: CaseFile, case: Case) -> Result:
    result = Result(file, case, 0.0)
    expect = case.expect
    try:
        ran = await runner.run(file, case, explain=partial(_fails, expect))
        result = replace(result, found=ran.found, seconds=ran.seconds)
        if expect is not None:
            different = differences(expect, ran.found)
            result = replace(result, differences=different, explained=_explained(ran, different))
    except AssayError as exc:
        result = replace(result, error=exc)
    return result


def _fails(expect: Expectation | None, found: Found) -> bool:
    with suppress(InputError):  # it is the case that is wrong then, and there is nothing to explain
        return expect is not None and bool(differences(expect, found))
    return False


def _explained(ran: Ran, different: Sequence[Difference]) -> tuple[About, ...]:
    """The policies that the differences are about."""
    wanted = {str(policy) for difference in different for policy in difference.about}
    explanation = ran.explanation[1] if ran.explanation is not None else ()
    return tuple(
        about for _, policies in explanation for about in policies if str(about.compiled.policy.identity) in wanted
    )


def _update(results: Sequence[Result]) -> tuple[Result, ...]:
    """Write into each file what was found where it is not what was expected. A case that could not run stays."""
    stale = {
        i for i, r in enumerate(results) if r.found is not None and (r.case.expect is None or r.differences or r.error)
    }
    for path in dict.fromkeys(results[i].file.path for i in sorted(stale)):
        new = {
            (r.file.document, r.case.index): expectation_of(r.found, r.case.expect)
            for i, r in enumerate(results)
            if i in stale and r.file.path == path and r.found is not None
        }
        try:
            _replace(path, with_expectations(path.read_bytes().decode(), new, where=str(path)))
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigurationError(
                "PolicyFileUnwritable", f"{path} cannot be rewritten: {type(exc).__name__}"
            ) from exc
    return tuple(
        replace(r, differences=(), explained=(), error=None, updated=True) if i in stale else r
        for i, r in enumerate(results)
    )


def _replace(path: Path, text: str) -> None:
    """The whole file or nothing, with its permissions."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(text.encode())
    shutil.copymode(path, file.name)
    Path(file.name).replace(path)


def _write(junit: Path, results: Sequence[Result], *, seconds: float) -> None:
    try:
        reports.write_junit(junit, results, seconds=seconds)
    except OSError as exc:
        raise ConfigurationError("ReportUnwritable", f"{junit} cannot be written: {exc.strerror}") from exc
