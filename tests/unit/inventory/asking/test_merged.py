"""The merged CycloneDX document, held against the format's official JSON schema, whatever documents said."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st

from controller.inventory.asking.documents.components import ComponentRecord
from controller.inventory.asking.documents.merged import MAX_VERSION, SPEC_VERSION, Subject, component, cyclonedx

NOW = datetime(2026, 11, 22, 11, tzinfo=UTC)
DOCUMENT, IMAGE = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)  # what a database holds


@cache
def official() -> JsonStrictValidator:
    """The schema as its makers publish it: https://cyclonedx.org/schema/bom-1.6.schema.json."""
    assert SchemaVersion.V1_6.to_version() == SPEC_VERSION
    return JsonStrictValidator(SchemaVersion.V1_6)


def record(**changes: Any) -> ComponentRecord:
    said = {"type": "npm", "name": "left-pad", "version": "1.3.0", "purl": "pkg:npm/left-pad@1.3.0", "cpe": ""}
    told = {"licenses": ("MIT OR Apache-2.0",), "supplier": "", "images": 2, "verified": True}
    return ComponentRecord(**{"hash": "01" * 32, **said, **told, **changes})


def written(*records: ComponentRecord, **subject: str) -> str:
    return "".join(cyclonedx(Subject(NOW, **subject), [DOCUMENT], records))


@pytest.mark.parametrize("subject", [{}, {"cluster": "prod"}, {"namespace": "shop"}, {"digest": IMAGE}])
def test_what_is_about_anything_is_valid_by_the_official_schema(subject: dict[str, str]) -> None:
    for records in ([], [record()], [record(), record(hash="02" * 32, version=None, purl="", licenses=())]):
        assert official().validate_str(written(*records, **subject)) is None


def test_the_schema_is_one_that_refuses() -> None:
    wrong = json.loads(written(record()))
    wrong["components"][0]["type"] = "no type"
    assert official().validate_str(json.dumps(wrong)) is not None


@given(
    st.lists(
        st.builds(
            record,
            hash=st.binary(min_size=32, max_size=32).map(bytes.hex),
            name=TEXT,
            version=st.none() | TEXT | st.just("1" * (MAX_VERSION + 1)),
            purl=TEXT,
            cpe=TEXT,
            supplier=TEXT,
            licenses=st.lists(TEXT, max_size=3).map(tuple),
            verified=st.booleans(),
        ),
        max_size=5,
        unique_by=lambda one: one.hash,
    )
)
def test_whatever_documents_said_of_components_is_valid_by_the_official_schema(records: list[ComponentRecord]) -> None:
    assert official().validate_str(written(*records)) is None


def test_a_version_that_is_longer_than_the_format_takes_is_not_lost() -> None:
    longest, longer = "1" * MAX_VERSION, "1" * (MAX_VERSION + 1)
    assert component(record(version=longest))["version"] == longest
    value = component(record(version=longer))
    assert "version" not in value
    assert {"name": "assay:version", "value": longer} in value["properties"]
