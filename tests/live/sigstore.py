"""A Sigstore that runs, both cosigns and Assay: whatever cosign signs here, Assay says of it what cosign says.

Not part of `make test`, since it needs what only fixtures are made with: `make test-live`. The one place in which they
answer differently on purpose is named in `test_assay_is_stricter_than_cosign_in_this_alone`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.fixtures.record import running_cosign
from tests.fixtures.signing import Cosign, Key, Signer
from tests.fixtures.sigstore_stack.identities import Identity, github_workflow
from tests.fixtures.sigstore_stack.stack import Log
from tests.support.commands import assay
from tests.support.pipeline import policy
from tests.support.registry import Registry, run_registry
from tests.support.tools import CommandError, hermetic_environment, run_tool

RELEASE = github_workflow("acme/app", ref="refs/tags/v1.0.0")
BRANCH = github_workflow("acme/app", ref="refs/heads/main")
APPROVAL = "https://acme.example/attestations/approval/v1"
LEGACY_LOGS = (Log.NONE, Log.TIMESTAMP, Log.REKOR1, Log.REKOR1_TIMESTAMP)
ROWS = [
    *((program, "legacy", "key", log) for program in ("cosign", "cosign2") for log in LEGACY_LOGS),
    *((program, "legacy", "workflow", log) for program in ("cosign", "cosign2") for log in LEGACY_LOGS[2:]),
    *(("cosign", "bundle", "key", log) for log in Log),
    *(("cosign", "bundle", "workflow", log) for log in Log if log not in {Log.NONE, Log.REKOR2}),
]


@dataclass(frozen=True, slots=True)
class Rig:
    """A registry and a Sigstore, both running, with two keys."""

    registry: Registry
    cosign: Cosign
    key: Key
    stranger: Key
    folder: Path

    def image(self, name: str) -> str:
        """Push an image of its own for this name; returns its reference by digest."""
        digest = self.registry.push_image(f"acme/{name}", "1", files={"name": name.encode()})
        return self.registry.reference(f"acme/{name}", digest=digest)

    def with_program(self, program: str) -> Cosign:
        """Cosign 3 or 2."""
        return dataclasses.replace(self.cosign, program=program)

    def assay(self, image: str, by: Signer, log: Log, *, attested: bool = False) -> int:
        """The exit status of `assay verify` under a policy that asks for this signer and this witness."""
        authority = {
            "name": "signer",
            "transparencyLog": "Required" if "rekor" in log else "Ignore" if isinstance(by, Key) else "Optional",
            "timestamp": "Required" if "timestamp" in log else "Optional",
            **_who(by),
        }
        required = {"attestations": [{"name": "approval", "type": APPROVAL, "authorities": ["signer"]}]}
        asked = required if attested else {"signatures": {"authorities": ["signer"]}}
        folder = self.folder / "policies"
        folder.mkdir(exist_ok=True)
        (folder / "policy.yaml").write_text(yaml.safe_dump(policy("signed", authorities=[authority], **asked)))
        root = f"public-good={self.cosign.sigstore.trusted_root}"
        return assay("verify", image, "--policies", folder, "--trusted-root", root, folder=self.folder).returncode

    def cosigns(self, image: str, by: Signer, log: Log, *, form: str, attested: bool = False) -> int:
        """0 if cosign 3 verifies the same, else 1."""
        command = ["verify-attestation", f"--type={APPROVAL}"] if attested else ["verify"]
        flags = [
            f"--trusted-root={self.cosign.sigstore.trusted_root}",
            f"--new-bundle-format={form == 'bundle'}".lower(),
        ]
        if "rekor" not in log:
            flags.append("--insecure-ignore-tlog=true")
        if "timestamp" in log:
            flags.append("--use-signed-timestamps")
        if isinstance(by, Key):
            flags.append(f"--key={by.public}")
        else:
            flags += [f"--certificate-identity={by.subject}", f"--certificate-oidc-issuer={by.issuer}"]
        environment = hermetic_environment(self.folder / "home")
        try:
            run_tool("cosign", *command, *flags, "--allow-http-registry", image, environment=environment)
        except CommandError:
            return 1
        return 0


def _who(by: Key | Identity) -> dict[str, object]:
    if isinstance(by, Key):
        return {"key": {"pem": by.public.read_text()}}
    return {"keyless": {"identities": [{"issuer": by.issuer, "subject": by.subject}]}}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("live")
    with run_registry(folder / "registry", referrers=False) as registry, running_cosign(folder / "cosign") as cosign:
        yield Rig(registry, cosign, cosign.new_key("release"), cosign.new_key("stranger"), folder)


def _name(program: str, form: str, who: str, log: Log) -> str:
    return f"{program}-{form}-{who}-{log}".replace("+", "-")


@pytest.mark.parametrize(("program", "form", "who", "log"), ROWS)
def test_assay_answers_as_cosign_does(rig: Rig, program: str, form: str, who: str, log: Log) -> None:
    image, by = rig.image(_name(program, form, who, log)), rig.key if who == "key" else RELEASE
    other = rig.stranger if who == "key" else BRANCH
    assert rig.assay(image, by, log) == 1  # nothing is signed yet
    cosign = rig.with_program(program)
    if form == "legacy":
        cosign.sign_legacy(image, by, log=log)
    else:
        cosign.sign(image, by, log=log)
    assert rig.assay(image, by, log) == rig.cosigns(image, by, log, form=form) == 0
    assert rig.assay(image, other, log) == rig.cosigns(image, other, log, form=form) == 1


@pytest.mark.parametrize("program", ["cosign", "cosign2"])
@pytest.mark.parametrize("who", ["key", "workflow"])
def test_assay_is_stricter_than_cosign_in_this_alone(rig: Rig, program: str, who: str) -> None:
    """An attestation never stands in for a signature (guarantee 4): cosign lets a bundle of any kind be one."""
    image, by = rig.image(f"attested-{program}-{who}"), rig.key if who == "key" else RELEASE
    predicate = rig.folder / "approval.json"
    predicate.write_text(json.dumps({"approved": True}))
    log, form = Log.REKOR1, "bundle" if program == "cosign" else "legacy"
    cosign = rig.with_program(program)
    if form == "legacy":
        cosign.attest_legacy(image, by, kind=APPROVAL, predicate=predicate, log=log)
    else:
        cosign.attest(image, by, kind=APPROVAL, predicate=predicate, log=log)
    assert rig.assay(image, by, log, attested=True) == rig.cosigns(image, by, log, form=form, attested=True) == 0
    assert rig.assay(image, by, log) == 1
    assert rig.cosigns(image, by, log, form=form) == (0 if form == "bundle" else 1)
