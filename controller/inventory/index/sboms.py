"""An SBOM as rows: what it says of itself, what its components lack, and the components."""

from __future__ import annotations

from controller.documents.packages import Element, lacking
from controller.errors import LimitExceeded
from controller.inventory.index.contents import Contents, listed, words
from controller.inventory.index.systems import systems
from controller.model.documents import Sbom


def contents(sbom: Sbom) -> Contents:
    """The rows of an SBOM; the same component listed twice is one."""
    rows = {row.hash: row for row in map(listed, sbom.components)}
    return Contents(
        kind="sbom",
        format=sbom.format,
        spec_version=words([sbom.spec_version]),
        name=words([sbom.name]),
        created_at=sbom.created,
        tool=words(sbom.tools),
        author=words(sbom.authors),
        listed=len(sbom.components),
        lacks_version=_lacking(sbom, Element.VERSION),
        lacks_supplier=_lacking(sbom, Element.SUPPLIER),
        lacks_identifier=_lacking(sbom, Element.IDENTIFIER),
        lacks_license=_lacking(sbom, Element.LICENSE),
        components=tuple(rows.values()),
        rows=(("document_trace", systems(sbom.components)),),
    )


def _lacking(sbom: Sbom, element: Element) -> int:
    """How many components lack it; all, where that is more than can be told."""
    try:
        return len(lacking([sbom], element)) if sbom.components else 0
    except LimitExceeded:
        return len(sbom.components)
