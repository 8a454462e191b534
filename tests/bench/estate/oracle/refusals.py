"""What runs though a policy would refuse it by now, as it was last evaluated."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from tests.bench.estate.facts import Decision, Verdict
from tests.bench.estate.oracle.assets import Assets
from tests.bench.estate.oracle.past import by_then, named

Where = tuple[str, str, str, tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class Refused:
    """That a version of a policy refuses an image in a namespace of a cluster: its newest word on it there."""

    policy: tuple[str, str, str]
    version: str
    current: bool
    digest: str
    outcome: str
    reasons: tuple[str, ...]
    since: datetime
    evaluated_at: datetime
    record: str


class Refusals(Assets):
    """Answers from what policies said last."""

    def refused(
        self,
        as_of: datetime,
        *,
        namespace: str | None = None,
        cluster: str | None = None,
        policy: str | None = None,
        known_at: datetime | None = None,
    ) -> dict[str, frozenset[Refused]]:
        """By run: who refuses its image. Runs that nobody refuses are left out."""
        said: dict[Where, list[tuple[Decision, Verdict]]] = defaultdict(list)
        last: dict[tuple[str, tuple[str, str, str]], tuple[datetime, str]] = {}
        children: dict[str, tuple[str, ...]] = {}
        for decision in self._decisions:
            if not by_then(decision, as_of, known_at):
                continue
            subject = decision.subject
            for verdict in decision.judgement.verdicts:
                key, told = (subject.cluster, verdict.policy.key), (decision.decided_at, verdict.policy.hash)
                if namespace in {None, subject.namespace}:  # what a policy does elsewhere is nothing to a namespace
                    last[key] = max(last.get(key, told), told)
                image = decision.judgement.images[verdict.image].image
                if image is not None:
                    children[image.digest] = image.children
                    where = (subject.cluster, subject.namespace, image.digest, verdict.policy.key)
                    said[where].append((decision, verdict))
        refusing: dict[tuple[str, str, str], list[Refused]] = defaultdict(list)
        for (in_cluster, where_, digest, key), every in said.items():
            decision, verdict = max(every, key=lambda each: each[0].decided_at)
            if namespace not in {None, where_} or not _refuses(verdict):
                continue
            if policy is not None and not named(key, policy):
                continue
            version = verdict.policy.hash
            before = [d.decided_at for d, v in every if _refuses(v) and v.policy.hash == version]
            current = last[in_cluster, key][1] == version
            codes, at = (verdict.code,), decision.decided_at
            told = Refused(key, version, current, digest, verdict.outcome, codes, min(before), at, decision.id)
            for name in (digest, *children[digest]):
                refusing[in_cluster, where_, name].append(told)
        found = {}
        for ran in self.runs(as_of=as_of, namespace=namespace, cluster=cluster, known_at=known_at):
            pod = ran.run.subject
            refusals = refusing.get((pod.cluster, pod.namespace, ran.run.digest or ""), ())
            if refusals:
                found[ran.run.run] = frozenset(refusals)
        return found


def _refuses(verdict: Verdict) -> bool:
    return verdict.outcome in {"Violated", "Error"} and "Deny" in verdict.policy.actions
