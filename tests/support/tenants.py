"""An inventory that two namespaces share, `shop` and `bank`, each with everything that an inventory can know.

One image runs in both. Of what is the bank's alone every name has a mark in it, so that a test can look for it in
whatever somebody else is answered; what bears no name of its choosing (digests, ids) is listed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from controller.inventory.index import reading
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from tests.bench.estate.documents import OPENVEX, PROVENANCE, VULNERABILITIES, openvex, provenance, vulnerability_report
from tests.bench.estate.facts import Provenance, Report, Vex, Vulnerability
from tests.support.attested import SPDX, attesting, envelope, spdx
from tests.support.inventory import START, Clock, Database, excepted, sighting, soon

SHOP, BANK = "shop", "bank"
MARK = "hush"  # in every name that is the bank's alone
COMMON = str(Digest.of(b"what both run"))


@dataclass(frozen=True)
class Tenant:
    """What one of them has: an image with its documents, a pod, and the records about it by what they say."""

    namespace: str
    word: str
    digest: str
    records: Mapping[str, dict[str, Any]]
    blobs: Mapping[Digest, bytes]

    @property
    def purl(self) -> str:
        """The package that is in its image alone."""
        return f"pkg:npm/{self.word}-lib"

    @property
    def signer(self) -> str:
        """Who signed its image alone."""
        return f"https://github.com/acme/{self.word}/.github/workflows/release.yml@refs/heads/main"

    @property
    def pod(self) -> str:
        """Its pod's name."""
        return f"{self.word}-web"

    @property
    def run(self) -> str:
        """The run of its pod's container."""
        return f"containerd://{self.word}-run"

    @property
    def names(self) -> frozenset[str]:
        """Everything by which something is its own alone."""
        ids = {value["id"] for value in self.records.values()}
        return frozenset({self.word, self.digest, *ids, *map(str, self.blobs)})


def tenant(namespace: str, word: str, *, begins: int) -> Tenant:
    """All that there is of a namespace, from the `begins`th second on."""
    digest = str(Digest.of(word.encode()))
    made = START - timedelta(days=2)
    flaw = Vulnerability(
        f"CVE-2031-{word.upper()}", "HIGH", 8.1, f"pkg:npm/{word}-lib@1.0.0", f"{word}-lib", "1.0.0", ""
    )
    source = f"https://github.com/acme/{word}"
    told = Provenance(
        f"https://builder.example/{word}", source, "ab" * 20, f"quay.io/{word}:1", f"pkg:docker/{word}@1", digest
    )
    vex = Vex((flaw.id,), "not_affected", "component_not_present", made)
    predicates = (
        (SPDX, spdx(f"pkg:npm/{word}-lib@1.0.0", "pkg:npm/everybody@1.0.0")),
        (VULNERABILITIES, vulnerability_report(word, Report(made, (flaw,)))),
        (PROVENANCE, provenance(told, made)),
        (OPENVEX, openvex(vex, digest=digest, unique=word)),
    )
    blobs: dict[Digest, bytes] = {}
    records: dict[str, dict[str, Any]] = {}

    def decided(name: str, second: int, value: dict[str, Any]) -> None:
        value["object"] |= {"namespace": namespace, "name": f"{word}-web", "uid": f"{word}-{name}"}
        value["images"][0]["reference"] = f"ghcr.io/acme/{word}:1"
        value["images"][0]["repository"] = f"ghcr.io/acme/{word}"
        value["message"] = f"of {word}"
        for judged in value["evaluations"]:
            for proof in (*judged["signatures"], *judged["attestations"]):
                proof["signer"]["subject"] = f"{source}/.github/workflows/release.yml@refs/heads/main"
        at = START + timedelta(seconds=begins + second)
        value["decidedAt"] = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        records[name] = value

    for number, (kind, predicate) in enumerate(predicates):
        parsed = json.loads(predicate) if isinstance(predicate, bytes) else predicate
        value, found = attesting(envelope(parsed, kind, digest), digest=digest, predicate_type=kind, number=number)
        blobs |= found
        decided(f"decision {number}", number, value)
    refused, _ = attesting(digest=digest, number=8, verdict="Deny", flags=["exempt"])
    refused["evaluations"] = [
        {
            **refused["evaluations"][0],
            "outcome": "Violated",
            "policy": {**refused["evaluations"][0]["policy"], "name": f"{word}-policy"},
        },
        excepted(refused["evaluations"][0], name=f"{word}-waiver"),
    ]
    decided("refused", 20, refused)
    about = {"namespace": namespace, "name": f"{word}-web", "owner": f"Deployment/{word}", "node": f"{word}-node"}
    records["ran"] = sighting(
        "Started", begins + 10, uid=f"{word}-decision 0", id=f"containerd://{word}-run", image=f"ghcr.io/acme/{word}:1",
        imageId=f"ghcr.io/acme/{word}@{digest}", repository=f"ghcr.io/acme/{word}", digest=digest, **about,
    )  # fmt: skip
    records["common ran"] = sighting(
        "Started", begins + 11, uid=f"{word}-common", id=f"containerd://{word}-common", image="ghcr.io/acme/common:1",
        imageId=f"ghcr.io/acme/common@{COMMON}", repository="ghcr.io/acme/common", digest=COMMON, **about,
    )  # fmt: skip
    return Tenant(namespace, word, digest, records, blobs)


SHOPS = tenant(SHOP, "plain", begins=0)
BANKS = tenant(BANK, MARK, begins=100)


def fill(database: Database, clock: Clock, *tenants: Tenant) -> None:
    """Record all that these have, and index their documents."""
    with database.open(clock) as store:

        async def record() -> None:
            for one in tenants:
                for value in one.records.values():
                    named = {d: content for d, content in one.blobs.items() if str(d) in value["blobs"]}
                    await store.writer.record(value, blobs=named, deadline=soon())

        asyncio.run(record())
        indexer = store.indexer(
            database.settings, read=lambda content: reading.read(content, DocumentSettings()), clock=clock
        )
        while indexer.step().more:
            pass
