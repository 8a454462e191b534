"""A namespace's own policies say for whom evidence counts there, and nowhere else: nobody answers for others' images.

The bank runs an image with a bad scan and no VEX. The tenant has a policy of his own that trusts his own key. He may
have it judge the bank's image, or an index that lists it, with whatever clean report he signs himself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from controller.inventory.asking.affected.resting import Footing
from controller.inventory.asking.documents.findings import FindingFilter
from controller.inventory.asking.documents.merged import Subject, merge
from controller.inventory.index import reading
from controller.inventory.store import Store
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from tests.support.asked_estate import every
from tests.support.attested import SLSA, SPDX, VEX, VULNS, attesting, bundle, provenance, scan, spdx, vex
from tests.support.inventory import START, Clock, Database, sighting, soon

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
        decision["images"][0]["bases"] = [{"manifest": BANKS, "name": "evil.example/base:1"}] if listed else []
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


# Where documents add up: of each run is told what counts for it.

EVIL, GOOD = "pkg:deb/debian/backdoor@6.6.6", "pkg:deb/debian/zlib@1.3"
LEADS = {
    Footing.SIGNER: "mallory",
    Footing.BUILDER: "https://builds.evil.example/v1",
    Footing.BASE: "evil.example/base",
    Footing.LOG_ENTRY: "666",
}
THEN = START + timedelta(seconds=30)  # when the tenant's run went on


def run_once() -> list[Recorded]:
    """The tenant runs the bank's image for a minute, on a cluster of his."""
    where = {"namespace": "a-tenant", "name": "a-tenant", "uid": "uid-a-tenant", "id": "containerd://a-tenant"}
    at = (START + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    both = (sighting("Started", 1, digest=BANKS, **where), sighting("Ended", 60, digest=BANKS, startedAt=at, **where))
    return [(one | {"cluster": "tenants"}, {}) for one in both]


def added(way: str) -> list[Recorded]:
    """An SBOM and a provenance of his own about the bank's image, as his own policy found them."""
    about = {"policies": "a-tenant", **({"digest": INDEX, "child": BANKS} if way == "by an index" else {})}
    built = provenance("evil.example/base:1", builder=LEADS[Footing.BUILDER])
    items = [
        found("a-tenant", bundle(spdx(EVIL), SPDX, BANKS), SPDX, **about),
        found("a-tenant", bundle(built, SLSA, BANKS), SLSA, **about),
    ]
    for decision, _ in items:
        (judged,) = decision["evaluations"]
        (proof,) = judged["attestations"]
        proof["signer"] = {"key": "", "issuer": "https://evil.example", "subject": "mallory", "claims": {}}
        proof["logEntry"] = {"logId": "bG9n", "index": 666, "integratedAt": None}
        decision["images"][0]["manifests"] = [BANKS] if "child" in about else []
    return items


def packages(opened: Store, **where: Any) -> dict[str, list[str]]:
    """Where each of the packages is told to run, by component lists too."""
    find = opened.questions.packages.packages
    told = {purl: sorted(one.namespace for one in find(purl.partition("@")[0], **where).items) for purl in (EVIL, GOOD)}
    if where.pop("ever", False):
        return told
    page = opened.questions.components.components(**where)
    subject = Subject(where["as_of"], cluster=where.get("cluster", ""), namespace=where.get("namespace", ""))
    text = "".join(merge(opened.questions.components, subject, known_at=where.get("known_at")))
    listed = {one["purl"]: one["properties"][0]["value"] for one in json.loads(text)["components"]}
    assert {one.purl: str(one.images) for one in page.items} == listed
    assert all(bool(told[purl]) is (purl in listed) for purl in told)
    documents = [one["value"] for one in json.loads(text)["metadata"]["properties"]]
    assert documents == list(page.documents)
    assert page.described == bool(documents)
    return told


def reached(opened: Store, footing: Footing, **where: Any) -> tuple[list[str], list[str], tuple[int, ...]]:
    """The namespaces of the runs and of the decisions on what is the tenant's, and how many are counted."""
    affected, value = opened.questions.affected, LEADS[footing]

    def namespaces(ask: Callable[..., Any], limit: int) -> list[str]:
        items = every(lambda cursor: ask(footing, value, limit=limit, cursor=cursor, **where))
        return sorted(one.namespace for one in items)

    runs, decisions = (namespaces(ask, 50) for ask in (affected.runs, affected.decisions))
    assert (runs, decisions) == tuple(namespaces(ask, 1) for ask in (affected.runs, affected.decisions))
    extent = affected.extent(footing, value, **where)
    assert extent.namespaces == tuple(sorted(set(runs)))
    assert not extent.more
    return runs, decisions, (extent.running, extent.ran, extent.admitted)


@pytest.mark.guarantee(5)
@pytest.mark.parametrize("way", ["by itself", "by an index"])
async def test_guarantee_05_what_a_namespaces_own_policy_found_is_told_of_nobody_elses_run(
    opened: Store, database: Database, clock: Clock, way: str
) -> None:
    banks = found("bank", bundle(spdx(GOOD), SPDX, BANKS), SPDX)
    later = found("bank", bundle(spdx(GOOD), SPDX, BANKS), SPDX, number=100)  # let in after the tenant's word
    await record(opened, database, banks, later, ran("bank"), *run_once())
    heard, clock.now = clock.now, START + timedelta(days=1)
    await record(opened, database, *added(way))

    nothing, his = [], ["a-tenant"]
    only_banks = {EVIL: nothing, GOOD: ["bank"]}
    assert packages(opened, as_of=NOW) == only_banks
    assert packages(opened, as_of=NOW, cluster="local") == only_banks
    assert packages(opened, as_of=THEN, cluster="local") == only_banks
    assert packages(opened, as_of=THEN, namespace="bank") == only_banks
    assert packages(opened, as_of=THEN, known_at=heard) == {EVIL: nothing, GOOD: ["a-tenant", "bank"]}
    assert packages(opened, as_of=THEN) == {EVIL: his, GOOD: ["a-tenant", "bank"]}  # his own run is told, and no other
    assert packages(opened, as_of=THEN, cluster="tenants") == {EVIL: his, GOOD: his}
    assert packages(opened, ever=True, as_of=NOW)[EVIL] == his
    of_image = opened.questions.components.components(digest=BANKS)  # which is not his alone
    assert [one.purl for one in of_image.items] == [GOOD]

    for footing, value in LEADS.items():
        decided = his * 2
        assert reached(opened, footing, as_of=THEN) == (his, decided, (1, 1, len(decided))), footing
        assert reached(opened, footing, as_of=NOW) == (nothing, decided, (0, 1, len(decided))), footing
        assert reached(opened, footing, as_of=NOW, known_at=heard) == (nothing, nothing, (0, 0, 0)), footing
        assert reached(opened, footing, as_of=NOW, namespace="bank") == (nothing, nothing, (0, 0, 0)), footing
        (image,) = opened.questions.affected.images(footing, value, as_of=NOW).items
        assert {told.only_in for told in image.sources} == {("a-tenant",)}
        ever = opened.questions.affected.runs(footing, value, as_of=NOW, ever=True).items
        assert [one.namespace for one in ever] == his


async def test_what_the_clusters_policies_found_counts_for_all_who_run_the_image(
    opened: Store, database: Database
) -> None:
    items = added("by itself")
    for decision, _ in items:
        decision["evaluations"][0]["policy"]["namespace"] = ""
    await record(opened, database, *items, found("bank", BAD, VULNS, number=100), ran("bank"), *run_once())
    assert packages(opened, as_of=THEN)[EVIL] == ["a-tenant", "bank"]
    for footing, value in LEADS.items():
        runs, decisions, counted = reached(opened, footing, as_of=THEN + timedelta(minutes=2))
        assert (runs, "bank" in decisions, counted[1:]) == (["bank"], True, (2, len(decisions)))
        assert reached(opened, footing, as_of=THEN)[0] == ["a-tenant", "bank"]
        (image,) = opened.questions.affected.images(footing, value, as_of=NOW).items
        assert {told.only_in for told in image.sources} == {()}
