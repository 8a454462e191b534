"""`assay policy`: for those who write policies."""

from __future__ import annotations

import click

from controller.cli.commands import Lazy

COMMANDS = {
    "test": "controller.cli.policy.test:test",
}


@click.group(cls=Lazy, places=COMMANDS)
def policy() -> None:
    """Write policies: test them on recorded evidence, and see why they say what they say."""
