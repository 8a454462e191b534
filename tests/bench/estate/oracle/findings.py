"""What scanners found in what runs, by each image's newest verified report, and what VEX clears of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.bench.estate.facts import Evidence, Report, Vex, Vulnerability
from tests.bench.estate.oracle.documents import Documents
from tests.bench.estate.oracle.past import Ran, Vouched

SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW")  # the worst first


@dataclass(frozen=True, slots=True)
class Found:
    """One vulnerability in one package of one running image."""

    said: Vulnerability
    digest: str
    repositories: tuple[str, ...]
    runs: int
    namespaces: tuple[str, ...]
    clusters: tuple[str, ...]
    first_seen_at: datetime
    reported_at: datetime
    report: str
    cleared: bool


class Findings(Documents):
    """Answers from reports of vulnerabilities and VEX."""

    def findings(
        self,
        as_of: datetime,
        *,
        severity: str = "LOW",
        vulnerability: str | None = None,
        digest: str | None = None,
        fixable: bool | None = None,
        cleared: bool | None = None,
        min_age: timedelta = timedelta(0),
        namespace: str | None = None,
        cluster: str | None = None,
        known_at: datetime | None = None,
    ) -> tuple[set[Found], int, int]:
        """The findings; how many images run, and of how many of them there is no report.

        `severity` is the mildest that counts.
        """
        attested = self.attested(("vulnerabilities", "vex"), as_of, namespace=namespace, known_at=known_at)
        running: dict[str, list[Ran]] = defaultdict(list)
        for ran in self.runs(as_of=as_of, namespace=namespace, cluster=cluster, known_at=known_at):
            if ran.run.digest and digest in {None, ran.run.digest}:
                running[ran.run.digest].append(ran)
        found, unreported = set(), 0
        for one, runs in running.items():
            beside = attested.beside(one, runs)
            reports = [(e, e.says) for e in beside if isinstance(e.says, Report)]
            excused = {name for e in beside if isinstance(e.says, Vex) for name in e.says.ids}
            if not reports:
                unreported += 1
                continue
            evidence, newest = max(reports, key=lambda each: each[1].scanned_at)
            for said in newest.findings:
                named = [
                    report.scanned_at for _, report in reports if any(_same(said, other) for other in report.findings)
                ]
                record = Found(
                    said=said,
                    digest=one,
                    repositories=tuple(sorted({ran.run.repository for ran in runs})),
                    runs=len(runs),
                    namespaces=tuple(sorted({ran.run.subject.namespace for ran in runs})),
                    clusters=tuple(sorted({ran.run.subject.cluster for ran in runs})),
                    first_seen_at=min(named),
                    reported_at=newest.scanned_at,
                    report=evidence.artifact,
                    cleared=said.id in excused,
                )
                found.add(record)
        wanted: tuple[Callable[[Found], bool], ...] = (
            lambda f: SEVERITIES.index(f.said.severity) <= SEVERITIES.index(severity),
            lambda f: vulnerability in {None, f.said.id},
            lambda f: fixable is None or bool(f.said.fixed) is fixable,
            lambda f: cleared in {None, f.cleared},
            lambda f: as_of - f.first_seen_at >= min_age,
        )
        return {one for one in found if all(holds(one) for holds in wanted)}, len(running), unreported

    def attested(
        self,
        kinds: tuple[str, ...],
        as_of: datetime,
        *,
        namespace: str | None = None,
        known_at: datetime | None = None,
    ) -> Vouched[Evidence]:
        """What counted for each image by a time, under each of its names."""
        found: Vouched[Evidence] = Vouched()
        for one in self.judged(namespace=namespace, as_of=as_of, known_at=known_at):
            for digest in (one.image.digest, *one.image.children):
                found.add(digest, one, (evidence for evidence in one.verdict.counted if evidence.kind in kinds))
        return found


def _same(one: Vulnerability, other: Vulnerability) -> bool:
    """Whether they are of the same package, in whichever version."""
    return one.id == other.id and one.purl.partition("@")[0] == other.purl.partition("@")[0]
