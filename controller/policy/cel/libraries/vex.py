"""`vex`: what verified OpenVEX documents say of a vulnerability in this image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from controller.documents import purls
from controller.documents.exploitability import Exploitability, Subject
from controller.errors import Unacceptable
from controller.model.documents import Vex, VexProduct, VexStatement
from controller.policy.cel.libraries.provenances import present
from controller.policy.cel.libraries.vulnerabilities import FindingValue
from controller.policy.cel.meter import BYTES_PER_STEP, Abort, Meter
from controller.policy.cel.overloads import UNKNOWN, ConstantError, Library
from controller.policy.cel.schema import BOOL, FINDING, STRING, VEX
from controller.policy.cel.values import register_class, register_record

LIBRARY = Library("vex", "Functions of `vex`, over the statements about this image in all verified OpenVEX documents.")

_COST = "1 step for each 16 bytes of the arguments, and for each statement about the vulnerability"


class VexDocuments(list[Vex]):
    """The verified documents, with the index of what they say of the image, built at the first question."""

    def __init__(self, documents: Sequence[Vex], subject: Subject, now: datetime) -> None:
        super().__init__(documents)
        self._subject = subject
        self._now = now
        self._said: Exploitability | None = None

    @property
    def said(self) -> Exploitability:
        """What they say."""
        if self._said is None:
            self._said = Exploitability(self, self._subject, self._now)
        return self._said


def _document(document: Vex) -> dict[str, Any]:
    return present(id=document.id, author=document.author, timestamp=document.timestamp, statements=document.statements)


def _statement(statement: VexStatement) -> dict[str, Any]:
    return present(
        vulnerability=statement.vulnerability,
        aliases=statement.aliases,
        products=statement.products,
        status=str(statement.status),
        justification=statement.justification,
        impact=statement.impact,
        action=statement.action,
        timestamp=statement.timestamp,
    )


def _product(product: VexProduct) -> dict[str, Any]:
    parts = tuple(part.purl or part.id for part in product.subcomponents)
    return present(id=product.id, purl=product.purl, subcomponents=parts)


register_class(VexDocuments, "vex", base="list")
register_record(Vex, _document)
register_record(VexStatement, _statement)
register_record(VexProduct, _product)


def _check(_receiver: Any, _vulnerability: Any, purl: Any = "") -> None:
    if purl is UNKNOWN or not purl:
        return
    try:
        purls.parse(purl)
    except ValueError as exc:
        raise ConstantError(2, "ArgumentInvalid", f"{purl[:100]!r} is no package URL: {exc}") from exc


@LIBRARY.method("status", VEX, STRING, returns=STRING, cost=_COST)
@LIBRARY.method("status", VEX, STRING, STRING, returns=STRING, cost=_COST, check=_check)
def status(meter: Meter, vex: VexDocuments, vulnerability: str, purl: str = "") -> str:
    """What is said of a vulnerability in a package of the image, or in all of it: a status, or '' where nobody says."""
    meter.charge(len(vulnerability) + len(purl))
    try:
        found = vex.said.status(vulnerability, purl, charge=_by_statement(meter))
    except ValueError as exc:
        raise Abort(Unacceptable("ArgumentInvalid", f"vex.status: the package URL cannot be read: {exc}")) from exc
    return "" if found is None else str(found)


@LIBRARY.method("clears", VEX, FINDING, returns=BOOL, cost="1 step for each statement about one of its names")
def clears(meter: Meter, vex: VexDocuments, finding: FindingValue) -> bool:
    """Whether a finding is said to be no trouble (`not_affected`, `fixed`), under each name that it has."""
    meter.step()
    return vex.said.clears(finding.finding, _by_statement(meter))


def _by_statement(meter: Meter) -> Callable[[int], None]:
    return lambda count: meter.charge(BYTES_PER_STEP * count)
