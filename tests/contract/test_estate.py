"""Every question about an estate of a hundredth of the design's size: the inventory's answer is the oracle's.

The estate is invented by `tests/bench/estate`, written into each database by the program's own statements, and known to
the oracle as plain facts alone. Times are sampled over the year, `known_at` before and after what was recorded late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import rfc8785

from controller.inventory.projecting import Projector, project
from controller.inventory.queries import Queries
from controller.inventory.records import Admission, DecisionFilter
from controller.inventory.resting import Footing
from controller.inventory.store import Store
from controller.settings import InventorySettings
from tests.bench.estate.facts import Provenance, Sbom
from tests.bench.estate.growing import SHARED, grow
from tests.bench.estate.history import Estate
from tests.bench.estate.leaves import Scribe
from tests.bench.estate.load import leaves, load
from tests.bench.estate.oracle import Contained, Oracle, Ran, Used
from tests.bench.estate.size import BEGIN, DAYS, END, Size
from tests.bench.estate.sizes import sizes
from tests.support import postgres
from tests.support.pipeline import key_authority, running, workflow_authority

FRACTION = 0.01
COMPONENTS = 200  # a tenth of real ones: it is parsing that takes the time, and answers do not hang on it
PAGE = 500
SAMPLES = 6
pytestmark = pytest.mark.timeout(1200)  # the first test of each database waits until it is written
DAY = timedelta(days=1)


@cache
def estate() -> Estate:
    return Estate(Size.of(FRACTION, components=COMPONENTS))


@cache
def oracle() -> Oracle:
    return Oracle(estate())


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def inventory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("estate")
    if request.param == "sqlite":
        url = f"sqlite:///{folder / 'inventory.db'}"
    else:
        url = request.getfixturevalue("server").new_database()
    load(estate(), url)
    with Store.open_to_read(InventorySettings(database_url=url)) as store:
        yield store


def times(seed: str, count: int = SAMPLES) -> list[tuple[datetime | None, datetime | None]]:
    """Pairs of `as_of` and `known_at`: any day of the year, known then, later, or now."""
    random = Random(seed)
    found: list[tuple[datetime | None, datetime | None]] = [(None, None), (END, None)]
    for number in range(count):
        as_of = BEGIN + timedelta(seconds=random.uniform(0, DAYS * 86_400))
        # In turn: as it is known now, as it was known then, as it was known some days later, and some days before.
        known_at = (None, as_of, as_of + random.uniform(0, 9) * DAY, as_of - random.uniform(0, 9) * DAY)[number % 4]
        found.append((as_of, known_at))
    # When nobody watched, and when the spool held what was decided: it is known only after.
    gap = estate().gaps[3]
    middle = gap.since + (gap.until - gap.since) / 2
    away = estate().weather.database[2]
    late = away[0] + (away[1] - away[0]) / 2
    return [*found, (middle, None), (middle, middle), (late, late), (late, away[1] + DAY)]


def every(ask: Callable[[str | None], Any]) -> list[Any]:
    """All items of all pages."""
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = ask(cursor)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


def all_decisions(
    queries: Queries, where: dict[str, Any], known_at: datetime | None, as_of: datetime | None = None
) -> list[str]:
    told = {("image" if name == "repository" else name): value for name, value in where.items()}
    wanted = DecisionFilter(**told)
    found = every(lambda cursor: queries.decisions(wanted, limit=PAGE, cursor=cursor, as_of=as_of, known_at=known_at))
    return [item.id for item in found]


def decision_filters() -> list[dict[str, Any]]:
    random = Random("filters")
    world, rules = estate().world, estate().rules
    begin = BEGIN + 100 * DAY
    used = oracle().exceptions()
    return [
        {},
        {"verdict": "Deny"},
        {"namespace": "team-01"},
        {"namespace": "team-03", "verdict": "Deny"},
        {"since": begin, "until": begin + 30 * DAY},
        {"since": begin, "until": begin + 30 * DAY, "namespace": "team-02", "verdict": "Allow"},
        *({"flag": flag} for flag in ("warn", "audit", "exempt", "break-glass", "stale", "error", "fail-open")),
        *({"flag": flag, "namespace": "team-00"} for flag in ("no-match", "softened", "exempt")),
        *({"digest": image.digest} for image in random.sample(world.images, 4)),
        *({"repository": repository.name} for repository in random.sample(world.repositories, 3)),
        *({"policy": policy} for policy in ("signed", "vendor", "team-01/provenance", "nowhere/signed")),
        *({"exception": one.name} for one in used[:3]),
        {"exception": rules.exemptions[0].name, "namespace": "team-01"},
    ]


def test_decisions_by_every_filter_are_those_that_were_made(inventory: Store) -> None:
    asked = decision_filters()
    for number, where in enumerate(asked):
        known_at = None if number % 2 == 0 else BEGIN + 200 * DAY
        expected = oracle().decisions(**where, known_at=known_at)
        assert all_decisions(inventory.queries, where, known_at) == [d.id for d in expected], (where, known_at)
    assert sum(bool(oracle().decisions(**where)) for where in asked) > len(asked) - 6  # not all questions are idle


def test_decisions_are_those_that_had_been_recorded(inventory: Store) -> None:
    for as_of, known_at in times("decisions"):
        where = {"since": as_of - 5 * DAY if as_of else BEGIN + 360 * DAY}
        expected = oracle().decisions(**where, as_of=as_of, known_at=known_at)
        found = all_decisions(inventory.queries, where, known_at, as_of)
        assert found == [d.id for d in expected], (as_of, known_at)


def told(run: Any) -> tuple[Any, ...]:
    """What an answer says of a run."""
    signers = {(who.key, who.issuer, who.subject): who.statements for who in run.signers}
    return (
        *(run.cluster, run.namespace, run.pod, run.pod_uid, run.node, run.owner, run.service_account, run.kind),
        *(run.container, run.run, run.reference, run.image_id, run.digest, run.started_at, run.ended_at, run.reason),
        *(str(run.admission), run.record, signers),
    )


def expected(ran: Ran) -> tuple[Any, ...]:
    """What the oracle says of it."""
    run, pod = ran.run, ran.run.subject
    return (
        *(pod.cluster, pod.namespace, pod.name, pod.uid, pod.node, pod.owner, pod.service_account, run.kind),
        *(run.container, run.run, run.reference, run.image_id, run.digest, run.started_at, ran.ended_at, ran.reason),
        *(ran.admission, ran.record, ran.signers),
    )


def check_runs(queries: Queries, **where: Any) -> int:
    asked = {**where, **({"admission": Admission(where["admission"])} if "admission" in where else {})}
    found = every(lambda cursor: queries.runs(**asked, limit=PAGE, cursor=cursor))
    wanted = oracle().runs(**where)
    assert [run.started_at for run in found] == [ran.run.started_at for ran in wanted], where
    by_run = {ran.run.run: expected(ran) for ran in wanted}
    assert {run.run: told(run) for run in found} == by_run, where
    assert len(found) == len(by_run)
    return len(found)


def test_what_ran_at_any_time_is_what_ran(inventory: Store) -> None:
    for as_of, known_at in times("runs"):
        check_runs(inventory.queries, as_of=as_of, known_at=known_at)


def test_what_ran_in_a_namespace_or_of_a_digest_is_what_ran(inventory: Store) -> None:
    random = Random("narrow")
    found = 0
    for as_of, known_at in times("narrow"):
        found += check_runs(
            inventory.queries, as_of=as_of, known_at=known_at, namespace=random.choice(estate().namespaces)
        )
        run = random.choice(estate().runs)
        found += check_runs(inventory.queries, as_of=as_of, known_at=known_at, digest=run.digest)
    assert found > 100


@pytest.mark.parametrize("admission", ["Admitted", "Drifted", "Unadmitted", "Unknown"])
def test_how_runs_were_admitted_is_how_they_were(inventory: Store, admission: str) -> None:
    found = sum(
        check_runs(inventory.queries, as_of=as_of, known_at=known_at, admission=admission)
        for as_of, known_at in times(admission, 4)
    )
    assert found > 0


def test_who_signed_what_runs_is_who_signed(inventory: Store) -> None:
    signers = sorted({name for ran in oracle().runs() for who in ran.signers for name in (who[0], who[2]) if name})
    for as_of, known_at in times("signers", 4):
        for signed in (True, False):
            check_runs(inventory.queries, as_of=as_of, known_at=known_at, signed=signed)
        for signer in Random(str(as_of)).sample(signers, 3):
            check_runs(inventory.queries, as_of=as_of, known_at=known_at, signer=signer)


def test_the_times_without_a_watch_are_told(inventory: Store) -> None:
    for as_of, known_at in times("gaps"):
        page = inventory.queries.runs(as_of=as_of, known_at=known_at, limit=1)
        wanted = oracle().gaps(as_of=as_of, known_at=known_at)
        assert [(g.cluster, g.since, g.until) for g in page.gaps] == [(g.cluster, g.since, g.until) for g in wanted]


def test_exceptions_and_their_uses_are_those_that_there_were(inventory: Store) -> None:
    by_key = {(cluster, e.name, e.hash): e for e in estate().rules.exemptions for cluster in e.clusters}
    for as_of, known_at in times("exceptions"):
        ask = partial(inventory.queries.exceptions, limit=7, as_of=as_of, known_at=known_at)
        found = every(lambda cursor, ask=ask: ask(cursor=cursor))
        wanted = oracle().exceptions(as_of=as_of, known_at=known_at)
        assert [record.last_used_at for record in found] == [used.last for used in wanted]
        uses = {Used(r.cluster, r.name, r.hash, r.uses, r.first_used_at, r.last_used_at): r for r in found}
        assert uses.keys() == set(wanted)
        for used, record in uses.items():
            said = by_key[used.cluster, used.name, used.hash]
            assert (record.approver, record.approved_at, record.reason) == (
                said.approver,
                said.approved_at,
                said.reason,
            )
            assert (record.expires, record.break_glass, record.approval) == (said.expires, said.break_glass, "stamped")


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
        "base": [told.base_digest for told in provenances],
    }[kind]
    affected, footing = inventory.questions.affected, Footing(kind)
    counted = 0
    for number, (as_of, known_at) in enumerate(times(kind)):
        namespace = (None, "team-01", "team-03")[number % 3]
        value = random.choice(values)
        where = {"as_of": as_of or datetime.now(UTC), "known_at": known_at, "namespace": namespace}
        since = oracle().resting(kind, value, known_at=known_at, namespace=namespace)
        running_then = [ran for ran in oracle().runs(**where) if ran.run.digest in since]
        ran_by_then = [
            ran
            for ran in oracle().runs(namespace=namespace, known_at=known_at)
            if ran.run.digest in since and ran.run.started_at <= where["as_of"]
        ]
        admitted = oracle().admitted_on(since, **where)
        extent = affected.extent(footing, value, **where)
        told = (extent.running, extent.ran, extent.admitted)
        assert told == (len(running_then), len(ran_by_then), len(admitted)), (value, where)
        assert extent.namespaces == tuple(sorted({ran.run.subject.namespace for ran in running_then}))
        for ever, wanted in ((False, running_then), (True, ran_by_then)):
            ask = partial(affected.runs, footing, value, ever=ever, limit=PAGE, **where)
            assert {run.run for run in every(lambda cursor, ask=ask: ask(cursor=cursor))} == {r.run.run for r in wanted}
        ask = partial(affected.decisions, footing, value, limit=PAGE, **where)
        found = every(lambda cursor, ask=ask: ask(cursor=cursor))
        assert [decision.id for decision in found] == [decision.id for decision in admitted]
        counted += len(ran_by_then) + len(admitted)
    assert counted > 0


def test_what_ran_with_a_package_is_what_ran_with_it(inventory: Store) -> None:
    random = Random("packages")
    sboms = [e.says for image in estate().world.images for e in image.evidence if isinstance(e.says, Sbom)]
    found = 0
    for number, (as_of, known_at) in enumerate(times("packages")):
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


def test_what_runs_is_made_of_what_it_is_made_of(inventory: Store) -> None:
    for number, (as_of, known_at) in enumerate(times("components", 3)):
        where = {
            "namespace": (None, "team-02", "team-05")[number % 3],
            "known_at": known_at,
            "as_of": as_of or datetime.now(UTC),
        }
        ask = partial(inventory.questions.components.components, limit=PAGE, **where)
        found = every(lambda cursor, ask=ask: ask(cursor=cursor))
        told = {
            (c.name, c.version, c.purl, " ".join(c.licenses), c.supplier, c.cpe): (c.images, c.verified) for c in found
        }
        wanted = {
            (c.name, c.version, c.purl, c.license, c.supplier, c.cpe): (images, True)
            for c, images in oracle().components(**where).items()
        }
        assert told == wanted, where
        assert len(found) == len(wanted)


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


def test_the_estate_has_every_state_that_a_question_tells_apart() -> None:
    flags = {flag for decision in estate().decisions for flag in decision.judgement.flags}
    assert flags == {"warn", "audit", "exempt", "break-glass", "stale", "error", "fail-open", "no-match", "softened"}
    admissions = {ran.admission for ran in oracle().runs(as_of=BEGIN + 200 * DAY)} | {
        ran.admission for ran in oracle().runs()
    }
    assert admissions == {"Admitted", "Drifted", "Unadmitted", "Unknown"}
    late = [d for d in estate().decisions if d.recorded_at - d.decided_at > 2 * estate().size.grain]
    assert late
    assert 0.85 < len(estate().runs) / estate().size.runs < 1.15
    assert len(estate().decisions) == estate().size.decisions


def test_the_same_seed_makes_the_same_estate() -> None:
    size = Size.of(0.001, components=20)

    def written(seed: int) -> list[Any]:
        return [group for _, group in leaves(Estate(size, seed=seed), Scribe())]

    assert written(3) == written(3)
    assert written(3) != written(4)


def test_a_leaf_means_the_same_whether_its_judgement_was_met_before_or_not() -> None:
    projector, met = Projector(), set[bytes]()
    told = [leaf for _, group in leaves(Estate(Size.of(0.002, components=20)), Scribe()) for leaf, _ in group]
    for leaf in told:
        projection = projector.project(leaf)
        met.add(projection.judgement)
        assert projection == project(leaf)
        assert projection.canonical == rfc8785.dumps(leaf)
    assert 10 < len(met) < len(told) / 4


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_grown_estate_has_so_many_times_as_much_of_everything(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'grown.db'}"
    if kind == "postgresql":
        url = request.getfixturevalue("server").new_database()
    load(Estate(Size.of(0.0005, components=20)), url)
    before = sizes(url)["rows"]
    grow(url, 18, say=lambda _: None)
    after = sizes(url)["rows"]
    assert min(before[name] for name in ("sbom_component", "decision", "run")) > 0
    assert {name: rows * (1 if name in SHARED else 18) for name, rows in before.items()} == after


async def test_the_estates_leaves_have_the_keys_of_real_ones(tmp_path: Path) -> None:
    async with running(tmp_path / "rig") as rig:
        bundles = ("release.rekor1.signature", "workflow.rekor1.cyclonedx", "stranger.none.spdxjson")
        sbom = {"name": "sbom", "type": "SBOM", "authorities": ["workflow", "release"]}
        both = [workflow_authority(), key_authority()]
        scanned = {"name": "scan", "type": "Vulnerability", "authorities": ["release"]}
        rig.publish(
            rig.policy("signed"),
            rig.policy("sbom", authorities=both, signatures=None, attestations=[sbom]),
            rig.policy("scanned", attestations=[scanned], validationActions=["Warn"]),
        )
        await rig.review(rig.image(*bundles))
        await rig.review(rig.other_image(repository="acme/plain"))
        real = [_shape(leaf) for leaf in rig.leaves()]
    made = [
        _shape(leaf)
        for _, group in leaves(Estate(Size.of(0.002, components=20)), Scribe())
        for leaf, _ in group
        if leaf["schema"].endswith("decision/v1alpha1")
    ]
    # An index and an exception are not among the recorded images; the names of labels, keys and claims are values.
    absent = {"images[].manifests[]", "evaluations[].otherwise"}
    values = ("evaluations[].exceptions", "evaluations[].used.", "object.labels.", "object.namespaceLabels.")
    differ = {path for path in _merged(real) ^ _merged(made) if not path.startswith(values) and ".claims" not in path}
    assert differ <= absent


def _shape(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict):
        return {path} | {p for key, inner in value.items() for p in _shape(inner, f"{path}.{key}" if path else key)}
    if isinstance(value, list):
        return {path} | {p for inner in value for p in _shape(inner, f"{path}[]")}
    return {path}


def _merged(shapes: list[set[str]]) -> set[str]:
    return set().union(*shapes)
