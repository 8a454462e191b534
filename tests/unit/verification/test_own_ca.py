"""What the real cosign signed with a certificate of one's own CA."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controller.model.evidence import VerifiedEvidence
from controller.model.policy import Need
from controller.model.reference import Digest
from tests.support.authorities import WHO, new_ca
from tests.unit.verification.evidence import NOW, OTHER_IMAGE, counted, judge, only_rejection
from tests.unit.verification.own_ca import CHAIN, ROOT, ROWS, authority, found

LAYERS = [name for name in ROWS if name.startswith("layer")]
WITNESSED = {"layer.timestamp": Need.IGNORE, "layer.rekor1": Need.REQUIRED}
DAY = datetime(2026, 11, 26, tzinfo=UTC)
"""A day of the year in which the recorded certificate is valid."""


def ask(
    name: str,
    *,
    chain: str = CHAIN,
    subject: str = WHO,
    log: Need = Need.IGNORE,
    now: datetime = DAY,
    image: Digest | None = None,
    version: str = "",
) -> VerifiedEvidence:
    return judge(
        found(name, version=version),
        authority(chain, subject=subject, log=log),
        image=image or Digest.parse(ROWS[name]["digest"]),
        roots={"main": ROOT},
        now=now,
    )


@pytest.mark.parametrize("name", LAYERS)
def test_what_cosign_signed_counts_for_its_subject(name: str) -> None:
    (signature,) = ask(name).signatures
    assert signature.proof.signer.subject == WHO


@pytest.mark.parametrize("name", LAYERS)
def test_it_counts_for_nothing_else(name: str) -> None:
    assert only_rejection(ask(name, chain=new_ca(now=DAY).chain)) == ("CertificateUntrusted", False)
    own = new_ca("Acme signing", above=new_ca(now=DAY), now=DAY)  # of the same names
    assert only_rejection(ask(name, chain=own.chain)) == ("CertificateUntrusted", False)
    assert only_rejection(ask(name, subject="other@acme.example")) == ("IdentityMismatch", False)
    assert only_rejection(ask(name, image=OTHER_IMAGE)) == ("SubjectMismatch", False)


def test_without_a_time_that_is_proven_it_counts_while_its_certificate_is_valid() -> None:
    assert only_rejection(ask("layer.none", now=NOW)) == ("CertificateExpired", False)
    assert only_rejection(ask("layer.rekor1", now=NOW)) == ("CertificateExpired", False)  # the log is ignored


@pytest.mark.parametrize("name", WITNESSED)
def test_with_a_proven_time_it_outlives_its_certificate(name: str) -> None:
    assert counted(ask(name, log=WITNESSED[name], now=NOW)) == (1, 0)


def test_a_required_log_is_required() -> None:
    assert only_rejection(ask("layer.timestamp", log=Need.REQUIRED)) == ("LogEntryMissing", False)


def test_a_bundle_with_a_chain_is_refused_in_a_version_that_has_none_as_cosign_itself_does() -> None:
    # cosign 3 writes it so, and then finds no signature: bundles of version 0.3 have one certificate and no chain.
    for name in ("bundle.none", "bundle.timestamp", "bundle.rekor1"):
        assert only_rejection(ask(name)) == ("BundleMalformed", True)


@pytest.mark.parametrize(
    ("name", "log", "now"),
    [
        ("bundle.none", Need.IGNORE, DAY),
        ("bundle.timestamp", Need.IGNORE, NOW),
        ("bundle.rekor1", Need.REQUIRED, NOW),
    ],
)
def test_the_same_bundle_counts_in_the_version_that_has_chains(name: str, log: Need, now: datetime) -> None:
    version = "application/vnd.dev.sigstore.bundle+json;version=0.2"
    assert counted(ask(name, log=log, now=now, version=version)) == (1, 0)
