"""Opening an inventory: who may write to it, and in what state it has to be.

An SQLite file belongs to one serving process, which holds a lock file beside it as long as it lives (the kernel lets
go of it when the process dies, however it dies). Others read it, without being able to write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from controller.errors import ConfigurationError
from controller.inventory.asking.queries import Queries
from controller.inventory.audit import verifying
from controller.inventory.audit.verifying import Kept, Report
from controller.inventory.blobs.files import BlobFolder
from controller.inventory.blobs.store import Blobs
from controller.inventory.database import dialect, engines, failures, partitions
from controller.inventory.database.backfill import Backfill
from controller.inventory.database.lock import FileLock, claimed
from controller.inventory.database.partition_keeping import PartitionKeeper
from controller.inventory.index import reading as documents
from controller.inventory.index import writing as index
from controller.inventory.index.writing import Indexer, Read
from controller.inventory.ledger.notes import NoteKey, NoteSigner
from controller.inventory.ledger.reading import LedgerReader
from controller.inventory.ledger.sequencing import Sequencer
from controller.inventory.ledger.witnessing import Cosigned
from controller.inventory.questions import Questions
from controller.inventory.recording import projections
from controller.inventory.recording.fallback import Fallback
from controller.inventory.recording.spool import Spool
from controller.inventory.recording.writer import Writer
from controller.inventory.retention.configurations import ConfigurationKeeper
from controller.inventory.retention.pruning import Pruner
from controller.inventory.retention.rules import rules
from controller.inventory.tables import REVISION
from controller.settings import DocumentSettings, InventorySettings

NOT_MIGRATED = "DatabaseNotMigrated"
POSTGRESQL_WRITERS = 2  # groups on their way to a server at once: one is made ready while it is at work on the other


def _now() -> datetime:
    return datetime.now(UTC)


def is_server(settings: InventorySettings) -> bool:
    """Whether the inventory is a database server's, which several processes may use, and not a file of one's own."""
    return engines.sqlite_file(engines.parse(settings.url())) is None


def is_away(error: ConfigurationError) -> bool:
    """Whether an inventory could not be opened because its server did not answer: later it may."""
    return isinstance(error.__cause__, SQLAlchemyError) and failures.is_server_away(error.__cause__)


class Store:
    """An open inventory: `writer` (a `Recorder`; absent when opened to read) and `questions`. Close it."""

    def __init__(
        self,
        *,
        writer: Writer | None,
        reading: Engine,
        lock: FileLock | None,
        blobs: Blobs,
        backfill: Backfill | None = None,
    ) -> None:
        self._writer = writer
        self._backfill = backfill
        self._reading = reading
        self._blobs = blobs
        self._lock = lock
        self._engines: list[Engine] = []
        self.questions = Questions.of(reading, blobs)

    @classmethod
    def open(cls, settings: InventorySettings, *, clock: Callable[[], datetime] = _now) -> Store:
        """For the serving process. A new SQLite file is made (0600) and brought up to date; PostgreSQL must be.

        Raises `ConfigurationError`: `DatabaseUrlInvalid`, `DatabaseInUse`, `DatabaseUnusable`, `DatabaseNotDurable`,
        `DatabaseNotMigrated`, `DatabaseNewer`, `DriverMissing`.
        """
        url = engines.parse(settings.url())
        lock = _claim(url)
        try:
            writers = POSTGRESQL_WRITERS if lock is None else 1
            engine = engines.writing_engine(url, connections=writers)
            try:
                _require_current(engine, migrate=lock is not None, blobs=_blobs(settings, url))
                reading = _reading_engine(settings, url)
            except BaseException:
                engine.dispose()
                raise
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        blobs = _blobs(settings, url)
        fallback = None
        if settings.durability == "Spool":
            spool = Spool(settings.spool_folder(engines.sqlite_file(url)), max_bytes=settings.spool_max_bytes)
            fallback = Fallback(spool, _keeping_engine(url), blobs=blobs, lose=settings.spool_full == "Admit")
        file = engines.sqlite_file(url)
        backfill = Backfill(file) if file is not None else None
        writer = Writer(
            engine,
            group_size=settings.database_group_size,
            queue=settings.database_queue,
            clock=clock,
            blobs=blobs,
            fallback=fallback,
            threads=writers,
            committed=backfill.written if backfill is not None else None,
        )
        return cls(writer=writer, reading=reading, lock=lock, blobs=blobs, backfill=backfill)

    @classmethod
    def open_to_read(cls, settings: InventorySettings) -> Store:
        """For everyone else, beside a serving process or without one. Raises `ConfigurationError` as `open` does."""
        url = engines.parse(settings.url())
        _require_there(url)
        reading = _reading_engine(settings, url)
        try:
            _require_current(reading, migrate=False)
        except BaseException:
            reading.dispose()
            raise
        return cls(writer=None, reading=reading, lock=None, blobs=_blobs(settings, url))

    @property
    def queries(self) -> Queries:
        """Questions about decisions, what ran, exceptions and raw evidence."""
        return self.questions.queries

    @property
    def ledger(self) -> LedgerReader:
        """Questions about the ledger."""
        return self.questions.ledger

    @property
    def is_ours(self) -> bool:
        """Whether this process alone writes to it: an SQLite file that was opened for recording."""
        return self._lock is not None

    @property
    def is_shared(self) -> bool:
        """Whether several processes may write to it."""
        return self._reading.dialect.name != "sqlite"

    @property
    def writer(self) -> Writer:
        """The recorder. Raises `ConfigurationError` (`DatabaseReadOnly`) when this store was opened to read."""
        if self._writer is None:
            raise ConfigurationError("DatabaseReadOnly", "this inventory was opened to read")
        return self._writer

    def sequencer(
        self, settings: InventorySettings, *, signer: NoteSigner, clock: Callable[[], datetime] = _now
    ) -> Sequencer:
        """Who gives the recorded leaves their numbers; on a connection of its own, so that recording goes on beside."""
        engine = _keeping_engine(engines.parse(settings.url()))
        self._engines.append(engine)
        return Sequencer(engine, self._reading, signer=signer, clock=clock)

    def pruner(
        self,
        settings: InventorySettings,
        *,
        signer: NoteSigner,
        cluster: str,
        pause: Callable[[], bool],
        clock: Callable[[], datetime] = _now,
    ) -> Pruner:
        """Who drops what is older than its rule allows; on a connection of its own."""
        engine = engines.writing_engine(engines.parse(settings.url()))
        self._engines.append(engine)
        return Pruner(
            engine,
            self._reading,
            rules=rules(settings),
            blobs=self._blobs,
            cluster=cluster,
            signer=signer,
            clock=clock,
            pause=pause,
        )

    def cosigned(self, settings: InventorySettings, sequencer: Sequencer) -> Cosigned:
        """Who puts witnesses' cosignatures beside what the sequencer signed; on a connection of its own."""
        engine = _keeping_engine(engines.parse(settings.url()))
        self._engines.append(engine)
        cosigned = Cosigned(engine, term=lambda: sequencer.term)
        sequencer.cosigned = lambda: cosigned.size
        return cosigned

    def keep_partitions(
        self, settings: InventorySettings, *, clock: Callable[[], datetime] = _now
    ) -> PartitionKeeper | None:
        """Who makes the months that come; on a connection of its own. None in SQLite, which has none."""
        if not self.is_shared:
            return None
        engine = _keeping_engine(engines.parse(settings.url()))
        self._engines.append(engine)
        return PartitionKeeper(engine, clock=clock)

    def keep_configurations(self, settings: InventorySettings) -> ConfigurationKeeper | None:
        """Who deletes configurations that processes of an older version go on recording; on a connection of its own.

        None in SQLite, which has one process that records.
        """
        if not self.is_shared:
            return None
        engine = _keeping_engine(engines.parse(settings.url()))
        self._engines.append(engine)
        return ConfigurationKeeper(engine, self._blobs)

    def readers_may_write(self) -> bool:
        """Whether the rights of the connection that reads would let it write, were it not for this program's care."""
        return dialect.may_write(self._reading)

    def indexer(
        self,
        settings: InventorySettings,
        *,
        read: Read,
        clock: Callable[[], datetime] = _now,
        pace: Callable[[float], None] = lambda _seconds: None,
    ) -> Indexer:
        """Who indexes what attested documents say; on a connection of its own, so that recording goes on beside.

        `pace` is told how long each of its transactions took.
        """
        engine = engines.deriving_engine(engines.parse(settings.url()))
        self._engines.append(engine)
        return Indexer(engine, self._reading, blobs=self._blobs, read=read, clock=clock, pace=pace)

    def verify(
        self, *, keys: Sequence[NoteKey], kept: Iterable[Kept] = (), say: Callable[[str], None] = lambda _: None
    ) -> Report:
        """Hold everything that is there against the ledger, and the ledger against what was signed of it.

        `say` is told what is looked at, often.

        Raises `Unavailable` (`DatabaseBusy`, `DatabaseUnavailable`).
        """
        try:
            with self._reading.begin() as connection:
                dialect.take_time(connection)
                with dialect.any_text(connection):
                    return verifying.verify(connection, keys=keys, kept=kept, blobs=self._blobs, say=say)
        except SQLAlchemyError as exc:
            raise failures.unavailable(exc) from exc

    def close(self) -> None:
        """Write what waits, then let go. Blocks for as long as that takes; may be called twice."""
        if self._writer is not None:
            self._writer.close()
        if self._backfill is not None:
            self._backfill.close()
        for engine in self._engines:
            engine.dispose()
        self._reading.dispose()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def beside(settings: InventorySettings) -> Iterator[tuple[Engine, Blobs]]:
    """One connection that writes beside a serving process, or without one: for commands, a short transaction at a time.

    An SQLite file has one serving process, which remembers what it wrote; nothing is done here that makes that wrong.
    Raises `ConfigurationError` as `open_to_read` does.
    """
    url = engines.parse(settings.url())
    _require_there(url)
    engine = engines.writing_engine(url)
    try:
        _require_current(engine, migrate=False)
        yield engine, _blobs(settings, url)
    finally:
        engine.dispose()


def migrate(url: str, *, settings: InventorySettings | None = None) -> None:
    """Bring the database at `url` to this version's tables, under a lock. One that is current is only prepared for the
    months that come (`partitions`). `settings` say where large evidence lies, if not beside an SQLite file.

    Raises `ConfigurationError` as `Store.open` does.
    """
    with _exclusive(url) as engine:
        blobs = _blobs(settings or InventorySettings(database_url=url), engines.parse(url))
        _require_current(engine, migrate=True, blobs=blobs)
        partitions.keep(engine, _now())


def rebuild(
    url: str,
    *,
    settings: InventorySettings | None = None,
    limits: DocumentSettings = DocumentSettings(),  # noqa: B008 - frozen
) -> int:
    """Make all projections anew from the leaves, while nobody records, and the index from the documents' bytes.

    `settings` say where large evidence lies, if not beside an SQLite file. Returns the number of leaves. Raises
    `ConfigurationError` as `Store.open` does, `RecordingFailed` (`LeafMalformed`), `Unavailable` (`IndexBusy`).
    """
    with _exclusive(url) as engine:
        _require_current(engine, migrate=False)
        with engine.begin() as connection:
            dialect.take_time(connection)
            dialect.stop_appends(connection)
            count = projections.rebuild(connection)
        blobs = _blobs(settings or InventorySettings(database_url=url), engines.parse(url))
        index.rebuild(engine, blobs=blobs, read=lambda content: documents.read(content, limits), clock=_now)
        return count


def _reading_engine(settings: InventorySettings, url: URL) -> Engine:
    """The pool that reads: as the role for that, where there is one."""
    given = settings.database_reader_url
    reading = engines.parse(given) if given else url
    if reading.get_backend_name() != url.get_backend_name() or (given and engines.sqlite_file(reading) is not None):
        raise ConfigurationError(
            "SettingInvalid", "database_reader_url names the PostgreSQL of database_url, as another role"
        )
    return engines.reading_engine(reading, connections=max(1, settings.database_readers))


def _keeping_engine(url: URL) -> Engine:
    """The connection of one of those who keep the inventory beside the recorder."""
    return engines.writing_engine(url, cache=engines.KEEPING_CACHE)


def _blobs(settings: InventorySettings, url: URL) -> Blobs:
    """Raw evidence, with the folder of large files where there is one."""
    folder = settings.blob_folder(engines.sqlite_file(url))
    return Blobs(BlobFolder(folder), file_bytes=settings.blob_file_bytes) if folder is not None else Blobs()


def _claim(url: URL) -> FileLock | None:
    file = engines.sqlite_file(url)
    return claimed(file) if file is not None else None


@contextmanager
def _exclusive(url: str) -> Iterator[Engine]:
    parsed = engines.parse(url)
    lock = _claim(parsed)
    try:
        engine = engines.writing_engine(parsed)
        try:
            yield engine
        finally:
            engine.dispose()
    finally:
        if lock is not None:
            lock.release()


def _require_there(url: URL) -> None:
    file = engines.sqlite_file(url)
    if file is not None and not file.is_file():
        message = f"there is no inventory at {file}: nothing was recorded there; --database-url names another"
        raise ConfigurationError("DatabaseMissing", message)


def _require_current(engine: Engine, *, migrate: bool, blobs: Blobs | None = None) -> None:
    try:
        with engine.begin() as connection:
            if _is_current(connection, migrate=migrate):
                return
        # Only where it is needed: with Alembic it takes 8 MiB. And before the transaction: the server ends one that
        # stands still, and on a busy machine loading takes long.
        from controller.inventory.migrate import upgrade

        with engine.begin() as connection:
            if not _is_current(connection, migrate=migrate):
                upgrade(connection, blobs=blobs)
    except SQLAlchemyError as exc:
        raise ConfigurationError(
            "DatabaseUnusable",
            f"the database cannot be used ({failures.cause(exc)}): {failures.advice(exc)}",
        ) from exc


def _is_current(connection: Connection, *, migrate: bool) -> bool:
    """Whether the database has this version's tables. Raises `ConfigurationError` where it never will."""
    revision = dialect.revision(connection)
    if revision == REVISION:
        return True
    if revision is not None and revision > REVISION:
        raise ConfigurationError("DatabaseNewer", "the database belongs to a newer Assay: run that version")
    if not migrate:
        raise ConfigurationError(
            NOT_MIGRATED,
            "the database lacks this version's tables: `assay serve --operator` makes them when it starts, or"
            " `assay inventory migrate`",
        )
    return False
