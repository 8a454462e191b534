"""What was decided and what ran, by then and as it was known then; and what a namespace may know of images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from tests.bench.estate.facts import Decision, Evidence, Gap, Image, Judgement, Run, Verdict
from tests.bench.estate.history import Estate

Who = tuple[str, str, str]
T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict about an image: when it was first made, and when the first that says it was recorded."""

    verdict: Verdict
    image: Image
    decided_at: datetime
    recorded_at: datetime


class Past:
    """Decisions, runs, gaps and exceptions of one estate."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._decisions = sorted(estate.decisions, key=lambda d: d.decided_at, reverse=True)
        self._runs = sorted(estate.runs, key=lambda r: r.started_at, reverse=True)
        self._by_judgement: dict[Judgement, list[Decision]] = defaultdict(list)
        self._of_digest: dict[str, list[Decision]] = defaultdict(list)
        for decision in self._decisions:
            self._by_judgement[decision.judgement].append(decision)
            for name in digests_of(decision):
                self._of_digest[name].append(decision)
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
            for d in (self._decisions if digest is None else self._of_digest.get(digest, ()))
            if by_then(d, as_of, known_at)
            and namespace in {None, d.subject.namespace}
            and cluster in {None, d.subject.cluster}
            and verdict in {None, "Allow" if d.judgement.allowed else "Deny"}
            and (since is None or d.decided_at >= since)
            and (until is None or d.decided_at < until)
            and (repository is None or any(repository_of(a.reference) == repository for a in d.judgement.images))
            and (policy is None or any(named(v.policy.key, policy) for v in d.judgement.verdicts))
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
            if not known(run.recorded_at, known_at):
                continue
            if namespace not in {None, run.subject.namespace} or cluster not in {None, run.subject.cluster}:
                continue
            if digest not in {None, run.digest}:
                continue
            ended = run.ended_at if run.end_recorded_at and known(run.end_recorded_at, known_at) else None
            if as_of is not None and not (run.started_at <= as_of and (ended is None or ended > as_of)):
                continue
            ran = Ran(run, ended, run.reason if ended else "", *self._admission(run, known_at))
            if admission not in {None, ran.admission} or (signed is not None and bool(ran.signers) is not signed):
                continue
            if signer is not None and not any(signer in {who[0], who[2]} - {""} for who in ran.signers):
                continue
            found.append(ran)
        return found

    def gaps(
        self, *, as_of: datetime | None = None, known_at: datetime | None = None, namespace: str | None = None
    ) -> list[Gap]:
        """When nobody watched, the latest first: with a namespace, of clusters where anything of it was met."""
        told = [fact for fact in (*self._decisions, *self._runs) if known(fact.recorded_at, known_at)]
        met = {fact.subject.cluster for fact in told if namespace in {None, fact.subject.namespace}}
        found = [
            gap
            for gap in self._estate.gaps
            if (namespace is None or gap.cluster in met)
            and known(gap.recorded_at, known_at)
            and (as_of is None or gap.since <= as_of < gap.until)
        ]
        return sorted(found, key=lambda gap: gap.until, reverse=True)

    def exceptions(
        self, *, name: str | None = None, as_of: datetime | None = None, known_at: datetime | None = None
    ) -> list[Used]:
        """The exceptions that were used, the last used first."""
        uses: dict[tuple[str, str, str], list[datetime]] = defaultdict(list)
        for decision in self._decisions:
            if not by_then(decision, as_of, known_at):
                continue
            for verdict in decision.judgement.verdicts:
                for exemption in verdict.exemptions:
                    if name in {None, exemption.name}:
                        uses[decision.subject.cluster, exemption.name, exemption.hash].append(decision.decided_at)
        found = [Used(*key, len(times), min(times), max(times)) for key, times in uses.items()]
        return sorted(found, key=lambda used: used.last, reverse=True)

    def ran_in(self, namespace: str, *, known_at: datetime | None = None) -> frozenset[str]:
        """The digests that ran in a namespace, and the indexes that they are in."""
        seen = self.seen_in(namespace, known_at=known_at)
        return frozenset(
            seen | {image.digest for image in self._indexes(known_at) if not seen.isdisjoint(image.children)}
        )

    def seen_in(self, namespace: str, *, known_at: datetime | None = None) -> set[str]:
        """The digests that a kubelet told of runs in a namespace."""
        return {
            run.digest
            for run in self._runs
            if run.subject.namespace == namespace and run.digest and known(run.recorded_at, known_at)
        }

    def related(self, *, known_at: datetime | None = None) -> dict[str, set[str]]:
        """By digest: the indexes it is in, and the manifests in it, as decisions told them."""
        found: dict[str, set[str]] = defaultdict(set)
        for image in self._indexes(known_at):
            for child in image.children:
                found[image.digest].add(child)
                found[child].add(image.digest)
        return found

    def _indexes(self, known_at: datetime | None) -> Iterator[Image]:
        for judgement, decisions in self._by_judgement.items():
            if any(known(decision.recorded_at, known_at) for decision in decisions):
                yield from (asked.image for asked in judgement.images if asked.image and asked.image.children)

    def judged(
        self, *, namespace: str | None = None, as_of: datetime | None = None, known_at: datetime | None = None
    ) -> Iterator[Judged]:
        """Every verdict about an image whose digest is known; with a namespace by its own and the cluster's policies.

        The same judgement of many decisions comes once.
        """
        for judgement, decisions in self._by_judgement.items():
            made = [decision for decision in decisions if by_then(decision, as_of, known_at)]
            if not made:
                continue
            first, recorded = min(d.decided_at for d in made), min(d.recorded_at for d in made)
            for verdict in judgement.verdicts:
                image = judgement.images[verdict.image].image
                if image is not None and (namespace is None or verdict.policy.namespace in {"", namespace}):
                    yield Judged(verdict, image, first, recorded)

    def resolved(
        self, *, namespace: str | None = None, as_of: datetime | None = None, known_at: datetime | None = None
    ) -> Iterator[tuple[Image, str, datetime]]:
        """Every image that was resolved for a decision, judged by a policy or not, and when first by one of them.

        An index counts in the namespaces where it was met, one of which is told with it: whoever makes one says of
        manifests what he likes. Of any other image that is empty.
        """
        for judgement, decisions in self._by_judgement.items():
            made = [decision for decision in decisions if by_then(decision, as_of, known_at)]
            for asked in judgement.images if made else ():
                if asked.image is None:
                    continue
                heard: dict[str, list[datetime]] = defaultdict(list)
                for one in made:
                    heard[one.subject.namespace if asked.image.children else ""].append(one.decided_at)
                for where, times in heard.items():
                    if namespace is None or where in {"", namespace}:
                        yield asked.image, where, min(times)

    def names(self, digest: str, *, known_at: datetime | None = None) -> set[str]:
        """The digests of the same image: itself, the indexes that it is in, the manifests in it."""
        return {digest, *self.related(known_at=known_at).get(digest, ())}

    def _admission(self, run: Run, known_at: datetime | None) -> tuple[str, str, dict[Who, tuple[str, ...]]]:
        about = [
            (decision, place)
            for decision in self._about[run.subject.uid]
            if known(decision.recorded_at, known_at)
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
                return "Admitted", decision.id, signers_of(counted)
        return ("Unknown", unresolved, {}) if unresolved else ("Drifted", about[0][0].id, {})


class Vouched(Generic[T]):
    """What was said of images, and by whose policies: those of a namespace count where an image runs there alone."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], set[T]] = defaultdict(set)

    def add(self, digest: str, judged: Judged, said: Iterable[T]) -> None:
        """Some policy's word."""
        self._said[digest, judged.verdict.policy.namespace].update(said)

    def beside(self, digest: str, runs: Iterable[Ran]) -> set[T]:
        """What counts for an image of which these are the runs."""
        where = {ran.run.subject.namespace for ran in runs}
        counting = {"", *where} if len(where) == 1 else {""}
        return set().union(*(self._said.get((digest, namespace), ()) for namespace in counting))


class Rests:
    """What rests on something, since when, and by whose policies: those of a namespace count for what is there."""

    def __init__(self) -> None:
        self._since: dict[str, dict[str, datetime]] = defaultdict(dict)

    def add(self, digest: str, policies: str, at: datetime) -> None:
        """An image, and the namespace whose policies say so (empty: the cluster's)."""
        found = self._since[digest]
        found[policies] = min(found.get(policies, at), at)

    def since(self, digest: str | None, namespace: str) -> datetime | None:
        """Since when that has counted for it in this namespace."""
        found = self._since.get(digest or "", {})
        return min((at for policies, at in found.items() if policies in {"", namespace}), default=None)

    def holds(self, run: Run) -> bool:
        """Whether a run rests on it."""
        return self.since(run.digest, run.subject.namespace) is not None

    @property
    def digests(self) -> frozenset[str]:
        """All images of which somebody's policies say so."""
        return frozenset(self._since)


def known(recorded_at: datetime, known_at: datetime | None) -> bool:
    """Whether it had been recorded."""
    return known_at is None or recorded_at <= known_at


def by_then(decision: Decision, as_of: datetime | None, known_at: datetime | None) -> bool:
    """Whether it had been decided, and is known to have been."""
    return (as_of is None or decision.decided_at <= as_of) and known(decision.recorded_at, known_at)


def digests_of(decision: Decision) -> set[str]:
    """The images of a decision."""
    return {asked.image.digest for asked in decision.judgement.images if asked.image is not None}


def repository_of(reference: str) -> str:
    """A reference without tag and digest."""
    return reference.partition("@")[0].rpartition(":")[0]


def named(key: tuple[str, str, str], wanted: str) -> bool:
    """Whether a policy is meant by a name, or by `namespace/name`."""
    namespace, slash, name = wanted.rpartition("/")
    return key[2] == name and (not slash or key[1] == namespace)


def signers_of(counted: Iterable[Evidence]) -> dict[Who, tuple[str, ...]]:
    """Who signed these, and what."""
    found: dict[Who, set[str]] = defaultdict(set)
    for evidence in counted:
        found[evidence.signer.who].add(evidence.statement)
    return {who: tuple(sorted(what)) for who, what in found.items()}
