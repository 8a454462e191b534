"""What a stranger is told over HTTP, by every door there is, is the same whether another namespace has records or not.

Two inventories: in one the stranger is alone, in the other a bank ran what he knows by its digest and lists in an index
of his own. He may read his namespace alone, and asks with all that he could have heard of the bank's: digests, names of
pods, runs and records, cursors of its lists.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI

from controller.inventory.asking import gathering
from controller.inventory.asking.affected import resting
from controller.inventory.asking.documents import components, packages
from controller.inventory.bundle.archive import Archive
from controller.inventory.index import reading
from controller.inventory.store import Store
from controller.model.reference import Digest
from controller.model.workload import User
from controller.reading.access import EVERYWHERE
from controller.reading.app import create_app
from controller.reading.evidence import Evidence
from controller.settings import DocumentSettings, InventorySettings
from tests.support.asgi import Answer, call
from tests.support.attested import SLSA, SPDX, VEX, VULNS, attesting, bundle, provenance, scan, spdx, vex
from tests.support.inventory import Clock, evaluation, image, leaf, sighting, soon, sqlite_database

BANK, STRANGER = "bank", "stranger"
SECRET, SHARED, FOREIGN, OWN = (f"sha256:{byte * 32}" for byte in ("5e", "1d", "f0", "77"))
AT = "2026-11-22T13:00:00Z"
SIGNER = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.2"
PURLS = {BANK: "pkg:deb/debian/openssl@3.0.11", STRANGER: "pkg:deb/debian/acl@2.3.1"}
LEADS = {
    "signer": SIGNER,
    "logEntry": "bG9n:7",
    "builder": "https://builds.example/v1",
    "source": "https://git.example/app",
    "base": "registry.example/base",
}

Recorded = tuple[dict[str, Any], dict[Digest, bytes]]


class Tenants:
    """Readers by a table: the token is the user's name, who may read all in the namespace of that name."""

    async def identify(self, token: str) -> User | None:
        return User(username=token)

    async def may(self, user: User, *, verb: str, resource: str, namespace: str) -> bool:
        assert verb
        assert resource
        return namespace == user.username != EVERYWHERE


def contents(namespace: str) -> dict[str, bytes]:
    """The documents that lie beside a namespace's image, by the type of their predicate."""
    purl, name = PURLS[namespace], f"of-{namespace}"
    also = [f"pkg:npm/a-{name}@1", f"pkg:npm/{name}@1", f"pkg:pypi/{name}@1"][namespace == STRANGER :]
    product_ = {"@id": purl, "identifiers": {"purl": purl}}
    said = {"vulnerability": {"name": "CVE-1"}, "status": "affected", "products": [product_]}
    return {
        SPDX: bundle(spdx(purl, *also), SPDX, SECRET),
        VULNS: scan(("CVE-1", "HIGH", purl, "9"), (f"CVE-{len(namespace)}", "LOW", purl, "")),
        SLSA: bundle(provenance("registry.example/base:1"), SLSA, SECRET),
        VEX: vex(said, identity=f"https://{namespace}.example/vex"),
    }


def found(namespace: str, digest: str, number: int, **more: Any) -> Iterator[Recorded]:
    """All that the cluster's policy finds of an image, signed by one who signs for both."""
    for predicate_type, content in contents(namespace).items():
        decision, blobs = attesting(content, digest=digest, predicate_type=predicate_type, number=number, **more)
        decision["evaluations"][0]["signatures"] = [evaluation()["signatures"][0]]
        yield of(namespace, digest, decision), blobs
        number += 1


def of(namespace: str, digest: str, decision: dict[str, Any]) -> dict[str, Any]:
    decision["object"] |= {"namespace": namespace, "name": pod(namespace, digest), "uid": uid(namespace, digest)}
    decision["request"]["namespace"] = namespace
    return decision


def pod(namespace: str, digest: str) -> str:
    return f"{namespace}-{digest[7:9]}"


def uid(namespace: str, digest: str) -> str:
    return f"uid-{pod(namespace, digest)}"


def ran(namespace: str, digest: str, number: int) -> Recorded:
    name = pod(namespace, digest)
    where = {"namespace": namespace, "name": name, "uid": uid(namespace, digest), "id": f"containerd://{name}"}
    return sighting("Started", number, digest=digest, kind="Container", **where), {}


def refused(namespace: str, digest: str, number: int) -> Recorded:
    judged = evaluation(outcome="Violated", policy="newer")
    judged |= {"signatures": [], "attestations": []}
    decision = leaf(number, images=[image(digest=digest)], evaluations=[judged], verdict="Deny", blobs=[])
    return of(namespace, digest, decision), {}


def _newer() -> dict[str, Any]:
    """A decision with a newer version of the policy that refuses the stranger's image."""
    judged = evaluation(policy="newer") | {"signatures": [], "attestations": []}
    judged["policy"] |= {"hash": f"sha256:{'4e' * 32}"}
    return leaf(54, images=[image(digest=SECRET)], evaluations=[judged], blobs=[])


def listing(namespace: str, digest: str, manifests: Sequence[str], number: int) -> Recorded:
    decision = leaf(number, images=[image(digest=digest) | {"manifests": list(manifests)}], evaluations=[], blobs=[])
    return of(namespace, digest, decision), {}


def strangers() -> list[Recorded]:
    """He runs an image of his own, and an index of his own that lists the secret image, which he tried as well."""
    tried = of(STRANGER, SECRET, leaf(20, images=[image(digest=SECRET)], evaluations=[], blobs=[]))
    return [
        *found(STRANGER, OWN, 0),
        ran(STRANGER, OWN, 5),
        refused(STRANGER, OWN, 6),
        (tried, {}),
        listing(STRANGER, FOREIGN, [SECRET, OWN], 21),
        ran(STRANGER, FOREIGN, 22),
    ]


def banks() -> list[Recorded]:
    """The secret image was judged by itself and as the bank's index's; it runs, and would be refused today."""
    return [
        *found(BANK, SECRET, 40),
        listing(BANK, SHARED, [SECRET], 45),
        *found(BANK, SHARED, 46, child=SECRET),
        ran(BANK, SECRET, 50),
        ran(BANK, SHARED, 51),
        refused(BANK, SECRET, 52),
        refused(BANK, SHARED, 53),
        (of(BANK, SECRET, _newer()), {}),
        (sighting("Gap", 54) | {"cluster": "vault"}, {}),
        (of(BANK, SECRET, leaf(55, images=[image(digest=SECRET)], evaluations=[])) | {"cluster": "vault"}, {}),
    ]


@dataclass(frozen=True)
class World:
    """An inventory over HTTP, and what was recorded in it."""

    app: FastAPI
    records: Sequence[Recorded]

    def ask(self, path: str, who: str) -> Answer:
        """The answer to somebody."""
        plain, _, query = path.partition("?")
        headers = {"host": "127.0.0.1", "authorization": f"Bearer {who}"}
        return asyncio.run(call(self.app, "GET", plain, query=query, headers=headers))

    def told(self, path: str, who: str) -> Any:
        """All that an answer tells, but for what tells the time at which it was asked for."""
        answer = self.ask(path, who)
        if answer.headers.get("content-type") != "application/x-tar":
            return answer.status, answer.headers.get("etag"), answer.body
        tar = Archive(io.BytesIO(answer.body))
        return {name: tar.read(name) for name in tar if name.startswith(("records/", "blobs/", "evidence/"))}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return Evidence(inventory=InventorySettings(ledger_directory=str(tmp_path_factory.mktemp("keys"))))


def world(directory: Path, evidence: Evidence, *records: list[Recorded]) -> Iterator[World]:
    database = sqlite_database(directory)
    with database.open(Clock()) as opened:
        for some in records:
            asyncio.run(fill(opened, some))
            indexer = opened.indexer(database.settings, read=lambda content: reading.read(content, DocumentSettings()))
            while indexer.step().more:
                pass
        app = create_app(opened.questions, readers=Tenants(), evidence=evidence)
        yield World(app, [one for some in records for one in some])


async def fill(opened: Store, records: Sequence[Recorded]) -> None:
    for value, blobs in records:
        await opened.writer.record(value, blobs=blobs, deadline=soon())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, evidence: Evidence) -> Iterator[World]:
    yield from world(tmp_path_factory.mktemp("alone"), evidence, HIS)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory, evidence: Evidence) -> Iterator[World]:
    yield from world(tmp_path_factory.mktemp("beside"), evidence, HIS, THEIRS)


HIS, THEIRS = strangers(), banks()
LISTS = ("decisions", "runs", "packages", "components", "sboms", "findings", "assets", "refused")
MORE = {"packages": "&purl=pkg:deb/debian/openssl"}
CLOSED = {"/api/v1/exceptions", "/api/v1/policies", "/api/v1/reads", "/api/v1/holds", "/api/v1/ledger/consistency"}
CLOSED |= {"/ledger/checkpoint", "/ledger/tile/{path}"}  # for the whole cluster alone


def doors(namespace: str) -> dict[str, list[str]]:
    """By route what may be asked of a namespace with all that one could know of both."""
    here = f"namespace={namespace}&asOf={AT}&limit=50"
    digests, records = (SECRET, SHARED, FOREIGN, OWN), [value["id"] for value, _ in (*HIS[3:8], *THEIRS[3:])]
    artifacts = [str(Digest.of(content)) for who in PURLS for content in contents(who).values()]
    pods = [(owner, digest) for owner, digest in product((BANK, STRANGER), digests)]
    asked = {f"/api/v1/{name}": [f"/api/v1/{name}?{here}{MORE.get(name, '')}"] for name in LISTS}
    for name in ("decisions", "runs", "components", "findings"):
        asked[f"/api/v1/{name}"] += [f"/api/v1/{name}?{here}&digest={digest}" for digest in digests]
    for name in ("packages", "components"):
        asked[f"/api/v1/{name}"] += [f"{url}&unverified=true" for url in asked[f"/api/v1/{name}"]]
    asked["/api/v1/packages"] += [f"{url}&ever=true" for url in asked["/api/v1/packages"]]
    asked["/api/v1/runs"] += [f"/api/v1/runs?namespace={namespace}&signer={quote(SIGNER)}"]
    asked["/api/v1/runs"] += [f"/api/v1/runs?namespace={namespace}&signed={word}" for word in ("true", "false")]
    asked["/api/v1/decisions/{identity}"] = [f"/api/v1/decisions/{record}" for record in records]
    asked["/api/v1/ledger/proofs/{record}"] = [f"/api/v1/ledger/proofs/{record}" for record in records]
    asked["/api/v1/images/{digest}"] = [f"/api/v1/images/{digest}?{here}" for digest in digests]
    asked["/api/v1/blobs/{digest}"] = [f"/api/v1/blobs/{one}?namespace={namespace}" for one in artifacts]
    named = [*digests, *records, *(f"containerd://{pod(*one)}" for one in pods)]
    known = f"namespace={namespace}&knownAt={AT}"
    asked["/api/v1/proofs/{name}"] = [f"/api/v1/proofs/{name}?{known}" for name in named]
    asked["/api/v1/exports"] = [
        f"/api/v1/exports?{known}",
        *(f"/api/v1/exports?{known}&digest={digest}" for digest in digests),
        *(f"/api/v1/exports?{known}&record={record}" for record in records),
        *(f"/api/v1/exports?{known}&run={quote(f'containerd://{pod(*one)}')}" for one in pods),
    ]
    asked["/api/v1/admissions"] = [f"/api/v1/admissions?{here}&name={pod(*one)}" for one in pods]
    asked["/api/v1/admissions"] += [f"/api/v1/admissions?{here}&uid={uid(*one)}" for one in pods]
    leads = [*LEADS.items(), *(("artifact", one) for one in artifacts)]
    for what in ("", "/runs", "/decisions", "/images"):
        where = here if what else here.removesuffix("&limit=50")
        asked[f"/api/v1/affected{what}"] = [
            f"/api/v1/affected{what}?{where}&{name}={quote(value, safe='')}" for name, value in leads
        ]
    asked["/api/v1/bom"] = [f"/api/v1/bom?namespace={namespace}&asOf={AT}"]
    asked["/api/v1/bom"] += [f"/api/v1/bom?namespace={namespace}&digest={digest}" for digest in digests]
    return asked


def _plain(told: Any) -> Any:
    """Without the serial number and the time that each new document has."""
    if not isinstance(told, tuple) or b'"bomFormat"' not in told[2]:
        return told
    document = json.loads(told[2])
    return told[0], {**document, "serialNumber": "", "metadata": {**document["metadata"], "timestamp": ""}}


def test_every_door_is_opened(alone: World) -> None:
    paths = {re.sub(r":path", "", path) for path in alone.app.openapi()["paths"]}
    assert paths - CLOSED == doors(STRANGER).keys()
    for path in CLOSED:
        answer = alone.ask(path.format(path="0/000") + ("?old=1&new=1" if "consistency" in path else ""), STRANGER)
        assert answer.status == 403, path


@pytest.mark.guarantee(20)
def test_guarantee_20_no_door_tells_a_stranger_whether_another_namespace_has_records(
    alone: World, beside: World
) -> None:
    differing = [
        url
        for urls in doors(STRANGER).values()
        for url in urls
        if _plain(alone.told(url, STRANGER)) != _plain(beside.told(url, STRANGER))
    ]
    assert differing == []


def test_every_door_has_something_to_hide(alone: World, beside: World) -> None:
    hiding = {
        path
        for path, urls in doors(BANK).items()
        if any(_plain(alone.told(url, BANK)) != _plain(beside.told(url, BANK)) for url in urls)
    }
    # A proof needs an entry in the ledger, of which there is none here.
    assert doors(BANK).keys() - hiding == {"/api/v1/ledger/proofs/{record}"}


@pytest.mark.guarantee(20)
def test_guarantee_20_a_cursor_of_another_namespace_tells_nothing_of_what_is_there(alone: World, beside: World) -> None:
    lists = [*(f"/api/v1/{name}" for name in LISTS), "/api/v1/affected/runs"]
    more = {f"/api/v1/{name}": query for name, query in MORE.items()}
    more["/api/v1/affected/runs"] = f"&signer={quote(SIGNER, safe='')}"
    taken = set()
    for path in lists:
        about = f"asOf={AT}{more.get(path, '')}"
        cursor = beside.ask(f"{path}?namespace={BANK}&limit=1&{about}", BANK).json["cursor"]
        while cursor is not None:
            taken.add(path)
            url = f"{path}?namespace={STRANGER}&{about}&cursor={cursor}"
            assert alone.told(url, STRANGER) == beside.told(url, STRANGER), path
            cursor = beside.ask(f"{path}?namespace={BANK}&limit=1&{about}&cursor={cursor}", BANK).json["cursor"]
    assert taken == set(lists)


@pytest.mark.guarantee(20)
@pytest.mark.parametrize("scans", [1, 20])
def test_guarantee_20_cursors_of_a_long_list_of_components_name_ones_own_alone(
    alone: World, beside: World, scans: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a list this long all components that there are would be gone through.
    monkeypatch.setattr(components, "GATHERED", 0)
    monkeypatch.setattr(components, "MAX_SCANS", scans)
    told = [pages(world, f"/api/v1/components?namespace={STRANGER}&asOf={AT}&limit=1") for world in (alone, beside)]
    assert [[item["purl"] for item in page["items"]] for page in told[0]] == [
        [PURLS[STRANGER]],
        ["pkg:npm/of-stranger@1"],
        ["pkg:pypi/of-stranger@1"],
    ]
    assert [page["items"] for page in told[0]] == [page["items"] for page in told[1] if page["items"]]
    for page in told[1]:
        assert not re.search(b"openssl|bank", base64.urlsafe_b64decode((page["cursor"] or "") + "=="))


def pages(world: World, url: str) -> list[dict[str, Any]]:
    """All pages of a list, for the stranger."""
    found = [world.ask(url, STRANGER).json]
    while found[-1]["cursor"] is not None and len(found) < 20:
        found.append(world.ask(f"{url}&cursor={found[-1]['cursor']}", STRANGER).json)
    assert found[-1]["cursor"] is None
    return found


@pytest.mark.guarantee(20)
def test_guarantee_20_no_answer_is_too_large_for_what_others_have(
    alone: World, beside: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resting, "MAX_IMAGES", 1)
    question = f"/api/v1/affected/images?namespace={STRANGER}&asOf={AT}&signer={quote(SIGNER, safe='')}"
    assert [item["digest"] for item in beside.ask(question, STRANGER).json["items"]] == [OWN]
    assert alone.told(question, STRANGER) == beside.told(question, STRANGER)
    theirs = beside.ask(question.replace(STRANGER, BANK), BANK)  # two of the bank's own are too many
    assert (theirs.status, theirs.json["code"]) == (400, "AnswerTooLarge")


@pytest.mark.guarantee(20)
@pytest.mark.parametrize("bound", ["MAX_COMPONENTS", "MAX_DOCUMENTS"])
@pytest.mark.parametrize("purl", [purl.partition("@")[0] for purl in PURLS.values()])
def test_guarantee_20_no_list_of_a_package_is_too_long_for_what_others_have(
    alone: World, beside: World, bound: str, purl: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, bound, 0)
    for more in ("", "&ever=true", "&unverified=true"):
        question = f"/api/v1/packages?namespace={STRANGER}&asOf={AT}&purl={purl}{more}"
        assert alone.told(question, STRANGER) == beside.told(question, STRANGER)
        answer = beside.ask(question, STRANGER)
        if purl in PURLS[STRANGER]:  # one that he has himself is too many, wherever he asks
            assert (answer.status, answer.json["code"]) == (400, "AnswerTooLarge")
        else:
            assert (answer.status, answer.json["items"]) == (200, [])
    monkeypatch.setattr(packages, bound, 1)
    question = f"/api/v1/packages?namespace={STRANGER}&asOf={AT}&purl={PURLS[STRANGER].partition('@')[0]}"
    assert [item["digest"] for item in beside.ask(question, STRANGER).json["items"]] == [OWN]


@pytest.mark.guarantee(20)
def test_who_asks_of_one_namespace_is_not_told_to_ask_of_one(beside: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resting, "MAX_IMAGES", 0)
    for name, value in LEADS.items():
        question = f"/api/v1/affected/images?namespace={BANK}&asOf={AT}&{name}={quote(value, safe='')}"
        answer = beside.ask(question, BANK)
        assert answer.json["code"] == "AnswerTooLarge"
        assert "of one namespace" not in answer.json["detail"]
        assert "images in this namespace rest on it: ask for " in answer.json["detail"]


@pytest.mark.guarantee(20)
def test_guarantee_20_no_export_is_too_large_for_what_others_have(
    alone: World, beside: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = set()
    for most in range(1, 14):
        monkeypatch.setattr(gathering, "MAX_RECORDS", most)
        for more in ("", f"&digest={OWN}", f"&digest={FOREIGN}", f"&digest={SECRET}"):
            question = f"/api/v1/exports?namespace={STRANGER}&knownAt={AT}{more}"
            assert alone.told(question, STRANGER) == beside.told(question, STRANGER), (most, more)
            codes.add(alone.ask(question, STRANGER).status)
    assert codes == {200, 400}
