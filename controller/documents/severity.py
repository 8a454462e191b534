"""Scanners' words for severity. Of several the worst counts: none of them could tell that it is less."""

from __future__ import annotations

from collections.abc import Iterable

from controller.documents.unwrap import malformed
from controller.model.documents import Severity

_ORDER = list(Severity)
_WORDS = {severity.value: severity for severity in Severity} | {
    "": Severity.UNKNOWN,
    "MODERATE": Severity.MEDIUM,  # GitHub's word
    "IMPORTANT": Severity.HIGH,  # Red Hat's
    "NONE": Severity.NEGLIGIBLE,  # CVSS 3.1, table 14
}
MAX_SCORE = 10.0  # CVSS base scores go from 0 to this


def read(word: str, where: str) -> Severity:
    """The severity that a word stands for; UNKNOWN for none. A word that nobody knows is malformed, never harmless."""
    severity = _WORDS.get(word.upper())
    if severity is None:
        raise malformed(f"{where} is no severity")
    return severity


def worst(words: Iterable[str]) -> Severity:
    """The worst of the words that stand for a severity; UNKNOWN if none does."""
    known = (_WORDS.get(word.upper(), Severity.UNKNOWN) for word in words)
    return min((s for s in known if s is not Severity.UNKNOWN), key=_ORDER.index, default=Severity.UNKNOWN)


def of_score(score: float) -> Severity:
    """The qualitative rating of a CVSS base score (CVSS 3.1, table 14)."""
    bounds = ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM), (0.1, Severity.LOW))
    return next((severity for least, severity in bounds if score >= least), Severity.NEGLIGIBLE)
