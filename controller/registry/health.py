"""Whether a host may be asked now: Retry-After is obeyed, and a host that does not answer is left alone for a while.

A circuit turns a time-out that every pod would wait for into an answer at once; grace then works in milliseconds.
State is kept by host (pauses that were asked for: by host and account), so that one registry's trouble is never
another's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from controller.errors import Unavailable
from controller.registry.remembered import Remembered
from controller.settings import RegistrySettings

MAX_HOSTS = 4096  # bounds the hosts, and the accounts at hosts, whose state is kept
DEFAULT_RETRY_AFTER = 1.0  # seconds of pause after a 429 that names none
MAX_RETRY_AFTER = 3600.0  # seconds; bounds what a host may ask for


@dataclass(slots=True)
class _State:
    failures: int = 0
    open_until: float = 0.0
    probing: bool = False


class Health:
    """Throttle and circuit of every host. `monotonic` is the clock, in seconds."""

    def __init__(self, settings: RegistrySettings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._threshold = max(1, settings.registry_circuit_failures)
        self._pause = float(settings.registry_circuit_pause)
        self._monotonic = monotonic
        self._states: Remembered[str, _State] = Remembered(MAX_HOSTS)
        self._throttled: Remembered[tuple[str, str], float] = Remembered(MAX_HOSTS)

    def check(self, host: str, account: str = "") -> None:
        """Raise `Unavailable` (`RegistryThrottled`, `CircuitOpen`) while the host is not to be asked by this account.

        Registries count by account: who uses up what anybody may have must not use up what another pays for.
        After the pause of an open circuit one caller is let through as a probe; it must report `answered`, `failed`
        or `abandoned`.
        """
        now = self._monotonic()
        left = (self._throttled.get((host, account)) or now) - now
        if left > 0:
            raise Unavailable("RegistryThrottled", f"{host} asked for a pause of {left:.0f} s more", retry_after=left)
        state = self._states.get(host)
        if state is None:
            return
        if state.open_until:
            if now < state.open_until or state.probing:
                left = max(0.0, state.open_until - now)
                raise Unavailable(
                    "CircuitOpen",
                    f"{host} did not answer {state.failures} times in a row and is left alone for now",
                    retry_after=left,
                )
            state.probing = True

    def answered(self, host: str) -> None:
        """The host answered, whatever it said: its circuit closes."""
        state = self._states.get(host)
        if state is not None:
            state.failures, state.open_until, state.probing = 0, 0.0, False

    def failed(self, host: str) -> None:
        """The host could not be reached or did not answer in time."""
        state = self._state(host)
        state.failures += 1
        state.probing = False
        if state.failures >= self._threshold:
            state.open_until = self._monotonic() + self._pause

    def abandoned(self, host: str) -> None:
        """The exchange was ended from this side: nothing was learned."""
        state = self._states.get(host)
        if state is not None:
            state.probing = False

    def throttled(self, host: str, retry_after: str | None, *, account: str = "", now: datetime | None = None) -> float:
        """The host asked this account for a pause (RFC 9110, section 10.2.3). Returns its seconds."""
        seconds = min(MAX_RETRY_AFTER, _seconds(retry_after, now or datetime.now(UTC)))
        until = self._monotonic() + seconds
        self._throttled.put((host, account), max(self._throttled.get((host, account)) or 0.0, until))
        return seconds

    def _state(self, host: str) -> _State:
        state = self._states.get(host)
        if state is None:
            state = _State()
            self._states.put(host, state)
        return state


def _seconds(retry_after: str | None, now: datetime) -> float:
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal() and len(text) <= 10:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return DEFAULT_RETRY_AFTER
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now.timestamp())
