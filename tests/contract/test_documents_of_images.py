"""What documents say of running images: SBOMs, findings and what clears them, assets, where images come from.

Every answer is worked out from the story by hand, on both databases.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text

from controller.cli import run
from controller.cli.inventory import shared
from controller.errors import InputError
from controller.inventory.asking.affected.resting import Footing
from controller.inventory.asking.documents.findings import FindingFilter
from controller.inventory.asking.documents.sboms import Demands, SbomState
from controller.inventory.database import engines
from controller.inventory.index import reading
from controller.inventory.store import Store
from controller.model.documents import Severity
from controller.model.reference import Digest
from controller.reading.wire.assets import AssetPage
from controller.reading.wire.rows import Form, Rows
from controller.settings import DocumentSettings
from tests.support.attested import SLSA, TRIVY, VEX, VULNS, attesting, bundle, scan, spdx, vex
from tests.support.inventory import (
    START,
    Clock,
    Database,
    evaluation,
    image,
    leaf,
    sighting,
    soon,
)

APP, WEB, JOB, BARE, INDEX = (f"sha256:{byte * 32}" for byte in ("a1", "b2", "c3", "d4", "e5"))
NOW = START + timedelta(hours=1)
OPENSSL, ZLIB = "pkg:deb/debian/openssl@3.0.11?distro=debian-12", "pkg:deb/debian/zlib1g@1.2?distro=debian-12"

EVERYTHING = FindingFilter()

Attested = tuple[dict[str, Any], dict[Digest, bytes]]


async def record(opened: Store, *attested: Attested | dict[str, Any]) -> None:
    pairs = [one if isinstance(one, tuple) else (one, {}) for one in attested]
    await asyncio.gather(*(opened.writer.record(item, blobs=blobs, deadline=soon()) for item, blobs in pairs))


def index(opened: Store, database: Database) -> None:
    indexer = opened.indexer(database.settings, read=lambda content: reading.read(content, DocumentSettings()))
    while indexer.step().more:
        pass


def ran(
    digest: str | None, pod: str, number: int = 0, *, namespace: str = "shop", cluster: str = "local", **run: Any
) -> dict[str, Any]:
    """A run of this image that began at START."""
    where = {"namespace": namespace, "name": pod, "uid": f"uid-{pod}", "owner": f"ReplicaSet/{pod}"}
    return sighting("Started", number, id=f"containerd://{pod}", digest=digest, **(where | run)) | {"cluster": cluster}


def complete(*, days: int = 0, supplier: str = "Organization: Debian", count: int = 10) -> Any:
    """An SPDX document whose components have all that NTIA asks for, made so many days before NOW."""
    packages = [
        {
            "SPDXID": f"SPDXRef-p{number}",
            "name": f"package{number}",
            "versionInfo": "1.0",
            "supplier": supplier,
            "externalRefs": [
                {
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": f"pkg:deb/debian/package{number}@1.0?distro=debian-12",
                }
            ],
        }
        for number in range(count)
    ]
    return spdx(packages=packages, created=(NOW - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ"))


def says(identifier: str, status: str = "not_affected", **more: Any) -> dict[str, Any]:
    """A statement about a vulnerability in openssl of the image."""
    justified = {"justification": "vulnerable_code_not_present"} if status == "not_affected" else {}
    parts = {"subcomponents": [{"@id": OPENSSL, "identifiers": {"purl": OPENSSL}}]}
    product = {"@id": f"pkg:oci/app@{APP}", "identifiers": {"purl": f"pkg:oci/app@{APP}"}, **parts}
    return {"vulnerability": {"name": identifier}, "status": status, "products": [product], **justified, **more}


def found(opened: Store, where: FindingFilter = EVERYTHING, **changes: Any) -> Any:
    return opened.questions.findings.findings(where, **({"as_of": NOW} | changes))


def named(page: Any) -> list[tuple[str, str]]:
    return [(item.vulnerability, item.digest) for item in page.items]


def states(opened: Store, **changes: Any) -> dict[str, tuple[str, tuple[str, ...]]]:
    page = opened.questions.sboms.sboms(**({"as_of": NOW} | changes))
    judged = [str(item.state) for item in page.items]  # one by one, and the counts where they lie in the database
    assert "states" in changes or Counter(judged) == Counter(dict(page.counts)), "the two ways of judging differ"
    assert judged == sorted(judged, key=list(SbomState).index)
    return {item.digest: (str(item.state), item.why) for item in page.items}


def looked(digest: str, **changes: Any) -> dict[str, Any]:
    """A decision for which evidence was looked for, and nothing found."""
    judged = evaluation() | {"signatures": [], "attestations": [], "rejections": [], "evidenceSet": APP}
    return leaf(images=[image(digest=digest)], evaluations=[judged | changes])


async def test_each_image_shows_the_state_of_its_best_sbom(opened: Store, database: Database) -> None:
    digests = [f"sha256:{number:064x}" for number in range(12)]
    incomplete = spdx("pkg:deb/debian/a@1", "pkg:deb/debian/b@1")  # nobody supplies them
    unsigned = evaluation() | {"signatures": [], "attestations": []}
    unsigned["rejections"] = [
        {"artifact": digests[3], "location": "registry", "authority": "", "code": "Unsigned", "message": ""}
    ]
    await record(
        opened,
        attesting(bundle(complete()), digest=digests[0]),
        attesting(bundle(complete(days=91)), digest=digests[1]),
        attesting(bundle(incomplete), digest=digests[2]),
        leaf(images=[image(digest=digests[3])], evaluations=[unsigned]),
        attesting(bundle(complete(days=1)), digest=digests[4], rejected="SubjectMismatch"),
        attesting(bundle(complete(days=2)), digest=digests[5], rejected="KeyMismatch"),
        attesting(b"{broken", digest=digests[6]),
        looked(digests[7]),
        leaf(images=[image(digest=digests[8])], evaluations=[]),
        attesting(bundle(spdx()), digest=digests[9]),
        # Of several the best counts, and what does not count beside it takes nothing from it.
        attesting(bundle(complete(days=100)), bundle(complete(days=3)), digest=digests[10]),
        attesting(bundle(complete(days=5)), digest=digests[10], rejected="KeyMismatch"),
        *(ran(digest, f"pod-{number}") for number, digest in enumerate(digests)),
        ran(None, "unknown"),
    )
    not_yet = states(opened)
    assert not_yet[digests[0]] == ("Unread", ("it is not indexed yet",))
    index(opened, database)
    supplier = "2 of 2 components have no supplier"
    assert states(opened) == {
        digests[0]: ("Complete", ()),
        digests[1]: ("Stale", ("it is 91 days old",)),
        digests[2]: ("Incomplete", (supplier,)),
        digests[3]: ("Unsigned", ("nobody signed it",)),
        digests[4]: ("OtherDigest", ("it is about another image",)),
        digests[5]: ("Untrusted", ("its proof counts for no policy: KeyMismatch",)),
        digests[6]: ("Unread", ("it cannot be read: DocumentMalformed",)),
        digests[7]: ("None", ("no SBOM lies beside it",)),
        digests[8]: ("NotLookedFor", ("no policy asked for evidence of it",)),
        digests[9]: ("Incomplete", ("it lists no components",)),
        digests[10]: ("Complete", ()),
        digests[11]: ("NotLookedFor", ("no policy asked for evidence of it",)),
    }
    page = opened.questions.sboms.sboms(as_of=NOW)
    assert page.unidentified == 1
    assert {state: count for state, count in page.counts.items() if count} == {
        "NotLookedFor": 2,
        "None": 1,
        "OtherDigest": 1,
        "Unsigned": 1,
        "Untrusted": 1,
        "Unread": 1,
        "Incomplete": 2,
        "Stale": 1,
        "Complete": 2,
    }
    first = page.items[0]
    assert (first.state, first.runs, first.namespaces, first.clusters) == ("NotLookedFor", 1, ("shop",), ("local",))
    best = page.items[-1]
    assert (best.digest, best.format, best.components, best.tool) == (digests[10], "SPDX", 10, "maker-1.0")
    assert best.dated_at == NOW - timedelta(days=3)


async def test_what_is_asked_of_an_sbom_is_the_askers_choice(opened: Store, database: Database) -> None:
    half = complete(days=20)
    half["packages"] = [*half["packages"][:2], {"SPDXID": "SPDXRef-x", "name": "x", "versionInfo": "1"}]
    await record(opened, attesting(bundle(half), digest=APP), ran(APP, "app"))
    index(opened, database)
    assert states(opened)[APP][0] == "Incomplete"
    assert states(opened, demands=Demands(may_lack=34))[APP][0] == "Complete"
    assert states(opened, demands=Demands(timedelta(days=19), 34))[APP] == ("Stale", ("it is 20 days old",))
    assert states(opened, states=[SbomState.COMPLETE]) == {}
    with pytest.raises(InputError, match="DemandOutOfRange"):
        states(opened, demands=Demands(may_lack=101))


async def test_pages_of_sboms_hold_each_image_once(opened: Store) -> None:
    digests = [f"sha256:{number:064x}" for number in range(7)]
    await record(opened, *(ran(digest, f"pod-{number}") for number, digest in enumerate(digests)))
    seen, cursor = [], None
    while True:
        page = opened.questions.sboms.sboms(as_of=NOW, limit=3, cursor=cursor)
        seen += [item.digest for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == digests


async def test_an_sbom_counts_from_when_it_was_found_and_known(opened: Store, database: Database, clock: Clock) -> None:
    await record(opened, ran(APP, "app"), looked(APP))
    clock.now = START + timedelta(days=2)
    await record(opened, attesting(bundle(complete()), digest=APP, number=86_400))
    index(opened, database)
    assert states(opened)[APP][0] == "None"
    later = START + timedelta(days=3)
    assert states(opened, as_of=later)[APP][0] == "Complete"
    assert states(opened, as_of=later, known_at=START + timedelta(days=1))[APP][0] == "None"
    assert states(opened, as_of=START - timedelta(seconds=1)) == {}


async def test_a_namespace_sees_the_sboms_of_what_runs_there_alone(opened: Store, database: Database) -> None:
    await record(
        opened,
        attesting(bundle(complete()), digest=APP),
        attesting(bundle(complete(days=1)), digest=WEB, policy_namespace="bank"),
        ran(APP, "app"),
        ran(WEB, "web", namespace="bank"),
        ran(WEB, "web2", cluster="east"),
    )
    index(opened, database)
    assert states(opened, namespace="shop") == {
        APP: ("Complete", ()),
        WEB: ("NotLookedFor", ("no policy asked for evidence of it",)),  # the bank's own policy tells nobody else
    }
    assert set(states(opened, namespace="bank")) == {WEB}
    assert states(opened, namespace="bank")[WEB][0] == "Complete"
    assert set(states(opened, cluster="east")) == {WEB}
    assert states(opened, namespace="elsewhere") == {}


async def test_what_was_verified_for_an_index_counts_for_its_manifest_that_runs(
    opened: Store, database: Database
) -> None:
    decision, blobs = attesting(bundle(complete()), digest=INDEX)
    decision["images"][0]["manifests"] = [APP]
    report, report_blobs = attesting(scan(("CVE-1", "HIGH", OPENSSL, "")), digest=INDEX, predicate_type=VULNS)
    await record(opened, (decision, blobs), (report, report_blobs), ran(APP, "app"))
    index(opened, database)
    assert states(opened)[APP][0] == "Complete"
    assert named(found(opened)) == [("CVE-1", APP)]


async def test_a_clean_report_of_one_manifest_says_nothing_of_another_that_may_be_the_one_that_runs(
    opened: Store, database: Database
) -> None:
    """APP and WEB are manifests of INDEX; the second was scanned later, and is clean but for what it has itself."""
    webs = {"@id": f"pkg:oci/app@{WEB}", "subcomponents": [{"@id": OPENSSL, "identifiers": {"purl": OPENSSL}}]}
    attested = [
        attesting(content, digest=INDEX, predicate_type=kind, child=child)
        for content, kind, child in (
            (scan(("CVE-1", "HIGH", OPENSSL, ""), at=START - timedelta(days=2)), VULNS, APP),
            (scan(("CVE-9", "LOW", ZLIB, ""), at=START - timedelta(days=3)), VULNS, WEB),
            (scan(("CVE-2", "LOW", ZLIB, ""), at=START), VULNS, WEB),
            (vex(says("CVE-1", products=[webs])), VEX, WEB),
        )
    ]
    for decision, _ in attested:
        decision["images"][0]["manifests"] = [APP, WEB]
    await record(opened, *attested, ran(INDEX, "index"), ran(APP, "app"), ran(WEB, "web"))
    index(opened, database)
    told = {(one.digest, one.vulnerability, one.cleared) for one in found(opened).items}
    assert told == {(INDEX, "CVE-1", False), (INDEX, "CVE-2", False), (APP, "CVE-1", False), (WEB, "CVE-2", False)}
    await record(opened, attesting(vex(says("CVE-1")), digest=INDEX, predicate_type=VEX, child=APP, number=9))
    index(opened, database)
    told = {(one.digest, one.vulnerability, one.cleared) for one in found(opened).items}
    assert {one for one in told if one[2]} == {(INDEX, "CVE-1", True), (APP, "CVE-1", True)}


@pytest.fixture
async def scanned(opened: Store, database: Database) -> Store:
    """APP runs twice in the shop, WEB once in the bank; each has a newer report and an older one; BARE has none."""
    old = scan(("CVE-1", "HIGH", OPENSSL, ""), ("CVE-9", "CRITICAL", ZLIB, "1.3"), at=START - timedelta(days=40))
    new = scan(
        ("CVE-1", "HIGH", OPENSSL, "3.0.12"), ("CVE-2", "LOW", ZLIB, ""), ("CVE-3", "CRITICAL", ZLIB, "1.3"), at=START
    )
    other = scan(("CVE-1", "MEDIUM", OPENSSL, "3.0.12"), at=START - timedelta(days=3))
    await record(
        opened,
        attesting(old, new, digest=APP, predicate_type=VULNS),
        attesting(other, digest=WEB, predicate_type=VULNS),
        looked(BARE),
        ran(APP, "app"),
        ran(APP, "app2"),
        ran(WEB, "web", namespace="bank", cluster="east"),
        ran(BARE, "bare"),
    )
    index(opened, database)
    return opened


async def test_the_newest_report_of_each_running_image_is_listed_the_worst_first(scanned: Store) -> None:
    page = found(scanned)
    assert named(page) == [("CVE-3", APP), ("CVE-1", APP), ("CVE-1", WEB), ("CVE-2", APP)]
    assert (page.images, page.unreported) == (3, 1)
    item = page.items[1]
    assert (item.severity, item.package, item.version, item.purl) == ("HIGH", "openssl", "3.0.11", OPENSSL)
    assert (item.fixed_versions, item.fixable, item.runs) == (("3.0.12",), True, 2)
    assert (item.namespaces, item.clusters, item.repositories) == (("shop",), ("local",), ("ghcr.io/acme/app",))
    # What is in the older report as well is as old as that; what is only in the older one is gone.
    assert (item.first_seen_at, item.reported_at) == (START - timedelta(days=40), START)
    assert page.items[0].first_seen_at == START
    assert (item.cleared, item.statements, item.scanner) == (False, (), TRIVY)


async def test_findings_are_narrowed_down_by_each_filter_and_by_all_together(scanned: Store) -> None:
    for where, expected in (
        (FindingFilter(severity=Severity.HIGH), [("CVE-3", APP), ("CVE-1", APP)]),
        (FindingFilter(vulnerability="cve-1"), [("CVE-1", APP), ("CVE-1", WEB)]),
        (FindingFilter(digest=WEB), [("CVE-1", WEB)]),
        (FindingFilter(fixable=False), [("CVE-2", APP)]),
        (FindingFilter(fixable=True, namespace="bank"), [("CVE-1", WEB)]),
        (FindingFilter(cluster="east"), [("CVE-1", WEB)]),
        (FindingFilter(min_age=timedelta(days=30)), [("CVE-1", APP)]),
        (FindingFilter(namespace="elsewhere"), []),
        (FindingFilter(vulnerability="CVE-9"), []),
        (FindingFilter(severity=Severity.LOW, vulnerability="CVE-1", digest=APP, fixable=True), [("CVE-1", APP)]),
    ):
        assert named(found(scanned, where)) == expected, where
    assert found(scanned, FindingFilter(namespace="bank")).images == 1


async def test_findings_are_those_of_the_day_and_of_what_was_known(
    opened: Store, database: Database, clock: Clock
) -> None:
    await record(
        opened,
        attesting(scan(("CVE-1", "HIGH", OPENSSL, "")), digest=APP, predicate_type=VULNS),
        ran(APP, "app"),
        ran(WEB, "web", 7200),
    )
    clock.now = START + timedelta(days=2)
    later = scan(("CVE-2", "HIGH", OPENSSL, ""), at=START + timedelta(days=1))
    await record(opened, attesting(later, digest=APP, predicate_type=VULNS, number=86_400))
    index(opened, database)
    day = START + timedelta(days=3)
    assert named(found(opened)) == [("CVE-1", APP)]
    assert named(found(opened, as_of=day)) == [("CVE-2", APP)]
    assert named(found(opened, as_of=day, known_at=START + timedelta(days=1))) == [("CVE-1", APP)]
    assert (found(opened).images, found(opened, as_of=day).images) == (1, 2)
    assert found(opened, as_of=START - timedelta(days=1)).items == ()


async def test_a_scan_dated_ahead_is_not_the_newest_by_its_own_word(opened: Store, database: Database) -> None:
    ahead = scan(("CVE-1", "HIGH", OPENSSL, ""), at=NOW + timedelta(days=300))
    now = scan(("CVE-2", "HIGH", OPENSSL, ""), at=NOW - timedelta(minutes=30))
    signed = "2026-11-20T10:00:00.000000Z"
    await record(
        opened,
        attesting(ahead, digest=APP, predicate_type=VULNS, signed_at=signed),
        attesting(now, digest=APP, predicate_type=VULNS, signed_at=signed, policy="other"),
        ran(APP, "app"),
    )
    index(opened, database)
    assert named(found(opened)) == [("CVE-2", APP)]


async def test_a_report_that_says_nothing_is_no_clean_one(opened: Store, database: Database) -> None:
    real = scan(("CVE-1", "HIGH", OPENSSL, ""), at=START - timedelta(days=5))
    await record(
        opened,
        attesting(real, scan(at=START, target=""), digest=APP, predicate_type=VULNS),
        attesting(scan(at=START), digest=WEB, predicate_type=VULNS),
        attesting(scan(at=START + timedelta(seconds=1), target=""), digest=JOB, predicate_type=VULNS),
        ran(APP, "app"),
        ran(WEB, "web"),
        ran(JOB, "job"),
    )
    index(opened, database)
    page = found(opened)
    assert (named(page), page.images, page.unreported) == ([("CVE-1", APP)], 3, 1)


@pytest.mark.parametrize("few", [0, 100])
async def test_pages_of_findings_hold_each_once_whichever_way_they_are_read(
    opened: Store, database: Database, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.inventory.asking.documents.findings.FEW", few)
    monkeypatch.setattr("controller.inventory.asking.documents.findings.BATCH", 2)
    shared = scan(*((f"CVE-{number}", "HIGH", OPENSSL, "") for number in range(5)), at=START)
    both = attesting(shared, digest=APP, predicate_type=VULNS), attesting(shared, digest=WEB, predicate_type=VULNS)
    gone = attesting(scan(("CVE-0", "CRITICAL", ZLIB, "")), digest=JOB, predicate_type=VULNS)
    await record(opened, *both, gone, ran(APP, "app"), ran(WEB, "web"))
    index(opened, database)
    expected = [(f"CVE-{number}", digest) for number in range(5) for digest in (APP, WEB)]
    for limit in (1, 3, 10, 11):
        seen, cursor = [], None
        while True:
            page = found(opened, limit=limit, cursor=cursor)
            assert len(page.items) <= limit
            seen += named(page)
            cursor = page.cursor
            if cursor is None:
                break
        assert seen == expected, limit
    with pytest.raises(InputError, match="CursorMalformed"):
        found(opened, cursor="WzFd")


async def test_vex_clears_what_it_is_certainly_about_and_names_the_document(opened: Store, database: Database) -> None:
    report = scan(
        *((f"CVE-{number}", "HIGH", OPENSSL, "") for number in (1, 2, 3, 4)), ("CVE-5", "HIGH", ZLIB, ""), at=START
    )
    document = vex(
        says("CVE-1"),
        says("CVE-2", "affected", action_statement="update openssl"),
        says("CVE-3", "fixed"),
        says("CVE-4", timestamp="2027-01-01T00:00:00Z"),  # not true yet
        says("CVE-5"),  # about openssl, and this one is in zlib
        says("CVE-6"),
    )
    elsewhere = vex(says("CVE-5"), says("CVE-4"), identity="https://acme.example/vex/2")
    await record(
        opened,
        attesting(report, digest=APP, predicate_type=VULNS),
        attesting(document, digest=APP, predicate_type=VEX),
        attesting(elsewhere, digest=APP, predicate_type=VEX, rejected="KeyMismatch"),
        ran(APP, "app"),
    )
    index(opened, database)
    items = {item.vulnerability: item for item in found(opened).items}
    assert {name: item.cleared for name, item in items.items()} == {
        "CVE-1": True,
        "CVE-2": False,
        "CVE-3": True,
        "CVE-4": False,
        "CVE-5": False,
    }
    (statement,) = items["CVE-1"].statements
    assert (statement.status, statement.justification) == ("not_affected", "vulnerable_code_not_present")
    assert (statement.author, statement.document) == ("Acme", str(Digest.of(document)))
    assert [one.status for one in items["CVE-2"].statements] == ["affected"]
    assert items["CVE-5"].statements == ()
    assert [name for name, _ in named(found(opened, FindingFilter(cleared=True)))] == ["CVE-1", "CVE-3"]
    assert [name for name, _ in named(found(opened, FindingFilter(cleared=False)))] == ["CVE-2", "CVE-4", "CVE-5"]


async def test_a_later_statement_takes_a_clearance_back(opened: Store, database: Database, clock: Clock) -> None:
    report = scan(("CVE-1", "HIGH", OPENSSL, ""), at=START)
    await record(
        opened,
        attesting(report, digest=APP, predicate_type=VULNS),
        attesting(vex(says("CVE-1", timestamp="2026-11-22T09:00:00Z")), digest=APP, predicate_type=VEX),
        ran(APP, "app"),
    )
    clock.now = START + timedelta(minutes=30)
    bad = vex(says("CVE-1", "affected", timestamp="2026-11-22T10:30:00Z"), identity="https://acme.example/vex/2")
    await record(opened, attesting(bad, digest=APP, predicate_type=VEX, number=10))
    index(opened, database)
    assert [item.cleared for item in found(opened).items] == [False]
    assert [item.cleared for item in found(opened, known_at=START + timedelta(minutes=1)).items] == [True]


async def test_an_asset_is_an_image_by_repository_and_digest_with_what_is_known_of_it(
    opened: Store, database: Database
) -> None:
    base = {"uri": "pkg:docker/debian@bookworm", "digest": {"sha256": "0b" * 32}}
    provenance = {
        "buildDefinition": {
            "buildType": "https://example.com/b",
            "externalParameters": {},
            "resolvedDependencies": [base],
        },
        "runDetails": {"builder": {"id": "https://builder.example"}, "metadata": {}},
    }
    await record(
        opened,
        attesting(bundle(complete()), digest=APP),
        attesting(bundle(provenance, SLSA), digest=APP, predicate_type=SLSA),
        attesting(scan(at=NOW - timedelta(days=29)), digest=APP, predicate_type=VULNS),
        attesting(scan(at=NOW - timedelta(days=31)), digest=WEB, predicate_type=VULNS),
        ran(APP, "app"),
        ran(APP, "app2", owner="ReplicaSet/app"),
        ran(APP, "job", namespace="pay", cluster="east", owner=""),
        ran(WEB, "web", repository="ghcr.io/acme/web", image="ghcr.io/acme/web@" + WEB),
        ran(None, "unknown"),
    )
    index(opened, database)
    page = AssetPage.of(opened.questions.assets.assets(as_of=NOW))
    text = Rows(AssetPage, Form.CSV).head() + Rows(AssetPage, Form.CSV).items(page.items)
    rows = list(csv.DictReader(io.StringIO(text.decode())))
    filled = [{name: value for name, value in row.items() if value} for row in rows]
    assert filled == [
        {
            "UNIQUE ASSET IDENTIFIER": f"ghcr.io/acme/app@{APP}",
            "Virtual": "Yes",
            "Baseline Configuration Name": "docker.io/library/debian:bookworm",
            "OS Name and Version": "debian 12",
            "Location": "east, local",
            "Asset Type": "Container image",
            "In Latest Scan": "Yes",
            "Software/ Database Name & Version": "ghcr.io/acme/app:1.2",
            "Comments": f"3 containers, by namespace: pay 1, shop 2; last verified scan 2026-10-24 by {TRIVY}",
            "Application Administrator/ Owner": "shop/ReplicaSet/app",
        },
        {
            "UNIQUE ASSET IDENTIFIER": f"ghcr.io/acme/web@{WEB}",
            "Virtual": "Yes",
            "Location": "local",
            "Asset Type": "Container image",
            "In Latest Scan": "No",
            "Software/ Database Name & Version": "ghcr.io/acme/web",
            "Comments": f"1 container, by namespace: shop 1; last verified scan 2026-10-22 by {TRIVY}",
            "Application Administrator/ Owner": "shop/ReplicaSet/web",
        },
    ]
    assert list(rows[0]) == [
        *("UNIQUE ASSET IDENTIFIER", "IPv4 or IPv6 Address", "Virtual", "Public", "DNS Name or URL", "NetBIOS Name"),
        *("MAC Address", "Authenticated Scan", "Baseline Configuration Name", "OS Name and Version", "Location"),
        *("Asset Type", "Hardware Make/Model", "In Latest Scan", "Software/ Database Vendor"),
        *("Software/ Database Name & Version", "Patch Level", "Diagram Label", "Comments", "Serial #/Asset Tag#"),
        *("VLAN/ Network ID", "System Administrator/ Owner", "Application Administrator/ Owner", "Function"),
        "End-of-Life",
    ]


async def test_an_asset_shows_what_only_the_image_claims_and_says_so(opened: Store, database: Database) -> None:
    def decided(number: int, digest: str, annotated: str, label: str, policy_namespace: str = "") -> dict[str, Any]:
        judged = evaluation()
        judged["policy"]["namespace"] = policy_namespace
        config = {"digest": "sha256:" + "c0" * 32, "manifest": digest, "platform": None, "os": "windows"}
        labels = {"org.opencontainers.image.base.name": label}
        judged["used"] = {"configs": [config | {"osVersion": "10.0.20348", "labels": labels}]}
        value = leaf(number, images=[image(digest=digest)], evaluations=[judged])
        value["images"][0] |= {"bases": [{"manifest": digest, "name": annotated}]} if annotated else {}
        return value

    await record(
        opened,
        decided(0, WEB, "docker.io/library/debian:12", "debian:13"),
        decided(1, APP, "", "alpine:3.20", policy_namespace="shop"),
        decided(2, JOB, "debian:12", "debian:12"),
        attesting(bundle(complete()), digest=JOB),
        *(ran(digest, name) for digest, name in ((APP, "app"), (JOB, "old"), (WEB, "web"))),
        ran(APP, "app2", namespace="pay"),
    )
    index(opened, database)

    def told(**changes: Any) -> dict[str, tuple[str, str, str, str]]:
        assets = opened.questions.assets.assets(as_of=NOW, **changes).items
        return {one.digest: (one.base, one.base_source, one.system, one.system_source) for one in assets}

    windows = ("windows 10.0.20348", "configuration")
    assert told() == {
        WEB: ("docker.io/library/debian:12", "annotation", *windows),
        APP: ("docker.io/library/alpine:3.20", "label", *windows),
        JOB: ("docker.io/library/debian:12", "annotation", "debian 12", "sbom"),
    }
    assert told(namespace="pay") == {APP: ("", "", "", "")}
    assert told(namespace="shop")[APP] == told()[APP]
    assert told(known_at=START - timedelta(days=1)) == {}
    (row,) = [item for item in AssetPage.of(opened.questions.assets.assets(as_of=NOW)).items if WEB in item.identifier]
    assert row.comments.endswith(
        "; base image by the image's own annotation, which nobody signed"
        "; OS by the image's own configuration, which nobody signed"
    )


async def test_the_identifier_of_an_asset_is_the_same_whenever_and_wherever_it_runs(
    opened: Store, clock: Clock
) -> None:
    await record(opened, ran(APP, "app"), sighting("Ended", 7200, id="containerd://app", digest=APP, uid="uid-app"))
    clock.now = START + timedelta(days=200)
    await record(opened, ran(APP, "app-again", 200 * 86_400, namespace="other", cluster="east", node="new"))

    def identifiers(at: datetime, **changes: Any) -> list[str]:
        return [item.identifier for item in opened.questions.assets.assets(as_of=at, **changes).items]

    later = START + timedelta(days=201)
    assert identifiers(NOW) == identifiers(later) == [f"ghcr.io/acme/app@{APP}"]
    assert identifiers(START + timedelta(days=100)) == []
    assert identifiers(later, known_at=START + timedelta(days=1)) == []
    assert identifiers(later, namespace="shop") == []
    assert identifiers(later, namespace="other", cluster="east") == identifiers(later)


async def test_pages_of_assets_hold_each_once(opened: Store) -> None:
    digests = [f"sha256:{number:064x}" for number in range(5)]
    await record(opened, *(ran(digest, f"pod-{number}") for number, digest in enumerate(digests)))
    seen, cursor = [], None
    while True:
        page = opened.questions.assets.assets(as_of=NOW, limit=2, cursor=cursor)
        seen += [item.digest for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == digests


async def test_what_provenance_names_is_a_footing_of_the_image(opened: Store, database: Database, clock: Clock) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    workflow = "https://github.com/slsa-framework/generator/.github/workflows/container.yml"
    predicate = {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {"workflow": {"ref": "refs/heads/main", "repository": "https://github.com/acme/app"}},
            "resolvedDependencies": [
                {"uri": "git+https://github.com/acme/app@refs/heads/main", "digest": {"gitCommit": commit}},
                {"uri": "pkg:docker/debian@bookworm", "digest": {"sha256": "0b" * 32}},
            ],
        },
        "runDetails": {"builder": {"id": f"{workflow}@refs/tags/v1"}, "metadata": {}},
    }
    await record(
        opened,
        attesting(bundle(predicate, SLSA), digest=APP, predicate_type=SLSA),
        attesting(bundle(predicate, SLSA, WEB), digest=WEB, predicate_type=SLSA, rejected="KeyMismatch"),
        ran(APP, "app"),
        ran(WEB, "web"),
    )
    index(opened, database)

    def resting(footing: Footing, value: str, **changes: Any) -> list[str]:
        page = opened.questions.affected.images(footing, value, as_of=NOW, **changes)
        return [one.digest for one in page.items]

    for footing, value in (
        (Footing.BUILDER, workflow),
        (Footing.BUILDER, f"{workflow}@refs/tags/v1"),
        (Footing.SOURCE, "github.com/acme/app"),
        (Footing.SOURCE, commit),
        (Footing.SOURCE, f"https://github.com/acme/app@{commit}"),
        (Footing.BASE, "debian:bookworm"),
        (Footing.BASE, "docker.io/library/debian"),
        (Footing.BASE, "sha256:" + "0b" * 32),
    ):
        assert resting(footing, value) == [APP], (footing, value)
    assert resting(Footing.BASE, "debian:trixie") == []
    assert resting(Footing.BUILDER, workflow, known_at=START - timedelta(seconds=1)) == []
    assert resting(Footing.BUILDER, workflow, namespace="elsewhere") == []
    # A certificate names the repository as well.
    judged = evaluation()
    judged["signatures"][0]["signer"]["claims"] = {"sourceRepositoryURI": "https://github.com/acme/web"}
    await record(opened, leaf(5, images=[image(digest=WEB)], evaluations=[judged]))
    assert resting(Footing.SOURCE, "github.com/acme/web") == [WEB]
    del clock


LARGE = (
    "run",
    "evidence",
    "trace",
    "claim",
    "document",
    "document_trace",
    "scan",
    "vulnerability_finding",
    "finding_alias",
)


async def test_no_question_goes_through_all_that_there_is(database: Database, scanned: Store) -> None:
    if database.kind != "sqlite":
        pytest.skip("PostgreSQL goes through a table of a few rows whatever indexes it has")
    plans: list[str] = []

    def note(_: Any, cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith(("SELECT", "WITH")):
            driver = cursor.connection.cursor()
            plans.extend(row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    def ask() -> None:
        for namespace in (None, "shop"):
            scanned.questions.sboms.sboms(as_of=NOW, namespace=namespace)
            scanned.questions.assets.assets(as_of=NOW, namespace=namespace)
            found(scanned, FindingFilter(namespace=namespace, cleared=False, vulnerability="CVE-1"))
            for footing, value in (
                *((Footing.SIGNER, "key"), (Footing.BUILDER, "builder"), (Footing.ARTIFACT, APP)),
                (Footing.BASE, "debian:12"),
            ):
                scanned.questions.affected.extent(footing, value, as_of=NOW, namespace=namespace)

    event.listen(scanned._reading, "before_cursor_execute", note)
    ask()
    event.remove(scanned._reading, "before_cursor_execute", note)
    assert any("ix_evidence" in plan or "sqlite_autoindex_evidence" in plan for plan in plans)
    scans = {plan for plan in plans for table in LARGE if plan.split(" USING ")[0].strip() == f"SCAN {table}"}
    assert scans == set()
    # By what is claimed, or by who claims it; all claims of one kind are no less than all claims.
    claims = {plan.partition(" USING ")[2] for plan in plans if " claim USING " in plan}
    assert claims == {"INDEX sqlite_autoindex_claim_1 (kind=? AND value=?)", "INDEX ix_claim_digest_kind (digest=?)"}


SIGNER = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.2"


async def test_whole_lists_of_what_documents_say_are_printed_page_after_page(
    scanned: Store,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.setattr(shared, "MAX_LIMIT", 2)
    monkeypatch.setenv("ASSAY_DATABASE_URL", database.settings.database_url)
    questions, then = scanned.questions, NOW.strftime("%Y-%m-%dT%H:%M:%S")
    lists: dict[tuple[str, ...], Any] = {
        ("sboms",): questions.sboms.sboms(as_of=NOW, limit=100),
        ("findings",): found(scanned, limit=100),
        ("assets",): questions.assets.assets(as_of=NOW, limit=100),
        ("affected", "--signer", SIGNER): questions.affected.runs(Footing.SIGNER, SIGNER, as_of=NOW, limit=100),
        ("affected", "--signer", SIGNER, "--list", "images"): questions.affected.images(
            Footing.SIGNER, SIGNER, as_of=NOW, limit=100
        ),
        ("affected", "--signer", SIGNER, "--list", "decisions"): questions.affected.decisions(
            Footing.SIGNER, SIGNER, as_of=NOW, limit=100
        ),
    }
    for command, page in lists.items():
        assert run(["inventory", *command, "--as-of", then, "--all", "-o", "csv"]) == 0
        rows = list(csv.reader(io.StringIO(capfdbinary.readouterr().out.decode(), newline="")))
        assert len(rows) - 1 == len(page.items), command
        assert run(["inventory", *command, "--as-of", then, "--all", "-o", "jsonl"]) == 0
        lines = [json.loads(line) for line in capfdbinary.readouterr().out.decode().splitlines()]
        assert len(lines) == len(page.items) >= 2, command
        if "digest" in lines[0]:
            assert [line["digest"] for line in lines] == [item.digest for item in page.items], command


@pytest.mark.usefixtures("scanned")
async def test_findings_are_asked_of_the_view_as_the_reports_have_them(database: Database) -> None:
    query = text(
        "SELECT f.vulnerability, f.severity, f.package, f.fixed_versions, f.scanner, e.digest FROM v_findings f"
        " JOIN v_evidence e ON e.artifact = f.artifact WHERE f.fixable ORDER BY f.rank, f.vulnerability, e.digest"
    )
    engine = create_engine(engines.parse(database.settings.url()))
    with engine.begin() as connection:
        rows = [tuple(row) for row in connection.execute(query)]
    engine.dispose()
    assert rows == [  # of all reports, those that a newer one has replaced as well
        ("CVE-3", "CRITICAL", "zlib1g", '["1.3"]', TRIVY, APP),
        ("CVE-9", "CRITICAL", "zlib1g", '["1.3"]', TRIVY, APP),
        ("CVE-1", "HIGH", "openssl", '["3.0.12"]', TRIVY, APP),
        ("CVE-1", "MEDIUM", "openssl", '["3.0.12"]', TRIVY, WEB),
    ]
