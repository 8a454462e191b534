"""Policies, exceptions and trust roots from a directory: the objects of a cluster, for the CLI and `--policies`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controller.errors import ConfigurationError
from controller.model.policy import TrustRoot
from controller.policy.cases import is_policy_test
from controller.policy.exception_index import build_exceptions
from controller.policy.kinds import API_VERSION, CLUSTER_POLICY, EXCEPTION, NAMESPACED_POLICY, TRUST_ROOT
from controller.policy.references import CONFIG_MAP, SECRET, Materials, ObjectRef, Value, withhold
from controller.policy.snapshot import Snapshot, build_policies
from controller.policy.trust import parse_trust_root
from controller.settings import ClusterSettings, ExceptionSettings, PolicySettings

MAX_FILE_BYTES = 4 * 1024 * 1024  # one file
MAX_FILES = 10_000  # files of one directory
MAX_DEPTH = 100  # nesting of one file
MAX_NODES = 500_000  # values of one file after aliases: bounds a YAML bomb
DEFAULT_NAMESPACE = "default"
ASSAY_NAMESPACE = ClusterSettings().assay_namespace
_MATERIAL = frozenset({SECRET, CONFIG_MAP})
_NAMESPACED = _MATERIAL | {NAMESPACED_POLICY}
_SUFFIXES = (".yaml", ".yml", ".json")
_LAYOUT = "oci-layout"  # the file that makes a folder an OCI image layout
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class FileObject:
    """One object with where it stands: `path` and the number of its document in the file, from 1."""

    path: Path
    document: int
    content: Mapping[str, Any]

    @property
    def where(self) -> str:
        """The place, as people read it."""
        return f"{self.path}, document {self.document}"


def load_snapshot(
    *directories: Path,
    limits: PolicySettings | None = None,
    exceptions: ExceptionSettings | None = None,
    namespace: str = ASSAY_NAMESPACE,
) -> Snapshot:
    """The policies, exceptions and trust roots of directories (or of files), as a snapshot without anything else.

    Secrets and ConfigMaps among the files are what references lead to; `namespace` is where those of cluster-wide
    objects lie, Assay's own. A broken policy is in it with its problems, and so is a broken exception; who approved an
    exception is what the file claims. Raises `ConfigurationError` as `read_objects`
    does, and for a broken trust root with its problem's code.
    """
    policies: list[Mapping[str, Any]] = []
    granted: list[Mapping[str, Any]] = []
    roots: dict[str, TrustRoot] = {}
    objects = read_objects(*directories)
    materials = Materials(namespace, {_ref(obj): values_of(obj) for obj in objects if obj.content["kind"] in _MATERIAL})
    for obj in objects:
        if obj.content["kind"] in _MATERIAL:
            continue
        if obj.content["kind"] == EXCEPTION:
            granted.append(obj.content)
            continue
        if obj.content["kind"] != TRUST_ROOT:
            policies.append(obj.content)
            continue
        root = parse_trust_root(obj.content, materials)
        if not isinstance(root, TrustRoot):
            problem = root[0]
            if problem.code == "TufUnread":
                option = f"--trusted-root {obj.content['metadata']['name']}=FILE"
                message = (
                    f"{obj.where}: only Assay in a cluster reads TUF repositories; give the document with {option}"
                )
                raise ConfigurationError("TufUnread", message)
            raise ConfigurationError(problem.code, f"{obj.where}: {problem.field} {problem.message}")
        roots[root.name] = root
    return Snapshot(
        policies=build_policies(policies, limits=limits, materials=materials),
        exceptions=build_exceptions(granted, settings=exceptions, claimed=True),
        trust_roots=roots,
    )


def load_objects(*directories: Path) -> list[Mapping[str, Any]]:
    """Assay's own objects of directories, as a cluster would hold them. Raises as `read_objects` does."""
    return [obj.content for obj in read_objects(*directories) if obj.content["kind"] not in _MATERIAL]


def read_objects(*directories: Path) -> list[FileObject]:
    """Every object in the YAML and JSON files below directories, in the order of their paths; `List`s are taken apart.

    A file in several of them is read once; `PolicyTest`s are left out, since they lie beside the policies.
    An object without the namespace that its kind has is in `default`, as `kubectl apply` does. Raises
    `ConfigurationError` (`PolicyFileUnreadable`, `KindUnknown`, `NameMissing`, `PolicyDuplicate`), naming file and
    document.
    """
    found: dict[tuple[str, str, str], FileObject] = {}
    for path in dict.fromkeys(path for directory in directories for path in yaml_files(directory)):
        for number, content in enumerate(read_yaml(path), start=1):
            if content is None or is_policy_test(content):
                continue
            for obj in _objects(path, number, content):
                name = _name(obj)
                if name in found:
                    message = f"{obj.where}: {name[0]} {name[2]} is in {found[name].where} already"
                    raise ConfigurationError("PolicyDuplicate", message)
                found[name] = obj
    return list(found.values())


def _name(obj: FileObject) -> tuple[str, str, str]:
    metadata = obj.content["metadata"]
    name, namespace = metadata.get("name"), metadata.get("namespace", "")
    if not isinstance(name, str) or not name or not isinstance(namespace, str):
        raise ConfigurationError("NameMissing", f"{obj.where}: metadata.name is missing or no string")
    return (str(obj.content["kind"]), namespace if obj.content["kind"] in _NAMESPACED else "", name)


def _ref(obj: FileObject) -> ObjectRef:
    return ObjectRef(*_name(obj))


def values_of(obj: FileObject) -> Mapping[str, Value]:
    """The data of a Secret or ConfigMap, private keys withheld. No message quotes a value.

    Raises `ConfigurationError` (`ReferenceMalformed`).
    """
    values: dict[str, Value] = {}
    for name in ("data", "stringData"):
        given = obj.content.get(name) or {}
        if not isinstance(given, Mapping) or not all(isinstance(text, str) for text in given.values()):
            raise ConfigurationError("ReferenceMalformed", f"{obj.where}: {name} is no object of strings")
        for key, text in given.items():
            try:
                encoded = name == "data" and obj.content["kind"] == SECRET
                content = base64.b64decode(text, validate=True) if encoded else text.encode(errors="replace")
            except (binascii.Error, ValueError):
                message = f"{obj.where}: data.{str(key)[:100]} is no base64; use stringData for plain text"
                raise ConfigurationError("ReferenceMalformed", message) from None  # its message quotes the value
            values[str(key)] = withhold(content)
    return values


def yaml_files(directory: Path) -> list[Path]:
    """The YAML and JSON files below a directory, sorted; of a file, itself.

    An OCI image layout among its folders holds images, and its JSON files are left out.
    Raises `ConfigurationError` (`PolicyFileUnreadable`).
    """
    if directory.is_file():
        return [directory]
    if not directory.is_dir():
        raise ConfigurationError("PolicyFileUnreadable", f"{directory} is no directory")
    layouts = {path.parent for path in directory.rglob(_LAYOUT)}
    files = sorted(
        path
        for path in directory.rglob("*")
        if path.suffix in _SUFFIXES and path.is_file() and layouts.isdisjoint(path.parents)
    )
    if len(files) > MAX_FILES:
        raise ConfigurationError("PolicyFileUnreadable", f"{directory} has more than {MAX_FILES} policy files")
    return files


def read_yaml(path: Path, loader: Any = _LOADER) -> list[Any]:
    """The documents of a file, within bounds. JSON is read as YAML, of which it is a part.

    Raises `ConfigurationError` (`PolicyFileUnreadable`) naming the place.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError("PolicyFileUnreadable", f"{path} has more than {MAX_FILE_BYTES} bytes")
        content = path.read_bytes()
        _check_depth(content)
        documents = list(yaml.load_all(content, loader))
        _check_size(documents)
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(exc, "problem", None) or "no valid YAML"
        raise ConfigurationError("PolicyFileUnreadable", f"{path}{place}: {problem}") from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise ConfigurationError("PolicyFileUnreadable", f"{path} cannot be read: {type(exc).__name__}") from exc
    return documents


def _check_depth(content: bytes) -> None:
    """Refuse deep nesting before anything is built of it: libyaml's composer recurses in C and overflows the stack."""
    depth = 0
    for event in yaml.parse(content, _LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError("too deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_size(documents: list[Any]) -> None:
    """Count values as often as they are referred to, so that nested aliases cannot make much of little."""
    count, waiting = 0, list(documents)
    while waiting:
        value = waiting.pop()
        count += 1
        if count > MAX_NODES:
            raise ValueError("too many values")
        if isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _objects(path: Path, number: int, content: Any) -> Iterator[FileObject]:
    where = f"{path}, document {number}"
    if not isinstance(content, Mapping):
        raise ConfigurationError("KindUnknown", f"{where}: not a Kubernetes object")
    if content.get("kind") == "List" and content.get("apiVersion") == "v1":
        items = content.get("items") or []
        for item in items if isinstance(items, list) else [items]:
            yield from _objects(path, number, item)
        return
    known = (CLUSTER_POLICY, NAMESPACED_POLICY, EXCEPTION, TRUST_ROOT)
    version = "v1" if content.get("kind") in _MATERIAL else API_VERSION
    if content.get("apiVersion") != version or content.get("kind") not in {*known, *_MATERIAL}:
        found = f"{str(content.get('apiVersion'))[:100]} {str(content.get('kind'))[:100]}"
        raise ConfigurationError("KindUnknown", f"{where}: {found} is none of {', '.join(known)} of {API_VERSION}")
    metadata = content.get("metadata")
    if not isinstance(metadata, Mapping):
        raise ConfigurationError("NameMissing", f"{where}: the object has no metadata")
    if content["kind"] in _NAMESPACED and not metadata.get("namespace"):
        content = {**content, "metadata": {**metadata, "namespace": DEFAULT_NAMESPACE}}
    yield FileObject(path=path, document=number, content=content)
