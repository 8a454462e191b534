"""What runs that contains a package, and the components of what runs: answers known beforehand, on both databases."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from controller.errors import InputError
from controller.inventory.asking.documents import packages
from controller.inventory.asking.documents.merged import Subject, merge
from controller.inventory.asking.runs import ranges as run_ranges
from controller.inventory.index import reading
from controller.inventory.index.contents import Contents
from controller.inventory.store import Store
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from tests.support.attested import CYCLONEDX, attesting, bundle, cyclonedx, envelope, spdx
from tests.support.fixtures import recorded_bundle
from tests.support.inventory import (
    START,
    Clock,
    Database,
    image,
    leaf,
    sighting,
    soon,
)

LOG4J = "pkg:maven/org.apache.logging.log4j/log4j-core"


def read(content: bytes) -> Contents:
    return reading.read(content, DocumentSettings())


def hours(count: float) -> datetime:
    return START + timedelta(hours=count)


def digest_of(name: str) -> str:
    return str(Digest.of(name.encode()))


class Estate:
    """Records at the clock's time, and indexes."""

    def __init__(self, opened: Store, database: Database, clock: Clock) -> None:
        self._opened = opened
        self._clock = clock
        self._indexer = opened.indexer(database.settings, read=read, clock=clock)

    async def record(self, at: float, *items: Any) -> None:
        self._clock.now = hours(at)
        recording = []
        for item in items:
            value, blobs = item if isinstance(item, tuple) else (item, {})
            recording.append(self._opened.writer.record(value, blobs=blobs, deadline=soon()))
        await asyncio.gather(*recording)

    async def ran(
        self,
        pod: str,
        digest: str,
        *,
        since: float,
        until: float | None = None,
        known: float | None = None,
        **where: Any,
    ) -> None:
        """That a pod ran an image, recorded when it happened (or, with `known`, by then)."""
        about = {"name": pod, "uid": f"uid-{pod}", "id": f"containerd://{pod}", "digest": digest, **where}
        start = about | {"startedAt": hours(since).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        cluster = {"cluster": start.pop("cluster", "local")}
        await self.record(known if known is not None else since, sighting("Started", **start) | cluster)
        if until is not None:
            end = start | {"endedAt": hours(until).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
            await self.record(max(until, known or 0), sighting("Ended", **end) | cluster)

    def index(self) -> None:
        while self._indexer.step().more:
            pass


@pytest.fixture
def estate(opened: Store, database: Database, clock: Clock) -> Estate:
    return Estate(opened, database, clock)


def pods(page: packages.PackagePage) -> list[tuple[str, str | None]]:
    return [(item.pod, item.version) for item in page.items]


async def test_what_runs_that_contains_a_package_in_a_range(opened: Store, estate: Estate) -> None:
    old, new, other = (digest_of(name) for name in ("old", "new", "other"))
    await estate.record(
        0,
        attesting(
            envelope(spdx(f"{LOG4J}@2.14.1", "pkg:npm/left-pad@1.3.0"), "https://spdx.dev/Document", old), digest=old
        ),
        attesting(bundle(spdx(f"{LOG4J}@2.17.1"), "https://spdx.dev/Document", new), digest=new),
        attesting(envelope(spdx("pkg:npm/left-pad@1.3.0"), "https://spdx.dev/Document", other), digest=other),
    )
    await estate.ran("gone", old, since=1, until=5)
    await estate.ran("vulnerable", old, since=2)
    await estate.ran("mended", new, since=3)
    await estate.ran("unrelated", other, since=4)
    estate.index()

    find = opened.questions.packages.packages
    now = hours(10)
    assert pods(find(LOG4J, "<2.17.1", as_of=now)) == [("vulnerable", "2.14.1")]
    assert pods(find(LOG4J, as_of=now)) == [("mended", "2.17.1"), ("vulnerable", "2.14.1")]
    assert pods(find(LOG4J, "<2.17.1", as_of=hours(4))) == [("vulnerable", "2.14.1"), ("gone", "2.14.1")]
    assert pods(find(LOG4J, "<2.17.1", as_of=hours(1.5))) == [("gone", "2.14.1")]
    assert pods(find(LOG4J, "<2.17.1", ever=True)) == [("vulnerable", "2.14.1"), ("gone", "2.14.1")]
    assert pods(find("pkg:npm/left-pad", "=1.3.0", as_of=now)) == [("unrelated", "1.3.0"), ("vulnerable", "1.3.0")]
    assert find("pkg:npm/log4j-core", as_of=now).items == ()
    (found,) = find(LOG4J, "<2.17.1", as_of=now).items
    assert (found.namespace, found.container, found.digest, found.started_at, found.ended_at) == (
        *("shop", "app", old),
        hours(2),
        None,
    )
    assert (found.verified, found.known_then, found.purl) == (True, True, f"{LOG4J}@2.14.1")


async def test_a_component_without_purl_or_version_is_not_overlooked(opened: Store, estate: Estate) -> None:
    one = digest_of("one")
    document = cyclonedx(
        {"type": "library", "name": "Log4j-Core"}, {"type": "library", "name": "log4j-core", "version": "2.30.0"}
    )
    await estate.record(0, attesting(envelope(document, CYCLONEDX, one), digest=one, predicate_type=CYCLONEDX))
    await estate.ran("web", one, since=1)
    estate.index()
    assert pods(opened.questions.packages.packages(LOG4J, "<2.17.1", as_of=hours(2))) == [("web", None)]


async def test_what_was_recorded_later_was_not_known_then(opened: Store, estate: Estate) -> None:
    one = digest_of("one")
    await estate.ran("web", one, since=1, until=3)
    await estate.record(5, attesting(envelope(spdx(f"{LOG4J}@2.14.1"), "https://spdx.dev/Document", one), digest=one))
    await estate.ran("seen-late", one, since=2, known=7)
    estate.index()
    find = opened.questions.packages.packages
    then = find(LOG4J, as_of=hours(2.5))
    assert [(item.pod, item.known_then, item.recorded_at) for item in then.items] == [
        ("seen-late", False, hours(5)),
        ("web", False, hours(5)),
    ]
    assert find(LOG4J, as_of=hours(2.5), known_at=hours(4)).items == ()
    assert pods(find(LOG4J, as_of=hours(2.5), known_at=hours(6))) == [("web", "2.14.1")]
    assert [item.known_then for item in find(LOG4J, as_of=hours(8)).items] == [True]


async def test_only_what_was_verified_counts_unless_asked_and_then_it_is_marked(opened: Store, estate: Estate) -> None:
    one, two = digest_of("one"), digest_of("two")
    stranger = envelope(spdx(f"{LOG4J}@2.14.1"), "https://spdx.dev/Document", one)
    elsewhere = envelope(spdx(f"{LOG4J}@2.14.0"), "https://spdx.dev/Document", digest_of("elsewhere"))
    await estate.record(
        0,
        attesting(stranger, digest=one, rejected="KeyMismatch"),
        attesting(elsewhere, digest=two, rejected="KeyMismatch"),  # its own word says another image
        attesting(elsewhere, digest=two, rejected="SubjectMismatch", policy="other"),
    )
    await estate.ran("web", one, since=1)
    await estate.ran("api", two, since=1)
    estate.index()
    find = opened.questions.packages.packages
    assert find(LOG4J, as_of=hours(2)).items == ()
    marked = find(LOG4J, as_of=hours(2), unverified=True).items
    assert [(item.pod, item.verified, item.code) for item in marked] == [("web", False, "KeyMismatch")]
    await estate.record(3, attesting(stranger, digest=one))
    assert [(item.verified, item.code) for item in find(LOG4J, as_of=hours(4), unverified=True).items] == [(True, "")]


async def test_a_document_of_an_index_holds_for_its_manifests_and_one_of_a_manifest_for_no_other(
    opened: Store, estate: Estate
) -> None:
    index, arm, amd = (digest_of(name) for name in ("index", "arm", "amd"))
    whole = attesting(envelope(spdx("pkg:npm/whole@1"), "https://spdx.dev/Document", index), digest=index)
    whole[0]["images"] = [image(digest=index) | {"manifests": [arm, amd]}]
    await estate.record(
        0,
        whole,
        attesting(envelope(spdx("pkg:npm/arm@1"), "https://spdx.dev/Document", arm), digest=index, child=arm),
    )
    await estate.ran("by-index", index, since=1)
    await estate.ran("on-arm", arm, since=2)
    await estate.ran("on-amd", amd, since=3)
    estate.index()
    find = opened.questions.packages.packages
    now = hours(9)
    assert [pod for pod, _ in pods(find("pkg:npm/whole", as_of=now))] == ["on-amd", "on-arm", "by-index"]
    assert [pod for pod, _ in pods(find("pkg:npm/arm", as_of=now))] == ["on-arm", "by-index"]


async def test_a_namespace_sees_its_own_runs_by_the_clusters_and_its_own_policies(
    opened: Store, estate: Estate
) -> None:
    one = digest_of("one")
    content = envelope(spdx(f"{LOG4J}@2.14.1"), "https://spdx.dev/Document", one)
    await estate.record(0, attesting(content, digest=one, policy="shop-only", policy_namespace="shop"))
    await estate.ran("web", one, since=1, namespace="shop")
    await estate.ran("api", one, since=2, namespace="bank")
    estate.index()
    find, list_ = opened.questions.packages.packages, opened.questions.components.components
    now = hours(9)
    assert [pod for pod, _ in pods(find(LOG4J, as_of=now))] == ["web"]
    assert [pod for pod, _ in pods(find(LOG4J, as_of=now, namespace="shop"))] == ["web"]
    assert find(LOG4J, as_of=now, namespace="bank").items == ()  # what shop's policy found is shop's
    assert find(LOG4J, as_of=now, namespace="nothing").items == ()
    assert [item.name for item in list_(as_of=now, namespace="shop").items] == ["log4j-core"]
    assert list_(as_of=now, namespace="bank").items == ()
    assert list_(digest=one, namespace="shop", as_of=now).images == 1
    gone = list_(digest=one, namespace="nothing", as_of=now)
    assert (gone.items, gone.images, gone.documents) == ((), 0, ())


async def test_pages_hold_every_match_once_whatever_comes_between(opened: Store, estate: Estate) -> None:
    images = [digest_of(f"image-{number}") for number in range(6)]
    await estate.record(
        0,
        *(
            attesting(
                envelope(
                    spdx(*(f"pkg:npm/p@{minor}" for minor in range(number + 1))), "https://spdx.dev/Document", digest
                ),
                digest=digest,
            )
            for number, digest in enumerate(images)
        ),
    )
    for number in range(30):
        await estate.ran(f"pod-{number}", images[number % 6], since=1 + (number // 3) / 100)  # some start together
    estate.index()
    find = opened.questions.packages.packages
    expected = {(f"pod-{number}", str(minor)) for number in range(30) for minor in range(number % 6 + 1)}
    for limit in (5, 7, 500):
        found: list[tuple[str, str | None]] = []
        cursor = None
        while True:
            page = find("pkg:npm/p", as_of=hours(2), limit=limit, cursor=cursor)
            assert len(page.items) <= limit
            found += pods(page)
            if page.cursor is None:
                break
            cursor = page.cursor
            if limit == 7:  # what starts later comes before, and changes nothing
                await estate.ran(f"late-{len(found)}", images[0], since=1.9)
        assert sorted(found, key=str) == sorted(expected, key=str)
        if limit == 7:
            expected |= {(item.pod, item.version) for item in find("pkg:npm/p", as_of=hours(2), limit=500).items}


async def test_any_package_at_any_time_is_found_as_by_looking_at_everything(
    opened: Store, estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(6)  # noqa: S311 - an estate, not a secret
    contents: dict[str, tuple[float, set[tuple[str, int]]]] = {}
    for number in range(25):
        digest = digest_of(f"image-{number}")
        listed = {(name, chance.randrange(10)) for name in chance.sample("abcdefgh", 4)}
        at = chance.uniform(0, 50)
        contents[digest] = (at, listed)
        document = spdx(*(f"pkg:npm/{name}@{version}.0.0" for name, version in sorted(listed)))
        content = envelope(document, "https://spdx.dev/Document", digest)
        await estate.record(at, attesting(content, digest=digest))
    runs = []
    for number in range(80):
        since = chance.uniform(0, 90)
        until = since + chance.uniform(0.1, 40) if chance.random() < 0.8 else None
        known = since + chance.uniform(0, 5)
        where = {"namespace": chance.choice(["shop", "bank"]), "cluster": chance.choice(["east", "west"])}
        digest = chance.choice(list(contents))
        runs.append((f"pod-{number}", digest, since, until, known, where))
        await estate.ran(f"pod-{number}", digest, since=since, until=until, known=known, **where)
    estate.index()

    def expected(name: str, below: int, as_of: float, known: float, **where: str) -> list[tuple[str, str]]:
        found = []
        for pod, digest, since, until, known_from, at in runs:
            recorded, listed = contents[digest]
            ended = until is not None and until <= as_of and max(until, known_from) <= known
            if since > as_of or ended or known_from > known or recorded > known:
                continue
            if any(at[key] != value for key, value in where.items()):
                continue
            found += [(pod, f"{version}.0.0") for n, version in listed if n == name and version < below]
        return sorted(found)

    answers = 0
    for few in (200, 3):  # by the images' runs, and in the order of all runs
        monkeypatch.setattr(run_ranges, "MAX_IMAGES", few)
        for _ in range(60):
            name, below = chance.choice("abcdefgh"), chance.randrange(1, 11)
            as_of, known = chance.uniform(0, 100), chance.uniform(0, 130)
            where = chance.choice(
                [{}, {"namespace": "shop"}, {"cluster": "west"}, {"namespace": "bank", "cluster": "east"}]
            )
            page = opened.questions.packages.packages(
                f"pkg:npm/{name}", f"<{below}.0.0", as_of=hours(as_of), known_at=hours(known), limit=500, **where
            )
            assert sorted(pods(page), key=str) == expected(name, below, as_of, known, **where)
            answers += len(page.items)
    assert answers > 200


async def test_the_list_of_components_counts_images_and_is_by_package(
    opened: Store, estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(7)  # noqa: S311 - an estate, not a secret
    contents = {}
    for number in range(12):
        digest = digest_of(f"image-{number}")
        purls = {f"pkg:npm/{name}@{chance.randrange(3)}" for name in chance.sample("abcdefghij", 6)}
        contents[digest] = purls
        await estate.record(
            0, attesting(envelope(spdx(*sorted(purls)), "https://spdx.dev/Document", digest), digest=digest)
        )
        await estate.ran(f"pod-{number}", digest, since=1, until=5 if number % 3 == 0 else None)
    await estate.ran("without", digest_of("nothing is known of it"), since=1)
    estate.index()
    running = [digest for number, digest in enumerate(contents) if number % 3]
    for gathered in (20_000, 0):
        for module_limit in (3, 500):
            monkeypatch.setattr("controller.inventory.asking.documents.components.GATHERED", gathered)
            monkeypatch.setattr("controller.inventory.asking.documents.components.SCANNED", 5)
            for as_of, images in ((hours(9), running), (hours(2), list(contents))):
                found, cursor, first = [], None, None
                while True:
                    page = opened.questions.components.components(as_of=as_of, limit=module_limit, cursor=cursor)
                    first = first or page
                    found += [(item.purl, item.images, item.verified) for item in page.items]
                    if page.cursor is None:
                        break
                    cursor = page.cursor
                every = sorted({purl for digest in images for purl in contents[digest]})
                counted = [(purl, sum(purl in contents[digest] for digest in images), True) for purl in every]
                assert sorted(found) == counted
                assert [purl.partition("@")[0] for purl, _, _ in found] == sorted(
                    p.partition("@")[0] for p, _, _ in found
                )
                assert first is not None
                assert (first.images, first.described) == (len(images) + 1, len(images))
                assert len(first.documents) == len(images)
    one = opened.questions.components.components(digest=running[0])
    assert {item.purl for item in one.items} == contents[running[0]]


async def test_a_merged_document_is_the_same_to_the_byte_and_lists_each_component_once(
    opened: Store, estate: Estate
) -> None:
    digest = recorded_bundle("release.none.spdxjson").digest
    raw = recorded_bundle("release.none.spdxjson").raw
    await estate.record(0, attesting(raw, digest=digest), attesting(envelope(spdx("pkg:npm/a@1")), digest=digest))
    await estate.ran("web", digest, since=1)
    estate.index()
    subject = Subject(hours(2), cluster="local")

    def written() -> str:
        return "".join(merge(opened.questions.components, subject, known_at=hours(3)))

    assert written() == written()
    document = json.loads(written())
    assert (document["bomFormat"], document["specVersion"], document["version"]) == ("CycloneDX", "1.6", 1)
    assert document["serialNumber"].startswith("urn:uuid:")
    assert document["metadata"]["timestamp"] == "2026-11-22T13:00:00Z"
    refs = [component["bom-ref"] for component in document["components"]]
    assert len(refs) == len(set(refs)) > 1
    again = read(json.dumps(document).encode())  # by Assay's own reader of CycloneDX
    assert (again.kind, again.problem) == ("sbom", "")
    both = {row.name for content in (raw, envelope(spdx("pkg:npm/a@1"))) for row in read(content).components}
    assert {row.name for row in again.components} == both | {"cluster local"}  # what it is about is one more to it
    empty = "".join(merge(opened.questions.components, Subject(hours(2), namespace="nothing"), known_at=hours(3)))
    assert json.loads(empty)["components"] == []
    official = JsonStrictValidator(SchemaVersion.V1_6)
    assert [official.validate_str(one) for one in (written(), empty)] == [None, None]


@pytest.mark.parametrize(
    ("purl", "versions"),
    [("log4j", ""), (f"{LOG4J}@2.14.1", ""), (LOG4J, "2.14.0,2.14.1"), (LOG4J, "vers:npm/<1"), (f"{LOG4J}?a=b", "")],
)
def test_a_question_that_cannot_be_understood_is_refused(opened: Store, purl: str, versions: str) -> None:
    with pytest.raises(InputError, match="PackageMalformed"):
        opened.questions.packages.packages(purl, versions)


def test_a_cursor_of_another_list_is_refused(opened: Store) -> None:
    for cursor in ("x", "WzFd", "WyJub3ciLDEsMV0"):
        with pytest.raises(InputError, match="CursorMalformed"):
            opened.questions.packages.packages(LOG4J, cursor=cursor)
    with pytest.raises(InputError, match="CursorMalformed"):
        opened.questions.components.components(cursor="WyJ4Il0")


async def test_no_decision_is_needed_to_ask(opened: Store, estate: Estate) -> None:
    await estate.record(0, leaf())
    estate.index()
    assert opened.questions.packages.packages(LOG4J).items == ()
    assert opened.questions.components.components().items == ()


def every_page(ask: Any) -> list[Any]:
    found, cursor = [], None
    while True:
        page = ask(limit=2, cursor=cursor)
        found.append(page.items)
        cursor = page.cursor
        if cursor is None:
            return found


@pytest.mark.guarantee(20)
async def test_guarantee_20_in_a_namespace_a_package_is_found_however_many_list_it_elsewhere(
    opened: Store, estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is counted there is what runs there, and the answer is the same, page by page."""
    digests = [digest_of(f"image {number}") for number in range(9)]
    for number, digest in enumerate(digests):
        content = spdx(f"{LOG4J}@2.{number}.0", f"{LOG4J}@2.{number}.1", "pkg:npm/left-pad@1.3.0")
        attested = attesting(
            bundle(content, "https://spdx.dev/Document", digest), digest=digest, rejected="KeyMismatch" * (number == 8)
        )
        await estate.record(number, attested)
        where = {"namespace": "shop" if number % 2 == 0 else "bank", "cluster": "east" if number % 4 == 0 else "local"}
        await estate.ran(f"web-{number}", digest, since=number, until=20 if number == 2 else None, **where)
    estate.index()
    find = opened.questions.packages.packages
    questions = [
        partial(find, LOG4J, versions, namespace=namespace, **{"as_of": hours(30), **more})
        for versions in ("", "<2.6", ">=9")
        for namespace in ("shop", "bank", "nobody")
        for more in ({}, {"ever": True}, {"unverified": True}, {"cluster": "east"}, {"known_at": hours(3)})
    ]
    wanted = [every_page(ask) for ask in questions]
    assert [item.pod for page in wanted[0] for item in page] == ["web-6"] * 2 + ["web-4"] * 2 + ["web-0"] * 2
    for bounds in ({"MAX_COMPONENTS": 10}, {"MAX_DOCUMENTS": 5}):
        with monkeypatch.context() as patched:
            for name, most in bounds.items():
                patched.setattr(packages, name, most)
            with pytest.raises(InputError, match=r"AnswerTooLarge.*namespace"):
                find(LOG4J, as_of=hours(30), unverified=True)
            assert [every_page(ask) for ask in questions] == wanted
            patched.setattr(packages, next(iter(bounds)), 2)
            with pytest.raises(InputError, match=r"AnswerTooLarge.*of this namespace match"):
                find(LOG4J, namespace="shop", as_of=hours(30))
