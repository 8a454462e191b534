"""Policies from files: the same objects as in a cluster, and mistakes named with file and document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.errors import ConfigurationError
from controller.policy.files import load_objects, load_snapshot
from controller.settings import ExceptionSettings, Seconds
from tests.support.exceptions import NOW, exception
from tests.unit.policy.make import resource

TRUST_ROOT = {
    "apiVersion": "assay.dev/v1alpha1",
    "kind": "TrustRoot",
    "metadata": {"name": "own"},
    "spec": {"trustedRoot": '{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'},
}


def write(directory: Path, name: str, *documents: Any) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump_all(documents))


def test_a_directory_is_read_whole(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", resource("a"), None, resource("b", namespace="shop"))
    write(tmp_path, "deep/er/c.yml", {"apiVersion": "v1", "kind": "List", "items": [resource("c"), TRUST_ROOT]})
    (tmp_path / "d.json").write_text(json.dumps(resource("d")))
    (tmp_path / "README.md").write_text("no policy")
    snapshot = load_snapshot(tmp_path)
    assert [str(c.policy.identity) for c in snapshot.policies] == [
        "ClusterEvidencePolicy/a",
        "ClusterEvidencePolicy/c",
        "ClusterEvidencePolicy/d",
        "EvidencePolicy/shop/b",
    ]
    assert set(snapshot.trust_roots) == {"own"}
    assert len(load_objects(tmp_path)) == 5
    assert len(load_snapshot(tmp_path / "d.json").policies) == 1


def test_a_namespaced_policy_without_a_namespace_is_in_default(tmp_path: Path) -> None:
    obj = resource("a", namespace="x")
    del obj["metadata"]["namespace"]
    write(tmp_path, "a.yaml", obj)
    assert [str(c.policy.identity) for c in load_snapshot(tmp_path).policies] == ["EvidencePolicy/default/a"]


@pytest.mark.guarantee(7)
def test_a_broken_policy_in_a_file_stays_in_force(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", resource("a", digets="Pin"))
    (compiled,) = load_snapshot(tmp_path).policies
    assert [problem.field for problem in compiled.policy.problems] == ["spec.digets"]


@pytest.mark.guarantee(16)
def test_guarantee_16_the_approver_of_an_exception_from_a_file_is_a_claim(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", resource("a"), exception("good"), exception("nobody", approver=None))
    snapshot = load_snapshot(tmp_path, exceptions=ExceptionSettings(exception_max_duration=Seconds(3600)))
    (found,) = snapshot.exceptions
    assert (found.name, found.approver, found.claimed) == ("good", "jane", True)
    assert {name: problems[0].code for name, problems in snapshot.exceptions.idle(now=NOW)} == {
        "nobody": "ApproverMissing",
        "good": "EndTooFar",
    }
    assert list(load_snapshot(tmp_path).exceptions.idle(now=NOW)) == list(snapshot.exceptions.problems.items())
    assert len(load_objects(tmp_path)) == 3


@pytest.mark.parametrize(
    ("documents", "code"),
    [
        ([resource("a"), {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}], "KindUnknown"),
        ([resource("a"), resource("b") | {"apiVersion": "assay.dev/v2"}], "KindUnknown"),
        ([resource("a"), ["x"]], "KindUnknown"),
        ([resource("a"), "text"], "KindUnknown"),
        ([resource("a"), resource("b") | {"metadata": None}], "NameMissing"),
        ([resource("a"), resource("b") | {"metadata": {"name": 1}}], "NameMissing"),
        ([resource("a"), resource("a")], "PolicyDuplicate"),
        ([resource("b"), TRUST_ROOT | {"spec": {}}], "FieldMissing"),
    ],
)
def test_a_mistake_names_file_and_document(tmp_path: Path, documents: list[Any], code: str) -> None:
    write(tmp_path, "a.yaml", *documents)
    with pytest.raises(ConfigurationError) as raised:
        load_snapshot(tmp_path)
    assert raised.value.code == code
    assert f"{tmp_path / 'a.yaml'}, document 2" in raised.value.message


def test_a_file_that_is_no_yaml_names_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: [\n")
    with pytest.raises(ConfigurationError, match=r"a\.yaml, line 2, column 1"):
        load_snapshot(tmp_path)


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    "content",
    [
        b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 10)}]\n".encode() for i in range(8)
        ),
        b"[" * 100_000,
        b"\xff\xfe\x00",
        b"a: !!python/object/apply:os.system [true]",
        b"#" * (5 * 1024 * 1024),
        b"a: &a [*a]",
    ],
    ids=["aliases", "nesting", "no text", "python object", "size", "cycle"],
)  # fmt: skip
def test_a_hostile_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigurationError):
        load_snapshot(tmp_path)


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no directory"):
        load_snapshot(tmp_path / "missing")
