"""Who may read what (guarantee 20): each question to somebody who may, to somebody who may not, and to nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from controller.errors import Unavailable
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.querying.questions import OwnQuestions
from controller.inventory.store import Store
from controller.model.reference import Digest
from controller.model.workload import User
from controller.reading.access import EVERYWHERE
from controller.reading.app import create_app
from controller.reading.evidence import Evidence
from controller.settings import InventorySettings
from tests.support.asgi import Answer, call
from tests.support.inventory import (
    ARTIFACT,
    Clock,
    Database,
    evaluation,
    exception_of,
    image,
    leaf,
    resource,
    sighting,
    soon,
    sqlite_database,
)

SHOP, BANK = "shop", "bank"
COMMON, PRIVATE = "sha256:" + "a1" * 32, "sha256:" + "b2" * 32
EVIDENCE, SECRET_EVIDENCE = b"evidence about the common image", b"evidence about the bank's image"
GRANTS = {
    "shopper": {("decisions", SHOP), ("images", SHOP), ("blobs", SHOP)},
    "auditor": {
        (resource, EVERYWHERE)
        for resource in (
            *("decisions", "runs", "images", "blobs", "exceptions", "ledger", "queries", "reads", "proofs", "exports"),
            *("components", "holds", "policies"),
        )
    },
    "runner": {("runs", SHOP)},
    "reader": {("runs", SHOP), ("components", SHOP)},
    "watcher": {("policies", EVERYWHERE)},
    "tenant": {("policies", SHOP), ("exceptions", SHOP)},
    "nobody": set(),
}

NOBODYS_KEY = "sha256:" + "00" * 32


class Scripted:
    """Readers by a table: the token is the user's name. Everywhere is everywhere."""

    async def identify(self, token: str) -> User | None:
        if token == "away":
            raise Unavailable("ReaderUnknown", "the cluster does not say")
        return User(username=token) if token in GRANTS else None

    async def may(self, user: User, *, verb: str, resource: str, namespace: str) -> bool:
        assert verb in {"get", "list", "create"}
        assert (verb == "create") == (resource == "queries")
        return bool({(resource, namespace), (resource, EVERYWHERE)} & GRANTS[user.username])


def decision(number: int, namespace: str, digest: str, artifact: bytes, policy_namespace: str = "") -> dict[str, Any]:
    judged = evaluation()
    name = str(Digest.of(artifact))
    judged["policy"] = {**judged["policy"], "namespace": policy_namespace}
    for part in ("signatures", "attestations"):
        judged[part] = [{**proof, "artifact": name} for proof in judged[part]]
    value = leaf(number, images=[image(digest=digest)], evaluations=[judged], blobs=[name])
    value["object"] = {**value["object"], "namespace": namespace}
    return value


@pytest.fixture(scope="module")
def leaves() -> dict[str, dict[str, Any]]:
    return {
        "shop": decision(0, SHOP, COMMON, EVIDENCE),
        "bank": decision(1, BANK, COMMON, EVIDENCE, policy_namespace=BANK),
        "private": decision(2, BANK, PRIVATE, SECRET_EVIDENCE),
        "run": sighting("Started", 3),
        "shop tried": decision(2, SHOP, PRIVATE, SECRET_EVIDENCE) | {"verdict": "Deny"},
        "private run": sighting("Started", 4, namespace=BANK, uid="pod-3", digest=PRIVATE),
        "bank run": sighting("Started", 4, namespace=BANK, uid="pod-2"),
        "gap": sighting("Gap", 5),
        "policy": resource("Applied", 6),
        "own policy": resource("Applied", 7, kind="EvidencePolicy", namespace=SHOP, uid="own"),
        "exception": resource("Applied", 8, exception=exception_of("spare")),
    }


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return sqlite_database(tmp_path_factory.mktemp("inventory"))


@pytest.fixture(scope="module")
def store(database: Database, leaves: dict[str, dict[str, Any]]) -> Iterator[Store]:
    blobs = {Digest.of(content): content for content in (EVIDENCE, SECRET_EVIDENCE)}
    with database.open(Clock()) as opened:

        async def fill() -> None:
            for value in leaves.values():
                named = {Digest.parse(name): blobs[Digest.parse(name)] for name in value["blobs"]}
                await opened.writer.record(value, blobs=named, deadline=soon())

        asyncio.run(fill())
        sequencer = opened.sequencer(database.settings, signer=NoteSigner.of_seed("x", bytes(32)), clock=Clock())
        sequencer.take_over()
        sequencer.sequence()
        yield opened


@pytest.fixture(scope="module")
def client(store: Store, database: Database, tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    keys = InventorySettings(ledger_directory=str(tmp_path_factory.mktemp("keys")))
    own, evidence = OwnQuestions(database.settings), Evidence(inventory=keys)
    return create_app(store.questions, own=own, readers=Scripted(), evidence=evidence)


def send(app: FastAPI, path: str, *, method: str = "GET", **headers: str) -> Answer:
    plain, _, query = path.partition("?")
    return asyncio.run(call(app, method, plain, query=query, headers=headers))


def ask(app: FastAPI, path: str, who: str | None) -> tuple[int, Any]:
    answer = send(app, path, **({} if who is None else {"authorization": f"Bearer {who}"}))
    return answer.status, answer.json if "json" in answer.headers["content-type"] else answer.body


def questions(leaves: dict[str, dict[str, Any]]) -> list[str]:
    """Every question that the interface takes."""
    blob = Digest.of(EVIDENCE)
    return [
        "/api/v1/decisions",
        f"/api/v1/decisions?namespace={SHOP}",
        f"/api/v1/decisions/{leaves['shop']['id']}",
        f"/api/v1/images/{COMMON}",
        f"/api/v1/images/{COMMON}?namespace={SHOP}",
        f"/api/v1/blobs/{blob}",
        f"/api/v1/blobs/{blob}?namespace={SHOP}",
        "/api/v1/exceptions",
        "/api/v1/policies",
        "/api/v1/runs",
        "/api/v1/refused",
        f"/api/v1/admissions?uid={leaves['shop']['object']['uid']}",
        f"/api/v1/affected?signer={NOBODYS_KEY}",
        f"/api/v1/affected/runs?signer={NOBODYS_KEY}",
        f"/api/v1/affected/decisions?signer={NOBODYS_KEY}",
        f"/api/v1/affected/images?signer={NOBODYS_KEY}",
        "/api/v1/sboms",
        "/api/v1/findings",
        "/api/v1/admissions?name=web-0",
        "/api/v1/assets",
        "/api/v1/packages?purl=pkg:npm/left-pad",
        "/api/v1/components",
        "/api/v1/bom",
        f"/api/v1/proofs/{leaves['shop']['id']}",
        f"/api/v1/exports?record={leaves['shop']['id']}",
        f"/api/v1/ledger/proofs/{leaves['shop']['id']}",
        "/api/v1/ledger/consistency?old=1&new=3",
        "/api/v1/reads",
        "/api/v1/holds",
        "/api/v1/query?sql=SELECT+id+FROM+v_decisions",
        "/ledger/checkpoint",
        "/ledger/tile/0/000.p/3",
    ]


@pytest.mark.guarantee(20)
def test_guarantee_20_nobody_reads_anything(client: FastAPI, leaves: dict[str, dict[str, Any]]) -> None:
    asked = questions(leaves)
    served = set(send(client, "/api/v1/openapi.json").json["paths"])
    assert len(served) == len({path.partition("?")[0] for path in asked})  # none was forgotten here
    for path in asked:
        for who in (None, "stranger", ""):
            status, body = ask(client, path, who)
            assert (status, body["code"]) == (401, "TokenRequired"), path
        assert send(client, path).headers["www-authenticate"] == "Bearer"
        assert send(client, path, authorization="Basic c2hvcHBlcjp4").status == 401
        status, body = ask(client, path, "nobody")
        assert status in {403, 404}, path
        assert ask(client, path, "auditor")[0] == 200, path
        status, body = ask(client, path, "away")
        assert (status, body["code"]) == (503, "ReaderUnknown")


@pytest.mark.guarantee(20)
def test_guarantee_20_nobody_is_told_what_is_wrong_with_a_question(client: FastAPI) -> None:
    for query in ("?namespcae=shop", "?limit=0", "?format=xlsx", "?asOf=yesterday"):
        status, body = ask(client, f"/api/v1/decisions{query}", None)
        assert (status, body["code"]) == (401, "TokenRequired"), query
        assert ask(client, f"/api/v1/decisions{query}", "auditor")[0] == 400, query
    assert send(client, "/livez").status == 200


@pytest.mark.guarantee(20)
def test_guarantee_20_who_may_read_one_namespace_sees_nothing_of_another(
    client: FastAPI, leaves: dict[str, dict[str, Any]]
) -> None:
    status, body = ask(client, "/api/v1/decisions", "shopper")
    assert (status, body["code"]) == (403, "AccessDenied")
    assert "name one with ?namespace=" in body["detail"]
    assert ask(client, f"/api/v1/decisions?namespace={BANK}", "shopper")[0] == 403
    status, body = ask(client, f"/api/v1/decisions?namespace={SHOP}", "shopper")
    assert [item["id"] for item in body["items"]] == [leaves["shop tried"]["id"], leaves["shop"]["id"]]
    for hidden in ("bank", "private"):
        for path in (f"/api/v1/decisions/{leaves[hidden]['id']}", f"/api/v1/ledger/proofs/{leaves[hidden]['id']}"):
            absent = ask(client, path.replace(leaves[hidden]["id"], "nothing"), "shopper")
            assert ask(client, path, "shopper") == absent
            assert absent[0] == 404
    assert ask(client, f"/api/v1/decisions/{leaves['shop']['id']}", "shopper")[0] == 200
    assert ask(client, f"/api/v1/ledger/proofs/{leaves['shop']['id']}", "shopper")[0] == 200


@pytest.mark.guarantee(20)
def test_guarantee_20_a_digest_is_visible_where_it_ran_and_as_far_as_it_ran_there(
    client: FastAPI, leaves: dict[str, dict[str, Any]]
) -> None:
    assert ask(client, f"/api/v1/images/{COMMON}", "shopper")[0] == 403
    status, seen = ask(client, f"/api/v1/images/{COMMON}?namespace={SHOP}", "shopper")
    _, whole = ask(client, f"/api/v1/images/{COMMON}", "auditor")
    assert status == 200
    assert (seen["admitted"], whole["admitted"]) == (1, 2)
    assert [item["id"] for item in seen["decisions"]["items"]] == [leaves["shop"]["id"]]
    assert {finding["policy"]["namespace"] for finding in seen["signatures"]} == {""}
    assert {finding["policy"]["namespace"] for finding in whole["signatures"]} == {"", BANK}
    assert ask(client, f"/api/v1/images/{PRIVATE}?namespace={SHOP}", "shopper")[0] == 404
    assert ask(client, f"/api/v1/images/{PRIVATE}?namespace={BANK}", "shopper")[0] == 403
    visible, hidden = Digest.of(EVIDENCE), Digest.of(SECRET_EVIDENCE)
    assert ask(client, f"/api/v1/blobs/{visible}?namespace={SHOP}", "shopper") == (200, EVIDENCE)
    assert ask(client, f"/api/v1/blobs/{hidden}?namespace={SHOP}", "shopper")[0] == 404
    assert ask(client, f"/api/v1/blobs/{hidden}?namespace={BANK}", "auditor") == (200, SECRET_EVIDENCE)
    assert ask(client, f"/api/v1/blobs/{ARTIFACT}?namespace={SHOP}", "shopper")[0] == 404


@pytest.mark.guarantee(20)
def test_guarantee_20_how_policies_and_exceptions_came_and_went_is_for_who_may_see_all_of_them(
    client: FastAPI, leaves: dict[str, dict[str, Any]]
) -> None:
    told = {item["name"] for item in ask(client, "/api/v1/policies", "watcher")[1]["items"]}
    assert told == {leaves["policy"]["resource"]["name"]}
    for name, status in {"policy": 200, "own policy": 200, "exception": 404}.items():
        assert ask(client, f"/api/v1/ledger/proofs/{leaves[name]['id']}", "watcher")[0] == status, name
        assert ask(client, f"/api/v1/ledger/proofs/{leaves[name]['id']}", "tenant")[0] == 404, name
    for path in ("/api/v1/policies", "/api/v1/exceptions"):
        assert ask(client, path, "tenant")[0] == 403, path
        assert ask(client, f"{path}?namespace={SHOP}", "tenant")[0] in {400, 403, 422}, (
            path
        )  # there is no such question


@pytest.mark.guarantee(20)
def test_guarantee_20_what_was_seen_running_is_no_decision_and_is_proven_to_who_may_see_it(
    client: FastAPI, leaves: dict[str, dict[str, Any]]
) -> None:
    for name in ("run", "bank run", "gap", "policy", "exception"):
        path = f"/api/v1/decisions/{leaves[name]['id']}"
        assert (ask(client, path, "shopper")[0], ask(client, path, "auditor")[0]) == (404, 404), name
        assert ask(client, f"/api/v1/ledger/proofs/{leaves[name]['id']}", "auditor")[0] == 200, name
    for name, status in {"run": 200, "bank run": 404, "gap": 404}.items():
        assert ask(client, f"/api/v1/ledger/proofs/{leaves[name]['id']}", "runner")[0] == status, name
        assert ask(client, f"/api/v1/ledger/proofs/{leaves[name]['id']}", "shopper")[0] == 404, name


@pytest.mark.guarantee(20)
def test_guarantee_20_what_is_in_images_is_told_to_who_sees_what_runs_there(client: FastAPI) -> None:
    for path in ("/api/v1/packages?purl=pkg:npm/left-pad", "/api/v1/components?", "/api/v1/bom?"):
        assert ask(client, path, "runner")[0] == 403  # runs alone do not say what is in them
        assert ask(client, f"{path}&namespace={SHOP}", "runner")[0] == 403
        assert ask(client, f"{path}&namespace={SHOP}", "reader")[0] == 200
        assert ask(client, f"{path}&namespace={BANK}", "reader")[0] == 403
        assert ask(client, path, "reader")[0] == 403
    assert ask(client, "/api/v1/packages?purl=log4j", "auditor")[1]["code"] == "PackageMalformed"


@pytest.mark.guarantee(20)
def test_guarantee_20_a_question_in_sql_is_for_who_may_ask_about_everything(client: FastAPI) -> None:
    path = "/api/v1/query?sql=SELECT+count(*)+AS+many+FROM+v_decisions"
    status, body = ask(client, path, "shopper")
    assert (status, body["code"]) == (403, "AccessDenied")
    assert ask(client, path, "auditor") == (200, {"columns": ["many"], "rows": [[4]], "cut": ""})
    assert ask(client, f"{path}&format=csv", "auditor") == (200, b"many\r\n4\r\n")
    assert ask(client, f"{path}&explain=true", "auditor")[0] == 200
    for sql, code in {"SELECT+*+FROM+leaf": "QueryRefused", "SELECT+nothing": "QueryMalformed"}.items():
        status, body = ask(client, f"/api/v1/query?sql={sql}", "auditor")
        assert (status, body["code"]) == (400, code)


@pytest.mark.guarantee(20)
def test_guarantee_20_nobody_writes(client: FastAPI, leaves: dict[str, dict[str, Any]]) -> None:
    for path in questions(leaves):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert send(client, path, method=method, authorization="Bearer auditor").status == 405, (method, path)


def test_without_readers_everybody_reads_by_a_known_name_alone(store: Store) -> None:
    app = create_app(store.questions)
    assert send(app, "/api/v1/decisions", host="127.0.0.1").status == 200
    assert send(app, "/api/v1/decisions", host="rebound.example").status == 421
