"""Which commands there are. Each is imported only when it is called, so that completion is quick."""

from __future__ import annotations

from importlib import import_module

import click

# name -> module:attribute
COMMANDS = {
    "demo": "controller.cli.demo:demo",
    "inventory": "controller.cli.inventory:inventory",
    "review": "controller.cli.review:review",
    "serve": "controller.cli.serve:serve",
    "verify": "controller.cli.verify:verify",
}


class GROUPS(click.Group):
    """A group that finds its commands in `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """All names, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command
