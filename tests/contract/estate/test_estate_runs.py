"""What ran, how it was admitted and who had signed it is what the oracle says, by every filter."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from controller.inventory.asking.queries import Queries
from controller.inventory.records import Admission
from controller.inventory.store import Store
from tests.bench.estate.oracle import Ran
from tests.support.asked_estate import PAGE, estate, every, oracle, times

pytestmark = pytest.mark.timeout(1200)  # the first test of each database waits until it is written


def told(run: Any) -> tuple[Any, ...]:
    """What an answer says of a run."""
    signers = {(who.key, who.issuer, who.subject): who.statements for who in run.signers}
    return (
        *(run.cluster, run.namespace, run.pod, run.pod_uid, run.node, run.owner, run.service_account, run.kind),
        *(run.container, run.run, run.reference, run.image_id, run.digest, run.started_at, run.ended_at, run.reason),
        *(str(run.admission), run.record, signers),
    )


def expected(ran: Ran) -> tuple[Any, ...]:
    """What the oracle says of it."""
    run, pod = ran.run, ran.run.subject
    return (
        *(pod.cluster, pod.namespace, pod.name, pod.uid, pod.node, pod.owner, pod.service_account, run.kind),
        *(run.container, run.run, run.reference, run.image_id, run.digest, run.started_at, ran.ended_at, ran.reason),
        *(ran.admission, ran.record, ran.signers),
    )


def check_runs(queries: Queries, **where: Any) -> int:
    asked = {**where, **({"admission": Admission(where["admission"])} if "admission" in where else {})}
    found = every(lambda cursor: queries.runs(**asked, limit=PAGE, cursor=cursor))
    wanted = oracle().runs(**where)
    assert [run.started_at for run in found] == [ran.run.started_at for ran in wanted], where
    by_run = {ran.run.run: expected(ran) for ran in wanted}
    assert {run.run: told(run) for run in found} == by_run, where
    assert len(found) == len(by_run)
    return len(found)


def test_what_ran_at_any_time_is_what_ran(inventory: Store) -> None:
    for as_of, known_at in times("runs"):
        check_runs(inventory.queries, as_of=as_of, known_at=known_at)


def test_what_ran_in_a_namespace_or_of_a_digest_is_what_ran(inventory: Store) -> None:
    random = Random("narrow")
    found = 0
    for as_of, known_at in times("narrow"):
        found += check_runs(
            inventory.queries, as_of=as_of, known_at=known_at, namespace=random.choice(estate().namespaces)
        )
        run = random.choice(estate().runs)
        found += check_runs(inventory.queries, as_of=as_of, known_at=known_at, digest=run.digest)
    assert found > 100


@pytest.mark.parametrize("admission", ["Admitted", "Drifted", "Unadmitted", "Unknown"])
def test_how_runs_were_admitted_is_how_they_were(inventory: Store, admission: str) -> None:
    found = sum(
        check_runs(inventory.queries, as_of=as_of, known_at=known_at, admission=admission)
        for as_of, known_at in times(admission, 4)
    )
    assert found > 0


def test_who_signed_what_runs_is_who_signed(inventory: Store) -> None:
    signers = sorted({name for ran in oracle().runs() for who in ran.signers for name in (who[0], who[2]) if name})
    for as_of, known_at in times("signers", 4):
        for signed in (True, False):
            check_runs(inventory.queries, as_of=as_of, known_at=known_at, signed=signed)
        for signer in Random(str(as_of)).sample(signers, 3):
            check_runs(inventory.queries, as_of=as_of, known_at=known_at, signer=signer)


def test_who_signed_what_runs_in_a_cluster_is_who_signed(inventory: Store) -> None:
    signers = sorted({name for ran in oracle().runs() for who in ran.signers for name in (who[0], who[2]) if name})
    clusters = sorted({ran.run.subject.cluster for ran in oracle().runs()})
    assert len(clusters) > 1
    found = {cluster: [0, 0, 0] for cluster in clusters}
    for as_of, known_at in times("signers of a cluster", 4):
        for cluster in clusters:
            where = {"as_of": as_of, "known_at": known_at, "cluster": cluster}
            found[cluster][0] += check_runs(inventory.queries, **where, signed=True)
            found[cluster][1] += check_runs(inventory.queries, **where, signed=False)
            for signer in Random(f"{as_of} {cluster}").sample(signers, 3):
                found[cluster][2] += check_runs(inventory.queries, **where, signer=signer)
    assert all(min(counts) > 0 for counts in found.values()), found


def test_the_times_without_a_watch_are_told(inventory: Store) -> None:
    for as_of, known_at in times("gaps"):
        for namespace in (None, *estate().namespaces):
            page = inventory.queries.runs(as_of=as_of, known_at=known_at, namespace=namespace, limit=1)
            wanted = oracle().gaps(as_of=as_of, known_at=known_at, namespace=namespace)
            assert [(g.cluster, g.since, g.until) for g in page.gaps] == [(g.cluster, g.since, g.until) for g in wanted]
