"""`assay policy`: the commands for those who write policies."""

from __future__ import annotations

import click

from controller.cli.commands import Lazy

# name -> module:attribute
COMMANDS = {
    "eval": "controller.cli.policy.evaluate:evaluate",
}


@click.group(cls=Lazy, places=COMMANDS)
def policy() -> None:
    """Write policies: try expressions."""
