"""Typed reads of foreign JSON: a field of the wrong type is a malformed document, never an empty one.

An absent field and one that is null are the same: Go writes null for what it has not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from controller.documents import purls
from controller.documents.unwrap import malformed
from controller.errors import LimitExceeded
from controller.model.documents import Component, Digests, Resource

_NO_TIME = datetime(1, 1, 1, tzinfo=UTC)  # how Go writes a time that was never set


def text(node: Mapping[str, Any], name: str, where: str) -> str:
    """A string field; empty if absent."""
    value = node.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise malformed(f"{where}.{name} is no string")
    return value


def required(node: Mapping[str, Any], name: str, where: str) -> str:
    """A string field that the format demands, and that says something."""
    value = text(node, name, where)
    if not value:
        raise malformed(f"{where}.{name} is missing")
    return value


def texts(node: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    """A list of strings; empty if absent."""
    value = node.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise malformed(f"{where}.{name} is no list of strings")
    return tuple(value)


def objects(node: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    """A list of objects; empty if absent."""
    value = node.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise malformed(f"{where}.{name} is no list of objects")
    return value


def required_objects(node: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    """A list of objects that the format demands, be it empty: absent would be taken for *nothing was found*."""
    if node.get(name) is None:
        raise malformed(f"{where}.{name} is missing")
    return objects(node, name, where)


def child(node: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """An object; empty if absent."""
    value = node.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise malformed(f"{where}.{name} is no object")
    return value


def required_child(node: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """An object that the format demands."""
    if node.get(name) is None:
        raise malformed(f"{where}.{name} is missing")
    return child(node, name, where)


def number(node: Mapping[str, Any], name: str, where: str) -> float | None:
    """A finite number; None if absent."""
    value = node.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise malformed(f"{where}.{name} is no number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise malformed(f"{where}.{name} is no finite number")
    return found


def time(written: str, where: str) -> datetime | None:
    """An RFC 3339 time in UTC, with or without fractions of a second; None if absent, or Go's zero time."""
    if not written:
        return None
    try:
        moment = datetime.fromisoformat(written)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise malformed(f"{where} is no RFC 3339 time") from exc
    return None if moment == _NO_TIME else moment


def time_of(node: Mapping[str, Any], name: str, where: str) -> datetime | None:
    """A field that holds an RFC 3339 time; None if absent."""
    return time(text(node, name, where), f"{where}.{name}")


def digests(node: Mapping[str, Any], name: str, where: str) -> Digests:
    """A DigestSet; empty if absent: a hash that is missing stays missing."""
    found = child(node, name, where)
    if not all(isinstance(value, str) for value in found.values()):
        raise malformed(f"{where}.{name} is no map of strings")
    return tuple(sorted(found.items()))


def resource(node: Mapping[str, Any], where: str) -> Resource:
    """An in-toto ResourceDescriptor (https://github.com/in-toto/attestation/blob/main/spec/v1/resource_descriptor.md)."""
    return Resource(
        uri=text(node, "uri", where),
        name=text(node, "name", where),
        digests=digests(node, "digest", where),
        media_type=text(node, "mediaType", where),
        download_location=text(node, "downloadLocation", where),
    )


def optional_resource(node: Mapping[str, Any], name: str, where: str) -> Resource | None:
    """A field that holds a ResourceDescriptor; None if absent."""
    return None if node.get(name) is None else resource(child(node, name, where), f"{where}.{name}")


def resources(node: Mapping[str, Any], name: str, where: str, limit: int) -> tuple[Resource, ...]:
    """A list of ResourceDescriptors; empty if absent. Raises `LimitExceeded` past the limit."""
    listed = objects(node, name, where)
    check_count(len(listed), limit)
    return tuple(resource(item, f"{where}.{name}[{i}]") for i, item in enumerate(listed))


def purl(written: str, where: str) -> str:
    """A package URL in canonical form; empty if absent. One that cannot be read would hide a package: an error."""
    if not written:
        return ""
    try:
        return purls.parse(written).canonical()
    except ValueError as exc:
        raise malformed(f"{where} has a package URL that cannot be read") from exc


def is_image_purl(written: str) -> bool:
    """Whether a package URL names a container image."""
    return written.lower().startswith(("pkg:oci/", "pkg:docker/"))


def component(
    *, name: str, version: str, purl: str, licenses: Iterable[str], where: str, supplier: str = "", cpe: str = ""
) -> Component:
    """One component, its purl made canonical. A purl that cannot be read would hide a package, so it is an error."""
    if not name:
        raise malformed(f"{where} has no name")
    if purl:
        try:
            parsed = purls.parse(purl)
        except ValueError as exc:
            raise malformed(f"{where} has a package URL that cannot be read") from exc
        version, purl = version or parsed.version, parsed.canonical()
    return Component(
        name=name,
        version=version or None,
        purl=purl,
        licenses=tuple(licenses),
        supplier=supplier,
        cpe=cpe,
    )


def check_count(count: int, limit: int) -> None:
    """Raise `LimitExceeded` when a document lists more components, findings, statements or the like than allowed."""
    if count > limit:
        raise LimitExceeded("document_max_components", f"a document lists more than {limit} entries")
