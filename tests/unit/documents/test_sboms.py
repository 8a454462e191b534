"""SBOMs of both formats become one form, and what cannot be read is an error with a code, never an empty list."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from controller import documents
from controller.errors import LimitExceeded, Unacceptable
from controller.model.documents import Component
from controller.settings import DocumentSettings
from tests.unit.documents.predicates import load

SPDX, CYCLONEDX = "https://spdx.dev/Document", "https://cyclonedx.org/bom"
LOG4J = "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"


def spdx(**changes: Any) -> dict[str, Any]:
    """An SPDX document as syft writes it: the image is a package of its own, described by the document."""
    return {
        "spdxVersion": "SPDX-2.3",
        "name": "app",
        "creationInfo": {
            "created": "2026-01-02T03:04:05.678Z",
            "creators": ["Organization: Acme", "Tool: syft-1.18.1"],
        },
        "packages": [
            {"SPDXID": "SPDXRef-image", "name": "app", "primaryPackagePurpose": "CONTAINER"},
            {
                "SPDXID": "SPDXRef-1",
                "name": "log4j-core",
                "versionInfo": "2.14.1",
                "licenseConcluded": "NOASSERTION",
                "licenseDeclared": "Apache-2.0",
                "externalRefs": [
                    {"referenceCategory": "SECURITY", "referenceType": "cpe23Type", "referenceLocator": "cpe:2.3:a:x"},
                    {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": LOG4J},
                ],
            },
            {"SPDXID": "SPDXRef-2", "name": "tool"},
        ],
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": "SPDXRef-image",
            }
        ],
    } | changes


def cyclonedx(**changes: Any) -> dict[str, Any]:
    """A CycloneDX document with a nested component."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "metadata": {
            "timestamp": "2026-01-02T03:04:05Z",
            "component": {"type": "container", "name": "app"},
            "tools": {"components": [{"type": "application", "name": "syft", "version": "1.18.1"}]},
        },
        "components": [
            {
                "type": "library",
                "name": "log4j-core",
                "version": "2.14.1",
                "purl": LOG4J,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "components": [{"type": "library", "name": "inner", "purl": "pkg:npm/Inner@1.0"}],
            }
        ],
    } | changes


def parse(type_: str, predicate: Any, **limits: Any) -> Any:
    return documents.parse(type_, predicate, DocumentSettings(**limits))


@pytest.mark.parametrize("type_", [SPDX, f"{SPDX}/v2.3"])
def test_spdx_in_one_form(type_: str) -> None:
    sbom = parse(type_, spdx())
    assert (sbom.format, sbom.spec_version, sbom.name, sbom.tools) == ("SPDX", "2.3", "app", ("syft-1.18.1",))
    assert sbom.created == datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert sbom.components == (
        Component(name="log4j-core", version="2.14.1", purl=LOG4J, licenses=("Apache-2.0",), cpe="cpe:2.3:a:x"),
        Component(name="tool", version=None),
    )


def test_cyclonedx_in_the_same_form_with_nested_components() -> None:
    sbom = parse(f"{CYCLONEDX}/v1.6", cyclonedx())
    assert (sbom.format, sbom.spec_version, sbom.name, sbom.tools) == ("CycloneDX", "1.6", "app", ("syft-1.18.1",))
    assert sbom.components == (
        Component(name="log4j-core", version="2.14.1", purl=LOG4J, licenses=("Apache-2.0",)),
        Component(name="inner", version="1.0", purl="pkg:npm/inner@1.0"),
    )


def test_an_application_that_a_bom_is_about_can_be_found_in_it() -> None:
    main = {"type": "application", "name": "log4j-core", "version": "2.14.1", "purl": LOG4J}
    assert parse(CYCLONEDX, cyclonedx(metadata={"component": main})).components[-1].purl == LOG4J


def test_a_bom_that_lists_nothing_is_empty_whatever_it_is_about() -> None:
    main = {"type": "application", "name": "app", "purl": "pkg:npm/app@1"}
    assert parse(CYCLONEDX, cyclonedx(components=[], metadata={"component": main})).components == ()
    assert parse(SPDX, spdx(packages=spdx()["packages"][:1])).components == ()


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(json.dumps, id="a JSON string, as cosign attest --type spdx"),
        pytest.param(lambda document: {"Data": json.dumps(document), "Timestamp": "t"}, id="old cosign's Data"),
        pytest.param(lambda document: {"Data": document}, id="Data with an object"),
    ],
)
def test_documents_are_read_however_cosign_wrapped_them(wrap: Any) -> None:
    assert parse(SPDX, wrap(spdx())) == parse(SPDX, spdx())


def test_a_predicate_of_another_type_has_no_normal_form() -> None:
    assert parse("https://example.com/Custom", {}) is None
    assert parse(f"{SPDX}Extra", spdx()) is None
    assert parse(f"{SPDX}/vX", spdx()) is None


@pytest.mark.parametrize(
    ("type_", "predicate", "code"),
    [
        (SPDX, [], "DocumentMalformed"),
        (SPDX, "{", "DocumentMalformed"),
        (SPDX, '{"spdxVersion": "SPDX-2.3", "packages": [], "packages": []}', "DocumentMalformed"),
        (SPDX, {}, "DocumentMalformed"),
        (SPDX, cyclonedx(), "DocumentMalformed"),
        (SPDX, {"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"}, "DocumentMalformed"),
        (SPDX, {"@context": "https://spdx.org/rdf/3.9.0/spdx-context.jsonld", "@graph": []}, "DocumentUnsupported"),
        (SPDX, {"@context": ["https://spdx.org/rdf/3.0.1/spdx-context.jsonld", {}]}, "DocumentUnsupported"),
        (SPDX, "SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\n", "DocumentUnsupported"),
        (CYCLONEDX, "<?xml version='1.0'?><bom/>", "DocumentUnsupported"),
        (SPDX, '{"spdxVersion": "SPDX-2.3", "name": "\\ud800"}', "DocumentMalformed"),
        (SPDX, '{"spdxVersion": "SPDX-2.3", "x": NaN}', "DocumentMalformed"),
        (SPDX, spdx(spdxVersion="SPDX-2.9"), "DocumentUnsupported"),
        (SPDX, spdx(packages={}), "DocumentMalformed"),
        (SPDX, spdx(packages=["x"]), "DocumentMalformed"),
        (SPDX, spdx(packages=[{"versionInfo": "1"}]), "DocumentMalformed"),
        (SPDX, spdx(packages=[{"name": "x", "versionInfo": 1}]), "DocumentMalformed"),
        (
            SPDX,
            spdx(packages=[{"name": "x", "externalRefs": [{"referenceType": "purl", "referenceLocator": "log4j"}]}]),
            "DocumentMalformed",
        ),
        (SPDX, spdx(creationInfo={"created": "yesterday"}), "DocumentMalformed"),
        (CYCLONEDX, spdx(), "DocumentMalformed"),
        (CYCLONEDX, cyclonedx(specVersion="9.9"), "DocumentUnsupported"),
        (CYCLONEDX, cyclonedx(components=[{"name": "x", "purl": "pkg:npm"}]), "DocumentMalformed"),
        (CYCLONEDX, cyclonedx(components=[{"name": "x", "components": "y"}]), "DocumentMalformed"),
        (CYCLONEDX, cyclonedx(components=None), None),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_code(type_: str, predicate: Any, code: str | None) -> None:
    if code is None:
        assert parse(type_, predicate).components == ()
        return
    with pytest.raises(Unacceptable) as raised:
        parse(type_, predicate)
    assert raised.value.code == code


# What syft finds in the fixture's file system, and the application itself.
SYFT_FOUND = {
    ("alpine-baselayout", "3.6.5-r0"),
    ("busybox", "1.36.1-r29"),
    ("libcrypto3", "3.3.2-r0"),
    ("log4j-core", "2.14.1"),
    ("musl", "1.2.5-r0"),
    ("openjdk21-jre-headless", "21.0.4_p7-r0"),
    ("shop", "1.0.0"),
}


@pytest.mark.parametrize(
    ("type_", "name"),
    [(SPDX, f"spdx-{version}") for version in ("2.2", "2.3")]
    + [(f"{CYCLONEDX}/v{version}", f"cyclonedx-{version}") for version in ("1.2", "1.3", "1.4", "1.5", "1.6")],
)
def test_what_syft_writes_is_found_whatever_the_version(type_: str, name: str) -> None:
    sbom = parse(type_, load(name))
    packages = [component for component in sbom.components if component.purl]
    assert {(package.name, package.version) for package in packages} == SYFT_FOUND
    assert LOG4J in {package.purl for package in packages}
    assert sbom.spec_version == name.rpartition("-")[2]
    assert (sbom.name, sbom.tools) == ("acme/shop", ("syft-1.18.1",))
    assert sbom.created is not None


@pytest.mark.parametrize("type_", [SPDX, f"{SPDX}/v3", f"{SPDX}/v3.0", f"{SPDX}/v3.0.1"])
def test_spdx_3_in_the_same_form(type_: str) -> None:
    sbom = parse(type_, load("spdx-3.0"))
    assert (sbom.format, sbom.spec_version, sbom.name) == ("SPDX", "3.0.1", "acme/shop")
    assert (sbom.created, sbom.tools) == (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), ("sbom-writer 1.0",))
    assert sbom.components == (
        Component(
            name="log4j-core",
            version="2.14.1",
            purl=LOG4J,
            licenses=("Apache-2.0",),
            cpe="cpe:2.3:a:apache:log4j:2.14.1:*:*:*:*:*:*:*",
        ),
        Component(
            name="busybox",
            version="1.36.1-r29",
            purl="pkg:apk/alpine/busybox@1.36.1-r29?arch=x86_64",
            licenses=("GPL-2.0-only",),
        ),
        Component(name="inline", version=None),
    )


def test_spdx_3_is_read_from_a_string_too() -> None:
    assert parse(SPDX, json.dumps(load("spdx-3.0"))) == parse(SPDX, load("spdx-3.0"))


def test_a_package_is_not_hidden_where_another_element_refers_to_it() -> None:
    inner = {"type": "ai_AIPackage", "spdxId": "urn:inner", "name": "inner", "software_packageUrl": LOG4J}
    document = load("spdx-3.0")
    document["@graph"] = [{"type": "Annotation", "subject": {"type": "Bundle", "element": [[inner]]}}]
    assert [component.purl for component in parse(SPDX, document).components] == [LOG4J]


def test_each_package_url_of_an_spdx_3_package_is_found() -> None:
    document = load("spdx-3.0")
    document["@graph"][6]["externalIdentifier"][0]["identifier"] = "pkg:maven/org.example/other@1"
    purls = [component.purl for component in parse(SPDX, document).components]
    assert purls[:2] == [LOG4J, "pkg:maven/org.example/other@1"]


def test_only_the_image_that_an_spdx_3_document_is_about_is_left_out() -> None:
    document = load("spdx-3.0")
    base = {"type": "software_Package", "spdxId": "urn:base", "name": "base", "software_primaryPurpose": "container"}
    document["@graph"].append(base)
    assert [component.name for component in parse(SPDX, document).components][-1] == "base"
    document["@graph"][5] |= {"software_primaryPurpose": "other", "software_packageUrl": "pkg:oci/shop@sha256%3Aab"}
    assert "acme/shop" not in {component.name for component in parse(SPDX, document).components}


@pytest.mark.guarantee(10)
def test_the_components_of_spdx_3_are_bounded() -> None:
    identifiers = [{"externalIdentifierType": "packageUrl", "identifier": f"pkg:npm/a@{i}"} for i in range(11)]
    for graph in (
        [{"type": "software_Package", "name": "x"}] * 11,
        [{"type": "software_Package", "name": "x", "externalIdentifier": identifiers}],
    ):
        with pytest.raises(LimitExceeded) as raised:
            parse(SPDX, load("spdx-3.0") | {"@graph": graph}, document_max_components=10)
        assert raised.value.setting == "document_max_components"


def test_a_single_spdx_3_element_needs_no_graph() -> None:
    document = {"@context": load("spdx-3.0")["@context"], "type": "software_Package", "name": "x"}
    assert parse(SPDX, document).components == (Component(name="x", version=None),)


def test_cyclonedx_1_7_with_its_version_ranges() -> None:
    sbom = parse(f"{CYCLONEDX}/v1.7", load("cyclonedx-1.7"))
    assert sbom.components == (
        Component(name="log4j-core", version="2.14.1", purl=LOG4J, licenses=("Apache-2.0", "Apache-2.0 OR MIT")),
        Component(name="zlib", version=None),
    )


def test_old_cosigns_cyclonedx_type_is_read() -> None:
    assert parse("https://cyclonedx.org/schema", cyclonedx()) == parse(CYCLONEDX, cyclonedx())


@pytest.mark.parametrize("purl", ["pkg:oci/app@sha256%3Aab", "pkg:docker/acme/app@1"])
def test_the_image_is_no_component_of_itself_in_spdx_2_2(purl: str) -> None:
    document = spdx(spdxVersion="SPDX-2.2", packages=[{"SPDXID": "SPDXRef-image", "name": "app"}])
    document["packages"][0]["externalRefs"] = [{"referenceType": "purl", "referenceLocator": purl}]
    assert parse(SPDX, document).components == ()
    assert parse(SPDX, document | {"relationships": []}).components[0].name == "app"


def test_documents_with_one_namespace_are_not_taken_for_one() -> None:
    namespace = {"documentNamespace": "https://spdx.org/spdxdocs/apko/"}
    one, other = parse(SPDX, spdx(**namespace)), parse(SPDX, spdx(**namespace, packages=[{"name": "other"}]))
    assert [component.name for component in other.components] == ["other"]
    assert one != other


@pytest.mark.parametrize(
    "graph",
    [
        None,
        {},
        ["x"],
        [{"type": 1}],
        [{"type": "software_Package"}],
        [{"type": "software_Package", "name": "x", "software_packageUrl": "log4j"}],
        [{"type": "software_Package", "name": "x", "software_packageVersion": 1}],
        [{"type": "software_Package", "name": "x", "spdxId": 1}],
        [{"type": "software_Package", "name": "x", "externalIdentifier": {}}],
        [{"relationshipType": "hasDeclaredLicense", "from": ["a", "b"], "to": []}],
        [{"type": "SpdxDocument", "creationInfo": {"type": "CreationInfo", "created": "soon"}}],
    ],
)
def test_malformed_spdx_3_is_an_error(graph: Any) -> None:
    with pytest.raises(Unacceptable) as raised:
        parse(SPDX, load("spdx-3.0") | {"@graph": graph})
    assert raised.value.code == "DocumentMalformed"


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"name": "x"}
    for _ in range(depth):
        inner = {"name": "x", "components": [inner]}
    return cyclonedx(components=[inner])


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    ("predicate", "limits", "bound"),
    [
        (nested(60), {}, "document_max_depth"),
        ("[" * 100_000, {}, "document_max_depth"),
        (json.dumps(cyclonedx()), {"document_max_bytes": 100}, "document_max_bytes"),
        (cyclonedx(components=[{"name": "x"}] * 11), {"document_max_components": 10}, "document_max_components"),
        (nested(11), {"document_max_components": 10}, "document_max_components"),
        (json.dumps(cyclonedx()), {"document_max_depth": 3}, "document_max_depth"),
    ],
)
def test_each_bound_on_documents_is_an_error_with_its_name(predicate: Any, limits: dict[str, int], bound: str) -> None:
    with pytest.raises(LimitExceeded) as raised:
        parse(CYCLONEDX, predicate, **limits)
    assert raised.value.setting == bound


def test_whose_document_it_is_and_how_its_packages_relate() -> None:
    related = {"spdxElementId": "SPDXRef-image", "relatedSpdxElement": "SPDXRef-1", "relationshipType": "CONTAINS"}
    others = [
        related | {"relationshipType": "OTHER"},
        related | {"relatedSpdxElement": "NOASSERTION"},
        related | {"relatedSpdxElement": "SPDXRef-File-1"},
    ]
    document = spdx(relationships=[*spdx()["relationships"], related, *others])
    document["packages"][1] |= {"supplier": "NOASSERTION", "originator": "Organization: Apache"}
    document["packages"][2] |= {"supplier": "Person: Ann (ann@acme.example)"}
    sbom = parse(SPDX, document)
    assert (sbom.authors, sbom.relationships) == (("Acme",), 1)
    assert [component.supplier for component in sbom.components] == ["Apache", "Ann (ann@acme.example)"]


def test_the_same_of_cyclonedx() -> None:
    document = cyclonedx(dependencies=[{"ref": "a", "dependsOn": ["b", "c"]}, {"ref": "b"}])
    document["metadata"] |= {"authors": [{"name": "Ann"}, {"email": "bob@acme.example"}], "supplier": {"name": "Acme"}}
    document["components"][0] |= {"supplier": {"name": "Apache"}, "cpe": "cpe:2.3:a:x"}
    document["components"][0]["components"][0] |= {"publisher": "Inner"}
    sbom = parse(CYCLONEDX, document)
    assert (sbom.authors, sbom.relationships) == (("Ann", "bob@acme.example", "Acme"), 2)
    assert [(component.supplier, component.cpe) for component in sbom.components] == [
        ("Apache", "cpe:2.3:a:x"),
        ("Inner", ""),
    ]


def test_the_same_of_spdx_3() -> None:
    document = load("spdx-3.0")
    package = next(node for node in document["@graph"] if node.get("name") == "busybox")
    package["originatedBy"] = ["https://acme.example/spdx/acme"]
    sbom = parse(SPDX, document)
    assert (sbom.authors, sbom.relationships) == (("Acme",), 3)
    assert [component.supplier for component in sbom.components] == ["", "Acme", ""]


@pytest.mark.parametrize(
    ("name", "authors", "relationships"),
    [("spdx-2.2", ("Anchore, Inc",), 7), ("spdx-2.3", ("Anchore, Inc",), 7), ("cyclonedx-1.6", (), 0)],
)
def test_the_same_of_syfts_own_documents(name: str, authors: tuple[str, ...], relationships: int) -> None:
    sbom = parse(SPDX if name.startswith("spdx") else CYCLONEDX, load(name))
    assert (sbom.authors, sbom.relationships) == (authors, relationships)
    assert any(component.cpe for component in sbom.components)
