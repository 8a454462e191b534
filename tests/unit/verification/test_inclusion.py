"""What a log's word is worth, where the log itself is the attacker's friend: its key signs whatever a test wants.

The recorded logs say nothing odd, so a log of two or three entries with a key of its own is put together here.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controller.model.policy import TrustRoot
from controller.verification.failures import EvidenceFailure
from controller.verification.inclusion import MAX_NUMBER, Inclusion, _number, verify_inclusion
from controller.verification.trust import ParsedRoot, parse_root
from tests.unit.verification.evidence import b64, trust_root

KEY = ec.generate_private_key(ec.SECP256R1())
SPKI = KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
LOG_ID = hashlib.sha256(SPKI).digest()
BODIES = [b'{"n":0}', b'{"n":1}', b'{"n":2}']
NOON = int(datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp())


def root(**window: str) -> ParsedRoot:
    """A trust root that believes the log."""
    document = json.loads(trust_root("main").content)
    log = document["tlogs"][0]
    log["logId"] = {"keyId": b64(LOG_ID)}
    log["publicKey"] = {"rawBytes": b64(SPKI), "keyDetails": "PKIX_ECDSA_P256_SHA_256"} | (
        {"validFor": window} if window else {}
    )
    document["tlogs"] = [log]
    return parse_root(TrustRoot("log", json.dumps(document).encode(), ""))


def sign(content: bytes) -> bytes:
    """The log's signature."""
    return KEY.sign(content, ec.ECDSA(hashes.SHA256()))


def proof(index: int, *, claimed: int | None = None) -> dict[str, Any]:
    """A true inclusion proof in the tree of three entries (RFC 6962, section 2.1.1); `claimed` is another tree size."""
    leaves = [hashlib.sha256(b"\x00" + body).digest() for body in BODIES]
    pair = hashlib.sha256(b"\x01" + leaves[0] + leaves[1]).digest()
    top = hashlib.sha256(b"\x01" + pair + leaves[2]).digest()
    path = {0: [leaves[1], leaves[2]], 1: [leaves[0], leaves[2]], 2: [pair]}[index]
    note = f"log.example\n{len(BODIES)}\n{b64(top)}\n"
    signed = b64(LOG_ID[:4] + sign(note.encode()))
    return {
        "logIndex": str(index),
        "rootHash": b64(top),
        "treeSize": str(claimed or len(BODIES)),
        "hashes": [b64(node) for node in path],
        "checkpoint": {"envelope": f"{note}\n\u2014 log.example {signed}\n"},
    }


def entry(index: int = 1, *, seconds: int | None = None, **parts: Any) -> dict[str, Any]:
    """A log entry; with `seconds` the log promises it at that time."""
    raw: dict[str, Any] = {
        "logIndex": str(index),
        "logId": {"keyId": b64(LOG_ID)},
        "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"},
        "canonicalizedBody": b64(BODIES[index % len(BODIES)]),
    }
    if seconds is not None:
        # RFC 8785: sorted names, no space, numbers as they are.
        signed = (
            f'{{"body":"{raw["canonicalizedBody"]}","integratedTime":{seconds},'
            f'"logID":"{LOG_ID.hex()}","logIndex":{index}}}'
        )
        raw |= {
            "integratedTime": str(seconds),
            "inclusionPromise": {"signedEntryTimestamp": b64(sign(signed.encode()))},
        }
    return raw | parts


def proven(raw: dict[str, Any], *, by_promise: bool, believed: ParsedRoot | None = None) -> Inclusion | str:
    """What is proven, or the code of the refusal."""
    times = (datetime(2026, 6, 1, tzinfo=UTC),)
    try:
        return verify_inclusion(raw, root=believed or root(), times=times, by_promise=by_promise)
    except EvidenceFailure as failure:
        return failure.code


@pytest.mark.parametrize("index", [0, 1, 2])
def test_entry_of_the_tree_is_proven_with_the_proofs_own_index_and_without_a_time(index: int) -> None:
    found = proven(entry(index, inclusionProof=proof(index), logIndex="77", integratedTime="5"), by_promise=False)
    assert isinstance(found, Inclusion)
    assert (found.entry.index, found.entry.integrated_at, found.body) == (index, None, BODIES[index])


def test_proof_counts_for_the_tree_of_its_checkpoint_alone() -> None:
    """The path of entry 1 is the same in a tree of three and of four."""
    assert isinstance(proven(entry(1, inclusionProof=proof(1)), by_promise=False), Inclusion)
    assert proven(entry(1, inclusionProof=proof(1, claimed=4)), by_promise=False) == "LogEntryInvalid"


def test_proof_of_one_entry_is_not_anothers() -> None:
    assert proven(entry(0, inclusionProof=proof(1)), by_promise=False) == "LogEntryInvalid"


def test_promise_is_bound_to_body_time_index_and_log() -> None:
    good = entry(1, seconds=NOON)
    found = proven(good, by_promise=True)
    assert isinstance(found, Inclusion)
    assert found.entry.integrated_at == datetime.fromtimestamp(NOON, tz=UTC)
    assert (found.entry.index, found.entry.log_id) == (1, b64(LOG_ID))
    for parts in (
        {"integratedTime": str(NOON - 1)},
        {"logIndex": "2"},
        {"canonicalizedBody": b64(BODIES[2])},
        {"inclusionPromise": {"signedEntryTimestamp": b64(sign(b"something else"))}},
    ):
        assert proven(good | parts, by_promise=True) == "LogEntryInvalid"
    assert proven(good | {"logId": {"keyId": b64(bytes(32))}}, by_promise=True) == "LogUnknown"


@pytest.mark.parametrize("with_proof", [True, False])
def test_promise_without_a_time_is_none(with_proof: bool) -> None:
    parts = {"inclusionProof": proof(1)} if with_proof else {}
    assert proven(entry(1, seconds=0, **parts), by_promise=not with_proof) == "LogEntryInvalid"
    untimed = entry(1, seconds=NOON, **parts)
    del untimed["integratedTime"]
    assert proven(untimed, by_promise=not with_proof) == "LogEntryInvalid"


@pytest.mark.parametrize(
    "parts",
    [
        {"integratedTime": "-1"},
        {"integratedTime": "1.5"},
        {"integratedTime": True},
        {"integratedTime": "\u0661"},
        {"integratedTime": "9" * 400},
        {"integratedTime": str(MAX_NUMBER)},
        {"logIndex": MAX_NUMBER + 1},
        {"logIndex": [1]},
        {"logId": None},
        {"kindVersion": {"kind": 1, "version": 2}},
        {"inclusionPromise": {}},
        {"inclusionPromise": {"signedEntryTimestamp": "*"}},
        {"canonicalizedBody": None},
    ],
)
def test_malformed_entry_is_no_verdict(parts: dict[str, Any]) -> None:
    assert proven(entry(1, seconds=NOON) | parts, by_promise=True) in {"BundleMalformed", "LogEntryMalformed"}


def test_first_entry_of_a_log_may_leave_its_index_out() -> None:
    raw = entry(0, seconds=NOON)
    del raw["logIndex"]  # protobuf's JSON leaves zeros out
    assert isinstance(proven(raw, by_promise=True), Inclusion)


def test_both_are_asked_where_both_are_there() -> None:
    both = entry(1, seconds=NOON, inclusionProof=proof(1))
    for by_promise in (True, False):
        assert isinstance(proven(both, by_promise=by_promise), Inclusion)
        wrong_proof = both | {"inclusionProof": proof(0)}
        assert proven(wrong_proof, by_promise=by_promise) == "LogEntryInvalid"
        wrong_promise = both | {"inclusionPromise": {"signedEntryTimestamp": b64(sign(b""))}}
        assert proven(wrong_promise, by_promise=by_promise) == "LogEntryInvalid"


def test_key_of_a_log_is_believed_at_the_entrys_time_or_else_at_the_signatures() -> None:
    june = root(start="2026-06-01T00:00:00Z", end="2026-06-01T00:00:00Z")
    january = root(start="2026-01-01T00:00:00Z", end="2026-01-31T00:00:00Z")
    dated, undated = entry(1, seconds=NOON), entry(1, inclusionProof=proof(1))
    assert isinstance(proven(dated, by_promise=True, believed=january), Inclusion)
    assert proven(dated, by_promise=True, believed=june) == "LogOutsideValidity"
    assert isinstance(proven(undated, by_promise=False, believed=june), Inclusion)
    assert proven(undated, by_promise=False, believed=january) == "LogOutsideValidity"
    # A time that the log did not promise is nobody's word.
    assert proven(undated | {"integratedTime": str(NOON)}, by_promise=False, believed=january) == "LogOutsideValidity"


def test_key_of_a_log_must_be_believed_at_every_time_that_is_vouched_for() -> None:
    times = [datetime(2026, month, 1, tzinfo=UTC) for month in (1, 6)]
    half = root(start="2026-05-01T00:00:00Z")
    half.log(LOG_ID, times[1:])
    for order in (times, times[::-1]):
        with pytest.raises(EvidenceFailure, match="LogOutsideValidity"):
            half.log(LOG_ID, order)


def test_base64_of_a_body_is_read_in_one_way() -> None:
    raw = entry(1, seconds=NOON)
    assert proven(raw | {"canonicalizedBody": raw["canonicalizedBody"] + "\n"}, by_promise=True) == "BundleMalformed"
    assert base64.b64decode(raw["canonicalizedBody"]) == BODIES[1]


def test_numbers_are_exact_to_the_last_that_json_has() -> None:
    for good in (0, 1, MAX_NUMBER, "0", str(MAX_NUMBER)):
        assert _number(good, "it") == int(good)
    for bad in (-1, MAX_NUMBER + 1, str(MAX_NUMBER + 1), "-1", "", "1" * 17, "\u0661", 1.0, True, None, [1]):
        with pytest.raises(EvidenceFailure, match="BundleMalformed"):
            _number(bad, "it")
