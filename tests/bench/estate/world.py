"""What there is to run: base images, repositories with their releases over the year, and what lies beside each image.

Every state that a question tells apart is there in an estate of any size: states go by the repository's number, in
turn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from random import Random

from tests.bench.estate import documents
from tests.bench.estate.catalogue import DISTRIBUTIONS, Catalogue
from tests.bench.estate.facts import (
    Base,
    Claim,
    Component,
    Evidence,
    Image,
    Provenance,
    Report,
    Sbom,
    Signer,
    Vex,
    Vulnerability,
)
from tests.bench.estate.size import BEGIN, DAYS, Size

ISSUER = "https://token.actions.githubusercontent.com"
BUILDERS = (
    "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v2.1.0",
    "https://github.com/actions/runner/github-hosted",
    "https://cloudbuild.googleapis.com/GoogleHostedWorker",
    "https://ci.acme.example/jenkins",
)
SBOM_STATES = (
    *("complete", "complete", "incomplete", "legacy", "unsigned"),
    *("complete", "other-digest", "none", "stale", "complete"),
    *("complete",) * 20,
)
SIGNINGS = (*("identity", "key", "identity", "none", "both", "identity", "stranger"), *("identity", "key") * 7)
ECOSYSTEMS = ("npm", "maven", "pypi", "golang")
BASES = (  # name, distribution, share of an image's components that are of the distribution
    ("docker.io/library/debian:12", "debian-12", 0.22),
    ("docker.io/library/alpine:3.20", "alpine-3.20.3", 0.05),
    ("docker.io/library/ubuntu:24.04", "ubuntu-24.04", 0.15),
    ("registry.access.redhat.com/ubi9:9.4", "rhel-9.4", 0.18),
)
REBUILT = 30  # days between two builds of a base image
RESCANNED = (0, 35, 80)  # days after the build at which an image is scanned
MAX_FINDINGS = 60
MIRRORED = "mirror.acme.example"


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository, its releases in order, and whose images they are: `acme`, `vendor` or `external`."""

    number: int
    name: str
    owner: str
    releases: tuple[Image, ...]

    def newest(self, moment: datetime) -> Image:
        """The last release before a time (the first one, if there was none)."""
        found = self.releases[0]
        for image in self.releases:
            if image.built_at <= moment:
                found = image
        return found


def digest(*parts: object) -> str:
    """A digest that is the name of something invented."""
    return f"sha256:{hashlib.sha256(' '.join(map(str, parts)).encode()).hexdigest()}"


def key_signer(number: int) -> Signer:
    """One of the estate's signing keys."""
    return Signer(key=digest("key", number))


STRANGER = key_signer(99)
KEYS = tuple(key_signer(number) for number in range(3))


class World:
    """All images. The same for the same seed and size."""

    def __init__(self, size: Size, *, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.catalogue = Catalogue(seed, largest=size.components)
        self.bases = {name: tuple(self._base(name, n) for n in range(-3, DAYS // REBUILT + 1)) for name, _, _ in BASES}
        self.log_index = 1_000_000
        self.repositories = tuple(map(self._repository, range(size.repositories)))
        self.images = tuple(image for repository in self.repositories for image in repository.releases)

    def _base(self, name: str, number: int) -> Base:
        _, distribution, share = next(base for base in BASES if base[0] == name)
        built = BEGIN + timedelta(days=number * REBUILT)
        pool = self.catalogue.pool(DISTRIBUTIONS[distribution][0], distribution)
        count = max(3, round(self.size.components * share))
        chosen = self.catalogue.popular(pool, count, Random(f"{self.seed} base {name}"))
        return Base(
            name=name,
            distribution=distribution,
            digest=digest(self.seed, name, number),
            components=tuple(self.catalogue.current(package, built) for package in chosen),
        )

    def _repository(self, number: int) -> Repository:
        random = Random(f"{self.seed} repository {number}")
        owner = "external" if number % 14 == 13 else "vendor" if number % 7 == 5 else "acme"
        host = {"external": "docker.io/tools", "vendor": "vendor.example/products", "acme": "ghcr.io/acme"}[owner]
        name = f"{host}/app-{number:03}"
        share, rest = divmod(self.size.images, self.size.repositories)
        count = share + (number < rest)
        # The first was there before the year began; the others come over the year.
        days = [-random.uniform(1, 60), *sorted(random.uniform(3, DAYS - 3) for _ in range(count - 1))]
        base_name, _, base_share = BASES[(number // 2) % len(BASES)]
        kind = ECOSYSTEMS[number % len(ECOSYSTEMS)]
        wanted = max(2, round(self.size.components * (1 - base_share) * random.uniform(0.4, 1.6)))
        chosen = self.catalogue.popular(self.catalogue.pool(kind), wanted, random)
        held_back = {package for package in chosen if random.random() < 0.3}  # what is seldom brought up to date
        releases = []
        for place, day in enumerate(days):
            built = BEGIN + timedelta(days=day)
            if place and random.random() < 0.5:  # a dependency is exchanged for another
                chosen[random.randrange(len(chosen))] = random.choice(self.catalogue.pool(kind))
            own = tuple(
                dict.fromkeys(
                    self.catalogue.older(package, built, 2)
                    if package in held_back
                    else self.catalogue.current(package, built)
                    for package in chosen
                )
            )
            releases.append(self._image(number, place, name, built, base_name, own))
        return Repository(number, name, owner, tuple(releases))

    def _image(
        self,
        number: int,
        place: int,
        repository: str,
        built: datetime,
        base_name: str,
        own: tuple[int, ...],
    ) -> Image:
        base = self.bases[base_name][max(0, (built - BEGIN).days // REBUILT + 3)]
        made = digest(self.seed, repository, place)
        children = tuple(sorted(digest(made, arch) for arch in ("amd64", "arm64"))) if number % 3 else ()
        image = Image(
            number=number * 10_000 + place,
            repository=repository,
            tag=f"1.{place}.0",
            digest=made,
            children=children,
            built_at=built,
            base=base,
            sbom_state=SBOM_STATES[number % len(SBOM_STATES)],
            signing=SIGNINGS[number % len(SIGNINGS)],
            claims=tuple(_claims(number, made, children, base)),
        )
        if number % 14 != 13:  # nobody vouches for what is from elsewhere
            components = tuple(map(self.catalogue.component, (*base.components, *own)))
            self._attach(image, components)
        return image

    def _attach(self, image: Image, components: tuple[Component, ...]) -> None:
        identity = Signer(
            issuer=ISSUER,
            subject=f"https://github.com/acme/{image.repository.rpartition('/')[2]}/.github/workflows/release.yml"
            f"@refs/{'heads/main' if image.number % 20_000 < 10_000 else f'tags/v{image.tag}'}",
        )
        key = KEYS[image.number // 10_000 % len(KEYS)]
        signers = {"identity": (identity,), "key": (key,), "both": (identity, key), "none": (), "stranger": (STRANGER,)}
        at = image.built_at + timedelta(minutes=4)
        for signer in signers[image.signing]:
            code = "SignatureInvalid" if signer is STRANGER else ""
            self._add(image, "signature", documents.SIGN, signer, at, code, partial(bytes, b"{}"))
        attester = key if image.signing == "key" else identity
        self._sbom(image, components, attester, at)
        if image.number // 10_000 % 2 == 0:
            told = Provenance(
                builder=BUILDERS[image.number // 10_000 % len(BUILDERS)],
                source=f"https://github.com/acme/{image.repository.rpartition('/')[2]}",
                commit=digest(image.digest, "commit").removeprefix("sha256:")[:40],
                base_name=image.base.name,
                base_uri=_purl(image.base.name),
                base_digest=image.base.digest,
            )
            made = partial(documents.provenance, told, at)
            self._add(image, "provenance", documents.PROVENANCE, attester, at, "", made, says=told)
        if image.number // 10_000 % 5 != 4:
            self._scans(image, components, attester)

    def _sbom(self, image: Image, components: tuple[Component, ...], attester: Signer, at: datetime) -> None:
        if image.sbom_state == "none":
            return
        if image.sbom_state == "incomplete":
            components = tuple(_bare(component, place % 3 > 0) for place, component in enumerate(components))
        created = at - timedelta(days=200) if image.sbom_state == "stale" else at
        spdx = image.number // 10_000 % 2 == 1
        said = Sbom(
            format="SPDX" if spdx else "CycloneDX",
            spec_version="2.3" if spdx else "1.6",
            name=f"{image.repository}:{image.tag}",
            created=created.replace(microsecond=0),
            components=components,
        )
        unique = digest(image.digest, "sbom").removeprefix("sha256:")[:32]
        write = documents.spdx_document if spdx else documents.cyclonedx_bom
        made = partial(write, said.name, said.created, components, unique)
        predicate = documents.SPDX if spdx else documents.CYCLONEDX
        code = {"unsigned": "SignatureInvalid", "other-digest": "SubjectMismatch"}.get(image.sbom_state, "")
        signer = STRANGER if image.sbom_state == "unsigned" else attester
        self._add(image, "sbom", predicate, signer, at, code, made, says=said)

    def _scans(self, image: Image, components: tuple[Component, ...], attester: Signer) -> None:
        vulnerable = [c for c in components if c.version is not None and _hash(c.purl) % 19 == 0][:MAX_FINDINGS]
        reports = RESCANNED[: 1 + image.number // 10_000 % 3]
        for later in reports:
            at = image.built_at + timedelta(days=later, hours=1)
            known = vulnerable[: max(1, len(vulnerable) * (later + 60) // 140)]
            found = tuple(_vulnerability(component) for component in known)
            report = Report(at.replace(microsecond=0), found)
            made = partial(documents.vulnerability_report, f"{image.repository}:{image.tag}", report)
            self._add(image, "vulnerabilities", documents.VULNERABILITIES, attester, at, "", made, says=report)
        if vulnerable and image.number // 10_000 % 3 == 0:
            at = image.built_at + timedelta(days=10)
            ids = tuple(_vulnerability(component).id for component in vulnerable[:3])
            told = Vex(ids, "not_affected", "vulnerable_code_not_in_execute_path", at.replace(microsecond=0))
            unique = digest(image.digest, "vex").removeprefix("sha256:")[:16]
            made = partial(documents.openvex, told, digest=image.digest, unique=unique)
            self._add(image, "vex", documents.OPENVEX, attester, at, "", made, says=told)

    def _add(
        self,
        image: Image,
        kind: str,
        predicate_type: str,
        signer: Signer,
        at: datetime,
        code: str,
        predicate: partial[bytes],
        says: object = None,
    ) -> None:
        self.log_index += 1
        log_index = self.log_index if not signer.key else None
        about = digest(image.digest, "another") if code == "SubjectMismatch" else image.digest
        legacy = kind == "sbom" and image.sbom_state == "legacy"

        def document() -> bytes:
            payload = documents.statement(image.repository, about, predicate_type, predicate())
            if legacy:
                return documents.envelope(payload)
            return documents.bundle(payload, signer=signer, log_index=log_index, signed_at=at)

        image.evidence.append(Evidence(kind, predicate_type, signer, log_index, at, code, document, says))


def _claims(number: int, image: str, children: tuple[str, ...], base: Base) -> Iterator[Claim]:
    """Some say by annotations what they are built on, whole or by digest alone; some by labels; many say nothing."""
    if number % 5 == 1:
        yield Claim(image, "annotation", base.name, base.digest)
    for manifest in children or (image,):
        if number % 5 == 3:
            yield Claim(manifest, "annotation", "", base.digest)
        if number % 3 == 2:
            yield Claim(manifest, "label", base.name, "")


def _purl(name: str) -> str:
    """A base image's package URL, as BuildKit writes it."""
    host, _, path = name.partition("/")
    qualifier = "" if host == "docker.io" else f"?repository_url={host}"
    return f"pkg:docker/{path.replace(':', '@')}{qualifier}"


@lru_cache(maxsize=200_000)
def _bare(component: Component, nameless: bool) -> Component:
    """What a poor tool says of it: no supplier, often neither version nor package URL."""
    poorer = replace(component, supplier="", license="")
    return replace(poorer, version=None, purl="", cpe="") if nameless else poorer


def _vulnerability(component: Component) -> Vulnerability:
    number = _hash(component.purl)
    severity, score = (("CRITICAL", 9.8), ("HIGH", 8.1), ("HIGH", 7.5), ("MEDIUM", 5.3), ("LOW", 3.1))[number % 5]
    fixed = f"{component.version}.1" if number % 3 else ""
    return Vulnerability(
        id=f"CVE-2025-{1000 + number % 40_000}",
        severity=severity,
        score=score,
        purl=component.purl,
        package=component.name,
        version=component.version or "",
        fixed=fixed,
    )


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2s(text.encode(), digest_size=4).digest())
