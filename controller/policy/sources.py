"""Files as `assay policy lint` reads them: everything that can be read is, and each finding gets its line and column.

`files` reads for verdicts and stops at the first thing that is wrong; here nothing stops at anything.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controller.errors import ConfigurationError
from controller.policy.files import DEFAULT_NAMESPACE, FileObject, read_yaml, values_of, yaml_files
from controller.policy.kinds import API_VERSION, NAMESPACED_POLICY, POLICY_TEST
from controller.policy.lint import Finding, Severity, Subject, Surroundings, lint_all, subject_of
from controller.policy.places import Place, duplicate_keys, place_of
from controller.policy.references import CONFIG_MAP, SECRET, Materials, ObjectRef, Value, wanted
from controller.settings import PolicySettings

GROUP = API_VERSION.partition("/")[0]
NOT_IN_A_CLUSTER = frozenset({POLICY_TEST})  # file formats of Assay's own that are no resources
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_START = Place(1, 1)
_PLACE = re.compile(r", line (\d+), column (\d+): ")  # in a message about YAML


@dataclass(frozen=True, slots=True)
class Located:
    """A finding and where it is. `unreadable`: of a file that could not be read, whatever is in it."""

    path: Path
    place: Place
    finding: Finding
    unreadable: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, sorted by place; how many objects were checked, and how many are none of Assay's kinds."""

    findings: tuple[Located, ...]
    checked: int
    others: int

    @property
    def errors(self) -> int:
        """The number of errors."""
        return sum(located.finding.severity is Severity.ERROR for located in self.findings)

    @property
    def warnings(self) -> int:
        """The number of warnings."""
        return len(self.findings) - self.errors


@dataclass(frozen=True, slots=True)
class _Object:
    """One object of a file: its content, and the node that it was made of."""

    path: Path
    document: int
    content: Mapping[str, Any]
    node: yaml.Node
    lines: list[str]

    def located(self, finding: Finding) -> Located:
        return Located(self.path, place_of(self.node, finding.field, finding.message, self.lines), finding)


def lint_files(paths: Iterable[Path], around: Surroundings, limits: PolicySettings | None = None) -> Report:
    """Check every object of Assay's kinds in these files and below these directories.

    Secrets and ConfigMaps among them are what references lead to. A file that cannot be read is a finding
    (`PolicyFileUnreadable`), and the others are checked. Raises `ConfigurationError` for a path that is not there.
    """
    files = dict.fromkeys(file for path in paths for file in yaml_files(path))
    found: list[Located] = []
    objects = [obj for path in files for obj in _read(path, found)]
    own = [obj for obj in objects if _is_own(obj.content)]
    namespace = around.installation.namespace
    materials, unread = _materials(objects, wanted([obj.content for obj in own], namespace=namespace), namespace)
    around = dataclasses.replace(around, materials=materials)
    for obj, findings in zip(own, lint_all([obj.content for obj in own], around, limits), strict=True):
        found += map(obj.located, findings)
        found += (
            Located(obj.path, place, Finding(Severity.ERROR, "KeyDuplicate", subject_of(obj.content), "", _twice(key)))
            for key, place in duplicate_keys(obj.node)
        )
    found += unread
    found.sort(key=lambda each: (str(each.path), each.place, each.finding.severity, each.finding.code))
    material = {SECRET, CONFIG_MAP}
    others = [o for o in objects if not _is_own(o.content) and o.content.get("kind") not in material]
    return Report(tuple(found), checked=len(own), others=len(others))


def _twice(key: str) -> str:
    return f"the key {key[:100]!r} stands twice in one mapping, and only the last would count; remove one"


def _read(path: Path, found: list[Located]) -> Iterator[_Object]:
    nodes: list[yaml.Node] = []

    class Recording(_LOADER):  # type: ignore[misc]  # the C loader where there is one
        """The loader, keeping what it makes documents of."""

        def construct_document(self, node: yaml.Node) -> Any:
            nodes.append(node)
            return super().construct_document(node)

    try:
        documents = read_yaml(path, Recording)
        lines = path.read_text(errors="replace").splitlines()
    except (ConfigurationError, OSError) as exc:
        message = exc.message if isinstance(exc, ConfigurationError) else f"{path} cannot be read: {type(exc).__name__}"
        finding = Finding(Severity.ERROR, "PolicyFileUnreadable", Subject("", "", ""), "", message)
        place = _PLACE.search(message)
        found.append(Located(path, Place(int(place[1]), int(place[2])) if place else _START, finding, unreadable=True))
        return
    for number, (content, node) in enumerate(zip(documents, nodes, strict=True), 1):
        for obj, of in _objects(content, node):
            yield _Object(path, number, obj, of, lines)


def _objects(content: Any, node: yaml.Node) -> Iterator[tuple[Mapping[str, Any], yaml.Node]]:
    """The Kubernetes objects of a document, `List`s taken apart."""
    if not isinstance(content, Mapping):
        return
    items = content.get("items")
    if content.get("kind") == "List" and content.get("apiVersion") == "v1" and isinstance(items, list):
        entries = next((v.value for k, v in getattr(node, "value", ()) if k.value == "items"), ())
        for item, of in zip(items, entries, strict=False):
            yield from _objects(item, of)
    elif content.get("kind") not in NOT_IN_A_CLUSTER:
        yield _placed(content), node


def _placed(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object that names no namespace is in `default`, as `kubectl apply` has it."""
    metadata = content.get("metadata")
    namespaced = content.get("kind") in {NAMESPACED_POLICY, SECRET, CONFIG_MAP}
    if namespaced and isinstance(metadata, Mapping) and not metadata.get("namespace"):
        return {**content, "metadata": {**metadata, "namespace": DEFAULT_NAMESPACE}}
    return content


def _is_own(content: Mapping[str, Any]) -> bool:
    return str(content.get("apiVersion")).partition("/")[0] == GROUP


def _materials(
    objects: Iterable[_Object], refs: Collection[ObjectRef], namespace: str
) -> tuple[Materials, list[Located]]:
    """What the Secrets and ConfigMaps that are referred to hold, and what cannot be read of them.

    That is a warning: in a repository they may be encrypted (SOPS and its like), and are read by what puts them there.
    """
    values: dict[ObjectRef, Mapping[str, Value]] = {}
    unread: dict[ObjectRef, str] = {}
    found: list[Located] = []
    for obj in objects:
        subject = subject_of(obj.content)
        ref = ObjectRef(subject.kind, subject.namespace, subject.name)
        if obj.content.get("apiVersion") != "v1" or ref not in refs:
            continue
        file_object = FileObject(obj.path, obj.document, obj.content)
        try:
            values[ref] = values_of(file_object)
        except ConfigurationError as exc:
            unread[ref] = message = exc.message.removeprefix(f"{file_object.where}: ")
            found.append(obj.located(Finding(Severity.WARNING, exc.code, subject, "data", message)))
    return Materials(namespace, values, unread), found
