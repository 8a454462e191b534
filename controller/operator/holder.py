"""The snapshot in force, and whether it may still be trusted to be fresh.

Two questions that must not be mixed: *which* policies bind (the last whole snapshot, whatever its age: dropping it
would admit everything) and *whether this replica should be asked* (not when it may be behind).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import MappingProxyType

from controller.errors import NotReady
from controller.policy.snapshot import Snapshot


class SnapshotHolder:
    """Holds the snapshot (`review.ports.Snapshots`). Any thread may read it; one thread writes.

    `sources` must each have given a sign of life within `max_age` seconds for the replica to be ready.
    """

    def __init__(
        self,
        *,
        sources: Iterable[str] = (),
        max_age: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._snapshot: Snapshot | None = None
        self._signs: MappingProxyType[str, float | None] = MappingProxyType(dict.fromkeys(sources))
        self._faults: MappingProxyType[str, str] = MappingProxyType({})
        self._max_age = max_age
        self._clock = clock

    @classmethod
    def fixed(cls, snapshot: Snapshot) -> SnapshotHolder:
        """A holder of what was read from files: always ready, never stale."""
        holder = cls()
        holder.publish(snapshot)
        return holder

    def current(self) -> Snapshot:
        """The snapshot in force, however old. Raises `NotReady` before the first whole one (guarantee 9)."""
        snapshot = self._snapshot
        if snapshot is None:
            raise NotReady("SnapshotNotReady", "policies, trust roots and namespaces were not read once yet")
        return snapshot

    def publish(self, snapshot: Snapshot) -> None:
        """Put a snapshot in force."""
        self._snapshot = snapshot

    def sign(self, source: str, at: float | None = None) -> None:
        """The source is alive (`at`: of the monotonic clock, default now)."""
        moment = self._clock() if at is None else at
        self._signs = MappingProxyType({**self._signs, source: moment})

    def fault(self, source: str, text: str) -> None:
        """Something is wrong with the source that makes the replica unready; an empty text says that it is mended."""
        others = {name: fault for name, fault in self._faults.items() if name != source}
        self._faults = MappingProxyType({**others, source: text} if text else others)

    def age(self) -> float:
        """Seconds since the most silent source gave a sign; infinite if one never did, 0 without sources."""
        now = self._clock()
        return max(
            (float("inf") if sign is None else max(0.0, now - sign) for sign in self._signs.values()), default=0.0
        )

    def problems(self) -> tuple[str, ...]:
        """Why this replica is not ready, a sentence each; empty when it is."""
        found = list(self._faults.values())
        if self._snapshot is None:
            missing = sorted(source for source, sign in self._signs.items() if sign is None)
            found.append(f"not read once yet: {', '.join(missing) or 'the first snapshot'}")
            return tuple(found)
        now = self._clock()
        for source, sign in sorted(self._signs.items()):
            silence = float("inf") if sign is None else now - sign
            if silence > self._max_age:
                found.append(f"no sign of {source} for {silence:.0f} s (bound: snapshot_max_age {self._max_age:g} s)")
        return tuple(found)
