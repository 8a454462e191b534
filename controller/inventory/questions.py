"""Everything that can be asked of an inventory, by family. Whoever answers people (REST, commands) is given this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from sqlalchemy import Engine

from controller.inventory.asking.affected.questions import Affected
from controller.inventory.asking.decisions.admissions import Admissions
from controller.inventory.asking.decisions.refused import Refused
from controller.inventory.asking.documents.assets import Assets
from controller.inventory.asking.documents.components import Components
from controller.inventory.asking.documents.findings import Findings
from controller.inventory.asking.documents.packages import Packages
from controller.inventory.asking.documents.sboms import Sboms
from controller.inventory.asking.gathering import Gatherer
from controller.inventory.asking.names import Names
from controller.inventory.asking.queries import Queries
from controller.inventory.asking.reads import ReadLog
from controller.inventory.blobs.store import Blobs
from controller.inventory.ledger.reading import LedgerReader
from controller.inventory.retention.holds import Holds


@dataclass(frozen=True, slots=True)
class Questions:
    """The families, on one pool of connections that cannot write."""

    queries: Queries
    ledger: LedgerReader
    admissions: Admissions
    affected: Affected
    sboms: Sboms
    findings: Findings
    assets: Assets
    packages: Packages
    components: Components
    gatherer: Gatherer
    refused: Refused
    holds: Holds
    reads: ReadLog
    names: Names

    @classmethod
    def of(cls, reading: Engine, blobs: Blobs) -> Self:
        """The families on this pool."""
        return cls(
            queries=Queries(reading, blobs),
            ledger=LedgerReader(reading),
            admissions=Admissions(reading, blobs),
            affected=Affected(reading),
            sboms=Sboms(reading),
            findings=Findings(reading),
            assets=Assets(reading),
            packages=Packages(reading),
            components=Components(reading),
            gatherer=Gatherer(reading, blobs),
            refused=Refused(reading),
            holds=Holds(reading),
            reads=ReadLog(reading),
            names=Names(reading),
        )
