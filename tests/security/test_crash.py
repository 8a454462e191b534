"""`kill -9` of the serving process at random moments under load: nothing that was answered is missing (guarantee 13).

The clients are real HTTPS clients, the images real recordings, the inventory SQLite on disk. A kill of the process
cannot show that the write was synced (the kernel keeps what was written): `test_inventory_sync.py` does that. A start
of the whole program takes seconds, so that most deaths are those of its parts (`test_inventory_crash.py`).
"""

from __future__ import annotations

import http.client
import json
import random
import secrets
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from controller.demo import story
from controller.demo.registry import EmbeddedRegistry, Layout
from controller.inventory.ledger.keeping import CHECKPOINT
from controller.inventory.store import Store
from controller.settings import InventorySettings
from tests.support.assay import Assay, serving
from tests.support.commands import assay as run
from tests.support.processes import wait_until

KILLS = 10
CLIENTS = 4
MERGE_DELAY = "0.1"  # seconds: the ledger is written to in each life
LONGEST = 0.6  # seconds from a run's first answer to its kill; the moment within is random


@pytest.fixture
def registry() -> Iterator[EmbeddedRegistry]:
    with EmbeddedRegistry(Layout(story.LAYOUT)) as running:
        yield running


def validate_body(image: str) -> dict[str, Any]:
    """What an API server sends for a pod that is created."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app", "namespace": "load", "uid": str(uuid.uuid4())},
        "spec": {"containers": [{"name": "main", "image": image}]},
    }
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": str(uuid.uuid4()),
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": "load",
            "name": "app",
            "userInfo": {"username": "load"},
            "object": pod,
            "dryRun": False,
        },
    }


class Load:
    """Clients that create pods until the server is gone; `answered` maps each answer's record to its verdict."""

    def __init__(self, assay: Assay, images: list[str]) -> None:
        self._assay = assay
        self._images = images
        self._lock = threading.Lock()
        self.first = threading.Event()
        self.answered: dict[str, bool] = {}

    def run(self, client: int) -> None:
        """One client, until its connection breaks."""
        for number in range(client, 1_000_000):
            try:
                status, answer = self._assay.post(
                    "/validate?timeout=10s", validate_body(self._images[number % len(self._images)])
                )
            except (OSError, ValueError, http.client.HTTPException):  # killed in the middle of an answer
                return
            if status != 200:
                return
            response = answer["response"]
            if "record" in response.get("auditAnnotations", {}):
                with self._lock:
                    self.answered[response["auditAnnotations"]["record"]] = response["allowed"]
                self.first.set()


@pytest.mark.timeout(600)
def test_guarantee_13_every_answer_has_its_record_after_ten_kills_of_the_whole_program(
    tmp_path: Path, registry: EmbeddedRegistry
) -> None:
    seed = secrets.randbits(32)
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    policies = story.write_policies(tmp_path)
    images = [
        f"{registry.host}/acme/catalog@sha256:6539f534f2d09dbaf8884a6677df4d6a39012e2204342d09895420fa4a20cb41",
        f"{registry.host}/acme/newsletter@sha256:a35e3247a2a0d518319e2ea35738643461e4145d8053990271a2603ac9e59e29",
    ]
    settings = {
        "policies": str(policies),
        "trusted_root": f"demo={story.LAYOUT / 'trusted_root.json'}",
        "ledger_merge_delay": MERGE_DELAY,
    }
    answered: dict[str, bool] = {}
    for _ in range(KILLS):
        with serving(tmp_path / "assay", **settings) as assay:
            load = Load(assay, images)
            with ThreadPoolExecutor(CLIENTS) as clients:
                work = [clients.submit(load.run, client) for client in range(CLIENTS)]
                assert load.first.wait(60), assay.server.log_tail()
                time.sleep(chance.uniform(0.05, LONGEST))  # the moment of the kill is what is random
                assay.server.kill()
                for one in work:
                    one.result()
            answered |= load.answered
    assert {True, False} <= set(answered.values()), f"too little load to prove anything (seed {seed})"
    recorded = _recorded(tmp_path / "assay" / "inventory.db")
    lost = sorted(answered.keys() - recorded.keys())
    assert not lost, f"{len(lost)} of {len(answered)} answers have no record (seed {seed}): {lost[:5]}"
    assert {identity: recorded[identity] == "Allow" for identity in answered} == answered
    _verify(tmp_path / "assay", settings, len(recorded))


def _verify(folder: Path, settings: dict[str, str], recorded: int) -> None:
    """The ledger goes on from where each life left it: what was signed then holds, and all of it is numbered at last.

    So says the program itself, as whoever operates it would ask, with the checkpoint that the last life left beside it.
    """
    kept = folder / "kept"
    kept.write_bytes((folder / "ledger" / CHECKPOINT).read_bytes())

    def verified(assay: Assay) -> dict[str, Any]:
        asked = ("ledger", "verify", "--checkpoint", str(kept), "-o", "json")
        names = ("ASSAY_DATABASE_URL", "ASSAY_LEDGER_DIRECTORY")
        done = run(*asked, folder=folder, environment={name: assay.environment[name] for name in names})
        report: dict[str, Any] = json.loads(done.stdout)
        assert (done.returncode, report["findings"]) == (0, []), done.stdout + done.stderr
        return report

    with serving(folder, **settings) as assay:
        assert verified(assay)["keptEntries"] > 0, "no life came to sign anything"
        wait_until(lambda: verified(assay)["waiting"] == 0, what="all is numbered", server=assay.server)
        report = verified(assay)
    assert (report["entries"], report["signedEntries"]) == (recorded, recorded)


def _recorded(database: Path) -> dict[str, str]:
    """Every recorded decision with its verdict, each seen once, each with all the bytes that it names."""
    found: dict[str, str] = {}
    with Store.open_to_read(InventorySettings(database_url=f"sqlite:///{database}")) as store:
        cursor: str | None = None
        while True:
            page = store.queries.decisions(limit=500, cursor=cursor)
            for item in page.items:
                assert item.id not in found, f"decision {item.id} is there twice"
                found[item.id] = item.verdict
            cursor = page.cursor
            if cursor is None:
                break
        blobs = {blob for identity in found for blob in _leaf(store, identity)["blobs"]}
        assert blobs
        for blob in blobs:
            assert store.queries.blob(blob) is not None, f"{blob} is named and not there"
    return found


def _leaf(store: Store, identity: str) -> Any:
    decision = store.queries.decision(identity)
    assert decision is not None
    return decision.leaf
