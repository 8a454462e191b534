"""Every field of recorded evidence, changed one at a time: nothing that carries the proof may be touched unnoticed.

What may be changed without consequence is listed, each with the reason why nobody believes it. A field that is missing
from the list and can be changed is a hole; one on the list that cannot be changed any more is a stale excuse.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sigstore.errors import VerificationError
from sigstore.verify import Verifier

from controller.model.evidence import VerifiedEvidence
from controller.model.policy import Authority, KeyAuthority, Need
from controller.model.reference import Digest
from tests.support.fixtures import RecordedBundle, recorded_bundle
from tests.unit.verification.evidence import (
    NOW,
    ROOTS,
    Signer,
    artifact,
    authority_for,
    counted,
    judge,
    only_rejection,
    statement,
)

Path = tuple[str | int, ...]

_KEY_HINT = {"verificationMaterial.publicKey", "verificationMaterial.publicKey.hint"}  # the policy's key is asked
_PROMISE = {"verificationMaterial.tlogEntries.0.inclusionPromise"}  # may be absent where another time is vouched for
_INDEX = {"verificationMaterial.tlogEntries.0.logIndex"}  # without a promise nobody's word, and so not recorded
UNBELIEVED = {
    "release.rekor1+timestamp.signature": _KEY_HINT | _PROMISE,
    "release.rekor2+timestamp.signature": _KEY_HINT | _INDEX,
    "release.rekor1.manifest": _KEY_HINT | _PROMISE,
    "release.rekor2+timestamp.manifest": _KEY_HINT | _INDEX,
    "workflow.rekor1.signature": set(),
    "workflow.rekor1+timestamp.signature": _PROMISE,
    "workflow.rekor2+timestamp.signature": _INDEX,
    "workflow.rekor1.manifest": set(),
    "workflow.rekor2+timestamp.manifest": _INDEX,
    "workflow.rekor2+timestamp.spdxjson": _INDEX,
}


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield (*path, name)
        yield from _paths(child, (*path, name))


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _changed(value: Any) -> Iterator[Any]:
    """The value gone, emptied, one bit or one character different, shorter and longer."""
    yield None
    if isinstance(value, str):
        yield ""
        try:
            content = base64.b64decode(value, validate=True)
        except ValueError:
            content = b""
        if value.isdigit():
            yield str(int(value) + 1)
        elif len(content) > 3:
            for at in (0, len(content) // 3, len(content) // 2, len(content) - 1):
                flipped = bytearray(content)
                flipped[at] ^= 1
                yield base64.b64encode(flipped).decode()
            yield base64.b64encode(content[:-1]).decode()
            yield base64.b64encode(content + b"\x00").decode()
        else:
            yield value[:-1]
            yield value + "x"
    elif isinstance(value, list | dict):
        yield type(value)()


def _judged(bundle: RecordedBundle, parsed: Any) -> VerifiedEvidence:
    timestamp = Need.REQUIRED if "timestamp" in bundle.log else Need.OPTIONAL
    authority = authority_for(bundle, log=Need.REQUIRED, timestamp=timestamp)
    return judge(artifact(parsed), authority, image=Digest.parse(bundle.digest))


@pytest.mark.guarantee(1)
@pytest.mark.parametrize("name", UNBELIEVED)
def test_no_field_that_proves_something_can_be_changed(name: str) -> None:
    bundle = recorded_bundle(name)
    whole = _judged(bundle, bundle.parsed())
    assert sum(counted(whole)) == 1
    proof = (*whole.signatures, *whole.attestations)[0].proof
    unbelieved = set()
    for path in _paths(bundle.parsed()):
        for value in _changed(_at(bundle.parsed(), path)):
            parsed = bundle.parsed()
            _at(parsed, path[:-1])[path[-1]] = value
            judged = _judged(bundle, parsed)
            if judged.signatures or judged.attestations:
                unbelieved.add(".".join(map(str, path)))
                after = (*judged.signatures, *judged.attestations)[0].proof
                assert after.signer == proof.signer
                # Nothing of what may be changed goes into the proof (guarantee 5).
                assert after.log_entry is not None
                assert proof.log_entry is not None
                assert after.log_entry.log_id == proof.log_entry.log_id
                if "inclusionPromise" not in path:
                    assert after.log_entry == proof.log_entry
    assert unbelieved == UNBELIEVED[name]


PAIRS = [
    ("release.rekor1.signature", "ecdsa-p384.rekor2.signature"),
    ("release.rekor2.signature", "release.rekor2+timestamp.signature"),
    ("release.rekor1.signature", "release.rekor1+timestamp.signature"),
    ("release.rekor1.manifest", "release.rekor1.blob"),
    ("workflow.rekor1.signature", "workflow.rekor1.spdxjson"),
    ("workflow.rekor2+timestamp.signature", "another-image-workflow.rekor2+timestamp.signature"),
    ("workflow.rekor2+timestamp.signature", "branch.rekor2+timestamp.signature"),
]


@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_log_entry_of_another_signature_is_refused_cve_2022_36056_cve_2026_22703(name: str, other: str) -> None:
    bundle, donor = recorded_bundle(name), recorded_bundle(other)
    parsed = bundle.parsed()
    parsed["verificationMaterial"]["tlogEntries"] = donor.parsed()["verificationMaterial"]["tlogEntries"]
    code, unjudged = only_rejection(_judged(bundle, parsed))
    assert not unjudged
    assert code in {"LogEntryMismatch", "TimeUnproven", "CertificateUntrusted"}


def test_wrong_log_entry_is_refused_where_a_log_is_optional_and_passed_over_where_it_is_ignored() -> None:
    bundle, donor = recorded_bundle("release.rekor1.signature"), recorded_bundle("ecdsa-p384.rekor2.signature")
    parsed = bundle.parsed()
    parsed["verificationMaterial"]["tlogEntries"] = donor.parsed()["verificationMaterial"]["tlogEntries"]
    image = Digest.parse(bundle.digest)
    optional = judge(artifact(parsed), authority_for(bundle, log=Need.OPTIONAL), image=image)
    assert only_rejection(optional) == ("LogEntryMismatch", False)
    assert counted(judge(artifact(parsed), authority_for(bundle, log=Need.IGNORE), image=image)) == (1, 0)


@pytest.mark.parametrize("second", ["release.rekor2.signature", "stranger.rekor2+timestamp.signature"])
def test_one_wrong_log_entry_beside_a_right_one_spoils_the_bundle(second: str) -> None:
    bundle, donor = recorded_bundle("release.rekor1.signature"), recorded_bundle(second)
    parsed = bundle.parsed()
    parsed["verificationMaterial"]["tlogEntries"] += donor.parsed()["verificationMaterial"]["tlogEntries"]
    assert only_rejection(_judged(bundle, parsed)) == ("LogEntryMismatch", False)


@pytest.mark.parametrize("name", ["release.rekor2+timestamp.signature", "workflow.rekor1+timestamp.signature"])
def test_timestamp_of_another_signature_is_refused_even_beside_a_logs_promise(name: str) -> None:
    bundle, donor = recorded_bundle(name), recorded_bundle("release.timestamp.signature")
    parsed = bundle.parsed()
    material = donor.parsed()["verificationMaterial"]
    parsed["verificationMaterial"]["timestampVerificationData"] = material["timestampVerificationData"]
    assert only_rejection(_judged(bundle, parsed)) == ("TimestampInvalid", False)


@pytest.mark.parametrize("name", ["release.timestamp.signature", "workflow.rekor1+timestamp.signature"])
def test_timestamp_of_an_authority_that_the_root_does_not_have_is_refused(name: str) -> None:
    bundle = recorded_bundle(name)
    document = json.loads(ROOTS["main"].content)
    document["timestampAuthorities"] = []
    roots = {"main": type(ROOTS["main"])("main", json.dumps(document).encode(), "")}
    evidence = judge(artifact(bundle.raw), authority_for(bundle), image=Digest.parse(bundle.digest), roots=roots)
    assert only_rejection(evidence) == ("TimestampAuthorityUnknown", False)


@pytest.mark.parametrize(
    "name", ["release.rekor1.signature", "release.timestamp.signature", "workflow.rekor1.signature"]
)
def test_what_was_signed_after_the_review_is_no_evidence_at_it(name: str) -> None:
    bundle = recorded_bundle(name)
    image = Digest.parse(bundle.digest)
    (found,) = judge(artifact(bundle.raw), authority_for(bundle), image=image).signatures
    assert found.proof.signed_at is not None
    assert found.proof.signed_at < NOW
    early = judge(
        artifact(bundle.raw), authority_for(bundle), image=image, now=found.proof.signed_at - timedelta(minutes=6)
    )
    assert only_rejection(early) == ("SignedInFuture", False)


def test_certificate_swapped_for_another_signers_is_refused() -> None:
    bundle, donor = recorded_bundle("branch.rekor2+timestamp.signature"), recorded_bundle("workflow.rekor1.signature")
    parsed = bundle.parsed()
    parsed["verificationMaterial"]["certificate"] = donor.parsed()["verificationMaterial"]["certificate"]
    evidence = judge(artifact(parsed), authority_for(donor), image=Digest.parse(bundle.digest))
    assert counted(evidence) == (0, 0)


def test_keyless_bundle_without_its_log_entry_is_refused() -> None:
    bundle = recorded_bundle("workflow.rekor2+timestamp.signature")
    for entries in (None, []):
        parsed = bundle.parsed()
        parsed["verificationMaterial"]["tlogEntries"] = entries
        assert only_rejection(_judged(bundle, parsed)) == ("LogEntryMissing", False)


def test_key_signed_statement_under_a_certificate_is_not_the_keys() -> None:
    signer, donor = Signer(), recorded_bundle("workflow.rekor1.signature")
    bundle = signer.envelope(statement())
    bundle["verificationMaterial"] = donor.parsed()["verificationMaterial"]
    assert only_rejection(judge(artifact(bundle), signer.authority(log=Need.IGNORE))) == (
        "SignedWithCertificate",
        False,
    )


def test_required_log_is_not_met_by_an_entry_when_the_policy_has_another_key() -> None:
    bundle = recorded_bundle("stranger.rekor2+timestamp.signature")
    release = recorded_bundle("release.rekor1.signature")
    authority = Authority("release", key=KeyAuthority(release.public_key, trust_root="main"))
    evidence = judge(artifact(bundle.raw), authority, image=Digest.parse(bundle.digest))
    assert only_rejection(evidence) == ("SignatureInvalid", False)


@pytest.mark.parametrize("name", ["release.rekor2.signature", "workflow.rekor2+timestamp.signature"])
def test_inclusion_proof_is_for_the_checkpoints_own_tree(name: str) -> None:
    bundle = recorded_bundle(name)
    proof = bundle.parsed()["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    for size in range(1, 4 * int(proof["treeSize"])):
        parsed = bundle.parsed()
        parsed["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["treeSize"] = str(size)
        assert bool(_judged(bundle, parsed).signatures) == (size == int(proof["treeSize"])), size


@pytest.mark.parametrize("name", ["release.timestamp.signature", "workflow.rekor1+timestamp.signature"])
@pytest.mark.parametrize(
    "window", [{"start": "2099-01-01T00:00:00Z"}, {"start": "2001-01-01T00:00:00Z", "end": "2002-01-01T00:00:00Z"}]
)
def test_timestamp_counts_only_in_the_time_in_which_its_authority_is_believed(
    name: str, window: dict[str, str]
) -> None:
    bundle = recorded_bundle(name)
    document = json.loads(ROOTS["main"].content)
    for authority in document["timestampAuthorities"]:
        authority["validFor"] = window
    roots = {"main": type(ROOTS["main"])("main", json.dumps(document).encode(), "")}
    evidence = judge(artifact(bundle.raw), authority_for(bundle), image=Digest.parse(bundle.digest), roots=roots)
    assert only_rejection(evidence) == ("TimestampInvalid", False)


def test_both_ends_of_a_timestamp_authoritys_window_belong_to_it() -> None:
    bundle = recorded_bundle("release.timestamp.signature")
    image, wanted = Digest.parse(bundle.digest), authority_for(bundle)
    (signature,) = judge(artifact(bundle.raw), wanted, image=image).signatures
    signed = signature.proof.signed_at
    assert signed is not None
    second = timedelta(seconds=1)
    for start, end, counts in (
        (signed, signed, True),
        (signed + second, signed + 2 * second, False),
        (signed - 2 * second, signed - second, False),
    ):
        document = json.loads(ROOTS["main"].content)
        for authority in document["timestampAuthorities"]:
            authority["validFor"] = {"start": start.isoformat(), "end": end.isoformat()}
        roots = {"main": type(ROOTS["main"])("main", json.dumps(document).encode(), "")}
        assert bool(judge(artifact(bundle.raw), wanted, image=image, roots=roots).signatures) is counts


def _with_log_window(bundle: RecordedBundle, window: dict[str, str]) -> VerifiedEvidence:
    document = json.loads(ROOTS["main"].content)
    for log in document["tlogs"]:
        log["publicKey"]["validFor"] = window
    roots = {"main": type(ROOTS["main"])("main", json.dumps(document).encode(), "")}
    return judge(artifact(bundle.raw), authority_for(bundle), image=Digest.parse(bundle.digest), roots=roots)


@pytest.mark.parametrize(
    "name",
    [
        "release.rekor1.signature",
        "release.rekor2.signature",
        "release.rekor2+timestamp.signature",
        "workflow.rekor1.signature",
        "workflow.rekor2+timestamp.signature",
    ],
)
@pytest.mark.parametrize(
    "window", [{"start": "2200-01-01T00:00:00Z"}, {"start": "2001-01-01T00:00:00Z", "end": "2002-01-01T00:00:00Z"}]
)
def test_log_entry_counts_only_in_the_time_in_which_its_log_is_believed(name: str, window: dict[str, str]) -> None:
    assert only_rejection(_with_log_window(recorded_bundle(name), window)) == ("LogOutsideValidity", False)


def test_entry_that_nobody_dates_does_not_count_when_its_logs_key_is_retired() -> None:
    """Who stole that key later could have written it; with a time that is vouched for, it was before."""
    retired = {"start": "2001-01-01T00:00:00Z", "end": "2099-01-01T00:00:00Z"}
    assert datetime.fromisoformat(retired["end"]) < NOW
    undated = _with_log_window(recorded_bundle("release.rekor2.signature"), retired)
    assert only_rejection(undated) == ("LogOutsideValidity", False)
    dated = ("rekor2+timestamp.signature", "rekor1.signature")
    for name in (f"{who}.{witness}" for who in ("release", "workflow") for witness in dated):
        assert counted(_with_log_window(recorded_bundle(name), retired)) == (1, 0)


@pytest.mark.guarantee(1)
def test_what_hangs_on_todays_belief_in_a_log_says_when_that_ends() -> None:
    end = "2150-01-01T00:00:00Z"
    window = {"start": "2001-01-01T00:00:00Z", "end": end}
    found = _with_log_window(recorded_bundle("release.rekor2.signature"), window)
    assert counted(found) == (1, 0)
    assert found.valid_until == datetime.fromisoformat(end)


@pytest.mark.parametrize("name", ["workflow.rekor1.signature", "release.rekor1.signature"])
def test_one_log_entry_twice_is_no_second_one(name: str) -> None:
    bundle = recorded_bundle(name)
    parsed = bundle.parsed()
    parsed["verificationMaterial"]["tlogEntries"] *= 2
    assert only_rejection(_judged(bundle, parsed)) == ("BundleMalformed", True)


@pytest.mark.parametrize("name", ["workflow.rekor2+timestamp.signature", "release.timestamp.signature"])
def test_one_timestamp_twice_is_no_second_one(name: str) -> None:
    bundle = recorded_bundle(name)
    parsed = bundle.parsed()
    parsed["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"] *= 2
    authority = authority_for(bundle)
    evidence = judge(artifact(parsed), authority, image=Digest.parse(bundle.digest))
    assert only_rejection(evidence) == ("BundleMalformed", True)


@pytest.mark.parametrize("name", ["workflow.rekor1.signature", "workflow.rekor2+timestamp.manifest"])
def test_what_sigstores_own_verifier_refuses_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise VerificationError("a duty that only the library knows")

    monkeypatch.setattr(Verifier, "_verify_common_signing_cert", refuse)
    bundle = recorded_bundle(name)
    assert only_rejection(_judged(bundle, bundle.parsed())) == ("BundleNotVerified", False)


def test_bundle_signed_with_a_bare_key_is_judged_as_nobodys_identity() -> None:
    keyless = authority_for(recorded_bundle("workflow.rekor1.signature"))
    bundle = recorded_bundle("release.rekor1.signature")
    evidence = judge(artifact(bundle.raw), keyless, image=Digest.parse(bundle.digest))
    assert only_rejection(evidence) == ("SignedWithKey", False)
