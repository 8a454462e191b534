"""What lies beside images: evidence, what rests on it, what SBOMs list and what state they are in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import unquote

from tests.bench.estate.facts import Component, Decision, Evidence, Provenance, Sbom
from tests.bench.estate.oracle.past import Past, Ran, Rests, Vouched, digests_of

SBOM_STATES = ("NotLookedFor", "None", "OtherDigest", "Untrusted", "Incomplete", "Stale", "Complete")  # worst first
STALE = timedelta(days=90)

Word = tuple[str, str]
"""What says something (`provenance`, `annotation`, `label`), and whose policies found that; empty: the cluster's."""


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
    ) -> Rests:
        """The images that rest on a signer, log entry or artefact, each since it first counted for one.

        `kind` is `signer`, `builder`, `source`, `base`, `log-entry` or `artifact`. What rests on it is the image and,
        of an index, its manifests.
        """
        found = Rests()
        if kind == "base":
            related = self.related(known_at=known_at)
            for digest, told in self.on_base(value, namespace=namespace, known_at=known_at).items():
                for name in (digest, *related.get(digest, ())):
                    for (_, policies), at in told.items():
                        found.add(name, policies, at)
            return found
        for one in self.judged(namespace=namespace, known_at=known_at):
            if any(_leads(evidence, kind, value) for evidence in one.verdict.counted):
                for digest in (one.image.digest, *one.image.children):
                    found.add(digest, one.verdict.policy.namespace, one.decided_at)
        return found

    def on_base(
        self, value: str, *, namespace: str | None = None, known_at: datetime | None = None
    ) -> dict[str, dict[Word, datetime]]:
        """The manifests that rest on a base image (its digest, or its name): by whose word, each since when.

        An annotation is seen whoever judges the image, and by whoever may know of it, an index's where that was met; a
        label by policies that read it.
        """
        found: dict[str, dict[Word, datetime]] = defaultdict(dict)

        def add(digest: str, source: str, policies: str, at: datetime) -> None:
            told = found[digest]
            told[source, policies] = min(told.get((source, policies), at), at)

        for one in self.judged(namespace=namespace, known_at=known_at):
            policies = one.verdict.policy.namespace
            if any(_leads(evidence, "base", value) for evidence in one.verdict.counted):
                add(one.image.digest, "provenance", policies, one.decided_at)
            for claim in one.image.claims if one.verdict.policy.reads_configurations else ():
                if claim.source == "label" and value in {claim.name, claim.digest}:
                    add(claim.manifest, "label", policies, one.decided_at)
        for image, where, at in self.resolved(namespace=namespace, known_at=known_at):
            for claim in image.claims:
                if claim.source == "annotation" and value in {claim.name, claim.digest}:
                    add(claim.manifest, "annotation", where, at)
        return found

    def admitted_on(
        self,
        bad: Rests,
        *,
        namespace: str | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> list[Decision]:
        """The decisions that let one of these images in, from when it rested on that for these, newest first.

        Of a namespace those about images that ran there: of others it may not know on what they rest.
        """
        there = None if namespace is None else self.ran_in(namespace, known_at=known_at)
        return [
            d
            for d in self.decisions(namespace=namespace, verdict="Allow", as_of=as_of, known_at=known_at)
            if any(
                (since := bad.since(digest, d.subject.namespace)) is not None and since <= d.decided_at
                for digest in digests_of(d)
                if there is None or digest in there
            )
        ]

    def described(
        self, *, namespace: str | None = None, known_at: datetime | None = None, unverified: bool = False
    ) -> dict[tuple[str, str], dict[Evidence, tuple[datetime, bool]]]:
        """The SBOMs of each digest, an index's manifests included, as whose policies found them (empty: the cluster's):
        since when it is known, and whether it verified.

        What says that it is about another image is none of this one, `unverified` or not.
        """
        found: dict[tuple[str, str], dict[Evidence, tuple[datetime, bool]]] = defaultdict(dict)
        for one in self.judged(namespace=namespace, known_at=known_at):
            told = [(e, True) for e in one.verdict.counted]
            told += [(e, False) for e in one.verdict.rejected if unverified and e.code != "SubjectMismatch"]
            for evidence, verified in told:
                if not isinstance(evidence.says, Sbom):
                    continue
                for digest in (one.image.digest, *one.image.children):
                    beside = found[digest, one.verdict.policy.namespace]
                    first, before = beside.get(evidence, (one.recorded_at, verified))
                    beside[evidence] = min(first, one.recorded_at), before or verified
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
            for e, (recorded_at, verified) in _beside(described, ran).items()
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
        listing: dict[str, set[Component]] = defaultdict(set)
        for ran in self.runs(as_of=as_of, namespace=namespace, cluster=cluster, known_at=known_at):
            for evidence in _beside(described, ran):
                listing[ran.run.digest or ""].update(evidence.says.components)  # type: ignore[attr-defined]
        found: dict[Component, int] = defaultdict(int)
        for listed in listing.values():
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


def _beside(
    described: dict[tuple[str, str], dict[Evidence, tuple[datetime, bool]]], ran: Ran
) -> dict[Evidence, tuple[datetime, bool]]:
    """What the policies of the cluster and of its namespace found of what ran."""
    found: dict[Evidence, tuple[datetime, bool]] = {}
    for policies in ("", ran.run.subject.namespace):
        for evidence, (recorded_at, verified) in described.get((ran.run.digest or "", policies), {}).items():
            first, before = found.get(evidence, (recorded_at, verified))
            found[evidence] = min(first, recorded_at), before or verified
    return found


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
