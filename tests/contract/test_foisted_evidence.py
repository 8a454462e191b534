"""A namespace's own policies say for whom evidence counts there, and nowhere else: nobody answers for others' images.

The bank runs an image with a bad scan and no VEX. The tenant has a policy of his own that trusts his own key. He may
have it judge the bank's image, or an index that lists it, with whatever clean report he signs himself.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from controller.inventory.findings import FindingFilter
from controller.inventory.index import reading
from controller.inventory.store import Store
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from tests.support.attested import SLSA, SPDX, VEX, VULNS, attesting, bundle, provenance, scan, spdx, vex
from tests.support.inventory import START, Database, sighting, soon

BANKS, INDEX = "sha256:" + "5e" * 32, "sha256:" + "f0" * 32
NOW = START + timedelta(hours=1)
PURL = "pkg:deb/debian/openssl@3.0.11?distro=debian-12"

Recorded = tuple[dict[str, Any], dict[Digest, bytes]]


def found(namespace: str, content: bytes, predicate_type: str, *, policies: str = "", **more: Any) -> Recorded:
    """A decision in a namespace by a policy of the cluster, or of the namespace `policies`."""
    decision, blobs = attesting(
        content, predicate_type=predicate_type, policy_namespace=policies, **({"digest": BANKS} | more)
    )
    decision["object"]["namespace"] = decision["request"]["namespace"] = namespace
    return decision, blobs


def ran(namespace: str, digest: str = BANKS) -> Recorded:
    where = {"namespace": namespace, "name": namespace, "uid": f"uid-{namespace}", "id": f"containerd://{namespace}"}
    return sighting("Started", 1, digest=digest, **where), {}


async def record(opened: Store, database: Database, *items: Recorded) -> None:
    await asyncio.gather(*(opened.writer.record(value, blobs=blobs, deadline=soon()) for value, blobs in items))
    indexer = opened.indexer(database.settings, read=lambda content: reading.read(content, DocumentSettings()))
    while indexer.step().more:
        pass


def told(opened: Store, **where: Any) -> tuple[Any, ...]:
    """Of the bank's image: what was found in it and whether that is cleared, its SBOM, its base and its last scan."""
    questions = opened.questions
    page = questions.findings.findings(FindingFilter(**where), as_of=NOW)
    (sbom,) = (one for one in questions.sboms.sboms(as_of=NOW, **where).items if one.digest == BANKS)
    counts = questions.sboms.sboms(as_of=NOW, **where).counts
    (asset,) = (one for one in questions.assets.assets(as_of=NOW, **where).items if one.digest == BANKS)
    findings = {(one.vulnerability, one.cleared) for one in page.items if one.digest == BANKS}
    assert counts[str(sbom.state)] >= 1  # counted as it is told
    return findings, page.unreported, str(sbom.state), asset.base, asset.scanned_at


BAD = scan(("CVE-1", "HIGH", PURL, ""), at=START - timedelta(days=1))
CLEAN = scan(("CVE-9", "LOW", PURL, ""), at=START)
CLEARING = vex(
    {
        "vulnerability": {"name": "CVE-1"},
        "status": "not_affected",
        "justification": "component_not_present",
        "products": [{"@id": f"pkg:oci/app@{BANKS}", "subcomponents": [{"@id": PURL}]}],
    }
)


def foisted(**more: Any) -> list[Recorded]:
    """What the tenant's own policy found in what the tenant wrote about the bank's image."""
    own = {"policies": "a-tenant", **more}
    return [
        found("a-tenant", CLEAN, VULNS, **own),
        found("a-tenant", CLEARING, VEX, **own),
        found("a-tenant", bundle(spdx(PURL, created="2026-11-22T09:00:00Z"), SPDX, BANKS), SPDX, **own),
        found("a-tenant", bundle(provenance("evil.example/base:1"), SLSA, BANKS), SLSA, **own),
    ]


@pytest.mark.guarantee(5)
@pytest.mark.parametrize("way", ["by itself", "by an index", "and he runs it too"])
async def test_guarantee_05_what_a_namespaces_own_policy_found_answers_for_nobody_elses_image(
    opened: Store, database: Database, way: str
) -> None:
    await record(opened, database, found("bank", BAD, VULNS), ran("bank"))
    before = told(opened)
    assert before == ({("CVE-1", False)}, 0, "None", "", START - timedelta(days=1))
    listed = {"digest": INDEX, "child": BANKS} if way == "by an index" else {}
    evil = foisted(**listed)
    for decision, _ in evil:
        decision["images"][0]["manifests"] = [BANKS] if listed else []
    await record(opened, database, *evil, *([ran("a-tenant")] if way == "and he runs it too" else []))
    assert told(opened) == before
    assert told(opened, namespace="bank") == before


async def test_what_a_namespaces_own_policy_found_counts_for_what_runs_there_alone(
    opened: Store, database: Database
) -> None:
    report, clearing, *others = foisted()
    await record(opened, database, found("a-tenant", BAD, VULNS), ran("a-tenant"), clearing)
    assert told(opened)[0] == {("CVE-1", True)}
    await record(opened, database, report, *others)
    own = ({("CVE-9", False)}, 0, "Incomplete", "evil.example/base:1", START)
    assert told(opened) == own
    assert told(opened, namespace="a-tenant") == own
    await record(opened, database, ran("bank"))  # now it is not his alone
    assert told(opened) == ({("CVE-1", False)}, 0, "None", "", START - timedelta(days=1))
    assert told(opened, namespace="a-tenant") == own
    assert told(opened, namespace="bank") == told(opened)
