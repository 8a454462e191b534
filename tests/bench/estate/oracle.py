"""What an estate's answers are, from its facts alone: loops over plain values, no database, none of the program's code.

It is slow and simple on purpose. Each method is one question; `as_of` is what was true then, `known_at` what had been
recorded by then (None: now, and everything).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tests.bench.estate.facts import Decision, Evidence, Gap, Run
from tests.bench.estate.history import Estate

Who = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Ran:
    """A run as it can be told at a time."""

    run: Run
    ended_at: datetime | None
    reason: str
    admission: str
    record: str
    signers: dict[Who, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Used:
    """One version of an exception, and its uses."""

    cluster: str
    name: str
    hash: str
    uses: int
    first: datetime
    last: datetime


class Oracle:
    """Answers about one estate."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._decisions = sorted(estate.decisions, key=lambda d: d.decided_at, reverse=True)
        self._runs = sorted(estate.runs, key=lambda r: r.started_at, reverse=True)
        self._about: dict[str, list[Decision]] = defaultdict(list)  # those that let a pod in, the first recorded first
        for decision in sorted(estate.decisions, key=lambda d: (d.recorded_at, d.decided_at)):
            if decision.subject.kind == "Pod" and decision.judgement.allowed:
                self._about[decision.subject.uid].append(decision)

    def decisions(
        self,
        *,
        namespace: str | None = None,
        verdict: str | None = None,
        digest: str | None = None,
        repository: str | None = None,
        policy: str | None = None,
        exception: str | None = None,
        flag: str | None = None,
        cluster: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> list[Decision]:
        """The decisions, newest first."""
        return [
            d
            for d in self._decisions
            if _by_then(d, as_of, known_at)
            and namespace in {None, d.subject.namespace}
            and cluster in {None, d.subject.cluster}
            and verdict in {None, "Allow" if d.judgement.allowed else "Deny"}
            and (since is None or d.decided_at >= since)
            and (until is None or d.decided_at < until)
            and (digest is None or digest in _digests(d))
            and (repository is None or any(_repository(a.reference) == repository for a in d.judgement.images))
            and (policy is None or any(_named(v.policy.key, policy) for v in d.judgement.verdicts))
            and (exception is None or any(e.name == exception for v in d.judgement.verdicts for e in v.exemptions))
            and (flag is None or flag in d.judgement.flags)
        ]

    def runs(
        self,
        *,
        as_of: datetime | None = None,
        namespace: str | None = None,
        cluster: str | None = None,
        digest: str | None = None,
        admission: str | None = None,
        signed: bool | None = None,
        signer: str | None = None,
        known_at: datetime | None = None,
    ) -> list[Ran]:
        """What ran, the latest started first."""
        found = []
        for run in self._runs:
            if not _known(run.recorded_at, known_at):
                continue
            if namespace not in {None, run.subject.namespace} or cluster not in {None, run.subject.cluster}:
                continue
            if digest not in {None, run.digest}:
                continue
            ended = run.ended_at if run.end_recorded_at and _known(run.end_recorded_at, known_at) else None
            if as_of is not None and not (run.started_at <= as_of and (ended is None or ended > as_of)):
                continue
            ran = Ran(run, ended, run.reason if ended else "", *self._admission(run, known_at))
            if admission not in {None, ran.admission} or (signed is not None and bool(ran.signers) is not signed):
                continue
            if signer is not None and not any(signer in {who[0], who[2]} - {""} for who in ran.signers):
                continue
            found.append(ran)
        return found

    def gaps(self, *, as_of: datetime | None = None, known_at: datetime | None = None) -> list[Gap]:
        """When nobody watched, the latest first."""
        found = [
            gap
            for gap in self._estate.gaps
            if _known(gap.recorded_at, known_at) and (as_of is None or gap.since <= as_of < gap.until)
        ]
        return sorted(found, key=lambda gap: gap.until, reverse=True)

    def exceptions(
        self, *, name: str | None = None, as_of: datetime | None = None, known_at: datetime | None = None
    ) -> list[Used]:
        """The exceptions that were used, the last used first."""
        uses: dict[tuple[str, str, str], list[datetime]] = defaultdict(list)
        for decision in self._decisions:
            if not _by_then(decision, as_of, known_at):
                continue
            for verdict in decision.judgement.verdicts:
                for exemption in verdict.exemptions:
                    if name in {None, exemption.name}:
                        uses[decision.subject.cluster, exemption.name, exemption.hash].append(decision.decided_at)
        found = [Used(*key, len(times), min(times), max(times)) for key, times in uses.items()]
        return sorted(found, key=lambda used: used.last, reverse=True)

    def ran_in(self, namespace: str, *, known_at: datetime | None = None) -> frozenset[str]:
        """The digests that ran in a namespace, and with an index its manifests, and with those the index."""
        seen = {
            run.digest
            for run in self._runs
            if run.subject.namespace == namespace and run.digest and _known(run.recorded_at, known_at)
        }
        related = self.related(known_at=known_at)
        return frozenset(seen.union(*(related[digest] for digest in seen)))

    def related(self, *, known_at: datetime | None = None) -> dict[str, set[str]]:
        """By digest: the indexes it is in, and the manifests in it, as decisions told them."""
        found: dict[str, set[str]] = defaultdict(set)
        for decision in self._decisions:
            if _known(decision.recorded_at, known_at):
                for asked in decision.judgement.images:
                    for child in asked.image.children if asked.image else ():
                        found[asked.image.digest].add(child)  # type: ignore[union-attr]
                        found[child].add(asked.image.digest)  # type: ignore[union-attr]
        return found

    def evidence(
        self,
        digest: str,
        *,
        namespace: str | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> dict[str, set[tuple[str, tuple[str, str, str]]]]:
        """What was found about a digest: by finding, artefacts with the policy that looked at them."""
        found: dict[str, set[tuple[str, tuple[str, str, str]]]] = defaultdict(set)
        for decision in self._decisions:
            if not _by_then(decision, as_of, known_at):
                continue
            for verdict in decision.judgement.verdicts:
                image = decision.judgement.images[verdict.image].image
                if image is None or image.digest != digest:
                    continue
                if namespace is not None and verdict.policy.namespace not in {"", namespace}:
                    continue
                for evidence in verdict.counted:
                    kind = "signature" if evidence.kind == "signature" else "attestation"
                    found[kind].add((evidence.artifact, verdict.policy.key))
                for evidence in verdict.rejected:
                    found["rejection"].add((evidence.artifact, verdict.policy.key))
        return found

    def _admission(self, run: Run, known_at: datetime | None) -> tuple[str, str, dict[Who, tuple[str, ...]]]:
        about = [
            (decision, place)
            for decision in self._about[run.subject.uid]
            if _known(decision.recorded_at, known_at)
            for place, asked in enumerate(decision.judgement.images)
            if (asked.kind, asked.container) == (run.kind, run.container)
        ]
        if not about:
            return "Unadmitted", "", {}
        if run.digest is None:
            return "Unknown", about[0][0].id, {}
        unresolved = ""
        for decision, place in about:
            image = decision.judgement.images[place].image
            if image is None:
                unresolved = unresolved or decision.id
            elif run.digest in {image.digest, *image.children}:
                counted = (e for v in decision.judgement.verdicts if v.image == place for e in v.counted)
                return "Admitted", decision.id, _signers(counted)
        return ("Unknown", unresolved, {}) if unresolved else ("Drifted", about[0][0].id, {})


def _known(recorded_at: datetime, known_at: datetime | None) -> bool:
    return known_at is None or recorded_at <= known_at


def _by_then(decision: Decision, as_of: datetime | None, known_at: datetime | None) -> bool:
    """Whether it had been decided, and is known to have been."""
    return (as_of is None or decision.decided_at <= as_of) and _known(decision.recorded_at, known_at)


def _digests(decision: Decision) -> set[str]:
    return {asked.image.digest for asked in decision.judgement.images if asked.image is not None}


def _repository(reference: str) -> str:
    return reference.partition("@")[0].rpartition(":")[0]


def _named(key: tuple[str, str, str], wanted: str) -> bool:
    namespace, slash, name = wanted.rpartition("/")
    return key[2] == name and (not slash or key[1] == namespace)


def _signers(counted: Iterable[Evidence]) -> dict[Who, tuple[str, ...]]:
    found: dict[Who, set[str]] = defaultdict(set)
    for evidence in counted:
        found[evidence.signer.who].add(evidence.statement)
    return {who: tuple(sorted(what)) for who, what in found.items()}
