"""An inventory with rows in every table: what a test needs that has to look at each of them.

Whoever adds a table adds here what fills it, with two rows at least; `tests/contract/test_tampering.py` says which are
empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from controller.inventory.index import reading
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.retention.leaves import LIFTED, PLACED, Selection, hold_leaf
from controller.inventory.store import Store
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from tests.support.attested import SLSA, VEX, VULNS, attesting, bundle, provenance, scan, spdx, vex
from tests.support.inventory import (
    START,
    Clock,
    Database,
    blob,
    evaluation,
    excepted,
    exception_of,
    image,
    leaf,
    read_of,
    resource,
    sighting,
    soon,
)

CHILDREN = ["sha256:" + "c1" * 32, "sha256:" + "c2" * 32]
BASES = [{"manifest": child, "name": f"debian:{number}"} for number, child in enumerate(CHILDREN, 12)]
GAPS = 260  # records of the smallest kind: with them the ledger has a full tile, a part of the next, and one above


def leaves() -> tuple[list[dict[str, Any]], dict[Digest, bytes]]:
    """Records of every kind, and the raw bytes that they name."""
    blobs = dict(blob(content) for content in (b"a bundle", b"another bundle", b"a key"))
    names = [str(digest) for digest in blobs]
    decisions = [
        leaf(
            number,
            blobs=[names[number % len(names)]],
            images=[image() | {"manifests": CHILDREN, "bases": BASES}, image(f"ghcr.io/acme/side:{number}", None)],
            evaluations=[
                evaluation(0, policy=f"policy-{number % 3}", outcome="Violated" if number % 5 == 4 else "Satisfied"),
                *(of_a_manifest(child, signer=f"{child[7:9]}-{number % 2}@acme.example") for child in CHILDREN),
                excepted(evaluation(0, policy="another"), name=f"hotfix-{number % 2}"),
            ],
            flags=["exempt"] if number % 2 else [],
            verdict="Deny" if number % 5 == 4 else "Allow",
            warnings=["look at this"],
        )
        for number in range(12)
    ]
    decisions[3]["object"]["namespace"] = "other"  # which then has used the policies too
    runs = [
        sighting(what, number, uid=f"pod-{number % 6}", id=f"containerd://{number % 6}")
        for number in range(12)
        for what in ("Started" if number < 6 else "Ended",)
    ]
    holds = [
        hold_leaf(
            action, name=f"case-{number}", reason="a court asked", person="jane", what=what, cluster="local", at=START
        )
        for number, what in enumerate((Selection(namespace="shop"), Selection(begins=START, ends=_later(START))))
        for action in (PLACED, LIFTED)
    ]
    reads = [read_of(f"reader-{number % 2}", number) for number in range(4)]
    unused = [exception_of(f"unused-{number}", hash=f"sha256:{number:064x}") for number in range(2)]
    resources = [
        *(resource("Applied", number, name=f"policy-{number}", uid=f"u{number}", manager="") for number in range(3)),
        *(resource("Applied", number, exception=one) for number, one in enumerate(unused)),
        resource("Deleted", 9, name="policy-1", uid="u1", reason="GoneWhileUnwatched"),
        resource("Applied", 10, name="policy-1", uid="u1", life=1, generation=2, problem="FieldMissing"),
        resource("Deleted", 11, exception=unused[1]),
    ]
    gaps = (sighting("Gap", number) for number in range(GAPS))
    return [*decisions, *runs, *holds, *gaps, *reads, *resources], blobs


def of_a_manifest(child: str, *, signer: str) -> dict[str, Any]:
    """What a policy that looks at each manifest of an index found of this one."""
    judged = evaluation(0, policy="each")
    proof = judged["signatures"][0]
    signed = {**proof, "signer": {**proof["signer"], "subject": signer}}
    return {**judged, "signatures": [signed], "attestations": [], "child": {"digest": child, "platform": "linux/arm64"}}


def documents() -> list[tuple[dict[str, Any], dict[Digest, bytes]]]:
    """Attestations of every kind that is read, two of each, and the raw bytes of them."""
    packages = [f"pkg:deb/debian/{name}@1.0?distro=debian-12" for name in ("openssl", "zlib1g")]
    found = [(f"CVE-2026-{number}", "HIGH", packages[number % 2], f"1.{number}") for number in range(8)]

    def said(number: int) -> dict[str, Any]:
        product = {"@id": "pkg:oci/app", "subcomponents": [{"@id": packages[number % 2]}]}
        named = {"name": f"CVE-2026-{number}", "aliases": [f"GHSA-{number}"]}
        return {"vulnerability": named, "status": "under_investigation", "products": [product]}

    return [
        attesting(bundle(spdx(*packages)), bundle(spdx(packages[0], "pkg:rpm/fedora/dnf@5?distro=fedora-41"))),
        attesting(scan(*found), scan(*found, at=START - timedelta(days=3), updated=START), predicate_type=VULNS),
        attesting(vex(*map(said, range(8))), vex(said(1), identity="https://acme.example/vex/2"), predicate_type=VEX),
        attesting(
            bundle(provenance("debian:bookworm"), SLSA),
            bundle(provenance("alpine:3", builder="https://other.example"), SLSA),
            predicate_type=SLSA,
        ),
    ]


async def fill(
    database: Database, store: Store, signer: NoteSigner, clock: Clock, *, but: Collection[str] = ()
) -> None:
    """Record all of it, number and sign it: twice, an hour apart, so that two checkpoints are kept. Then index it.
    `but` records of these schemas, which an earlier version did not know."""
    records, blobs = leaves()
    records = [record for record in records if record["schema"] not in but]
    for record, contents in documents():
        records.append(record)
        blobs |= contents
    sequencer = store.sequencer(database.settings, signer=signer, clock=clock)
    sequencer.take_over()
    for part in (records[::2], records[1::2]):
        named = {str(digest): (digest, content) for digest, content in blobs.items()}
        await asyncio.gather(
            *(
                store.writer.record(one, blobs=dict(named[name] for name in one["blobs"]), deadline=soon())
                for one in part
            )
        )
        while sequencer.sequence().more:
            pass
        clock.now = _later(clock.now)
    indexer = store.indexer(
        database.settings, read=lambda content: reading.read(content, DocumentSettings()), clock=clock
    )
    while indexer.step().more:
        pass


def _later(now: datetime) -> datetime:
    return max(now, START) + timedelta(hours=2)
