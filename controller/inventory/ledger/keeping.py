"""Keeps the ledger going: a thread that numbers what was recorded, signs, and remembers outside of the database.

What it signed last is kept in a file as well. A database that was put back to an older state, or exchanged, would
otherwise be continued, and the same key would have signed two histories.

Several processes may try. Where somebody says which of them leads (a Lease), only that one writes. Else each yields to
the one who writes, and takes over only where records wait too long. Either way it is the term that keeps two apart.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from sqlalchemy.exc import SQLAlchemyError

from controller import telemetry
from controller.errors import AssayError, ConfigurationError
from controller.inventory.database.failures import cause
from controller.inventory.ledger import notes
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.checkpoint_files import CheckpointFiles
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.ledger.reading import LedgerReader
from controller.inventory.ledger.sequencing import LedgerError, Sequencer
from controller.settings import InventorySettings

KEY, PUBLIC_KEY, CHECKPOINT = "ledger.key", "ledger.pub", "checkpoint"
PATIENCE = 30.0  # seconds that records may wait before another process takes the ledger over
CLOSING = 5.0  # seconds that closing waits for a database that hangs
FILE_INTERVAL = 60.0  # seconds between two checkpoints that are kept for others, and the last one when it ends
RETRY = 5.0  # seconds before a ledger that could not be written is tried again

log = logging.getLogger(__name__)


def open_signer(name: str, *, key_file: str, directory: Path) -> NoteSigner:
    """The ledger's key: from a file (PEM, PKCS #8, Ed25519), or made once in the directory.

    The public half lies in the directory as well (`ledger.pub`, a verifier key of C2SP signed-note).
    Raises `ConfigurationError` (`LedgerKeyUnreadable`, `SettingInvalid`), which never quotes the file.
    """
    path = Path(key_file) if key_file else directory / KEY
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not key_file and not path.exists():
            made = Ed25519PrivateKey.generate()
            _write(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as exc:
        raise ConfigurationError("LedgerKeyUnreadable", f"the ledger's key {path}: {exc.strerror}") from exc
    except (ValueError, TypeError) as exc:
        raise ConfigurationError("LedgerKeyUnreadable", f"{path} is no unencrypted PEM private key (PKCS #8)") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError("LedgerKeyUnreadable", f"{path} is no Ed25519 key")
    try:
        signer = NoteSigner.of_seed(name, key.private_bytes_raw())
    except ValueError as exc:
        raise ConfigurationError("SettingInvalid", f"ledger_origin: {exc}") from exc
    _write(directory / PUBLIC_KEY, f"{signer.key()}\n".encode())
    return signer


def known_signer(settings: InventorySettings, *, cluster: str) -> NoteSigner:
    """The key of a ledger that is there already: never a new one, whose signature nobody knows.

    Raises `ConfigurationError` (`LedgerKeyMissing`, `LedgerKeyUnreadable`, `SettingInvalid`).
    """
    directory = settings.ledger_folder()
    if not settings.ledger_key_file and not (directory / KEY).is_file():
        message = f"there is no ledger.key in {directory}: name the ledger's key by ledger_key_file or ledger_directory"
        raise ConfigurationError("LedgerKeyMissing", message)
    return open_signer(origin_of(settings, cluster), key_file=settings.ledger_key_file, directory=directory)


def origin_of(settings: InventorySettings, cluster: str) -> str:
    """The ledger's name in its checkpoints."""
    return settings.ledger_origin or f"assay/{cluster}"


class LedgerKeeper:
    """Runs a sequencer in a thread of its own until it is closed."""

    def __init__(
        self,
        sequencer: Sequencer,
        reader: LedgerReader,
        *,
        directory: Path,
        interval: float,
        clock: Callable[[], datetime],
        leads: Callable[[], bool] | None = None,
        files: CheckpointFiles | None = None,
    ) -> None:
        """`leads` says whether this process is the one that should write; None: nobody says.

        `files`: where checkpoints are kept for others.
        """
        self._leads = leads
        self._files = files
        self._filed = float("-inf")
        self._sequencer = sequencer
        self._reader = reader
        self._file = directory / CHECKPOINT
        self._interval = max(0.05, interval / 2)  # what is recorded right after a look still has its number in time
        self._clock = clock
        self._writes = False
        self._kept = ""
        self._yielded = float("-inf")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def writes(self) -> bool:
        """Whether it is this process that writes the ledger, as far as it knows. May be asked from any thread."""
        return self._writes

    def close(self) -> None:
        """Number what is recorded until now, if this process writes the ledger, and stop, after `CLOSING` seconds at
        the latest: whoever writes the ledger next goes on where this one was."""
        self._stopping.set()
        self._thread.join(CLOSING)

    def _run(self) -> None:
        while True:
            last = self._stopping.is_set()
            pause = self._interval if self._turn() else RETRY
            if last:
                return
            self._stopping.wait(pause)

    def _turn(self) -> bool:
        """One look. Whatever goes wrong is said, counted, and tried again; recording goes on all the while."""
        try:
            if self._writes and not self._may_write():
                self._writes = False
                log.info("the ledger is left to the process that leads")
            if not self._writes:
                self._writes = self._may_write() and self._take_over()
            if self._writes:
                while self._sequencer.sequence().more and self._may_write():
                    pass
                self._keep()
            else:
                self._follow()
            self._measure()
        except LedgerError as exc:
            self._writes, self._yielded = False, time.monotonic()
            if exc.code == "LedgerTaken":
                log.info("another process writes the ledger now")
                return True
            return self._failed(exc)
        except AssayError as exc:
            return self._failed(exc)
        except SQLAlchemyError as exc:
            return self._failed(cause(exc))
        except OSError as exc:
            return self._failed(f"its last checkpoint cannot be kept: {exc.strerror}")
        except Exception:  # a bug: without the ledger nothing is lost, and it must come back
            log.exception("the ledger was not written")
            telemetry.LEDGER_FAILURES.inc()
            return False
        return True

    def _failed(self, why: object) -> bool:
        telemetry.LEDGER_FAILURES.inc()
        log.error("the ledger was not written: %s", why)
        return False

    def _may_write(self) -> bool:
        """Not where another leads. (Who does not know yet that it was replaced is stopped by the term.)"""
        return self._leads is None or self._leads()

    def _take_over(self) -> bool:
        """Whether this process may write: at once if it leads or never yielded, else where nobody does."""
        if self._leads is None and self._yielded != float("-inf"):
            extent = self._reader.extent()
            waits = (self._clock() - extent.since).total_seconds() if extent.since is not None else 0.0
            if waits < PATIENCE:
                return False
        if self._file.exists():
            kept, _ = notes.split(self._file.read_bytes())
            self._sequencer.check(Checkpoint.parse(kept))
        filed = self._filed_last()
        if filed is not None:
            self._sequencer.check(filed)
        self._sequencer.take_over()
        return True

    def _keep(self) -> None:
        """Write down what was signed here. What the database says was signed may be somebody else's word."""
        if self._sequencer.signed != self._kept:
            _write(self._file, self._sequencer.signed.encode())
            self._kept = self._sequencer.signed
        due = time.monotonic() - self._filed > FILE_INTERVAL or self._stopping.is_set()
        if self._files is not None and self._kept and due:
            self._filed = time.monotonic()
            try:
                self._files.keep(self._kept)
            except OSError as exc:  # the ledger goes on without, and this process keeps its own
                self._failed(f"a checkpoint is not kept in ledger_checkpoint_dir: {exc.strerror}")

    def _follow(self) -> None:
        """Keep what the one who writes has signed, once it is shown to continue what was kept here.

        Raises `LedgerError` (`LedgerForked`) where it does not, or nobody with the key has signed it.
        """
        note = self._reader.checkpoint()
        if note is None or note == self._kept:
            return
        if self._file.exists():
            mine, _ = notes.split(self._file.read_bytes())
            self._sequencer.check(Checkpoint.parse(mine))
        try:
            text, _ = notes.open_note(note.encode(), [self._sequencer.key])
            self._sequencer.check(Checkpoint.parse(text))
        except ValueError as exc:
            raise LedgerError("LedgerForked", f"the checkpoint in the database {exc}") from exc
        _write(self._file, note.encode())
        self._kept = note

    def _filed_last(self) -> Checkpoint | None:
        try:
            return self._files.newest() if self._files is not None else None
        except OSError as exc:
            self._failed(f"what was kept in ledger_checkpoint_dir cannot be read: {exc.strerror}")
            return None

    def _measure(self) -> None:
        extent = self._reader.extent()
        telemetry.LEDGER_SIZE.set(extent.size)
        waits = (self._clock().astimezone(UTC) - extent.since).total_seconds() if extent.since is not None else 0.0
        telemetry.LEDGER_LAG.set(max(0.0, waits))


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing, for its owner alone."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
