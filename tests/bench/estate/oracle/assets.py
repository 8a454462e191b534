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
    """One asset. `workloads` are cluster, namespace and owner, with how many containers each runs."""

    identifier: str
    references: tuple[str, ...]
    workloads: tuple[tuple[str, str, str, int], ...]
    since: datetime
    system: str
    base: str
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
        running: dict[tuple[str, str], list[Ran]] = defaultdict(list)
        for ran in self.runs(as_of=as_of, namespace=namespace, cluster=cluster, known_at=known_at):
            if ran.run.digest:
                running[ran.run.repository, ran.run.digest].append(ran)
        found = []
        for (repository, digest), runs in running.items():
            said = [evidence.says for evidence in beside.get(digest, ())]
            listed = {c.purl.partition("distro=")[2] for one in said if isinstance(one, Sbom) for c in one.components}
            systems = listed - {""}
            bases = {one.base_name for one in said if isinstance(one, Provenance)}
            scans = [one.scanned_at for one in said if isinstance(one, Report)]
            pods = Counter((r.run.subject.cluster, r.run.subject.namespace, r.run.subject.owner) for r in runs)
            asset = Asset(
                identifier=f"{repository}@{digest}",
                references=tuple(sorted({ran.run.reference.partition("@")[0] for ran in runs})),
                workloads=tuple(sorted((*owner, count) for owner, count in pods.items())),
                since=min(ran.run.started_at for ran in runs),
                system=systems.pop().replace("-", " ", 1) if len(systems) == 1 else "",
                base=bases.pop() if len(bases) == 1 else "",
                scanned_at=max(scans, default=None),
                in_latest_scan=bool(scans) and as_of - max(scans) <= SCANNED_WITHIN,
            )
            found.append(asset)
        return sorted(found, key=lambda asset: asset.identifier)
