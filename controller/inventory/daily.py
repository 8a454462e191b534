"""What is looked after once a day: in a thread of the serving process, for which nobody waits."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

INTERVAL = 24 * 3600.0  # seconds between two turns
RETRY = 600.0  # seconds before a turn that came to nothing is tried again
CLOSING = 5.0  # seconds that closing waits for a database that hangs


class Daily(ABC):
    """Takes its turns from `start` until it is closed, the first one after `first` seconds."""

    def __init__(self, name: str, *, first: float) -> None:
        self._first = first
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to wait for the first turn; once."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the transaction that is under way: what is left is done by the next process."""
        self._stopping.set()
        self._thread.join(CLOSING)

    @abstractmethod
    def turn(self) -> bool:
        """Do it. Whether it came about; else it is tried again before the day is over. Raises nothing."""

    def _run(self) -> None:
        pause = self._first
        while not self._stopping.wait(pause):
            pause = INTERVAL if self.turn() else RETRY
