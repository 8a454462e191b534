"""TUF repositories are followed in the background: the last good copy serves, until its age forbids it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller import telemetry
from controller.errors import Unavailable
from controller.model.policy import Problem, TufRepository
from controller.operator import distribution
from controller.operator.distribution import MAX_REPOSITORIES, Distribution
from controller.settings import ClusterSettings
from controller.verification import tuf
from controller.verification.tuf import Document

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACME = TufRepository("https://tuf.acme.example", "{}", max_stale=3600.0)
DAY = timedelta(days=1)


class World:
    """The network, a clock and what was kept. `answer` gives a document or raises; `times` counts refreshes."""

    def __init__(self) -> None:
        self.now = NOW
        self.answer: Callable[[TufRepository], Document] = lambda _repository: Document(b"first", self.now, NOW + DAY)
        self.kept: Document | None = None
        self.times = 0
        self.changes = 0

    def refresh(self, repository: TufRepository, **_more: Any) -> Document:
        self.times += 1
        return self.answer(repository)

    def fail(self, _repository: TufRepository) -> Document:
        raise Unavailable("TufUnavailable", "TUF repository https://tuf.acme.example cannot be read: TimeoutError")

    def changed(self) -> None:
        self.changes += 1


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(tuf, "refresh", world.refresh)
    monkeypatch.setattr(tuf, "remembered", lambda _repository, **_more: world.kept)
    monkeypatch.setattr(distribution, "FIRST_PAUSE", 0.01)
    return world


@asynccontextmanager
async def following(world: World, repository: TufRepository = ACME) -> AsyncIterator[Distribution]:
    followed = Distribution(
        ClusterSettings(), check_address=lambda _a, _p: None, changed=world.changed, clock=lambda: world.now
    )
    try:
        await followed.want({"acme": repository}, timeout=5.0)
        yield followed
    finally:
        await followed.close()


def _metric(name: str) -> float | None:
    return telemetry.METRICS.get_sample_value(name, {"trust_root": "acme"})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in a thread
            await asyncio.sleep(0.005)


async def test_what_is_distributed_is_there_at_once_and_its_age_is_told(world: World) -> None:
    async with following(world) as followed:
        assert followed.documents() == {ACME: b"first"}
        assert followed.refreshed()["acme"].at == "2026-01-01T00:00:00Z"
        assert followed.refreshed()["acme"].trouble == ""
        assert followed.unusable() == frozenset()
        assert world.changes >= 1
        assert _metric("assay_trust_root_refreshed_timestamp_seconds") == NOW.timestamp()
        assert _metric("assay_trust_root_expires_timestamp_seconds") == (NOW + DAY).timestamp()
        await followed.want({}, timeout=5.0)
    assert _metric("assay_trust_root_refreshed_timestamp_seconds") is None  # nobody is alarmed by what is gone


async def test_a_new_document_replaces_the_old(world: World) -> None:
    async with following(world, TufRepository(ACME.url, "{}", refresh=0.01)) as followed:
        world.answer = lambda _repository: Document(b"second", world.now, NOW + DAY)
        await until(lambda: set(followed.documents().values()) == {b"second"})


@pytest.mark.guarantee(6)
async def test_a_failed_refresh_keeps_the_last_good_copy_tries_again_and_says_so(world: World) -> None:
    repository = TufRepository(ACME.url, "{}", refresh=0.01)
    async with following(world, repository) as followed:
        world.answer = world.fail
        await until(lambda: followed.refreshed()["acme"].trouble != "")
        assert followed.documents() == {repository: b"first"}
        assert "TimeoutError" in followed.refreshed()["acme"].trouble
        tried = world.times
        await until(lambda: world.times > tried + 1)
        world.answer = lambda _repository: Document(b"second", world.now, NOW + DAY)
        await until(lambda: followed.refreshed()["acme"].trouble == "")
        assert (_metric("assay_trust_root_refresh_failures_total") or 0) >= 2


@pytest.mark.guarantee(6)
async def test_a_copy_is_believed_until_max_stale_after_it_expired_and_not_a_moment_longer(world: World) -> None:
    async with following(world) as followed:
        world.now = NOW + DAY + timedelta(seconds=3600)
        assert followed.documents() == {ACME: b"first"}
        world.now += timedelta(seconds=1)
        (problem,) = followed.documents().values()
        assert isinstance(problem, Problem)
        assert (problem.code, problem.field) == ("TufStale", "spec.tuf")
        assert "2026-01-02T00:00:00Z" in problem.message
        assert followed.unusable() == {"acme"}


@pytest.mark.guarantee(6)
async def test_what_was_never_read_is_an_error_that_says_why(world: World) -> None:
    world.answer = world.fail
    async with following(world) as followed:
        (problem,) = followed.documents().values()
        assert isinstance(problem, Problem)
        assert problem.code == "TufUnread"
        assert "TimeoutError" in problem.message


async def test_a_restart_without_the_repository_goes_on_with_what_was_kept(world: World) -> None:
    world.kept, world.answer = Document(b"kept", NOW - DAY, NOW + DAY), world.fail
    async with following(world) as followed:
        assert followed.documents() == {ACME: b"kept"}
        await until(lambda: "TimeoutError" in followed.refreshed()["acme"].trouble)
        assert followed.documents() == {ACME: b"kept"}


async def test_a_fault_of_the_library_ends_nothing(world: World) -> None:
    def broken(_repository: TufRepository) -> Document:
        raise ZeroDivisionError

    world.answer = broken
    async with following(world, TufRepository(ACME.url, "{}", refresh=0.01)) as followed:
        assert "ZeroDivisionError" in followed.refreshed()["acme"].trouble
        world.answer = lambda _repository: Document(b"second", world.now, NOW + DAY)
        await until(lambda: set(followed.documents().values()) == {b"second"})


async def test_who_waits_for_a_repository_waits_no_longer_than_it_may(world: World) -> None:
    released = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(_repository: TufRepository) -> Document:
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result(10)
        return Document(b"late", NOW, NOW + DAY)

    world.answer = slow
    followed = Distribution(
        ClusterSettings(), check_address=lambda _a, _p: None, changed=world.changed, clock=lambda: world.now
    )
    await followed.want({"acme": ACME}, timeout=0.05)
    (problem,) = followed.documents().values()
    assert isinstance(problem, Problem)
    assert problem.code == "TufUnread"
    released.set()
    await until(lambda: set(followed.documents().values()) == {b"late"})
    await followed.close()


async def test_another_pinned_root_is_another_repository_and_the_old_one_is_forgotten(world: World) -> None:
    async with following(world) as followed:
        other = TufRepository(ACME.url, '{"another": true}')
        world.answer = lambda _repository: Document(b"other", NOW, NOW + DAY)
        await followed.want({"acme": other}, timeout=5.0)
        assert followed.documents() == {other: b"other"}
        await followed.want({}, timeout=5.0)
        assert followed.documents() == {}


@pytest.mark.guarantee(10)
async def test_more_repositories_than_are_followed_are_errors_that_name_the_bound(world: World) -> None:
    async with following(world) as followed:
        many = {f"r{i:02}": TufRepository(f"https://{i}.example", "{}") for i in range(MAX_REPOSITORIES + 2)}
        await followed.want(many, timeout=5.0)
        documents = followed.documents()
        assert sum(document == b"first" for document in documents.values()) == MAX_REPOSITORIES
        refused = [problem for problem in documents.values() if isinstance(problem, Problem)]
        assert len(refused) == 2
        assert "MAX_REPOSITORIES" in refused[0].message


def test_settings_say_where_copies_are_kept(tmp_path: Path) -> None:
    assert ClusterSettings(tuf_directory=str(tmp_path)).tuf_folder() == tmp_path


NEVER = datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expires", "max_stale"), [(NEVER, 14 * 86_400.0), (NOW + DAY, 999_999_999 * 86_400.0)], ids=["metadata", "stale"]
)
async def test_what_never_expires_is_believed_and_stops_nothing(
    world: World, expires: datetime, max_stale: float
) -> None:
    world.answer = lambda _repository: Document(b"for ever", world.now, expires)
    repository = TufRepository("https://tuf.acme.example", "{}", max_stale=max_stale)
    async with following(world, repository) as followed:
        assert followed.documents() == {repository: b"for ever"}
        assert followed.unusable() == frozenset()
