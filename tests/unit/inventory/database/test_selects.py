"""Selecting on SQLite without SQLAlchemy's results: the same values, and the same errors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Select, bindparam, insert, select
from sqlalchemy.exc import OperationalError

from controller.inventory import tables
from controller.inventory.database import engines, parameters
from controller.inventory.database.selects import Selecting

START = datetime(2026, 11, 22, 11, 0, 0, 5, tzinfo=UTC)
RUN = tables.run


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = engines.writing_engine(engines.parse(f"sqlite:///{tmp_path / 'inventory.db'}"))
    tables.metadata.create_all(engine)
    yield engine
    engine.dispose()


def run(pod: str, started: datetime, *, late: bool) -> dict[str, Any]:
    """A row of every type that a column has, and with nothing where there may be nothing."""
    texts = dict.fromkeys(column.name for column in RUN.columns if not column.nullable)
    values = {"leaf": 7, "late": late, "started_at": started, "recorded_at": started, "pod_uid": pod}
    return {name: values.get(name, "x") for name in texts}


def since(kind: str) -> Select[Any]:
    query = select(RUN).where(parameters.listed(kind, RUN.c.pod_uid, "pods"), RUN.c.kind == "x")
    return query.where(RUN.c.started_at >= bindparam("first", type_=tables.Instant)).order_by(RUN.c.pod_uid)


def test_rows_are_what_sqlalchemy_would_have_read(engine: Engine) -> None:
    hours = [START + timedelta(hours=hour) for hour in range(4)]
    rows = [run(f"pod-{number}", hour, late=bool(number % 2)) for number, hour in enumerate(hours)]
    asked = {"pods": ["pod-0", "pod-1", "pod-2"], "first": hours[1]}
    with engine.begin() as connection:
        connection.execute(insert(RUN), rows)
        found = [tuple(row) for row in Selecting(since).rows(connection, asked)]
        assert found == [tuple(row) for row in connection.execute(since("sqlite"), asked)]
    names = [column.name for column in RUN.columns]
    told = [dict(zip(names, row, strict=True)) for row in found]
    assert [(one["pod_uid"], one["started_at"], one["late"], one["ended_at"]) for one in told] == [
        ("pod-1", hours[1], True, None),
        ("pod-2", hours[2], False, None),
    ]


def test_a_statement_is_made_once(engine: Engine) -> None:
    made: list[str] = []

    def make(kind: str) -> Select[Any]:
        made.append(kind)
        return since(kind)

    selecting = Selecting(make)
    with engine.begin() as connection:
        for _ in range(3):
            assert not selecting.rows(connection, {"pods": ["pod"], "first": START})
    assert made == ["sqlite"]


def test_a_failure_is_told_as_sqlalchemy_tells_it(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE run")
        with pytest.raises(OperationalError, match="no such table") as caught:
            Selecting(since).rows(connection, {"pods": ["secret-pod"], "first": START})
    assert "secret-pod" not in str(caught.value)
