"""What to ask about: some of everything that an estate has, kept beside its database not to be invented anew.

Chosen by chance, as people ask: mostly about what many have, at any day of the year.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from tests.bench.estate.facts import Sbom
from tests.bench.estate.history import Estate
from tests.bench.estate.size import BEGIN, DAYS

EACH = 300  # of each thing


@dataclass(frozen=True, slots=True)
class Sample:
    """Names of things. `packages` are package URLs without a version, each with a version that somebody has."""

    digests: list[str]
    running: list[str]
    repositories: list[str]
    namespaces: list[str]
    clusters: list[str]
    signers: list[str]
    policies: list[str]
    exceptions: list[str]
    decisions: list[str]
    pods: list[str]
    packages: list[list[str]]
    artifacts: list[str]
    builders: list[str]
    sources: list[str]
    bases: list[str]
    log_entries: list[int]
    vulnerabilities: list[str]

    def as_json(self) -> dict[str, Any]:
        """Plain lists."""
        return asdict(self)


def sample(estate: Estate, *, seed: int = 11) -> Sample:
    """Take some of everything. The estate must have been written down, so that its artefacts have names."""
    random = Random(seed)
    images = estate.world.images
    evidence = [e for image in images for e in image.evidence if e.artifact]
    signers = sorted({name for e in evidence if not e.code for name in (e.signer.key, e.signer.subject) if name})
    sboms = [e.says for e in evidence if isinstance(e.says, Sbom) and e.says.components]
    components = [random.choice(said.components) for said in random.choices(sboms, k=2 * EACH)]
    provenances = [e.says for e in evidence if e.kind == "provenance"]
    runs = random.sample(estate.runs, min(EACH, len(estate.runs)))
    return Sample(
        digests=[image.digest for image in random.sample(images, min(EACH, len(images)))],
        running=[run.digest for run in runs if run.digest],
        repositories=[repository.name for repository in estate.world.repositories[:EACH]],
        namespaces=list(estate.namespaces),
        clusters=sorted({run.subject.cluster for run in runs}),
        signers=random.sample(signers, min(EACH, len(signers))),
        policies=sorted({policy.name for policy in estate.rules.policies}),
        exceptions=[exemption.name for exemption in estate.rules.exemptions[:EACH]],
        decisions=[decision.id for decision in random.sample(estate.decisions, min(EACH, len(estate.decisions)))],
        pods=[run.subject.uid for run in runs],
        packages=[[c.purl.partition("@")[0], c.version] for c in components if c.purl],
        artifacts=[e.artifact for e in random.sample(evidence, min(EACH, len(evidence))) if not e.code],
        builders=sorted({p.builder for p in provenances}),  # type: ignore[attr-defined]
        sources=sorted({p.source for p in provenances})[:EACH],  # type: ignore[attr-defined]
        bases=[digest for digest, _ in Counter(image.base.digest for image in images).most_common(EACH)],
        log_entries=[e.log_index for e in evidence[:EACH] if e.log_index is not None],
        vulnerabilities=sorted(
            {f.id for e in evidence if e.kind == "vulnerabilities" for f in e.says.findings}  # type: ignore[attr-defined]
        )[:EACH],
    )


def days(random: Random) -> datetime:
    """Any time of the year."""
    return BEGIN + timedelta(seconds=random.uniform(0, DAYS * 86_400))
