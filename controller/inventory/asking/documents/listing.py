"""What some documents list of a package, read from these documents alone, however many others list it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from controller.inventory import tables
from controller.inventory.database.parameters import among

TOGETHER = 100  # documents whose components are gone through in one statement: each has some thousands

_component, _package, _link = tables.component, tables.package, tables.sbom_component


@dataclass(frozen=True, slots=True)
class Listing:
    """The components (`id`, `name`, `version`, `purl`) that were found, each once, and of each document its own."""

    components: Sequence[Row[Any]]
    documents: Mapping[int, Sequence[int]]

    def by_document(self, components: Container[int]) -> Iterator[tuple[int, Sequence[int]]]:
        """Of each document those of these components that it lists, sorted; documents that list none are left out."""
        for document, some in self.documents.items():
            if own := sorted(number for number in some if number in components):
                yield document, own


def listed(connection: Connection, keys: Sequence[str], documents: Collection[int]) -> Listing:
    """What these documents list of the packages of these keys."""
    packages = list(connection.execute(select(_package.c.id).where(_package.c.key.in_(keys))).scalars())
    found: dict[int, Any] = {}
    own: dict[int, list[int]] = defaultdict(list)
    ordered = sorted(documents) if packages else []
    for start in range(0, len(ordered), TOGETHER):
        query = (
            select(_component.c.id, _component.c.name, _component.c.version, _component.c.purl, _link.c.document)
            .join_from(_link, _component, _component.c.id == _link.c.component)
            .where(among(connection, _link.c.document, ordered[start : start + TOGETHER]))
            # To be compared, and not to be found by: of such a package there is more than these documents list.
            .where((_component.c.package + 0).in_(packages))
        )
        for row in connection.execute(query):
            found[row.id] = row
            own[row.document].append(row.id)
    return Listing(list(found.values()), own)
