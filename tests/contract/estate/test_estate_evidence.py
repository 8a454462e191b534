"""What is known of images, what rests on what, and what is in them is what the oracle says."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any

import pytest

from controller.inventory.asking.affected.questions import MAX_COUNTED
from controller.inventory.asking.affected.resting import Footing
from controller.inventory.store import Store
from tests.bench.estate.facts import Provenance, Sbom
from tests.bench.estate.oracle import Contained
from tests.bench.estate.size import BEGIN, DAYS
from tests.support.asked_estate import DAY, PAGE, estate, every, oracle, times

pytestmark = pytest.mark.timeout(1200)  # the first test of each database waits until it is written


def test_what_is_known_of_an_image_is_what_was_found(inventory: Store) -> None:
    random = Random("images")
    for image in random.sample(estate().world.images, 12):
        for known_at in (None, BEGIN + random.uniform(0, DAYS) * DAY):
            as_of = BEGIN + random.uniform(0, DAYS) * DAY
            found = inventory.queries.image(image.digest, as_of=as_of, known_at=known_at)
            made = oracle().decisions(digest=image.digest, as_of=as_of, known_at=known_at)
            if not made:
                assert found is None
                continue
            assert found is not None
            assert (found.first_decided_at, found.last_decided_at) == (made[-1].decided_at, made[0].decided_at)
            assert found.admitted == sum(d.judgement.allowed for d in made)
            assert found.denied == sum(not d.judgement.allowed for d in made)
            assert found.repositories == (image.repository,)
            wanted = oracle().evidence(image.digest, as_of=as_of, known_at=known_at)
            for kind, items in (
                ("signature", found.signatures),
                ("attestation", found.attestations),
                ("rejection", found.rejections),
            ):
                policies = {(f.detail["artifact"], (f.policy.kind, f.policy.namespace, f.policy.name)) for f in items}
                assert policies == wanted[kind], (image, kind)


@pytest.mark.parametrize("kind", ["signer", "log-entry", "artifact", "builder", "source", "base"])
def test_what_rests_on_what_turned_out_bad_is_what_rests_on_it(inventory: Store, kind: str) -> None:
    random = Random(kind)
    good = [e for image in estate().world.images for e in image.evidence if e.artifact and not e.code]
    provenances = [e.says for e in good if isinstance(e.says, Provenance)]
    values = {
        "signer": [e.signer.key or e.signer.subject for e in good],
        "log-entry": [str(e.log_index) for e in good if e.log_index is not None],
        "artifact": [e.artifact for e in good],
        "builder": [told.builder for told in provenances],
        "source": [told.source for told in provenances],
        "base": [name for told in provenances for name in (told.base_digest, told.base_name)],
    }[kind]
    affected, footing = inventory.questions.affected, Footing(kind)
    counted = 0
    for number, (as_of, known_at) in enumerate(times(kind, 2)):
        namespace = (None, "team-01", "team-03")[number % 3]
        value = random.choice(values)
        where = {"as_of": as_of or datetime.now(UTC), "known_at": known_at, "namespace": namespace}
        bad = oracle().resting(kind, value, known_at=known_at, namespace=namespace)
        running_then = [ran for ran in oracle().runs(**where) if bad.holds(ran.run)]
        ran_by_then = [
            ran
            for ran in oracle().runs(namespace=namespace, known_at=known_at)
            if bad.holds(ran.run) and ran.run.started_at <= where["as_of"]
        ]
        admitted = oracle().admitted_on(bad, **where)
        extent = affected.extent(footing, value, **where)
        told = (extent.running, extent.ran, extent.admitted)
        counts = [min(len(found), MAX_COUNTED) for found in (ran_by_then, admitted)]
        assert told == (len(running_then), *counts), (value, where)
        assert extent.more is (MAX_COUNTED in counts)
        assert extent.namespaces == tuple(sorted({ran.run.subject.namespace for ran in running_then}))
        for ever, wanted in ((False, running_then), (True, ran_by_then)):
            ask = partial(affected.runs, footing, value, ever=ever, limit=PAGE, **where)
            assert {run.run for run in every(lambda cursor, ask=ask: ask(cursor=cursor))} == {r.run.run for r in wanted}
        ask = partial(affected.decisions, footing, value, limit=PAGE, **where)
        found = every(lambda cursor, ask=ask: ask(cursor=cursor))
        assert [decision.id for decision in found] == [decision.id for decision in admitted]
        counted += len(ran_by_then) + len(admitted)
    assert counted > 0


def test_by_whose_word_an_image_rests_on_a_base_image_is_told_of_each(inventory: Store) -> None:
    random = Random("by whose word")
    affected = inventory.questions.affected
    met: set[tuple[str, ...]] = set()
    confined = 0
    for number, (as_of, known_at) in enumerate(times("by whose word", 3)):
        base = random.choice(estate().world.images).base
        where = {"known_at": known_at, "namespace": (None, "team-01", "team-03")[number % 3]}
        related = oracle().related(known_at=known_at)
        for value in (base.name, base.digest):
            told = oracle().on_base(value, **where)
            words: dict[str, set[tuple[str, str]]] = {}
            for digest, by in told.items():
                for name in (digest, *related.get(digest, ())):
                    words[name] = words.get(name, set()) | by.keys()
            if where["namespace"] is not None:
                seen = oracle().seen_in(where["namespace"], known_at=known_at)
                told = {d: by for d, by in told.items() if not seen.isdisjoint({d, *related.get(d, ())})}
            ask = partial(affected.images, Footing.BASE, value, limit=PAGE, **where)
            found = every(lambda cursor, ask=ask: ask(cursor=cursor))
            wanted = {digest: said_of(by, where["namespace"]) for digest, by in told.items()}
            said = {one.digest: {t.source: (t.since, t.only_in) for t in one.sources} for one in found}
            assert said == wanted, (value, where)
            extent = affected.extent(Footing.BASE, value, **where)
            claimed = [digest for digest, by in wanted.items() if "provenance" not in by]
            assert (extent.images, extent.claimed) == (len(told), len(claimed))
            ask = partial(affected.runs, Footing.BASE, value, as_of=as_of, limit=PAGE, **where)
            runs = every(lambda cursor, ask=ask: ask(cursor=cursor))
            for run in runs:
                counting = {source for source, policies in words[run.digest] if policies in {"", run.namespace}}
                assert set(run.sources) == counting
                confined += len(counting) < len({source for source, _ in words[run.digest]})
            met |= {tuple(sorted(by)) for by in wanted.values()}
    assert confined > 0  # somebody else's policies say more of the image
    assert {("annotation",), ("label",), ("provenance",)} <= met
    assert any("provenance" in by and len(by) > 1 for by in met)


def said_of(by: dict[tuple[str, str], datetime], namespace: str | None) -> dict[str, tuple[datetime, tuple[str, ...]]]:
    """By whose word, since when, and where alone: in one namespace what may be known there is not told apart."""
    found = {}
    for source in {source for source, _ in by}:
        since = {policies: at for (one, policies), at in by.items() if one == source}
        if "" in since and namespace is None:
            since = {"": since[""]}
        only = () if namespace is not None or "" in since else tuple(sorted(since))
        found[source] = min(since.values()), only
    return found


def test_what_ran_with_a_package_is_what_ran_with_it(inventory: Store) -> None:
    random = Random("packages")
    sboms = [e.says for image in estate().world.images for e in image.evidence if isinstance(e.says, Sbom)]
    found = 0
    for number, (as_of, known_at) in enumerate(times("packages", 3)):
        component = random.choice([c for c in random.choice(sboms).components if c.purl])
        package, version = component.purl.partition("@")[0], component.version or ""
        # Ranges where versions are three numbers; the other ecosystems' orders have tests of their own.
        ranged = package.startswith(("pkg:npm/", "pkg:pypi/", "pkg:maven/"))
        versions = f"<={version}" if ranged and number % 2 else ""
        where = {
            "namespace": (None, "team-01", "team-04")[number % 3],
            "known_at": known_at,
            "as_of": as_of or datetime.now(UTC),
        }

        def accepts(one: str, most: str = version, versions: str = versions) -> bool:
            return not versions or _numbers(one) <= _numbers(most)

        for unverified in (False, True):
            wanted = oracle().packages(package, accepts, unverified=unverified, **where)
            ask = partial(inventory.questions.packages.packages, package, versions, unverified=unverified, **where)
            answer = every(lambda cursor, ask=ask: ask(cursor=cursor, limit=17))
            assert [run.started_at for run in answer] == sorted((run.started_at for run in answer), reverse=True)
            runs = {(run.pod, run.container, run.digest, run.started_at): run for run in answer}
            by_run = {(r.subject.name, r.container, r.digest, r.started_at): r.run for r in estate().runs}
            told = {
                Contained(by_run[key(run)], run.purl, run.version, run.artifact, run.verified, run.known_then)
                for run in answer
            }
            assert told == wanted, (package, versions, where)
            assert len(answer) == len(wanted) >= len(runs)
            found += len(wanted)
    assert found > 0


def key(run: Any) -> tuple[str, str, str, datetime]:
    """What tells an answer's run from every other."""
    return run.pod, run.container, run.digest, run.started_at


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_the_state_of_each_images_sbom_is_what_it_is(inventory: Store) -> None:
    states: Counter[str] = Counter()
    for number, (as_of, known_at) in enumerate(times("sboms")):
        at = as_of or datetime.now(UTC)
        where = {"namespace": (None, "team-02", "team-05")[number % 3], "known_at": known_at, "as_of": at}
        ask = partial(inventory.questions.sboms.sboms, limit=7, **where)
        found = every(lambda cursor, ask=ask: ask(cursor=cursor))
        told = {image.digest: str(image.state) for image in found}
        assert told == oracle().sboms(**where), where
        assert len(told) == len(found)
        assert ask().counts == {**dict.fromkeys(ask().counts, 0), **Counter(told.values())}
        states += Counter(told.values())
    assert set(states) == {"NotLookedFor", "None", "OtherDigest", "Untrusted", "Incomplete", "Stale", "Complete"}
