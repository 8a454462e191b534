"""VEX statements in one form: what does not say what the specification demands excuses nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controller.documents.exploitability import Exploitability, Subject
from controller.errors import LimitExceeded, Unacceptable
from controller.model.documents import VexProduct, VexStatement, VexStatus
from controller.model.reference import Digest
from tests.unit.documents.predicates import PREDICATES, load, parse

TYPE = "https://openvex.dev/ns/v0.2.0"
WRITTEN = datetime(2023, 1, 9, 0, 2, 3, 647787, tzinfo=UTC)


def vex(**changes: Any) -> dict[str, Any]:
    """A document of one statement with these fields; None takes one away."""
    statement = {
        "vulnerability": {"name": "CVE-1"},
        "products": [{"@id": "pkg:oci/app"}],
        "status": "not_affected",
        "justification": "component_not_present",
    } | changes
    statements = [{name: value for name, value in statement.items() if value is not None}]
    return {"@context": "https://openvex.dev/ns/v0.2.0", "statements": statements}


def test_version_0_2_in_one_form() -> None:
    found = parse(TYPE, load("openvex-0.2"))
    assert (found.author, found.timestamp, found.version) == ("Wolfi J Inkinson", WRITTEN, 2)
    first, second = found.statements
    assert first == VexStatement(
        vulnerability="CVE-2019-17571",
        aliases=("GHSA-2qrg-x229-3v8q",),
        products=(
            VexProduct(
                id="https://acme.example/product",
                purl="pkg:maven/org.apache.logging.log4j/log4j-core@2.4",
                digests=(("sha-256", "402fa523b96591d4450ace90e32d9f779fcfd938903e1c5bf9d3701860b8f856"),),
                subcomponents=(VexProduct(id="pkg:maven/log4j/Log4J@1.2", purl="pkg:maven/log4j/Log4J@1.2"),),
            ),
        ),
        status=VexStatus.NOT_AFFECTED,
        justification="vulnerable_code_not_present",
        impact="The class is not in the archive.",
        action="",
        timestamp=datetime(2023, 2, 1, tzinfo=UTC),
    )
    assert (second.status, second.timestamp, second.action) == (VexStatus.AFFECTED, WRITTEN, "Upgrade.")


def test_version_0_0_1_in_the_same_form() -> None:
    (statement,) = parse("https://openvex.dev/ns", load("openvex-0.0.1")).statements
    assert (statement.vulnerability, statement.status) == ("CVE-2023-12345", VexStatus.FIXED)
    assert [product.purl for product in statement.products] == [
        "pkg:apk/wolfi/git@2.39.0-r1?arch=armv7",
        "pkg:apk/wolfi/git@2.39.0-r1?arch=x86_64",
    ]
    assert statement.products[0].subcomponents[0].purl == "pkg:apk/wolfi/zlib@1.2"


def test_the_recorded_document() -> None:
    (statement,) = parse(TYPE, load("openvex", PREDICATES)).statements
    assert statement.products[0].subcomponents[0].purl == "pkg:apk/alpine/libcrypto3@3.3.2-r0"


def test_a_statement_about_no_product_names_none() -> None:
    assert parse(TYPE, vex(products=None)).statements[0].products == ()


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"@context": "https://openvex.dev/ns"},
        vex() | {"@context": "https://example.com"},
        vex() | {"statements": {}},
        vex(status=None),
        vex(status="fine"),
        vex(justification=None),
        vex(justification="because"),
        vex(vulnerability=None),
        vex(vulnerability=""),
        vex(vulnerability={"name": ""}),
        vex(products="pkg:oci/app"),
        vex(products=["pkg:oci/app", {}]),
        vex(products=[{}]),
        vex(products=[{"identifiers": {"purl": "app"}}]),
        vex(products=[{"identifiers": {"purl": ""}}]),
        vex(products=[{"identifiers": {"cpe23": ["cpe:2.3:a:acme:other:1.0:*:*:*:*:*:*:*"]}}]),
        vex(products=[{"@id": "pkg:oci"}]),
        vex(products=[{"@id": "x", "subcomponents": [{}]}]),
        vex(timestamp="0001-01-01T00:00:00+23:00"),
    ],
)
def test_a_malformed_statement_is_an_error_and_never_an_excuse(document: Any) -> None:
    with pytest.raises(Unacceptable) as raised:
        parse(TYPE, document)
    assert raised.value.code == "DocumentMalformed"


def test_an_impact_statement_is_a_reason_too() -> None:
    assert parse(TYPE, vex(justification=None, impact_statement="not built in")).statements[0].impact == "not built in"


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    "many",
    [
        vex(products=[{"@id": "x"}] * 10),
        vex(products=[{"@id": "x", "subcomponents": [{"@id": "x"}] * 9}]),
        vex(products=["x"], subcomponents=["x"] * 9),
    ],
)
def test_statements_products_and_subcomponents_are_bounded(many: Any) -> None:
    with pytest.raises(LimitExceeded) as raised:
        parse(TYPE, many, document_max_components=10)
    assert raised.value.setting == "document_max_components"


@pytest.mark.parametrize(("written", "version"), [(3, 3), ("3", 3), (None, 0), ("1.2", 0), (True, 0), ([], 0)])
def test_a_documents_number_is_read_as_it_is_written_anywhere(written: Any, version: int) -> None:
    assert parse(TYPE, vex() | {"version": written}).version == version


def test_a_product_that_is_named_by_a_cpe_alone_is_not_taken_for_the_image() -> None:
    cpe = "cpe:2.3:a:acme:other:1.0:*:*:*:*:*:*:*"
    document = parse(TYPE, vex(products=[{"identifiers": {"cpe23": cpe}}]))
    assert document.statements[0].products == (VexProduct(id=cpe),)
    said = Exploitability([document], Subject(Digest.of(b"image"), "ghcr.io/acme/app"), WRITTEN)
    assert said.status("CVE-1", "pkg:npm/x@1") is None


def test_parts_beside_the_products_narrow_them_down() -> None:
    (statement,) = parse(TYPE, vex(products=None, subcomponents=["pkg:npm/x"])).statements
    part = VexProduct("pkg:npm/x", "pkg:npm/x")
    assert statement.products == (VexProduct(id="", subcomponents=(part,)),)
    own = {"@id": "pkg:oci/own", "subcomponents": [{"@id": "pkg:npm/y"}]}
    (statement,) = parse(TYPE, vex(products=[{"@id": "pkg:oci/app"}, own], subcomponents=["pkg:npm/x"])).statements
    assert [product.subcomponents[0].id for product in statement.products] == ["pkg:npm/x", "pkg:npm/y"]
