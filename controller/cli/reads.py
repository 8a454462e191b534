"""That somebody reads with a command, as a record of the ledger before anything is shown (setting `log_reads`)."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Any

import click

from controller import settings as settings_module
from controller.errors import InputError
from controller.inventory.asking.names import Named, may_be_cut
from controller.inventory.asking.reads import Logged, Read, leaf
from controller.inventory.recording.appending import append_one
from controller.inventory.store import Store
from controller.settings import Settings

_GROUPS = ("inventory", "query")
_ONE = frozenset({"show", "blob", "export", "prove", "query"})  # of one thing, exports and SQL: what `Evidence` covers
_ARGUMENTS = ("name", "digest", "record", "sql", "subject")  # what one thing is asked for by, as commands call it

_IMAGES = ("show", "export", "prove", "running", "decisions", "findings", "components")  # what is given a digest
_NAMED = {"blob": Named.ARTIFACT} | dict.fromkeys(_IMAGES, Named.IMAGE)


def note(settings: Settings) -> None:
    """Record it, if the command under way reads the inventory and such reads are recorded.

    Who reads is the user of the operating system: whoever can read the file could do so without Assay, too.
    """
    logged = Logged(settings.inventory.log_reads)
    context = click.get_current_context(silent=True)
    words = context.command_path.split()[1:] if context is not None else []
    if context is None or logged is Logged.OFF or not words or words[0] not in _GROUPS or words[-1] == "reads":
        return
    command = words[-1]
    if logged is Logged.EVIDENCE and command not in _ONE:
        return
    asked = {name: value for name, value in context.params.items() if name not in {*settings_module.names(), "config"}}
    read = Read(
        username=getpass.getuser(),
        via="CLI",
        verb="get" if command in _ONE else "list",
        resource=command,
        namespace=str(asked.get("namespace") or ""),
        identity=_whole(
            settings, command, next((asked[name] for name in _ARGUMENTS if isinstance(asked.get(name), str)), "")
        ),
        parameters={name: _texts(value) for name, value in asked.items() if value not in (None, False, ())},
        status=0,
        count=None,
    )
    now = datetime.now(UTC)
    append_one(settings.inventory, leaf(read, cluster=settings.review.cluster_name, now=now), now=now)


def _whole(settings: Settings, command: str, name: str) -> str:
    """What is read, by the name under which it is looked for later: not as tables cut it.

    What other commands are given, the name of a pod or of an exception, is no digest though it may look like one. What
    is the beginning of no name is recorded as it was asked for: the command itself refuses it.
    """
    if command not in _NAMED or not may_be_cut(name):
        return name
    with Store.open_to_read(settings.inventory) as store:
        try:
            return store.questions.names.whole(_NAMED[command], name)
        except InputError:
            return name


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, tuple | list) else [str(value)]
