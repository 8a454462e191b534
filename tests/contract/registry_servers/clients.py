"""The client under test, with a clock that a test can move."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from controller.model.deadline import Deadline
from controller.model.reference import Reference
from controller.registry.client import RegistryClient
from controller.review.budget import Budget
from controller.settings import RegistrySettings, Seconds

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


class Monotonic:
    """The monotonic clock, and what a test adds to it."""

    def __init__(self) -> None:
        self.added = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.added


def client(
    *,
    denied: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    monotonic: Monotonic | None = None,
    budget: Budget | None = None,
    **settings: Any,
) -> RegistryClient:
    """A client that may speak to loopback by plain HTTP, with settings by name."""
    chosen = {"registry_allow_loopback": True, "registry_request_timeout": Seconds(30)} | settings
    return RegistryClient(
        RegistrySettings(**chosen),
        clock=lambda: NOW,
        budget=budget,
        denied_addresses=denied,
        environment=environment or {},
        monotonic=monotonic or Monotonic(),
    )


def soon(seconds: float = 60) -> Deadline:
    """A deadline that a healthy test never meets."""
    return Deadline.after(seconds)


def ref(text: str) -> Reference:
    """A reference."""
    return Reference.parse(text)
