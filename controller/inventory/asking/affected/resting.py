"""Which images rest on a signer, a builder, a source, a base image, a log entry or an artefact, by what was verified.

A digest rests on something from the first decision at which that counted for it. What was found later holds for earlier
runs as well: an image is what it is whenever it ran.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Select, Table, literal, or_, select

from controller.errors import InputError
from controller.inventory import origins, tables
from controller.inventory.asking.kinship import Judged
from controller.inventory.asking.names import check_signer
from controller.inventory.asking.visibility import met_in
from controller.inventory.recording import claims, tracing
from controller.model.reference import Digest

MAX_IMAGES = 50_000  # that may rest on one thing for one answer: bounds its memory
TOGETHER = 5000  # rows that are looked at together

_ENTRY = re.compile(r"([^:\s]+:)?[0-9]+")  # as `tracing.log_entry` writes it
_evidence, _trace = tables.evidence, tables.trace
_COLUMNS = ("digest", "child", "artifact", "decided_at", "recorded_at", "policy_namespace")


class Source(StrEnum):
    """By whose word an image rests on something.

    Verified: PROOF (the signature or attestation itself), CERTIFICATE (of who signed), PROVENANCE. Claimed by the
    image, bound by its digest and signed by nobody: ANNOTATION (of its manifest, or of the index that holds it), LABEL
    (of its configuration).
    """

    PROOF = "proof"
    CERTIFICATE = "certificate"
    PROVENANCE = "provenance"
    ANNOTATION = claims.ANNOTATION
    LABEL = claims.LABEL

    @property
    def is_claim(self) -> bool:
        """Whether nobody but the image says so."""
        return self in {Source.ANNOTATION, Source.LABEL}


IN_ORDER = tuple(Source)  # written down: an Enum is gone through ten times as slowly
_CLAIMS = frozenset({claims.ANNOTATION, claims.LABEL})


class Footing(StrEnum):
    """What an image may rest on.

    SIGNER: a key by its fingerprint, or an identity's subject, whole. LOG_ENTRY: its index, or `<log id>:<index>`.
    ARTIFACT: the blob of a signature or attestation, by its digest. BUILDER, SOURCE (a repository, a commit, or
    `<repository>@<commit>`) and BASE (a digest, or a name as people write images) by verified provenance; builder and
    source also by what a signer's certificate says, a base image also by what an image claims of itself.
    """

    SIGNER = "signer"
    BUILDER = "builder"
    SOURCE = "source"
    BASE = "base"
    LOG_ENTRY = "log-entry"
    ARTIFACT = "artifact"


_NARROWER = {
    Footing.SIGNER: "for the log entry of one signature",
    Footing.BUILDER: "for one source that it built",
    Footing.SOURCE: "for one commit (REPOSITORY@COMMIT)",
    Footing.BASE: "for one digest of the base image",
    Footing.LOG_ENTRY: "for the entry of one log (LOG:INDEX)",
}
"""What fewer images rest on than on something of that kind. Nothing is narrower than one artefact."""


@dataclass(frozen=True, slots=True)
class Told:
    """By whose word, and since when that was known, and recorded.

    `only_in`: it counts for what runs in these namespaces alone, since no policies but their own found it. Empty where
    those of the cluster did, and where one namespace is asked about.
    """

    source: Source
    since: datetime
    recorded_at: datetime
    only_in: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resting:
    """One image that rests on it: by which bytes, by whose word, and since when that was known to count for it.

    `artifacts` are proofs and documents; of a claim the manifest or configuration that makes it. `sources` are never
    empty, each once, in the order of `Source`.
    """

    digest: str
    artifacts: tuple[str, ...]
    since: datetime
    recorded_at: datetime
    sources: tuple[Told, ...]

    @property
    def is_claimed(self) -> bool:
        """Whether nothing that was verified says it."""
        return all(told.source.is_claim for told in self.sources)


Times = tuple[datetime, datetime]
"""Since when it was known, and since when that was recorded."""


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of one image (`Resting`), as thousands of them are held: the bytes that say it, and the times by
    word, which is the value of a `Source`."""

    digest: str
    artifacts: set[str]
    words: dict[str, Times]

    @property
    def since(self) -> datetime:
        """Since when it was known to rest on it."""
        return min(since for since, _ in self.words.values())

    @property
    def is_claimed(self) -> bool:
        """Whether nothing that was verified says it."""
        return self.words.keys() <= _CLAIMS

    def joined(self, other: Said) -> Said:
        """What both say, under this one's digest."""
        words = dict(self.words)
        for word, times in other.words.items():
            words[word] = earliest(words[word], times) if word in words else times
        return Said(self.digest, self.artifacts | other.artifacts, words)


def earliest(one: Times, other: Times) -> Times:
    """Since when either was known, and since when either was recorded."""
    return min(one[0], other[0]), min(one[1], other[1])


Grounds = dict[str, Said]
"""By whose policies it was found: a namespace's own, or those of the cluster (`EVERYWHERE`)."""

EVERYWHERE = ""  # the policies of the cluster: what they found counts in every namespace


def resting(
    connection: Connection, footing: Footing, value: str, *, known_at: datetime | None, namespace: str | None
) -> dict[Judged, Grounds]:
    """What is said of the images, by what was judged. With a namespace of those that are visible to it, as its own and
    the cluster's policies found it, which is all `EVERYWHERE` to it: no other counts, not even to be too many.

    Raises `InputError`: `DigestMalformed`, `ReferenceMalformed`, `LogEntryMalformed` for what cannot be what is asked
    about, `AnswerTooLarge`.
    """
    found: dict[Judged, Grounds] = {}
    for query in _leading_to(footing, value):
        rows = connection.execute(_visible(query, known_at, namespace).execution_options(yield_per=TOGETHER))
        for some in rows.partitions():
            met = None
            if namespace is not None:
                new = {(row.digest, row.child) for row in some} - found.keys()
                met = met_in(connection, new, namespace, known_at=known_at)
            for digest, child, artifact, decided_at, recorded_at, policies, word in some:
                judged = (digest, child)
                if (by := found.get(judged)) is None:
                    if met is not None and judged not in met:
                        continue
                    if len(found) == MAX_IMAGES:
                        raise _too_many(footing, namespace)
                    by = found[judged] = {}
                whose = policies if namespace is None else EVERYWHERE
                times = decided_at, recorded_at
                if (one := by.get(whose)) is None:
                    by[whose] = Said(child or digest, {artifact}, {word: times})
                    continue
                one.artifacts.add(artifact)
                one.words[word] = earliest(one.words[word], times) if word in one.words else times
    return found


def _too_many(footing: Footing, namespace: str | None) -> InputError:
    """Says what helps who asked: one namespace, or what fewer images can rest on."""
    helps = [] if namespace is not None else ["of one namespace"]
    helps += [_NARROWER[footing]] if footing in _NARROWER else []
    where = " in this namespace" if namespace is not None else ""
    advice = f": ask {' or '.join(helps)}" if helps else ""
    return InputError("AnswerTooLarge", f"more than {MAX_IMAGES} images{where} rest on it{advice}")


def _visible(query: Select[Any], known_at: datetime | None, namespace: str | None) -> Select[Any]:
    """Only what had been recorded by then, and what the namespace's own and the cluster's policies found."""
    columns = query.selected_columns
    if known_at is not None:
        query = query.where(columns.recorded_at <= known_at)
    if namespace is not None:
        query = query.where(columns.policy_namespace.in_(["", namespace]))
    return query


def _leading_to(footing: Footing, value: str) -> list[Select[Any]]:
    """What leads there: rows of `evidence`, `trace` or `claim`, whose columns have one name, and `source`."""
    match footing:
        case Footing.SIGNER:
            return [_traced(check_signer(value), Source.PROOF, tracing.KEY, tracing.SUBJECT)]
        case Footing.LOG_ENTRY:
            return [_traced(_entry(value), Source.PROOF, tracing.LOG)]
        case Footing.ARTIFACT:
            counted = or_(_evidence.c.finding == "signature", _evidence.c.finding == "attestation")
            return [_of(_evidence, Source.PROOF).where(_evidence.c.artifact == str(Digest.parse(value)), counted)]
        case Footing.BUILDER | Footing.SOURCE:
            name = origins.asked(footing, value)
            return [_traced(name, Source.CERTIFICATE, footing), _documented(name, footing)]
        case Footing.BASE:
            name = origins.asked(footing, value)
            return [_documented(name, footing), _claimed(name, footing)]


def _entry(name: str) -> str:
    """The name of a log's entry. Raises `InputError` (`LogEntryMalformed`) for what cannot be one."""
    if not _ENTRY.fullmatch(name):
        raise InputError("LogEntryMalformed", f"{name!r} is no entry of a log: give its index, or LOGID:INDEX")
    return name


def _of(table: Table, source: Source) -> Select[Any]:
    return select(*(table.c[name] for name in _COLUMNS), literal(source.value).label("source"))


def _documented(name: str, kind: str) -> Select[Any]:
    """By documents that counted for an image."""
    trace, document = tables.document_trace, tables.document
    return (
        _of(_evidence, Source.PROVENANCE)
        .join(document, document.c.artifact == _evidence.c.artifact)
        .join(trace, trace.c.document == document.c.id)
        .where(trace.c.kind == kind, trace.c.value == name)
        .where(_evidence.c.finding == "attestation", document.c.indexed_at.is_not(None))
    )


def _traced(value: str, source: Source, *kinds: str) -> Select[Any]:
    return _of(_trace, source).where(_trace.c.kind.in_(kinds), _trace.c.value == value)


def _claimed(name: str, kind: str) -> Select[Any]:
    claim = tables.claim
    columns = select(*(claim.c[column] for column in _COLUMNS), claim.c.source)
    return columns.where(claim.c.kind == kind, claim.c.value == name)
