"""SPDX 3.0 in JSON-LD, in the form that its JSON schema allows (https://spdx.github.io/spdx-spec/v3.0.1/serializations/).

Elements lie in `@graph` and refer to each other by id, and any of them may stand inline where another refers to it. So
the whole document is looked through: a package that lies elsewhere than in the list would otherwise be hidden.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.documents.reading import check_count, component, is_image_purl, objects, required_objects, text, time_of
from controller.documents.unwrap import malformed
from controller.errors import Unacceptable
from controller.model.documents import Component, Sbom
from controller.settings import DocumentSettings

_CONTEXT = re.compile(r"https?://spdx\.org/rdf/(?:v)?(3\.0(?:\.[0-9]+)?)/spdx-context\.jsonld")
_PACKAGES = frozenset({"software_Package", "ai_AIPackage", "dataset_DatasetPackage"})  # the last two are subclasses
_LICENSES = frozenset({"hasConcludedLicense", "hasDeclaredLicense"})
_RELATIONS = frozenset(
    {"contains", "dependsOn", "hasDynamicLink", "hasStaticLink", "hasOptionalDependency", "hasPrerequisite"}
    | {"hasProvidedDependency", "packagedBy"}
)
_LISTED = "https://spdx.org/licenses/"  # an id of the licence list needs no element of its own

Node = Mapping[str, Any]


@dataclass(slots=True)
class _Graph:
    """The elements of a document by what they are for."""

    packages: list[Node] = field(default_factory=list)
    documents: list[Node] = field(default_factory=list)
    roots: set[str] = field(default_factory=set)
    by_id: dict[str, Node] = field(default_factory=dict)
    licensed: list[Node] = field(default_factory=list)
    relationships: int = 0


def parse(document: Node, limits: DocumentSettings) -> Sbom:
    """Read a document. The container image that it is about is not one of its components.

    Raises `Unacceptable` (`DocumentMalformed`, `DocumentUnsupported`) and `LimitExceeded`.
    """
    version = _version(document)
    if "@graph" in document:
        required_objects(document, "@graph", "the document")
    elif not _type(document):
        raise malformed("the document has neither a @graph nor a type")
    graph = _read(document)
    licenses = _licenses(graph)
    components: list[Component] = []
    for i, package in enumerate(graph.packages):
        where = f"package {i}"
        if not _is_image(package, graph, where):
            supplier = _name(package, ("suppliedBy", "originatedBy"), graph)
            components.extend(_components(package, licenses.get(_id(package), ()), supplier, where))
            check_count(len(components), limits.document_max_components)
    about = graph.documents[0] if graph.documents else {}
    creation = next(_resolved(about, "creationInfo", graph), {})
    return Sbom(
        format="SPDX",
        spec_version=version,
        name=text(about, "name", "SpdxDocument"),
        created=time_of(creation, "created", "CreationInfo"),
        components=tuple(components),
        tools=tuple(filter(None, (text(tool, "name", "Tool") for tool in _resolved(creation, "createdUsing", graph)))),
        authors=tuple(filter(None, (text(who, "name", "Agent") for who in _resolved(creation, "createdBy", graph)))),
        relationships=graph.relationships,
    )


def _name(package: Node, fields: tuple[str, ...], graph: _Graph) -> str:
    """The name of the first agent that one of these fields refers to or holds."""
    names = (text(agent, "name", "Agent") for name in fields for agent in _resolved(package, name, graph))
    return next(filter(None, names), "")


def _version(document: Node) -> str:
    context = document.get("@context")
    if not isinstance(context, str | list):
        raise malformed("@context is no IRI, so it is no SPDX 3 document")
    version = _CONTEXT.fullmatch(context) if isinstance(context, str) else None
    if version is None:  # another context could give other meanings to the same names
        raise Unacceptable("DocumentUnsupported", "only SPDX 2.2, 2.3 and 3.0 are read, the last in its own context")
    return version[1]


def _read(document: Node) -> _Graph:
    graph = _Graph()
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        elif isinstance(value, Mapping):
            _add(value, graph)
            waiting.extend(reversed([inner for inner in value.values() if isinstance(inner, list | Mapping)]))
    return graph


def _add(node: Node, graph: _Graph) -> None:
    kind = _type(node)
    if kind in _PACKAGES:
        graph.packages.append(node)
    elif kind == "SpdxDocument":
        graph.documents.append(node)
    relation = text(node, "relationshipType", "an element")
    if relation in _LICENSES:
        graph.licensed.append(node)
    elif relation in _RELATIONS:
        graph.relationships += len(list(_ids(node.get("to"))))
    graph.roots.update(_ids(node.get("rootElement")))
    if kind and _id(node):
        graph.by_id.setdefault(_id(node), node)


def _type(node: Node) -> str:
    return text(node, "type", "an element") or text(node, "@type", "an element")


def _id(node: Node) -> str:
    return text(node, "spdxId", "an element") or text(node, "@id", "an element")


def _ids(value: Any) -> Iterator[str]:
    """The ids in a field that holds references or elements, one or several."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            yield _id(item)


def _resolved(node: Node, name: str, graph: _Graph) -> Iterator[Node]:
    """The elements that a field refers to or holds."""
    value = node.get(name)
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, Mapping):
            yield item
        elif isinstance(item, str) and item in graph.by_id:
            yield graph.by_id[item]


def _licenses(graph: _Graph) -> dict[str, tuple[str, ...]]:
    """The licence expressions by the id of the element that has them; made once, whoever shares an id."""
    found: dict[str, dict[str, None]] = {}
    for relationship in graph.licensed:
        expressions = [
            text(element, "simplelicensing_licenseExpression", "a licence")
            for element in _resolved(relationship, "to", graph)
        ]
        expressions += [i.removeprefix(_LISTED) for i in _ids(relationship.get("to")) if i.startswith(_LISTED)]
        owner = relationship.get("from")
        if isinstance(owner, list):
            raise malformed("a relationship is from several elements")
        for name in _ids(owner):
            found.setdefault(name, {}).update(dict.fromkeys(filter(None, expressions)))
    return {owner: tuple(names) for owner, names in found.items()}


def _is_image(package: Node, graph: _Graph, where: str) -> bool:
    if not _id(package) or _id(package) not in graph.roots:
        return False
    return package.get("software_primaryPurpose") == "container" or any(map(is_image_purl, _purls(package, where)))


def _purls(package: Node, where: str) -> list[str]:
    identifiers = objects(package, "externalIdentifier", where)
    return [
        text(package, "software_packageUrl", where),
        *(text(i, "identifier", where) for i in identifiers if i.get("externalIdentifierType") == "packageUrl"),
    ]


def _cpe(package: Node, where: str) -> str:
    identifiers = objects(package, "externalIdentifier", where)
    cpes = (i for i in identifiers if i.get("externalIdentifierType") in ("cpe22", "cpe23"))
    return next((text(i, "identifier", where) for i in cpes), "")


def _components(package: Node, licenses: tuple[str, ...], supplier: str, where: str) -> Iterator[Component]:
    """The package under each of its package URLs: whichever was passed over could be the one that is looked for."""
    cpe = _cpe(package, where)
    for purl in dict.fromkeys(filter(None, _purls(package, where))) or ("",):
        yield component(
            name=text(package, "name", where),
            version=text(package, "software_packageVersion", where),
            purl=purl,
            licenses=licenses,
            where=where,
            supplier=supplier,
            cpe=cpe,
        )
