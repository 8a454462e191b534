"""CycloneDX 1.2 to 1.7 in JSON (https://cyclonedx.org/docs/1.6/json/, ECMA-424)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controller.documents.reading import check_count, child, component, objects, text, texts, time_of
from controller.documents.unwrap import malformed
from controller.errors import Unacceptable
from controller.model.documents import Component, Sbom
from controller.settings import DocumentSettings

_VERSIONS = frozenset({"1.2", "1.3", "1.4", "1.5", "1.6", "1.7"})


def parse(document: Mapping[str, Any], limits: DocumentSettings) -> Sbom:
    """Read a BOM: its components, those nested in them and in the main one, and that unless it is the image itself.

    A BOM that lists no component has none, even if it names a main one. Raises `Unacceptable` (`DocumentMalformed`,
    `DocumentUnsupported`) and `LimitExceeded`.
    """
    if document.get("bomFormat") != "CycloneDX":
        raise malformed("bomFormat is not CycloneDX, so it is no CycloneDX document")
    version = text(document, "specVersion", "the document")
    if version not in _VERSIONS:
        raise Unacceptable("DocumentUnsupported", "only CycloneDX 1.2 to 1.7 are read")
    metadata = child(document, "metadata", "the document")
    main = child(metadata, "component", "metadata")
    listed = [*objects(document, "components", "the document"), *objects(main, "components", "metadata.component")]
    components = list(_components(listed, limits.document_max_components))
    if components and main and main.get("type") != "container":
        components.append(_component(main, "metadata.component"))
        check_count(len(components), limits.document_max_components)
    return Sbom(
        format="CycloneDX",
        spec_version=version,
        name=text(main, "name", "metadata.component"),
        created=time_of(metadata, "timestamp", "metadata"),
        components=tuple(components),
        tools=tuple(_tools(metadata)),
        authors=tuple(dict.fromkeys(filter(None, _authors(metadata)))),
        relationships=_relationships(document),
    )


def _components(listed: list[Mapping[str, Any]], limit: int) -> Iterator[Component]:
    """All components in document order, parents before what is nested in them, without recursion."""
    count = 0
    waiting = [(node, f"components[{i}]") for i, node in reversed(list(enumerate(listed)))]
    while waiting:
        node, where = waiting.pop()
        count += 1
        check_count(count, limit)
        yield _component(node, where)
        nested = objects(node, "components", where)
        waiting.extend((inner, f"{where}.components[{i}]") for i, inner in reversed(list(enumerate(nested))))


def _component(node: Mapping[str, Any], where: str) -> Component:
    return component(
        name=text(node, "name", where),
        version=text(node, "version", where),
        purl=text(node, "purl", where),
        licenses=dict.fromkeys(_licenses(node, where)),
        where=where,
        supplier=_supplier(node, where),
        cpe=text(node, "cpe", where),
    )


def _supplier(node: Mapping[str, Any], where: str) -> str:
    """Who supplies a component, or else who made it: 1.6 has five fields for that."""
    parties = (text(child(node, name, where), "name", f"{where}.{name}") for name in ("supplier", "manufacturer"))
    people = (text(author, "name", f"{where}.authors") for author in objects(node, "authors", where))
    words = (text(node, name, where) for name in ("publisher", "author"))
    return next(filter(None, (*parties, *words, *people)), "")


def _licenses(node: Mapping[str, Any], where: str) -> Iterator[str]:
    for choice in objects(node, "licenses", where):
        inner = child(choice, "license", f"{where}.licenses")
        found = text(choice, "expression", where) or text(inner, "id", where) or text(inner, "name", where)
        if found:
            yield found


def _authors(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Whose document it is. `manufacture` is what `manufacturer` was called until 1.6."""
    for author in objects(metadata, "authors", "metadata"):
        yield text(author, "name", "metadata.authors") or text(author, "email", "metadata.authors")
    for party in ("manufacturer", "manufacture", "supplier"):
        yield text(child(metadata, party, "metadata"), "name", f"metadata.{party}")


def _relationships(document: Mapping[str, Any]) -> int:
    listed = objects(document, "dependencies", "the document")
    return sum(len(texts(dependency, "dependsOn", f"dependencies[{i}]")) for i, dependency in enumerate(listed))


def _tools(metadata: Mapping[str, Any]) -> Iterator[str]:
    tools = metadata.get("tools")
    if isinstance(tools, Mapping):  # since 1.5 an object with components and services
        listed = objects(tools, "components", "metadata.tools")
    else:
        listed = objects(metadata, "tools", "metadata")
    for tool in listed:
        name, version = text(tool, "name", "metadata.tools"), text(tool, "version", "metadata.tools")
        yield f"{name}-{version}" if version else name
