"""What lies beside images: evidence, what rests on it, what SBOMs list and what state they are in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import unquote

from tests.bench.estate.facts import Component, Decision, Evidence, Provenance, Sbom
from tests.bench.estate.oracle.past import Past, Ran, Vouched, digests_of

SBOM_STATES = ("NotLookedFor", "None", "OtherDigest", "Untrusted", "Incomplete", "Stale", "Complete")  # worst first
STALE = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Contained:
    """One component of one run, by the document that says so."""

    run: str
    purl: str
    version: str | None
    artifact: str
    verified: bool
    known_then: bool


class Documents(Past):
    """Answers from the evidence and the documents of images."""

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
        for one in self.judged(namespace=namespace, as_of=as_of, known_at=known_at):
            if one.image.digest != digest:
                continue
            for evidence in one.verdict.counted:
                kind = "signature" if evidence.kind == "signature" else "attestation"
                found[kind].add((evidence.artifact, one.verdict.policy.key))
            for evidence in one.verdict.rejected:
                found["rejection"].add((evidence.artifact, one.verdict.policy.key))
        return found

    def resting(
        self, kind: str, value: str, *, namespace: str | None = None, known_at: datetime | None = None
    ) -> dict[str, datetime]:
        """The images that rest on a signer, log entry or artefact, each since it first counted for one.

        `kind` is `signer`, `builder`, `source`, `base`, `log-entry` or `artifact`. What rests on it is the image and,
        of an index, its manifests.
        """
        since: dict[str, datetime] = {}
        if kind == "base":
            related = self.related(known_at=known_at)
            for digest, told in self.on_base(value, namespace=namespace, known_at=known_at).items():
                for name in (digest, *related.get(digest, ())):
                    since[name] = min(since.get(name, min(told.values())), *told.values())
            return since
        for one in self.judged(namespace=namespace, known_at=known_at):
            if any(_leads(evidence, kind, value) for evidence in one.verdict.counted):
                for digest in (one.image.digest, *one.image.children):
                    since[digest] = min(since.get(digest, one.decided_at), one.decided_at)
        return since

    def on_base(
        self, value: str, *, namespace: str | None = None, known_at: datetime | None = None
    ) -> dict[str, dict[str, datetime]]:
        """The manifests that rest on a base image (its digest, or its name): by whose word, each since when.

        That is `provenance`, `annotation` or `label`. An annotation is seen whoever judges the image, and by whoever
        may know of it, an index's where that was met; a label by policies that read it.
        """
        found: dict[str, dict[str, datetime]] = defaultdict(dict)

        def add(digest: str, source: str, at: datetime) -> None:
            found[digest][source] = min(found[digest].get(source, at), at)

        for one in self.judged(namespace=namespace, known_at=known_at):
            if any(_leads(evidence, "base", value) for evidence in one.verdict.counted):
                add(one.image.digest, "provenance", one.decided_at)
            for claim in one.image.claims if one.verdict.policy.reads_configurations else ():
                if claim.source == "label" and value in {claim.name, claim.digest}:
                    add(claim.manifest, "label", one.decided_at)
        for image, at in self.resolved(namespace=namespace, known_at=known_at):
            for claim in image.claims:
                if claim.source == "annotation" and value in {claim.name, claim.digest}:
                    add(claim.manifest, "annotation", at)
        return found

    def admitted_on(
        self,
        since: dict[str, datetime],
        *,
        namespace: str | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> list[Decision]:
        """The decisions that let one of these images in, from when it rested on that, newest first.

        Of a namespace those about images that ran there: of others it may not know on what they rest.
        """
        if namespace is not None:
            there = self.ran_in(namespace, known_at=known_at)
            since = {digest: at for digest, at in since.items() if digest in there}
        return [
            d
            for d in self.decisions(namespace=namespace, verdict="Allow", as_of=as_of, known_at=known_at)
            if any(digest in since and d.decided_at >= since[digest] for digest in digests_of(d))
        ]

    def described(
        self, *, namespace: str | None = None, known_at: datetime | None = None, unverified: bool = False
    ) -> dict[str, dict[Evidence, tuple[datetime, bool]]]:
        """The SBOMs of each digest, an index's manifests included: since when it is known, and whether it verified.

        What says that it is about another image is none of this one, `unverified` or not.
        """
        found: dict[str, dict[Evidence, tuple[datetime, bool]]] = defaultdict(dict)
        for one in self.judged(namespace=namespace, known_at=known_at):
            told = [(e, True) for e in one.verdict.counted]
            told += [(e, False) for e in one.verdict.rejected if unverified and e.code != "SubjectMismatch"]
            for evidence, verified in told:
                if not isinstance(evidence.says, Sbom):
                    continue
                for digest in (one.image.digest, *one.image.children):
                    first, before = found[digest].get(evidence, (one.recorded_at, verified))
                    found[digest][evidence] = min(first, one.recorded_at), before or verified
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
        names = _called(package)
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
        states: Vouched[str] = Vouched()
        for one in self.judged(namespace=namespace, as_of=as_of, known_at=known_at):
            beside = (*one.verdict.counted, *one.verdict.rejected)
            found = [_sbom_state(e, as_of) for e in beside if e.kind == "sbom"]
            for digest in (one.image.digest, *one.image.children):
                states.add(digest, one, ("None", *found))
        running: dict[str, list[Ran]] = defaultdict(list)
        for ran in self.runs(as_of=as_of, namespace=namespace, cluster=cluster, known_at=known_at):
            if ran.run.digest:
                running[ran.run.digest].append(ran)
        return {
            digest: max(states.beside(digest, runs), key=SBOM_STATES.index, default="NotLookedFor")
            for digest, runs in running.items()
        }


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
        names = {"builder": ["builder"], "source": ["source"], "base": ["base_digest", "base_name"]}
        return isinstance(told, Provenance) and value in {getattr(told, name) for name in names[kind]}
    return evidence.artifact == value


def _called(package: str) -> set[str]:
    """How a component without a package URL may be called that is this package."""
    path = unquote(package.partition(":")[2].partition("/")[2])
    namespace, _, name = path.rpartition("/")
    return {name.lower(), f"{namespace}/{name}".lower(), f"{namespace}:{name}".lower()}
