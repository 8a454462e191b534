"""Assay's verifier behind the command line of the public Sigstore client-conformance suite.

https://github.com/sigstore/sigstore-conformance/blob/main/docs/cli_protocol.md, its `verify-bundle`. Nothing is decided
here: the bundle and the artefact's digest go to `controller.verification`, and whether anything came back as verified
is the exit status. The suite's artefacts stand in the place of images, which are a digest as well.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.resources
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from controller.errors import AssayError
from controller.model.evidence import Artifact, ArtifactKind
from controller.model.policy import Authority, Identity, KeyAuthority, KeylessAuthority, Need, TrustRoot
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.verification.verifier import verify

VERIFIED, NOT_VERIFIED, MISUSED = 0, 1, 2
INSTANCES = {False: "tuf-repo-cdn.sigstore.dev", True: "tuf-repo-cdn.sigstage.dev"}


def main(arguments: Sequence[str]) -> int:
    """Verify one bundle; return the exit status: 0 verified, 1 not, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        root = _trust_root(options.trusted_root, staging=options.staging)
        bundle = Path(options.bundle).read_bytes()
        evidence = verify(
            _digest(options.artifact),
            [Artifact(ArtifactKind.BUNDLE, "", bundle, Digest.of(bundle), options.bundle)],
            authorities=[_authority(options)],
            trust_roots={root.name: root},
            now=datetime.now(UTC),
            limits=DocumentSettings(),
        )
    except (AssayError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return MISUSED
    for found in (*evidence.signatures, *evidence.attestations):
        print("\n".join(found.proof.steps))
    for rejection in evidence.rejections:
        print(f"{rejection.code}: {rejection.message}", file=sys.stderr)
    return VERIFIED if evidence.signatures or evidence.attestations else NOT_VERIFIED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="client", description="Sigstore's client-conformance protocol, on Assay.")
    command = parser.add_subparsers(required=True, metavar="verify-bundle").add_parser("verify-bundle")
    command.add_argument("--staging", action="store_true", help="believe Sigstore's staging instance")
    command.add_argument("--bundle", required=True, metavar="FILE")
    command.add_argument("--certificate-identity", metavar="ID")
    command.add_argument("--certificate-oidc-issuer", metavar="URL")
    command.add_argument("--key", metavar="FILE", help="a public key, instead of identity and issuer")
    command.add_argument("--trusted-root", metavar="FILE", help="default: the public instance's, as sigstore ships it")
    command.add_argument("artifact", metavar="ARTIFACT|sha256:DIGEST")
    return parser


def _digest(artifact: str) -> Digest:
    """The digest given, or that of the file."""
    path = Path(artifact)
    if artifact.startswith("sha256:") and not path.exists():
        return Digest.parse(artifact)
    with path.open("rb") as content:
        return Digest.parse(f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}")


def _authority(options: argparse.Namespace) -> Authority:
    identified = options.certificate_identity is not None and options.certificate_oidc_issuer is not None
    if identified == (options.key is not None):
        raise ValueError("either --key, or --certificate-identity and --certificate-oidc-issuer")
    if options.key is not None:
        key = KeyAuthority(Path(options.key).read_text(), trust_root="root")
        # The suite has bundles of managed keys that were never logged; what is logged must be so truly.
        return Authority("client", key=key, transparency_log=Need.OPTIONAL)
    identity = Identity(issuer=options.certificate_oidc_issuer, subject=options.certificate_identity)
    return Authority("client", keyless=KeylessAuthority((identity,), "root"))


def _trust_root(file: str | None, *, staging: bool) -> TrustRoot:
    if file is not None:
        content = Path(file).read_bytes()
    else:
        store = importlib.resources.files("sigstore._store") / f"https%3A%2F%2F{INSTANCES[staging]}"
        content = (store / "trusted_root.json").read_bytes()
    return TrustRoot("root", content, str(Digest.of(content)))
