"""An index lists whatever manifests its author likes: what was found of those elsewhere it neither shows nor borrows.

The bank runs an image about which all is known. The stranger knows its digest, and runs an index of his own that lists
it. Every answer that he may have is the same whether the bank is there or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import product
from typing import Any

import pytest
from sqlalchemy import Engine, event

from controller.inventory.asking.affected.resting import Footing
from controller.inventory.asking.documents.findings import FindingFilter
from controller.inventory.index import reading
from controller.inventory.questions import Questions
from controller.inventory.records import DecisionFilter
from controller.inventory.store import Store
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from tests.support.attested import SLSA, SPDX, VEX, VULNS, attesting, bundle, provenance, scan, spdx, vex
from tests.support.inventory import START, Database, image, leaf, sighting, soon

SECRET, OTHER, SHARED, FOREIGN, OWN = (f"sha256:{byte * 32}" for byte in ("5e", "07", "1d", "f0", "77"))
DIGESTS = (SECRET, OTHER, SHARED, FOREIGN, OWN)
PURL = "pkg:deb/debian/openssl@3.0.11?distro=debian-12"
CONFIG = "sha256:" + "c0" * 32
SBOM, REPORT = bundle(spdx(PURL), SPDX, SECRET), scan(("CVE-1", "HIGH", PURL, "3.0.12"))
NOW = START + timedelta(hours=1)
SIGNER = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.2"
LEADS = {
    Footing.SIGNER: SIGNER,
    Footing.LOG_ENTRY: "bG9n:7",
    Footing.BUILDER: "https://builds.example/v1",
    Footing.SOURCE: "https://git.example/app",
    Footing.BASE: "registry.example/base",
}

Recorded = tuple[dict[str, Any], dict[Digest, bytes]]


def _provenance() -> bytes:
    return bundle(provenance("registry.example/base:1"), SLSA, SECRET)


def _vex() -> bytes:
    product = {"@id": PURL, "identifiers": {"purl": PURL}}
    return vex({"vulnerability": {"name": "CVE-1"}, "status": "affected", "products": [product]})


def _found(namespace: str, digest: str, **more: Any) -> Iterator[Recorded]:
    """All that a cluster's policy may find of the secret manifest, by itself or as a `child` of an index."""
    for predicate_type, content in ((SPDX, SBOM), (VULNS, REPORT), (SLSA, _provenance()), (VEX, _vex())):
        decision, blobs = attesting(content, digest=digest, predicate_type=predicate_type, **more)
        signed = decision["evaluations"][0]
        signed["signatures"] = [leaf()["evaluations"][0]["signatures"][0]]
        label = {"org.opencontainers.image.base.name": "registry.example/base:1"}
        signed["used"]["configs"] = [
            {"digest": CONFIG, "manifest": SECRET, "platform": None, "os": "linux", "labels": label}
        ]
        yield _in(namespace, decision), blobs


def _in(namespace: str, decision: dict[str, Any]) -> dict[str, Any]:
    decision["object"]["namespace"] = decision["request"]["namespace"] = namespace
    return decision


def _listing(digest: str, *manifests: str) -> dict[str, Any]:
    """A decision that no policy matched, about an index."""
    return leaf(images=[image(digest=digest) | {"manifests": list(manifests)}], evaluations=[])


def _ran(namespace: str, digest: str) -> Recorded:
    pod = f"{namespace}-{digest[7:9]}"
    where = {"namespace": namespace, "name": pod, "uid": f"uid-{pod}", "id": f"containerd://{pod}"}
    return sighting("Started", 1, digest=digest, **where), {}


async def _record(opened: Store, database: Database, *items: Recorded) -> None:
    await asyncio.gather(*(opened.writer.record(value, blobs=blobs, deadline=soon()) for value, blobs in items))
    indexer = opened.indexer(database.settings, read=lambda content: reading.read(content, DocumentSettings()))
    while indexer.step().more:
        pass


def _stranger() -> list[Recorded]:
    """He tried the secret image, which never started; then he ran an index that lists it."""
    tried = _in("stranger", leaf(images=[image(digest=SECRET)], evaluations=[]))
    return [(tried, {}), (_in("stranger", _listing(FOREIGN, SECRET, OWN)), {}), _ran("stranger", FOREIGN)]


def _bank() -> list[Recorded]:
    """The secret manifest was judged by itself, and as a part of the bank's index."""
    index = _in("bank", _listing(SHARED, SECRET, OTHER))
    by_index = list(_found("bank", SHARED, child=SECRET, number=5))
    return [*_found("bank", SECRET), (index, {}), *by_index, _ran("bank", SECRET)]


def _asking(questions: Questions, namespace: str | None) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every question in a namespace, and of each digest."""
    then = {"as_of": NOW, "namespace": namespace}
    for unverified in (False, True):
        components = partial(questions.components.components, unverified=unverified, **then)
        yield f"components {unverified}", components
        for digest in DIGESTS:
            yield f"components {unverified} {digest}", partial(components, digest=digest)
        package = partial(questions.packages.packages, "pkg:deb/debian/openssl", unverified=unverified, **then)
        yield f"packages {unverified}", package
        yield f"packages ever {unverified}", partial(package, ever=True)
    yield "sboms", partial(questions.sboms.sboms, **then)
    yield "assets", partial(questions.assets.assets, **then)
    yield "refused", partial(questions.refused.refused, **then)
    yield "decisions", partial(questions.queries.decisions, DecisionFilter(namespace=namespace))
    where = FindingFilter(namespace=namespace)
    yield "findings", partial(questions.findings.findings, where, as_of=NOW)
    for digest in DIGESTS:
        yield f"image {digest}", partial(questions.queries.image, digest, namespace=namespace)
        yield f"findings {digest}", partial(questions.findings.findings, replace(where, digest=digest), as_of=NOW)
        about = DecisionFilter(namespace=namespace, digest=digest)
        yield f"decisions {digest}", partial(questions.queries.decisions, about)
    for content in (SBOM, REPORT, _provenance(), _vex()):
        yield f"blob {content!r}", partial(questions.queries.blob, str(Digest.of(content)), namespace=namespace)
    leads = {**LEADS, Footing.ARTIFACT: str(Digest.of(SBOM))}
    for (footing, value), what in product(leads.items(), ("extent", "images", "runs", "decisions")):
        yield f"{what} of {footing}", partial(getattr(questions.affected, what), footing, value, **then)


def _answers(questions: Questions, namespace: str | None) -> dict[str, Any]:
    return {name: ask() for name, ask in _asking(questions, namespace)}


@pytest.mark.guarantee(20)
async def test_guarantee_20_an_index_that_lists_a_manifest_of_others_tells_nothing_of_it(
    opened: Store, database: Database
) -> None:
    await _record(opened, database, *_stranger())
    before = _answers(opened.questions, "stranger")
    bank_before = _answers(opened.questions, "bank")
    await _record(opened, database, *_bank())
    after = _answers(opened.questions, "stranger")
    assert [name for name in before if before[name] != after[name]] == []
    told = _answers(opened.questions, "bank")  # each of these questions has something to hide
    silent = {name for name in told if told[name] == bank_before[name]}
    of_strangers = {
        f"{what} {digest}"
        for what in ("image", "findings", "decisions", "components False", "components True")
        for digest in (OTHER, FOREIGN, OWN)
    }
    # That an index exists which holds what runs here may be known here; and the bank's never ran under its own name.
    of_strangers -= {f"components {unverified} {FOREIGN}" for unverified in (False, True)}
    assert silent == of_strangers | {f"findings {SHARED}", "refused"}


@pytest.mark.guarantee(5)
async def test_guarantee_05_an_index_borrows_no_evidence_of_the_manifests_that_it_lists(
    opened: Store, database: Database
) -> None:
    await _record(opened, database, *_bank(), *_stranger())
    questions = opened.questions
    states = {item.digest: str(item.state) for item in questions.sboms.sboms(as_of=NOW).items}
    assert states[FOREIGN] == "NotLookedFor"
    assert states[SECRET] != "NotLookedFor"
    assert {item.digest for item in questions.findings.findings(as_of=NOW).items} == {SECRET}
    assert {item.digest for item in questions.packages.packages("pkg:deb/debian/openssl", as_of=NOW).items} == {SECRET}
    assert questions.components.components(digest=FOREIGN).items == ()
    bases = {asset.digest: asset.base for asset in questions.assets.assets(as_of=NOW).items}
    assert bases == {SECRET: "registry.example/base:1", FOREIGN: ""}
    for footing, value in LEADS.items():
        assert {run.digest for run in questions.affected.runs(footing, value, as_of=NOW).items} == {SECRET}, footing


async def test_what_was_found_of_a_manifest_as_its_indexs_holds_for_runs_that_name_either(
    opened: Store, database: Database
) -> None:
    index = _in("shop", _listing(SHARED, SECRET, OTHER))
    by_index = list(_found("shop", SHARED, child=SECRET, number=5))
    runs = [_ran("one", SHARED), _ran("two", SECRET), _ran("three", OTHER)]
    await _record(opened, database, (index, {}), *by_index, *runs)
    questions = opened.questions
    both = {SHARED, SECRET}
    assert {item.digest for item in questions.findings.findings(as_of=NOW).items} == both
    assert {item.digest for item in questions.packages.packages("pkg:deb/debian/openssl", as_of=NOW).items} == both
    for namespace, count in (("one", 1), ("two", 1), ("three", 0)):
        assert len(questions.components.components(as_of=NOW, namespace=namespace).items) == count
        assert len(questions.components.components(digest=SECRET, namespace=namespace).items) == count, namespace
    for footing, value in LEADS.items():
        assert {run.digest for run in questions.affected.runs(footing, value, as_of=NOW).items} == both, footing
    states = {item.digest: str(item.state) for item in questions.sboms.sboms(as_of=NOW).items}
    assert (states[SHARED], states[SECRET], states[OTHER]) == ("Incomplete", "Incomplete", "NotLookedFor")


async def test_what_was_found_of_a_manifest_that_the_record_of_a_large_index_does_not_list_holds_for_its_runs(
    opened: Store, database: Database
) -> None:
    by_index = list(_found("shop", SHARED, child=SECRET))  # none of these lists what the index holds
    await _record(opened, database, *by_index, _ran("one", SHARED), _ran("two", SECRET))
    questions = opened.questions
    both = {SHARED, SECRET}
    assert {item.digest for item in questions.findings.findings(as_of=NOW).items} == both
    assert {item.digest for item in questions.packages.packages("pkg:deb/debian/openssl", as_of=NOW).items} == both
    assert {asset.digest: asset.base for asset in questions.assets.assets(as_of=NOW).items} == dict.fromkeys(
        both, "registry.example/base:1"
    )
    states = {item.digest: str(item.state) for item in questions.sboms.sboms(as_of=NOW).items}
    assert states == dict.fromkeys(both, "Incomplete")
    for footing, value in LEADS.items():
        assert {run.digest for run in questions.affected.runs(footing, value, as_of=NOW).items} == both, footing


async def test_documents_that_nobody_vouches_for_cost_no_more_statements_the_more_there_are(
    opened: Store, database: Database
) -> None:
    asked = partial(opened.questions.components.components, as_of=NOW, unverified=True)
    counts = []
    for indexes in (["a1", "a2"], [f"b{number}" for number in range(10)]):
        items = [_ran("shop", SECRET)]
        for number, byte in enumerate(indexes):
            digest = f"sha256:{byte * 32}"
            found, blobs = attesting(SBOM, digest=digest, rejected="UntrustedKey", number=number)
            found["images"][0]["manifests"] = [SECRET]
            items.append((found, blobs))
        await _record(opened, database, *items)
        with _statements() as executed:
            assert [item.purl for item in asked().items] == [PURL]
        counts.append(len(executed))
    assert counts[0] == counts[1]


@contextmanager
def _statements() -> Iterator[list[str]]:
    """The statements that are executed meanwhile, with their parameters."""
    executed: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        executed.append(f"{statement} {parameters}")

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield executed
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def _strangers_indexes(numbers: range) -> Iterator[Recorded]:
    """Indexes of a stranger's that list the secret manifest, each judged and running, with a proof that counts for
    nothing beside it."""
    for number in numbers:
        digest = f"sha256:{number:064x}"
        decision = leaf(images=[image(digest=digest) | {"manifests": [SECRET]}])
        decision["evaluations"][0] |= {"signatures": [], "attestations": []}
        yield _in("stranger", decision), {}
        where = {"namespace": "stranger", "name": digest[-9:], "uid": digest, "id": f"containerd://{digest}"}
        yield sighting("Started", 1, digest=digest, **where), {}


@pytest.mark.guarantee(20)
async def test_guarantee_20_strangers_indexes_that_list_ones_image_change_no_answer_and_are_not_gone_through_by_hand(
    opened: Store, database: Database
) -> None:
    """Thousands may be made of them: none comes out of the database to be asked about in its turn."""
    await _record(opened, database, *_bank())
    before = _answers(opened.questions, "bank")
    sizes = []
    for numbers in (range(1, 5), range(5, 105)):
        await _record(opened, database, *_strangers_indexes(numbers))
        size: dict[str, int] = {}
        for name, ask in _asking(opened.questions, "bank"):
            with _statements() as executed:
                answer = ask()
            assert answer == before[name], name
            size[name] = sum(map(len, executed))
        sizes.append(size)
    assert sizes[0] == sizes[1]
