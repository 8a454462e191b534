"""Signs and attests with the real cosign, with a key and without any service: no Fulcio, no log, no TUF.

What cosign writes is what Assay must read, so no test makes a signature by any other means.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.tools import hermetic_environment, run_tool

# No service is asked: no log entry, and no signing configuration, which cosign would fetch from TUF.
OFFLINE = ("--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry", "--yes")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An ECDSA P-256 key pair as `cosign generate-key-pair` writes it, without a password."""

    private: Path
    public: Path

    @property
    def public_pem(self) -> str:
        """The public key as PEM, as a policy holds it."""
        return self.public.read_text()


@dataclass(frozen=True, slots=True)
class Cosign:
    """cosign with its files in `folder`.

    Images are named `host/repository@sha256:…`: what a tag names may change between push and signature.
    """

    folder: Path

    def generate_key_pair(self, name: str) -> KeyPair:
        """Make a key pair called `name`."""
        self._run("generate-key-pair", "--output-key-prefix", name)
        return KeyPair(private=self.folder / f"{name}.key", public=self.folder / f"{name}.pub")

    def sign(self, image: str, *, key: KeyPair, new_bundle_format: bool = True, into: str = "") -> None:
        """Sign an image; without the new bundle format in cosign 2's layout, the tag `sha256-<hex>.sig`.

        `into`: the repository that the signature is put into, if not the image's own (`COSIGN_REPOSITORY`).
        """
        layout = f"--new-bundle-format={str(new_bundle_format).lower()}"
        elsewhere = {"COSIGN_REPOSITORY": into} if into else {}
        self._run("sign", "--key", key.private, layout, *OFFLINE, image, **elsewhere)

    def attest(
        self, image: str, *, key: KeyPair, predicate_type: str, predicate: Any, new_bundle_format: bool = True
    ) -> None:
        """Attest `predicate`, a JSON value, of an image. `predicate_type` is one of cosign's names or a URI."""
        file = self.folder / "predicate.json"
        file.write_text(json.dumps(predicate))
        layout = f"--new-bundle-format={str(new_bundle_format).lower()}"
        self._run(
            "attest", "--key", key.private, "--predicate", file, "--type", predicate_type, layout, *OFFLINE, image
        )

    def save(self, image: str, folder: Path) -> None:
        """Save an image with its `.sig` and `.att` tags as an OCI layout (cosign leaves bundles out)."""
        self._run("save", "--allow-http-registry", "--dir", folder, image)

    def verify(self, image: str, *, key: KeyPair) -> None:
        """Let cosign itself verify an image's signature: the second opinion.

        Raises:
            CommandError: cosign does not accept it.
        """
        self._run("verify", "--key", key.public, "--insecure-ignore-tlog=true", "--allow-http-registry", image)

    def _run(self, *arguments: str | Path, **variables: str) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = hermetic_environment(self.folder / "home", COSIGN_PASSWORD="", **variables)
        return run_tool("cosign", *arguments, environment=environment, folder=self.folder)
