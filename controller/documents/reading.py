"""Typed reads of foreign JSON: a field of the wrong type is a malformed document, never an empty one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from controller.documents import purls
from controller.documents.unwrap import malformed
from controller.errors import LimitExceeded
from controller.model.documents import Component


def text(node: Mapping[str, Any], name: str, where: str) -> str:
    """A string field; empty if absent."""
    value = node.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise malformed(f"{where}.{name} is no string")
    return value


def objects(node: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    """A list of objects; empty if absent."""
    value = node.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise malformed(f"{where}.{name} is no list of objects")
    return value


def child(node: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """An object; empty if absent."""
    value = node.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise malformed(f"{where}.{name} is no object")
    return value


def time(written: str, where: str) -> datetime | None:
    """An RFC 3339 time in UTC, with or without fractions of a second; None if absent."""
    if not written:
        return None
    try:
        moment = datetime.fromisoformat(written)
    except ValueError as exc:
        raise malformed(f"{where} is no RFC 3339 time") from exc
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def component(*, name: str, version: str, purl: str, licenses: Iterable[str], where: str) -> Component:
    """One component, its purl made canonical. A purl that cannot be read would hide a package, so it is an error."""
    if not name:
        raise malformed(f"{where} has no name")
    if not purl:
        return Component(name=name, version=version or None, licenses=tuple(licenses))
    try:
        parsed = purls.parse(purl)
    except ValueError as exc:
        raise malformed(f"{where} has a package URL that cannot be read") from exc
    return Component(
        name=name, version=version or parsed.version or None, purl=parsed.canonical(), licenses=tuple(licenses)
    )


def check_count(count: int, limit: int) -> None:
    """Raise `LimitExceeded` when an SBOM has more components than allowed."""
    if count > limit:
        raise LimitExceeded("document_max_components", f"an SBOM has more than {limit} components")
