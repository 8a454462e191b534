"""How many decisions a second become durable in an inventory that already holds an estate, by the real writer.

They are decisions like those that are there, about the same images, each about a pod of its own, as admissions are:
once as they are, under three policies, and once under the first of these alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controller.inventory.store import Store
from controller.settings import InventorySettings
from tests.bench.estate.keeping import Kept
from tests.bench.recording import Leaf, Recorded, recorded
from tests.bench.statistics import percentile

COUNT = 20_000
LIKE = 100  # decisions whose images and evaluations are used over and over


def measure(kept: Kept, *, count: int = COUNT) -> dict[str, str]:
    """Record decisions like those that are there. They stay, and are few beside an estate's."""
    with Store.open(InventorySettings(database_url=kept.url, durability="Database")) as store:
        leaves: list[Any] = [one.leaf for one in map(store.queries.decision, kept.sample.decisions[:LIKE]) if one]
        several = recorded(store.writer, leaves, {}, count=count)
        single = recorded(store.writer, [one for leaf in leaves for one in _under_one_policy(leaf)], {}, count=count)
    return _told("", several) | _told(", one policy", single)


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
