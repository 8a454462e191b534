"""The normal forms of attested documents: one shape whatever the producer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Component:
    """One package of an SBOM. `purl` is canonical (package-url spec); empty where the document gives none.

    `version` is None where the document gives none: it stays missing, it is never guessed.
    """

    name: str
    version: str | None
    purl: str = ""
    licenses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sbom:
    """A software bill of materials. `format` is `SPDX` or `CycloneDX`, with its `spec_version`."""

    format: str
    spec_version: str
    name: str
    created: datetime | None
    components: tuple[Component, ...]
    tools: tuple[str, ...] = field(default=())
