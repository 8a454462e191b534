"""The library in `policies/`: what its READMEs promise, and that each rule of it is there for a reason."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller import app, settings
from controller.cli.policy.running import Runner, open_runner
from controller.errors import AssayError
from controller.policy.casefiles import CaseFile, read_case_files
from controller.policy.cases import Expected
from controller.policy.expectations import differences
from controller.policy.files import load_snapshot
from tests.support import library
from tests.support.commands import assay
from tests.support.fixtures import POLICIES

FOLDERS = sorted(path.parent for path in POLICIES.glob("*/policy.yaml"))
NAMES = [folder.name for folder in FOLDERS]


def test_there_are_ten_policies_and_each_explains_itself() -> None:
    assert len(FOLDERS) == 10
    for folder in FOLDERS:
        readme = (folder / "README.md").read_text()
        for heading in ("## What it demands", "## What to change", "## What it does not protect against"):
            assert heading in readme, folder.name
        (policy,) = yaml.safe_load_all((folder / "policy.yaml").read_text())
        assert policy["metadata"]["name"] == folder.name
        assert f"[{folder.name}]({folder.name}/)" in (POLICIES / "README.md").read_text()


def test_the_library_is_ten_policies_and_nothing_else_to_who_reads_the_folder() -> None:
    snapshot = load_snapshot(POLICIES)
    assert [compiled.policy.identity.name for compiled in snapshot.policies] == NAMES
    assert all(compiled.policy.problems == () for compiled in snapshot.policies)
    assert (len(snapshot.exceptions), dict(snapshot.trust_roots)) == (0, {})


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_each_policy_has_good_cases_and_bad_ones(folder: Path) -> None:
    expected = {
        entry.outcome
        for file in read_case_files(folder)
        for case in file.cases
        if case.expect is not None
        for entry in case.expect.evaluations or ()
    }
    assert expected >= {Expected.SATISFIED, Expected.VIOLATED}


def test_the_library_passes_its_own_tests_in_seconds_and_without_a_network(tmp_path: Path) -> None:
    began = time.monotonic()
    done = assay("policy", "test", POLICIES, "-q", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{len(library.cases())} passed\n"
    assert time.monotonic() - began < 60  # ten times what it may take


def test_the_library_has_nothing_that_lint_finds(tmp_path: Path) -> None:
    done = assay("policy", "lint", POLICIES, folder=tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.guarantee(17)
async def test_guarantee_17_every_case_of_the_library_has_one_verdict_in_webhook_operator_and_command_line(
    tmp_path: Path,
) -> None:
    process = asyncio.to_thread(assay, "policy", "test", POLICIES, "-o", "json", folder=tmp_path)
    command = asyncio.create_task(process)
    said: dict[tuple[str, str], dict[str, library.Said]] = {}
    async with app.open_workers(settings.load(environment={})) as workers:
        for file, case in library.cases():
            ways = said[str(file.path), case.name] = {}
            ways["webhook"] = await library.by_webhook(file.path, case, workers)
            ways["operator"] = await library.by_operator(file.path, case, workers)
    results = json.loads((await command).stdout)["results"]
    for result in results:
        said[result["file"], result["name"]]["command line"] = library.by_command_line(result)
    assert len(results) == len(said) >= 60
    for name, ways in said.items():
        assert set(ways) == {"webhook", "operator", "command line"}
        assert len(set(ways.values())) == 1, (name, ways)


# Mutants: a policy of which a part is taken out must fail its own tests.


def mutants(policy: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The policy, made weaker (or another) in one place at a time."""

    def changed(*path: Any, to: Any = None) -> dict[str, Any]:
        copied: dict[str, Any] = copy.deepcopy(dict(policy))
        target: Any = copied["spec"]
        for part in path[:-1]:
            target = target[part]
        if to is None:
            del target[path[-1]]
        else:
            target[path[-1]] = to
        return copied

    spec = policy["spec"]
    for i, _ in enumerate(spec.get("validations", ())):
        yield f"validations[{i}] removed", changed("validations", i)
        yield f"validations[{i}] always true", changed("validations", i, "expression", to="true")
        yield f"validations[{i}] always false", changed("validations", i, "expression", to="false")
    for i, _ in enumerate(spec.get("attestations", ())):
        yield f"attestations[{i}] removed", changed("attestations", i)
    for i, authority in enumerate(spec.get("authorities", ())):
        if "keyless" in authority:
            anyone = {"issuerRegExp": ".+", "subjectRegExp": ".+"}
            yield f"authorities[{i}] anyone", changed("authorities", i, "keyless", "identities", 0, to=anyone)
    for name in ("signatures", "digest"):
        if name in spec:
            yield f"{name} removed", changed(name)
    if "conditions" in spec["match"]:
        yield "conditions removed", changed("match", "conditions")
    yield "a warning alone", changed("validationActions", to=["Warn"])


async def surviving(runner: Runner, files: tuple[CaseFile, ...], policy: Path) -> bool:
    """Whether every case still passes with this policy in the place of its own."""
    for file in files:
        for case in file.cases:
            assert case.expect is not None
            try:
                ran = await runner.run(file, replace(case, policies=(str(policy),)))
                if differences(case.expect, ran.found):
                    return False
            except AssayError:
                return False
    return True


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
async def test_no_part_of_a_policy_can_go_without_a_case_that_fails(folder: Path, tmp_path: Path) -> None:
    (policy,) = yaml.safe_load_all((folder / "policy.yaml").read_text())
    files = read_case_files(folder)
    found = dict(mutants(policy))
    assert len(found) >= 2
    async with open_runner(settings.load(environment={})) as runner:
        alive = []
        for number, (name, mutant) in enumerate(found.items()):
            file = tmp_path / f"{number}.yaml"
            file.write_text(yaml.safe_dump(mutant))
            if await surviving(runner, files, file):
                alive.append(name)
        unchanged = tmp_path / "unchanged.yaml"
        unchanged.write_text(yaml.safe_dump(policy))
        assert await surviving(runner, files, unchanged)  # a mutant fails by its mutation alone
    assert alive == []
