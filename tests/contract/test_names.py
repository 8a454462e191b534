"""Names as tables show them, cut short: a command finds the whole one, and nobody is told that nothing has it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controller.cli import EXIT_ERROR, run
from controller.errors import InputError
from controller.inventory.asking.affected.resting import Footing
from controller.inventory.asking.names import Named
from controller.inventory.store import Store
from tests.support.inventory import Database, evaluation, image, leaf, sighting, soon

ONE, TWO = "sha256:" + "a1" * 32, "sha256:a1a1a1a1a1a1ffff" + "00" * 24
KEY = "sha256:" + "4b" * 32


async def record(opened: Store, *values: dict[str, Any]) -> None:
    for value in values:
        await opened.writer.record(value, blobs={}, deadline=soon())


def signed_by_a_key(number: int, digest: str) -> dict[str, Any]:
    said = evaluation()
    said["signatures"][0]["signer"] = {"key": KEY, "issuer": "", "subject": "", "claims": {}}
    value = leaf(number, images=[{**image(digest=digest), "kind": "container", "manifests": []}], evaluations=[said])
    value["object"] = {**value["object"], "uid": f"pod-{number}"}
    return value


@pytest.fixture
def held(opened: Store) -> Store:
    asyncio.run(
        record(
            opened,
            signed_by_a_key(1, ONE),
            signed_by_a_key(2, ONE),
            sighting("Started", 3, uid="pod-1", id="1", digest=ONE, imageId=f"ghcr.io/acme/app@{ONE}"),
            sighting("Started", 4, uid="pod-9", id="9", digest=TWO, imageId=f"ghcr.io/acme/app@{TWO}"),
        )
    )
    return opened


def test_a_digest_that_is_cut_short_is_the_one_that_begins_so(held: Store) -> None:
    whole = held.questions.names.whole
    for cut in (ONE[:24], f"{ONE[:24]}…", ONE[:-1], ONE, ONE.removeprefix("sha256:"), ONE[7:25]):
        assert whole(Named.IMAGE, cut) == ONE, cut
    assert whole(Named.IMAGE, TWO[:23]) == TWO  # known by a sighting alone
    assert whole(Named.SIGNER, KEY[:19]) == KEY
    for other in (
        "",
        "sha256:a1",
        "1f6e0a5b-73ea-48c9-81f8-6c3f7f954fcf",
        "containerd://a1a1a1a1a1",
        "sha256:" + "A1" * 8,
    ):
        assert whole(Named.IMAGE, other) == other, other
    assert whole(Named.SIGNER, "4b4b4b4b4b4b") == "4b4b4b4b4b4b"  # somebody may be called so


def test_a_name_that_is_the_beginning_of_none_or_of_several_is_refused(held: Store) -> None:
    with pytest.raises(InputError, match="no image is recorded") as none:
        held.questions.names.whole(Named.IMAGE, "sha256:" + "0b" * 6)
    with pytest.raises(InputError, match=f"{ONE}, {TWO}") as several:
        held.questions.names.whole(Named.IMAGE, ONE[:19])
    assert (none.value.code, several.value.code) == ("NameUnknown", "NameAmbiguous")


def test_nobody_is_told_that_nothing_rests_on_a_name_that_was_cut(held: Store) -> None:
    for cut in (KEY[:19], KEY[:-1]):
        for ask in (
            lambda cut=cut: held.questions.affected.extent(Footing.SIGNER, cut),
            lambda cut=cut: held.questions.affected.runs(Footing.SIGNER, cut),
            lambda cut=cut: held.queries.runs(signer=cut),
            lambda cut=cut: held.questions.affected.images(Footing.ARTIFACT, cut),
        ):
            with pytest.raises(InputError) as refused:
                ask()
            assert refused.value.code == "DigestMalformed"
    for malformed in ("nope", "bG9n:", "bG9n:7:8", "-7"):
        with pytest.raises(InputError) as refused:
            held.questions.affected.extent(Footing.LOG_ENTRY, malformed)
        assert refused.value.code == "LogEntryMalformed"


def test_every_command_takes_what_a_table_shows(
    database: Database, held: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASSAY_DATABASE_URL", database.settings.database_url)
    del held

    def printed(*words: str) -> str:
        assert run(["inventory", *words]) in {0, 1}, (words, capfd.readouterr().err)
        return capfd.readouterr().out

    assert run(["inventory", "running"]) == 0
    assert (ONE[:19] in (table := capfd.readouterr().out), KEY[:19] in table) == (True, True)
    cut = ONE[:25]  # the two images begin alike
    for words in (("show", cut), ("running", "--digest", cut), ("decisions", "--digest", cut), ("prove", cut)):
        assert ONE in printed(*words, "-o", "json"), words
    for words in (("components", "--digest", cut), ("findings", "--digest", cut)):
        printed(*words)
    for words in (("running", "--signer", KEY[:19]), ("affected", "--signer", KEY[:19])):
        assert ONE in printed(*words, "-o", "json"), words


def test_who_read_what_is_recorded_by_the_whole_name(
    database: Database, held: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_DATABASE_URL", database.settings.database_url)
    monkeypatch.setenv("ASSAY_LOG_READS", "Evidence")
    monkeypatch.setenv("LOGNAME", "auditor")
    assert run(["inventory", "show", ONE[:25], "-o", "json"]) == 0
    (read,) = held.questions.reads.reads(identity=ONE).items
    assert read.resource == "show"


def test_a_name_that_looks_like_a_digest_and_is_none_is_read_and_recorded_as_it_is(
    database: Database, held: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_DATABASE_URL", database.settings.database_url)
    monkeypatch.setenv("ASSAY_LOG_READS", "All")
    monkeypatch.setenv("LOGNAME", "auditor")
    assert run(["inventory", "exceptions", "deadbeef01"]) == 0
    assert run(["inventory", "show", "deadbeef02"]) == EXIT_ERROR
    asked = [(read.resource, read.identity) for read in held.questions.reads.reads().items]
    assert asked[-1] == ("exceptions", "deadbeef01")


def test_what_a_namespace_may_not_see_is_not_said_to_be_recorded_nowhere(
    database: Database, held: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASSAY_DATABASE_URL", database.settings.database_url)
    del held
    for digest in (ONE, TWO):
        assert run(["inventory", "show", digest, "-n", "elsewhere"]) == EXIT_ERROR
        err = capfd.readouterr().err
        assert err.endswith(f"no decision about {digest} is recorded that namespace elsewhere may see\n")
    assert run(["inventory", "show", ONE, "--as-of", "2001-01-01"]) == EXIT_ERROR
    assert capfd.readouterr().err.endswith(f"no decision about {ONE} is recorded of that time\n")


def test_a_manifest_that_runs_and_was_judged_as_part_of_its_index_leads_to_that(
    database: Database, opened: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASSAY_DATABASE_URL", database.settings.database_url)
    value = leaf(images=[{**image(digest=ONE), "kind": "container", "manifests": [TWO]}])
    asyncio.run(record(opened, value, sighting("Started", 1, digest=TWO, imageId=f"ghcr.io/acme/app@{TWO}")))
    assert run(["inventory", "show", TWO[:25]]) == EXIT_ERROR
    assert f"it is a manifest of the index {ONE}: show that" in capfd.readouterr().err
    assert run(["inventory", "show", KEY]) == EXIT_ERROR
    assert "manifest" not in capfd.readouterr().err
