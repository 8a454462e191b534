"""Which documents hold for which images: what was verified of an artefact, for whose runs it counts (`kinship`).

For a run counts what the cluster's policies found, and what those of its own namespace did (`counts_in`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, or_, select

from controller.inventory import tables
from controller.inventory.asking import kinship
from controller.inventory.asking.visibility import alone_in, is_met, met_in
from controller.inventory.database.parameters import among, texts

_document, _found = tables.document, tables.verification
_Key = tuple[str, str, int, str]
_ELSEWHERE = "SubjectMismatch"  # it is about another image, whoever signed it


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What an answer may rest on: recorded by `known_at`, found by the policies of the cluster and of the namespace.

    With `unverified`, documents that nobody was found to vouch for as well.
    """

    known_at: datetime | None = None
    namespace: str | None = None
    unverified: bool = False


@dataclass(frozen=True, slots=True)
class Attested:
    """A document of an image that was judged, or of the one manifest `child` of it (else empty).

    `policies` is the namespace whose own policies found it, empty for the cluster's; `code` says why it was not
    verified; `recorded_at` is when this was known.
    """

    judged: str
    child: str
    policies: str
    document: int
    artifact: str
    verified: bool
    code: str
    recorded_at: datetime
    signed_at: datetime | None

    @property
    def rank(self) -> tuple[bool, datetime, str]:
        """Of several that say the same, the least is shown: verified, known the longest."""
        return (not self.verified, self.recorded_at, self.artifact)

    def counts_in(self, namespaces: Container[str]) -> bool:
        """Whether it counts for what runs in one of these namespaces."""
        return not self.policies or self.policies in namespaces


def names_of(connection: Connection, documents: Sequence[int], known: Knowledge) -> frozenset[str]:
    """Every digest by which a kubelet may name an image that one of these documents may be about, as far as is known.

    None that `of_runs` has one of them for is missing; whether it has, is told by that alone.
    """
    rows = _rows(among(connection, _document.c.id, documents), known)
    about = (_found.c.digest, func.coalesce(_found.c.child, ""))
    query = rows.with_only_columns(*about, maintain_column_froms=True).distinct()
    judged = {(digest, child) for digest, child in connection.execute(query)}
    return frozenset[str]().union(*kinship.of_runs(connection, judged, None).values())


def of_runs(connection: Connection, digests: Iterable[str], known: Knowledge) -> Mapping[str, Sequence[Attested]]:
    """The SBOMs of each of these digests, as a kubelet reported it: in the namespace that is asked about, if one is,
    else whoever's policies found them. For which runs each counts, it says itself (`Attested.counts_in`)."""
    wanted = sorted(set(digests))
    names = kinship.named(texts(connection, ("digest",), [(digest,) for digest in wanted]), known.known_at)
    query = _rows(and_(_document.c.kind == "sbom", _document.c.problem == ""), known)
    query = query.join(names, and_(_found.c.digest == names.c.name, kinship.is_about(_found, names)))
    best: dict[_Key, Attested] = {}
    of: dict[str, set[_Key]] = {digest: set() for digest in wanted}
    for row in connection.execute(query.add_columns(names.c.digest.label("run"))):
        one = _attested(row)
        key = (one.judged, one.child, one.document, one.policies)
        of[row.run].add(key)
        if key not in best or one.rank < best[key].rank:
            best[key] = one
    unverified = [one for one in best.values() if not one.verified]
    denied = set(unverified) - _are_about(connection, unverified, known)
    return {digest: [best[key] for key in sorted(keys) if best[key] not in denied] for digest, keys in of.items()}


def of_image(connection: Connection, digest: str, known: Knowledge) -> Mapping[str, Sequence[Attested]]:
    """The SBOMs of a digest, whether it runs or not. Empty where a namespace met it under none of its names.

    Without a namespace there is one answer for all who run it. So what a namespace's own policies found is in it where
    the image ran in that namespace alone: somebody else could run it to say something of it.
    """
    if known.namespace is None:
        found = of_runs(connection, [digest], known)[digest]
        return {digest: _counting_for_all(connection, digest, found, known)}
    if not is_met(connection, digest, known.namespace, known_at=known.known_at):
        return {}
    found = of_runs(connection, [digest], known)[digest]
    met = met_in(connection, {(one.judged, one.child) for one in found}, known.namespace, known_at=known.known_at)
    return {digest: [one for one in found if (one.judged, one.child) in met]}


def _counting_for_all(
    connection: Connection, digest: str, found: Sequence[Attested], known: Knowledge
) -> Sequence[Attested]:
    own = [one for one in found if one.policies]
    if not own:
        return found
    names = {*kinship.manifests(connection, [digest], known.known_at)[digest], *(one.judged for one in own)}
    owner = alone_in(connection, names, known_at=known.known_at)
    return [one for one in found if one.counts_in((owner,))]


def _attested(row: Row[Any]) -> Attested:
    return Attested(
        judged=row.digest,
        child=row.child or "",
        policies=row.policy_namespace,
        document=row.id,
        artifact=row.artifact,
        verified=row.finding == "attestation",
        code=row.code or "",
        recorded_at=row.recorded_at,
        signed_at=row.signed_at,
    )


def _rows(which: Any, known: Knowledge) -> Select[Any]:
    columns = ("digest", "child", "policy_namespace", "finding", "code", "recorded_at", "signed_at")
    query = (
        select(
            *(_found.c[name] for name in columns),
            _document.c.id,
            _document.c.artifact,
        )
        .join(_found, _found.c.artifact == _document.c.artifact)
        .where(which, _document.c.indexed_at.is_not(None))
    )
    if known.unverified:
        told = and_(_found.c.finding == "rejection", _found.c.code != _ELSEWHERE)
        query = query.where(or_(_found.c.finding == "attestation", told))
    else:
        query = query.where(_found.c.finding == "attestation")
    if known.known_at is not None:
        query = query.where(_found.c.recorded_at <= known.known_at)
    if known.namespace is not None:
        query = query.where(_found.c.policy_namespace.in_(["", known.namespace]))
    return query


def _subjects(connection: Connection, documents: Sequence[int]) -> Mapping[int, set[str]]:
    table = tables.document_subject
    found: dict[int, set[str]] = defaultdict(set)
    if documents:
        query = select(table.c.document, table.c.digest).where(among(connection, table.c.document, documents))
        for document, digest in connection.execute(query):
            found[document].add(digest)
    return found


def _are_about(connection: Connection, unverified: Sequence[Attested], known: Knowledge) -> set[Attested]:
    """Which of these say that they are about the image that they lay beside. One without a word does."""
    subjects = _subjects(connection, [one.document for one in unverified])
    about = {one: one.child or one.judged for one in unverified}
    said = {one: {(digest, subject) for subject in subjects.get(one.document, ())} for one, digest in about.items()}
    akin = kinship.akin(connection, frozenset[tuple[str, str]]().union(*said.values()), known.known_at)
    return {one for one, pairs in said.items() if not pairs or not akin.isdisjoint(pairs)}
