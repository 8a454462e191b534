"""What stands in attested documents, indexed: the same on both databases, and what the bytes say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine, select, text

from controller.inventory import dialect, migrate, store, tables
from tests.support import postgres
from tests.support.inventory import DIGEST, Database, postgres_database, sqlite_database

CHILD = "sha256:" + "cc" * 32


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return sqlite_database(tmp_path)
    return postgres_database(request.getfixturevalue("server"))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_findings_of_a_database_from_before_learn_what_they_are_about(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'before.db'}"
    else:
        url = request.getfixturevalue("server").new_database()
    engine = create_engine(dialect.parse(url))
    details = {
        "1": {"signedAt": "2026-11-22T10:00:00.500000Z", "child": {"digest": CHILD, "platform": "linux/arm64"}},
        "2": {"signedAt": None},
        "3": {"code": "Unsigned"},
    }
    with engine.begin() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        for fact, detail in details.items():
            connection.execute(
                text(
                    "INSERT INTO verification (fact, decided_at, recorded_at, digest, finding, policy_kind,"
                    " policy_namespace, policy_name, policy_hash, detail)"
                    " VALUES (:fact, :at, :at, :digest, 'attestation', 'k', '', 'p', 'h', :detail)"
                ),
                {"fact": fact, "at": "2026-11-22T11:00:00.000000Z", "digest": DIGEST, "detail": json.dumps(detail)},
            )
    store.migrate(url)
    columns = tables.verification.c
    with engine.begin() as connection:
        found = connection.execute(select(columns.fact, columns.child, columns.signed_at)).all()
    engine.dispose()
    assert {row.fact: (row.child, row.signed_at and row.signed_at.isoformat()) for row in found} == {
        "1": (CHILD, "2026-11-22T10:00:00.500000+00:00"),
        "2": (None, None),
        "3": (None, None),
    }
