"""Which commands there are. Each is imported only when it is called, so that completion is quick."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

# name -> module:attribute
COMMANDS = {
    "demo": "controller.cli.demo:demo",
    "inventory": "controller.cli.inventory:inventory",
    "ledger": "controller.cli.ledger:ledger",
    "policy": "controller.cli.policy:policy",
    "query": "controller.cli.query:query",
    "review": "controller.cli.review:review",
    "serve": "controller.cli.serve:serve",
    "verify": "controller.cli.verify:verify",
}


class Lazy(click.Group):
    """A group of commands by the place of each (`module:attribute`)."""

    def __init__(self, *args: Any, places: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """All names, sorted."""
        return sorted(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name, imported now."""
        if cmd_name not in self._places:
            return None
        module, _, attribute = self._places[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As every group does; of a name that there is none of, with the one that may have been meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            from difflib import get_close_matches

            meant = get_close_matches(args[0], self._places, n=1)
            if not meant:
                raise
            raise click.UsageError(f"{exc.message} Did you mean {meant[0]!r}?", ctx) from None
