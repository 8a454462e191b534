"""Proofs and exports over HTTP: what somebody may see, whole, and nothing else."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from controller.errors import Unavailable
from controller.inventory.bundle import assembling, checking
from controller.inventory.bundle.archive import Archive
from controller.inventory.bundle.export_key import open_export_key
from controller.inventory.ledger.keeping import open_signer
from controller.inventory.store import Store
from controller.model.reference import Digest
from controller.model.workload import User
from controller.reading import evidence as routes
from controller.reading.access import EVERYWHERE
from controller.reading.app import create_app
from controller.reading.evidence import MAX_EXPORTS, Evidence
from controller.settings import InventorySettings
from tests.support.asgi import Answer, call
from tests.support.inventory import DIGEST, evaluation, image, leaf, sighting, soon, sqlite_database

SHOP, BANK = "shop", "bank"
OTHER = "sha256:" + "99" * 32
RAN, NEVER_RAN, POLICY = b"evidence of what ran in shop", b"evidence of what shop was only denied", b'{"spec":{}}'
GRANTS = {"shop": {SHOP}, "bank": {BANK}, "auditor": {EVERYWHERE}, "nobody": set()}


class Scripted:
    """Readers by a table: who may get proofs and exports where."""

    async def identify(self, token: str) -> User | None:
        return User(username=token) if token in GRANTS else None

    async def may(self, user: User, *, verb: str, resource: str, namespace: str) -> bool:
        assert (verb, resource) in {("get", "proofs"), ("get", "exports")}
        return bool({namespace, EVERYWHERE} & GRANTS[user.username])


def decided(number: int, namespace: str, digest: str, artifact: bytes, **changes: Any) -> dict[str, Any]:
    judged, name = evaluation(), str(Digest.of(artifact))
    judged["policy"] = {**judged["policy"], "hash": str(Digest.of(POLICY))}
    for part in ("signatures", "attestations"):
        judged[part] = [{**proof, "artifact": name} for proof in judged[part]]
    found = {"artifact": name, "location": "x", "kind": "sigstore-bundle", "mediaType": "x", "annotations": {}}
    judged |= {"artifacts": [found], "used": {"trustRoots": {}}}
    blobs = sorted([name, str(Digest.of(POLICY))])
    value = leaf(number, images=[image(digest=digest)], evaluations=[judged], blobs=blobs, **changes)
    value["object"] = {**value["object"], "namespace": namespace, "uid": f"{namespace}-{number}"}
    return value


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> InventorySettings:
    return InventorySettings(ledger_directory=str(tmp_path_factory.mktemp("keys")))


@pytest.fixture(scope="module")
def leaves() -> dict[str, dict[str, Any]]:
    return {
        "shop": decided(0, SHOP, DIGEST, RAN),
        "shop ran": sighting("Started", 1, uid="shop-0", kind="Container", id="containerd://shop"),
        "denied": decided(2, SHOP, OTHER, NEVER_RAN, verdict="Deny"),
        "bank": decided(3, BANK, OTHER, NEVER_RAN),
        "bank ran": sighting("Started", 4, uid="bank-3", kind="Container", namespace=BANK, id="c://b", digest=OTHER),
    }


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, leaves: dict[str, dict[str, Any]], keys: InventorySettings
) -> Iterator[Store]:
    database = sqlite_database(tmp_path_factory.mktemp("inventory"))
    blobs = {Digest.of(content): content for content in (RAN, NEVER_RAN, POLICY)}
    with database.open() as opened:

        async def fill() -> None:
            for value in leaves.values():
                named = {Digest.parse(name): blobs[Digest.parse(name)] for name in value["blobs"]}
                await opened.writer.record(value, blobs=named, deadline=soon())

        asyncio.run(fill())
        signer = open_signer("assay/test", key_file="", directory=Path(keys.ledger_directory))
        sequencer = opened.sequencer(database.settings, signer=signer)
        sequencer.take_over()
        sequencer.sequence()
        yield opened


@pytest.fixture
def app(store: Store, keys: InventorySettings) -> FastAPI:
    return create_app(store.questions, readers=Scripted(), evidence=Evidence(inventory=keys))


def ask(app: FastAPI, path: str, who: str, **query: str) -> Answer:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    headers = {"host": "127.0.0.1", "authorization": f"Bearer {who}"}
    return asyncio.run(call(app, "GET", path, query=text, headers=headers))


def exported(app: FastAPI, who: str, **query: str) -> Archive:
    answer = ask(app, "/api/v1/exports", who, **query)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-tar"), answer.body
    return Archive(io.BytesIO(answer.body))


def test_an_export_is_a_whole_bundle_that_verifies(
    app: FastAPI, keys: InventorySettings, leaves: dict[str, dict[str, Any]]
) -> None:
    bundle = exported(app, "auditor", digest=DIGEST)
    key = open_export_key(keys).private.public_key()
    ledger_key = Evidence(inventory=keys).ledger_key()
    assert ledger_key is not None
    report = checking.verify(bundle, export_key=key, ledger_keys=[ledger_key], replay=lambda *_: ())
    assert (report.findings, report.records, report.proven) == ([], 2, 2)
    found = {json.loads(bundle.read(path))["id"] for path in bundle if path.startswith("records/")}
    assert found == {leaves["shop"]["id"], leaves["shop ran"]["id"]}


@pytest.mark.guarantee(20)
def test_guarantee_20_an_export_holds_what_is_a_namespaces_own_and_no_more(
    app: FastAPI, leaves: dict[str, dict[str, Any]]
) -> None:
    assert ask(app, "/api/v1/exports", "shop", digest=DIGEST).status == 403
    assert ask(app, "/api/v1/exports", "shop", namespace=BANK).status == 403
    assert ask(app, "/api/v1/exports", "bank", namespace=BANK, digest=DIGEST).status == 404
    assert ask(app, "/api/v1/exports", "shop", namespace=SHOP, record=leaves["bank"]["id"]).status == 404
    assert ask(app, "/api/v1/exports", "shop", namespace=SHOP, run="c://b").status == 404
    bundle = exported(app, "shop", namespace=SHOP)
    found = {json.loads(bundle.read(path))["id"] for path in bundle if path.startswith("records/")}
    assert found == {leaves[name]["id"] for name in ("shop", "shop ran", "denied")}
    everything = b"".join(bundle.read(path) for path in bundle)
    for hidden in (leaves["bank"]["id"], leaves["bank ran"]["id"], "bank-3", "c://b"):
        assert hidden.encode() not in everything, hidden
    assert bundle.read(f"evidence/{Digest.of(RAN).hex}.sigstore.json") == RAN
    assert f"evidence/{Digest.of(NEVER_RAN).hex}.sigstore.json" not in bundle  # it was only denied here
    assert NEVER_RAN not in everything
    assert bundle.read(f"policies/{Digest.of(POLICY).hex}.json") == POLICY


@pytest.mark.guarantee(20)
def test_guarantee_20_a_proof_is_of_a_namespaces_own_runs_alone(
    app: FastAPI, leaves: dict[str, dict[str, Any]]
) -> None:
    assert ask(app, f"/api/v1/proofs/{DIGEST}", "shop").status == 403
    assert ask(app, f"/api/v1/proofs/{DIGEST}", "bank", namespace=BANK).status == 404
    assert ask(app, f"/api/v1/proofs/{leaves['bank']['id']}", "shop", namespace=SHOP).status == 404
    assert ask(app, "/api/v1/proofs/c://b", "shop", namespace=SHOP).status == 404
    answer = ask(app, f"/api/v1/proofs/{DIGEST}", "shop", namespace=SHOP).json
    assert [run["record"] for run in answer["runs"]] == [leaves["shop ran"]["id"]]
    links = {link["name"]: link["state"] for link in answer["runs"][0]["links"]}
    assert links == {"run": "Holds", "ledger": "Holds", "admission": "Holds"}
    assert answer["holds"] is False  # what is kept here as evidence proves nothing
    assert {link["code"] for link in answer["documents"][0]["links"]} == {"", "SubjectMissing", "ReplayImpossible"}


def test_only_so_many_exports_run_at_a_time_and_each_gives_its_place_back(
    store: Store, keys: InventorySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = Evidence(inventory=keys)
    app = create_app(store.questions, evidence=evidence)
    for _ in range(MAX_EXPORTS):
        evidence.begin()
    answer = ask(app, "/api/v1/exports", "", namespace=SHOP)
    assert (answer.status, answer.json["code"]) == (503, "ExportsBusy")
    for _ in range(MAX_EXPORTS):
        evidence.end()
    for _ in range(3 * MAX_EXPORTS):
        assert ask(app, "/api/v1/exports", "", namespace=SHOP).status == 200
        assert ask(app, "/api/v1/exports", "", namespace="nowhere").status == 404
        assert ask(app, "/api/v1/exports", "").json["code"] == "SelectionMissing"

    def breaks(*_: Any) -> Iterator[bytes]:
        yield b"begun"
        raise Unavailable("DatabaseUnavailable", "the database is away")

    monkeypatch.setattr(routes.archive, "write", breaks)
    for _ in range(2 * MAX_EXPORTS):
        with pytest.raises((Unavailable, RuntimeError)):  # the server then closes the connection without the last chunk
            ask(app, "/api/v1/exports", "", namespace=SHOP)


def test_a_server_without_a_key_signs_nothing(store: Store, tmp_path: Path) -> None:
    answer = ask(create_app(store.questions), "/api/v1/exports", "", namespace=SHOP)
    assert (answer.status, answer.json["code"]) == (503, "ExportUnavailable")
    (tmp_path / "export.key").write_text("secret nonsense")
    unreadable = Evidence(inventory=InventorySettings(ledger_directory=str(tmp_path)))
    answer = ask(create_app(store.questions, evidence=unreadable), "/api/v1/exports", "", namespace=SHOP)
    assert (answer.status, answer.json["code"]) == (503, "ExportUnavailable")
    assert "nonsense" not in answer.body.decode()
    assert str(tmp_path) not in answer.body.decode()


def test_what_is_too_large_is_refused_before_the_first_byte(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembling, "MAX_BYTES", 1)
    answer = ask(app, "/api/v1/exports", "auditor", namespace=SHOP)
    assert (answer.status, answer.json["code"]) == (400, "ExportTooLarge")
