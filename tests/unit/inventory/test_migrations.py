"""The migrations are one chain: each stands on the one before it, and what a database must be at is the last."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from controller.inventory import migrations, tables

FOLDER = Path(migrations.__file__).parent


def test_every_migration_stands_on_the_one_before_it_and_the_last_is_what_a_database_must_be_at() -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    chain = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert chain[::-1] == [f"{number:04}" for number in range(1, len(chain) + 1)]
    assert chain[0] == tables.REVISION


def test_every_migration_is_the_only_one_of_its_number() -> None:
    """Two of one number would hide each other: Alembic warns, and takes one of them."""
    names = sorted(path.name for path in (FOLDER / "versions").glob("[0-9]*.py"))
    assert [name.split("_")[0] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]
