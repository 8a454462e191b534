"""Has the ledger's checkpoints cosigned by witnesses, each in a thread of its own: numbering never waits for one.

What a witness signed is verified and put beside the ledger's own signature, so that whoever is shown the checkpoint
sees that somebody else has seen the same history.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from sqlalchemy import Engine, select, update
from sqlalchemy.exc import SQLAlchemyError

from controller import telemetry
from controller.errors import AssayError, ConfigurationError
from controller.inventory import tables
from controller.inventory.database.failures import cause
from controller.inventory.ledger import notes, witness
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.posting import CheckAddress, post
from controller.inventory.ledger.reading import LedgerReader
from controller.inventory.ledger.witness import Witness
from controller.settings import quotable

TIMEOUT = 10.0  # seconds for one answer
PAUSE = 1.0  # seconds between two looks for a new checkpoint
RETRY = 15.0  # seconds before a witness that failed is asked again
CLOSING = 1.0  # seconds that closing waits for one that is being asked

log = logging.getLogger(__name__)


def witnesses_of(texts: Sequence[str], *, allow_http: bool) -> tuple[Witness, ...]:
    """The witnesses of the setting. Raises `ConfigurationError` (`SettingInvalid`)."""
    found = []
    for text in texts:
        try:
            found.append(Witness.parse(text, allow_http=allow_http))
        except ValueError as exc:
            raise ConfigurationError("SettingInvalid", f"ledger_witnesses: {quotable(text)} {exc}") from exc
    return tuple(found)


class Disagrees(Exception):
    """A witness has seen a history that this ledger does not continue."""


class Cosigned:
    """Puts cosignatures beside the ledger's signature. Blocking; may be used by several threads."""

    def __init__(self, writing: Engine, *, term: Callable[[], int]) -> None:
        """`term`: the one under which this process writes the ledger."""
        self._writing = writing
        self._term = term
        self.size = -1  # of the newest checkpoint that a witness has cosigned

    def add(self, size: int, line: str) -> bool:
        """Whether the line is stored: not if this process writes the ledger no more, or the checkpoint is gone."""
        table, state = tables.ledger_checkpoint, tables.ledger_state
        with self._writing.begin() as connection:
            mine = update(state).where(state.c.term == self._term()).values(term=state.c.term)
            if connection.execute(mine).rowcount != 1:
                return False
            note = connection.execute(select(table.c.note).where(table.c.size == size)).scalar_one_or_none()
            if note is None:
                return False
            if line not in note:
                name = line.split(" ", 2)[:2]  # a witness's newer line takes the place of its older one
                kept = [each for each in notes.split(note.encode())[1] if each.split(" ", 2)[:2] != name]
                text, _ = notes.split(note.encode())
                connection.execute(
                    update(table).where(table.c.size == size).values(note=notes.note(text, [*kept, line]))
                )
        self.size = max(self.size, size)
        return True


class Witnessing:
    """Asks the witnesses about each new checkpoint, until it is closed."""

    def __init__(
        self,
        witnesses: Sequence[Witness],
        reader: LedgerReader,
        cosigned: Cosigned,
        *,
        check: CheckAddress,
        writes: Callable[[], bool],
    ) -> None:
        """`writes` says whether this process writes the ledger: only that one asks."""
        self._reader = reader
        self._cosigned = cosigned
        self._check = check
        self._writes = writes
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(each,), name=f"witness-{each.key.name}"[:60], daemon=True)
            for each in witnesses
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop, after `CLOSING` seconds at the latest."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(CLOSING)

    def _run(self, one: Witness) -> None:
        seen, done = 0, -1
        while not self._stopping.is_set():
            pause = PAUSE
            try:
                note = self._reader.checkpoint() if self._writes() else None
                size = _size(note) if note is not None else -1
                if note is not None and size != done:
                    line, seen = self._ask(one, note, size, seen)
                    if self._cosigned.add(size, line):
                        telemetry.LEDGER_WITNESSED.labels(one.key.name).set(size)
                    done = size
            except Disagrees as exc:
                log.critical("the witness %s has seen ANOTHER HISTORY of the ledger: %s", one.key.name, exc)
                pause = self._failed(one)
            except (OSError, ValueError) as exc:
                log.warning("the witness %s did not cosign: %s", one.key.name, exc)
                pause = self._failed(one)
            except AssayError as exc:
                log.warning("the ledger cannot be read for the witness %s: %s", one.key.name, exc)
                pause = self._failed(one)
            except SQLAlchemyError as exc:
                log.warning("the cosignature of %s was not stored: %s", one.key.name, cause(exc))
                pause = self._failed(one)
            except Exception:  # a bug: the ledger goes on without this witness
                log.exception("the witness %s was not asked", one.key.name)
                pause = self._failed(one)
            self._stopping.wait(pause)

    def _on_loopback(self, address: str, port: int) -> None:
        """Plain HTTP is for this machine alone."""
        if not ip_address(address.partition("%")[0]).is_loopback:
            raise OSError("plain HTTP is spoken on loopback alone")
        self._check(address, port)

    def _failed(self, one: Witness) -> float:
        telemetry.LEDGER_WITNESS_FAILURES.labels(one.key.name).inc()
        return RETRY

    def _ask(self, one: Witness, note: str, size: int, seen: int) -> tuple[str, int]:
        """The witness's line for this note, and the size that it has seen now. `seen`: what it is thought to have seen.

        Raises `Disagrees`, `ValueError` and `OSError` for what it said or did not, `AssayError` as the reader.
        """
        for _ in range(2):  # the second time from the size that it says
            proof = self._reader.continues(seen, size) if 0 < seen < size else []
            answer = post(
                f"{one.url}/add-checkpoint",
                witness.request(seen, proof, note),
                check=self._check if one.url.startswith("https://") else self._on_loopback,
                timeout=TIMEOUT,
                limit=witness.MAX_ANSWER,
            )
            if answer.status == 200:
                return witness.cosignature(note, answer.body, one.key), size
            if answer.status == 422:
                raise Disagrees(f"it does not believe that {size} entries continue the {seen} that it has seen")
            if answer.status != 409:
                raise ValueError(f"it answered with status {answer.status}")
            if answer.media_type != witness.SIZE_TYPE:
                raise Disagrees(f"it has seen another root of {seen} entries")
            said = witness.size_of(answer.body)
            if said > size:
                raise Disagrees(f"it has seen {said} entries, and there are {size}")
            if said == seen:
                raise Disagrees(f"it has seen another root of {seen} entries")
            seen = said
        raise ValueError("it says of itself first one size, and then another")


def _size(note: str) -> int:
    return Checkpoint.parse(notes.split(note.encode())[0]).size
