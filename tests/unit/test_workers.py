"""The pool: a job that goes wrong is an Error of its own, and nothing else is lost with it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from controller import errors
from controller.errors import AssayError, DeadlineExceeded, LimitExceeded, Unacceptable, Unavailable
from controller.model.deadline import Deadline
from controller.model.decision import ErrorKind, Outcome
from controller.model.evidence import Artifact, EvidenceSet
from controller.model.image import ResolvedImage
from controller.model.policy import Authority, CertificateAuthority, CertificateIdentity, Need
from controller.model.reference import Digest, Reference
from controller.policy.parse import parse_policy
from controller.policy.pems import CODE_SIGNING
from controller.review.ports import AssessmentJob
from controller.settings import DocumentSettings, PolicySettings, WorkerSettings
from controller.verification.keys import load_public_key
from controller.workers import WorkerPool, worker
from controller.workers.assessment import assess
from tests.support.authorities import ENDS, WHO, new_ca
from tests.support.fixtures import recorded_bundle, recorded_key
from tests.unit.verification.evidence import IMAGE, NOW, Signer, artifact, statement

SECOND = timedelta(seconds=1)
SOON = 60.0  # seconds; a bound on a stuck test, never what is tested


def settings(processes: int = 2, **changes: float) -> WorkerSettings:
    return replace(WorkerSettings(worker_processes=processes), **changes)


def pool_of(workers: WorkerSettings) -> WorkerPool:
    return WorkerPool(workers, DocumentSettings(), PolicySettings())


def job(*artifacts: Artifact, key: str, image: Digest = IMAGE, problems: tuple[AssayError, ...] = ()) -> AssessmentJob:
    reference = Reference.parse(f"registry.test/acme/app@{image}")
    return AssessmentJob(
        image=ResolvedImage(reference, image, "application/vnd.oci.image.manifest.v1+json", 1),
        evidence=EvidenceSet(image, reference.name, artifacts, NOW, problems),
        policy=parse_policy(
            {
                "apiVersion": "assay.dev/v1alpha1",
                "kind": "ClusterEvidencePolicy",
                "metadata": {"name": "signed"},
                "spec": {
                    "authorities": [{"name": "release", "key": {"pem": key}, "transparencyLog": "Optional"}],
                    "signatures": {"authorities": ["release"]},
                },
            }
        ),
        trust_roots=(),
        now=NOW,
    )


async def acquainted(pool: WorkerPool) -> None:
    """Wait until every worker has imported this module, which it must to run a function of it."""
    await asyncio.gather(*(pool.run(sleep, lambda: b"0.3", Deadline.after(SOON)) for _ in range(4)))


def sleep(payload: bytes) -> bytes:
    time.sleep(float(payload))
    return pickle.dumps("slept")


def touch(payload: bytes) -> bytes:
    Path(payload.decode()).touch()
    return pickle.dumps("touched")


def die(payload: bytes) -> bytes:
    os.kill(os.getpid(), int(payload))
    return b""


def answer_what_cannot_be_unpickled(_payload: bytes) -> bytes:
    return b"\x80\x04 no pickle"


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


def raise_what_cannot_be_unpickled(_payload: bytes) -> bytes:
    raise Unpicklable(1, 2)


async def test_judgement_in_a_worker_is_the_judgement_in_this_process() -> None:
    bundle = recorded_bundle("release.none.signature")
    good = job(artifact(bundle.raw), key=bundle.public_key, image=Digest.parse(bundle.digest))
    bad = job(artifact(bundle.raw), key=recorded_key("stranger"), image=Digest.parse(bundle.digest))
    async with pool_of(settings()) as pool:
        await pool.warm()
        for one, outcome in ((good, Outcome.SATISFIED), (bad, Outcome.VIOLATED)):
            found = await pool.assess(one, deadline=Deadline.after(SOON))
            assert found == assess(one, documents=DocumentSettings(), policy=PolicySettings())
            assert found.outcome is outcome


@pytest.mark.guarantee(1)
def test_an_assessment_is_remembered_no_longer_than_a_certificate_that_it_was_made_by() -> None:
    ca, signer = new_ca(), Signer()
    made = signer.envelope(statement())
    der = base64.b64encode(ca.issue(signer.private.public_key())).decode()
    found = artifact(made | {"verificationMaterial": {"certificate": {"rawBytes": der}}})
    own = CertificateAuthority(ca.chain, (CertificateIdentity(WHO),), (CODE_SIGNING,))
    one = job(found, key=signer.pem)
    authority = Authority("release", certificate=own, transparency_log=Need.IGNORE)
    spec = replace(one.policy.spec, authorities=(authority,))
    one = replace(one, policy=replace(one.policy, spec=spec))
    judged = assess(one, documents=DocumentSettings(), policy=PolicySettings())
    assert (judged.outcome, judged.valid_until) == (Outcome.SATISFIED, ENDS)
    late = assess(replace(one, now=ENDS + SECOND), documents=DocumentSettings(), policy=PolicySettings())
    assert late.outcome is Outcome.VIOLATED


@pytest.mark.guarantee(10)
async def test_job_past_its_time_is_an_error_of_its_own_and_the_pool_goes_on() -> None:
    async with pool_of(settings(worker_timeout=3)) as pool:
        slow = asyncio.create_task(pool.run(sleep, lambda: b"3600", Deadline.after(SOON)))
        with pytest.raises(LimitExceeded) as caught:
            await slow
        assert caught.value.setting == "worker_timeout"
        assert await pool.run(sleep, lambda: b"0", Deadline.after(SOON)) == "slept"


@pytest.mark.guarantee(6)
async def test_job_that_was_started_is_never_unavailable_for_being_slow() -> None:
    async with pool_of(settings(1)) as pool:
        await acquainted(pool)
        with pytest.raises(LimitExceeded):
            await pool.run(sleep, lambda: b"3600", Deadline.after(0.5))
        assert await pool.run(sleep, lambda: b"0", Deadline.after(SOON)) == "slept"


class Noted:
    """Goes with a job's evidence, and says when that is copied."""

    def __init__(self) -> None:
        self.copies = 0

    def __reduce__(self) -> tuple[type[dict[str, str]], tuple[()]]:
        self.copies += 1
        return dict, ()


@pytest.mark.guarantee(10)
async def test_evidence_is_copied_for_a_worker_only_once_there_is_one() -> None:
    noted = Noted()
    waiting = job(key=recorded_key("release"))
    waiting = replace(waiting, evidence=replace(waiting.evidence, held=noted))
    async with pool_of(settings(1)) as pool:
        await acquainted(pool)
        busy = asyncio.create_task(pool.run(sleep, lambda: b"1", Deadline.after(SOON)))
        await asyncio.sleep(0.2)
        judged = [asyncio.create_task(pool.assess(waiting, deadline=Deadline.after(SOON))) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert (busy.done(), noted.copies) == (False, 0)
        await asyncio.gather(*judged)
        assert noted.copies == 3
        await busy


@pytest.mark.guarantee(18)
async def test_job_that_no_worker_was_free_for_is_unavailable_and_is_not_run_later(tmp_path: Path) -> None:
    async with pool_of(settings(1)) as pool:
        await acquainted(pool)
        busy = asyncio.create_task(pool.run(sleep, lambda: b"1.5", Deadline.after(SOON)))
        await asyncio.sleep(0.2)
        with pytest.raises(DeadlineExceeded):
            await pool.run(touch, lambda: str(tmp_path / "ran").encode(), Deadline.after(0.3))
        assert await busy == "slept"
        assert await pool.run(sleep, lambda: b"0", Deadline.after(SOON)) == "slept"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
async def test_worker_that_dies_takes_only_its_own_job_with_it(how: signal.Signals) -> None:
    async with pool_of(settings(2)) as pool:
        await acquainted(pool)
        other = asyncio.create_task(pool.run(sleep, lambda: b"1", Deadline.after(SOON)))
        await asyncio.sleep(0.1)
        with pytest.raises(Unacceptable) as caught:
            await pool.run(die, lambda: str(int(how)).encode(), Deadline.after(SOON))
        assert caught.value.code == "WorkerLost"
        assert await other == "slept"
        assert await pool.run(sleep, lambda: b"0", Deadline.after(SOON)) == "slept"


@pytest.mark.parametrize("function", [answer_what_cannot_be_unpickled, raise_what_cannot_be_unpickled])
async def test_answer_that_cannot_be_read_is_an_error_of_its_own(function: Callable[[bytes], bytes]) -> None:
    async with pool_of(settings(1)) as pool:
        with pytest.raises(Unacceptable):
            await pool.run(function, lambda: b"", Deadline.after(SOON))
        assert await pool.run(sleep, lambda: b"0", Deadline.after(SOON)) == "slept"


async def test_caller_that_gives_up_frees_the_worker() -> None:
    async with pool_of(settings(1)) as pool:
        await acquainted(pool)
        given_up = asyncio.create_task(pool.run(sleep, lambda: b"3600", Deadline.after(SOON)))
        await asyncio.sleep(0.2)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        assert await pool.run(sleep, lambda: b"0", Deadline.after(SOON)) == "slept"


@pytest.mark.guarantee(10)
async def test_evidence_that_needs_more_memory_than_a_worker_has_is_an_error_with_the_bounds_name() -> None:
    signer = Signer()
    large = artifact(signer.envelope(statement(predicate_type="https://example.test/v1", predicate=[[]] * 3_000_000)))
    async with pool_of(settings(1, worker_memory_bytes=32 * 1024 * 1024)) as pool:
        with pytest.raises(LimitExceeded) as caught:
            await pool.assess(job(large, key=signer.pem), deadline=Deadline.after(SOON))
        assert caught.value.setting == "worker_memory_bytes"
        small = artifact(signer.envelope(statement()))
        found = await pool.assess(job(small, key=signer.pem), deadline=Deadline.after(SOON))
        assert found.outcome is Outcome.SATISFIED


async def test_defect_in_judging_is_an_error_that_quotes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("secret bytes of the evidence")

    monkeypatch.setattr("controller.workers.assessment.verify", broken)
    payload = pickle.dumps((job(key=Signer().pem), DocumentSettings(), PolicySettings()))
    error = pickle.loads(worker.assess(payload))  # noqa: S301 - written one line before
    assert isinstance(error, Unacceptable)
    assert (error.code, "secret" in str(error)) == ("AssessmentFailed", False)


async def test_stopping_leaves_nobody_waiting_and_no_process_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.workers.pool.STOP_GRACE", 0.2)
    pool = pool_of(settings(1))
    async with pool:
        process = await pool.run(worker.identify, bytes, Deadline.after(SOON))
        waiting = [asyncio.create_task(pool.run(sleep, lambda: b"3600", Deadline.after(SOON))) for _ in range(3)]
        await asyncio.sleep(0.2)
    for one in waiting:
        with pytest.raises(Unavailable) as caught:
            await one
        assert caught.value.code == "WorkersStopped"
    assert not _runs(process)
    with pytest.raises(Unavailable):
        await pool.run(sleep, lambda: b"0", Deadline.after(SOON))


async def test_worker_is_replaced_after_its_number_of_jobs() -> None:
    async with pool_of(settings(1, worker_max_jobs=2)) as pool:
        seen = {await pool.run(worker.identify, bytes, Deadline.after(SOON)) for _ in range(6)}
    assert len(seen) == 3


def test_process_that_is_killed_leaves_no_worker_behind() -> None:
    program = (
        "import asyncio, json, sys\n"
        "from tests.unit.test_workers import Deadline, pool_of, settings, worker\n"
        "async def main():\n"
        "    async with pool_of(settings(1)) as pool:\n"
        "        print(await pool.run(worker.identify, bytes, Deadline.after(60)), flush=True)\n"
        "        await asyncio.sleep(3600)\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        family = [child, _parent_of(child)]
        parent.kill()
    until = time.monotonic() + SOON
    while any(_runs(process) for process in family) and time.monotonic() < until:
        time.sleep(0.05)
    assert [process for process in family if _runs(process)] == []


def _parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


ERRORS = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, AssayError) and error is not AssayError
]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_crosses_a_process_border_whole(kind: type[AssayError]) -> None:
    there = kind("Code", "a sentence")
    if isinstance(there, errors.Unavailable):
        there = type(there)("Code", "a sentence", 2.5)
    back = pickle.loads(pickle.dumps(there))  # noqa: S301 - written on the same line
    assert (type(back), back.args, str(back), vars(back)) == (kind, there.args, str(there), vars(there))


@pytest.mark.guarantee(6)
def test_evidence_that_could_not_be_fetched_whole_turns_unmet_into_an_error_and_leaves_met_alone() -> None:
    signer = Signer()
    lost = (Unacceptable("ReferrerUnreadable", "a referrer could not be read"),)
    met = job(artifact(signer.envelope(statement())), key=signer.pem, problems=lost)
    unmet = job(key=signer.pem, problems=lost)
    limits = DocumentSettings(), PolicySettings()
    assert assess(met, documents=limits[0], policy=limits[1]).outcome is Outcome.SATISFIED
    found = assess(unmet, documents=limits[0], policy=limits[1])
    assert (found.outcome, found.error_kind) == (Outcome.ERROR, ErrorKind.UNACCEPTABLE)


@pytest.mark.guarantee(2)
def test_no_evidence_violates() -> None:
    found = assess(job(key=Signer().pem), documents=DocumentSettings(), policy=PolicySettings())
    assert (found.outcome, found.error_kind) == (Outcome.VIOLATED, None)
    assert found.reasons


def test_assessment_names_every_input_by_hash() -> None:
    signer = Signer()
    found = artifact(signer.envelope(statement()))
    used = assess(job(found, key=signer.pem), documents=DocumentSettings(), policy=PolicySettings()).used
    assert used["artifacts"] == [str(found.digest)]
    assert used["keys"]["release"] == [load_public_key(signer.pem).fingerprint]
    assert "sigstore" in used["verifier"]
    json.dumps(used)


@pytest.mark.parametrize(
    ("kind", "uri", "outcome"),
    [
        ("Vulnerability", "https://cosign.sigstore.dev/attestation/vuln/v1", Outcome.SATISFIED),
        ("CycloneDX", "https://cyclonedx.org/bom", Outcome.ERROR),
    ],
)
def test_a_scan_in_an_unknown_form_is_attested_data_and_an_sbom_in_one_cannot_be_judged(
    kind: str, uri: str, outcome: Outcome
) -> None:
    signer = Signer()
    attested = artifact(signer.envelope(statement(predicate_type=uri, predicate={"scanner": {"result": {"odd": 1}}})))
    spec = {
        "authorities": [{"name": "release", "key": {"pem": signer.pem}, "transparencyLog": "Optional"}],
        "attestations": [{"name": "wanted", "type": kind, "authorities": ["release"]}],
    }
    policy = parse_policy(
        {
            "apiVersion": "assay.dev/v1alpha1",
            "kind": "ClusterEvidencePolicy",
            "metadata": {"name": "scanned"},
            "spec": spec,
        }
    )
    asked = replace(job(attested, key=signer.pem), policy=policy)
    assert assess(asked, documents=DocumentSettings(), policy=PolicySettings()).outcome is outcome
