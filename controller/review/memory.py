"""One cache of a review: for how long something is fresh, for how long it serves, and what is kept beyond that.

A remembered *failure* is short-lived and keeps its kind: Unavailable stays Unavailable. What was there before a
registry fell silent is kept beside that failure, for grace (docs/design/grace.md); an answer takes its place, whatever
it is.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from controller import telemetry
from controller.errors import AssayError, DeadlineExceeded, Unavailable
from controller.settings import ReviewSettings

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
FOREVER = float("inf")
AWAY = frozenset({"RegistryUnavailable", "RegistryTimeout", "RegistryThrottled", "CircuitOpen"})
"""Codes that say that a registry did not answer. Every other failure is an answer, or Assay's own doing: no grace."""

clock: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Seconds, those included in which the machine slept: what is remembered ages meanwhile."""


@dataclass(frozen=True, slots=True)
class _Away:
    """That, and why, what is remembered could not be asked for anew.

    Until `ask_after` the failure is remembered, until `believed_until` that the registry is silent (never, if it is
    not the registry's silence).
    """

    error: AssayError
    ask_after: float
    believed_until: float


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V | AssayError
    since: float
    fresh_until: float
    usable_until: float
    kept_until: float
    weight: int
    away: _Away | None = None


@dataclass(frozen=True, slots=True)
class Recalled(Generic[V]):
    """What is remembered. `ask`: it should be asked for anew, in the background.

    With `away` it is older than it would be believed otherwise, and serves because its registry does not answer.
    """

    value: V | AssayError
    ask: bool = False
    away: AssayError | None = None


class Memory(Generic[K, V]):
    """A cache bounded by entries and by bytes, least recently used out first."""

    def __init__(self, *, name: str, entries: int, size: int, clock: Callable[[], float] = clock) -> None:
        self._looked = {found: telemetry.CACHE.labels(name, found) for found in ("hit", "stale", "grace", "miss")}
        self._entries = entries
        self._size = size
        self._clock = clock
        self._held: OrderedDict[K, _Entry[V]] = OrderedDict()
        self.weight = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> tuple[V | AssayError, bool] | None:
        """What is remembered and usable, and whether it is still fresh."""
        recalled = self.recall(key)
        return None if recalled is None else (recalled.value, not recalled.ask)

    def recall(self, key: K, *, grace: float | None = None) -> Recalled[V] | None:
        """What is remembered and may serve now; None if it has to be asked for first.

        Past its freshness, while its registry is known to be away, it serves up to the age of `grace` seconds and not a
        moment longer (None: as long as it is usable); past that, why it is away is remembered as any failure is.
        """
        entry = self._held.get(key)
        found = None if entry is None else self._recalled(entry, grace)
        if found is None:
            self._looked["miss"].inc()
            return None
        self._held.move_to_end(key)
        self._looked["grace" if found.away is not None else "stale" if found.ask else "hit"].inc()
        return found

    def _recalled(self, entry: _Entry[V], grace: float | None) -> Recalled[V] | None:
        now, away = self._clock(), entry.away
        if now < entry.fresh_until:
            return Recalled(entry.value)
        if away is not None and now < away.believed_until and grace is not None:
            if now - entry.since <= grace and now <= entry.kept_until:
                return Recalled(entry.value, ask=now >= away.ask_after, away=away.error)
        elif now < entry.usable_until:
            return Recalled(entry.value, ask=True)
        return Recalled(away.error) if away is not None and now < away.ask_after else None

    def put(
        self, key: K, value: V | AssayError, *, fresh: float, usable: float, kept: float = 0.0, weight: int = 0
    ) -> None:
        """Remember for `fresh` seconds as good, for `usable` seconds at all, and for `kept` seconds for grace."""
        self.drop(key)
        if weight > self._size:
            return
        now = self._clock()
        # One number for times that are the same: with tens of thousands of entries it is megabytes.
        fresh_until = now + fresh if fresh != FOREVER else FOREVER
        usable_until = now + usable if usable != fresh else fresh_until
        kept_until = now + kept if kept > usable else usable_until
        self._held[key] = _Entry(value, now, fresh_until, usable_until, kept_until, weight)
        self.weight += weight
        while len(self._held) > self._entries or self.weight > self._size:
            _, out = self._held.popitem(last=False)
            self.weight -= out.weight

    def put_failure(self, key: K, error: AssayError, settings: ReviewSettings) -> None:
        """Remember, briefly, that this was the answer, or that there was none.

        An answer takes the place of what was remembered. That there was none does not: it stands beside it. Kept is a
        copy, since an error holds the frames that it went through.
        """
        age = _failure_age(error, settings)
        entry = self._held.get(key)
        now = self._clock()
        if (
            not isinstance(error, Unavailable)
            or entry is None
            or isinstance(entry.value, AssayError)
            or now > entry.kept_until
        ):
            self.put(key, copy(error), fresh=age, usable=age)
        else:
            # Until it is no longer believed, somebody who asked again knows more.
            believed = max(age, float(settings.review_work_timeout)) if error.code in AWAY else 0.0
            entry.away = _Away(copy(error), ask_after=now + age, believed_until=now + believed)

    def shrink(self, size: int, *, of: Callable[[V | AssayError], int]) -> None:
        """Forget so many bytes at least, the least recently used first; `of` says how many a value has that may go."""
        for key, entry in list(self._held.items()):
            if size <= 0:
                return
            going = of(entry.value)
            if going:
                self.drop(key)
                size -= going

    def drop(self, key: K) -> None:
        """Forget."""
        out = self._held.pop(key, None)
        if out is not None:
            self.weight -= out.weight


def given(value: V | AssayError) -> V:
    """The value; raises what is remembered as a failure."""
    if isinstance(value, AssayError):
        raise copy(value)  # raised again and again, one error would collect tracebacks
    return value


def copy(error: AssayError) -> AssayError:
    """The same error without the frames that it went through."""
    return type(error)(*error.args)


def _failure_age(error: AssayError, settings: ReviewSettings) -> float:
    if isinstance(error, DeadlineExceeded):
        return 0.0  # the caller's own doing, not the other side's
    if isinstance(error, Unavailable):
        return float(error.retry_after or settings.failure_max_age)
    return float(settings.missing_max_age)
