"""Every route of the REST interface by the real API server's RBAC: to nobody, to strangers, and to one of two tenants.

The table below has a row for each route that the program serves. A route that is not in it fails the test, so whoever
adds one says here who may ask it, and has it asked.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from http.client import HTTPSConnection
from typing import Any

import pytest

from tests.e2e.conftest import ASSAY, render_chart
from tests.support import canaries
from tests.support.assay import Assay, serving
from tests.support.inventory import START, Clock, sqlite_database
from tests.support.kubernetes import ApiServer, User
from tests.support.processes import wait_until
from tests.support.review import ONLY_ACME, review
from tests.support.tenants import BANK, BANKS, COMMON, SHOP, SHOPS, Tenant, fill

SHOPPER, AUDITOR, STRANGER = User("shopper"), User("auditor", ("auditors",)), User("stranger")
ROLE, GROUP = "assay-inventory-reader", "rbac.authorization.k8s.io"
BEFORE, PAST = ((START + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ") for hours in (-1, 1))


class Whose(Enum):
    """Who may ask."""

    NAMESPACE = "who may in the namespace that he names"
    RECORD = "who may in the namespace of what he names"
    CLUSTER = "who may in all namespaces"


@dataclass(frozen=True)
class Route:
    """`path` and `query` ask for what is a tenant's (`{digest}`, `{purl}`, …). `is_list`: as CSV and as lines too;
    `of_period`: between two times too."""

    whose: Whose
    path: str
    query: str = ""
    is_list: bool = False
    as_of: bool = True
    of_period: bool = False

    def of(self, tenant: Tenant, **more: str) -> str:
        """The question about what is this tenant's."""
        words = {
            "digest": tenant.digest,
            "common": COMMON,
            "purl": tenant.purl,
            "signer": tenant.signer,
            "pod": tenant.pod,
            "record": tenant.records["decision 0"]["id"],
            "ran": tenant.records["ran"]["id"],
            "blob": str(next(iter(tenant.blobs))),
        }
        quoted = {name: urllib.parse.quote(value, safe=":") for name, value in words.items()}
        query = "&".join(filter(None, (self.query.format(**quoted), urllib.parse.urlencode(more))))
        return f"{self.path.format(**quoted)}{'?' if query else ''}{query}"


NAMESPACE, RECORD, CLUSTER = Whose.NAMESPACE, Whose.RECORD, Whose.CLUSTER
ROUTES: Mapping[str, Route] = {
    "/api/v1/decisions": Route(NAMESPACE, "/api/v1/decisions", is_list=True),
    "/api/v1/decisions/{identity}": Route(RECORD, "/api/v1/decisions/{record}"),
    "/api/v1/images/{digest}": Route(NAMESPACE, "/api/v1/images/{digest}"),
    "/api/v1/runs": Route(NAMESPACE, "/api/v1/runs", is_list=True),
    "/api/v1/exceptions": Route(CLUSTER, "/api/v1/exceptions", is_list=True),
    "/api/v1/policies": Route(CLUSTER, "/api/v1/policies", is_list=True),
    "/api/v1/blobs/{digest}": Route(NAMESPACE, "/api/v1/blobs/{blob}", as_of=False),
    "/api/v1/reads": Route(CLUSTER, "/api/v1/reads", is_list=True, as_of=False),
    "/api/v1/holds": Route(CLUSTER, "/api/v1/holds", is_list=True),
    "/api/v1/query": Route(CLUSTER, "/api/v1/query", "sql=SELECT+*+FROM+v_decisions", as_of=False),
    "/api/v1/proofs/{name}": Route(NAMESPACE, "/api/v1/proofs/{digest}", as_of=False),
    "/api/v1/exports": Route(NAMESPACE, "/api/v1/exports", "digest={digest}", as_of=False, of_period=True),
    "/api/v1/ledger/proofs/{record}": Route(RECORD, "/api/v1/ledger/proofs/{record}", as_of=False),
    "/api/v1/ledger/consistency": Route(CLUSTER, "/api/v1/ledger/consistency", "old=1&new=1", as_of=False),
    "/ledger/checkpoint": Route(CLUSTER, "/ledger/checkpoint", as_of=False),
    "/ledger/tile/{path}": Route(CLUSTER, "/ledger/tile/0/000.p/1", as_of=False),
    "/api/v1/admissions": Route(NAMESPACE, "/api/v1/admissions", "name={pod}", is_list=True),
    "/api/v1/affected": Route(NAMESPACE, "/api/v1/affected", "signer={signer}"),
    "/api/v1/affected/runs": Route(NAMESPACE, "/api/v1/affected/runs", "signer={signer}", is_list=True),
    "/api/v1/affected/decisions": Route(NAMESPACE, "/api/v1/affected/decisions", "signer={signer}", is_list=True),
    "/api/v1/affected/images": Route(NAMESPACE, "/api/v1/affected/images", "signer={signer}", is_list=True),
    "/api/v1/packages": Route(NAMESPACE, "/api/v1/packages", "purl={purl}", is_list=True),
    "/api/v1/components": Route(NAMESPACE, "/api/v1/components", is_list=True),
    "/api/v1/bom": Route(NAMESPACE, "/api/v1/bom"),
    "/api/v1/sboms": Route(NAMESPACE, "/api/v1/sboms", is_list=True),
    "/api/v1/findings": Route(NAMESPACE, "/api/v1/findings", is_list=True),
    "/api/v1/assets": Route(NAMESPACE, "/api/v1/assets", is_list=True),
    "/api/v1/refused": Route(NAMESPACE, "/api/v1/refused", is_list=True),
}
BY_RIGHT = {whose: [one for one in ROUTES.values() if one.whose is whose] for whose in Whose}
ABOUT_ONE = ("/api/v1/images/{digest}", "/api/v1/blobs/{blob}", "/api/v1/proofs/{digest}", "/api/v1/exports")
"""Of these what somebody may not know of is not there: 404. Lists are empty."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        """The body's value."""
        value: dict[str, object] = json.loads(self.body)
        return value

    def tells(self, tenant: Tenant) -> set[str]:
        """What of a tenant's own is in it, headers and the inside of its cursor included."""
        texts = [self.body, *(f"{name}: {value}".encode() for name, value in self.headers.items())]
        if b'"cursor"' in self.body and self.headers.get("content-type") == "application/json":
            cursor = str(self.json().get("cursor") or "")
            texts.append(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        names = {*tenant.names, *({f'"{tenant.namespace}"'} if self.status == 200 else ())}
        return {name for name in names for text in texts if name.encode() in text}


class Served:
    """The inventory of both tenants, as it is served; one connection for all questions."""

    def __init__(self, assay: Assay) -> None:
        context = ssl.create_default_context(cafile=str(assay.ca_file))
        self.assay = assay
        self._connection = HTTPSConnection("127.0.0.1", assay.inventory_port, timeout=60, context=context)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def ask(self, path: str, who: User | None, method: str = "GET", **headers: str) -> Answer:
        """Ask it over HTTPS."""
        shown = {"Authorization": f"Bearer {who.token}"} if who is not None else {}
        self._connection.request(method, path, headers={**shown, **headers})
        response = self._connection.getresponse()
        return Answer(
            response.status, {name.lower(): value for name, value in response.headers.items()}, response.read()
        )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("routes")
    (folder / "policies").mkdir()
    (folder / "policies" / "policy.yaml").write_text(ONLY_ACME)
    (folder / "assay").mkdir()
    fill(sqlite_database(folder / "assay"), Clock(), SHOPS, BANKS)
    with ApiServer(folder / "cluster", users=[SHOPPER, AUDITOR, STRANGER, ASSAY]) as cluster:
        for namespace in ("assay-system", SHOP, BANK):
            cluster.create_namespace(namespace)
        chart = render_chart(inventory__enabled="true")
        cluster.apply(*(obj for obj in chart if obj["kind"] in {"ServiceAccount", "ClusterRole", "ClusterRoleBinding"}))
        role = {"apiGroup": GROUP, "kind": "ClusterRole", "name": ROLE}
        grants = (
            ("RoleBinding", {"namespace": SHOP}, "User", SHOPPER.name),
            ("ClusterRoleBinding", {}, "Group", "auditors"),
        )
        for kind, where, subject, name in grants:
            cluster.apply(
                {
                    "apiVersion": f"{GROUP}/v1",
                    "kind": kind,
                    "metadata": {"name": name, **where},
                    "roleRef": role,
                    "subjects": [{"apiGroup": GROUP, "kind": subject, "name": name}],
                }
            )
        with serving(
            folder / "assay",
            policies=str(folder / "policies"),
            kubeconfig=str(cluster.kubeconfig_for(ASSAY)),
            inventory_access="Kubernetes",
            ledger_merge_delay="100ms",
            log_reads="All",
        ) as assay:
            found = Served(assay)
            proof = ROUTES["/api/v1/ledger/proofs/{record}"].of(BANKS)

            def numbered() -> bool:
                try:
                    return found.ask(proof, AUDITOR).status == 200
                except ConnectionRefusedError:  # the webhook is ready, who reads may not be
                    found.close()
                    return False

            wait_until(numbered, what="the ledger has all records")
            yield found
            found.close()


@pytest.mark.guarantee(20)
def test_guarantee_20_every_route_is_in_the_table_and_none_can_write(served: Served) -> None:
    paths = served.ask("/api/v1/openapi.json", AUDITOR).json()["paths"]
    assert isinstance(paths, dict)
    assert {path.replace(":path}", "}") for path in paths} == set(ROUTES)
    assert {method for operations in paths.values() for method in operations} == {"get"}
    for route in ROUTES.values():
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert served.ask(route.of(SHOPS), AUDITOR, method).status == 405, (method, route.path)


@pytest.mark.guarantee(20)
def test_guarantee_20_no_route_answers_who_shows_no_token_or_may_nothing(served: Served) -> None:
    for route in ROUTES.values():
        for path in (route.of(SHOPS), route.of(SHOPS, namespace=SHOP), route.of(SHOPS, format="csv")):
            for who in (None, User("made-up")):
                answer = served.ask(path, who)
                assert (answer.status, answer.json()["code"]) == (401, "TokenRequired"), path
                assert not answer.tells(SHOPS), path
        more = {"namespace": SHOP} if route.whose is NAMESPACE else {}
        answer = served.ask(route.of(SHOPS, **more), STRANGER)
        expected = (404, "NotFound") if route.whose is RECORD else (403, "AccessDenied")
        assert (answer.status, answer.json()["code"]) == expected, route.path


@pytest.mark.guarantee(20)
def test_guarantee_20_who_may_read_one_namespace_is_told_nothing_of_another_by_any_route(served: Served) -> None:
    for route in BY_RIGHT[NAMESPACE]:
        for path in variants(route):
            own = served.ask(path(SHOPS, namespace=SHOP), SHOPPER)
            assert own.status == 200, (path(SHOPS, namespace=SHOP), own.body)
            assert own.tells(SHOPS), path(SHOPS, namespace=SHOP)
            assert not own.tells(BANKS), path(SHOPS, namespace=SHOP)
            for asked in (path(BANKS), path(BANKS, namespace=BANK)):
                answer = served.ask(asked, SHOPPER)
                assert (answer.status, answer.json()["code"]) == (403, "AccessDenied"), asked
                assert answer.tells(BANKS) <= {BANKS.signer}, asked
            assert served.ask(path(BANKS, namespace=BANK), AUDITOR).tells(BANKS), route.path  # there is what to hide


@pytest.mark.guarantee(20)
def test_guarantee_20_what_is_another_s_does_not_exist_where_it_is_asked_for_by_name(served: Served) -> None:
    named = [route for route in BY_RIGHT[NAMESPACE] if "{" in route.path + route.query]
    assert len(named) > 8
    for route in named:
        for path in variants(route):
            hidden = served.ask(path(BANKS, namespace=SHOP), SHOPPER)
            nothing = served.ask(path(NOBODYS, namespace=SHOP), SHOPPER)
            assert hidden.status == nothing.status == (404 if route.path in ABOUT_ONE else 200), route.path
            assert stripped(hidden, BANKS) == stripped(nothing, NOBODYS), path(BANKS, namespace=SHOP)
    for route in BY_RIGHT[RECORD]:
        assert served.ask(route.of(SHOPS), SHOPPER).status == 200
        hidden, nothing = served.ask(route.of(BANKS), SHOPPER), served.ask(route.of(NOBODYS), SHOPPER)
        assert (hidden.status, hidden.body) == (404, nothing.body)
    for name in ("record", "run"):
        for route in (ROUTES["/api/v1/exports"], ROUTES["/api/v1/proofs/{name}"]):
            value = urllib.parse.quote(BANKS.run if name == "run" else BANKS.records["ran"]["id"], safe="")
            path = f"{route.path.partition('{')[0]}{value}?" if "{" in route.path else f"{route.path}?{name}={value}&"
            assert served.ask(f"{path}namespace={SHOP}", SHOPPER).status == 404, path
            assert served.ask(f"{path}namespace={BANK}", AUDITOR).status == 200, path


@pytest.mark.guarantee(20)
def test_guarantee_20_what_is_the_whole_clusters_is_refused_to_who_may_read_one_namespace(served: Served) -> None:
    for route in BY_RIGHT[CLUSTER]:
        for path in variants(route):
            answer = served.ask(path(SHOPS), SHOPPER)
            assert (answer.status, answer.json()["code"]) == (403, "AccessDenied"), route.path
            assert served.ask(path(SHOPS), AUDITOR).status == 200, path(SHOPS)
            assert served.ask(path(SHOPS, namespace=SHOP), SHOPPER).status in {400, 403}, route.path


@pytest.mark.guarantee(20)
def test_guarantee_20_pages_and_tags_follow_what_somebody_may_see(served: Served) -> None:
    for route in (one for one in BY_RIGHT[NAMESPACE] if one.is_list):
        items, cursor, pages = 0, "", 0
        while True:
            more = {"namespace": SHOP, "limit": "1", **({"cursor": cursor} if cursor else {})}
            answer = served.ask(route.of(SHOPS, **more), SHOPPER)
            assert answer.status == 200, (route.path, answer.body)
            assert not answer.tells(BANKS), route.path
            page = answer.json()
            items += len(page["items"])  # type: ignore[arg-type]
            cursor, pages = str(page["cursor"] or ""), pages + 1
            if not cursor:
                break
            # A cursor is a place, not a right.
            more = {"namespace": BANK, "limit": "1", "cursor": cursor}
            assert served.ask(route.of(SHOPS, **more), SHOPPER).status == 403, route.path
        whole = served.ask(route.of(SHOPS, namespace=SHOP, format="jsonl"), SHOPPER)
        assert len(whole.body.splitlines()) == items > 0, route.path
        # What the bank's page is tagged with is no way to it.
        tag = served.ask(route.of(BANKS, namespace=BANK), AUDITOR).headers["etag"]
        refused = served.ask(route.of(BANKS, namespace=BANK), SHOPPER, **{"If-None-Match": tag})
        assert refused.status == 403, route.path


def test_what_was_read_is_recorded_with_who_read_it_and_what_was_refused_is_not(served: Served) -> None:
    asked = ROUTES["/api/v1/decisions"]
    assert served.ask(asked.of(SHOPS, namespace=SHOP, limit="2"), SHOPPER).status == 200
    assert served.ask(asked.of(SHOPS, namespace=BANK), STRANGER).status == 403
    reads = served.ask("/api/v1/reads?username=shopper&limit=500", AUDITOR).json()["items"]
    assert isinstance(reads, list)
    newest = next(read for read in reads if read["resource"] == "decisions" and read["verb"] == "list")
    assert (newest["namespace"], newest["count"], newest["status"]) == (SHOP, 2, 200)
    assert served.ask("/api/v1/reads?username=stranger", AUDITOR).json()["items"] == []
    assert SHOPPER.token.encode() not in served.ask("/api/v1/reads?username=shopper&limit=500", AUDITOR).body


CANARY = "canary-4f9c"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def full_of_secrets() -> dict[str, Any]:
    """A pod with a canary in each place where people put secrets."""
    probe = {
        "httpGet": {
            "path": f"/?t={CANARY}-probe",
            "httpHeaders": [{"name": "Authorization", "value": f"{CANARY}-header"}],
        }
    }
    container = {
        "name": "c0",
        "image": "ghcr.io/acme/app:1",
        "command": ["run", f"--password={CANARY}-command"],
        "args": [f"--token={CANARY}-args"],
        "env": [
            {"name": "PASSWORD", "value": f"{CANARY}-env"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": f"{CANARY}-ref", "key": "token"}}},
        ],
        "envFrom": [{"prefix": f"{CANARY}-prefix", "secretRef": {"name": f"{CANARY}-envfrom"}}],
        "livenessProbe": probe,
        "lifecycle": {"postStart": {"exec": {"command": [f"{CANARY}-hook"]}}},
        "workingDir": f"/{CANARY}-dir",
    }
    applied = json.dumps({"spec": {"containers": [{"env": [{"name": "P", "value": f"{CANARY}-applied"}]}]}})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "secretive",
            "namespace": SHOP,
            "uid": "secretive",
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": applied,
                "note": f"{CANARY}-annotation",
            },
            "managedFields": [{"manager": f"{CANARY}-manager"}],
        },
        "spec": {
            "containers": [container],
            "initContainers": [{**container, "name": "i0"}],
            "imagePullSecrets": [{"name": "pull"}],
            "hostAliases": [{"ip": "192.0.2.1", "hostnames": [f"{CANARY}-alias"]}],
            "volumes": [{"name": "v", "csi": {"driver": "x", "volumeAttributes": {"key": f"{CANARY}-volume"}}}],
        },
    }


@pytest.mark.guarantee(12)
def test_guarantee_12_no_secret_environment_value_or_token_is_kept_anywhere(served: Served) -> None:
    body = full_of_secrets()
    old = {
        **body,
        "spec": {**body["spec"], "containers": [{**body["spec"]["containers"][0], "image": "ghcr.io/acme/app:0"}]},
    }
    extra = {
        "name": "secretive",
        "userInfo": {"username": "jane", "groups": ["dev"], "extra": {"scopes": [f"{CANARY}-extra"]}},
    }
    for asked in (
        review(body, **extra),
        review(body, old, **extra),
        review({**body, "kind": "CronJob"}, kind="CronJob"),
    ):
        for path in ("/mutate", "/validate"):
            status, answer = served.assay.post(path, asked)
            assert status == 200
            assert CANARY not in json.dumps({k: v for k, v in answer["response"].items() if k != "patch"})
    wait_until(lambda: b"secretive" in served.ask("/api/v1/decisions", AUDITOR).body, what="the decision is there")
    header = {"Cookie": f"session={CANARY}-cookie", "X-Auth": f"{CANARY}-x"}
    for path in ("/api/v1/decisions", "/api/v1/exports?namespace=shop", "/api/v1/query?sql=SELECT+*+FROM+v_decisions"):
        assert served.ask(path, AUDITOR, **header).status == 200
        assert served.ask(path, User(f"{CANARY}-stranger"), **header).status == 401
        for form in ("", "&format=csv", "&format=ndjson"):
            assert CANARY.encode() not in served.ask(f"{path}{'&' if '?' in path else '?'}{form[1:]}", AUDITOR).body
    tokens = [user.token for user in (AUDITOR, SHOPPER, STRANGER)]
    assert canaries.found(served.assay.folder, ["secretive"])  # what is looked for would be seen
    assert canaries.found(served.assay.folder, [CANARY, *tokens]) == set()


NOBODYS = Tenant(
    "nobody",
    "absent",
    "sha256:" + "0d" * 32,
    {"decision 0": {"id": "nothing"}, "ran": {"id": "nothing"}},
    {next(iter(BANKS.blobs)).parse("sha256:" + "0e" * 32): b""},
)


def variants(route: Route) -> Iterator[object]:
    """The route as it is asked: now, in each form, of a day past, from what was known then, between two times."""

    def with_(**given: str) -> object:
        return lambda tenant, **more: route.of(tenant, **given, **more)

    yield with_()
    for form in ("csv", "ndjson") if route.is_list else ():
        yield with_(format=form)
    if route.whose is NAMESPACE:
        yield with_(knownAt=PAST)
    if route.as_of and route.whose is NAMESPACE:
        yield with_(asOf=PAST)
        yield with_(asOf=PAST, knownAt=PAST, **({"format": "csv"} if route.is_list else {}))
    if route.of_period:
        yield with_(since=BEFORE)
        yield with_(until=PAST)
        yield with_(since=BEFORE, until=PAST, knownAt=PAST)


def stripped(answer: Answer, tenant: Tenant) -> tuple[int, bytes]:
    """An answer without what was asked for, which it may repeat."""
    body = answer.body
    for name in sorted({*tenant.names, tenant.signer, tenant.purl}, key=len, reverse=True):
        body = body.replace(name.encode(), b"")
    return answer.status, body
