"""Two replicas on one PostgreSQL and a real API server: one numbers the records, by its Lease; the term keeps out who
lost it and does not know yet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controller.cluster.leases import DURATION
from controller.inventory.audit.verifying import Report
from controller.inventory.ledger.keeping import open_signer
from controller.inventory.store import Store, migrate
from controller.settings import InventorySettings
from tests.e2e.conftest import ASSAY, DEVELOPER, apply_chart
from tests.support import postgres
from tests.support.assay import Assay, serving
from tests.support.kubernetes import ApiServer
from tests.support.processes import free_port, wait_until
from tests.support.review import pod, review

PATH = "/apis/coordination.k8s.io/v1/namespaces/assay-system/leases/assay"
TAKEN_WITHIN = 10 * DURATION  # seconds; a time of the design, times ten


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("cluster"), users=[DEVELOPER, ASSAY], controllers=True) as running:
        running.create_namespace("assay-system")
        apply_chart(running, free_port())
        yield running


class Replicas:
    """What two replicas share: a cluster, a database, a key."""

    def __init__(self, cluster: ApiServer, url: str, folder: Path) -> None:
        self.cluster = cluster
        self.url = url
        self.folder = folder
        self.key = folder / "ledger.key"
        private = Ed25519PrivateKey.generate()
        self.key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def serving(self, name: str) -> Any:
        return serving(
            self.folder / name,
            kubeconfig=str(self.cluster.kubeconfig_for(ASSAY)),
            database_url=self.url,
            durability="Database",
            ledger_key_file=str(self.key),
            ledger_merge_delay="100ms",
            webhook_configuration="",
            webhook_names="127.0.0.1",
        )

    def holder(self) -> str:
        return str((self.cluster.get(PATH).get("spec") or {}).get("holderIdentity") or "")

    def report(self) -> Report:
        signer = open_signer("assay/local", key_file=str(self.key), directory=self.folder / "keys")
        with Store.open_to_read(InventorySettings(database_url=self.url)) as store:
            return store.verify(keys=[signer.key()])


def leads(assay: Assay) -> bool:
    return "this process leads now" in (assay.folder / "assay.log").read_text()


def record(assay: Assay, name: str) -> str:
    status, answer = assay.post(
        "/validate", review(pod("ghcr.io/acme/app:1", metadata={"name": name, "uid": name}), uid=name)
    )
    assert status == 200
    return str(answer["response"]["auditAnnotations"]["record"])


def numbered(assay: Assay, identity: str) -> bool:
    try:
        assay.inventory(f"/api/v1/ledger/proofs/{identity}")
    except LookupError:
        return False
    return True


@pytest.mark.guarantee(14)
def test_guarantee_14_one_leads_and_the_other_takes_over_when_it_is_killed(
    cluster: ApiServer, server: postgres.Postgres, tmp_path: Path
) -> None:
    url = server.new_database()
    replicas = Replicas(cluster, url, tmp_path)
    with replicas.serving("one") as one:
        wait_until(lambda: leads(one), what="the first replica leads")
        with replicas.serving("other") as other:
            first = replicas.holder()
            identities = [record(one, "a"), record(other, "b")]
            wait_until(lambda: all(numbered(other, each) for each in identities), what="both records have a number")
            assert not leads(other)
            began = time.monotonic()
            one.server.kill()
            later = record(other, "c")
            wait_until(lambda: leads(other), timeout=TAKEN_WITHIN, what="the other leads")
            wait_until(lambda: numbered(other, later), timeout=TAKEN_WITHIN, what="the record has a number")
            assert time.monotonic() - began < TAKEN_WITHIN
            assert replicas.holder() not in {"", first}
    report = replicas.report()
    assert (report.findings, report.entries, report.waiting) == ([], 3, 0)


@pytest.mark.guarantee(14)
def test_guarantee_14_a_leader_that_was_asleep_past_its_lease_writes_nothing_more(
    cluster: ApiServer, server: postgres.Postgres, tmp_path: Path
) -> None:
    url = server.new_database()
    replicas = Replicas(cluster, url, tmp_path)
    with replicas.serving("one") as one:
        wait_until(lambda: leads(one), timeout=TAKEN_WITHIN, what="the first replica leads")
        first = record(one, "a")
        wait_until(lambda: numbered(one, first), what="its record has a number")
        with replicas.serving("other") as other:
            os.kill(one.server.pid, signal.SIGSTOP)
            try:
                wait_until(lambda: leads(other), timeout=TAKEN_WITHIN, what="the other leads")
                later = record(other, "b")
                wait_until(lambda: numbered(other, later), timeout=TAKEN_WITHIN, what="it goes on")
                holder = replicas.holder()
            finally:
                os.kill(one.server.pid, signal.SIGCONT)
            wait_until(
                lambda: "leads no more" in _log(one) or "left to the process that leads" in _log(one),
                what="the first knows that it leads no more",
            )
            last = record(one, "c")  # recording is everybody's
            wait_until(lambda: numbered(one, last), what="its record has a number, by the other")
            assert replicas.holder() == holder
    report = replicas.report()
    assert (report.findings, report.entries, report.waiting) == ([], 3, 0)


def _log(assay: Assay) -> str:
    return (assay.folder / "assay.log").read_text()


@pytest.mark.guarantee(14)
def test_guarantee_14_the_term_refuses_who_believes_in_a_lease_that_it_lost(
    server: postgres.Postgres, tmp_path: Path
) -> None:
    """The Lease can only be late. A process that is stopped between its look at the Lease and its write, woken after
    another took over, is refused by the database."""
    url = server.new_database()
    migrate(url)
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.support.sleeping_leader", url],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    del tmp_path
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "about to write\n"
        os.kill(child.pid, signal.SIGSTOP)
        from tests.support.sleeping_leader import sequencer_of

        with Store.open(InventorySettings(database_url=url, durability="Database")) as store:
            other = sequencer_of(store, url)
            other.take_over()
            assert other.sequence().size == 3
            os.kill(child.pid, signal.SIGCONT)
            child.stdin.write("go\n")
            child.stdin.flush()
            assert child.stdout.readline() == "LedgerTaken\n"
            assert store.ledger.extent().size == 3
    assert child.returncode == 0
