"""Policies and exceptions as they come and go: each version once, each deletion once, and none that did not happen."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.cluster.client import DENIED, NOT_FOUND
from controller.errors import AssayError, ConfigurationError, Unavailable
from controller.inventory.records import PolicyRecord
from controller.inventory.store import Store
from controller.model.reference import Digest
from controller.operator import version_watch
from controller.operator.keeper import Keeper, Picture, make_picture
from controller.operator.resources import CLUSTER_POLICIES, EXCEPTIONS, POLICIES, RESOURCES, Resource
from controller.operator.version_watch import Inventory, VersionWatch
from controller.operator.versions import writer_of
from tests.support.exceptions import NOW, exception, stamp
from tests.support.inventory import Clock, sqlite_database

HOUR = timedelta(hours=1)
BEGUN = NOW - HOUR
LONG = 30.0  # seconds: who meets it has found something that hangs


def managed(manager: str, at: datetime, *, what: str = "f:spec", **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": "Apply", "time": stamp(at), "fieldsV1": {what: {}}, **more}


def metadata(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "uid": f"uid of {name}",
        "generation": 1,
        "creationTimestamp": stamp(BEGUN),
        "managedFields": [managed("kubectl", BEGUN)],
        **changes,
    }


def policy(name: str = "signed", *, namespace: str = "", spec: Mapping[str, Any] | None = None, **changes: Any) -> Any:
    keyless = {"identities": [{"issuer": "https://issuer.example", "subject": "me"}]}
    return {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "EvidencePolicy" if namespace else "ClusterEvidencePolicy",
        "metadata": {**metadata(name), **({"namespace": namespace} if namespace else {}), **changes},
        "spec": {
            "authorities": [{"name": "a", "keyless": keyless}],
            "signatures": {"authorities": ["a"]},
            **(spec or {}),
        },
    }


def changed(obj: Mapping[str, Any], at: datetime, *, manager: str = "argocd", **spec: Any) -> dict[str, Any]:
    """The object after a change of its spec."""
    before = obj["metadata"]
    fields = [*before["managedFields"], managed(manager, at)]
    after = before | {"generation": before["generation"] + 1, "managedFields": fields}
    return {**obj, "metadata": after, "spec": obj["spec"] | spec}


class Definitions:
    """The API server, as far as it is asked: about the definitions of kinds."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] | AssayError = {"metadata": {}}
        self.asked = 0

    async def get(self, path: str) -> dict[str, Any]:
        assert "customresourcedefinitions" in path
        self.asked += 1
        if isinstance(self.answer, AssayError):
            raise self.answer
        return self.answer


class Cluster:
    """What is there, and one replica of an operator that watches it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.definitions = Definitions()
        self.keeper = Keeper()
        self.picture: Picture | None = None
        self.cluster = "local"
        self.there: tuple[Mapping[str, Any], ...] = ()
        self.asked: list[Resource] = []  # for which a list was asked
        self.answers = True  # with lists that are asked for

    @contextlib.asynccontextmanager
    async def watching(self, memory: Any = None) -> AsyncIterator[VersionWatch]:
        watch = VersionWatch(
            Inventory(self.cluster, self.store.writer, memory or self.store.queries),
            keeper=self.keeper,
            picture=lambda: self.picture,
            client=self.definitions,  # type: ignore[arg-type]
            relist=self.relist,
            clock=self.clock,
        )
        task = asyncio.create_task(watch.run())
        try:
            yield watch
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def have(self, *objects: Mapping[str, Any]) -> None:
        """Whole lists of what there is, and the picture that is made of them."""
        self.there = objects
        for resource in RESOURCES:
            self._list(resource)
        self.picture = make_picture(
            self.keeper.objects(CLUSTER_POLICIES, POLICIES),
            (),
            self.keeper.objects(EXCEPTIONS),
            given={},
            previous=self.picture.policies if self.picture is not None else None,
        )

    def relist(self, resource: Resource) -> None:
        """Somebody asks for a new list."""
        self.asked.append(resource)
        if self.answers:
            self._list(resource)

    def _list(self, resource: Resource) -> None:
        self.keeper.begin_list(resource)
        self.keeper.replace(resource, [obj for obj in self.there if obj["kind"] == resource.kind])

    def policies(self) -> list[tuple[str, int, str, datetime, datetime | None]]:
        return [(p.name, p.generation, str(p.state), p.applied_at, p.ended_at) for p in self.records()]

    def records(self) -> tuple[PolicyRecord, ...]:
        return self.store.queries.policies(as_of=NOW + timedelta(days=365)).items

    def exceptions(self) -> list[tuple[str, str]]:
        return [(each.name, str(each.state)) for each in self.store.queries.exceptions(as_of=self.clock.now).items]


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not happened():  # noqa: ASYNC110 - what is waited for happens in the writer's thread
            await asyncio.sleep(0.01)


async def settled(cluster: Cluster, watch: VersionWatch, *objects: Mapping[str, Any], mark: str) -> None:
    """Have these, and one policy more: once that is recorded, so is all that was seen with it."""
    cluster.have(*objects, policy(mark))
    watch.look()
    await until(lambda: any(record.name == mark for record in cluster.records()))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_watch, "RETRY", 0.05)


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def cluster(tmp_path: Path, clock: Clock) -> Iterator[Cluster]:
    with sqlite_database(tmp_path).open(clock) as store:
        yield Cluster(store, clock)


async def test_a_policy_is_recorded_when_it_is_applied_changed_and_gone(cluster: Cluster, clock: Clock) -> None:
    # The program wrote something once more, its labels perhaps: a first version is as old as its object.
    first = policy(managedFields=[managed("kubectl", BEGUN + timedelta(minutes=10))])
    second = changed(first, NOW - timedelta(minutes=5), digest="Require")
    async with cluster.watching() as watch:
        for objects, wanted in (
            ([first], [("signed", 1, "InForce", BEGUN, None)]),
            (
                [second],
                [
                    ("signed", 2, "InForce", NOW - timedelta(minutes=5), None),
                    ("signed", 1, "Replaced", BEGUN, NOW - timedelta(minutes=5)),
                ],
            ),
            (
                [],
                [
                    ("signed", 2, "Deleted", NOW - timedelta(minutes=5), NOW + HOUR),
                    ("signed", 1, "Replaced", BEGUN, NOW - timedelta(minutes=5)),
                ],
            ),
        ):
            cluster.have(*objects)
            watch.look()
            await until(lambda wanted=wanted: cluster.policies() == wanted)  # type: ignore[misc]
            clock.now = NOW + HOUR
    newer, older = cluster.records()
    assert (newer.manager, older.manager) == ("argocd", "kubectl")
    assert (newer.unwatched, newer.problem) == (False, "")
    for record in (newer, older):
        content = cluster.store.queries.blob(record.hash)
        assert content is not None
        assert str(Digest.of(content)) == record.hash
    assert b'"digest":"Require"' in (cluster.store.queries.blob(newer.hash) or b"")


async def test_an_exception_is_recorded_with_who_approved_it_before_anybody_uses_it(cluster: Cluster) -> None:
    granted = exception("hotfix", metadata=metadata("hotfix"))
    async with cluster.watching() as watch:
        cluster.have(granted)
        watch.look()
        await until(lambda: cluster.exceptions() == [("hotfix", "InForce")])
        (found,) = cluster.store.queries.exceptions(as_of=NOW).items
        assert (found.approver, found.uses, found.applied_at, found.approval) == ("jane", 0, BEGUN, "stamped")
        assert b"OPS-42" in (cluster.store.queries.blob(found.hash) or b"")
        cluster.have(changed(granted, NOW, expires=stamp(NOW + HOUR)))
        watch.look()
        await until(lambda: cluster.exceptions() == [("hotfix", "InForce"), ("hotfix", "Replaced")])
        # One that is being deleted excepts nothing any more, whoever holds it.
        held = {**granted, "metadata": metadata("hotfix", deletionTimestamp=stamp(NOW), finalizers=["acme.example/x"])}
        cluster.have(held)
        watch.look()
        await until(lambda: cluster.exceptions() == [("hotfix", "Deleted"), ("hotfix", "Replaced")])


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"approver": None}, "ApproverMissing"),
        ({"approvedAt": None}, "NotApproved"),
        ({"expires": stamp(NOW + timedelta(days=400))}, "EndTooFar"),
    ],
)
async def test_an_exception_that_excepts_nothing_is_none_that_is_granted(
    cluster: Cluster, spec: dict[str, Any], problem: str
) -> None:
    async with cluster.watching() as watch:
        void = exception("void", metadata=metadata("void"), **spec)
        await settled(cluster, watch, void, mark="mark")
        (known,) = [one for one in cluster.store.queries.resources("local") if one.name == "void"]
        assert cluster.store.queries.exceptions().items == ()
        assert cluster.store.queries.blob(known.hash)
        with cluster.store.writer._engine.begin() as connection:
            told = connection.exec_driver_sql("SELECT problem FROM resource_fact WHERE name = 'void'").scalars().all()
        assert told == [problem]


async def test_a_broken_policy_is_recorded_with_the_reason(cluster: Cluster) -> None:
    async with cluster.watching() as watch:
        cluster.have(
            policy("misread", spec={"authorities": [{"name": "a", "kms": {"uri": "awskms:///alias/release"}}]}),
            policy("uncompiled", namespace="shop", spec={"validations": [{"expression": "nothing.like.it"}]}),
            # What it refers to may be there later: that is no fault of the version.
            policy("keyless", spec={"authorities": [{"name": "a", "key": {"secretRef": {"name": "k", "key": "pub"}}}]}),
        )
        watch.look()
        await until(lambda: len(cluster.records()) == 3)
    told = {(each.namespace, each.name): each.problem for each in cluster.records()}
    assert told == {("", "misread"): "NotSupportedYet", ("shop", "uncompiled"): "NameUnknown", ("", "keyless"): ""}


async def test_what_an_api_server_whose_clock_is_ahead_made_is_there_now(cluster: Cluster) -> None:
    async with cluster.watching() as watch:
        await settled(cluster, watch, policy("ahead", creationTimestamp=stamp(NOW + HOUR)), mark="mark")
    assert {record.name: record.applied_at for record in cluster.records()} == {"ahead": NOW, "mark": BEGUN}


async def test_what_is_known_is_not_told_again_after_a_restart(cluster: Cluster) -> None:
    objects = [policy("a"), policy("b", namespace="shop"), exception("c", metadata=metadata("c"))]
    async with cluster.watching() as watch:
        await settled(cluster, watch, *objects, mark="first")
    async with cluster.watching() as watch:
        # Labels, statuses, and a spec that is written otherwise and says the same, are no other version.
        spec = dict(reversed(list(objects[0]["spec"].items())))
        again = {**objects[0], "spec": spec, "metadata": metadata("a", generation=2, labels={"x": "y"})}
        await settled(cluster, watch, again, *objects[1:], policy("first"), mark="second")
    assert sorted(record.name for record in cluster.records()) == ["a", "b", "first", "second"]
    assert {record.generation for record in cluster.records()} == {1}
    assert cluster.exceptions() == [("c", "InForce")]


async def test_what_went_while_nobody_watched_is_told_when_it_is_found(cluster: Cluster, clock: Clock) -> None:
    async with cluster.watching() as watch:
        await settled(cluster, watch, policy("gone"), policy("anew"), mark="mark")
    clock.now = NOW + 5 * HOUR
    anew = policy("anew", uid="another", creationTimestamp=stamp(NOW + 2 * HOUR))
    async with cluster.watching() as watch:
        cluster.have(anew, policy("mark"))
        watch.look()
        await until(lambda: len(cluster.store.queries.resources("local")) == 2 and len(cluster.records()) == 4)
    told = {(each.name, each.uid): (str(each.state), each.ended_at, each.unwatched) for each in cluster.records()}
    assert told == {
        ("gone", "uid of gone"): ("Deleted", NOW + 5 * HOUR, True),
        # Another had its name by then.
        ("anew", "uid of anew"): ("Deleted", NOW + 2 * HOUR, True),
        ("anew", "another"): ("InForce", None, False),
        ("mark", "uid of mark"): ("InForce", None, False),
    }


@pytest.mark.parametrize(
    "answer",
    [
        {"metadata": {"deletionTimestamp": stamp(NOW)}},
        Unavailable(NOT_FOUND, "there is none"),
        ConfigurationError(DENIED, "may not get it"),
        Unavailable("ClusterUnavailable", "no connection"),
    ],
    ids=["is being deleted", "is not there", "may not be read", "cannot be read"],
)
async def test_nothing_that_went_unwatched_is_gone_while_its_definition_may_be(
    cluster: Cluster, answer: dict[str, Any] | AssayError
) -> None:
    async with cluster.watching() as watch:
        await settled(cluster, watch, policy("kept"), mark="first")
    cluster.definitions.answer = answer
    async with cluster.watching() as watch:
        await settled(cluster, watch, policy("first"), mark="second")
        await until(lambda: cluster.definitions.asked > 2)  # it goes on asking
        assert {record.name: str(record.state) for record in cluster.records()} == dict.fromkeys(
            ("kept", "first", "second"), "InForce"
        )
        # What went before its eyes, by a list that was held against the definition, is gone.
        await settled(cluster, watch, policy("first"), mark="third")
        told = {record.name: record.unwatched for record in cluster.records() if record.ended_at is not None}
        assert told == {"second": False}
        cluster.definitions.answer = {"metadata": {}}
        await until(lambda: sum(record.ended_at is not None for record in cluster.records()) == 2)
    told = {record.name: record.unwatched for record in cluster.records() if record.ended_at is not None}
    assert told == {"second": False, "kept": True}


async def test_nothing_is_gone_before_every_kind_was_listed_once(cluster: Cluster) -> None:
    async with cluster.watching() as watch:
        await settled(cluster, watch, policy("kept"), mark="first")
    cluster.keeper, cluster.picture = Keeper(), None
    async with cluster.watching() as watch:
        watch.look()
        await until(lambda: not watch._look.is_set())
        await settled(cluster, watch, policy("kept"), policy("first"), mark="second")
    assert cluster.definitions.asked == 0
    assert {str(record.state) for record in cluster.records()} == {"InForce"}


async def test_what_another_replica_recorded_is_not_gone_because_an_older_list_lacks_it(
    cluster: Cluster, clock: Clock
) -> None:
    late = Cluster(cluster.store, clock)
    late.have(policy("old"))
    late.answers = False
    async with cluster.watching() as watch:
        await settled(cluster, watch, policy("old"), mark="fresh")
        async with late.watching() as behind:
            behind.look()
            await until(lambda: len(late.asked) > 2)  # it goes on asking
            assert late.asked[0] is CLUSTER_POLICIES
            assert late.definitions.asked == 0
            assert {record.name: str(record.state) for record in cluster.records()} == {
                "old": "InForce",
                "fresh": "InForce",
            }
            # A list that was asked for later is taken at its word.
            late.answers = True
            late.there = (policy("old"),)
            await until(lambda: any(record.ended_at is not None for record in cluster.records()))
    told = {record.name: (str(record.state), record.unwatched) for record in cluster.records()}
    assert told == {"old": ("InForce", False), "fresh": ("Deleted", True)}


async def test_what_was_listed_before_the_inventory_came_back_takes_nothing_for_gone(
    cluster: Cluster, clock: Clock
) -> None:
    late, asked = Cluster(cluster.store, clock), asyncio.Event()

    class Away:
        def resources(self, name: str) -> Any:
            if not asked.is_set():
                asked.set()
                raise Unavailable("DatabaseUnavailable", "away")
            return cluster.store.queries.resources(name)

        deletions = staticmethod(cluster.store.queries.deletions)

    async with cluster.watching() as watch:
        await settled(cluster, watch, policy("old"), mark="fresh")
        late.have(policy("old"))
        late.answers = False
        async with late.watching(Away()):
            await until(lambda: len(late.asked) > 2)
    assert asked.is_set()
    assert {str(record.state) for record in cluster.records()} == {"InForce"}


async def test_another_cluster_s_are_not_gone_from_this_one(cluster: Cluster) -> None:
    cluster.cluster = "east"
    async with cluster.watching() as watch:
        await settled(cluster, watch, policy("eastern"), mark="first")
    cluster.cluster = "local"
    async with cluster.watching() as watch:
        await settled(cluster, watch, mark="second")
    with cluster.store.writer._engine.begin() as connection:
        told = connection.exec_driver_sql("SELECT cluster, fact, name FROM resource_fact ORDER BY leaf").all()
    assert sorted(told) == [
        ("east", "Applied", "eastern"),
        ("east", "Applied", "first"),
        ("local", "Applied", "second"),
    ]


async def test_two_clusters_that_are_called_alike_are_told_of(
    cluster: Cluster, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    question = "does another cluster of that name record in the same database?"
    async with cluster.watching() as watch:
        await settled(cluster, watch, policy("here"), mark="first")
    # One that was made or taken away while nobody watched leaves others that are known.
    async with cluster.watching() as watch:
        await settled(cluster, watch, policy("here"), policy("new"), mark="second")
    assert question not in caplog.text
    other = Cluster(cluster.store, clock)
    async with other.watching() as watch:
        await settled(other, watch, policy("there"), mark="third")
    assert caplog.text.count(question) == 1


async def test_two_replicas_record_each_fact_once(cluster: Cluster, clock: Clock) -> None:
    first = policy()
    second = changed(first, NOW, digest="Require")
    async with cluster.watching() as one, cluster.watching() as other:
        for number, objects in enumerate(([first], [second], [])):
            for name, watch in (("one", one), ("other", other)):
                await settled(cluster, watch, *objects, mark=f"{name}-{number}")
                await settled(cluster, watch, *objects, mark="there")
            clock.now += HOUR
    with cluster.store.writer._engine.begin() as connection:
        query = "SELECT fact, generation FROM resource_fact WHERE name = 'signed' ORDER BY leaf"
        assert connection.exec_driver_sql(query).all() == [("Applied", 1), ("Applied", 2), ("Deleted", 2)]


async def test_what_a_restored_backup_brings_back_is_recorded_anew(cluster: Cluster, clock: Clock) -> None:
    async with cluster.watching() as watch:
        for number, objects in enumerate(([policy()], [], [policy()], [])):
            clock.now = NOW + number * HOUR
            await settled(cluster, watch, *objects, mark=f"mark-{number}")
            alive = [version.life for version in cluster.store.queries.resources("local") if version.name == "signed"]
            assert alive == ([number // 2] if objects else [])
    told = [(each.applied_at, str(each.state), each.ended_at) for each in cluster.records() if each.name == "signed"]
    # The second life begins when it is seen: what the cluster says of the object's time is of the first.
    assert told == [(NOW + 2 * HOUR, "Deleted", NOW + 3 * HOUR), (BEGUN, "Deleted", NOW + HOUR)]


async def test_what_a_backup_put_in_the_place_of_another_did_not_end_it_before_it_began(
    cluster: Cluster, clock: Clock
) -> None:
    first = policy("p", uid="one", generation=2)
    second = policy("p", uid="two", creationTimestamp=stamp(NOW + 2 * HOUR))
    async with cluster.watching() as watch:
        for hours, objects in ((0, [first]), (1, []), (2, [second]), (4, [first])):
            clock.now = NOW + hours * HOUR
            await settled(cluster, watch, *objects, mark=f"mark-{hours}")
    told = [(each.uid, each.applied_at, each.ended_at) for each in cluster.records() if each.name == "p"]
    assert told == [
        ("one", NOW + 4 * HOUR, None),
        ("two", NOW + 2 * HOUR, NOW + 4 * HOUR),
        ("one", BEGUN, NOW + HOUR),
    ]


async def test_another_form_of_the_same_spec_is_in_force_from_when_it_was_seen(
    cluster: Cluster, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer Assay may write the canonical spec otherwise: decisions then name another hash."""
    async with cluster.watching() as watch:
        await settled(cluster, watch, policy(), mark="mark")
    clock.now = NOW + HOUR
    monkeypatch.setattr("controller.operator.versions.canonical_bytes", lambda *_: b"otherwise")
    async with cluster.watching() as watch:
        cluster.have(policy(), policy("mark"))
        watch.look()
        await until(lambda: len(cluster.records()) == 4)
    newest = cluster.records()[0]
    assert (newest.hash, newest.applied_at, newest.generation) == (str(Digest.of(b"otherwise")), NOW + HOUR, 1)


async def test_an_inventory_that_is_away_is_asked_again(cluster: Cluster) -> None:
    class Away:
        asked = 0

        def resources(self, name: str) -> Any:
            self.asked += 1
            if self.asked == 1:
                raise Unavailable("DatabaseUnavailable", "away")
            return cluster.store.queries.resources(name)

        def deletions(self, name: str, uids: Any) -> Any:
            self.asked += 1
            if self.asked == 3:
                raise RuntimeError("a bug")
            return cluster.store.queries.deletions(name, uids)

    memory = Away()
    async with cluster.watching(memory) as watch:
        await settled(cluster, watch, policy(), mark="mark")
        assert memory.asked > 3
    assert len(cluster.records()) == 2


async def test_what_a_bug_kept_from_being_recorded_is_found_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = cluster.store.writer.record, []

    async def record(leaf: Mapping[str, Any], **more: Any) -> None:
        asked.append(leaf["resource"]["name"])
        if len(asked) <= 2:
            raise RuntimeError("a bug")
        await real(leaf, **more)

    monkeypatch.setattr(cluster.store.writer, "record", record)
    async with cluster.watching() as watch:
        await settled(cluster, watch, policy(), mark="mark")
    assert sorted(asked) == ["mark", "mark", "signed", "signed"]
    assert len(cluster.records()) == 2


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], ("", None)),
        ([managed("kubectl", BEGUN)], ("kubectl", BEGUN)),
        ([managed("helm", NOW), managed("kubectl", BEGUN)], ("helm", NOW)),
        # Who wrote the status or labels alone, wrote no spec.
        ([managed("kubectl", BEGUN), managed("assay", NOW, subresource="status")], ("kubectl", BEGUN)),
        ([managed("kubectl", BEGUN), managed("labeller", NOW, what="f:metadata")], ("kubectl", BEGUN)),
        ([{"manager": "old", "fieldsV1": {"f:spec": {}}}], ("old", None)),
        ([{"manager": "odd", "time": "yesterday", "fieldsV1": {"f:spec": {}}}, {}], ("odd", None)),
    ],
)
def test_the_manager_is_the_program_that_wrote_the_spec_last(
    fields: list[dict[str, Any]], expected: tuple[str, datetime | None]
) -> None:
    assert writer_of({"metadata": {"managedFields": fields}}) == expected


def test_times_are_in_utc() -> None:
    entry = {"manager": "m", "time": "2026-11-22T13:00:00+01:00", "fieldsV1": {"f:spec": {}}}
    assert writer_of({"metadata": {"managedFields": [entry]}})[1] == datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
