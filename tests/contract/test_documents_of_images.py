"""What documents say of running images: SBOMs, findings and what clears them, assets, where images come from.

Every answer is worked out from the story by hand, on both databases.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.errors import InputError
from controller.inventory.affected import Listing
from controller.inventory.findings import FindingFilter
from controller.inventory.index import reading
from controller.inventory.resting import Footing
from controller.inventory.sboms import Demands, SbomState
from controller.inventory.store import Store
from controller.model.documents import Severity
from controller.model.reference import Digest
from controller.reading.wire.assets import AssetPage
from controller.reading.wire.rows import Form, Rows
from controller.settings import DocumentSettings
from tests.support import postgres
from tests.support.attested import attesting, bundle, spdx
from tests.support.inventory import (
    START,
    Clock,
    Database,
    evaluation,
    image,
    leaf,
    postgres_database,
    sighting,
    soon,
    sqlite_database,
)

VULNS, VEX = "https://cosign.sigstore.dev/attestation/vuln/v1", "https://openvex.dev/ns/v0.2.0"
SLSA = "https://slsa.dev/provenance/v1"
APP, WEB, JOB, BARE, INDEX = (f"sha256:{byte * 32}" for byte in ("a1", "b2", "c3", "d4", "e5"))
NOW = START + timedelta(hours=1)
OPENSSL, ZLIB = "pkg:deb/debian/openssl@3.0.11?distro=debian-12", "pkg:deb/debian/zlib1g@1.2?distro=debian-12"

Attested = tuple[dict[str, Any], dict[Digest, bytes]]


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return sqlite_database(tmp_path)
    return postgres_database(request.getfixturevalue("server"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(database: Database, clock: Clock) -> Iterator[Store]:
    with database.open(clock) as opened:
        yield opened


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


def scan(*findings: tuple[str, str, str, str], at: datetime = START, target: str = "app") -> bytes:
    """A scan by Trivy in cosign's predicate: identifier, severity, purl, version with the fix."""
    vulnerabilities = [
        {
            "VulnerabilityID": identifier,
            "Severity": severity,
            "PkgName": purl.partition("@")[0].rpartition("/")[2],
            "InstalledVersion": purl.partition("@")[2].partition("?")[0],
            "PkgIdentifier": {"PURL": purl},
            "FixedVersion": fixed,
        }
        for identifier, severity, purl, fixed in findings
    ]
    results = [{"Target": target, "Class": "os-pkgs", "Vulnerabilities": vulnerabilities}] if target else []
    finished = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    predicate = {
        "invocation": {"uri": "", "event_id": "", "builder.id": ""},
        "scanner": {
            "uri": "pkg:github/aquasecurity/trivy@0.50.0",
            "version": "0.50.0",
            "db": {"uri": "", "version": ""},
            "result": {"SchemaVersion": 2, "CreatedAt": finished, "Results": results},
        },
        "metadata": {"scanStartedOn": finished, "scanFinishedOn": finished},
    }
    return bundle(predicate, VULNS)


def vex(*statements: dict[str, Any], identity: str = "https://acme.example/vex/1") -> bytes:
    """An OpenVEX document about the subject of its attestation."""
    return bundle(
        {
            "@context": VEX,
            "@id": identity,
            "author": "Acme",
            "timestamp": "2026-11-22T10:00:00Z",
            "version": 1,
            "statements": list(statements),
        },
        VEX,
    )


def says(identifier: str, status: str = "not_affected", **more: Any) -> dict[str, Any]:
    """A statement about a vulnerability in openssl of the image."""
    justified = {"justification": "vulnerable_code_not_present"} if status == "not_affected" else {}
    parts = {"subcomponents": [{"@id": OPENSSL, "identifiers": {"purl": OPENSSL}}]}
    product = {"@id": f"pkg:oci/app@{APP}", "identifiers": {"purl": f"pkg:oci/app@{APP}"}, **parts}
    return {"vulnerability": {"name": identifier}, "status": status, "products": [product], **justified, **more}


def found(opened: Store, where: FindingFilter = FindingFilter(), **changes: Any) -> Any:
    return opened.questions.findings.findings(where, **({"as_of": NOW} | changes))


def named(page: Any) -> list[tuple[str, str]]:
    return [(item.vulnerability, item.digest) for item in page.items]


def states(opened: Store, **changes: Any) -> dict[str, tuple[str, tuple[str, ...]]]:
    page = opened.questions.sboms.sboms(**({"as_of": NOW} | changes))
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
        **{"NotLookedFor": 2, "None": 1, "OtherDigest": 1, "Unsigned": 1, "Untrusted": 1, "Unread": 1},
        **{"Incomplete": 2, "Stale": 1, "Complete": 2},
    }
    first = page.items[0]
    assert (first.state, first.runs, first.namespaces, first.clusters) == ("NotLookedFor", 1, ("shop",), ("local",))
    best = page.items[-1]
    assert (best.digest, best.format, best.components, best.tool) == (digests[10], "SPDX", 10, "maker-1.0")
    assert best.dated_at == NOW - timedelta(days=3)


async def test_what_is_asked_of_an_sbom_is_the_askers_choice(opened: Store, database: Database) -> None:
    half = complete(days=20)
    half["packages"] = half["packages"][:2] + [{"SPDXID": "SPDXRef-x", "name": "x", "versionInfo": "1"}]
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


async def test_an_sbom_counts_from_when_it_was_found_and_known(
    opened: Store, database: Database, clock: Clock
) -> None:
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
