"""Images that the real cosign signed, in real registries of both kinds, before the real program."""

from __future__ import annotations

import base64
import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.assay import Assay, serving
from tests.support.commands import assay
from tests.support.cosign import Cosign, KeyPair
from tests.support.pipeline import pod, policy, review_of
from tests.support.registry import Registry, run_registry

SIGNATURES = "security/signatures"
LOG4J = "pkg:maven/org.apache.logging.log4j/log4j-core"


@dataclass(frozen=True, slots=True)
class Rig:
    """A registry, cosign with two keys, and Assay with policies about `acme/**`."""

    registry: Registry
    cosign: Cosign
    key: KeyPair
    stranger: KeyPair
    assay: Assay

    def push(self, name: str, *, index: bool = False) -> tuple[str, str]:
        """Push `acme/NAME:1`; returns its reference by tag and by digest."""
        repository = f"acme/{name}"
        digest = (
            self.registry.push_index(repository, "1")
            if index
            else self.registry.push_image(repository, "1", files={"name": name.encode()})
        )
        return self.registry.reference(repository, tag="1"), self.registry.reference(repository, digest=digest)

    def create(self, image: str) -> tuple[bool, str, str]:
        """Create a pod: whether it is let in, the image that would run, and the denial."""
        wanted = pod(image)
        response = self._ask("/mutate", wanted)
        if "patch" in response:
            wanted["spec"]["containers"][0]["image"] = json.loads(base64.b64decode(response["patch"]))[1]["value"]
        wanted["metadata"]["uid"] = str(uuid.uuid4())
        answer = self._ask("/validate", wanted)
        return answer["allowed"], wanted["spec"]["containers"][0]["image"], answer.get("status", {}).get("message", "")

    def _ask(self, path: str, wanted: dict[str, Any]) -> Any:
        status, answer = self.assay.post(f"{path}?timeout=30s", review_of(wanted))
        assert status == 200, answer
        return answer["response"]


@pytest.fixture(scope="module", params=[True, False], ids=["referrers-api", "fallback-tag"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("sources")
    cosign = Cosign(folder / "cosign")
    key, stranger = cosign.generate_key_pair("release"), cosign.generate_key_pair("stranger")
    release = {"name": "release", "key": {"pem": key.public_pem}, "transparencyLog": "Optional"}
    signed = policy(
        "signed", match={"images": ["*/acme/**"]}, authorities=[release], signatures={"authorities": ["release"]}
    )
    listed = policy(
        "listed",
        match={"images": ["*/acme/listed*"]},
        authorities=[release],
        attestations=[{"name": "sbom", "type": "SBOM", "authorities": ["release"]}],
        validations=[{"expression": f"size(sboms.find('{LOG4J}', '<2.17.1')) == 0", "message": "log4j is too old"}],
    )
    policies = folder / "policies"
    policies.mkdir()
    with contextlib.ExitStack() as stack:
        registry = stack.enter_context(run_registry(folder / "registry", referrers=request.param))
        apart = policy(
            "apart",
            match={"images": ["*/apart/**"]},
            authorities=[release | {"source": {"repository": f"{registry.host}/{SIGNATURES}"}}],
            signatures={"authorities": ["release"]},
        )
        items = [signed, listed, apart]
        (policies / "all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        assay = stack.enter_context(serving(folder / "assay", policies=str(policies), missing_max_age="0s"))
        yield Rig(registry, cosign, key, stranger, assay)


def test_guarantee_01_a_signed_image_is_admitted_as_what_was_signed_and_cosign_agrees(rig: Rig) -> None:
    image, by_digest = rig.push("signed")
    assert not rig.create(image)[0]
    rig.cosign.sign(by_digest, key=rig.key)
    rig.cosign.verify(by_digest, key=rig.key)
    allowed, runs, message = rig.create(image)
    assert allowed, message
    assert runs == f"{image}@{by_digest.rpartition('@')[2]}"


def test_a_signed_index_is_admitted(rig: Rig) -> None:
    image, by_digest = rig.push("index", index=True)
    rig.cosign.sign(by_digest, key=rig.key)
    allowed, _, message = rig.create(image)
    assert allowed, message


def test_guarantee_01_a_strangers_signature_counts_only_beside_the_right_one(rig: Rig) -> None:
    image, by_digest = rig.push("strange")
    rig.cosign.sign(by_digest, key=rig.stranger)
    allowed, _, message = rig.create(image)
    assert (allowed, "SignatureNotTrusted" in message) == (False, True), message
    other, other_digest = rig.push("both")
    rig.cosign.sign(other_digest, key=rig.stranger)
    rig.cosign.sign(other_digest, key=rig.key)
    assert rig.create(other)[0]


def test_guarantee_04_an_image_that_is_attested_only_is_not_signed(rig: Rig) -> None:
    image, by_digest = rig.push("attested")
    rig.cosign.attest(by_digest, key=rig.key, predicate_type="spdxjson", predicate=_sbom("2.17.1"))
    rig.cosign.verify(by_digest, key=rig.key)  # cosign takes any bundle for a signature
    allowed, _, message = rig.create(image)
    assert (allowed, "SignatureMissing" in message) == (False, True), message


@pytest.mark.parametrize(("version", "admitted"), [("2.14.1", False), ("2.17.1", True)])
def test_an_attested_sbom_is_read(rig: Rig, version: str, admitted: bool) -> None:
    image, by_digest = rig.push(f"listed-{version}")
    rig.cosign.sign(by_digest, key=rig.key)
    allowed, _, message = rig.create(image)
    assert (allowed, "AttestationMissing" in message) == (False, True), message
    again, again_digest = rig.push(f"listed-with-{version}")
    rig.cosign.sign(again_digest, key=rig.key)
    rig.cosign.attest(again_digest, key=rig.key, predicate_type="spdxjson", predicate=_sbom(version))
    allowed, _, message = rig.create(again)
    assert (allowed, "log4j is too old" in message) == (admitted, not admitted), message


def test_guarantee_01_cosigns_old_layout_counts_for_the_key_that_signed_it_and_for_no_other(rig: Rig) -> None:
    image, by_digest = rig.push("legacy")
    rig.cosign.sign(by_digest, key=rig.key, new_bundle_format=False)
    allowed, _, message = rig.create(image)
    assert allowed, message
    stranger, by_digest = rig.push("legacy-of-a-stranger")
    rig.cosign.sign(by_digest, key=rig.cosign.generate_key_pair("old-stranger"), new_bundle_format=False)
    allowed, _, message = rig.create(stranger)
    assert not allowed
    assert "SignatureNotTrusted" in message


def test_guarantee_04_an_attestation_in_the_old_layout_is_no_signature(rig: Rig) -> None:
    image, by_digest = rig.push("legacy-attested")
    rig.cosign.attest(
        by_digest, key=rig.key, predicate_type="spdxjson", predicate=_sbom("2.24.1"), new_bundle_format=False
    )
    allowed, _, message = rig.create(image)
    assert not allowed
    assert "is no signature" in message


def _sbom(version: str) -> dict[str, Any]:
    reference = {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": f"{LOG4J}@{version}",
    }
    return {
        "spdxVersion": "SPDX-2.3",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "app",
        "dataLicense": "CC0-1.0",
        "documentNamespace": f"https://acme.example/{version}",
        "creationInfo": {"created": "2026-01-01T00:00:00Z", "creators": ["Tool: test"]},
        "packages": [
            {
                "SPDXID": "SPDXRef-log4j",
                "name": "log4j-core",
                "versionInfo": version,
                "downloadLocation": "NOASSERTION",
                "externalRefs": [reference],
            }
        ],
    }


@pytest.mark.guarantee(1)
@pytest.mark.parametrize("new_bundle_format", [True, False], ids=["bundle", "legacy"])
def test_what_cosign_put_into_another_repository_counts_where_the_policy_says_so(
    rig: Rig, new_bundle_format: bool
) -> None:
    into = f"{rig.registry.host}/{SIGNATURES}"
    for by, allowed in ((rig.stranger, False), (rig.key, True)):
        repository = f"apart/{'bundle' if new_bundle_format else 'legacy'}"
        digest = rig.registry.push_image(repository, "1", files={"name": f"{repository} {allowed}".encode()})
        named = rig.registry.reference(repository, digest=digest)
        rig.cosign.sign(named, key=by, new_bundle_format=new_bundle_format, into=into)
        assert rig.create(named)[0] is allowed


@pytest.mark.guarantee(17)
def test_what_cosign_saved_gives_the_same_verdict_without_a_network(rig: Rig, tmp_path: Path) -> None:
    _, signed = rig.push("saved")
    _, strange = rig.push("saved-by-a-stranger")
    rig.cosign.sign(signed, key=rig.key, new_bundle_format=False)
    rig.cosign.sign(strange, key=rig.stranger, new_bundle_format=False)
    policies = rig.assay.environment["ASSAY_POLICIES"]
    for image, status in ((signed, 0), (strange, 1)):
        folder = tmp_path / f"layout-{status}"
        rig.cosign.save(image, folder)
        away = image.replace(rig.registry.host, "registry.example")
        done = assay("verify", away, "--policies", policies, "--offline", folder, folder=tmp_path)
        assert (done.returncode, done.stderr) == (status, ""), done.stdout
