"""What the inventory's commands share: times, and how an answer for programs begins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click
from pydantic import BaseModel

from controller.cli import render

F = TypeVar("F", bound=Callable[..., Any])

SCHEMA = "assay.dev/inventory/v1alpha1"
TIMES = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])


def known_at(function: F) -> F:
    """Add `--known-at TIME`."""
    return click.option("--known-at", type=TIMES, help="From what had been recorded by this time (UTC).")(function)


def utc(moment: datetime | None) -> datetime | None:
    """A time without a zone is in UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def dump(answer: BaseModel, form: str) -> None:
    """Print an answer for programs."""
    render.dump({"schema": SCHEMA, **answer.model_dump(mode="json", by_alias=True)}, form)


def say_next(cursor: str | None) -> None:
    """Tell people how to ask for the next page, if there is one."""
    if cursor:
        click.echo(f"more: --cursor {cursor}", err=True)
