"""Those of one process who write to an SQLite file do so in the order in which they came."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from controller.inventory.database import engines
from controller.inventory.database.turns import Turns, turns_of


def _engine(file: Path) -> Engine:
    return engines.writing_engine(engines.parse(f"sqlite:///{file}"))


def test_who_waits_has_his_turn_before_who_had_the_last_one(tmp_path: Path) -> None:
    """Whoever writes without a pause leaves room for one that came meanwhile: SQLite's own lock does not."""
    busy, other = _engine(tmp_path / "x.db"), _engine(tmp_path / "x.db")
    with busy.begin() as connection:
        connection.execute(text("CREATE TABLE t (a INTEGER)"))
    written = threading.Event()
    between: list[int] = []
    stopping = False

    def write() -> None:
        nonlocal stopping
        while not stopping:
            with busy.begin() as connection:
                connection.execute(text("INSERT INTO t VALUES (1)"))
                if between:
                    between[0] += 1
                written.set()
                time.sleep(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(30)
        for _ in range(20):
            between[:] = [0]
            with other.begin() as connection:
                passed = between[0]
                connection.execute(text("INSERT INTO t VALUES (2)"))
            assert passed <= 2, "the transaction under way, and one whose turn was asked for before"
            between.clear()
    finally:
        stopping = True
        writer.join()
    busy.dispose()
    other.dispose()


@pytest.mark.parametrize("ends", ["commit", "rollback", "failure", "close"])
def test_the_turn_ends_with_the_transaction_however_it_ends(tmp_path: Path, ends: str) -> None:
    file = tmp_path / "x.db"
    one, other = _engine(file), _engine(file)
    connection = one.connect()
    transaction = connection.begin()
    assert not turns_of(file.resolve()).enter(0)
    if ends == "commit":
        transaction.commit()
    elif ends == "rollback":
        transaction.rollback()
    elif ends == "failure":
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT nothing"))
        transaction.rollback()
    connection.close()
    with other.begin() as connection:
        connection.execute(text("CREATE TABLE t (a INTEGER)"))
    one.dispose()
    other.dispose()


def test_one_whose_turn_does_not_come_is_told_that_the_database_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "BUSY_TIMEOUT", 0.1)
    file = tmp_path / "x.db"
    one, other = _engine(file), _engine(file)
    with one.begin(), pytest.raises(OperationalError, match="locked"), other.begin():
        pytest.fail("two write at once")
    with other.begin() as connection:
        connection.execute(text("CREATE TABLE t (a INTEGER)"))
    one.dispose()
    other.dispose()


def test_who_gave_up_waiting_holds_up_nobody() -> None:
    turns = Turns()
    assert turns.enter(0)
    assert not turns.enter(0.01)
    turns.leave()
    assert turns.enter(0)
