"""What is referred to is watched by name, within bounds, and believed only while the watch is alive."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from controller.cluster import watch
from controller.cluster.client import DENIED, ClusterClient
from controller.cluster.references import (
    MAX_WATCHED,
    MAX_WATCHED_OF_A_TENANT,
    References,
    within_bounds,
)
from controller.errors import ConfigurationError, PolicyError
from controller.policy.references import CONFIG_MAP, SECRET, ObjectRef

ASSAY = "assay-system"
RELEASE = ObjectRef(SECRET, ASSAY, "release")
ROOTS = ObjectRef(CONFIG_MAP, ASSAY, "roots")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(watch, "LONGEST_PAUSE", 0.01)


class _Cluster(ClusterClient):
    """Collections by path; events are put into `events`."""

    def __init__(self, collections: dict[str, list[Any]]) -> None:
        self.collections = collections
        self.asked: list[tuple[str, Any]] = []
        self.events: dict[str, asyncio.Queue[Mapping[str, Any]]] = {path: asyncio.Queue() for path in collections}

    async def pages(self, path: str, *, query: Any = None, **_: Any) -> AsyncIterator[dict[str, Any]]:
        self.asked.append((path, dict(query)))
        if path not in self.collections:
            raise ConfigurationError(DENIED, "forbidden")
        yield {"metadata": {"resourceVersion": "1"}, "items": self.collections[path]}

    async def stream(self, path: str, **_: Any) -> AsyncIterator[dict[str, Any]]:
        while True:
            yield dict(await self.events[path].get())


SECRETS, CONFIG_MAPS = f"/api/v1/namespaces/{ASSAY}/secrets", f"/api/v1/namespaces/{ASSAY}/configmaps"


def _secret(value: bytes, **more: str) -> dict[str, Any]:
    metadata = {"name": "release", "namespace": ASSAY, "resourceVersion": "2"}
    return {"metadata": metadata, "data": {"cosign.pub": base64.b64encode(value).decode(), **more}}


@contextlib.asynccontextmanager
async def _watching(cluster: _Cluster, *, clock: Any = None) -> AsyncIterator[tuple[References, asyncio.Event]]:
    changed = asyncio.Event()
    more = {} if clock is None else {"clock": clock}
    references = References(cluster, namespace=ASSAY, changed=changed.set, window=1.0, max_age=120.0, **more)
    try:
        yield references, changed
    finally:
        await references.close()


async def test_each_is_asked_for_by_its_own_name_and_only_the_keys_that_are_named_are_kept() -> None:
    cluster = _Cluster({SECRETS: [_secret(b"key", password="aHVudGVyMg==")], CONFIG_MAPS: []})
    async with _watching(cluster) as (references, _):
        await references.want({RELEASE: frozenset({"cosign.pub"}), ROOTS: frozenset({"root.json"})}, timeout=10)
        materials = references.materials()
    assert sorted(cluster.asked) == [
        (CONFIG_MAPS, {"fieldSelector": "metadata.name=roots"}),
        (SECRETS, {"fieldSelector": "metadata.name=release"}),
    ]
    assert materials.objects == {RELEASE: {"cosign.pub": b"key"}}
    with pytest.raises(PolicyError, match="ReferenceMissing"):
        materials.read(ROOTS, "root.json", field="spec.configMapRef")


async def test_a_change_and_a_deletion_are_told_and_seen() -> None:
    cluster = _Cluster({SECRETS: [_secret(b"first")]})
    async with _watching(cluster) as (references, changed):
        await references.want({RELEASE: frozenset({"cosign.pub"})}, timeout=10)
        for kind, expected in (("MODIFIED", {"cosign.pub": b"second"}), ("DELETED", None)):
            changed.clear()
            await cluster.events[SECRETS].put({"type": kind, "object": _secret(b"second")})
            await asyncio.wait_for(changed.wait(), 10)
            assert references.materials().objects.get(RELEASE) == expected


async def test_what_nobody_refers_to_any_more_is_forgotten() -> None:
    cluster = _Cluster({SECRETS: [_secret(b"first")]})
    async with _watching(cluster) as (references, _):
        await references.want({RELEASE: frozenset({"cosign.pub"})}, timeout=10)
        await references.want({}, timeout=10)
        assert references.materials().objects == {}


@pytest.mark.guarantee(6)
async def test_what_the_api_server_refuses_is_unread_and_keeps_nothing_waiting() -> None:
    async with _watching(_Cluster({})) as (references, _):
        await references.want({RELEASE: frozenset({"cosign.pub"})}, timeout=10)
        with pytest.raises(PolicyError, match=rf"ReferenceUnread.*Secret {ASSAY}/release.*{DENIED}"):
            references.materials().read(RELEASE, "cosign.pub", field="f")


@pytest.mark.guarantee(6)
async def test_a_key_of_which_no_sign_came_for_too_long_is_no_longer_believed() -> None:
    late = 0.0

    def clock() -> float:
        return watch.time.monotonic() + late

    cluster = _Cluster({SECRETS: [_secret(b"key")]})
    async with _watching(cluster, clock=clock) as (references, _):
        await references.want({RELEASE: frozenset({"cosign.pub"})}, timeout=10)
        late = 100.0
        assert references.silent() == frozenset()
        late = 121.0
        assert references.silent() == {RELEASE}
        with pytest.raises(PolicyError, match="snapshot_max_age"):
            references.materials().read(RELEASE, "cosign.pub", field="f")


def _refs(namespace: str, count: int) -> dict[ObjectRef, frozenset[str]]:
    return {ObjectRef(SECRET, namespace, f"s{i:04}"): frozenset({"k"}) for i in range(count)}


def test_no_tenant_takes_the_watches_of_assays_own_namespace_or_of_another() -> None:
    tenants = {ref: keys for i in range(100) for ref, keys in _refs(f"a{i:03}", 100).items()}
    chosen = within_bounds({**tenants, **_refs(ASSAY, 50)}, namespace=ASSAY)
    assert len(chosen) == MAX_WATCHED
    assert len([ref for ref in chosen if ref.namespace == ASSAY]) == 50
    of_each = Counter(ref.namespace for ref in chosen if ref.namespace != ASSAY)
    assert len(of_each) == 100
    assert set(of_each.values()) == {2, 3}  # 206 in turns among 100
    assert len(within_bounds(_refs("shop", 100), namespace=ASSAY)) == MAX_WATCHED_OF_A_TENANT


@pytest.mark.guarantee(10)
async def test_what_is_past_the_bound_is_an_error_with_the_bound() -> None:
    path = "/api/v1/namespaces/shop/secrets"
    async with _watching(_Cluster({path: []})) as (references, _):
        await references.want(_refs("shop", MAX_WATCHED_OF_A_TENANT + 1), timeout=10)
        beyond = ObjectRef(SECRET, "shop", f"s{MAX_WATCHED_OF_A_TENANT:04}")
        with pytest.raises(PolicyError, match=f"ReferenceUnread.*{MAX_WATCHED_OF_A_TENANT} of a namespace"):
            references.materials().read(beyond, "k", field="f")
