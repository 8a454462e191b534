"""A year of an estate: deployments roll, pods come and go, webhook, registry, database and watch are away at times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from random import Random

from tests.bench.estate.facts import (
    CONTAINER,
    INIT,
    Asked,
    Decision,
    Gap,
    Image,
    Judgement,
    Policy,
    Run,
    Subject,
    Verdict,
)
from tests.bench.estate.policies import Rules, rules
from tests.bench.estate.size import BEGIN, DAYS, END, Size
from tests.bench.estate.world import MIRRORED, Repository, World, digest

WATCHED, UNWATCHED = ("prod-eu", "prod-us", "staging"), "ci"
CLUSTERS = (*WATCHED, UNWATCHED)
SYSTEM = "kube-system"  # excluded from admission
REPLICAS = (1, 2, 2, 3, 3, 5, 10)
CONTROLLER = "system:serviceaccount:kube-system:replicaset-controller"
SAMPLE = 60  # workloads on which the churn is tried
RETRIES = 4  # times that a refused pod is tried again
ENDS = ("Completed", "Error", "OOMKilled", "PodDeleted", "Evicted", "NodeLost")
Window = tuple[datetime, datetime]
Fact = Decision | Run | Gap


@dataclass(frozen=True, slots=True)
class Weather:
    """When something was away."""

    webhook: dict[str, tuple[Window, ...]]  # by cluster: pods were not asked about
    registry: tuple[Window, ...]
    database: tuple[Window, ...]  # decisions were kept in the spool
    watch: dict[str, tuple[Window, ...]]  # by cluster


@dataclass(slots=True)
class Slot:
    """The place of one pod of a workload, and what runs in it."""

    pod: Subject | None = None
    runs: list[Run] = field(default_factory=list)
    image: Image | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """What somebody deployed."""

    number: int
    cluster: str
    namespace: str
    kind: str
    name: str
    replicas: int
    main: Repository
    sidecar: Repository | None
    init: Repository | None
    begins: datetime


class Estate:
    """Everything that there was. The same for the same seed and size, whatever the order of its use."""

    def __init__(self, size: Size, *, seed: int = 7) -> None:
        self.size = size
        self.seed = seed
        self.world = World(size, seed=seed)
        self.rules: Rules = rules(self.world, CLUSTERS)
        self.namespaces = tuple(f"team-{number:02}" for number in range(size.namespaces))
        self.weather = _weather(seed)
        self._owners = {repository.name: repository.owner for repository in self.world.repositories}
        self._judged: dict[object, Judgement] = {}

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """When nobody watched."""
        return tuple(
            Gap(identity(self.seed, "gap", cluster, since), cluster, since, until, self.recorded(until))
            for cluster, windows in self.weather.watch.items()
            for since, until in windows
        )

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """All decisions, runs and gaps, in no order that matters."""
        workloads = tuple(map(self._workload, range(self.size.workloads)))
        found: list[Fact] = list(self.gaps)
        for cluster in WATCHED:
            found += self._system(cluster)
        spent = sum(isinstance(fact, Run) for fact in found)
        churn = self._churn(workloads, self.size.runs - spent)
        for workload in workloads:
            found += _History(self, workload, churn).tell()
        left = self.size.decisions - sum(isinstance(fact, Decision) for fact in found)
        found += self._jobs(max(0, left))
        return tuple(found)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """The decisions among the facts."""
        return tuple(fact for fact in self.facts if isinstance(fact, Decision))

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The runs among the facts."""
        return tuple(fact for fact in self.facts if isinstance(fact, Run))

    def recorded(self, moment: datetime) -> datetime:
        """When the inventory records what it learns at a time: the next step of the estate's grain."""
        steps = (moment - BEGIN) // self.size.grain
        return BEGIN + (steps + 1) * self.size.grain

    def learnt(self, moment: datetime) -> datetime:
        """When a decision is recorded: later, where the database was away and the spool held it."""
        away = _within(self.weather.database, moment)
        return self.recorded(away[1] if away else moment)

    def judge(self, asked: Sequence[tuple[str, str, Image]], moment: datetime, subject: Subject) -> Judgement:
        """What is decided about images at a time."""
        away = _within(self.weather.registry, moment)
        parts = []
        for _, _, image in asked:
            owner = self._owners[image.repository]
            policies = self.rules.in_force(moment, namespace=subject.namespace, owner=owner)
            there = sum(evidence.since <= moment for evidence in image.evidence)
            exempt = [
                self.rules.exempt(moment, policy=p, repository=image.repository, cluster=subject.cluster)
                for p in policies
            ]
            parts.append((image, owner, policies, there, exempt))
        key = (
            tuple((kind, name, image.number) for kind, name, image in asked),
            tuple(tuple(policy.hash for policy in part[2]) for part in parts),
            tuple(part[3] for part in parts),
            tuple(tuple(e.hash for found in part[4] for e in found) for part in parts),
            away,
        )
        if key not in self._judged:
            self._judged[key] = _judge(asked, parts, moment, away=away is not None)
        return self._judged[key]

    def _workload(self, number: int) -> Workload:
        random = Random(f"{self.seed} workload {number}")
        inside = self.world.repositories
        main = inside[number % len(inside)]
        return Workload(
            number=number,
            cluster=WATCHED[number % len(WATCHED)],
            namespace=self.namespaces[(number * 7 // 3) % len(self.namespaces)],
            kind=random.choice(("Deployment", "Deployment", "Deployment", "StatefulSet")),
            name=f"svc-{number:04}",
            replicas=REPLICAS[number % len(REPLICAS)],
            main=main,
            sidecar=random.choice(inside) if random.random() < 0.2 else None,
            init=random.choice(inside) if random.random() < 0.08 else None,
            begins=BEGIN + timedelta(days=random.uniform(0, 2) if random.random() < 0.7 else random.uniform(2, 250)),
        )

    def _churn(self, workloads: Sequence[Workload], wanted: int) -> float:
        """How often a slot's pod is replaced in a year beside what rolls, for about as many runs as wanted.

        Tried on some of the workloads: how many runs a replacement comes to depends on what is refused.
        """
        tried = workloads[:: max(1, len(workloads) // SAMPLE)]
        some, many = (sum(isinstance(f, Run) for w in tried for f in _History(self, w, c).tell()) for c in (2.0, 10.0))
        each = max(0.1, (many - some) / 8)
        return max(0.0, 2.0 + (wanted * len(tried) / len(workloads) - some) / each)

    def _system(self, cluster: str) -> Iterator[Run]:
        """Static pods and daemons in an excluded namespace: nobody asked Assay about them."""
        random = Random(f"{self.seed} system {cluster}")
        nodes = max(2, round(self.size.runs * 0.04 / len(WATCHED) / 12))
        for node in range(nodes):
            for program in ("kube-proxy", "node-agent"):
                at = BEGIN + timedelta(hours=random.uniform(0, 24))
                version = 0
                while at < END:
                    until = at + timedelta(days=random.uniform(30, 90))
                    uid = identity(self.seed, cluster, node, program, version)
                    subject = Subject(
                        "Pod", cluster, SYSTEM, f"{program}-node-{node:03}", uid, program, f"node-{node:03}"
                    )
                    image = digest(self.seed, program, version // 2)
                    yield self.run(
                        subject,
                        (CONTAINER, program, f"registry.k8s.io/{program}:v1.{30 + version // 2}"),
                        (f"registry.k8s.io/{program}", image),
                        (at, until if until < END else None),
                        0,
                        reason="PodDeleted",
                    )
                    at, version = until, version + 1

    def _jobs(self, count: int) -> Iterator[Decision]:
        """Pods of a cluster that nobody watches: admitted, and never seen running."""
        random = Random(f"{self.seed} jobs")
        repositories = self.world.repositories
        for number in range(count):
            at = BEGIN + timedelta(seconds=random.uniform(0, DAYS * 86_400 - 1))
            image = repositories[int(len(repositories) * random.random() ** 2)].newest(at)
            namespace = self.namespaces[int(len(self.namespaces) * random.random() ** 2)]
            uid = hexed(random)
            subject = Subject(
                "Pod", UNWATCHED, namespace, f"job-{number:06}", uid, "builder", "", f"Job/job-{number:06}"
            )
            judged = self.judge(((CONTAINER, "job", image),), at, subject)
            yield Decision(hexed(random), at, self.learnt(at), subject, "CREATE", CONTROLLER, judged)

    def run(
        self,
        subject: Subject,
        what: tuple[str, str, str],
        content: tuple[str, str | None],
        times: tuple[datetime, datetime | None],
        number: int,
        *,
        reason: str,
    ) -> Run:
        """One run as the watch tells it: late, where nobody watched when it began or ended."""
        kind, container, reference = what
        repository, exact = content
        began, ended = times
        gaps = self.weather.watch[subject.cluster]
        missed = _within(gaps, began)
        known = self.recorded(missed[1] if missed else began)
        end_known = None
        if ended is not None:
            unseen = _within(gaps, ended)
            if unseen is not None:
                ended, reason = unseen[1], "GoneWhileUnwatched"
            end_known = self.recorded(ended)
        name = identity(subject.uid, kind, container, number)
        return Run(
            id=name,
            subject=subject,
            kind=kind,
            container=container,
            run=f"containerd://{digest(name).removeprefix('sha256:')}",
            reference=reference,
            image_id=f"{repository}@{exact}" if exact else digest(name, "config"),
            repository=repository if exact else "",
            digest=exact,
            started_at=began,
            recorded_at=known,
            end_id=identity(name, "end") if ended is not None else "",
            ended_at=ended,
            end_recorded_at=end_known,
            reason=reason if ended is not None else "",
        )

    def hidden(self, cluster: str, began: datetime, ended: datetime | None) -> bool:
        """Whether a run began and ended while nobody watched: of that nothing is known."""
        missed = _within(self.weather.watch[cluster], began)
        return missed is not None and ended is not None and ended <= missed[1]


class _History:
    """What happened to one workload."""

    def __init__(self, estate: Estate, workload: Workload, churn: float) -> None:
        self._estate = estate
        self._workload = workload
        self._random = Random(f"{estate.seed} history {workload.number}")
        self._slots = [Slot() for _ in range(workload.replicas)]
        self._facts: list[Fact] = []
        self._churn = churn
        self._pods = 0

    def tell(self) -> Iterator[Fact]:
        """All of it."""
        workload, random = self._workload, self._random
        events: list[tuple[datetime, str, int]] = [(workload.begins, "roll", 0)]
        for release in workload.main.releases[1:]:
            at = release.built_at + timedelta(days=random.uniform(0.1, 6))
            if workload.begins < at < END:
                events.append((at, "roll", 0))
        share = (END - workload.begins) / timedelta(days=DAYS)
        for slot in range(workload.replicas):
            count = _rounded(self._churn * share, random)
            events += [
                (workload.begins + (END - workload.begins) * random.random(), "churn", slot) for _ in range(count)
            ]
        events.sort()
        for at, what, place in events:
            if what == "roll":
                self._roll(at)
            else:
                self._replace(self._slots[place], at, reason=random.choice(ENDS[3:]))
        for slot in self._slots:
            self._facts += slot.runs
        return iter(self._facts)

    def _roll(self, at: datetime) -> None:
        workload, random = self._workload, self._random
        image = workload.main.newest(at)
        template = Subject(
            workload.kind,
            workload.cluster,
            workload.namespace,
            workload.name,
            identity(self._estate.seed, "workload", workload.number),
            "default",
        )
        judged = _softened(self._estate.judge(self._images(at), at, template))
        first = not self._pods
        user = random.choice(("ada", "grace", "edsger", "ci-deployer"))
        self._facts.append(
            Decision(
                hexed(random), at, self._estate.learnt(at), template, "CREATE" if first else "UPDATE", user, judged
            )
        )
        for number, slot in enumerate(self._slots):
            if slot.image is not image:
                self._replace(slot, at + timedelta(seconds=20 * (number + 1)), reason="PodDeleted")

    def _images(self, at: datetime) -> tuple[tuple[str, str, Image], ...]:
        workload = self._workload
        asked = [(CONTAINER, "main", workload.main.newest(at))]
        if workload.sidecar is not None:
            asked.append((CONTAINER, "sidecar", workload.sidecar.newest(at)))
        if workload.init is not None:
            asked.append((INIT, "prepare", workload.init.newest(at)))
        return tuple(asked)

    def _replace(self, slot: Slot, at: datetime, *, reason: str) -> None:
        """A new pod comes where the old one was, if it is admitted; a refused one is tried again."""
        estate, workload, random = self._estate, self._workload, self._random
        for _ in range(RETRIES):
            if at >= END:
                return
            asked = self._images(at)
            subject = self._pod()
            unasked = _within(estate.weather.webhook[workload.cluster], at) is not None
            if unasked:
                break
            judged = estate.judge(asked, at, subject)
            self._facts.append(Decision(hexed(random), at, estate.learnt(at), subject, "CREATE", CONTROLLER, judged))
            if judged.allowed:
                break
            at += timedelta(minutes=random.uniform(1, 40))
        else:
            return
        self._end(slot, at, reason)
        self._start(slot, subject, asked, at + timedelta(seconds=random.uniform(1, 15)), unasked=unasked)

    def _pod(self) -> Subject:
        workload, random = self._workload, self._random
        self._pods += 1
        suffix = f"{random.getrandbits(40):010x}"
        return Subject(
            "Pod",
            workload.cluster,
            workload.namespace,
            f"{workload.name}-{suffix[:5]}-{suffix[5:]}",
            hexed(random),
            "default" if workload.number % 3 else workload.name,
            f"node-{random.randrange(200):03}",
            f"{'ReplicaSet' if workload.kind == 'Deployment' else workload.kind}/{workload.name}",
        )

    def _start(
        self,
        slot: Slot,
        subject: Subject,
        asked: Sequence[tuple[str, str, Image]],
        at: datetime,
        *,
        unasked: bool,
    ) -> None:
        random = self._random
        slot.pod, slot.image, slot.runs = subject, asked[0][2], []
        for kind, container, image in asked:
            if kind == INIT:
                over = at + timedelta(seconds=random.uniform(1, 20))
                self._run(slot, kind, container, image, (at, over), 0)
                continue
            number, began = 0, at
            while random.random() < 0.12 and began < END:  # it fails, and is started again
                over = began + timedelta(hours=random.expovariate(1 / 30))
                if over < END:
                    self._run(slot, kind, container, image, (began, over), number)
                    number, began = number + 1, over + timedelta(seconds=random.uniform(1, 300))
            if began >= END:
                continue
            self._run(slot, kind, container, image, (began, None), number)
            if not unasked and random.random() < 0.01:
                self._update(slot, subject, container, image, began, number)

    def _update(self, slot: Slot, subject: Subject, container: str, image: Image, began: datetime, number: int) -> None:
        """The image of a running container is exchanged in place: a second decision about the same pod."""
        estate, random = self._estate, self._random
        at = began + timedelta(hours=random.uniform(0.1, 20))
        other = self._workload.main.releases[0]
        if at >= END or other is image:
            return
        judged = estate.judge(((CONTAINER, container, other),), at, subject)
        self._facts.append(Decision(hexed(random), at, estate.learnt(at), subject, "UPDATE", "grace", judged))
        if judged.allowed:
            last = slot.runs.pop()
            over = at + timedelta(seconds=3)
            self._run(slot, CONTAINER, container, image, (last.started_at, over), number, like=last)
            self._run(slot, CONTAINER, container, other, (over + timedelta(seconds=1), None), number + 1)

    def _end(self, slot: Slot, at: datetime, reason: str) -> None:
        """What runs in the slot comes to its end."""
        for run in slot.runs:
            if run.ended_at is not None:
                self._facts.append(run)
                continue
            began = run.started_at
            over = max(at, began + timedelta(seconds=1))
            if self._estate.hidden(run.subject.cluster, began, over):
                continue
            what = (run.kind, run.container, run.reference)
            number = slot.runs.index(run)
            whole = self._estate.run(
                run.subject, what, (run.repository, run.digest), (began, over), number, reason=reason
            )
            self._facts.append(_with_end(run, whole))
        slot.runs = []

    def _run(
        self,
        slot: Slot,
        kind: str,
        container: str,
        image: Image,
        times: tuple[datetime, datetime | None],
        number: int,
        *,
        like: Run | None = None,
    ) -> None:
        random, estate = self._random, self._estate
        subject = slot.pod
        assert subject is not None
        if estate.hidden(subject.cluster, *times):
            return
        if like is not None:
            reported: tuple[str, str | None] = (like.repository, like.digest)
        else:
            luck = random.random()
            exact: str | None = image.digest
            repository = image.repository
            if luck < 0.015:
                exact = None  # the kubelet knows the configuration's digest alone
            elif luck < 0.020:
                exact = digest(image.digest, "drifted")  # not what was admitted
            elif luck < 0.035:
                repository = f"{MIRRORED}/{repository}"
            elif image.children and random.random() < 0.6:
                exact = image.children[0]
            reported = (repository, exact)
        run = estate.run(
            subject,
            (kind, container, image.reference),
            reported,
            times,
            number,
            reason="Completed" if kind == INIT else random.choice(ENDS[:3]),
        )
        slot.runs.append(_renamed(run, like) if like is not None else run)


def _with_end(run: Run, ended: Run) -> Run:
    """The run as it was told, with an end."""
    return Run(
        **{name: getattr(run, name) for name in _TOLD},
        end_id=identity(run.id, "end"),
        ended_at=ended.ended_at,
        end_recorded_at=ended.end_recorded_at,
        reason=ended.reason,
    )


def _renamed(run: Run, like: Run) -> Run:
    return _with_end(like, run)


_TOLD = (
    *("id", "subject", "kind", "container", "run", "reference", "image_id", "repository", "digest"),
    *("started_at", "recorded_at"),
)


def _judge(
    asked: Sequence[tuple[str, str, Image]],
    parts: Sequence[tuple[Image, str, Sequence[Policy], int, Sequence[Sequence[object]]]],
    moment: datetime,
    *,
    away: bool,
) -> Judgement:
    images, verdicts = [], []
    unmatched = False
    for place, ((kind, container, image), (_, owner, policies, _, exempt)) in enumerate(zip(asked, parts, strict=True)):
        lost = away and owner == "vendor"  # a vendor's registry that is away leaves the tag unresolved
        reference = f"{image.repository}:{image.tag}" if lost else image.reference
        images.append(Asked(kind, container, reference, None if lost else image))
        denying = False
        for policy, exemptions in zip(policies, exempt, strict=True):
            denying = denying or (policy.kind == "ClusterEvidencePolicy" and "Deny" in policy.actions)
            verdicts.append(_verdict(place, image, policy, tuple(exemptions), moment, lost=lost))  # type: ignore[arg-type]
        unmatched = unmatched or not denying
    acting = [v for v in verdicts if v.outcome not in {"Satisfied", "Exempt"}]
    open_ = [v for v in acting if v.outcome == "Error" and v.policy.fails_open]
    denied = any("Deny" in v.policy.actions for v in acting if v not in open_)
    flags = {
        "warn": any("Warn" in v.policy.actions for v in acting if v not in open_),
        "audit": any("Audit" in v.policy.actions for v in acting if v not in open_),
        "exempt": any(v.outcome == "Exempt" for v in verdicts),
        "break-glass": any(e.break_glass for v in verdicts for e in v.exemptions),
        "stale": away and any(owner == "acme" and policies for _, owner, policies, _, _ in parts),
        "error": any(v.outcome == "Error" for v in verdicts),
        "fail-open": bool(not denied and any("Deny" in v.policy.actions for v in open_)),
        "no-match": unmatched,
    }
    return Judgement(
        images=tuple(images),
        verdicts=tuple(verdicts),
        allowed=not denied,
        flags=tuple(sorted(name for name, holds in flags.items() if holds)),
    )


def _verdict(
    place: int, image: Image, policy: Policy, exemptions: tuple[object, ...], moment: datetime, *, lost: bool
) -> Verdict:
    if lost:
        return Verdict(place, policy, "Error", "", "Unavailable", "RegistryUnavailable", (), (), ())
    there = [evidence for evidence in image.evidence if evidence.since <= moment]
    kinds = {"vulnerabilities": {"vulnerabilities", "vex"}}.get(policy.requires, {policy.requires})
    good = tuple(e for e in there if e.kind in kinds and not e.code)
    newest = max((e.since for e in good if e.kind == "vulnerabilities"), default=None)
    good = tuple(e for e in good if e.kind != "vulnerabilities" or e.since == newest)
    bad = tuple(e for e in there if e.code)
    met = any(e.kind == policy.requires for e in good)
    if met:
        return Verdict(place, policy, "Satisfied", "", "", "", good, bad, ())
    what = "Signature" if policy.requires == "signature" else "Attestation"
    code = f"{what}{'NotTrusted' if any(e.kind in kinds for e in bad) else 'Missing'}"
    if exemptions:
        return Verdict(place, policy, "Exempt", "Violated", "", code, good, bad, exemptions)  # type: ignore[arg-type]
    return Verdict(place, policy, "Violated", "", "", code, good, bad, ())


def _softened(judged: Judgement) -> Judgement:
    """A template's denial is a warning: what runs is the pod."""
    if judged.allowed:
        return judged
    flags = tuple(sorted({*judged.flags, "warn", "softened"}))
    return Judgement(judged.images, judged.verdicts, allowed=True, flags=flags)


def _weather(seed: int) -> Weather:
    random = Random(f"{seed} weather")

    def windows(count: int, hours: float) -> tuple[Window, ...]:
        begins = sorted(BEGIN + timedelta(days=random.uniform(1, DAYS - 4)) for _ in range(count))
        found: list[Window] = []
        for begin in begins:
            if not found or begin > found[-1][1] + timedelta(hours=1):
                found.append((begin, begin + timedelta(hours=hours * random.uniform(0.6, 1.4))))
        return tuple(found)

    return Weather(
        webhook={cluster: windows(6, 12) for cluster in WATCHED},
        registry=windows(10, 14),
        database=windows(8, 20),
        watch={cluster: windows(7, 9) for cluster in CLUSTERS},
    )


def _within(windows: Sequence[Window], moment: datetime) -> Window | None:
    return next((window for window in windows if window[0] <= moment < window[1]), None)


def _rounded(number: float, random: Random) -> int:
    """The whole number below or above, so that the mean is kept."""
    return int(number) + (random.random() < number - int(number))


def hexed(random: Random) -> str:
    """A UUID of this chance."""
    text = f"{random.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


def identity(*parts: object) -> str:
    """A UUID that is always the same for the same parts."""
    text = hashlib.blake2s(" ".join(map(str, parts)).encode(), digest_size=16).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-8{text[17:20]}-{text[20:]}"
