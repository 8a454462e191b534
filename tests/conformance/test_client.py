"""The conformance client answers as the verifier does, by its exit status alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.protocol import main
from tests.support.fixtures import RECORDED, RecordedBundle, recorded_bundle, recorded_bundles, recorded_manifest

LOGGED = [b for b in recorded_bundles() if b.log.startswith("rekor")]
GITHUB = "https://token.actions.githubusercontent.com"


def arguments(bundle: RecordedBundle, artifact: str, **changes: str) -> list[str]:
    """The command line that asks for this bundle's own signer."""
    if bundle.key:
        who = ["--key", str(RECORDED / bundle.key)]
    else:
        identity, issuer = changes.get("identity", bundle.identity), changes.get("issuer", bundle.issuer)
        who = ["--certificate-identity", identity, "--certificate-oidc-issuer", issuer]
    file = changes.get("file", str(RECORDED / bundle.file))
    root = changes.get("root", str(RECORDED / bundle.trusted_root))
    return ["verify-bundle", "--bundle", file, *who, "--trusted-root", root, artifact]


@pytest.mark.parametrize("bundle", LOGGED, ids=lambda bundle: bundle.name)
def test_true_bundle_of_its_own_signer_verifies(bundle: RecordedBundle) -> None:
    assert main(arguments(bundle, bundle.digest)) == 0


@pytest.mark.parametrize("bundle", LOGGED, ids=lambda bundle: bundle.name)
def test_true_bundle_for_something_else_does_not(bundle: RecordedBundle) -> None:
    assert main(arguments(bundle, f"sha256:{'0' * 64}")) == 1


@pytest.mark.parametrize("name", ["workflow.rekor1.blob", "release.rekor2+timestamp.blob"])
def test_file_is_an_artefact_as_its_digest_is(name: str, tmp_path: Path) -> None:
    bundle = recorded_bundle(name)
    assert main(arguments(bundle, str(RECORDED / "blob.txt"))) == 0
    other = tmp_path / "manifest.json"
    other.write_bytes(recorded_manifest())
    assert main(arguments(bundle, str(other))) == 1


def test_signer_trust_root_and_bytes_all_decide(tmp_path: Path) -> None:
    bundle = recorded_bundle("workflow.rekor2+timestamp.signature")
    tampered = tmp_path / "bundle.json"
    tampered.write_bytes(bundle.raw.replace(b'"treeSize":"', b'"treeSize":"1'))
    for changes in (
        {"identity": "https://github.com/acme/app"},
        {"issuer": "https://accounts.google.com"},
        {"root": str(RECORDED / "trusted_root.other.json")},
        {"file": str(tampered)},
    ):
        assert main(arguments(bundle, bundle.digest, **changes)) == 1


def test_log_entry_is_needed_by_a_certificate_and_not_by_a_managed_key() -> None:
    key, certificate = recorded_bundle("release.none.signature"), recorded_bundle("workflow.timestamp.signature")
    assert main(arguments(key, key.digest)) == 0
    assert main(arguments(certificate, certificate.digest)) == 1


@pytest.mark.parametrize("staging", [[], ["--staging"]])
def test_public_instances_are_believed_where_no_root_is_named(staging: list[str]) -> None:
    bundle = recorded_bundle("workflow.rekor1.signature")
    asked = arguments(bundle, bundle.digest)
    at = asked.index("--trusted-root")
    assert main([*asked[:at], *staging, bundle.digest]) == 1  # the recorded Sigstore is neither of them


def test_executable_says_it_by_its_exit_status() -> None:
    client = Path(__file__).with_name("client")
    bundle = recorded_bundle("workflow.rekor2+timestamp.signature")
    for artifact, status in ((bundle.digest, 0), (f"sha256:{'0' * 64}", 1), ("nowhere", 2)):
        command = [sys.executable, str(client), *arguments(bundle, artifact)]
        assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == status


def test_half_an_identity_is_no_question() -> None:
    bundle = recorded_bundle("workflow.rekor1.signature")
    file = str(RECORDED / bundle.file)
    assert main(["verify-bundle", "--bundle", file, "--certificate-identity", "me", bundle.digest]) == 2
    assert main(["verify-bundle", "--bundle", file, bundle.digest]) == 2
