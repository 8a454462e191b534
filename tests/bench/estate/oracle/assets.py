"""The asset list: one asset for each image that runs, under the repository that the kubelet reports."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.bench.estate.facts import Provenance, Report, Sbom
from tests.bench.estate.oracle.findings import Findings
from tests.bench.estate.oracle.past import Ran

SCANNED_WITHIN = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset. `workloads` are cluster, namespace and owner, with how many containers each runs.

    `system` and `base` are said with by whose word, both empty where nobody says it.
    """

    identifier: str
    references: tuple[str, ...]
    workloads: tuple[tuple[str, str, str, int], ...]
    since: datetime
    system: tuple[str, str]
    base: tuple[str, str]
    scanned_at: datetime | None
    in_latest_scan: bool


class Assets(Findings):
    """Answers for the monthly inventory."""

    def assets(
        self,
        as_of: datetime,
        *,
        namespace: str | None = None,
        cluster: str | None = None,
        known_at: datetime | None = None,
    ) -> list[Asset]:
        """The assets, by identifier."""
        kinds = ("sbom", "provenance", "vulnerabilities")
        beside = self.attested(kinds, as_of, namespace=namespace, known_at=known_at)
        related = self.related(known_at=known_at)
        claimed = self.claimed(as_of, namespace=namespace, known_at=known_at)
        running: dict[tuple[str, str], list[Ran]] = defaultdict(list)
        for ran in self.runs(as_of=as_of, namespace=namespace, cluster=cluster, known_at=known_at):
            if ran.run.digest:
                running[ran.run.repository, ran.run.digest].append(ran)
        found = []
        for (repository, digest), runs in running.items():
            same = [ran for (_, other), some in running.items() if other == digest for ran in some]
            said = [evidence.says for evidence in beside.beside(digest, same)]
            listed = {c.purl.partition("distro=")[2] for one in said if isinstance(one, Sbom) for c in one.components}
            systems = listed - {""}
            told = [claim for name in (digest, *related.get(digest, ())) for claim in claimed.get(name, ())]
            where = {ran.run.subject.namespace for ran in same}
            counting = {"", *where} if len(where) == 1 else {""}
            own = [(by, value) for by, value, index, met in told if index in {"", digest} or met in counting]
            bases = [("provenance", {one.base_name for one in said if isinstance(one, Provenance)})]
            bases += [(by, {value for source, value in own if source == by}) for by in ("annotation", "label")]
            sbom_says = systems.pop().replace("-", " ", 1) if len(systems) == 1 else ""
            reads = ("linux", "configuration") if ("configuration", "linux") in own else ("", "")
            scans = [one.scanned_at for one in said if isinstance(one, Report)]
            pods = Counter((r.run.subject.cluster, r.run.subject.namespace, r.run.subject.owner) for r in runs)
            asset = Asset(
                identifier=f"{repository}@{digest}",
                references=tuple(sorted({ran.run.reference.partition("@")[0] for ran in runs})),
                workloads=tuple(sorted((*owner, count) for owner, count in pods.items())),
                since=min(ran.run.started_at for ran in runs),
                system=(sbom_says, "sbom") if sbom_says else reads,
                base=next(((names.pop(), by) for by, names in bases if len(names) == 1), ("", "")),
                scanned_at=max(scans, default=None),
                in_latest_scan=bool(scans) and as_of - max(scans) <= SCANNED_WITHIN,
            )
            found.append(asset)
        return sorted(found, key=lambda asset: asset.identifier)

    def claimed(
        self, as_of: datetime, *, namespace: str | None = None, known_at: datetime | None = None
    ) -> dict[str, set[tuple[str, str, str, str]]]:
        """What each manifest says of its base by name, and its configuration of its system: where, and what; if an
        index says it, that and a namespace where it was met."""
        found: dict[str, set[tuple[str, str, str, str]]] = defaultdict(set)
        for image, met, _ in self.resolved(namespace=namespace, as_of=as_of, known_at=known_at):
            for claim in image.claims:
                if claim.source == "annotation" and claim.name:
                    index = image.digest if image.children else ""
                    found[claim.manifest].add(("annotation", claim.name, index, met))
        for one in self.judged(namespace=namespace, as_of=as_of, known_at=known_at):
            if one.verdict.policy.reads_configurations:
                for manifest in one.image.children or (one.image.digest,):
                    found[manifest].add(("configuration", "linux", "", ""))
                for claim in one.image.claims:
                    if claim.source == "label":
                        found[claim.manifest].add(("label", claim.name, "", ""))
        return found
