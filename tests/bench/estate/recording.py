"""How many decisions a second become durable in an inventory that already holds an estate, by the real writer.

They are decisions like those that are there, about the same images, each about a pod of its own, as admissions are:
once as they are, under three policies, and once under the first of these alone. Into PostgreSQL, which replicas share,
also by two processes at once, of which this module is each (`python -m tests.bench.estate.recording URL COUNT`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from controller.inventory.store import Store
from controller.settings import InventorySettings
from tests.bench.estate.keeping import CHECKOUT, POSTGRESQL, Kept
from tests.bench.recording import Leaf, Recorded, recorded
from tests.bench.statistics import percentile

COUNT = 20_000
LIKE = 100  # decisions whose images and evaluations are used over and over
REPLICAS = 2


def measure(kept: Kept, *, count: int = COUNT) -> dict[str, str]:
    """Record decisions like those that are there. They stay, and are few beside an estate's."""
    with Store.open_to_read(InventorySettings(database_url=kept.url)) as store:
        leaves: list[Any] = [one.leaf for one in map(store.queries.decision, kept.sample.decisions[:LIKE]) if one]
    single = [one for leaf in leaves for one in _under_one_policy(leaf)]
    told = _told("", _recorded(kept.url, leaves, count)) | _told(", one policy", _recorded(kept.url, single, count))
    if kept.kind == POSTGRESQL:
        told |= _by_replicas("", kept.url, leaves, count) | _by_replicas(", one policy", kept.url, single, count)
    return told


def _recorded(url: str, leaves: Sequence[Any], count: int) -> Recorded:
    with Store.open(InventorySettings(database_url=url, durability="Database")) as store:
        return recorded(store.writer, leaves, {}, count=count)


def _by_replicas(of: str, url: str, leaves: Sequence[Any], count: int) -> dict[str, str]:
    """From the first one's start to the last one's end."""
    program = [sys.executable, "-m", __name__, url, str(count)]
    running = [
        subprocess.Popen(program, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(REPLICAS)
    ]
    for one in running:
        assert one.stdin is not None
        one.stdin.write(json.dumps(leaves))
        one.stdin.close()
    found = [json.loads(one.stdout.read()) for one in running if one.stdout is not None and one.wait() == 0]
    if len(found) < REPLICAS:
        raise RuntimeError("a recording process failed")
    seconds = max(one["ended"] for one in found) - min(one["began"] for one in found)
    return {f"the same by {REPLICAS} processes at once{of}": f"{REPLICAS * count / seconds:,.0f}"}


def _told(of: str, found: Recorded) -> dict[str, str]:
    alone = (percentile(found.alone, 0.5), percentile(found.alone, 0.95))
    return {
        f"decisions recorded a second, durable, 512 waiting{of}": f"{found.rate:,.0f}",
        f"CPU of the recording process, ms a decision{of}": f"{found.cpu:.2f}",
        f"bytes of such a decision's leaf{of}": f"{found.leaf_bytes:,}",
        f"a record alone, p50 / p95 ms{of}": f"{alone[0]:.1f} / {alone[1]:.1f}",
    }


def _under_one_policy(leaf: Leaf) -> Sequence[Leaf]:
    """The decision as if the first of its policies had been the only one, of its first image; none without policies."""
    first = [one for one in leaf["evaluations"] if one["image"] == 0][:1]
    return [{**leaf, "images": leaf["images"][:1], "evaluations": first}] if first else []


if __name__ == "__main__":
    print(json.dumps(asdict(_recorded(sys.argv[1], json.load(sys.stdin), int(sys.argv[2])))))
