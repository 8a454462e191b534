"""A leader that has made up its mind to write, and is then put to sleep: run as a process of its own by a test."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from controller.inventory.ledger import sequencing
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.ledger.sequencing import LedgerError, Sequencer
from controller.inventory.store import Store
from controller.settings import InventorySettings
from tests.support.inventory import leaf, soon

SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))


def sequencer_of(store: Store, url: str) -> Sequencer:
    """A sequencer with the key that both have."""
    return store.sequencer(InventorySettings(database_url=url), signer=SIGNER)


def _now_and_wait() -> datetime:
    """The last thing that a sequencer asks for before it writes."""
    print("about to write", flush=True)
    sys.stdin.readline()
    return datetime.now(UTC)


async def _record(store: Store) -> None:
    for number in range(3):
        await store.writer.record(leaf(number), blobs={}, deadline=soon())


def main(url: str) -> None:
    settings = InventorySettings(database_url=url, durability="Database")
    with Store.open(settings) as store:
        asyncio.run(_record(store))
        sequencer = store.sequencer(settings, signer=SIGNER, clock=_now_and_wait)
        sequencer.take_over()
        try:
            sequencer.sequence()
        except LedgerError as exc:
            print(exc.code, flush=True)


if __name__ == "__main__":
    assert sequencing.MAX_BATCH >= 3
    main(sys.argv[1])
