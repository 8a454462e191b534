"""The blast radius, on both databases, held against answers that are worked out from the story by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import delete, select

from controller.errors import InputError
from controller.inventory import store, tables
from controller.inventory.asking.affected import counts as affected_counts
from controller.inventory.asking.affected import decisions as affected_decisions
from controller.inventory.asking.affected import questions as affected
from controller.inventory.asking.affected.resting import Footing
from controller.inventory.index import reading
from controller.inventory.store import Store
from controller.settings import DocumentSettings
from tests.support.attested import SLSA, attesting, bundle
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

KEY, OTHER_KEY = "sha256:" + "4b" * 32, "sha256:" + "0c" * 32
ONE, TWO, THREE, CHILD, OTHER_CHILD = (f"sha256:{byte * 32}" for byte in ("11", "22", "33", "cc", "dd"))
ARTIFACT, OTHER_ARTIFACT = "sha256:" + "aa" * 32, "sha256:" + "bb" * 32


def proven(key: str = KEY, artifact: str = ARTIFACT, index: int = 7, **changes: Any) -> dict[str, Any]:
    """An evaluation with one signature by a key, logged at this index."""
    judged = evaluation()
    signature = judged["signatures"][0] | {
        "artifact": artifact,
        "signer": {"key": key, "issuer": "", "subject": "", "claims": {}},
        "logEntry": {"logId": "bG9n", "index": index, "integratedAt": None},
    }
    return judged | {"signatures": [signature], "attestations": [], "rejections": []} | changes


def admitted(number: int, digest: str, *, namespace: str = "shop", **changes: Any) -> dict[str, Any]:
    """A decision about a pod of one container, signed by KEY unless another evaluation is given."""
    value = leaf(number, images=[image(f"ghcr.io/acme/app:{number}", digest)], evaluations=[proven()])
    value["object"] |= {"namespace": namespace, "uid": f"uid-{number}"}
    return value | changes


def ran(what: str, number: int, digest: str, *, pod: int, namespace: str = "shop", cluster: str = "local") -> Any:
    """A run of the pod of that number."""
    where = {"namespace": namespace, "name": f"web-{pod}", "uid": f"uid-{pod}"}
    return sighting(what, number, id=f"containerd://{pod}", digest=digest, **where) | {"cluster": cluster}


async def record(opened: Store, *leaves: dict[str, Any]) -> None:
    await asyncio.gather(*(opened.writer.record(item, blobs={}, deadline=soon()) for item in leaves))


LISTS = ("runs", "decisions", "images")


def asked(opened: Store, what: str, value: str = KEY, footing: Footing = Footing.SIGNER, **changes: Any) -> Any:
    """One question of the family: `extent`, or a list."""
    ask = getattr(opened.questions.affected, what)
    return ask(footing, value, **({"as_of": START + timedelta(hours=1)} | changes))


def extent(opened: Store, value: str = KEY, footing: Footing = Footing.SIGNER, **changes: Any) -> Any:
    return asked(opened, "extent", value, footing, **changes)


def runs(opened: Store, **changes: Any) -> list[Any]:
    return list(asked(opened, "runs", **changes).items)


def decisions(opened: Store, **changes: Any) -> list[Any]:
    return list(asked(opened, "decisions", **changes).items)


def images(opened: Store, value: str = KEY, footing: Footing = Footing.SIGNER, **changes: Any) -> list[Any]:
    return list(asked(opened, "images", value, footing, **changes).items)


@pytest.fixture
async def story(opened: Store) -> Store:
    """KEY signed ONE and TWO, OTHER_KEY three; one run of ONE has ended, TWO runs in another namespace."""
    await record(
        opened,
        admitted(0, ONE),
        admitted(1, TWO, namespace="pay"),
        admitted(2, THREE, evaluations=[proven(OTHER_KEY, OTHER_ARTIFACT, 8)]),
        admitted(3, ONE, verdict="Deny"),
        admitted(4, ONE, namespace="pay"),
        ran("Started", 10, ONE, pod=0),
        ran("Started", 11, TWO, pod=1, namespace="pay", cluster="east"),
        ran("Started", 12, THREE, pod=2),
        ran("Started", 13, ONE, pod=5),
        ran("Ended", 100, ONE, pod=5),
    )
    return opened


@pytest.mark.parametrize("most", [1, 2, 3, 4])
async def test_counting_ends_at_a_bound_and_says_so(story: Store, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    for module in ("questions", "counts", "decisions"):
        monkeypatch.setattr(f"controller.inventory.asking.affected.{module}.MAX_COUNTED", most)
    monkeypatch.setattr("controller.inventory.asking.affected.decisions.FIRST", 1)  # so each image by its own statement
    reach = extent(story)
    assert (reach.ran, reach.admitted, reach.more) == (min(3, most), min(3, most), most <= 3)


@pytest.mark.parametrize(
    ("few", "looked"), [(200, 10_000), (0, 10_000), (0, 3), (0, 0)], ids=["by image", "by namespace", "both", "in vain"]
)
async def test_runs_are_counted_alike_whichever_way_they_are_looked_for(
    opened: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, few: int, looked: int
) -> None:
    monkeypatch.setattr(affected_counts, "FEW", few)
    monkeypatch.setattr(affected_counts, "MAX_LOOKED", looked)
    own = proven(policy={"kind": "EvidencePolicy", "namespace": "shop", "name": "own", "hash": "h"})
    await record(
        opened,
        admitted(0, ONE, evaluations=[own]),
        *(ran("Started", second, ONE, pod=second) for second in (10, 11, 12)),
        ran("Ended", 20, ONE, pod=10),
        ran("Started", 10, TWO, pod=3),
        ran("Started", 10, ONE, pod=4, namespace="pay"),  # for whose runs it does not count
    )
    clock.now = START + timedelta(days=1)
    await record(opened, ran("Started", 13, ONE, pod=13))
    for where in ({}, {"namespace": "shop"}):
        for second, known, told in ((9, 2, 0), (11, 2, 2), (60, 2, 3), (11, 48, 2), (60, 48, 4)):
            times = {"as_of": START + timedelta(seconds=second), "known_at": START + timedelta(hours=known)}
            assert extent(opened, **times, **where).ran == told, (times, where)
        assert extent(opened, **where).ran == 4
    for module in ("questions", "counts"):
        monkeypatch.setattr(f"controller.inventory.asking.affected.{module}.MAX_COUNTED", 3)
    assert [(one.ran, one.more) for one in (extent(opened), extent(opened, namespace="shop"))] == [(3, True)] * 2


async def test_what_rests_on_a_signer_is_counted_and_listed(story: Store) -> None:
    reach = extent(story)
    assert (reach.images, reach.running, reach.running_images, reach.ran, reach.admitted) == (2, 2, 2, 3, 3)
    assert (reach.namespaces, reach.clusters, reach.more) == (("pay", "shop"), ("east", "local"), False)
    assert reach.first_known_at == START
    assert [(run.pod, run.digest) for run in runs(story)] == [("web-1", TWO), ("web-0", ONE)]
    assert [run.pod for run in runs(story, ever=True)] == ["web-5", "web-1", "web-0"]
    assert [run.pod for run in runs(story, as_of=START + timedelta(seconds=50))] == ["web-5", "web-1", "web-0"]
    assert [(item.namespace, item.name, item.verdict) for item in decisions(story)] == [
        ("pay", "web-4", "Allow"),
        ("pay", "web-1", "Allow"),
        ("shop", "web-0", "Allow"),
    ]
    assert [(one.digest, one.artifacts, one.since) for one in images(story)] == [
        (ONE, (ARTIFACT,), START),
        (TWO, (ARTIFACT,), START + timedelta(seconds=1)),
    ]


async def test_each_footing_leads_to_the_images_that_rest_on_it(story: Store) -> None:
    for footing, value, digests in (
        (Footing.SIGNER, OTHER_KEY, [THREE]),
        (Footing.LOG_ENTRY, "7", [ONE, TWO]),
        (Footing.LOG_ENTRY, "bG9n:8", [THREE]),
        (Footing.LOG_ENTRY, "other:8", []),
        (Footing.ARTIFACT, OTHER_ARTIFACT, [THREE]),
        (Footing.SIGNER, "nobody", []),
    ):
        assert [one.digest for one in images(story, value, footing)] == digests, (footing, value)
        assert extent(story, value, footing).images == len(digests)


async def test_an_identity_is_found_by_its_whole_subject(opened: Store) -> None:
    await record(opened, leaf(images=[image(digest=ONE)]))
    subject = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.2"
    assert extent(opened, subject).images == 1
    assert extent(opened, subject[:-1]).images == 0


async def test_what_did_not_count_is_no_footing(opened: Store) -> None:
    judged = evaluation() | {"signatures": [], "attestations": []}
    await record(opened, leaf(images=[image(digest=ONE)], evaluations=[judged]))
    assert extent(opened, "sha256:" + "e5" * 32, Footing.ARTIFACT).images == 0


async def test_a_decision_from_before_it_counted_does_not_rest_on_it(opened: Store) -> None:
    unsigned = proven() | {"signatures": []}
    await record(opened, admitted(0, ONE, evaluations=[unsigned]), admitted(5, ONE), admitted(9, ONE, evaluations=[]))
    assert [item.name for item in decisions(opened)] == ["web-9", "web-5"]
    assert extent(opened).admitted == 2


async def test_a_namespace_learns_of_what_ran_there_alone(story: Store) -> None:
    assert [run.namespace for run in runs(story, namespace="shop")] == ["shop"]
    reach = extent(story, namespace="shop")
    assert (reach.images, reach.running, reach.ran, reach.admitted) == (1, 1, 2, 1)
    assert (reach.namespaces, reach.clusters) == (("shop",), ("local",))
    assert [one.digest for one in images(story, namespace="shop")] == [ONE]
    assert [item.namespace for item in decisions(story, namespace="pay")] == ["pay"]  # the other one's image never ran
    nothing = extent(story, namespace="elsewhere")
    assert (nothing.images, nothing.ran, nothing.admitted) == (0, 0, 0)
    assert (runs(story, namespace="elsewhere"), decisions(story, namespace="elsewhere")) == ([], [])


async def test_a_namespaces_own_policy_tells_nobody_else(opened: Store) -> None:
    own = proven(policy={"kind": "EvidencePolicy", "namespace": "shop", "name": "own", "hash": "h"})
    await record(opened, admitted(0, ONE, evaluations=[own]), ran("Started", 1, ONE, pod=9, namespace="pay"))
    assert extent(opened, namespace="pay").images == 0
    assert extent(opened).images == 1


async def test_only_what_had_been_recorded_by_then_is_told(opened: Store, clock: Clock) -> None:
    await record(opened, admitted(0, ONE), ran("Started", 1, ONE, pod=0))
    clock.now = START + timedelta(days=1)
    await record(opened, admitted(2, TWO), ran("Started", 3, TWO, pod=2))
    known = START + timedelta(hours=2)
    reach = extent(opened, known_at=known)
    assert (reach.images, reach.running, reach.admitted) == (1, 1, 1)
    assert extent(opened).images == 2
    assert extent(opened, known_at=START - timedelta(seconds=1)).images == 0


async def test_pages_hold_everything_once_whichever_way_they_are_read(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [f"sha256:{number:064x}" for number in range(7)]
    leaves = [admitted(number, digest) for number, digest in enumerate(digests)]
    leaves += [admitted(number + 20, THREE, evaluations=[]) for number in range(7)]
    leaves += [ran("Started", number, digest, pod=number) for number, digest in enumerate(digests)]
    leaves += [ran("Started", number + 20, THREE, pod=number + 20) for number in range(7)]
    await record(opened, *leaves)
    for few in (0, 200):  # as images that are many, and as ones that are few
        for module in ("questions", "decisions"):
            monkeypatch.setattr(f"controller.inventory.asking.affected.{module}.FEW", few)
        for what in LISTS:
            pages = list(_pages(opened, what))
            names = [getattr(one, "digest", None) or one.images[0].digest for page in pages for one in page.items]
            assert names == (digests if what == "images" else digests[::-1]), (few, what)
            assert len(pages) == 3


@pytest.mark.parametrize("few", [0, 200])
async def test_a_page_ends_after_so_many_rows_and_the_next_goes_on_there(
    opened: Store, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    for module in (affected, affected_decisions):
        monkeypatch.setattr(module, "FEW", few)
        monkeypatch.setattr(module, "STEPS", (1, 2, 1))
    digests = [f"sha256:{number:064x}" for number in range(5)]
    leaves = [admitted(4 * number, digest) for number, digest in enumerate(digests)]
    leaves += [ran("Started", 4 * number, digest, pod=4 * number) for number, digest in enumerate(digests)]
    for number in set(range(20)) - set(range(0, 20, 4)):  # and between two of them three of others
        leaves += [admitted(number, THREE, evaluations=[]), ran("Started", number, THREE, pod=number)]
    await record(opened, *leaves)
    for what, where in product(("runs", "decisions"), ({}, {"namespace": "shop"})):
        for ever in ({"ever": True}, {}) if what == "runs" else ({},):
            pages = list(_pages(opened, what, **where, **ever))
            names = [getattr(one, "digest", None) or one.images[0].digest for page in pages for one in page.items]
            assert names == digests[::-1], (what, where, ever)
            assert max(len(page.items) for page in pages) <= (1 if few == 0 else 3)
            assert len(pages) == (5 if few == 0 else 2)


def _pages(opened: Store, what: str, **where: Any) -> Iterator[Any]:
    page = asked(opened, what, limit=3, **where)
    yield page
    while page.cursor is not None:
        page = asked(opened, what, limit=3, cursor=page.cursor, **where)
        yield page


async def test_what_was_said_of_a_manifest_reaches_runs_and_decisions_that_name_the_index(opened: Store) -> None:
    child = proven(child={"digest": CHILD, "platform": "linux/arm64"})
    decision = admitted(0, ONE, evaluations=[child])
    decision["images"][0]["manifests"] = [CHILD, OTHER_CHILD]
    await record(
        opened,
        decision,
        ran("Started", 1, ONE, pod=1),
        ran("Started", 2, CHILD, pod=2, namespace="pay"),
        ran("Started", 3, OTHER_CHILD, pod=3),  # another manifest of the index, of which nothing was said
    )
    assert [one.digest for one in images(opened)] == [CHILD]
    assert [run.pod for run in runs(opened)] == ["web-2", "web-1"]
    assert [item.name for item in decisions(opened)] == ["web-0"]
    reach = extent(opened)
    assert (reach.images, reach.running, reach.running_images, reach.ran, reach.admitted) == (1, 2, 2, 2, 1)
    assert [one.digest for one in images(opened, namespace="shop")] == [CHILD]  # the index that holds it ran there
    assert images(opened, namespace="elsewhere") == []


BASE_DIGEST = "sha256:" + "0b" * 32
CONFIG = "sha256:" + "c0" * 32


def built_on(number: int, digest: str, *bases: dict[str, str], **changes: Any) -> dict[str, Any]:
    """A decision about an image whose annotations, or those about its manifests, claim these base images."""
    decision = admitted(number, digest, **changes)
    decision["images"][0] |= {
        "bases": [{"manifest": digest} | base for base in bases],
        "manifests": [base["manifest"] for base in bases if "manifest" in base],
    }
    return decision


def labelled(digest: str, **more: Any) -> dict[str, Any]:
    """An evaluation whose rules looked at a configuration that claims a base image by its labels."""
    labels = {"org.opencontainers.image.base.name": "debian:12", "org.opencontainers.image.base.digest": BASE_DIGEST}
    config = {"digest": CONFIG, "manifest": digest, "platform": None, "os": "linux", "labels": labels}
    return proven(used={"configs": [config | more]})


def sources(items: list[Any]) -> list[tuple[str, ...]]:
    return [tuple(getattr(told, "source", told) for told in one.sources) for one in items]


async def test_a_base_image_is_found_by_what_images_claim_and_told_apart(opened: Store) -> None:
    await record(
        opened,
        built_on(0, ONE, {"name": "debian:12", "digest": BASE_DIGEST}),
        admitted(1, TWO, evaluations=[labelled(TWO)]),
        built_on(2, THREE, {"name": "alpine:3.20"}),
        ran("Started", 10, ONE, pod=0),
        ran("Started", 11, TWO, pod=1),
        ran("Started", 12, THREE, pod=2),
    )
    for value in ("debian", "docker.io/library/debian:12", "debian:12", BASE_DIGEST):
        found = images(opened, value, Footing.BASE)
        assert [(one.digest, one.artifacts, one.since) for one in found] == [
            (ONE, (ONE,), START),
            (TWO, (CONFIG,), START + timedelta(seconds=1)),
        ], value
        assert sources(found) == [("annotation",), ("label",)]
        reach = extent(opened, value, Footing.BASE)
        assert (reach.images, reach.claimed, reach.running, reach.running_claimed) == (2, 2, 2, 2)
    asking = {"value": BASE_DIGEST, "footing": Footing.BASE}
    told = [("web-1", ("label",)), ("web-0", ("annotation",))]
    assert [(run.pod, run.sources) for run in runs(opened, **asking)] == told
    assert [(one.name, one.sources) for one in decisions(opened, **asking)] == told
    assert [one.digest for one in images(opened, "alpine", Footing.BASE)] == [THREE]
    assert images(opened, "debian:13", Footing.BASE) == []
    assert sources(images(opened)) == [("proof",)] * 3  # of a signer nothing changes


FOREIGN = "sha256:" + "ee" * 32


async def test_an_index_says_of_foreign_manifests_nothing_that_other_namespaces_hear(opened: Store) -> None:
    """Whoever pushes an index may list any manifest in it, and say of it what he likes."""
    at = START + timedelta(hours=1)
    evil = [{"manifest": CHILD, "name": "evil.example/base:1"}, {"name": "secret.example/internal:7"}]
    await record(
        opened,
        built_on(0, CHILD, {"name": "debian:12"}, namespace="pay"),
        ran("Started", 10, CHILD, pod=0, namespace="pay"),
        built_on(1, FOREIGN, *evil, namespace="shop"),
        ran("Started", 11, FOREIGN, pod=1, namespace="shop"),
    )
    for namespace in ("pay", None):
        (asset,) = (a for a in opened.questions.assets.assets(as_of=at, namespace=namespace).items if a.digest == CHILD)
        assert (asset.base, asset.base_source) == ("docker.io/library/debian:12", "annotation"), namespace
    for value in ("evil.example/base", "secret.example/internal"):
        assert images(opened, value, Footing.BASE, namespace="pay") == []
        assert extent(opened, value, Footing.BASE, namespace="pay").running == 0
    found = images(opened, "secret.example/internal", Footing.BASE, namespace="shop")
    assert [one.digest for one in found] == [FOREIGN]


@pytest.mark.parametrize("few", [0, 200])
async def test_a_decision_about_many_images_counts_once(
    opened: Store, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(affected_decisions, "FEW", few)
    digests = [f"sha256:{number:064x}" for number in range(40)]
    decision = leaf(
        0,
        images=[image(f"ghcr.io/acme/app:{number}", digest) for number, digest in enumerate(digests)],
        evaluations=[proven() | {"image": number} for number in range(40)],
    )
    await record(opened, decision)
    assert (extent(opened).admitted, len(decisions(opened)), extent(opened).images) == (1, 1, 40)


async def test_what_is_claimed_and_what_is_verified_are_counted_and_dated_apart(
    opened: Store, database: Database
) -> None:
    base = {"uri": "pkg:docker/debian@12", "digest": {"sha256": "0b" * 32}}
    built = {"buildType": "https://x.example/b", "externalParameters": {}, "resolvedDependencies": [base]}
    provenance = {
        "buildDefinition": built,
        "runDetails": {"builder": {"id": "https://builder.example"}, "metadata": {}},
    }
    attested, blobs = attesting(bundle(provenance, SLSA), digest=ONE, predicate_type=SLSA, number=5)
    await record(opened, built_on(0, ONE, {"digest": BASE_DIGEST}), built_on(1, TWO, {"digest": BASE_DIGEST}))
    await opened.writer.record(attested, blobs=blobs, deadline=soon())
    opened.indexer(database.settings, read=lambda content: reading.read(content, DocumentSettings())).step()
    asking = {"value": BASE_DIGEST, "footing": Footing.BASE}
    (one, two) = images(opened, **asking)
    assert [(told.source, told.since) for told in one.sources] == [
        ("provenance", START + timedelta(seconds=5)),
        ("annotation", START),
    ]
    assert (one.is_claimed, two.is_claimed, one.since) == (False, True, START)
    reach = extent(opened, **asking)
    assert (reach.images, reach.claimed, reach.admitted) == (2, 1, 3)
    assert sources(decisions(opened, **asking)) == [("provenance", "annotation"), ("annotation",), ("annotation",)]


async def test_what_an_index_says_of_its_manifest_reaches_runs_that_name_either_where_the_index_was_met(
    opened: Store,
) -> None:
    await record(
        opened,
        built_on(0, ONE, {"manifest": CHILD, "name": "debian:12"}),
        ran("Started", 1, ONE, pod=1),
        ran("Started", 2, CHILD, pod=2),
        ran("Started", 3, CHILD, pod=3, namespace="pay"),
    )
    asking = {"value": "debian", "footing": Footing.BASE}
    (one,) = images(opened, **asking)
    assert (one.digest, one.artifacts, [told.only_in for told in one.sources]) == (CHILD, (ONE,), [("shop",)])
    assert [told.only_in for one in images(opened, namespace="shop", **asking) for told in one.sources] == [()]
    assert [run.pod for run in runs(opened, **asking)] == ["web-2", "web-1"]
    assert extent(opened, **asking).running_claimed == 2


async def test_a_claim_is_known_from_when_it_was_recorded_and_where_it_ran(opened: Store, clock: Clock) -> None:
    own = labelled(TWO) | {"policy": {"kind": "EvidencePolicy", "namespace": "shop", "name": "own", "hash": "h"}}
    await record(opened, admitted(0, ONE), ran("Started", 1, ONE, pod=0), ran("Started", 2, TWO, pod=1))
    clock.now = START + timedelta(days=1)
    await record(
        opened,
        built_on(3, ONE, {"name": "debian:12"}, namespace="pay"),
        admitted(4, TWO, namespace="pay", evaluations=[own]),
        ran("Started", 5, TWO, pod=4, namespace="pay"),
    )
    asking = {"value": "debian:12", "footing": Footing.BASE}
    assert extent(opened, known_at=START + timedelta(hours=2), **asking).images == 0
    assert [one.digest for one in images(opened, **asking)] == [ONE, TWO]
    assert [one.digest for one in images(opened, namespace="shop", **asking)] == [ONE, TWO]
    assert images(opened, namespace="pay", **asking) == []  # ONE never ran there, TWO's label shop's policy alone read
    assert images(opened, namespace="elsewhere", **asking) == []
    assert [run.pod for run in runs(opened, namespace="shop", **asking)] == ["web-1", "web-0"]
    assert [run.sources for run in runs(opened, namespace="shop", **asking)] == [("label",), ("annotation",)]


async def test_a_question_that_makes_no_sense_is_refused(opened: Store) -> None:
    for what, wrong, code in (
        ("runs", {"limit": 0}, "LimitOutOfRange"),
        ("decisions", {"cursor": "!"}, "CursorMalformed"),
        ("images", {"cursor": "WyJhIl0x"}, "CursorMalformed"),
        ("images", {"cursor": "WzFd"}, "CursorMalformed"),
    ):
        with pytest.raises(InputError) as error:
            asked(opened, what, **wrong)
        assert error.value.code == code
    with pytest.raises(InputError, match="DigestMalformed"):
        extent(opened, "sha256:1", Footing.ARTIFACT)


async def test_traces_are_made_again_from_the_leaves(database: Database, story: Store) -> None:
    def rows() -> list[Any]:
        made = (tables.evidence, tables.trace, tables.claim)
        with story._reading.begin() as connection:
            return [sorted(map(tuple, connection.execute(select(table)))) for table in made]

    await record(story, built_on(5, TWO, {"name": "debian:12"}))
    before = rows()
    assert all(before)
    story.close()
    assert store.rebuild(database.settings.url()) == 11
    with Store.open_to_read(database.settings) as again:
        story._reading = again._reading
        assert rows() == before


async def test_a_trace_that_was_taken_out_is_named_by_the_audit(story: Store) -> None:
    with story.writer._engine.begin() as connection:
        connection.execute(delete(tables.trace).where(tables.trace.c.digest == TWO))
    told = [finding for finding in story.verify(keys=()).findings if "trace" in finding.where]
    assert len(told) == 3
    assert {finding.message for finding in told} == {"the row is gone"}
