"""What people are told of a database that cannot be used: what to look at, and nothing that the database said."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError, OperationalError

from controller.errors import ConfigurationError
from controller.inventory.database.failures import advice, is_away
from controller.inventory.store import Store
from controller.settings import InventorySettings
from tests.support.inventory import sqlite_database

GENERAL = "is it there, is it Assay's, and may you read it?"


def failed(original: Exception) -> OperationalError:
    return OperationalError("SELECT 1", None, original)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("SQLITE_BUSY_SNAPSHOT", "another process has it: try again"),
        ("SQLITE_READONLY_DIRECTORY", "copy it, with its -wal"),
        ("SQLITE_CANTOPEN", "you may not read it"),
        ("SQLITE_CORRUPT_VTAB", "restore it from a backup"),
        ("SQLITE_MISUSE", GENERAL),
    ],
)
def test_sqlites_name_of_a_failure_says_what_to_look_at(name: str, told: str) -> None:
    original = sqlite3.OperationalError("permission denied for hunter2")
    original.sqlite_errorname = name
    assert told in advice(failed(original))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('FATAL:  password authentication failed for user "jane"', "the password or the role"),
        ('FATAL:  database "assay" does not exist', "there is no database, or no role, of that name"),
        ("permission denied for table leaf", "assay inventory roles"),
        ("something else about hunter2", GENERAL),
    ],
)
def test_what_a_server_says_is_told_in_other_words(said: str, told: str) -> None:
    shown = advice(failed(Exception(said)))
    assert told in shown
    assert "jane" not in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    ("state", "away"),
    [
        ("25006", True),  # read_only_sql_transaction
        ("25P03", True),  # idle_in_transaction_session_timeout
        ("57P01", True),  # admin_shutdown
        ("54000", False),  # program_limit_exceeded
        ("22P05", False),  # untranslatable_character
    ],
)
def test_by_its_state_a_server_is_away_or_what_it_was_given_is_wrong(state: str, away: bool) -> None:
    original = psycopg.errors.lookup(state)("hunter2")
    assert is_away(DBAPIError.instance("INSERT", None, original, psycopg.Error)) is away


def test_a_database_that_cannot_be_used_is_told_with_what_to_look_at(tmp_path: Path) -> None:
    (tmp_path / "inventory.db").write_bytes(b"this is no database, and long enough to be seen as none" * 100)
    for settings, told in (
        (sqlite_database(tmp_path).settings, "it is no SQLite database"),
        (InventorySettings(database_url="postgresql://127.0.0.1:1/assay?connect_timeout=1"), "nothing answers there"),
    ):
        with pytest.raises(ConfigurationError, match=told) as refused:
            Store.open_to_read(settings)
        assert refused.value.code == "DatabaseUnusable"
