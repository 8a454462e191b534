"""The chain from what ran to its evidence: whole when it is whole, and else the broken link is named."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.inventory.bundle.proving import Chain, State, prove
from controller.inventory.bundle.source import Kept
from controller.inventory.bundle.tlog_proof import TlogProof
from controller.inventory.canonical import canonical
from controller.inventory.ledger import merkle, notes
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.entry import entry_of
from controller.inventory.ledger.notes import NoteSigner
from controller.model.reference import Digest
from tests.support.fixtures import recorded_bundle, recorded_layer
from tests.support.inventory import DIGEST, evaluation, image, leaf, sighting

SIGNER, STRANGER = NoteSigner.of_seed("assay/test", bytes(32)), NoteSigner.of_seed("assay/test", bytes(31) + b"1")
INDEX, OTHER = "sha256:" + "1d" * 32, "sha256:" + "99" * 32
WHEN = "2026-11-22T11:00:00.000000Z"


def about(digest: str) -> bytes:
    """An envelope whose statement is about this digest. Its signature is not what is tested here."""
    statement = {"subject": [{"digest": {"sha256": digest.removeprefix("sha256:")}}]}
    return json.dumps({"payload": base64.b64encode(json.dumps(statement).encode()).decode()}).encode()


@dataclass
class Made:
    """A proof made again."""

    recorded: dict[str, Any]
    image: str = DIGEST
    policy: str = "ClusterEvidencePolicy/release-signed"
    trouble: str = ""
    steps: tuple[str, ...] = ("one", "two")


@dataclass
class Story:
    """A pod that was admitted and ran, with its evidence, as an inventory would hand it over. Tests break it."""

    artifact: bytes = field(default_factory=lambda: about(DIGEST))
    ran: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""
    numbered: bool = True
    signer: NoteSigner = SIGNER
    image: dict[str, Any] = field(default_factory=lambda: image() | {"kind": "container"})
    verdict: str = "Allow"
    leave_out: str = ""
    stored: bytes | None = b"as it is"

    def __post_init__(self) -> None:
        self.proof = evaluation()["attestations"][0] | {"artifact": str(Digest.of(self.artifact))}
        judged = evaluation() | {"attestations": [self.proof], "signatures": []}
        self.decision = leaf(0, images=[self.image], evaluations=[judged], verdict=self.verdict)
        self.decision["object"]["uid"] = "pod-1"
        self.run = sighting("Started", 1, **self.ran)
        both = {"decision": self.decision, "run": self.run}
        self._leaves = [value for name, value in both.items() if name != self.leave_out]
        self._contents = [canonical(value) for value in self._leaves]
        entries = [entry_of(str(Digest.of(content)), WHEN) for content in self._contents]
        self._hashes = [merkle.leaf_hash(entry) for entry in entries]
        size, root = len(entries), merkle.Frontier().append(self._hashes).root()
        text = Checkpoint("assay/test", size, root).text()
        self.checkpoint: str | None = notes.note(text, [self.signer.sign(text)])
        self._entries = entries

    def records(self) -> Iterator[Kept]:
        for number, value in enumerate(self._leaves):
            path = tuple(merkle.inclusion_proof(number, len(self._entries), lambda _, index: self._hashes[index]))
            proof = TlogProof(number, path, self.checkpoint or "") if self.numbered else None
            entry = self._entries[number] if self.numbered else None
            yield Kept(value["id"], self._contents[number], entry, proof)

    def leaves(self) -> Iterator[Any]:
        return iter(self._leaves)

    def blob(self, digest: str) -> bytes | None:
        assert digest == str(Digest.of(self.artifact))
        return self.artifact if self.stored == b"as it is" else self.stored

    def weigh(self, digests: Iterable[str]) -> int:
        raise NotImplementedError(digests)

    def prove(self, artifact: str | None = None) -> Chain:
        def replay(value: Any) -> list[Made]:
            return [Made(self.proof, trouble=self.trouble)] if value["evaluations"] else []

        return prove(self, replay, keys=[SIGNER.key()], artifact=artifact)


def broken(chain: Chain) -> list[tuple[str, str, str]]:
    parts = [chain.missing, *(run.links for run in chain.runs), *(document.links for document in chain.documents)]
    return [(link.name, str(link.state), link.code) for links in parts for link in links if not link.holds]


def test_a_whole_chain_holds_link_by_link() -> None:
    story = Story()
    chain = story.prove()
    assert (chain.holds, broken(chain), chain.checkpoint) == (True, [], story.checkpoint)
    (run,), (document,) = chain.runs, chain.documents
    assert [link.name for link in run.links] == ["run", "ledger", "admission", "ledger"]
    assert [link.name for link in document.links] == ["bytes", "subject", "proof"]
    assert (run.record, run.decision, run.digest) == (story.run["id"], story.decision["id"], DIGEST)
    assert (document.decision, document.image, document.steps) == (story.decision["id"], DIGEST, ("one", "two"))


def test_a_manifest_within_the_admitted_index_is_the_admitted_image() -> None:
    chain = Story(image=image(digest=INDEX) | {"kind": "container", "manifests": [OTHER, DIGEST]}).prove()
    assert chain.holds
    assert f"as a manifest of the index {INDEX}" in chain.runs[0].links[2].told


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"leave_out": "run"}, [("run", "Missing", "NeverSeenRunning")]),
        (
            {"leave_out": "decision"},
            [("evidence", "Missing", "NothingVerified"), ("admission", "Missing", "Unadmitted")],
        ),
        (
            {"leave_out": "run", "verdict": "Deny"},
            [("run", "Missing", "NeverSeenRunning"), ("admission", "Missing", "Denied")],
        ),
        ({"verdict": "Deny"}, [("evidence", "Missing", "NothingVerified"), ("admission", "Missing", "Unadmitted")]),
        (
            {"ran": {"uid": "pod-2"}},
            [("evidence", "Missing", "NothingVerified"), ("admission", "Missing", "Unadmitted")],
        ),
        (
            {"ran": {"container": "sidecar"}},
            [("evidence", "Missing", "NothingVerified"), ("admission", "Missing", "Unadmitted")],
        ),
        ({"ran": {"digest": OTHER}}, [("admission", "Fails", "Drifted")]),
        ({"ran": {"digest": None}}, [("run", "Missing", "DigestUnknown"), ("admission", "Fails", "Drifted")]),
        ({"numbered": False}, [("ledger", "Missing", "NotNumberedYet")] * 2),
        ({"signer": STRANGER}, [("ledger", "Fails", "CheckpointInvalid")] * 2),
        ({"stored": None}, [("bytes", "Missing", "BytesMissing"), ("subject", "Missing", "BytesMissing")]),
        ({"stored": about(DIGEST) + b" "}, [("bytes", "Fails", "BytesAltered")]),
        ({"artifact": about(OTHER)}, [("subject", "Fails", "SubjectMismatch")]),
        ({"artifact": b"[[[["}, [("subject", "Fails", "SubjectMissing")]),
        ({"trouble": "the stored bytes no longer prove it"}, [("proof", "Fails", "ProofFails")]),
        ({"trouble": "ReplayImpossible: this version …"}, [("proof", "Missing", "ReplayImpossible")]),
    ],
)
def test_the_broken_link_is_named(changes: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    chain = Story(**changes).prove()
    assert (chain.holds, broken(chain)) == (False, expected)


@pytest.mark.guarantee(14)
def test_a_record_that_was_changed_after_it_was_entered_does_not_hold() -> None:
    story = Story()
    story._contents[0] = story._contents[0].replace(b'"jane"', b'"joan"')
    assert broken(story.prove()) == [("ledger", "Fails", "RecordChanged")]
    story = Story()
    story._entries.reverse()
    assert ("ledger", "Fails", "RecordChanged") in broken(story.prove())
    story = Story()
    story._hashes[1] = bytes(32)
    assert ("ledger", "Fails", "InclusionFails") in broken(story.prove())


def test_without_the_ledgers_key_or_a_checkpoint_nothing_is_claimed_of_it() -> None:
    story = Story()
    chain = prove(story, lambda _: [Made(story.proof)], keys=[])
    assert {link.code for link in chain.runs[0].links if link.name == "ledger"} == {"LedgerKeyUnknown"}
    story.checkpoint = None
    assert broken(story.prove()) == [("ledger", "Missing", "LedgerEmpty")] * 2


def test_what_cannot_be_verified_here_is_not_said_to_be_broken() -> None:
    story = Story()
    keyless = prove(story, lambda _: [Made(story.proof)], keys=[])
    assert (keyless.holds, keyless.untold) == (False, True)
    newer = Story(trouble="ReplayImpossible: this version …").prove()
    assert (newer.holds, newer.untold) == (False, True)
    assert not Story().prove().untold
    # What fails, or is missing, is told though something else cannot be.
    for changes in ({"stored": None}, {"ran": {"digest": OTHER}}, {"leave_out": "run"}):
        story = Story(**changes)
        assert not prove(story, lambda _, story=story: [Made(story.proof)], keys=[]).untold, changes
    assert not Story(numbered=False).prove().untold


def test_one_document_can_be_asked_for_and_is_missed_if_it_did_not_count() -> None:
    story = Story()
    for name in (story.proof["artifact"], story.proof["statement"]):
        assert story.prove(name).holds
    assert broken(story.prove(OTHER)) == [("evidence", "Missing", "NothingVerified")]


def test_the_subject_is_read_from_every_form_of_evidence() -> None:
    for content, digest in (
        (recorded_bundle("release.none.spdxjson").raw, recorded_bundle("release.none.spdxjson").digest),
        (recorded_bundle("release.none.manifest").raw, recorded_bundle("release.none.manifest").digest),
        *(
            (layer.content, layer.digest)
            for layer in map(recorded_layer, ("release.none.signature", "release.none.spdxjson"))
        ),
    ):
        chain = Story(artifact=content).prove()
        (link,) = (link for link in chain.documents[0].links if link.name == "subject")
        assert (link.state, digest in link.told) == (State.FAILS, True)
