"""The CRDs: up to date with their source, bounded, explained, and of one mind with the model and the parser."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from controller.model.policy import (
    Authority,
    Distinct,
    KeylessAuthority,
    PolicySpec,
    SignatureRequirement,
    Validation,
)
from controller.operator.resources import GROUP, RESOURCES, VERSION
from controller.policy.exceptions import parse_exception
from controller.policy.fields import Fields
from controller.policy.parse import parse_policy, parse_trust_root
from controller.policy.references import Materials, ObjectRef

CHART = Path(__file__).parents[3] / "charts" / "assay"
Schema = dict[str, Any]


def _generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location("generate_crds", CHART / "generate_crds.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


GENERATOR = _generator()
CRDS: dict[str, Schema] = GENERATOR.definitions()


def _schema(kind: str) -> Schema:
    crd = next(crd for crd in CRDS.values() if crd["spec"]["names"]["kind"] == kind)
    schema: Schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from _walk(child, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from _walk(schema["items"], f"{path}[]")


def _sample(schema: Schema) -> Any:
    """A value in which every property of the schema is set."""
    match schema["type"]:
        case "object" if "additionalProperties" in schema:
            return {"sample": "value"}
        case "object":
            return {name: _sample(child) for name, child in schema.get("properties", {}).items()}
        case "array":
            return [_sample(schema["items"])]
        case "integer":
            return schema["minimum"] or 1
        case "boolean":
            return True
        case _:
            return schema["enum"][0] if "enum" in schema else "Sample"


@pytest.mark.parametrize("file", sorted(CRDS))
def test_files_are_what_their_source_writes(file: str) -> None:
    assert (CHART / "crds" / file).read_text() == GENERATOR.render(CRDS[file]), "run charts/assay/generate_crds.py"


def test_there_is_no_file_without_source_and_no_kind_unknown_to_the_operator() -> None:
    assert {file.name for file in (CHART / "crds").iterdir()} == set(CRDS)
    assert {(crd["spec"]["names"]["kind"], crd["spec"]["names"]["plural"]) for crd in CRDS.values()} == {
        (resource.kind, resource.plural) for resource in RESOURCES
    }
    for crd in CRDS.values():
        scope = crd["spec"]["scope"]
        resource = next(r for r in RESOURCES if r.kind == crd["spec"]["names"]["kind"])
        assert (crd["spec"]["group"], crd["spec"]["versions"][0]["name"]) == (GROUP, VERSION)
        assert resource.namespaced == (scope == "Namespaced")
        assert crd["spec"]["names"]["categories"] == ["assay"]
        assert crd["spec"]["versions"][0]["subresources"] == {"status": {}}


def test_files_are_plain_yaml_without_anchors() -> None:
    for file in (CHART / "crds").iterdir():
        assert yaml.safe_load(file.read_text())["kind"] == "CustomResourceDefinition"
        assert not any(token in file.read_text() for token in (" &id0", " *id0"))


@pytest.mark.parametrize("kind", [resource.kind for resource in RESOURCES])
def test_every_field_is_explained(kind: str) -> None:
    # Items of a list of plain values are explained by the list.
    unexplained = [
        path
        for path, schema in _walk(_schema(kind))
        if path != "metadata"
        and "description" not in schema
        and not (path.endswith("[]") and schema["type"] == "string")
    ]
    assert unexplained == []


@pytest.mark.guarantee(10)
@pytest.mark.parametrize("kind", [resource.kind for resource in RESOURCES])
def test_every_string_list_and_map_is_bounded(kind: str) -> None:
    spec = _schema(kind)["properties"]["spec"]
    for path, schema in _walk(spec):
        if schema["type"] == "array":
            assert "maxItems" in schema, path
        if schema["type"] == "string" and "enum" not in schema and schema.get("format") != "date-time":
            assert "maxLength" in schema, path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path


def test_defaults_are_those_of_the_model() -> None:
    defaults = {
        path: schema["default"]
        for path, schema in _walk(_schema("ClusterEvidencePolicy")["properties"]["spec"])
        if "default" in schema
    }
    spec = PolicySpec()
    authority = Authority("name")
    signatures = SignatureRequirement(())
    keyless = KeylessAuthority(())
    assert defaults == {
        "match": {},
        "validationActions": [str(action) for action in spec.validation_actions],
        "failurePolicy": spec.failure_policy,
        "digest": spec.digest,
        "platforms": spec.platforms,
        "cryptography": spec.cryptography,
        "authorities[].certificate.extendedKeyUsages": ["codeSigning"],
        "authorities[].keyless.trustRootRef": {},
        "authorities[].keyless.trustRootRef.name": keyless.trust_root,
        "authorities[].transparencyLog": authority.transparency_log,
        "authorities[].timestamp": authority.timestamp,
        "signatures.minimum": signatures.minimum,
        "signatures.distinct": Distinct.SIGNER,
        "attestations[].minimum": 1,
        "validations[].reason": Validation("true").reason,
    }


@pytest.mark.guarantee(7)
@pytest.mark.parametrize("kind", ["ClusterEvidencePolicy", "EvidencePolicy"])
def test_every_field_of_a_policy_is_read_or_refused_as_not_supported_yet(kind: str) -> None:
    spec = _sample(_schema(kind)["properties"]["spec"])
    obj = {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": "sample", "namespace": "sample"},
        "spec": spec,
    }
    problems = parse_policy(obj).problems
    assert [problem for problem in problems if problem.code == "FieldUnknown"] == []
    refused = {problem.field for problem in problems if problem.code == "NotSupportedYet"}
    assert {"spec.authorities[0].kms"} <= refused


@pytest.mark.guarantee(7)
@pytest.mark.parametrize("kind", [resource.kind for resource in RESOURCES])
def test_no_field_is_read_from_files_that_a_cluster_would_prune(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A field that the schema does not have vanishes from what is applied: a demand less, without a word.
    asked: set[str] = set()
    for name in ("has", "raw"):
        real = getattr(Fields, name)

        def asking(fields: Fields, field: str, real: Any = real) -> Any:
            asked.add(re.sub(r"\[\d+\]", "[]", fields.at(field)))
            return real(fields, field)

        monkeypatch.setattr(Fields, name, asking)
    spec = _schema(kind)["properties"]["spec"]
    parse = {"TrustRoot": parse_trust_root, "EvidenceException": parse_exception}.get(kind, parse_policy)
    parse(
        {
            "apiVersion": "assay.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": "sample", "namespace": "sample"},
            "spec": _sample(spec),
        }
    )
    served = {path for path, _ in _walk(spec, "spec")}
    maps = tuple(f"{path}." for path, schema in _walk(spec, "spec") if "additionalProperties" in schema)
    assert len(asked) > 5
    assert sorted(path for path in asked - served if not path.startswith(maps)) == []


DOCUMENT = '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'
READ_SOURCES = {"secretRef": "Secret", "configMapRef": "ConfigMap"}
MATERIALS = Materials(
    "assay-system",
    {ObjectRef(kind, "assay-system", "roots"): {"root.json": DOCUMENT.encode()} for kind in READ_SOURCES.values()},
)


@pytest.mark.parametrize("source", sorted(_schema("TrustRoot")["properties"]["spec"]["properties"]))
def test_every_source_of_a_trust_root_is_read(source: str) -> None:
    value = _sample(_schema("TrustRoot")["properties"]["spec"]["properties"][source])
    if source in READ_SOURCES:
        value = {"name": "roots", "key": "root.json"}
    if source == "trustedRoot":
        value = DOCUMENT
    metadata = {"name": "sample"}
    parsed = parse_trust_root(
        {"apiVersion": "assay.dev/v1alpha1", "kind": "TrustRoot", "metadata": metadata, "spec": {source: value}},
        MATERIALS,
    )
    if source == "trustedRoot" or source in READ_SOURCES:
        assert not isinstance(parsed, tuple)
    elif source in {"certificateAuthorities", "publicKeys"}:  # the sample is no PEM, and was read as such
        assert isinstance(parsed, tuple)
        assert {problem.code for problem in parsed} <= {"ChainMalformed", "KeyMalformed", "TimeMalformed"}
    else:  # neither are the sample's durations any, nor its address
        assert isinstance(parsed, tuple)
        assert {problem.code for problem in parsed} <= {"DurationMalformed", "TufRootMalformed", "UrlMalformed"}
