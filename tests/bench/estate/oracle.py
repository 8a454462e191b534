"""What an estate's answers are, from its facts alone: loops over plain values, no database, none of the program's code.

It is slow and simple on purpose. Each method is one question; `as_of` is what was true then, `known_at` what had been
recorded by then (None: now, and everything).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import unquote

from tests.bench.estate.facts import Component, Decision, Evidence, Gap, Provenance, Run, Sbom
from tests.bench.estate.history import Estate

Who = tuple[str, str, str]
SBOM_STATES = ("NotLookedFor", "None", "OtherDigest", "Untrusted", "Incomplete", "Stale", "Complete")  # worst first
STALE = timedelta(days=90)


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
class Contained:
    """One component of one run, by the document that says so."""

    run: str
    purl: str
    version: str | None
    artifact: str
    verified: bool
    known_then: bool


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

    def resting(
        self, kind: str, value: str, *, namespace: str | None = None, known_at: datetime | None = None
    ) -> dict[str, datetime]:
        """The images that rest on a signer, log entry or artefact, each since it first counted for one.

        `kind` is `signer`, `builder`, `source`, `base`, `log-entry` or `artifact`. What rests on it is the image and,
        of an index, its manifests.
        """
        since: dict[str, datetime] = {}
        for decision in self._decisions:
            if not _known(decision.recorded_at, known_at):
                continue
            for verdict in decision.judgement.verdicts:
                image = decision.judgement.images[verdict.image].image
                if image is None or (namespace is not None and verdict.policy.namespace not in {"", namespace}):
                    continue
                if any(_leads(evidence, kind, value) for evidence in verdict.counted):
                    for digest in (image.digest, *image.children):
                        since[digest] = min(since.get(digest, decision.decided_at), decision.decided_at)
        return since

    def admitted_on(
        self,
        since: dict[str, datetime],
        *,
        namespace: str | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> list[Decision]:
        """The decisions that let one of these images in, from when it rested on that, newest first."""
        return [
            d
            for d in self.decisions(namespace=namespace, verdict="Allow", as_of=as_of, known_at=known_at)
            if any(digest in since and d.decided_at >= since[digest] for digest in _digests(d))
        ]

    def described(
        self, *, namespace: str | None = None, known_at: datetime | None = None, unverified: bool = False
    ) -> dict[str, dict[Evidence, tuple[datetime, bool]]]:
        """The SBOMs of each digest, an index's manifests included: since when it is known, and whether it verified.

        What says that it is about another image is none of this one, `unverified` or not.
        """
        found: dict[str, dict[Evidence, tuple[datetime, bool]]] = defaultdict(dict)
        for decision in self._decisions:
            if not _known(decision.recorded_at, known_at):
                continue
            for verdict in decision.judgement.verdicts:
                image = decision.judgement.images[verdict.image].image
                if image is None or (namespace is not None and verdict.policy.namespace not in {"", namespace}):
                    continue
                told = [(e, True) for e in verdict.counted]
                told += [(e, False) for e in verdict.rejected if unverified and e.code != "SubjectMismatch"]
                for evidence, verified in told:
                    if not isinstance(evidence.says, Sbom):
                        continue
                    for digest in (image.digest, *image.children):
                        first, before = found[digest].get(evidence, (decision.recorded_at, verified))
                        found[digest][evidence] = min(first, decision.recorded_at), before or verified
        return found

    def packages(
        self,
        package: str,
        accepts: Callable[[str], bool],
        *,
        as_of: datetime | None = None,
        namespace: str | None = None,
        cluster: str | None = None,
        known_at: datetime | None = None,
        unverified: bool = False,
    ) -> set[Contained]:
        """What ran with a package (its purl without a version) in a version that is accepted, or that nobody names."""
        described = self.described(namespace=namespace, known_at=known_at, unverified=unverified)
        names = _names(package)
        return {
            Contained(ran.run.run, c.purl, c.version, e.artifact, verified, as_of is None or recorded_at <= as_of)
            for ran in self.runs(as_of=as_of, namespace=namespace, cluster=cluster, known_at=known_at)
            for e, (recorded_at, verified) in described.get(ran.run.digest or "", {}).items()
            for c in e.says.components  # type: ignore[attr-defined]
            if (c.purl.partition("@")[0] == package if c.purl else c.name.lower() in names)
            if c.version is None or accepts(c.version)
        }

    def components(
        self,
        *,
        as_of: datetime | None = None,
        namespace: str | None = None,
        cluster: str | None = None,
        known_at: datetime | None = None,
    ) -> dict[Component, int]:
        """What runs is made of, and in how many of the images each component is."""
        described = self.described(namespace=namespace, known_at=known_at)
        running = {
            ran.run.digest or ""
            for ran in self.runs(as_of=as_of, namespace=namespace, cluster=cluster, known_at=known_at)
        }
        found: dict[Component, int] = defaultdict(int)
        for digest in running:
            listed = {c for e in described.get(digest, {}) for c in e.says.components}  # type: ignore[attr-defined]
            for component in listed:
                found[component] += 1
        return found

    def sboms(
        self,
        as_of: datetime,
        *,
        namespace: str | None = None,
        cluster: str | None = None,
        known_at: datetime | None = None,
    ) -> dict[str, str]:
        """The state of the SBOM of each image that runs, by digest."""
        states: dict[str, str] = {}
        for decision in self._decisions:
            if not _by_then(decision, as_of, known_at):
                continue
            for verdict in decision.judgement.verdicts:
                image = decision.judgement.images[verdict.image].image
                if image is None or (namespace is not None and verdict.policy.namespace not in {"", namespace}):
                    continue
                found = [_sbom_state(e, as_of) for e in (*verdict.counted, *verdict.rejected) if e.kind == "sbom"]
                for digest in (image.digest, *image.children):
                    states[digest] = max([states.get(digest, "None"), *found], key=SBOM_STATES.index)
        running = self.runs(as_of=as_of, namespace=namespace, cluster=cluster, known_at=known_at)
        return {ran.run.digest: states.get(ran.run.digest, "NotLookedFor") for ran in running if ran.run.digest}

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


def _sbom_state(evidence: Evidence, as_of: datetime) -> str:
    """The state that this SBOM gives its image: what the estate's inventor made of it, and its age."""
    said = evidence.says
    if not isinstance(said, Sbom):
        raise TypeError("no SBOM")
    if evidence.code:
        return "OtherDigest" if evidence.code == "SubjectMismatch" else "Untrusted"
    if sum(component.version is None for component in said.components) * 10 > len(said.components):
        return "Incomplete"
    return "Stale" if as_of - said.created > STALE else "Complete"


def _leads(evidence: Evidence, kind: str, value: str) -> bool:
    """Whether this evidence is, or is by, or is logged as, what is asked about."""
    if kind == "signer":
        return value in {evidence.signer.key, evidence.signer.subject} - {""}
    if kind == "log-entry":
        return evidence.log_index is not None and value == str(evidence.log_index)
    if kind == "source" and evidence.signer.subject.partition("/.github")[0] == value:  # the certificate says so
        return True
    if kind in {"builder", "source", "base"}:
        told = evidence.says
        names = {"builder": "builder", "source": "source", "base": "base_digest"}
        return isinstance(told, Provenance) and getattr(told, names[kind]) == value
    return evidence.artifact == value


def _names(package: str) -> set[str]:
    """How a component without a package URL may be called that is this package."""
    path = unquote(package.partition(":")[2].partition("/")[2])
    namespace, _, name = path.rpartition("/")
    return {name.lower(), f"{namespace}/{name}".lower(), f"{namespace}:{name}".lower()}


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
