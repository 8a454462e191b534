"""What the inventory's columns are made of: times, positions, texts, alike in SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import TIMESTAMP as SQL_TIMESTAMP
from sqlalchemy import BigInteger, Column, Dialect, Integer, MetaData, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

INSTANT_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


@lru_cache(maxsize=4096)  # each row of a leaf has the same two
def instant(value: datetime) -> str:
    """RFC 3339 in UTC, always 27 characters (INSTANT_FORMAT, in a third of strftime's time)."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


class Instant(TypeDecorator[datetime]):
    """A moment in UTC to the microsecond: `timestamptz` where there is one, else RFC 3339 text of one fixed width,
    which sorts by time and is readable in the file."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column's type in this database."""
        return dialect.type_descriptor(SQL_TIMESTAMP(timezone=True) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """To the database."""
        if value is None or dialect.name == "postgresql":
            return value
        return instant(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the base's signature
        """From the database, always in UTC."""
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return None if value is None else datetime.fromisoformat(value)


# Text that is ordered by its bytes in both databases, so that an index can give it in the order that Python knows.
Bytewise = Text().with_variant(Text(collation="C"), "postgresql")

# SQLite numbers rows by itself only in a column declared INTEGER.
Position = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def times() -> tuple[Column[Any], Column[Any]]:
    """When a row was true, and when the inventory learnt it."""
    return Column("decided_at", Instant, nullable=False), Column("recorded_at", Instant, nullable=False)
