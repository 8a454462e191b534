"""SPDX 2.2 and 2.3 in JSON (https://spdx.github.io/spdx-spec/v2.3/).

A document is never told from another by its `documentNamespace`: apko writes the same one into all of its documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controller.documents.reading import check_count, child, component, is_image_purl, objects, text, texts, time_of
from controller.documents.unwrap import malformed
from controller.errors import Unacceptable
from controller.model.documents import Component, Sbom
from controller.settings import DocumentSettings

_VERSIONS = ("SPDX-2.2", "SPDX-2.3")
_PURL = frozenset({"purl", "http://spdx.org/rdf/references/purl"})  # 2.3, annex F.3.5; early writers spell types out
_CPE = frozenset({"cpe22Type", "cpe23Type"})
_NOTHING = frozenset({"", "NOASSERTION", "NONE"})
_CREATORS = ("Organization:", "Person:")  # 6.8, beside `Tool:`; the same words stand before a package's supplier
_NO_RELATIONS = frozenset({"DESCRIBES", "DESCRIBED_BY", "OTHER", "AMENDS", "COPY_OF"})


def parse(document: Mapping[str, Any], limits: DocumentSettings) -> Sbom:
    """Read a document. The container image that it describes is not one of its components.

    Raises `Unacceptable` (`DocumentMalformed`, `DocumentUnsupported`) and `LimitExceeded`.
    """
    version = text(document, "spdxVersion", "the document")
    if version not in _VERSIONS:
        if version.startswith("SPDX-"):
            raise Unacceptable("DocumentUnsupported", "only SPDX 2.2, 2.3 and 3.0 are read")
        raise malformed("the document has no spdxVersion, so it is no SPDX document")
    packages = objects(document, "packages", "the document")
    check_count(len(packages), limits.document_max_components)
    described = _described(document)
    components: list[Component] = []
    for i, package in enumerate(packages):
        where = f"packages[{i}]"
        if not _is_image(package, described, where):
            components.extend(_components(package, where))
            check_count(len(components), limits.document_max_components)
    creation = child(document, "creationInfo", "the document")
    creators = texts(creation, "creators", "creationInfo")
    return Sbom(
        format="SPDX",
        spec_version=version.removeprefix("SPDX-"),
        name=text(document, "name", "the document"),
        created=time_of(creation, "created", "creationInfo"),
        components=tuple(components),
        tools=tuple(creator.removeprefix("Tool:").strip() for creator in creators if creator.startswith("Tool:")),
        authors=tuple(filter(None, (_party(creator) for creator in creators if creator.startswith(_CREATORS)))),
        relationships=_relationships(document, packages),
    )


def _relationships(document: Mapping[str, Any], packages: list[Mapping[str, Any]]) -> int:
    """How many relations between two packages it states (11.1): those to files and to the document say nothing here."""
    ids = {text(package, "SPDXID", "a package") for package in packages}
    return sum(
        text(relationship, "relatedSpdxElement", "relationships") in ids
        and text(relationship, "spdxElementId", "relationships") in ids
        and text(relationship, "relationshipType", "relationships") not in _NO_RELATIONS
        for relationship in objects(document, "relationships", "the document")
    )


def _party(written: str) -> str:
    """The name in `Organization: Acme (mail)` or `Person: …`; empty for what says that nobody is named."""
    for kind in _CREATORS:
        written = written.removeprefix(kind)
    written = written.strip()
    return "" if written in _NOTHING else written


def _described(document: Mapping[str, Any]) -> frozenset[str]:
    """The SPDX ids of what the document is about: 7.1 `documentDescribes`, 11.1 `DESCRIBES`."""
    listed = texts(document, "documentDescribes", "the document")
    related = (
        text(relationship, "relatedSpdxElement", "relationships")
        for relationship in objects(document, "relationships", "the document")
        if relationship.get("relationshipType") == "DESCRIBES"
    )
    return frozenset((*listed, *related))


def _is_image(package: Mapping[str, Any], described: frozenset[str], where: str) -> bool:
    """Whether a package is the image that the document is about; 2.2 has no purpose, so its package URL tells."""
    if text(package, "SPDXID", where) not in described:
        return False
    return package.get("primaryPackagePurpose") == "CONTAINER" or any(map(is_image_purl, _names(package, where)[0]))


def _names(package: Mapping[str, Any], where: str) -> tuple[list[str], str]:
    """Its package URLs, and its first CPE name."""
    purls, cpe = [], ""
    for reference in objects(package, "externalRefs", where):
        kind = text(reference, "referenceType", where)
        if kind in _PURL:
            purls.append(text(reference, "referenceLocator", where))
        elif not cpe and kind in _CPE:
            cpe = text(reference, "referenceLocator", where)
    return purls, cpe


def _components(package: Mapping[str, Any], where: str) -> Iterator[Component]:
    """The package under each of its package URLs: whichever was passed over could be the one that is looked for."""
    purls, cpe = _names(package, where)
    supplier = _party(text(package, "supplier", where)) or _party(text(package, "originator", where))
    licenses = [text(package, field, where) for field in ("licenseConcluded", "licenseDeclared")]
    for purl in dict.fromkeys(purls) or ("",):
        yield component(
            name=text(package, "name", where),
            version=text(package, "versionInfo", where),
            purl=purl,
            licenses=dict.fromkeys(name for name in licenses if name not in _NOTHING),
            where=where,
            supplier=supplier,
            cpe=cpe,
        )
