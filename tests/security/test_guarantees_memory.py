"""Guarantee 10: the evidence of all images together is bounded in memory, and nobody's fills the others' part of it.

Bytes are counted where they come from, at the registry: what it was asked for, of images that are not done with.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.errors import DeadlineExceeded
from controller.model.access import RegistryAccess
from controller.model.deadline import Deadline
from controller.model.evidence import EvidenceSet
from controller.model.reference import Reference
from controller.registry.client import RegistryClient
from controller.registry.repository import FIRST_BYTES
from controller.review.budget import BUDGET_FULL, Budget
from controller.review.shares import NAMESPACE
from controller.settings import RegistrySettings
from tests.contract.registry_servers.clients import NOW
from tests.contract.registry_servers.scripted import ScriptedRegistry, digest_of
from tests.support.fixtures import recorded_manifest
from tests.support.pipeline import running

KiB = 1024
BLOB, BLOBS = 256 * KiB, 3
SIZE = 4 * KiB * KiB  # four MiB; a namespace alone has half of three quarters of it, and its last image the rest


class Counted(ScriptedRegistry):
    """Every image has evidence as large as told; what of it was asked for is counted, by repository."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, int] = {}
        self.around = self._count

    def put(self, name: str, *, blob: int = BLOB, blobs: int = BLOBS) -> Reference:
        digest = self.put_image(name, mark=name)
        for number in range(blobs):
            self.put_referrer(name, digest, f"{name} {number} ".encode().ljust(blob, b"x"))
        return Reference.parse(f"{self.host}/{name}@{digest}")

    async def _count(self, request: web.BaseRequest, answer: Callable[[web.BaseRequest], Any]) -> web.Response:
        response: web.Response = await answer(request)
        if "/blobs/" in request.path and isinstance(response.body, bytes):
            repository = request.path.removeprefix("/v2/").partition("/blobs/")[0]
            self.asked[repository] = self.asked.get(repository, 0) + len(response.body)
        return response


@pytest.fixture
async def registry() -> AsyncIterator[Counted]:
    async with Counted() as served:
        yield served


@contextlib.asynccontextmanager
async def open_client(budget: Budget) -> AsyncIterator[RegistryClient]:
    settings = RegistrySettings(registry_allow_loopback=True)
    async with RegistryClient(settings, clock=lambda: NOW, budget=budget, environment={}) as client:
        yield client


def discovering(
    client: RegistryClient, reference: Reference, namespace: str, *, seconds: float = 60
) -> asyncio.Task[EvidenceSet]:
    """A task that fetches an image's evidence for a namespace; nobody else refers to what it finds."""

    async def discover() -> EvidenceSet:
        NAMESPACE.set(namespace)
        deadline = Deadline.after(seconds)
        image = await client.resolve(reference, access=RegistryAccess(), deadline=deadline)
        return await client.discover(image, access=RegistryAccess(), deadline=deadline)

    return asyncio.create_task(discover())


async def quiet(registry: Counted) -> None:
    """Return when the registry has not been asked for anything for a while."""
    seen = -1
    while seen != len(registry.requests):
        seen = len(registry.requests)
        await asyncio.sleep(0.3)


@pytest.mark.guarantee(10)
async def test_evidence_that_is_not_done_with_is_bounded_and_another_namespace_goes_on(registry: Counted) -> None:
    budget = Budget(SIZE)
    async with open_client(budget) as client:
        waiting = {discovering(client, registry.put(f"hostile/{n}"), "hostile") for n in range(20)}
        await quiet(registry)
        assert SIZE // 4 < sum(registry.asked.values()) <= budget.held <= SIZE
        assert not all(task.done() for task in waiting)
        good = await asyncio.wait_for(discovering(client, registry.put("good/app", blob=64 * KiB), "shop"), 30)
        assert len(good.artifacts) == BLOBS
        # Whatever is done with makes room for what waits, until all of them had their turn.
        done_with = 0
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=30)
            assert done, "they wait for each other"
            assert sum(registry.asked.values()) - done_with <= SIZE
            done_with += sum(len(artifact.content) for task in done for artifact in task.result().artifacts)
            done.clear()
        del good
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert budget.held == 0


@pytest.mark.guarantee(10)
@pytest.mark.guarantee(6)
async def test_an_image_for_whose_evidence_there_is_no_room_is_told_so_and_keeps_no_connection(
    registry: Counted,
) -> None:
    budget = Budget(2 * KiB * KiB)
    async with open_client(budget) as client:
        filler = budget.open()
        await filler.take(2 * KiB * KiB, deadline=Deadline.after(1))
        reference, asked = registry.put("late/app"), len(registry.requests)
        with pytest.raises(DeadlineExceeded):
            await discovering(client, reference, "late", seconds=0.3)
        assert len(registry.requests) == asked
        with pytest.raises(DeadlineExceeded, match=BUDGET_FULL):
            await client._resolve(reference, RegistryAccess(), Deadline.after(0.3))
        filler.close()
        assert len((await discovering(client, reference, "late")).artifacts) == BLOBS


@pytest.mark.guarantee(10)
async def test_a_blob_longer_than_its_manifest_says_is_not_read_to_its_end(registry: Counted) -> None:
    budget = Budget(SIZE)
    reference = registry.put("liar/app", blob=KiB, blobs=1)
    for digest in [name for name, content in registry.blobs.items() if len(content) == KiB]:
        registry.blobs[digest] = b"x" * (3 * KiB * KiB)
    async with open_client(budget) as client:
        found = await discovering(client, reference, "shop")
        assert [problem.code for problem in found.problems] == ["DigestMismatch"]
        assert budget.held < FIRST_BYTES


async def test_a_manifest_larger_than_the_first_look_is_read_with_more_room(registry: Counted) -> None:
    budget = Budget(16 * KiB * KiB)
    reference = registry.put("many/app", blob=100)
    (name,) = [name for _, name in registry.manifests if name.startswith("listing")]
    content, kind = registry.manifests["many/app", name]
    padded = json.loads(content) | {"annotations": {"note": "x" * FIRST_BYTES}}
    registry.put_manifest("many/app", padded, media_type=kind, tag=name)
    async with open_client(budget) as client:
        found = await discovering(client, reference, "shop")
        assert (len(found.artifacts), found.problems) == (BLOBS, ())
        assert FIRST_BYTES < budget.held < FIRST_BYTES + 16 * KiB, "what was not needed was given back"


async def test_a_failed_look_gives_all_its_room_back(registry: Counted) -> None:
    budget = Budget(SIZE)
    reference = registry.put("away/app")
    registry.status(f"/v2/away/app/manifests/{str(reference.digest).replace(':', '-')}.sig", 503)
    gc.disable()  # at once, and not when the collector comes by
    try:
        async with open_client(budget) as client:
            with contextlib.suppress(Exception):
                await discovering(client, reference, "shop")
            assert budget.held == 0
    finally:
        gc.enable()


@pytest.mark.guarantee(10)
async def test_a_review_leaves_no_bytes_behind_but_what_is_remembered(tmp_path: Path) -> None:
    for images, left in ((0, False), (10, True)):
        async with running(tmp_path / str(images), cache_images=images) as rig:
            rig.publish(rig.policy())
            image = f"{rig.image('release.none.signature')}@{digest_of(recorded_manifest())}"
            budget = rig.pipeline._judge._evidences._registry._budget  # type: ignore[attr-defined]
            gc.disable()
            try:
                assert (await rig.review(image)).allowed
                await asyncio.sleep(0.1)
                assert (budget.held > 0) is left
            finally:
                gc.enable()


@pytest.mark.guarantee(10)
async def test_what_is_only_remembered_makes_room_for_what_is_needed_now(tmp_path: Path) -> None:
    """Twelve images, one after another, of which no more than a few fit at once: each has its turn at once."""
    async with running(tmp_path, review_max_bytes=512 * KiB) as rig:
        rig.publish(rig.policy())
        for number in range(12):
            repository = f"acme/app{number}"
            digest = rig.registry.put_image(repository, mark=repository)
            rig.registry.put_referrer(repository, digest, f"{number}".encode().ljust(100 * KiB, b" "))
            answer = await rig.review(f"{rig.registry.host}/{repository}@{digest}")
            assert "Deadline" not in answer.message
            assert "cosign sign --key" in answer.message, "its evidence was fetched and judged"
