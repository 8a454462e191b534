"""`assay inventory`: everything that auditors ask, a file a family of questions."""

from __future__ import annotations

import click

from controller.cli.commands import Lazy

_HERE = "controller.cli.inventory"


@click.group(
    cls=Lazy,
    places={
        "admission": f"{_HERE}.admission:admission",
        "affected": f"{_HERE}.affected:affected",
        "assets": f"{_HERE}.assets:assets",
        "blob": f"{_HERE}.blob:blob",
        "components": f"{_HERE}.packages:components",
        "decisions": f"{_HERE}.decisions:decisions",
        "exceptions": f"{_HERE}.exceptions:exceptions",
        "reads": f"{_HERE}.reads:reads",
        "findings": f"{_HERE}.findings:findings",
        "roles": f"{_HERE}.roles:roles",
        "export": f"{_HERE}.export:export",
        "hold": f"{_HERE}.hold:hold",
        "migrate": f"{_HERE}.migrate:migrate",
        "packages": f"{_HERE}.packages:packages",
        "prune": f"{_HERE}.prune:prune",
        "policies": f"{_HERE}.policies:policies",
        "prove": f"{_HERE}.prove:command",
        "refused": f"{_HERE}.refused:refused",
        "running": f"{_HERE}.running:running",
        "sboms": f"{_HERE}.sboms:sboms",
        "show": f"{_HERE}.show:show",
    },
)
def inventory() -> None:
    """Read the evidence inventory: what ran, what was decided, and what it rests on."""
