"""Under which version of which policies an object was judged."""

from __future__ import annotations

from datetime import datetime

from tests.bench.estate.facts import Verdict
from tests.bench.estate.oracle.past import Past, known

Under = tuple[str, str, str, str]
Told = tuple[str, str | None, Under, datetime, str, tuple[str, str, str]]


class Admissions(Past):
    """Answers about one object."""

    def admissions(
        self,
        name: str,
        *,
        namespace: str | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
        confined: bool = False,
    ) -> list[tuple[str, list[Told]]]:
        """The decisions about a pod, newest first: each verdict's container, digest, policy version, when that version
        was first decided by (`confined`: in the namespace), what it came to, and the one rule of an estate's policy
        with its value and code."""
        first = self._first_used(known_at, namespace if confined else None)
        found = []
        for decision in self.decisions(namespace=namespace, as_of=as_of, known_at=known_at):
            if (decision.subject.kind, decision.subject.name) != ("Pod", name):
                continue
            told = []
            for verdict in decision.judgement.verdicts:
                asked = decision.judgement.images[verdict.image]
                under = (*verdict.policy.key, verdict.policy.hash)
                digest = asked.image.digest if asked.image is not None else None
                told.append((asked.container, digest, under, first[under], verdict.outcome, _rule(verdict)))
            found.append((decision.id, told))
        return found

    def _first_used(self, known_at: datetime | None, namespace: str | None) -> dict[Under, datetime]:
        first: dict[Under, datetime] = {}
        for judgement, decisions in self._by_judgement.items():
            made = [
                decision.decided_at
                for decision in decisions
                if known(decision.recorded_at, known_at) and namespace in {None, decision.subject.namespace}
            ]
            for verdict in judgement.verdicts if made else ():
                under = (*verdict.policy.key, verdict.policy.hash)
                first[under] = min(first.get(under, made[0]), *made)
        return first


def _rule(verdict: Verdict) -> tuple[str, str, str]:
    requires = verdict.policy.requires
    rule = "signatures" if requires == "signature" else f"attestations[{requires}]"
    value = "true" if not verdict.code else "error" if verdict.outcome == "Error" else "false"
    return rule, value, verdict.code
