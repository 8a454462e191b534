"""Policy tests in files: found, read strictly, and rewritten where their expectations are updated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controller.errors import ConfigurationError, InputError
from controller.policy.cases import Case, is_policy_test, parse_cases
from controller.policy.files import read_yaml, yaml_files
from controller.policy.kinds import API_VERSION, CLUSTER_POLICY, EXCEPTION, NAMESPACED_POLICY, POLICY_TEST, TRUST_ROOT

_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_OTHERS = frozenset({CLUSTER_POLICY, NAMESPACED_POLICY, TRUST_ROOT, EXCEPTION})


class CaseLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as a Kubernetes object is read (a time is a string), in which no key may stand twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own name
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping. Raises `yaml.constructor.ConstructorError` for a key that stands twice."""
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for i, (key, _) in enumerate(node.value):
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in keys[:i]:
                problem = f"the key {key.value[:100]!r} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


@dataclass(frozen=True, slots=True)
class CaseFile:
    """One `PolicyTest` document with where it stands: `path`, and the number of its document in the file, from 1."""

    path: Path
    document: int
    cases: tuple[Case, ...]


def read_case_files(directory: Path, *, unfinished: bool = False) -> tuple[CaseFile, ...]:
    """Every policy test below a directory (or in one file), in the order of their paths.

    Raises `InputError` (`PolicyTestMalformed`, `PolicyTestMissing` where there is none) and `ConfigurationError`
    (`PolicyFileUnreadable`), naming file and document. `unfinished` as in `parse_cases`.
    """
    found: list[CaseFile] = []
    for path in yaml_files(directory):
        for number, document in enumerate(read_yaml(path, CaseLoader), start=1):
            where = f"{path}, document {number}"
            if is_policy_test(document):
                found.append(CaseFile(path, number, parse_cases(document, where=where, unfinished=unfinished)))
            else:
                _refuse_misnamed(document, where)
    if not found:
        raise InputError("PolicyTestMissing", f"{directory} holds no {POLICY_TEST}: there is nothing to test")
    return tuple(found)


def _refuse_misnamed(document: Any, where: str) -> None:
    """A test whose kind is misspelt must not be passed over as somebody else's file."""
    if not isinstance(document, Mapping):
        return
    kind, version = document.get("kind"), str(document.get("apiVersion") or "")
    own = version.partition("/")[0] == API_VERSION.partition("/")[0]
    if "cases" in document or (own and kind not in _OTHERS):
        known = ", ".join(sorted({POLICY_TEST, *_OTHERS}))
        raise InputError("PolicyTestMalformed", f"{where}: the kind is {str(kind)[:100]!r}; it must be one of {known}")


def resolved(file: Path, path: str) -> Path:
    """A path that a case names, from the folder of its file. Raises `ConfigurationError` if nothing is there."""
    found = file.parent / path
    if not found.exists():
        raise ConfigurationError("PolicyTestFileMissing", f"{file} names {path}, and there is no {found}")
    return found
