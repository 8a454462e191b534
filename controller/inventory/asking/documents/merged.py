"""One CycloneDX document of many: the components of all that runs, as JSON of version 1.6, written as it is read.

https://cyclonedx.org/docs/1.6/json/. The same question about the same state gives the same bytes: the serial number is
made of what was asked and of the documents that the answer was made of, and the timestamp is the question's.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller import __version__
from controller.inventory.asking.asker import MAX_LIMIT
from controller.inventory.asking.documents.components import ComponentPage, ComponentRecord, Components

SPEC_VERSION = "1.6"
MAX_VERSION = 1024  # characters of a component's version that the format takes


@dataclass(frozen=True, slots=True)
class Subject:
    """What the merged document describes: all that runs in a cluster or namespace (empty: all of them), or one image.

    `at` is the time that was asked about.
    """

    at: datetime
    cluster: str = ""
    namespace: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """How people call it."""
        where = [f"{what} {name}" for what, name in (("cluster", self.cluster), ("namespace", self.namespace)) if name]
        return " ".join(([self.digest] if self.digest else []) + where) or "all clusters"


def cyclonedx(subject: Subject, documents: Iterable[str], components: Iterable[ComponentRecord]) -> Iterator[str]:
    """The document, in pieces. `documents` are the artefacts of all that the components were read from."""
    yield json.dumps(_head(subject, sorted(documents)), indent=2)[:-2]  # without the closing bracket
    yield ',\n  "components": ['
    first = True
    for record in components:
        yield "\n    " if first else ",\n    "
        yield json.dumps(component(record), ensure_ascii=False)
        first = False
    yield "]\n}\n" if first else "\n  ]\n}\n"


def _head(subject: Subject, documents: list[str]) -> dict[str, Any]:
    at = subject.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = json.dumps([at, subject.cluster, subject.namespace, subject.digest, documents]).encode()
    serial = uuid.UUID(bytes=hashlib.sha256(name).digest()[:16], version=5)
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": at,
            "tools": {"components": [{"type": "application", "name": "assay", "version": __version__}]},
            "component": {
                "type": "container" if subject.digest else "platform",
                "bom-ref": "subject",
                "name": subject.name,
                **({"version": subject.digest} if subject.digest else {}),
            },
            "properties": [{"name": "assay:document", "value": document} for document in documents],
        },
    }


def component(record: ComponentRecord) -> dict[str, Any]:
    """One component, as CycloneDX has it. Licenses are named as they were written: nobody judged what they are.

    A version that is longer than the format takes stands in the property `assay:version`.
    """
    value: dict[str, Any] = {"type": "library", "bom-ref": record.hash, "name": record.name}
    too_long = record.version is not None and len(record.version) > MAX_VERSION
    if record.version is not None and not too_long:
        value["version"] = record.version
    if record.supplier:
        value["supplier"] = {"name": record.supplier}
    if record.licenses:
        value["licenses"] = [{"license": {"name": name}} for name in record.licenses]
    value |= {name: text for name, text in (("cpe", record.cpe), ("purl", record.purl)) if text}
    told = {"assay:version": record.version} if too_long else {}
    told |= {"assay:images": str(record.images), "assay:verified": str(record.verified).lower()}
    value["properties"] = [{"name": name, "value": text} for name, text in told.items()]
    return value


def merge(
    components: Components, subject: Subject, *, unverified: bool = False, known_at: datetime | None = None
) -> Iterator[str]:
    """The document of a subject, in pieces: page by page, so that its length costs no memory.

    The first page is there when this returns: it raises as `Components.components`, and so do the pieces.
    """
    known_at = known_at or datetime.now(UTC)

    def ask(cursor: str | None) -> ComponentPage:
        return components.components(
            as_of=subject.at,
            namespace=subject.namespace or None,
            cluster=subject.cluster or None,
            digest=subject.digest or None,
            unverified=unverified,
            limit=MAX_LIMIT,
            cursor=cursor,
            known_at=known_at,
        )

    first = ask(None)

    def records() -> Iterator[ComponentRecord]:
        page = first
        yield from page.items
        while page.cursor is not None:
            page = ask(page.cursor)
            yield from page.items

    return cyclonedx(subject, first.documents, records())
