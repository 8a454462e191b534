"""`assay inventory hold` and `prune`, and the thread that prunes by itself, on both databases beside an open store."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.cli import run
from controller.inventory import daily
from controller.inventory.ledger.keeping import open_signer
from controller.inventory.retention.keeping import RetentionKeeper
from controller.inventory.store import Store
from controller.settings import Seconds
from tests.support.inventory import START, Clock, Database, leaf, soon
from tests.support.processes import wait_until

YEARS = 6 * 365 * 86400  # seconds: old by any clock that a machine may have
OLD = START - timedelta(seconds=YEARS)
KEEP = 30 * 86400


@dataclasses.dataclass
class Desk:
    """An inventory that a process has open, and somebody with a command line beside it."""

    database: Database
    store: Store
    folder: Path
    capfd: pytest.CaptureFixture[str]

    def record(self, *leaves: dict[str, Any]) -> None:
        """Record these as long ago as they were decided, and number them."""

        async def fill() -> None:
            for one in leaves:
                await self.store.writer.record(one, blobs={}, deadline=soon())

        asyncio.run(fill())
        signer = open_signer("assay/local", key_file="", directory=self.folder / "ledger")
        sequencer = self.store.sequencer(self.database.settings, signer=signer, clock=lambda: OLD)
        sequencer.take_over()
        while sequencer.sequence().more:
            pass

    def __call__(self, *arguments: str) -> str:
        """What `assay inventory …` says."""
        self.capfd.readouterr()
        status = run(["inventory", *arguments])
        out, err = self.capfd.readouterr()
        assert status == 0, err
        return out

    def fails(self, *arguments: str) -> str:
        """What it says on standard error, where it ends with 2."""
        self.capfd.readouterr()
        assert run(["inventory", *arguments]) == 2
        out, err = self.capfd.readouterr()
        assert out == ""
        return err

    def left(self) -> set[str]:
        """The decisions that are there."""
        return {item["id"] for item in json.loads(self("decisions", "-o", "json"))["items"]}

    def pruned(self, *arguments: str) -> tuple[int, int]:
        """How many decisions it says were dropped, and how many a hold kept."""
        (told,) = json.loads(self("prune", "-o", "json", *arguments))["items"]
        assert (told["class"], told["keepSeconds"]) == ("decisions", KEEP)
        return told["dropped"], told["held"]


@pytest.fixture
def desk(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Desk]:
    monkeypatch.setenv("ASSAY_DATABASE_URL", database.settings.database_url)
    monkeypatch.setenv("ASSAY_LEDGER_DIRECTORY", str(tmp_path / "ledger"))
    monkeypatch.setenv("ASSAY_CLUSTER_NAME", "local")
    monkeypatch.setenv("ASSAY_RETAIN_DECISIONS", f"{KEEP}s")
    monkeypatch.setenv("LOGNAME", "jane")
    with database.open(Clock(OLD)) as store:
        yield Desk(database, store, tmp_path, capfd)


def long_ago(number: int, namespace: str = "shop") -> dict[str, Any]:
    value = leaf(number - YEARS)
    value["object"] = {**value["object"], "namespace": namespace}
    return value


def test_a_hold_keeps_from_pruning_until_it_is_lifted_and_both_are_told(desk: Desk) -> None:
    shop, bank = [long_ago(1), long_ago(2)], long_ago(3, "bank")
    desk.record(*shop, bank)
    assert "until the hold case-7 is lifted" in desk("hold", "add", "case-7", "--reason", "a court asked", "-n", "bank")
    (hold,) = json.loads(desk("hold", "list", "-o", "json"))["items"]
    assert (hold["name"], hold["by"], hold["reason"], hold["namespace"]) == ("case-7", "jane", "a court asked", "bank")
    assert "HoldExists" in desk.fails("hold", "add", "case-7", "--reason", "again", "-n", "bank")
    assert "HoldMalformed" in desk.fails("hold", "add", "everything", "--reason", "to be sure")
    assert desk.pruned("--dry-run") == (2, 1)
    assert desk.left() == {one["id"] for one in (*shop, bank)}
    assert desk.pruned() == (2, 1)
    assert desk.left() == {bank["id"]}
    assert "lifted: case-7" in desk("hold", "lift", "case-7", "--reason", "it is over", "--by", "joan")
    assert "HoldUnknown" in desk.fails("hold", "lift", "case-7", "--reason", "again")
    assert desk("hold", "list") == "nothing is held\n"
    assert "lifted" in desk("hold", "list", "--all")
    (lifted,) = json.loads(desk("hold", "list", "--all", "-o", "json"))["items"]
    assert (lifted["liftedBy"], lifted["record"]) == ("joan", hold["record"])
    assert "decisions, older than 30 days: 1 records dropped" in desk("prune")
    assert desk.left() == set()
    assert desk.pruned() == (0, 0)


def test_holds_are_listed_page_by_page_in_their_order(desk: Desk) -> None:
    for number in range(5):
        desk("hold", "add", f"case-{number}", "--reason", "a court asked", "-n", f"team-{number}")
    desk("hold", "lift", "case-1", "--reason", "it is over")
    holds = desk.store.questions.holds

    def names(*, lifted: bool = False, known_at: datetime | None = None) -> list[str]:
        found, cursor = [], None
        while True:
            page = holds.page(limit=2, cursor=cursor, lifted=lifted, known_at=known_at)
            found += [one.name for one in page.items]
            cursor = page.cursor
            if cursor is None:
                return found

    assert names() == ["case-0", "case-2", "case-3", "case-4"]
    assert names(lifted=True) == [f"case-{number}" for number in range(5)]
    assert names(known_at=OLD) == []


def test_without_a_rule_nothing_is_dropped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.record(long_ago(1))
    monkeypatch.delenv("ASSAY_RETAIN_DECISIONS")
    assert desk("prune") == ""
    assert len(desk.left()) == 1


def test_the_thread_drops_what_is_old_round_after_round_and_goes_on_after_a_failure(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daily, "INTERVAL", 0.05)
    monkeypatch.setattr(daily, "RETRY", 0.05)
    settings = dataclasses.replace(desk.database.settings, retain_decisions=Seconds(KEEP))
    desk.record(long_ago(1))
    signer = open_signer("assay/local", key_file="", directory=desk.folder / "ledger")
    rounds: list[int] = []

    def make(pause: Callable[[], bool]) -> Any:
        pruner = desk.store.pruner(settings, signer=signer, cluster="local", pause=pause)
        really = pruner.prune

        def prune() -> Any:
            rounds.append(len(rounds))
            if len(rounds) == 1:
                raise OSError("the disk is away")
            return really()

        monkeypatch.setattr(pruner, "prune", prune)
        return pruner

    keeper = RetentionKeeper(make, first=0.01)
    try:
        wait_until(lambda: desk.left() == set(), what="the first was dropped, after a round that failed")
        desk.record(later := long_ago(2))
        wait_until(lambda: desk.left() == set(), what=f"{later['id']} was dropped by a later round")
        assert len(rounds) >= 3
    finally:
        keeper.close()
    done = len(rounds)
    desk.record(long_ago(3))
    assert (len(rounds), len(desk.left())) == (done, 1)
