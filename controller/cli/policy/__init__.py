"""`assay policy`: for those who write policies."""

from __future__ import annotations

import click

from controller.cli.commands import Lazy

COMMANDS = {
    "eval": "controller.cli.policy.evaluate:evaluate",
    "explain": "controller.cli.policy.explain:explain",
    "lint": "controller.cli.policy.lint:lint",
    "test": "controller.cli.policy.test:test",
}


@click.group(cls=Lazy, places=COMMANDS)
def policy() -> None:
    """Write policies: check them before they bite, try expressions, and test them on recorded evidence."""
