"""Timestamps and durations with nanoseconds, as the CEL specification and Go have them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from controller.policy.cel.failure import CelError
from controller.policy.cel.meter import Meter
from controller.policy.cel.overloads import ConstantError, Library
from controller.policy.cel.schema import DURATION, INT, STRING, TIMESTAMP
from controller.policy.cel.values import SECOND, Duration, Timestamp

LIBRARY = Library("times", "Timestamps (RFC 3339, the years 1 to 9999) and durations, both with nanoseconds.")

_DAY = 86_400 * SECOND
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,40}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_DURATION = re.compile(r"([+-]?)((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+", re.ASCII)
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNITS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_OFFSET = re.compile(r"([+-]?)(\d{1,2}):(\d{1,2})", re.ASCII)
MAX_TEXT = 200  # characters of a time as text: more say nothing, and digits cost time


def parse_timestamp(text: str) -> Timestamp:
    """A timestamp of RFC 3339. Raises `CelError`."""
    found = _RFC3339.fullmatch(text) if len(text) <= MAX_TEXT else None
    if found is None:
        raise CelError("the string is no timestamp of RFC 3339")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    zone = (int(found[9]) * 60 + int(found[10])) if found[8] else 0
    if zone >= 24 * 60 or (found[10] and int(found[10]) > 59):
        raise CelError("the string is no timestamp of RFC 3339")
    try:
        moment = datetime(year or 1, month, day, hour, minute, second)  # noqa: DTZ001 - the offset is taken off below
    except ValueError as exc:
        raise CelError("the string is no timestamp of RFC 3339") from exc
    if year == 0:
        raise CelError("a timestamp is in the years 1 to 9999")
    since = moment - datetime(1970, 1, 1)  # noqa: DTZ001 - likewise
    seconds = since.days * 86_400 + since.seconds - (zone * 60 if found[8] != "-" else -zone * 60)
    return Timestamp(seconds * SECOND + int((found[7] or "0")[:9].ljust(9, "0")))


def parse_duration(text: str) -> Duration:
    """A duration as Go writes it: `1h30m`, `-1.5s`, `0`. Raises `CelError`."""
    if text in {"0", "+0", "-0"}:
        return Duration(0)
    found = _DURATION.fullmatch(text) if len(text) <= MAX_TEXT else None
    if found is None:
        raise CelError("the string is no duration, such as 90s or 1h30m")
    total = 0
    for whole, fraction, unit in _PART.findall(text):
        total += int(whole or 0) * _UNITS[unit]
        if fraction:
            digits = fraction[:18]
            total += int(float(digits) * (_UNITS[unit] / 10 ** len(digits)))
    return Duration(-total if found[1] == "-" else total)


def _seconds(value: int) -> Timestamp:
    return Timestamp(value * SECOND)


def _check(parse: Any, name: str) -> Any:
    def check(value: Any) -> None:
        if type(value) not in {str, int}:
            return
        try:
            parse(value)
        except CelError as exc:
            raise ConstantError(0, "ArgumentInvalid", f"{name}: {exc.message}") from exc

    return check


@LIBRARY.function("timestamp", TIMESTAMP, returns=TIMESTAMP)
@LIBRARY.function("timestamp", STRING, returns=TIMESTAMP, check=_check(parse_timestamp, "timestamp"))
@LIBRARY.function(
    "timestamp", INT, returns=TIMESTAMP, text="So many seconds after 1970.", check=_check(_seconds, "timestamp")
)
def to_timestamp(_meter: Meter, value: Any) -> Timestamp:
    """The timestamp that a text of RFC 3339 says."""
    if isinstance(value, str):
        return parse_timestamp(value)
    return value if isinstance(value, Timestamp) else _seconds(value)


@LIBRARY.function("duration", DURATION, returns=DURATION)
@LIBRARY.function("duration", STRING, returns=DURATION, check=_check(parse_duration, "duration"))
def to_duration(_meter: Meter, value: Any) -> Duration:
    """The duration that a text says: `1h30m`, `90s`, `1.5ms`."""
    return value if isinstance(value, Duration) else parse_duration(value)


@LIBRARY.function("_+_", TIMESTAMP, DURATION, returns=TIMESTAMP)
def later(_meter: Meter, moment: Timestamp, length: Duration) -> Timestamp:
    """The moment so much later."""
    return Timestamp(moment.ns + length.ns)


@LIBRARY.function("_+_", DURATION, TIMESTAMP, returns=TIMESTAMP)
def later_than(_meter: Meter, length: Duration, moment: Timestamp) -> Timestamp:
    """The moment so much later."""
    return Timestamp(moment.ns + length.ns)


@LIBRARY.function("_+_", DURATION, DURATION, returns=DURATION)
def longer(_meter: Meter, a: Duration, b: Duration) -> Duration:
    """Both together."""
    return Duration(a.ns + b.ns)


@LIBRARY.function("_-_", TIMESTAMP, TIMESTAMP, returns=DURATION)
@LIBRARY.function("_-_", DURATION, DURATION, returns=DURATION)
def between(_meter: Meter, a: Any, b: Any) -> Duration:
    """How much later, or longer, the first is."""
    return Duration(a.ns - b.ns)


@LIBRARY.function("_-_", TIMESTAMP, DURATION, returns=TIMESTAMP)
def earlier(_meter: Meter, moment: Timestamp, length: Duration) -> Timestamp:
    """The moment so much earlier."""
    return Timestamp(moment.ns - length.ns)


def text_of_timestamp(moment: Timestamp) -> str:
    """RFC 3339 in UTC, with as many digits of the second as there are."""
    seconds, fraction = divmod(moment.ns, SECOND)
    when = datetime(1970, 1, 1) + timedelta(seconds=seconds)  # noqa: DTZ001 - written as UTC
    digits = f".{fraction:09}".rstrip("0") if fraction else ""
    return f"{when.isoformat(timespec='seconds')}{digits}Z"


def text_of_duration(length: Duration) -> str:
    """In seconds, with as many digits as there are."""
    sign = "-" if length.ns < 0 else ""
    seconds, fraction = divmod(abs(length.ns), SECOND)
    digits = f".{fraction:09}".rstrip("0") if fraction else ""
    return f"{sign}{seconds}{digits}s"


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def offset(moment: Timestamp, zone: str) -> int:
    """A time zone's offset at a moment in nanoseconds: a name of the IANA data base or `±hh:mm`. Raises `CelError`."""
    if len(zone) <= MAX_TEXT and (found := _OFFSET.fullmatch(zone)):
        minutes = int(found[2]) * 60 + int(found[3])
        return (-minutes if found[1] == "-" else minutes) * 60 * SECOND
    if zone in {"", "UTC"}:
        return 0
    try:
        known = _zone(zone) if len(zone) <= MAX_TEXT else None
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise CelError("there is no such time zone") from exc
    if known is None:
        raise CelError("there is no such time zone")
    seconds = min(max(moment.ns // SECOND, -62135510400), 253402214400)  # a day from the ends, which Python has not
    when = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC")) + timedelta(seconds=seconds)
    found_offset = when.astimezone(known).utcoffset()
    return int(found_offset.total_seconds()) * SECOND if found_offset is not None else 0


def civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of so many days after 1970-01-01, also outside of the years that Python has."""
    shifted = days + 719_468
    era, of_era = divmod(shifted, 146_097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted_month + 2) // 5 + 1
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    return year_of_era + era * 400 + (month <= 2), month, day


def _days(year: int, month: int, day: int) -> int:
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def _getter(name: str, text: str, part: Any) -> None:
    def in_utc(_meter: Meter, moment: Timestamp) -> int:
        return int(part(moment.ns))

    def in_zone(_meter: Meter, moment: Timestamp, zone: str) -> int:
        return int(part(moment.ns + offset(moment, zone)))

    LIBRARY.method(name, TIMESTAMP, returns=INT, text=f"{text}, in UTC.")(in_utc)
    LIBRARY.method(name, TIMESTAMP, STRING, returns=INT, text=f"{text}, in a zone: `Europe/Berlin`, `-08:00`.")(in_zone)


def _of_day(unit: int, count: int) -> Any:
    return lambda ns: ns % _DAY // unit % count


def _day_of_year(ns: int) -> int:
    days = ns // _DAY
    return days - _days(civil(days)[0], 1, 1)


_getter("getFullYear", "The year", lambda ns: civil(ns // _DAY)[0])
_getter("getMonth", "The month, from 0", lambda ns: civil(ns // _DAY)[1] - 1)
_getter("getDate", "The day of the month, from 1", lambda ns: civil(ns // _DAY)[2])
_getter("getDayOfMonth", "The day of the month, from 0", lambda ns: civil(ns // _DAY)[2] - 1)
_getter("getDayOfWeek", "The day of the week, Sunday is 0", lambda ns: (ns // _DAY + 4) % 7)
_getter("getDayOfYear", "The day of the year, from 0", _day_of_year)
_getter("getHours", "The hour", _of_day(3600 * SECOND, 24))
_getter("getMinutes", "The minute", _of_day(60 * SECOND, 60))
_getter("getSeconds", "The second", _of_day(SECOND, 60))
_getter("getMilliseconds", "The milliseconds of the second", _of_day(10**6, 1000))


def _total(name: str, text: str, unit: int) -> None:
    def total(_meter: Meter, length: Duration) -> int:
        whole = abs(length.ns) // unit
        return -whole if length.ns < 0 else whole

    LIBRARY.method(name, DURATION, returns=INT, text=text)(total)


_total("getHours", "The whole duration in hours.", 3600 * SECOND)
_total("getMinutes", "The whole duration in minutes.", 60 * SECOND)
_total("getSeconds", "The whole duration in seconds.", SECOND)


@LIBRARY.method("getMilliseconds", DURATION, returns=INT)
def milliseconds(_meter: Meter, length: Duration) -> int:
    """The whole duration in milliseconds."""
    whole = abs(length.ns) // 10**6
    return -whole if length.ns < 0 else whole
