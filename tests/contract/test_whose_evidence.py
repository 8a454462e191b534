"""An answer about all namespaces is what each of them would be told of its own: no more, and no less.

Small worlds, made by chance: namespaces that share images and an index, of which the cluster's policies find this and
each namespace's own policies that, some of it recorded later than the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import product
from random import Random
from typing import Any

import pytest

from controller.inventory.asking.affected import counts as affected_counts
from controller.inventory.asking.affected import decisions as affected_decisions
from controller.inventory.asking.affected import questions as affected
from controller.inventory.asking.affected import reaching
from controller.inventory.asking.affected.resting import Footing
from controller.inventory.index import reading
from controller.inventory.store import Store
from controller.settings import DocumentSettings
from tests.support.asked_estate import every
from tests.support.attested import SLSA, SPDX, attesting, bundle, provenance, spdx
from tests.support.inventory import START, Clock, Database, sighting, soon

NAMESPACES = ("bank", "shop", "a-tenant")
CLUSTERS = ("local", "other")
INDEX, CHILD, SIBLING, ALONE = (f"sha256:{byte * 32}" for byte in ("f0", "c1", "c2", "a1"))
DIGESTS = (INDEX, CHILD, SIBLING, ALONE)
PURLS = tuple(f"pkg:npm/p{number}@1.0.0" for number in range(3))
BUILDERS = ("https://one.example", "https://two.example")
BASES = ("registry.example/one", "registry.example/two")
KEYS = ("sha256:" + "4b" * 32, "sha256:" + "0c" * 32)
LEADS = [(Footing.BUILDER, name) for name in BUILDERS] + [(Footing.BASE, name) for name in BASES]
LEADS += [(Footing.SIGNER, key) for key in KEYS]
PHASES = 3  # each recorded a day after the one before
END = START + timedelta(hours=1)


def found(random: Random, number: int, namespace: str) -> tuple[dict[str, Any], dict[Any, bytes]]:
    """A decision in a namespace, by a policy of its own or of the cluster, about an SBOM, a provenance or a label."""
    digest = random.choice(DIGESTS)
    child = random.choice(["", CHILD, SIBLING]) if digest == INDEX else ""
    about = child or digest
    if random.random() < 0.6:
        listed = random.sample(PURLS, random.randint(1, 2))
        content, kind = bundle(spdx(*listed), SPDX, about), SPDX
    else:
        built = provenance(f"{random.choice(BASES)}:1", builder=random.choice(BUILDERS))
        content, kind = bundle(built, SLSA, about), SLSA
    decision, blobs = attesting(
        content,
        digest=digest,
        child=child,
        predicate_type=kind,
        policy_namespace=random.choice(["", namespace, namespace]),
        rejected="KeyMismatch" if kind == SPDX and random.random() < 0.3 else "",
        number=number,
    )
    (judged,) = decision["evaluations"]
    for proof in judged["attestations"]:
        proof["signer"] = {"key": random.choice(KEYS), "issuer": "", "subject": "", "claims": {}}
    if random.random() < 0.4:
        label = {"org.opencontainers.image.base.name": f"{random.choice(BASES)}:1"}
        config = {"digest": f"sha256:{number:064x}", "manifest": about, "platform": None, "os": "linux"}
        judged["used"]["configs"] = [config | {"labels": label}]
    if digest == INDEX:
        decision["images"][0]["manifests"] = [CHILD, SIBLING]
        if random.random() < 0.5:
            decision["images"][0]["bases"] = [{"manifest": CHILD, "name": f"{random.choice(BASES)}:1"}]
    decision["object"]["namespace"] = decision["request"]["namespace"] = namespace
    return decision, blobs


def runs(random: Random) -> Iterator[dict[str, Any]]:
    """Every image ran in every namespace, on some cluster; some of these runs are over before `END`.

    A namespace is told of decisions about what ran there alone, an auditor of all: here that is the same.
    """
    for number, (namespace, digest) in enumerate(product(NAMESPACES, DIGESTS)):
        pod = f"{namespace}-{number}"
        where = {"namespace": namespace, "name": pod, "uid": pod, "id": f"containerd://{number}", "digest": digest}
        cluster = {"cluster": random.choice(CLUSTERS)}
        start = sighting("Started", number, **where) | cluster
        yield start
        if random.random() < 0.4:
            yield sighting("Ended", 100 + number, startedAt=start["run"]["startedAt"], **where) | cluster


async def record(opened: Store, database: Database, clock: Clock, random: Random) -> list[datetime]:
    """A world. Returns the times by which each part of it was known."""
    known = []
    for value in runs(random):
        await opened.writer.record(value, blobs={}, deadline=soon())
    for phase in range(PHASES):
        clock.now = START + timedelta(days=phase)
        known.append(clock.now)
        for number in range(12):
            decision, blobs = found(random, 200 + 20 * phase + number, random.choice(NAMESPACES))
            await opened.writer.record(decision, blobs=blobs, deadline=soon())
    indexer = opened.indexer(database.settings, read=lambda content: reading.read(content, DocumentSettings()))
    while indexer.step().more:
        pass
    return known


def packages(opened: Store, purl: str, **where: Any) -> set[tuple[Any, ...]]:
    find = opened.questions.packages.packages
    items = every(lambda cursor: find(purl.partition("@")[0], limit=5, cursor=cursor, **where))
    told = [(one.pod, one.digest, one.purl, one.verified, one.code, one.artifact, one.recorded_at) for one in items]
    assert len(set(told)) == len(told)
    return set(told)


def asked(known: list[datetime]) -> Iterator[dict[str, Any]]:
    """Pairs of the two times."""
    while_all_ran = START + timedelta(seconds=50)
    for known_at, as_of in ((None, END), (known[0], while_all_ran), (known[1], while_all_ran)):
        yield {"known_at": known_at, "as_of": as_of}


async def test_all_namespaces_are_told_of_packages_what_each_is_told_of_its_own_runs(
    opened: Store, database: Database, clock: Clock
) -> None:
    known = await record(opened, database, clock, Random(1))  # noqa: S311 - a world, and no secret
    told = 0
    for when, (unverified, cluster) in product(asked(known), [(False, None), (True, CLUSTERS[1])]):
        where = {"unverified": unverified, "cluster": cluster, **when}
        images: dict[str, set[str]] = defaultdict(set)
        verified: dict[str, bool] = defaultdict(bool)
        for purl in PURLS:
            every_run = packages(opened, purl, **where)
            assert every_run == set().union(*(packages(opened, purl, namespace=one, **where) for one in NAMESPACES))
            for _, digest, name, is_verified, *_ in every_run:
                images[name].add(digest)
                verified[name] |= is_verified
                told += 1
        ask = opened.questions.components.components
        components, own = ask(**where), [ask(namespace=one, **where) for one in NAMESPACES]
        assert {one.purl: one.images for one in components.items} == {purl: len(some) for purl, some in images.items()}
        assert {one.purl: one.verified for one in components.items} == dict(verified)
        assert set(components.documents) == set().union(*(page.documents for page in own))
        assert components.described == len(set().union(*images.values()))
    assert told > 50


@pytest.mark.parametrize(
    "bounds",
    [
        (reaching.APART, affected.FEW, LEADS[::2]),
        (0, affected.FEW, LEADS[::3]),
        (0, 1, LEADS[1::3]),
        (reaching.APART, 1, LEADS[2::3]),
    ],
    ids=["few namespaces", "many namespaces", "many images", "many images of few namespaces"],
)
async def test_all_namespaces_are_told_of_a_blast_radius_what_each_is_told_of_its_own(
    opened: Store, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch, bounds: tuple[int, int, Any]
) -> None:
    apart, few, leads = bounds
    for module in (reaching, affected_counts, affected_decisions):
        monkeypatch.setattr(module, "APART", apart)
    for module in (affected, affected_counts, affected_decisions):
        monkeypatch.setattr(module, "FEW", few)
    known = await record(opened, database, clock, Random(1))  # noqa: S311 - a world, and no secret
    ask = opened.questions.affected.extent
    told = confined = 0
    for when, (footing, value) in product(asked(known), leads):
        extent = ask(footing, value, **when)
        own = [ask(footing, value, namespace=one, **when) for one in NAMESPACES]
        for name in ("running", "running_claimed", "ran", "admitted"):
            assert getattr(extent, name) == sum(getattr(one, name) for one in own), (name, footing, when)
        for what in ("runs", "decisions", "images"):
            items = listed(opened, what, footing, value, **when)
            of_each = [
                one for name in NAMESPACES for one in listed(opened, what, footing, value, namespace=name, **when)
            ]
            told += len(items)
            if what == "images":
                assert {one.digest for one in items} == {one.digest for one in of_each}
                confined += sum(bool(word.only_in) for one in items for word in one.sources)
            else:
                assert sorted(map(repr, items)) == sorted(map(repr, of_each))
    assert told > 20
    assert confined > 0


def listed(opened: Store, what: str, footing: Footing, value: str, **where: Any) -> list[Any]:
    ask = getattr(opened.questions.affected, what)
    return every(lambda cursor: ask(footing, value, limit=5, cursor=cursor, **where))
