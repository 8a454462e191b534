"""The interface over real HTTP: what an auditor's tools see."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import uvicorn

from controller.errors import Unavailable
from controller.inventory.ledger import merkle, notes, tiles
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.store import Store
from controller.reading.app import create_app
from tests.support.inventory import DIGEST, Clock, blob, excepted, leaf, soon, sqlite_database

CONTENT = bytes(range(256))
SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    def __init__(self, port: int, store: Store) -> None:
        self.port = port
        self.store = store

    def get(self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, **query: Any) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, f"{path}?{urlencode(query)}" if query else path, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def values() -> list[dict[str, Any]]:
    digest, _ = blob(CONTENT)
    made = [leaf(number, blobs=[str(digest)], verdict="Deny" if number == 3 else "Allow") for number in range(5)]
    made[2]["evaluations"] = [excepted()]
    return made


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, Any]]) -> Iterator[Client]:
    digest, content = blob(CONTENT)
    directory: Path = tmp_path_factory.mktemp("inventory")
    database = sqlite_database(directory)
    with database.open(Clock()) as store:

        async def fill() -> None:
            for value in values:
                await store.writer.record(value, blobs={digest: content}, deadline=soon())

        asyncio.run(fill())
        sequencer = store.sequencer(database.settings, signer=SIGNER, clock=Clock())
        sequencer.take_over()
        sequencer.sequence()
        config = uvicorn.Config(
            create_app(store.questions), host="127.0.0.1", port=0, log_level="warning", lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            threading.Event().wait(0.01)
        yield Client(server.servers[0].sockets[0].getsockname()[1], store)
        server.should_exit = True
        thread.join()


def problem(answer: Answer) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["status"] == answer.status
    assert answer.json["title"]
    assert answer.json["detail"]
    return answer.status, answer.json["code"]


def test_it_lives(client: Client) -> None:
    assert client.get("/livez").status == 200


@pytest.mark.guarantee(16)
def test_guarantee_16_an_auditor_sees_which_exceptions_were_used(client: Client, values: list[dict[str, Any]]) -> None:
    answer = client.get("/api/v1/exceptions", name="hotfix", asOf="2026-11-22T12:00:00Z")
    assert answer.status == 200
    assert answer.json["items"] == [
        {
            "cluster": "local",
            "name": "hotfix",
            "hash": "sha256:" + "ab" * 32,
            "approval": "stamped",
            "approver": "jane",
            "approvedAt": "2026-11-22T09:00:00.000000Z",
            "reason": "the signing service is down",
            "expires": "2026-11-23T09:00:00.000000Z",
            "breakGlass": False,
            "appliedAt": None,
            "state": "Unknown",
            "endedAt": None,
            "unwatched": False,
            "uses": 1,
            "firstUsedAt": "2026-11-22T11:00:02.000000Z",
            "lastUsedAt": "2026-11-22T11:00:02.000000Z",
        }
    ]
    assert client.get("/api/v1/exceptions", name="other").json == {"items": [], "cursor": None}
    decided = client.get("/api/v1/decisions", exception="hotfix").json["items"]
    assert [item["id"] for item in decided] == [values[2]["id"]]


def test_a_line_of_the_list_says_all_that_matters(client: Client, values: list[dict[str, Any]]) -> None:
    answer = client.get("/api/v1/decisions", limit=1)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    (line,) = answer.json["items"]
    assert line == {
        "id": values[4]["id"],
        "decidedAt": "2026-11-22T11:00:04.000000Z",
        "recordedAt": "2026-11-22T11:00:00.000000Z",
        "cluster": "local",
        "verdict": "Allow",
        "flags": [],
        "reasons": [],
        "message": "",
        "operation": "CREATE",
        "kind": "Pod",
        "namespace": "shop",
        "name": "web-4",
        "username": "jane",
        "images": [
            {"kind": "Container", "container": "app", "reference": "ghcr.io/acme/app:1.2", "digest": DIGEST},
        ],
    }


def test_pages_follow_one_another_by_cursor(client: Client, values: list[dict[str, Any]]) -> None:
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = client.get("/api/v1/decisions", **query).json
        seen += [item["id"] for item in page["items"]]
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]
    assert seen == [value["id"] for value in reversed(values)]


def test_filters_reach_the_inventory(client: Client) -> None:
    def found(**query: str) -> int:
        return len(client.get("/api/v1/decisions", **query).json["items"])

    assert found(verdict="Deny") == 1
    assert found(namespace="nowhere") == 0
    assert found(policy="release-signed") == found(digest=DIGEST) == found(image="ghcr.io/acme/app") == 5
    assert found(since="2026-11-22T11:00:01Z", until="2026-11-22T13:00:03+02:00") == 2
    assert found(knownAt="2026-11-22T10:59:59Z") == 0


def test_one_decision_is_shown_whole(client: Client, values: list[dict[str, Any]]) -> None:
    answer = client.get(f"/api/v1/decisions/{values[3]['id']}")
    assert answer.json == {
        "id": values[3]["id"],
        "recordedAt": "2026-11-22T11:00:00.000000Z",
        "leaf": values[3],
    }


def test_an_image_shows_who_signed_it(client: Client) -> None:
    shown = client.get(f"/api/v1/images/{DIGEST}", limit=2).json
    assert (shown["admitted"], shown["denied"], len(shown["decisions"]["items"])) == (4, 1, 2)
    assert shown["signatures"][0]["detail"]["signer"]["subject"].startswith("https://github.com/acme/app")
    assert shown["attestations"][0]["detail"]["predicateType"] == "https://spdx.dev/Document"
    assert shown["rejections"][0]["detail"]["code"] == "KeyMismatch"


def test_a_blob_is_its_bytes_for_ever(client: Client) -> None:
    digest, content = blob(CONTENT)
    answer = client.get(f"/api/v1/blobs/{digest}")
    assert answer.body == content
    assert answer.headers["ETag"] == f'"{digest}"'
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    again = client.get(f"/api/v1/blobs/{digest}", headers={"If-None-Match": f'"{digest}"'})
    assert (again.status, again.body) == (304, b"")


def test_an_answer_that_did_not_change_is_not_sent_again(client: Client, values: list[dict[str, Any]]) -> None:
    paths = {
        f"/api/v1/decisions/{values[0]['id']}": False,
        f"/api/v1/images/{DIGEST}": False,
        f"/api/v1/ledger/proofs/{values[2]['id']}": False,
        "/api/v1/decisions": True,
        "/api/v1/exceptions": True,
        "/api/v1/runs": True,
    }
    for path, is_list in paths.items():
        answer = client.get(path)
        tag = answer.headers["ETag"]
        assert tag.startswith('W/"' if is_list else '"'), path
        for shown in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
            again = client.get(path, headers={"If-None-Match": shown})
            assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag), path
        assert client.get(path, headers={"If-None-Match": '"other"'}).body == answer.body
    assert (
        client.get("/api/v1/decisions", verdict="Deny").headers["ETag"]
        != client.get("/api/v1/decisions").headers["ETag"]
    )
    assert client.get("/api/v1/decisions/unknown", headers={"If-None-Match": "*"}).status == 404


def test_what_never_changes_may_be_kept(client: Client, values: list[dict[str, Any]]) -> None:
    assert "immutable" in client.get(f"/api/v1/decisions/{values[0]['id']}").headers["Cache-Control"]
    for path in ("/api/v1/decisions", f"/api/v1/images/{DIGEST}"):
        assert client.get(path).headers["Cache-Control"] == "private, no-cache"


NOWHERE = "sha256:" + "00" * 32


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/api/v1/decisions/unknown", {}, (404, "NotFound")),
        ("/api/v1/decisions/%00%ff", {}, (404, "NotFound")),
        (f"/api/v1/images/{NOWHERE}", {}, (404, "NotFound")),
        (f"/api/v1/blobs/{NOWHERE}", {}, (404, "NotFound")),
        ("/nothing", {}, (404, "NotFound")),
        ("/docs", {}, (404, "NotFound")),
        ("/api/v1/images/latest", {}, (400, "DigestMalformed")),
        ("/api/v1/blobs/..%2f..%2fetc%2fpasswd", {}, (404, "NotFound")),
        ("/api/v1/blobs/" + quote("sha512:" + "0" * 128), {}, (400, "DigestMalformed")),
        ("/api/v1/decisions", {"namespcae": "shop"}, (400, "ParameterUnknown")),
        ("/api/v1/decisions", {"limit": 0}, (400, "ParameterInvalid")),
        ("/api/v1/decisions", {"limit": 501}, (400, "ParameterInvalid")),
        ("/api/v1/decisions", {"limit": "many"}, (400, "ParameterInvalid")),
        ("/api/v1/decisions", {"since": "2026-11-22T11:00:00"}, (400, "ParameterInvalid")),
        ("/api/v1/decisions", {"namespace": "a\0b"}, (400, "ParameterInvalid")),
        ("/api/v1/decisions", {"cursor": "forged"}, (400, "CursorMalformed")),
        ("/api/v1/decisions", {"verdict": "allow"}, (400, "VerdictUnknown")),
        ("/api/v1/decisions", {"digest": "sha256:x"}, (400, "DigestMalformed")),
        ("/api/v1/decisions", {"image": "NOT AN IMAGE"}, (400, "ReferenceMalformed")),
        ("/api/v1/images/" + DIGEST, {"limit": 9999}, (400, "ParameterInvalid")),
    ],
)
def test_a_question_that_makes_no_sense_is_a_problem_with_a_code(
    client: Client, path: str, query: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert problem(client.get(path, **query)) == expected


@pytest.mark.guarantee(20)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/api/v1/decisions", "/api/v1/decisions/x", f"/api/v1/blobs/{NOWHERE}", "/livez"])
def test_nothing_can_be_written(client: Client, method: str, path: str) -> None:
    assert problem(client.get(path, method=method)) == (405, "MethodNotAllowed")


@pytest.mark.guarantee(20)
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "localhost.evil.example"]
)
def test_a_page_that_rebinds_its_name_to_loopback_reads_nothing(client: Client, host: str) -> None:
    assert problem(client.get("/api/v1/decisions", headers={"Host": host})) == (421, "HostUnknown")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "[::1]:8080", "127.0.0.1:1"])
def test_loopback_is_known_by_all_its_names(client: Client, host: str) -> None:
    assert client.get("/livez", headers={"Host": host}).status == 200


def test_a_database_that_is_away_is_called_that(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise Unavailable("DatabaseUnavailable", "the database did not answer")

    monkeypatch.setattr(client.store.queries, "decisions", away)
    answer = client.get("/api/v1/decisions")
    assert problem(answer) == (503, "DatabaseUnavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_the_interface_describes_itself(client: Client) -> None:
    paths = client.get("/api/v1/openapi.json").json["paths"]
    assert {method for operations in paths.values() for method in operations} == {"get"}
    assert "/api/v1/decisions" in paths


def test_the_ledger_is_served_where_public_tools_look_for_it(client: Client, values: list[dict[str, Any]]) -> None:
    answer = client.get("/ledger/checkpoint")
    assert answer.headers.get_content_type() == "text/plain"
    text, _ = notes.open_note(answer.body, [SIGNER.key()])
    checkpoint = Checkpoint.parse(text)
    assert checkpoint.size == len(values)
    tile = client.get("/ledger/tile/0/000.p/5")
    assert "immutable" in tile.headers["Cache-Control"]
    assert merkle.Frontier().append(tiles.hashes_of(tile.body)).root() == checkpoint.root
    entries = list(tiles.entries_of(client.get("/ledger/tile/entries/000.p/5").body))
    assert [merkle.leaf_hash(entry) for entry in entries] == tiles.hashes_of(tile.body)
    assert not any(value["object"]["name"].encode() in entry for entry in entries for value in values)
    proof = client.get(f"/api/v1/ledger/proofs/{values[2]['id']}").json
    assert proof["checkpoint"].encode() == answer.body
    steps = [base64.b64decode(step) for step in proof["hashes"]]
    leaf_hash = merkle.leaf_hash(proof["entry"].encode())
    assert merkle.verify_inclusion(leaf_hash, proof["index"], proof["size"], steps, checkpoint.root)
    consistent = client.get("/api/v1/ledger/consistency", old=2, new=5).json
    steps = [base64.b64decode(step) for step in consistent["hashes"]]
    before = merkle.Frontier().append(tiles.hashes_of(tile.body)[:2]).root()
    assert merkle.verify_consistency(2, 5, steps, before, checkpoint.root)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/ledger/tile/0/000", 404, "NotFound"),
        ("/ledger/tile/0/000.p/6", 404, "NotFound"),
        ("/ledger/tile/0/..%2F..%2Fetc%2Fpasswd", 404, "NotFound"),
        ("/api/v1/ledger/proofs/nothing", 404, "NotFound"),
        ("/api/v1/ledger/consistency?old=3&new=2", 400, "SizesOutOfRange"),
        ("/api/v1/ledger/consistency?old=3&new=6", 400, "SizesOutOfRange"),
    ],
)
def test_what_the_ledger_does_not_have_is_said(client: Client, path: str, status: int, code: str) -> None:
    assert problem(client.get(path)) == (status, code)
