"""What one document says, as rows that do not know their document yet. Plain values: they cross between processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from controller.documents import purls
from controller.model.documents import Component

MAX_NAME = 500  # bytes of a part of a package's name that are told apart: PostgreSQL indexes no longer text
MAX_WORDS = 1000  # characters of what a document says of itself
_BETWEEN = "\x1f"  # the parts of a package's key
_DIGEST = 16  # hex digits that stand for what is cut off

Row = Mapping[str, Any]
PackageName = tuple[str, str, str]


class Listed(NamedTuple):
    """One component as a document lists it. `hash` is the SHA-256 of all that follows, but for `package`."""

    hash: bytes
    package: PackageName
    name: str
    version: str | None
    purl: str
    licenses: str
    supplier: str
    cpe: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What a document says of itself, and its rows.

    `problem` is the reason code of why it could not be read, empty where it could; `subjects` are the images that it
    says it is about (`sha256:…`). `rows` are those of other tables, by the table's name, in the document's order.
    `listed` are all components that it lists, the same one twice if it does, and `lacks_…` count those without that
    word (NTIA's minimum elements); `components` are the different ones.
    """

    kind: str
    predicate_type: str = ""
    problem: str = ""
    problem_detail: str = ""
    subjects: tuple[str, ...] = ()
    format: str = ""
    spec_version: str = ""
    name: str = ""
    created_at: datetime | None = None
    tool: str = ""
    author: str = ""
    listed: int = 0
    lacks_version: int = 0
    lacks_supplier: int = 0
    lacks_identifier: int = 0
    lacks_license: int = 0
    components: tuple[Listed, ...] = ()
    rows: tuple[tuple[str, tuple[Row, ...]], ...] = ()


def listed(component: Component) -> Listed:
    """A component's row."""
    words = (
        storable(component.name),
        storable(component.version) if component.version is not None else None,
        storable(component.purl),
        json.dumps([storable(text) for text in component.licenses], ensure_ascii=False),
        storable(component.supplier),
        storable(component.cpe),
    )
    return Listed(hash_of(words), package_of(words[0], words[2]), *words)


def hash_of(words: Sequence[str | None]) -> bytes:
    """The name of a component by all that is said of it: name, version, purl, licenses, supplier, cpe."""
    return hashlib.sha256(json.dumps(list(words), ensure_ascii=False).encode()).digest()


def package_of(name: str, purl: str) -> PackageName:
    """Under which package a component is found: its purl's, or, without one, its name in lower case."""
    return package_name(*(purls.key_of(purl) if purl else ("", "", name.lower())))


def package_name(kind: str, namespace: str, name: str) -> PackageName:
    """A package's name as it is stored."""
    return _short(kind), _short(namespace), _short(name)


def key_of(package: PackageName) -> str:
    """A package's name in one text: by it the index is ordered."""
    return _BETWEEN.join(package)


def _short(text: str) -> str:
    text = text.replace(_BETWEEN, "\N{REPLACEMENT CHARACTER}")
    content = text.encode()
    if len(content) <= MAX_NAME:
        return text
    return f"{content[: MAX_NAME - _DIGEST].decode(errors='ignore')}{hashlib.sha256(content).hexdigest()[:_DIGEST]}"


def words(texts: Sequence[str]) -> str:
    """What a document says of itself, in one line."""
    return storable(", ".join(texts))[:MAX_WORDS]


def storable(text: str) -> str:
    """U+0000, which PostgreSQL cannot hold, stays in the document alone."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text
