"""An inventory of an older version, which kept whole configurations of images: with the migration their bytes go, and
nothing else does. What a leaf of that version says of them goes on being true (guarantees 12 and 14)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import column as named
from sqlalchemy import create_engine, insert, select, table, text

from controller.inventory import migrate, store, tables
from controller.inventory.blobs.files import BlobFolder
from controller.inventory.blobs.packing import pack
from controller.inventory.bundle.parts import parts
from controller.inventory.database import engines
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.recording.append import Record, append
from controller.inventory.recording.fallback import _record
from controller.inventory.recording.projecting import project
from controller.inventory.recording.projections import Remembered
from controller.inventory.recording.spool import Spooled
from controller.inventory.retention.configurations import ConfigurationKeeper
from controller.inventory.retention.leaves import Selection
from controller.inventory.retention.recording import HoldRecorder
from controller.inventory.store import Store, beside
from controller.model.reference import Digest
from controller.settings import InventorySettings
from tests.support.inventory import DIGEST, START, Clock, evaluation, leaf, soon, sqlite_database

SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))
SECRET = b"s3cr3t-value-of-a-build"
RELEASED, KEPT_BLOBS = "0005", "0008"  # a release; the first that may keep bytes in files


def config(name: str, **more: Any) -> bytes:
    inner = {"Env": [f"TOKEN={SECRET.decode()}", f"NAME={name}"]}
    return json.dumps({"architecture": "amd64", "os": "linux", "config": inner, "rootfs": {}, **more}).encode()


def digest_of(content: bytes) -> str:
    return str(Digest.of(content))


READ, UNREAD, AS_EVIDENCE, AS_ROOT = config("read"), config("unread"), config("evidence"), config("root")
EVIDENCE, UNPROVEN, POLICY = b'{"mediaType": "bundle"}', b'{"payload": "e30="}', b'{"spec": {}}'
CONFIGS = {digest_of(content): content for content in (READ, UNREAD)}
OTHERS = {digest_of(content): content for content in (AS_EVIDENCE, AS_ROOT, EVIDENCE, UNPROVEN, POLICY)}


def judged(*configs: bytes, **used: Any) -> dict[str, Any]:
    """An evaluation as that version recorded one whose rules looked at these configurations."""
    found = [{"digest": digest_of(one), "manifest": DIGEST, "platform": "linux/amd64"} for one in configs]
    made = evaluation()
    policy = made["policy"] | {"hash": digest_of(POLICY)}
    return made | {"policy": policy, "used": {"artifacts": [], "trustRoots": {}, "configs": found, **used}}


def old_leaves() -> list[dict[str, Any]]:
    def names(*contents: bytes) -> list[str]:
        return sorted({digest_of(POLICY), *map(digest_of, contents)})

    # One that was read; one that no rule came to, since the policy was never assessed: nothing says what it is.
    error = judged() | {"outcome": "Error", "used": {}, "signatures": [], "attestations": []}
    evidence = [digest_of(EVIDENCE), digest_of(AS_EVIDENCE)]
    return [
        leaf(1, evaluations=[judged(READ, AS_EVIDENCE, AS_ROOT)], blobs=names(READ, AS_EVIDENCE, AS_ROOT)),
        leaf(2, evaluations=[error], blobs=names(UNREAD, UNPROVEN)),
        leaf(3, evaluations=[judged(READ, artifacts=evidence)], blobs=names(READ, EVIDENCE, AS_EVIDENCE)),
        leaf(4, evaluations=[judged(trustRoots={"own": digest_of(AS_ROOT)})], blobs=names(AS_ROOT)),
    ]


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> InventorySettings:
    """Those of an empty place for a database."""
    folder = tmp_path / "old"
    folder.mkdir()
    is_file = request.param == "sqlite"
    url = f"sqlite:///{folder / 'inventory.db'}" if is_file else request.getfixturevalue("server").new_database()
    return InventorySettings(database_url=url, durability="Database", blob_directory=str(folder / "blobs"))


async def fill(settings: InventorySettings, tmp_path: Path, *, revision: str) -> None:
    """The leaves and bytes as that revision kept them; from 0008 on, one of each kind in a file."""
    source = sqlite_database(tmp_path / "source")
    with source.open(Clock()) as opened:
        for one in old_leaves():
            bytes_of = {Digest.parse(d): {**CONFIGS, **OTHERS}[d] for d in one["blobs"]}
            await opened.writer.record(one, blobs=bytes_of, deadline=soon())
    with beside(source.settings) as (engine, blobs):  # a hold keeps records and evidence, and no environment value
        recorder = HoldRecorder(engine, blobs, cluster="local", clock=Clock())
        recorder.place("court", reason="a court asked", person="jane", what=Selection(digest=DIGEST))
    reading, writing = create_engine(source.settings.url()), engines.writing_engine(engines.parse(settings.url()))
    with reading.connect() as here, writing.begin() as there:
        migrate.upgrade(there, to=revision)
        for row in here.execute(select(tables.leaf)).mappings():
            there.execute(insert(tables.leaf), dict(row))
        for digest, content in {**CONFIGS, **OTHERS}.items():
            row: dict[str, Any] = {"digest": digest, "size": len(content), "content": content, "recorded_at": START}
            if revision == KEPT_BLOBS:
                encoding, packed = pack(content)
                in_file = content in (READ, EVIDENCE)
                row |= {"encoding": encoding.value, "content": b"" if in_file else packed}
                row["location"] = "file" if in_file else "row"
                if in_file:
                    BlobFolder(Path(settings.blob_directory)).write(Digest.parse(digest), packed)
            columns = [named(name, tables.blob.c[name].type) for name in row]
            there.execute(insert(table("blob", *columns)), row)
        if there.dialect.name == "postgresql":  # the next record has a position of its own
            there.execute(text("SELECT setval(pg_get_serial_sequence('leaf', 'position'), 1000)"))
    reading.dispose()
    writing.dispose()


def kept(settings: InventorySettings) -> set[str]:
    with beside(settings) as (engine, _), engine.begin() as connection:
        return set(connection.execute(select(tables.blob.c.digest)).scalars())


@pytest.mark.guarantee(12)
@pytest.mark.parametrize("revision", [RELEASED, KEPT_BLOBS])
async def test_with_the_migration_configurations_go_whatever_is_held_and_nothing_else(
    settings: InventorySettings, tmp_path: Path, revision: str
) -> None:
    await fill(settings, tmp_path, revision=revision)
    store.migrate(settings.url(), settings=settings)
    assert kept(settings) == OTHERS.keys()
    with Store.open_to_read(settings) as opened:
        assert {digest: opened.queries.blob(digest) for digest in OTHERS} == OTHERS
        assert all(opened.queries.blob(digest) is None for digest in CONFIGS)
    files = [path for path in (tmp_path / "old").rglob("*") if path.is_file()]
    own = len(list((tmp_path / "old" / "blobs").rglob("sha256/*/*")))
    assert own == (1 if revision == KEPT_BLOBS else 0)
    for content in CONFIGS.values():  # not in free pages of an SQLite file either
        assert all(content not in path.read_bytes() for path in files)


@pytest.mark.guarantee(14)
async def test_what_is_left_verifies_and_a_blob_that_somebody_removes_is_named(
    settings: InventorySettings, tmp_path: Path
) -> None:
    await fill(settings, tmp_path, revision=RELEASED)
    store.migrate(settings.url(), settings=settings)
    clock = Clock()
    with Store.open(settings, clock=clock) as opened:
        sequencer = opened.sequencer(settings, signer=SIGNER, clock=clock)
        sequencer.take_over()
        while sequencer.sequence().more:
            pass
        assert opened.verify(keys=[SIGNER.key()]).findings == []
        for content in (AS_EVIDENCE, AS_ROOT, EVIDENCE, POLICY):
            removed = digest_of(content)
            engine = engines.writing_engine(engines.parse(settings.url()))
            with engine.begin() as connection:
                connection.execute(tables.blob.delete().where(tables.blob.c.digest == removed))
            engine.dispose()
            found = opened.verify(keys=[SIGNER.key()]).findings
            assert f"blob {removed}" in {one.where for one in found if one.code == "BlobRemoved"}


def kept_of(settings: InventorySettings) -> set[str]:
    engine = create_engine(engines.parse(settings.url()))
    with engine.connect() as connection:
        found = set(connection.execute(select(tables.blob.c.digest)).scalars())
    engine.dispose()
    return found


async def test_a_migration_that_breaks_off_while_it_deletes_them_is_run_again(
    settings: InventorySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(settings, tmp_path, revision=KEPT_BLOBS)

    class DeathError(Exception):
        pass

    with monkeypatch.context() as patched:

        def die(*_: Any) -> Iterator[None]:
            raise DeathError

        patched.setattr(migrate.views, "make", die)  # after the files are gone, before the commit
        with pytest.raises(DeathError):
            store.migrate(settings.url(), settings=settings)
    assert kept_of(settings) == {*CONFIGS, *OTHERS}
    store.migrate(settings.url(), settings=settings)
    assert kept(settings) == OTHERS.keys()


@pytest.mark.guarantee(12)
async def test_what_a_replica_of_an_older_version_records_after_the_migration_goes_within_the_day(
    settings: InventorySettings, tmp_path: Path
) -> None:
    await fill(settings, tmp_path, revision=RELEASED)
    store.migrate(settings.url(), settings=settings)
    late = config("late")
    name = digest_of(late)

    def record(number: int, **changes: Any) -> None:
        one = leaf(number, **changes)
        with beside(settings) as (engine, blobs), engine.begin() as connection:
            append(connection, [Record(project(one), {name: late})], now=START, remembered=Remembered(), blobs=blobs)
            blobs.write(connection, {name: late}, now=START)  # as only that version does

    with beside(settings) as (engine, blobs):
        keeper = ConfigurationKeeper(engine, blobs, first=3600)
        keeper.close()
        record(11, evaluations=[judged(late)], blobs=[name])
        assert kept(settings) == {*OTHERS, name}
        assert keeper.turn()
        assert kept(settings) == OTHERS.keys()
        record(12, evaluations=[judged(late)], blobs=[name])
        assert keeper.turn()
        assert kept(settings) == OTHERS.keys()
        record(13, evaluations=[judged(artifacts=[name])], blobs=[name])
        record(14, evaluations=[judged(late)], blobs=[name])  # a configuration of which the bytes are evidence, too
        assert keeper.turn()
        assert kept(settings) == {*OTHERS, name}


def test_who_shares_a_database_looks_for_them_again(settings: InventorySettings) -> None:
    store.migrate(settings.url(), settings=settings)
    with Store.open(settings) as opened:
        keeper = opened.keep_configurations(settings)
        if keeper is not None:
            keeper.close()
        assert (keeper is not None) == opened.is_shared


@pytest.mark.guarantee(12)
async def test_what_an_older_version_left_in_the_spool_brings_no_configuration(tmp_path: Path) -> None:
    database = sqlite_database(tmp_path)
    one = old_leaves()[2]
    contents = {**CONFIGS, **OTHERS}
    spooled = Spooled(START, json.dumps(one).encode(), tuple(contents[digest] for digest in one["blobs"]))
    with database.open() as opened:
        await opened.writer.record(one, blobs={Digest.of(c): c for c in spooled.blobs}, deadline=soon())
    assert set(_record(spooled).projection.blobs) == {digest_of(POLICY), digest_of(EVIDENCE), digest_of(AS_EVIDENCE)}
    assert kept(database.settings) == {digest_of(POLICY), digest_of(EVIDENCE), digest_of(AS_EVIDENCE)}


def test_an_export_holds_no_configuration_and_misses_none() -> None:
    read, unassessed, _, _ = old_leaves()
    assert parts(read).keys() == {digest_of(POLICY)}
    assert parts(unassessed).keys() == {digest_of(POLICY), digest_of(UNREAD), digest_of(UNPROVEN)}
