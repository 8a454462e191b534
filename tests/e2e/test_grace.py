"""Grace in the real program: a real registry with what the real cosign signed hangs, comes back, and stops."""

from __future__ import annotations

import base64
import json
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.assay import Assay, serving
from tests.support.cosign import Cosign, KeyPair
from tests.support.pipeline import pod, policy, review_of
from tests.support.processes import wait_until
from tests.support.registry import Registry, run_registry

PAST = 2.5  # seconds after which evidence no longer serves by itself here
SHORT = {"evidence_max_age": "1s", "tag_max_age": "1s", "registry_request_timeout": "1s", "failure_max_age": "1s"}


@dataclass(frozen=True, slots=True)
class Rig:
    """A registry, cosign with a key, and Assay that believes what it remembers for a second."""

    registry: Registry
    cosign: Cosign
    key: KeyPair
    assay: Assay

    def signed(self, repository: str) -> str:
        """Push and sign an image; returns its reference by tag."""
        digest = self.registry.push_image(repository, "1", files={"name": repository.encode()})
        self.cosign.sign(self.registry.reference(repository, digest=digest), key=self.key)
        return self.registry.reference(repository, tag="1")

    def create(self, image: str) -> dict[str, Any]:
        """Create a pod of the image: `/validate`'s response, `runs` being the image as `/mutate` left it."""
        wanted = pod(image)
        response = self._ask("/mutate", wanted)
        if "patch" in response:
            wanted["spec"]["containers"][0]["image"] = json.loads(base64.b64decode(response["patch"]))[1]["value"]
        wanted["metadata"]["uid"] = str(uuid.uuid4())
        return {**self._ask("/validate", wanted), "runs": wanted["spec"]["containers"][0]["image"]}

    def _ask(self, path: str, wanted: dict[str, Any]) -> dict[str, Any]:
        status, answer = self.assay.post(f"{path}?timeout=30s", review_of(wanted))
        assert status == 200, answer
        response: dict[str, Any] = answer["response"]
        return response


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    cosign = Cosign(tmp_path / "cosign")
    key = cosign.generate_key_pair("release")
    spec: dict[str, Any] = {
        "authorities": [{"name": "release", "key": {"pem": key.public_pem}, "transparencyLog": "Optional"}],
        "signatures": {"authorities": ["release"]},
    }
    items = [
        policy("patient", match={"images": ["*/acme/**"]}, **spec),
        policy("strict", match={"images": ["*/strict/**"]}, grace="0s", **spec),
    ]
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    with (
        run_registry(tmp_path / "registry", referrers=True) as registry,
        serving(tmp_path / "assay", policies=str(policies), **SHORT) as assay,
    ):
        yield Rig(registry, cosign, key, assay)


@pytest.mark.guarantee(6)
def test_guarantee_06_a_registry_that_hangs_and_then_stops_costs_nothing_that_was_proven(rig: Rig) -> None:
    app, strict, unseen = rig.signed("acme/app"), rig.signed("strict/app"), rig.signed("acme/unseen")
    first = rig.create(app)
    assert (first["allowed"], "warnings" in first) == (True, False)
    assert rig.create(strict)["allowed"]

    time.sleep(PAST)
    rig.registry.server.process.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: _is_stale(rig.create(app)), what="the silence is known and the image is let in")
        began = time.monotonic()
        again = [rig.create(app) for _ in range(5)]
        assert time.monotonic() - began < 5, "nobody waits for what is known to be silent"
        assert all(_is_stale(response) for response in again)
    finally:
        rig.registry.server.process.send_signal(signal.SIGCONT)
    wait_until(lambda: "warnings" not in rig.create(app), what="the registry is heard again", timeout=60)
    wait_until(lambda: rig.create(strict)["allowed"], what="the strict policy is satisfied again", timeout=60)

    time.sleep(PAST)
    rig.registry.server.stop()
    wait_until(lambda: _is_stale(rig.create(app)), what="the image is let in by grace")
    stale = rig.create(app)
    assert stale["runs"] == first["runs"], "the tag goes on naming its last digest"
    assert rig.registry.host in stale["warnings"][0]
    leaf = rig.assay.decision(stale["auditAnnotations"]["record"])
    assert (leaf["verdict"], leaf["flags"], leaf["evaluations"][0]["outcome"]) == ("Allow", ["stale"], "Satisfied")
    for image in (strict, unseen):
        refused = rig.create(image)
        assert not refused["allowed"]
        assert "cannot tell now, " in refused["status"]["message"]


def _is_stale(response: dict[str, Any]) -> bool:
    return response["allowed"] and any("was judged by evidence of" in text for text in response.get("warnings", ()))
