"""The mirror: whole, resumed, and never silent about what it does not know."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from controller.cluster import watch
from controller.cluster.client import DENIED, EXPIRED, THROTTLED, UNAVAILABLE, ClusterClient, error_of_status
from controller.cluster.watch import Mirror
from controller.errors import AssayError, ConfigurationError, Unacceptable, Unavailable


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(watch, "LONGEST_PAUSE", 0.01)


def _object(name: str, version: int, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "ns", "resourceVersion": str(version)}, **more}


def _event(kind: str, obj: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": obj}


class _Cluster(ClusterClient):
    """Plays prepared lists (each a list of pages) and watches (each a list of events or an error)."""

    def __init__(self, lists: list[Any], watches: list[list[Any]]) -> None:
        self.lists, self.watches = lists, watches
        self.since: list[str] = []

    async def pages(self, *_: Any, **__: Any) -> AsyncIterator[dict[str, Any]]:
        answer = self.lists.pop(0)
        if isinstance(answer, AssayError):
            raise answer
        for version, items in answer:
            yield {"metadata": {"resourceVersion": str(version)}, "items": items}

    async def stream(self, *_: Any, query: Mapping[str, Any], **__: Any) -> AsyncIterator[dict[str, Any]]:
        self.since.append(str(query["resourceVersion"]))
        if not self.watches:
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            if isinstance(event, AssayError):
                raise event
            yield event


@contextlib.asynccontextmanager
async def _mirrored(cluster: _Cluster, until: Callable[[Mirror[str]], bool]) -> AsyncIterator[Mirror[str]]:
    mirror: Mirror[str] = Mirror(
        cluster,
        "/api/v1/things",
        project=lambda obj: obj.get("value", obj["metadata"]["name"]) or None,
        changed=lambda: None,
    )
    task = asyncio.create_task(mirror.run())
    try:
        async with asyncio.timeout(10):
            while not until(mirror):  # noqa: ASYNC110 - what is waited for is the fake's state, which has no event
                await asyncio.sleep(0.001)
        yield mirror
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _idle(cluster: _Cluster) -> Callable[[Mirror[str]], bool]:
    return lambda _: not cluster.watches and not cluster.lists


async def test_all_pages_are_one_list_and_events_change_it() -> None:
    cluster = _Cluster(
        [[(5, [_object("a", 1), _object("b", 2)]), (5, [_object("c", 3)])]],
        [
            [
                _event("ADDED", _object("d", 6)),
                _event("DELETED", _object("a", 7)),
                _event("MODIFIED", _object("b", 8, value="x")),
            ]
        ],
    )
    async with _mirrored(cluster, _idle(cluster)) as mirror:
        assert dict(mirror.items) == {("ns", "b"): "x", ("ns", "c"): "c", ("ns", "d"): "d"}
        assert mirror.synced.is_set()


async def test_a_broken_watch_is_resumed_where_it_was_bookmarks_included() -> None:
    broken = Unavailable(UNAVAILABLE, "gone")
    cluster = _Cluster(
        [[(5, [])]],
        [[_event("ADDED", _object("a", 6)), broken], [_event("BOOKMARK", {"metadata": {"resourceVersion": "90"}})], []],
    )
    async with _mirrored(cluster, lambda _: len(cluster.since) >= 4):
        assert cluster.since[:4] == ["5", "6", "90", "90"]


@pytest.mark.parametrize(
    "end",
    [
        Unavailable(EXPIRED, "too old"),
        _event("ERROR", {"code": 410, "message": "too old"}),
        _event("ADDED", {"no": "metadata"}),
    ],
    ids=["status 410", "event 410", "malformed event"],
)
async def test_a_place_that_is_lost_is_listed_anew_so_that_a_deletion_meanwhile_is_noticed(end: Any) -> None:
    cluster = _Cluster([[(5, [_object("a", 1), _object("b", 2)])], [(50, [_object("b", 2)])]], [[end]])
    async with _mirrored(cluster, lambda _: len(cluster.since) >= 2) as mirror:
        assert dict(mirror.items) == {("ns", "b"): "b"}
        assert cluster.since == ["5", "50"]


async def test_a_list_that_fails_leaves_the_mirror_unsynced_and_is_tried_again() -> None:
    cluster = _Cluster([Unavailable(UNAVAILABLE, "away"), ConfigurationError(DENIED, "no"), [(5, [])]], [])
    async with _mirrored(cluster, lambda _: bool(cluster.since)) as mirror:
        assert mirror.synced.is_set()
        assert mirror.last_sign is not None


async def test_before_the_first_list_there_is_no_sign_of_life() -> None:
    cluster = _Cluster([Unavailable(UNAVAILABLE, "away")] * 500, [])
    async with _mirrored(cluster, lambda _: len(cluster.lists) < 498) as mirror:
        assert not mirror.synced.is_set()
        assert mirror.last_sign is None


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, ConfigurationError, DENIED),
        (403, ConfigurationError, DENIED),
        (404, Unavailable, "ClusterNotFound"),
        (410, Unavailable, EXPIRED),
        (429, Unavailable, THROTTLED),
        (500, Unavailable, UNAVAILABLE),
        (503, Unavailable, UNAVAILABLE),
        (400, Unacceptable, "ClusterRefused"),
        (409, Unacceptable, "ClusterConflict"),
        (422, Unacceptable, "ClusterRefused"),
    ],
)
def test_each_status_of_the_api_server_has_its_error(status: int, kind: type[AssayError], code: str) -> None:
    error = error_of_status(status, "said")
    assert isinstance(error, kind)
    assert error.code == code
