"""Options that several commands share: settings as flags, and the output format."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from controller import settings as settings_module
from controller.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def output(function: F) -> F:
    """`-o table|json|yaml`."""
    return click.option(
        "-o", "--output", "form", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True,
        help="A table for people, or JSON or YAML for programs.",
    )(function)  # fmt: skip


def offline(function: F) -> F:
    """Add `--offline DIR`."""
    return click.option(
        "--offline",
        "layout",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Find images and evidence in this OCI image layout, and use no network.",
    )(function)


def with_settings(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add a flag for each of these settings (all of them if none is named) and `--config`.

    The command gets them, with environment, file and defaults, as its first argument: a callable that takes overrides
    (by setting name, of lower rank than nothing: they are the command's own defaults for flags not given) and returns
    `Settings`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        known = settings_module.names()
        chosen = names or tuple(known)

        @functools.wraps(function)
        def wrapper(*args: Any, config: Path | None, **kwargs: Any) -> Any:
            flags = {name: kwargs.pop(name) for name in chosen}
            flags = {
                name: (list(value) or None if isinstance(value, tuple) else value) for name, value in flags.items()
            }

            def load(**defaults: Any) -> Settings:
                settings = settings_module.load(
                    flags={**defaults, **{n: v for n, v in flags.items() if v is not None}}, file=config
                )
                if settings.inventory.log_reads != "Off":
                    from controller.cli import reads

                    reads.note(settings)
                return settings

            return function(load, *args, **kwargs)

        command: Callable[..., Any] = wrapper
        for name in reversed(chosen):
            field = known[name][1]
            many = str(field.type).startswith("tuple")
            command = click.option(
                f"--{name.replace('_', '-')}",
                name,
                default=None if not many else (),
                multiple=many,
                help=field.metadata["help"],
            )(command)
        return click.option(
            "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), envvar="ASSAY_CONFIG",
            help="A YAML file of settings (docs/reference/settings.md).",
        )(command)  # fmt: skip

    return decorate
