"""The page `verification.md` is whole, and says what a rule written down apart from the verifier says as well."""

from __future__ import annotations

import pytest

from controller.model.policy import Need
from tests.support.fixtures import recorded_bundles, recorded_layers
from tests.support.matrix import OWN_CA, Row, rows, unsupported

ROWS = rows()
MESSAGES_WITHOUT_DIGEST = ("bundle v0.3, message signature", "key, Ed25519")


def _expected(row: Row, log: Need) -> bool:
    """Whether it verifies, by what the formats' specifications ask for."""
    logged, stamped, keyless = "Rekor" in row.witness, "timestamp" in row.witness, row.signer == "Fulcio certificate"
    promised = "Rekor v1" in row.witness and "inclusion proof alone" not in row.witness
    needs_promise = row.format.startswith(("bundle v0.1", "`."))
    proven = promised if needs_promise else logged and "promise alone" not in row.witness
    if row.kind[:2] == MESSAGES_WITHOUT_DIGEST:
        return False
    if row.signer == OWN_CA:  # expired: a time must be proven by what counts; and version 0.3 has no chains
        by_log = logged and log is not Need.IGNORE
        return "v0.3" not in row.format and (by_log or (stamped and log is not Need.REQUIRED))
    if keyless and not (promised or stamped):
        return False
    ignored = log is Need.IGNORE and (stamped or not keyless)
    if ignored or not logged:
        return log is not Need.REQUIRED or (logged and proven)
    return proven


@pytest.mark.parametrize("log", [Need.REQUIRED, Need.OPTIONAL, Need.IGNORE])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.kind))
def test_every_cell_says_what_the_specifications_ask_for(row: Row, log: Need) -> None:
    answer = row.answer(log)
    assert (answer == "verified") == _expected(row, log), answer


def test_no_recorded_kind_of_evidence_is_left_out() -> None:
    assert {row.signer for row in ROWS} >= {"Fulcio certificate", "key, ECDSA P-256", "key, ECDSA P-384", "key, RSA"}
    assert len(ROWS) >= len({(b.content, b.key_type, b.authority, b.log) for b in recorded_bundles()})
    assert sum(row.format.startswith("`") and row.signer != OWN_CA for row in ROWS) == len(
        {(y.purpose, y.key_type if y.key else "", y.log, y.entry) for y in recorded_layers()}
    )


def test_what_is_not_supported_is_an_error_of_the_policy() -> None:
    assert unsupported() == [("KMS key", "`NotSupportedYet`"), ("Notation", "`NotSupportedYet`")]
