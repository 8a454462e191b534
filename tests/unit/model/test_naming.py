"""Names of facts are UUIDs that sort by time, and say nothing but whether two facts are one."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest

from controller.model.naming import name_of

AT = datetime(2026, 11, 29, 17, 30, 0, 123456, tzinfo=UTC)


def test_the_same_content_at_the_same_time_has_one_name() -> None:
    name = name_of("content", at=AT)
    assert name == name_of("content", at=AT.astimezone(timezone(timedelta(hours=-7))))
    assert (
        len({name, name_of("other", at=AT), name_of("content", at=None), name_of("content", at=AT.replace(year=2025))})
        == 4
    )


@pytest.mark.parametrize("at", [AT, None, datetime(1969, 12, 31, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_a_name_is_a_uuid_of_version_8(at: datetime | None) -> None:
    read = uuid.UUID(name := name_of("content", at=at))
    assert (read.version, read.variant, str(read)) == (8, uuid.RFC_4122, name)


def test_names_sort_by_time_and_begin_with_its_milliseconds() -> None:
    times = [datetime(1970, 1, 1, tzinfo=UTC), AT - timedelta(milliseconds=1), AT, datetime(9999, 12, 31, tzinfo=UTC)]
    names = [name_of(str(-number), at=at) for number, at in enumerate(times)]
    assert names == sorted(names)
    assert uuid.UUID(names[2]).int >> 80 == 1_795_973_400_123


def test_all_but_the_time_is_of_the_hash() -> None:
    """74 bits with a time, 122 without: as many as can be told apart."""
    read = [uuid.UUID(name_of(str(number), at=AT)).int for number in range(4000)]
    changing = 0
    for number in read:
        changing |= number ^ read[0]
    assert changing.bit_count() == 74
    read = [uuid.UUID(name_of(str(number), at=None)).int for number in range(4000)]
    changing = 0
    for number in read:
        changing |= number ^ read[0]
    assert changing.bit_count() == 122
