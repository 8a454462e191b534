"""What an export of a release or an incident must hold: which records, and which raw bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from tests.bench.estate.facts import Decision, Gap
from tests.bench.estate.leaves import TRUST_ROOT_HASH
from tests.bench.estate.oracle.past import Ran, known
from tests.bench.estate.oracle.refusals import Refusals


class Exports(Refusals):
    """Answers for who hands evidence over."""

    def export(
        self,
        *,
        known_at: datetime,
        digest: str | None = None,
        run: str | None = None,
        namespace: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> tuple[set[str], list[Decision]]:
        """The records' ids, and the decisions among them.

        What was decided about an image (or in a namespace) in that time; what ran of it then, whole, with the ends that
        were known, the decisions about these pods, and the gaps of the watch while they ran.
        """
        names = {digest, *self._children(digest, known_at)} if digest is not None else set()
        chosen: dict[str, Decision] = {}
        if run is None:
            decided = self.decisions(namespace=namespace, digest=digest, since=since, until=until, known_at=known_at)
            chosen = {decision.id: decision for decision in decided}
        ran = [
            one
            for one in self.runs(namespace=namespace, known_at=known_at)
            if (run is None or one.run.run == run)
            and (digest is None or one.run.digest in names)
            and (until is None or one.run.started_at < until)
            and (since is None or one.ended_at is None or one.ended_at > since)
        ]
        pods = {one.run.subject.uid for one in ran}
        for decision in self.decisions(namespace=namespace, known_at=known_at):
            if decision.subject.kind == "Pod" and decision.subject.uid in pods:
                chosen[decision.id] = decision
        seen = {one.run.id for one in ran} | {one.run.end_id for one in ran if one.ended_at is not None}
        unseen = {gap.id for gap in self._while(ran, known_at, since, until)}
        return {*chosen, *seen, *unseen}, list(chosen.values())

    def parts(self, decisions: Iterable[Decision]) -> tuple[set[str], set[str]]:
        """The raw bytes of decisions: evidence, and what they were made by (policies, trust roots, exceptions)."""
        evidence, grounds = set(), set()
        for decision in decisions:
            for verdict in decision.judgement.verdicts:
                evidence |= {one.artifact for one in (*verdict.counted, *verdict.rejected)}
                contents = (verdict.policy.content, *(one.content for one in verdict.exemptions))
                grounds |= {f"sha256:{hashlib.sha256(content).hexdigest()}" for content in contents}
                grounds.add(TRUST_ROOT_HASH)
        return evidence, grounds

    def visible_evidence(self, namespace: str | None, *, known_at: datetime | None = None) -> set[str]:
        """The evidence that a namespace may read: of images that ran there, as its and the cluster's policies found it.

        None is whoever may read everything.
        """
        there = self.ran_in(namespace, known_at=known_at) if namespace is not None else None
        found = set()
        for one in self.judged(namespace=namespace, known_at=known_at):
            if there is None or one.image.digest in there:
                found |= {each.artifact for each in (*one.verdict.counted, *one.verdict.rejected)}
        return found

    def _children(self, digest: str, known_at: datetime) -> set[str]:
        return {
            child
            for decision in self.decisions(digest=digest, known_at=known_at)
            for asked in decision.judgement.images
            if asked.image is not None and asked.image.digest == digest
            for child in asked.image.children
        }

    def _while(
        self, ran: list[Ran], known_at: datetime, since: datetime | None, until: datetime | None
    ) -> Iterable[Gap]:
        for cluster in {one.run.subject.cluster for one in ran}:
            ours = [one for one in ran if one.run.subject.cluster == cluster]
            first = min(one.run.started_at for one in ours)
            last = max(one.ended_at or known_at for one in ours)
            first, last = max(first, since or first), min(last, until or last)
            for gap in self._estate.gaps:
                if (
                    gap.cluster == cluster
                    and gap.since <= last
                    and gap.until > first
                    and known(gap.recorded_at, known_at)
                ):
                    yield gap
