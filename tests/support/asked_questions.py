"""The fifteen questions: how each is asked of an inventory that holds the estate, and what is true.

The table has one row for each question: how the inventory is asked, and what the oracle says, which has never seen the
program. What is asked *as it was known then* is asked of a moment between the truth of something and its recording at
which that makes a difference to the answer; where there is none, the test fails, for then it would show nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from random import Random
from typing import Any

from controller.inventory.asking.affected.questions import MAX_COUNTED
from controller.inventory.asking.affected.resting import Footing
from controller.inventory.asking.documents.findings import FindingFilter
from controller.inventory.bundle.source import Selection
from controller.inventory.questions import Questions
from controller.inventory.records import Admission, DecisionFilter
from controller.model.reference import Digest
from tests.bench.estate.facts import Component, Evidence, Sbom
from tests.bench.estate.oracle import Asset, Contained, Found, Refused
from tests.bench.estate.size import BEGIN
from tests.support.asked_estate import DAY, PAGE, estate, every, oracle

NAMESPACES = ("team-01", "team-03")  # those that have policies of their own
CANDIDATES = 80  # moments that are tried
FLAGS = ("exempt", "break-glass", "fail-open", "warn")


@dataclass(frozen=True)
class When:
    """The two times of a question; None: now, and everything."""

    as_of: datetime | None = None
    known_at: datetime | None = None

    @property
    def at(self) -> datetime:
        """What was true when."""
        return self.as_of or datetime.now(UTC)

    @property
    def times(self) -> dict[str, Any]:
        """As keywords, the first one given."""
        return {"as_of": self.at, "known_at": self.known_at}

    @property
    def asked(self) -> dict[str, Any]:
        """As keywords, as somebody leaves them out."""
        return {"as_of": self.as_of, "known_at": self.known_at}


NOW, PAST = When(), When(BEGIN + 220.3 * DAY)


@dataclass(frozen=True)
class Question:
    """A row. `told` asks the inventory, `wanted` the oracle; both answer with plain values that can be compared.

    `told` is given `Questions`, or a door with the same handles (`doors`).
    """

    number: int
    told: Callable[[Any, When, str | None], Any]
    wanted: Callable[[When, str | None], Any]


# What is asked about: chosen by chance, but for what everybody has.


@cache
def sboms() -> list[Evidence]:
    return [e for image in estate().world.images for e in image.evidence if isinstance(e.says, Sbom)]


@cache
def packages() -> list[tuple[str, str]]:
    """Package URLs without version, with one: what most SBOMs list, and of it where versions are three numbers."""
    lists = [e.says.components for e in sboms()]  # type: ignore[attr-defined]
    common = Counter(c.purl.partition("@")[0] for some in lists for c in some if c.purl.startswith("pkg:npm/"))
    found = [name for name, _ in common.most_common(2)]
    versions = {c.purl.partition("@")[0]: c.version or "" for some in lists for c in some if c.purl}
    return [(name, versions[name]) for name in found]


@cache
def lags() -> tuple[datetime, ...]:
    """Moments at which something was true already, and not recorded yet."""
    facts = [(d.decided_at, d.recorded_at) for d in estate().decisions]
    facts += [(run.started_at, run.recorded_at) for run in estate().runs]
    return tuple(true + (recorded - true) / 2 for true, recorded in Random("lags").sample(facts, CANDIDATES))


@cache
def late_evidence() -> tuple[datetime, ...]:
    """Moments at which evidence had counted and was not recorded yet, of images known to run: one of each kind.

    Else what is not known yet would be missing for the runs' sake alone.
    """
    first: dict[Evidence, tuple[datetime, datetime]] = {}
    names: dict[Evidence, set[str]] = {}
    for one in oracle().judged():
        for evidence in (*one.verdict.counted, *one.verdict.rejected):
            decided_at, recorded_at = first.get(evidence, (one.decided_at, one.recorded_at))
            first[evidence] = min(decided_at, one.decided_at), min(recorded_at, one.recorded_at)
            names.setdefault(evidence, set()).update((one.image.digest, *one.image.children))
    found: dict[str, datetime] = {}
    for evidence, (decided_at, recorded_at) in first.items():
        moment = decided_at + (recorded_at - decided_at) / 2
        if evidence.kind not in found and any(
            run.digest in names[evidence]
            and run.recorded_at <= moment
            and (run.ended_at is None or run.ended_at > moment)
            for run in estate().runs
        ):
            found[evidence.kind] = moment
    return tuple(found.values())


@cache
def pods() -> list[str]:
    """Pods that were decided upon while one of these moments was near, one of each namespace, and the last of all."""
    asked = [d for d in estate().decisions if d.subject.kind == "Pod"]
    near = [d for d in asked for moment in lags()[:20] if d.decided_at <= moment < d.recorded_at]
    own = [next(d for d in asked if d.subject.namespace == name) for name in NAMESPACES]
    last = max(asked, key=lambda decision: decision.decided_at)
    return sorted({d.subject.name for d in (*own, *near[:10], last)})


@cache
def digests() -> list[str]:
    """Images that ran here, there, and nowhere; an index and its manifests; and what nobody decided upon."""
    images = Random("digests").sample(estate().world.images, 8)
    drifted = next(run.digest for run in estate().runs if run.digest and run.subject.namespace == "kube-system")
    return [name for image in images for name in (image.digest, *image.children[:1])] + [drifted]


@cache
def artifacts() -> list[str]:
    found = [e.artifact for image in estate().world.images for e in image.evidence if e.artifact]
    return Random("artifacts").sample(found, 40)


def signer() -> str:
    good = Counter(e.signer.key or e.signer.subject for e in sboms() if not e.code and e.artifact)
    return good.most_common(1)[0][0]


# 1 to 3: packages in what runs.


def packages_told(number: int, *, ranged: bool, unverified: bool) -> Callable[[Questions, When, str | None], Any]:
    def ask(questions: Questions, when: When, namespace: str | None) -> Any:
        package, version = packages()[number]
        versions = f"<={version}" if ranged else ""
        where = {**when.asked, "namespace": namespace, "unverified": unverified, "limit": PAGE}
        found = every(lambda cursor: questions.packages.packages(package, versions, **where, cursor=cursor))
        runs = by_run()
        keys = [(one.pod, one.container, one.digest, one.started_at) for one in found]
        assert len(set(zip(keys, [one.purl for one in found], [one.artifact for one in found], strict=True))) == len(
            found
        )
        return {
            Contained(runs[key], one.purl, one.version, one.artifact, one.verified, one.known_then)
            for key, one in zip(keys, found, strict=True)
        }

    return ask


def packages_wanted(number: int, *, ranged: bool, unverified: bool) -> Callable[[When, str | None], Any]:
    def ask(when: When, namespace: str | None) -> Any:
        package, most = packages()[number]
        return oracle().packages(
            package,
            lambda one: not ranged or numbers(one) <= numbers(most),
            **when.times,
            namespace=namespace,
            unverified=unverified,
        )

    return ask


@cache
def by_run() -> dict[tuple[str, str, str | None, datetime], str]:
    return {(r.subject.name, r.container, r.digest, r.started_at): r.run for r in estate().runs}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


# 4: who signed what runs, and what nobody signed.


def signed_told(questions: Questions, when: When, namespace: str | None) -> Any:
    found = {}
    for signed in (True, False):
        ask = partial(questions.queries.runs, **when.times, namespace=namespace, signed=signed, limit=PAGE)
        for run in every(lambda cursor, ask=ask: ask(cursor=cursor)):
            found[run.run] = (signed, {(who.key, who.issuer, who.subject): who.statements for who in run.signers})
    return found


def signed_wanted(when: When, namespace: str | None) -> Any:
    return {ran.run.run: (bool(ran.signers), ran.signers) for ran in oracle().runs(**when.times, namespace=namespace)}


# 5: under which policy version a pod was admitted.


def admissions_told(questions: Questions, when: When, namespace: str | None) -> Any:
    ask = partial(questions.admissions.admissions, namespace=namespace, **when.asked)
    return {
        name: [
            (
                record.id,
                [
                    (one.container, one.digest, policy_of(one), one.first_used_at, one.outcome, rule_of(one))
                    for one in record.judged
                ],
            )
            for record in every(lambda cursor, name=name: ask(name=name, cursor=cursor))
        ]
        for name in pods()
    }


def policy_of(judged: Any) -> tuple[str, str, str, str]:
    policy = judged.policy
    return policy.kind, policy.namespace, policy.name, policy.hash


def rule_of(judged: Any) -> tuple[str, str, str]:
    (rule,) = judged.rules
    return rule.rule, str(rule.value), rule.code


def admissions_wanted(when: When, namespace: str | None, *, confined: bool = False) -> Any:
    """`confined`: as somebody is told who may see the namespace alone."""
    asked = {"namespace": namespace, "confined": confined, **when.asked}
    return {name: oracle().admissions(name, **asked) for name in pods()}


# 6: what was admitted otherwise than by the rules, and what runs without any admission.


def irregular_told(questions: Questions, when: When, namespace: str | None) -> Any:
    found: dict[str, Any] = {}
    for flag in FLAGS:
        where = DecisionFilter(flag=flag, namespace=namespace)
        ask = partial(questions.queries.decisions, where, **when.asked, limit=PAGE)
        found[flag] = [item.id for item in every(lambda cursor, ask=ask: ask(cursor=cursor))]
    where_ran = {**when.times, "namespace": namespace, "admission": Admission.UNADMITTED, "limit": PAGE}
    ran = every(lambda cursor: questions.queries.runs(**where_ran, cursor=cursor))
    return found | {"unadmitted": {run.run for run in ran}}


def irregular_wanted(when: When, namespace: str | None) -> Any:
    ran = oracle().runs(**when.times, namespace=namespace, admission="Unadmitted")
    found: dict[str, Any] = {
        flag: [d.id for d in oracle().decisions(flag=flag, namespace=namespace, **when.asked)] for flag in FLAGS
    }
    return found | {"unadmitted": {one.run.run for one in ran}}


# 7: what runs and would be refused.


def refused_told(questions: Questions, when: When, namespace: str | None) -> Any:
    ask = partial(questions.refused.refused, **when.asked, namespace=namespace, limit=PAGE)
    found = every(lambda cursor: ask(cursor=cursor))
    assert [item.run.started_at for item in found] == sorted((i.run.started_at for i in found), reverse=True)
    return {
        item.run.run: frozenset(
            Refused(
                policy=policy_of(one)[:3],
                version=one.policy.hash,
                current=one.current,
                digest=one.digest,
                outcome=one.outcome,
                reasons=one.reasons,
                since=one.since,
                evaluated_at=one.evaluated_at,
                record=one.record,
            )
            for one in item.refusals
        )
        for item in found
    }


def refused_wanted(when: When, namespace: str | None) -> Any:
    return oracle().refused(when.at, known_at=when.known_at, namespace=namespace)


# 8: exceptions, of the whole; in a namespace the decisions that rest on one.


def exceptions_told(questions: Questions, when: When, namespace: str | None) -> Any:
    if namespace is not None:
        return [
            [
                item.id
                for item in every(
                    lambda cursor, name=name: questions.queries.decisions(
                        DecisionFilter(exception=name, namespace=namespace), **when.asked, cursor=cursor
                    )
                )
            ]
            for name in exempted()
        ]
    found = every(lambda cursor: questions.queries.exceptions(**when.asked, cursor=cursor, limit=PAGE))
    return [(r.cluster, r.name, r.hash, r.uses, r.first_used_at, r.last_used_at) for r in found]


def exceptions_wanted(when: When, namespace: str | None) -> Any:
    if namespace is not None:
        return [
            [d.id for d in oracle().decisions(exception=name, namespace=namespace, **when.asked)] for name in exempted()
        ]
    return [(u.cluster, u.name, u.hash, u.uses, u.first, u.last) for u in oracle().exceptions(**when.asked)]


@cache
def exempted() -> list[str]:
    return sorted({used.name for used in oracle().exceptions()})


# 9: what is known of an image, and the evidence itself.


def images_told(questions: Questions, when: When, namespace: str | None) -> Any:
    found: dict[str, Any] = {}
    for digest in digests():
        record = questions.queries.image(digest, **when.asked, namespace=namespace, limit=1)
        kinds = ("signature", "attestation", "rejection")
        found[digest] = record and (
            record.admitted,
            record.denied,
            record.first_decided_at,
            record.last_decided_at,
            [{(f.detail["artifact"], policy_of(f)[:3]) for f in getattr(record, f"{kind}s")} for kind in kinds],
        )
    blobs = {one: questions.queries.blob(one, known_at=when.known_at, namespace=namespace) for one in artifacts()}
    return found, {one for one, content in blobs.items() if content is not None and str(Digest.of(content)) == one}


def images_wanted(when: When, namespace: str | None) -> Any:
    known = {"namespace": namespace, "known_at": when.known_at}
    there = oracle().ran_in(namespace, known_at=when.known_at) if namespace is not None else set(digests())
    found: dict[str, Any] = {}
    for digest in digests():
        made = oracle().decisions(digest=digest, as_of=when.as_of, **known)
        found[digest] = None
        if made and digest in there:
            told = oracle().evidence(digest, as_of=when.as_of, **known)
            found[digest] = (
                sum(d.judgement.allowed for d in made),
                sum(not d.judgement.allowed for d in made),
                made[-1].decided_at,
                made[0].decided_at,
                [told.get(kind, set()) for kind in ("signature", "attestation", "rejection")],
            )
    return found, set(artifacts()) & oracle().visible_evidence(**known)


# 10 and 11: SBOMs.


def sboms_told(questions: Questions, when: When, namespace: str | None) -> Any:
    ask = partial(questions.sboms.sboms, **when.asked, namespace=namespace, limit=PAGE)
    found = every(lambda cursor: ask(cursor=cursor))
    return {one.digest: str(one.state) for one in found}, +Counter(ask().counts)


def sboms_wanted(when: When, namespace: str | None) -> Any:
    states = oracle().sboms(when.at, known_at=when.known_at, namespace=namespace)
    return states, Counter(states.values())


CLUSTER = "staging"


def components_told(questions: Questions, when: When, namespace: str | None) -> Any:
    ask = partial(questions.components.components, **when.asked, namespace=namespace, cluster=CLUSTER, limit=PAGE)
    found = every(lambda cursor: ask(cursor=cursor))
    told = {
        Component(c.name, c.version, c.purl, " ".join(c.licenses), c.supplier, c.cpe): c.images
        for c in found
        if c.verified
    }
    assert len(told) == len(found)
    return told


def components_wanted(when: When, namespace: str | None) -> Any:
    return dict(oracle().components(**when.times, namespace=namespace, cluster=CLUSTER))


# 12: the asset list.


def assets_told(questions: Questions, when: When, namespace: str | None) -> Any:
    found = every(lambda cursor: questions.assets.assets(**when.asked, namespace=namespace, limit=7, cursor=cursor))
    for one in found:
        assert one.containers == sum(owner.containers for owner in one.workloads)
        assert one.clusters == tuple(sorted({owner.cluster for owner in one.workloads}))
    return [
        Asset(
            identifier=one.identifier,
            references=one.references,
            workloads=tuple((w.cluster, w.namespace, w.owner, w.containers) for w in one.workloads),
            since=one.since,
            system=(one.system, one.system_source),
            base=(one.base, one.base_source),
            scanned_at=one.scanned_at,
            in_latest_scan=one.in_latest_scan,
        )
        for one in found
    ]


def assets_wanted(when: When, namespace: str | None) -> Any:
    return oracle().assets(when.at, known_at=when.known_at, namespace=namespace)


def asset_rows_told(door: Any, when: When, namespace: str | None) -> Any:
    """As people get them: rows of a workbook."""
    found = every(lambda cursor: door.assets.assets(**when.asked, namespace=namespace, limit=PAGE, cursor=cursor))
    return [(row.identifier, row.software, row.location, row.system, row.baseline, row.in_latest_scan) for row in found]


def asset_rows_wanted(when: When, namespace: str | None) -> Any:
    return [
        (
            one.identifier,
            ", ".join(one.references),
            ", ".join(sorted({cluster for cluster, *_ in one.workloads})),
            one.system[0],
            one.base[0],
            "Yes" if one.in_latest_scan else "No",
        )
        for one in assets_wanted(when, namespace)
    ]


# 13: what scanners found.


def finding_told(one: Any) -> tuple[Any, ...]:
    return (
        *(one.vulnerability, one.severity, one.score, one.package, one.version, one.purl, one.fixed_versions),
        *(one.fixable, one.digest, one.repositories, one.runs, one.namespaces, one.clusters),
        *(one.first_seen_at, one.reported_at, one.report, one.cleared, [s.status for s in one.statements]),
    )


def finding_wanted(one: Found) -> tuple[Any, ...]:
    said = one.said
    fixed = (said.fixed,) if said.fixed else ()
    return (
        *(said.id, said.severity, said.score, said.package, said.version, said.purl, fixed),
        *(bool(fixed), one.digest, one.repositories, one.runs, one.namespaces, one.clusters),
        *(one.first_seen_at, one.reported_at, one.report, one.cleared, ["not_affected"] * one.cleared),
    )


def findings_told(questions: Questions, when: When, namespace: str | None) -> Any:
    where = FindingFilter(namespace=namespace)
    ask = partial(questions.findings.findings, where, **when.asked, limit=PAGE)
    first, found = ask(), every(lambda cursor: ask(cursor=cursor))
    return sorted(map(finding_told, found), key=str), first.images, first.unreported


def findings_wanted(when: When, namespace: str | None) -> Any:
    found, images, unreported = oracle().findings(when.at, known_at=when.known_at, namespace=namespace)
    return sorted(map(finding_wanted, found), key=str), images, unreported


# 14: what rests on a signer that turned out bad.


def affected_told(questions: Questions, when: When, namespace: str | None) -> Any:
    where = {**when.asked, "namespace": namespace}
    extent = questions.affected.extent(Footing.SIGNER, signer(), **where)
    images = every(lambda cursor: questions.affected.images(Footing.SIGNER, signer(), **where, cursor=cursor))
    ask = partial(questions.affected.runs, Footing.SIGNER, signer(), ever=True, limit=PAGE, **where)
    ran = every(lambda cursor: ask(cursor=cursor))
    return (
        (extent.running, extent.ran, extent.admitted, extent.namespaces),
        {i.digest for i in images},
        {run.run for run in ran},
    )


def affected_wanted(when: When, namespace: str | None) -> Any:
    known = {"namespace": namespace, "known_at": when.known_at}
    bad = oracle().resting("signer", signer(), **known)
    running = [one for one in oracle().runs(as_of=when.at, **known) if bad.holds(one.run)]
    ran = [one for one in oracle().runs(**known) if bad.holds(one.run) and one.run.started_at <= when.at]
    admitted = oracle().admitted_on(bad, as_of=when.at, **known)
    proven = {image.digest for image in estate().world.images} & bad.digests
    if namespace is not None:
        proven &= oracle().ran_in(namespace, known_at=when.known_at)
    namespaces = tuple(sorted({one.run.subject.namespace for one in running}))
    counts = (min(len(found), MAX_COUNTED) for found in (ran, admitted))
    return (len(running), *counts, namespaces), proven, {one.run.run for one in ran}


# 15: the export of an image, and of some days of a namespace: records, and the bytes that go with them.


def selections(when: When, namespace: str | None) -> Iterator[dict[str, Any]]:
    begin = when.at - 6 * DAY if when.as_of else BEGIN + 350 * DAY
    yield {"namespace": namespace or NAMESPACES[0], "since": begin, "until": when.as_of}
    for digest in digests()[:3]:
        yield {"digest": digest, "namespace": namespace, "since": begin - 20 * DAY, "until": when.as_of}


def exports_told(questions: Questions, when: When, namespace: str | None) -> Any:
    told = []
    for chosen in selections(when, namespace):
        found = questions.gatherer.gather(
            Selection(**chosen), known_at=when.known_at or datetime.now(UTC), confined=namespace is not None
        )
        leaves = list(found.leaves()) if found is not None else []
        names = {name for leaf in leaves for name in leaf.get("blobs", ())}
        held = {name for name in names if found is not None and found.blob(name) is not None}
        told.append(({leaf["id"] for leaf in leaves}, held, names - held))
    return told


def exports_wanted(when: When, namespace: str | None, *, confined: bool | None = None) -> Any:
    """`confined`: evidence is kept back that the namespace which is exported may not see; default: where one asks."""
    wanted = []
    known_at = when.known_at or datetime.now(UTC)
    for chosen in selections(when, namespace):
        records, decisions = oracle().export(**chosen, known_at=known_at)
        evidence, grounds = oracle().parts(decisions)
        seen = evidence
        if chosen["namespace"] is not None and (confined if confined is not None else namespace is not None):
            seen = evidence & oracle().visible_evidence(chosen["namespace"], known_at=known_at)
        wanted.append((records, seen | grounds, evidence - seen))
    return wanted


QUESTIONS = (
    Question(
        1,
        packages_told(0, ranged=False, unverified=False),
        packages_wanted(0, ranged=False, unverified=False),
    ),
    Question(2, packages_told(1, ranged=True, unverified=False), packages_wanted(1, ranged=True, unverified=False)),
    Question(3, packages_told(0, ranged=True, unverified=True), packages_wanted(0, ranged=True, unverified=True)),
    Question(4, signed_told, signed_wanted),
    Question(5, admissions_told, admissions_wanted),
    Question(6, irregular_told, irregular_wanted),
    Question(7, refused_told, refused_wanted),
    Question(8, exceptions_told, exceptions_wanted),
    Question(9, images_told, images_wanted),
    Question(10, sboms_told, sboms_wanted),
    Question(11, components_told, components_wanted),
    Question(12, assets_told, assets_wanted),
    Question(13, findings_told, findings_wanted),
    Question(14, affected_told, affected_wanted),
    Question(15, exports_told, exports_wanted),
)

ROWS = Question(12, asset_rows_told, asset_rows_wanted)
BY_REST = {
    5: Question(5, admissions_told, partial(admissions_wanted, confined=True)),
    12: ROWS,
    15: Question(15, exports_told, partial(exports_wanted, confined=True)),
}
"""What REST answers otherwise: it asks as somebody who may see the namespace that he names alone."""
BY_COMMAND = {12: ROWS, 15: Question(15, exports_told, partial(exports_wanted, confined=False))}
"""What the commands answer otherwise: whoever has the database has all of it."""


@cache
def true_of(question: Question, when: When, namespace: str | None) -> Any:
    """The oracle's answer, worked out once for both databases and each door."""
    return question.wanted(when, namespace)


def wanted(number: int, when: When, namespace: str | None) -> Any:
    """The oracle's answer to the question of this number."""
    return true_of(QUESTIONS[number - 1], when, namespace)


@cache
def unknown_then(number: int) -> datetime:
    """A moment whose answer was another one while that was all that was known."""
    for moment in lags():
        if wanted(number, When(moment, moment), None) != wanted(number, When(moment), None):
            return moment
    raise AssertionError(f"question {number}: nothing was recorded late enough to tell the two times apart")
