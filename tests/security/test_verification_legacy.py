"""cosign's old formats and old bundles, every field changed one at a time, and put together from parts of several.

As in `test_verification_tampering.py`: what may be changed without consequence is listed, each with the reason.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller.model.evidence import VerifiedEvidence
from controller.model.policy import Need, TrustRoot
from controller.model.reference import Digest
from tests.security.test_verification_tampering import Path, _at, _changed, _paths
from tests.support.fixtures import RECORDED_LEGACY, RecordedLayer, recorded_layer, recorded_layers
from tests.unit.verification.evidence import artifact, counted, judge, only_rejection, trust_root
from tests.unit.verification.legacy import (
    BUNDLE,
    CERTIFICATE,
    CHAIN,
    LEGACY_ROOT,
    SIGNATURE,
    TIMESTAMP,
    V0_1,
    V0_2,
    as_bundle,
    judge_bundle,
    judge_layer,
    layer_artifact,
    layer_authority,
    root_of,
    with_annotations,
)

LAYERS = [layer for layer in recorded_layers() if not layer.name.startswith("another-image")]
KEYLESS = [layer for layer in LAYERS if not layer.key]
INTOTO = [layer for layer in LAYERS if layer.entry == "intoto/0.0.2"]
by_name = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)

UNREAD_ANNOTATIONS = {CHAIN, "predicateType"}  # issuers are the trust root's, the statement has its own predicate type


def _in_json(text: str) -> Iterator[tuple[str, str]]:
    """Every single change within a JSON document, with its path."""
    for path in _paths(json.loads(text)):
        for value in _changed(_at(json.loads(text), path)):
            changed = json.loads(text)
            _at(changed, path[:-1])[path[-1]] = value
            yield ".".join(map(str, path)), json.dumps(changed)


def _variants(layer: RecordedLayer) -> Iterator[tuple[str, RecordedLayer]]:
    annotations = dict(layer.annotations)
    for name, value in annotations.items():
        changes = [(name, changed) for changed in _changed(value)]
        if name in {BUNDLE, TIMESTAMP}:
            changes += [(f"{name} {path}", changed) for path, changed in _in_json(value)]
        if name == CERTIFICATE:
            lines = value.splitlines()
            der = "".join(lines[1:-1])
            pems = [f"{lines[0]}\n{changed}\n{lines[-1]}\n" for changed in _changed(der) if changed]
            changes = [(name, pem) for pem in (None, "", *pems)]  # what stands around the block is nothing
        for what, changed in changes:
            kept = {n: v for n, v in annotations.items() if n != name} | ({} if changed is None else {name: changed})
            yield what, dataclasses.replace(layer, annotations=tuple(kept.items()))
    for at in range(0, len(layer.content), max(1, len(layer.content) // 64)):
        content = bytearray(layer.content)
        content[at] ^= 1
        yield "content", dataclasses.replace(layer, content=bytes(content))
    yield "content", dataclasses.replace(layer, content=layer.content[:-1])
    yield "content", dataclasses.replace(layer, content=layer.content + b"{}")


@pytest.mark.guarantee(1)
@by_name
def test_no_annotation_and_no_byte_that_proves_something_can_be_changed(layer: RecordedLayer) -> None:
    whole = judge_layer(layer)
    (found,) = (*whole.signatures, *whole.attestations)
    unbelieved = set()
    for what, changed in _variants(layer):
        if changed.annotations == layer.annotations and changed.content == layer.content:
            continue
        judged = judge_layer(changed)
        for after in (*judged.signatures, *judged.attestations):
            unbelieved.add(what)
            assert after.proof.signer == found.proof.signer
            assert after.proof.log_entry == found.proof.log_entry
            assert after.proof.signed_at == found.proof.signed_at
    expected = UNREAD_ANNOTATIONS & set(dict(layer.annotations))
    if layer.purpose == "attestation":
        expected |= {SIGNATURE}  # empty there: the envelope has its own
    assert unbelieved == expected


@pytest.mark.parametrize("layer", INTOTO, ids=lambda layer: layer.name)
@pytest.mark.parametrize("version", [V0_1, V0_2])
@pytest.mark.guarantee(1)
def test_no_field_of_an_old_bundle_that_proves_something_can_be_changed(layer: RecordedLayer, version: str) -> None:
    entry = _proven(layer) if version == V0_2 else None
    whole = judge_bundle(layer, as_bundle(layer, entry, version=version))
    assert counted(whole) == (0, 1)
    (found,) = whole.attestations
    unbelieved = set()
    for path in _paths(as_bundle(layer, entry, version=version)):
        for value in _changed(_at(as_bundle(layer, entry, version=version), path)):
            changed = as_bundle(layer, entry, version=version)
            _at(changed, path[:-1])[path[-1]] = value
            for after in judge_bundle(layer, changed).attestations:
                unbelieved.add(".".join(map(str, path)))
                assert after.proof.signer == found.proof.signer
    hint = {"verificationMaterial.publicKey", "verificationMaterial.publicKey.hint"} if layer.key else set()
    promise = "verificationMaterial.tlogEntries.0.inclusionPromise"  # since v0.2 a key needs none beside the proof
    assert unbelieved == hint | ({promise} if layer.key and version == V0_2 else set())


def _proven(layer: RecordedLayer) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads((RECORDED_LEGACY / "layers" / f"{layer.name}.entry.json").read_bytes())
    return entry


# The forged-annotation hand-off: true parts of other evidence, put beside a signature.

DONORS = {
    "another image's": "another-image-{who}.rekor1.signature",
    "another signer's over the same payload": "stranger.rekor1.signature",
    "a certificate's": "branch.rekor1.signature",
    "an attestation's": "{who}.rekor1.custom",
}


@pytest.mark.parametrize("who", ["release", "workflow"])
@pytest.mark.parametrize("donor", DONORS)
def test_true_log_entry_of_something_else_is_never_this_signatures(who: str, donor: str) -> None:
    layer, other = recorded_layer(f"{who}.rekor1.signature"), recorded_layer(DONORS[donor].format(who=who))
    forged = with_annotations(layer, bundle=dict(other.annotations)[BUNDLE])
    code, _ = only_rejection(judge_layer(forged))
    assert code in {"LogEntryMismatch", "LogEntryKindUnsupported", "LogEntryMalformed"}


def test_optional_log_does_not_excuse_a_wrong_entry_and_an_ignored_one_is_not_asked() -> None:
    layer, other = recorded_layer("release.none.signature"), recorded_layer("another-image-release.rekor1.signature")
    forged = with_annotations(layer, bundle=dict(other.annotations)[BUNDLE])
    optional = judge_layer(forged, layer_authority(layer, log=Need.OPTIONAL))
    assert only_rejection(optional) == ("LogEntryMismatch", False)
    assert counted(judge_layer(forged, layer_authority(layer, log=Need.IGNORE))) == (1, 0)


def test_ignored_log_is_not_asked_about_a_certificate_that_a_timestamp_dates() -> None:
    layer = recorded_layer("workflow.rekor1+timestamp.signature")
    forged = with_annotations(layer, bundle=dict(recorded_layer("branch.rekor1.signature").annotations)[BUNDLE])
    found = judge_layer(forged, layer_authority(layer, log=Need.IGNORE))
    assert counted(found) == (1, 0)
    assert found.signatures[0].proof.log_entry is None
    assert only_rejection(judge_layer(forged, layer_authority(layer, log=Need.OPTIONAL)))[0] == "LogEntryMismatch"
    undated = with_annotations(forged, timestamp=None)  # now the log alone could say when it signed
    assert only_rejection(judge_layer(undated, layer_authority(layer, log=Need.IGNORE)))[0] == "LogEntryMismatch"


@pytest.mark.parametrize("name", ["workflow.rekor1.signature", "branch.rekor1.signature"])
def test_log_says_when_a_certificate_signed_where_nobody_else_does_although_it_is_ignored(name: str) -> None:
    layer = recorded_layer(name)
    found = judge_layer(layer, layer_authority(layer, log=Need.IGNORE))
    assert counted(found) == (1, 0)
    assert found.signatures[0].proof.signed_at is not None


def test_both_answers_are_remembered_apart_for_authorities_that_ask_differently() -> None:
    layer = recorded_layer("workflow.rekor1+timestamp.signature")
    forged = with_annotations(layer, bundle=dict(recorded_layer("branch.rekor1.signature").annotations)[BUNDLE])
    lenient = dataclasses.replace(layer_authority(layer, log=Need.IGNORE), name="lenient")
    strict = dataclasses.replace(layer_authority(layer, log=Need.REQUIRED), name="strict")
    for order in ([lenient, strict], [strict, lenient]):
        evidence = judge(
            layer_artifact(forged), order, image=Digest.parse(layer.digest), roots={"legacy": root_of(layer)}
        )
        assert [found.proof.authority for found in evidence.signatures] == ["lenient"]
        assert [(r.authority, r.code) for r in evidence.rejections] == [("strict", "LogEntryMismatch")]


def test_signature_of_another_image_is_not_this_ones_with_its_own_true_proof() -> None:
    """What the registry says beside which image a signature lies is nobody's word."""
    for who in ("release", "workflow"):
        layer = recorded_layer(f"another-image-{who}.rekor1.signature")
        moved = dataclasses.replace(layer, digest=recorded_layer(f"{who}.rekor1.signature").digest)
        assert only_rejection(judge_layer(moved)) == ("SubjectMismatch", False)


def test_certificate_put_beside_a_keys_signature_makes_it_nobodys() -> None:
    layer, other = recorded_layer("release.rekor1.signature"), recorded_layer("workflow.rekor1.signature")
    forged = with_annotations(layer, certificate=dict(other.annotations)[CERTIFICATE])
    assert only_rejection(judge_layer(forged)) == ("SignedWithCertificate", False)
    assert only_rejection(judge_layer(forged, layer_authority(other))) == ("SignatureInvalid", False)


def test_certificate_of_the_same_workflow_at_another_time_does_not_stand_in() -> None:
    layer, other = recorded_layer("workflow.rekor1.signature"), recorded_layer("workflow.rekor1+timestamp.signature")
    forged = with_annotations(layer, certificate=dict(other.annotations)[CERTIFICATE])
    assert only_rejection(judge_layer(forged)) == ("SignatureInvalid", False)


def test_timestamp_of_another_signature_is_refused_beside_a_true_log_entry() -> None:
    layer, other = recorded_layer("workflow.rekor1.signature"), recorded_layer("workflow.timestamp.signature")
    forged = with_annotations(layer, timestamp=dict(other.annotations)[TIMESTAMP])
    assert only_rejection(judge_layer(forged)) == ("TimestampInvalid", False)


def test_layer_cannot_be_both_kinds() -> None:
    """An attestation's envelope under a signature's media type is a payload that nobody signed as such."""
    attested, signed = recorded_layer("release.rekor1.custom"), recorded_layer("release.rekor1.signature")
    forged = dataclasses.replace(signed, content=attested.content)
    assert only_rejection(judge_layer(forged)) == ("SignatureInvalid", False)


# Old bundles


@pytest.mark.parametrize("layer", INTOTO, ids=lambda layer: layer.name)
@pytest.mark.parametrize("version", [V0_2, "application/vnd.dev.sigstore.bundle.v0.3+json"])
def test_promise_alone_proves_an_entry_in_no_bundle_since_v0_2(layer: RecordedLayer, version: str) -> None:
    bundle = as_bundle(layer, version=version)
    if not layer.key and "v0.3" in version:
        chain = bundle["verificationMaterial"].pop("x509CertificateChain")
        bundle["verificationMaterial"]["certificate"] = chain["certificates"][0]
    assert only_rejection(judge_bundle(layer, bundle)) == ("LogEntryUnproven", False)


@pytest.mark.parametrize("layer", INTOTO, ids=lambda layer: layer.name)
def test_v0_1_bundle_needs_the_promise_and_passes_over_a_proof_without_checkpoint(layer: RecordedLayer) -> None:
    entry = _proven(layer)
    assert counted(judge_bundle(layer, as_bundle(layer, entry))) == (0, 1)
    unpromised = {name: value for name, value in entry.items() if name != "inclusionPromise"}
    assert only_rejection(judge_bundle(layer, as_bundle(layer, unpromised))) == ("LogEntryUnproven", False)
    del entry["inclusionProof"]["checkpoint"]
    assert counted(judge_bundle(layer, as_bundle(layer, entry))) == (0, 1)


@pytest.mark.parametrize("layer", INTOTO, ids=lambda layer: layer.name)
def test_kind_of_a_log_entry_is_the_logs_word_and_not_the_bundles(layer: RecordedLayer) -> None:
    bundle = as_bundle(layer)
    bundle["verificationMaterial"]["tlogEntries"][0]["kindVersion"] = {"kind": "dsse", "version": "0.0.1"}
    assert only_rejection(judge_bundle(layer, bundle)) == ("LogEntryMismatch", False)
    bundle["verificationMaterial"]["tlogEntries"][0]["kindVersion"] = {"kind": "intoto", "version": "0.0.1"}
    assert only_rejection(judge_bundle(layer, bundle)) == ("LogEntryKindUnsupported", True)


@pytest.mark.parametrize("layer", [layer for layer in INTOTO if not layer.key], ids=lambda layer: layer.name)
@pytest.mark.parametrize(
    "material",
    [
        lambda m: {"certificate": m["x509CertificateChain"]["certificates"][0]},
        lambda m: {"certificate": m["x509CertificateChain"]},
        lambda _: {"x509CertificateChain": {"certificates": []}},
        lambda m: {"x509CertificateChain": {"certificates": m["x509CertificateChain"]["certificates"] * 9}},
        lambda _: {"x509CertificateChain": {"certificates": [{"rawBytes": ""}]}},
        lambda m: {**m, "publicKey": {"hint": ""}},
    ],
)
def test_certificate_stands_where_its_version_has_it_or_nowhere(
    layer: RecordedLayer, material: Callable[[Any], Any]
) -> None:
    bundle = as_bundle(layer)
    entries = bundle["verificationMaterial"].pop("tlogEntries")
    bundle["verificationMaterial"] = material(bundle["verificationMaterial"]) | {"tlogEntries": entries}
    code, unjudged = only_rejection(judge_bundle(layer, bundle))
    assert unjudged
    assert code in {"BundleMalformed", "LimitExceeded"}


@pytest.mark.parametrize("layer", [layer for layer in INTOTO if not layer.key], ids=lambda layer: layer.name)
def test_first_certificate_of_a_chain_is_the_signers_and_the_others_are_not_believed(layer: RecordedLayer) -> None:
    bundle = as_bundle(layer)
    chain = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"]
    chain.append({"rawBytes": base64.b64encode(b"no certificate").decode()})
    assert counted(judge_bundle(layer, bundle)) == (0, 1)
    foreign = recorded_layer("branch.rekor1.signature")
    lines = dict(foreign.annotations)[CERTIFICATE].strip().splitlines()[1:-1]
    chain.insert(0, {"rawBytes": "".join(lines)})
    assert only_rejection(judge_bundle(layer, bundle)) == ("SignatureInvalid", False)


# Several log entries


def _both(who: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((RECORDED_LEGACY / "bundles" / f"{who}.both.signature.json").read_bytes())
    return parsed


def _judge_both(who: str, bundle: dict[str, Any], *, root: TrustRoot = LEGACY_ROOT) -> VerifiedEvidence:
    layer = recorded_layer(f"{who}.rekor1.signature")
    authority = layer_authority(layer, log=Need.REQUIRED, timestamp=Need.REQUIRED)
    return judge(artifact(bundle), authority, image=Digest.parse(layer.digest), roots={"legacy": root})


@pytest.mark.parametrize("who", ["release", "workflow"])
def test_entries_of_two_logs_count_in_either_order(who: str) -> None:
    bundle = _both(who)
    forth = _judge_both(who, bundle)
    bundle["verificationMaterial"]["tlogEntries"].reverse()
    back = _judge_both(who, bundle)
    assert counted(forth) == counted(back) == (1, 0)
    assert sum("is in the transparency log" in step for step in forth.signatures[0].proof.steps) == 2


@pytest.mark.guarantee(1)
@pytest.mark.parametrize("who", ["release", "workflow"])
def test_each_of_several_entries_must_be_right_in_every_field(who: str) -> None:
    unbelieved = set()
    for path in _entry_paths(_both(who)):
        for value in _changed(_at(_both(who), path)):
            changed = _both(who)
            _at(changed, path[:-1])[path[-1]] = value
            if _judge_both(who, changed).signatures:
                unbelieved.add(".".join(map(str, path[2:])))
    # Rekor v2 signs no index, and beside a timestamp nobody needs the promise of Rekor v1.
    assert unbelieved == {"0.logIndex", "1.inclusionPromise"}


def _entry_paths(bundle: dict[str, Any]) -> Iterator[Path]:
    entries: Path = ("verificationMaterial", "tlogEntries")
    return (path for path in _paths(bundle) if path[:2] == entries and len(path) > 3)


@pytest.mark.parametrize("who", ["release", "workflow"])
def test_true_entry_of_another_signature_beside_true_ones_spoils_the_bundle(who: str) -> None:
    bundle, donor = _both(who), _both({"release": "workflow", "workflow": "release"}[who])
    bundle["verificationMaterial"]["tlogEntries"].append(donor["verificationMaterial"]["tlogEntries"][0])
    code, _ = only_rejection(_judge_both(who, bundle))
    assert code in {"LogEntryMismatch", "LogEntryMalformed"}


@pytest.mark.guarantee(1)
@pytest.mark.parametrize("who", ["release", "workflow"])
def test_envelope_logged_by_its_hash_counts_and_no_field_of_the_entry_can_be_changed(who: str) -> None:
    def made() -> dict[str, Any]:
        file = RECORDED_LEGACY / "bundles" / f"{who}.hashedrekord.signature.json"
        parsed: dict[str, Any] = json.loads(file.read_bytes())
        return parsed

    assert counted(_judge_both(who, made())) == (1, 0)
    unbelieved = set()
    for path in _entry_paths(made()):
        for value in _changed(_at(made(), path)):
            changed = made()
            _at(changed, path[:-1])[path[-1]] = value
            if _judge_both(who, changed).signatures:
                unbelieved.add(".".join(map(str, path[2:])))
    assert unbelieved == {"0.inclusionPromise"}  # beside a timestamp


# Validity windows of the trust root

PAST = {"start": "2001-01-01T00:00:00Z", "end": "2002-01-01T00:00:00Z"}
FUTURE = {"start": "2099-01-01T00:00:00Z"}
WINDOWS = {
    "tlogs": "LogOutsideValidity",
    "ctlogs": "CertificateNotLogged",
    "certificateAuthorities": "CertificateUntrusted",
    "timestampAuthorities": "TimestampInvalid",
}


@pytest.mark.parametrize("layer", KEYLESS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("window", [PAST, FUTURE], ids=["retired", "not yet"])
@pytest.mark.parametrize("part", WINDOWS)
def test_what_the_trust_root_believes_for_other_times_alone_proves_nothing(
    layer: RecordedLayer, window: dict[str, str], part: str
) -> None:
    document = json.loads(root_of(layer).content)
    for believed in document[part]:
        (believed["publicKey"] if part in {"tlogs", "ctlogs"} else believed)["validFor"] = window
    evidence = judge_layer(layer, root=dataclasses.replace(root_of(layer), content=json.dumps(document).encode()))
    asked = {"tlogs": "rekor" in layer.log, "timestampAuthorities": "timestamp" in layer.log}.get(part, True)
    if asked:
        assert only_rejection(evidence) == (WINDOWS[part], False)
    else:
        assert sum(counted(evidence)) == 1


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer.name.startswith("release.rekor1")])
@pytest.mark.parametrize("window", [PAST, FUTURE], ids=["retired", "not yet"])
def test_log_that_is_not_believed_for_its_time_proves_nothing_for_a_key(
    layer: RecordedLayer, window: dict[str, str]
) -> None:
    document = json.loads(root_of(layer).content)
    for log in document["tlogs"]:
        log["publicKey"]["validFor"] = window
    evidence = judge_layer(layer, root=dataclasses.replace(root_of(layer), content=json.dumps(document).encode()))
    assert only_rejection(evidence) == ("LogOutsideValidity", False)


@pytest.mark.parametrize("who", ["release", "workflow"])
def test_windows_end_belongs_to_it_and_the_second_after_does_not(who: str) -> None:
    layer = recorded_layer(f"{who}.rekor1.signature")
    (found,) = judge_layer(layer).signatures
    at = found.proof.signed_at
    assert at is not None
    for start, end, counts in ((0, 0, True), (-60, -1, False), (1, 60, False)):
        window = {
            name: at.fromtimestamp(at.timestamp() + seconds, tz=at.tzinfo).strftime("%Y-%m-%dT%H:%M:%SZ")
            for name, seconds in (("start", start), ("end", end))
        }
        document = json.loads(root_of(layer).content)
        for log in document["tlogs"]:
            log["publicKey"]["validFor"] = window
        evidence = judge_layer(layer, root=dataclasses.replace(root_of(layer), content=json.dumps(document).encode()))
        assert bool(evidence.signatures) is counts


def test_certificates_log_is_the_one_that_its_proof_names() -> None:
    """The same key, believed for ever under another name, does not stand in for a log that was retired."""
    document = json.loads(LEGACY_ROOT.content)
    (log,) = document["ctlogs"]
    other = json.loads(json.dumps(log)) | {"logId": {"keyId": base64.b64encode(bytes(32)).decode()}}
    log["publicKey"]["validFor"] = PAST
    document["ctlogs"].append(other)
    root = dataclasses.replace(LEGACY_ROOT, content=json.dumps(document).encode())
    evidence = judge_layer(recorded_layer("workflow.rekor1.signature"), root=root)
    assert only_rejection(evidence) == ("CertificateNotLogged", False)


@pytest.mark.parametrize("bound", ["end", "start"])
def test_certificate_must_hold_at_the_logs_time_and_at_the_timestamps(bound: str) -> None:
    bundle = _both("workflow")
    promised = int(bundle["verificationMaterial"]["tlogEntries"][1]["integratedTime"])
    (found,) = _judge_both("workflow", bundle).signatures
    stamped = found.proof.signed_at
    assert stamped is not None
    assert stamped.timestamp() < promised
    seconds = {"end": promised - 1, "start": promised}[bound]  # the one lies within the window, the other does not
    time = stamped.fromtimestamp(seconds, tz=stamped.tzinfo).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = json.loads(LEGACY_ROOT.content)
    document["certificateAuthorities"][0]["validFor"] = {"start": "2001-01-01T00:00:00Z", bound: time}
    root = dataclasses.replace(LEGACY_ROOT, content=json.dumps(document).encode())
    assert only_rejection(_judge_both("workflow", bundle, root=root)) == ("CertificateUntrusted", False)


def test_windows_without_a_time_zone_make_a_root_unreadable() -> None:
    document = json.loads(LEGACY_ROOT.content)
    document["tlogs"][0]["publicKey"]["validFor"] = {"start": "2001-01-01T00:00:00"}
    evidence = judge_layer(
        recorded_layer("release.rekor1.signature"),
        root=dataclasses.replace(LEGACY_ROOT, content=json.dumps(document).encode()),
    )
    assert only_rejection(evidence) == ("TrustRootUnreadable", True)


@pytest.mark.parametrize("layer", KEYLESS, ids=lambda layer: layer.name)
def test_certificate_of_another_sigstores_root_is_not_this_ones_by_a_shared_log(layer: RecordedLayer) -> None:
    """Each part of the proof needs its own part of the root: with all but the issuers shared, nothing counts."""
    document, other = json.loads(root_of(layer).content), json.loads(trust_root("main").content)
    document["certificateAuthorities"] = other["certificateAuthorities"]
    evidence = judge_layer(layer, root=dataclasses.replace(root_of(layer), content=json.dumps(document).encode()))
    assert only_rejection(evidence) == ("CertificateUntrusted", False)
    document = json.loads(root_of(layer).content)
    document["ctlogs"] = other["ctlogs"]
    evidence = judge_layer(layer, root=dataclasses.replace(root_of(layer), content=json.dumps(document).encode()))
    assert only_rejection(evidence) == ("CertificateNotLogged", False)


@pytest.mark.parametrize("name", ["signature", "certificate", "bundle", "timestamp"])
def test_an_annotation_that_is_no_text_is_a_malformed_layer_and_no_more(name: str) -> None:
    layer = recorded_layer("workflow.rekor1+timestamp.signature")
    assert only_rejection(judge_layer(with_annotations(layer, **{name: "\ud800"}))) == ("LayerMalformed", True)
