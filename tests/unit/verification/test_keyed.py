"""Several keys of one authority, and the keys of a trust root with their windows."""

from __future__ import annotations

import functools
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from controller.model.evidence import VerifiedEvidence
from controller.model.policy import Authority, KeyAuthority, KeyIn, Need, OwnKey, TrustRoot
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.verification import keyed as keyed_module
from controller.verification.bundle import parse_bundle
from controller.verification.failures import NotVerified
from controller.verification.keyed import MAX_NAMED, KeyInForce, prove_by_key
from controller.verification.keys import load_public_key
from controller.verification.witnesses import Witnessed
from tests.support.fixtures import recorded_bundle
from tests.unit.verification.evidence import (
    IMAGE,
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

OLD, NEW, STRANGER = Signer(), Signer(), Signer()
SECOND = timedelta(seconds=1)


def by(signer: Signer, wanted: Authority, **more: Any) -> VerifiedEvidence:
    return judge(artifact(signer.envelope(statement())), wanted, **more)


def keyed(pem: str, trust_root: str = "main", *, log: Need = Need.IGNORE) -> Authority:
    return Authority("release", key=KeyAuthority(pem, trust_root), transparency_log=log)


@pytest.mark.guarantee(1)
def test_any_of_several_keys_counts_under_its_own_fingerprint_and_no_other() -> None:
    both = keyed(OLD.pem + NEW.pem)
    found = [by(signer, both).signatures[0].proof.signer for signer in (OLD, NEW)]
    assert len(set(found)) == 2
    assert found == [by(signer, signer.authority()).signatures[0].proof.signer for signer in (OLD, NEW)]
    assert only_rejection(by(STRANGER, both)) == ("SignatureInvalid", False)


def test_a_refusal_names_the_keys_but_not_dozens() -> None:
    many = keyed("".join(Signer().pem for _ in range(12)))
    (rejection,) = by(STRANGER, many).rejections
    assert rejection.message.count("sha256:") == 3
    assert "9 more" in rejection.message


def test_a_refusal_counts_the_keys_that_it_does_not_name() -> None:
    (rejection,) = by(STRANGER, keyed("".join(Signer().pem for _ in range(MAX_NAMED)))).rejections
    assert rejection.message.count("sha256:") == MAX_NAMED
    assert "more" not in rejection.message


@pytest.mark.guarantee(1)
def test_a_key_must_be_believed_at_every_time_that_is_vouched_for() -> None:
    early, late = NOW - 20 * SECOND, NOW - 10 * SECOND
    for begins, ends, counts in ((early, late, True), (early + SECOND, None, False), (None, late - SECOND, False)):
        seen = Witnessed(entries=(), stamped=(early, late), times=(early, late), signed_at=early)
        key = KeyInForce(load_public_key(OLD.pem), begins, ends)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(keyed_module, "witnessed", lambda *_args, seen=seen, **_more: seen)
            bundle = parse_bundle(json.dumps(OLD.envelope(statement())).encode(), limits=DocumentSettings())
            proving = functools.partial(
                prove_by_key,
                bundle,
                image=IMAGE,
                keys=[key],
                authority=keyed(OLD.pem),
                root=lambda: pytest.fail("nothing is asked of a root"),
                now=NOW,
                limits=DocumentSettings(),
            )
            if counts:
                assert proving().signed_at == early
            else:
                with pytest.raises(NotVerified, match="KeyOutsideValidity"):
                    proving()


@pytest.mark.guarantee(6)
@pytest.mark.parametrize(
    ("pem", "code"),
    [("junk" + OLD.pem, "PemMalformed"), (OLD.pem.replace("PUBLIC KEY", "CERTIFICATE"), "PemMalformed")],
)
def test_keys_with_something_else_among_them_are_no_verdict(pem: str, code: str) -> None:
    assert only_rejection(by(OLD, keyed(pem))) == (code, True)


def root_of(*keys: OwnKey) -> dict[str, TrustRoot]:
    return ROOTS | {"own": TrustRoot("own", b"own", "sha256:00", public_keys=keys)}


@pytest.mark.guarantee(1)
@pytest.mark.parametrize(
    ("begins", "ends", "counts"),
    [
        (None, None, True),
        (NOW, NOW, True),
        (NOW + SECOND, None, False),
        (None, NOW - SECOND, False),
        (NOW - 2 * SECOND, NOW - SECOND, False),
    ],
)
def test_a_key_of_a_trust_root_counts_within_its_window_alone(
    begins: datetime | None, ends: datetime | None, counts: bool
) -> None:
    found = by(OLD, keyed("", "own"), roots=root_of(OwnKey(OLD.pem, begins, ends), OwnKey(NEW.pem)))
    if counts:
        assert counted(found) == (1, 0)
    else:
        assert only_rejection(found) == ("KeyOutsideValidity", False)


@pytest.mark.guarantee(1)
def test_a_key_counts_for_what_was_proven_to_be_signed_while_it_was_believed() -> None:
    bundle = recorded_bundle("release.timestamp.signature")
    image = Digest.parse(bundle.digest)
    wanted = authority_for(bundle)
    (signature,) = judge(artifact(bundle.raw), wanted, image=image).signatures
    signed = signature.proof.signed_at
    assert signed is not None

    def asked(begins: datetime | None, ends: datetime | None) -> VerifiedEvidence:
        key = OwnKey(bundle.public_key, begins, ends)
        root = TrustRoot("own", b"own", "", public_keys=(key,), document=ROOTS["main"].content)
        return judge(artifact(bundle.raw), keyed("", "own"), image=image, roots={"own": root})

    assert counted(asked(signed, signed)) == (1, 0)  # and not for today, when it is no longer believed
    assert only_rejection(asked(signed + SECOND, None)) == ("KeyOutsideValidity", False)
    assert only_rejection(asked(None, signed - SECOND)) == ("KeyOutsideValidity", False)


@pytest.mark.guarantee(6)
def test_a_timestamp_that_no_root_can_judge_is_no_verdict() -> None:
    bundle = recorded_bundle("release.timestamp.signature")
    found = judge(
        artifact(bundle.raw),
        keyed("", "own"),
        image=Digest.parse(bundle.digest),
        roots=root_of(OwnKey(bundle.public_key)),
    )
    assert only_rejection(found) == ("TrustRootIncomplete", True)


@pytest.mark.guarantee(6)
@pytest.mark.parametrize(
    ("roots", "code"),
    [
        ({}, "TrustRootMissing"),
        (ROOTS | {"own": ROOTS["main"]}, "TrustRootIncomplete"),
        (root_of(OwnKey("x")), "KeyMalformed"),
    ],
    ids=["none", "without keys", "unreadable"],
)
def test_a_trust_root_without_readable_keys_is_no_verdict(roots: dict[str, TrustRoot], code: str) -> None:
    assert only_rejection(by(OLD, keyed("", "own"), roots=roots)) == (code, True)


@pytest.mark.guarantee(1)
def test_a_key_that_was_referred_to_and_is_not_there_is_replaced_by_no_other() -> None:
    referring = Authority("release", key=KeyAuthority("", "own", KeyIn("s", "k")), transparency_log=Need.IGNORE)
    assert only_rejection(by(OLD, referring, roots=root_of(OwnKey(OLD.pem)))) == ("ReferenceMissing", True)
