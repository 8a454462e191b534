"""The chain from what ran to the evidence, link by link, each verified here and now from stored bytes. Pure.

For each run: the kubelet reported a digest (*run*), Assay admitted that very image (*admission*), and both records are
in the ledger, unchanged (*ledger*). For each piece of evidence by which the image was admitted: its bytes are kept
(*bytes*), what they say is about this digest (*subject*), and the proof holds when it is made again (*proof*).

A link holds, fails, or is missing; which one, and why, is the answer. Nothing is taken from a database's word: records
are hashed and led to the checkpoint, artefacts hashed and parsed anew.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from controller.errors import Unacceptable
from controller.inventory.bundle.source import IMPOSSIBLE, Kept, Source
from controller.inventory.ledger import merkle, notes
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.notes import NoteKey
from controller.model.reference import Digest

Leaf = Mapping[str, Any]
KEY_UNKNOWN = "LedgerKeyUnknown"
MAX_SUBJECTS = 4096  # of one statement that are looked at


class Again(Protocol):
    """One proof of a decision, made again: `trouble` says why it does not hold, empty if it does."""

    @property
    def recorded(self) -> Leaf:
        """The proof as the record has it."""
        ...

    @property
    def policy(self) -> str:
        """The policy under which it counted."""
        ...

    @property
    def image(self) -> str:
        """The digest that it is about."""
        ...

    @property
    def trouble(self) -> str:
        """Why it does not hold."""
        ...

    @property
    def steps(self) -> Sequence[str]:
        """The steps of the proof that was made now."""
        ...


Replay = Callable[[Leaf], Iterable[Again]]
"""Every proof of a decision's record, made again."""


class State(StrEnum):
    """Whether a link holds, does not, or is not there."""

    HOLDS = "Holds"
    FAILS = "Fails"
    MISSING = "Missing"


@dataclass(frozen=True, slots=True)
class Link:
    """One link. `told` is the sentence for people; `code` says what is wrong, empty where it holds."""

    name: str
    state: State
    told: str
    code: str = ""

    @property
    def holds(self) -> bool:
        """Whether it holds."""
        return self.state is State.HOLDS

    @property
    def untold(self) -> bool:
        """Whether it is missing because it cannot be verified here: where the key is known, or by another version, it
        may hold."""
        return self.code in {KEY_UNKNOWN, IMPOSSIBLE.removesuffix(":")}


@dataclass(frozen=True, slots=True)
class RunChain:
    """One run with the decision that admitted it (`decision`: its record, empty if there is none)."""

    record: str
    cluster: str
    namespace: str
    pod: str
    container: str
    digest: str | None
    started_at: str
    decision: str
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class DocumentChain:
    """One piece of evidence by which a decision admitted an image. `predicate_type` is empty for a signature."""

    decision: str
    image: str
    policy: str
    artifact: str
    predicate_type: str
    signer: Leaf
    log_entry: Leaf | None
    steps: tuple[str, ...]
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """The whole answer. It holds if there is a run and evidence for it, and every link holds."""

    runs: tuple[RunChain, ...]
    documents: tuple[DocumentChain, ...]
    missing: tuple[Link, ...]
    checkpoint: str | None

    @property
    def holds(self) -> bool:
        """Whether nothing is missing and nothing fails."""
        return not any(self._open())

    @property
    def untold(self) -> bool:
        """Whether it does not hold for nothing but what cannot be verified here."""
        return not self.holds and all(link.untold for link in self._open())

    def _open(self) -> Iterator[Link]:
        yield from self.missing
        parts = [*(run.links for run in self.runs), *(document.links for document in self.documents)]
        yield from (link for links in parts for link in links if not link.holds)


def prove(source: Source, replay: Replay, *, keys: Sequence[NoteKey], artifact: str | None = None) -> Chain:
    """The chain of what the source holds. With `artifact` (its digest, or its statement's) of that evidence alone."""
    kept = {record.id: record for record in source.records()}
    leaves = {identity: json.loads(record.canonical) for identity, record in kept.items()}
    checkpoint = _Checkpoint(source.checkpoint, keys)
    decisions = [leaf for leaf in leaves.values() if "evaluations" in leaf]
    runs, admitting = [], {}
    for leaf in leaves.values():
        if leaf["verdict"] != "Started":
            continue
        decision, link = _admission(leaf, decisions)
        links = [_ran(leaf), checkpoint.link(kept[leaf["id"]], "the sighting"), link]
        if decision is not None:
            links.append(checkpoint.link(kept[decision["id"]], "the decision"))
            admitting[decision["id"]] = decision
        runs.append(_run(leaf, decision, links))
    missing: list[Link] = []
    if not runs:
        missing.append(Link("run", State.MISSING, "it was never seen running", "NeverSeenRunning"))
        if decisions and all(decision["verdict"] == "Deny" for decision in decisions):
            missing.append(Link("admission", State.MISSING, f"record {decisions[-1]['id']} denied it", "Denied"))
    chosen = admitting.values() if admitting else [] if runs else decisions
    documents = tuple(_documents(chosen, source, replay, artifact))
    if not documents:
        told = f"no evidence {artifact} counted" if artifact else "nothing was verified of it"
        missing.append(Link("evidence", State.MISSING, told, "NothingVerified"))
    return Chain(tuple(runs), documents, tuple(missing), source.checkpoint)


def _run(leaf: Leaf, decision: Leaf | None, links: Sequence[Link]) -> RunChain:
    pod, run = leaf["pod"], leaf["run"]
    return RunChain(
        record=leaf["id"],
        cluster=leaf["cluster"],
        namespace=pod["namespace"],
        pod=pod["name"],
        container=run["container"],
        digest=run["digest"],
        started_at=run["startedAt"],
        decision=decision["id"] if decision is not None else "",
        links=tuple(links),
    )


def _ran(leaf: Leaf) -> Link:
    pod, run = leaf["pod"], leaf["run"]
    where = f"pod {pod['namespace']}/{pod['name']}, container {run['container']}, on node {pod['node'] or 'unknown'}"
    if not run["digest"]:
        told = f"the kubelet reported {run['imageId'] or 'no image'} for {where}, which names no manifest"
        return Link("run", State.MISSING, told, "DigestUnknown")
    return Link("run", State.HOLDS, f"the kubelet reported {run['imageId']} for {where} from {run['startedAt'][:19]}Z")


def _admission(leaf: Leaf, decisions: Iterable[Leaf]) -> tuple[Leaf | None, Link]:
    """The decision that admitted a run with this very image, the newest that did."""
    pod, run = leaf["pod"], leaf["run"]
    about = [
        (decision, image)
        for decision in sorted(decisions, key=lambda decision: (decision["decidedAt"], decision["id"]), reverse=True)
        if decision["verdict"] == "Allow" and decision["object"]["uid"] == pod["uid"]
        for image in decision["images"]
        if (image["kind"], image["container"]) == (run["kind"], run["container"])
    ]
    if not about:
        told = "Assay never admitted this container: it was not asked, or it denied"
        return None, Link("admission", State.MISSING, told, "Unadmitted")
    for decision, image in about:
        if run["digest"] and image["digest"] == run["digest"]:
            return decision, _admitted(decision, f"as {image['digest']}")
        if run["digest"] and run["digest"] in image.get("manifests", ()):
            return decision, _admitted(decision, f"as a manifest of the index {image['digest']}")
    decision, image = about[0]
    told = f"record {decision['id']} admitted {image['digest'] or 'an image that was not resolved'}, and not this one"
    return decision, Link("admission", State.FAILS, told, "Drifted")


def _admitted(decision: Leaf, how: str) -> Link:
    return Link("admission", State.HOLDS, f"admitted {how} at {decision['decidedAt'][:19]}Z, record {decision['id']}")


class _Checkpoint:
    """The signed checkpoint, opened once."""

    def __init__(self, note: str | None, keys: Sequence[NoteKey]) -> None:
        self._found: Checkpoint | None = None
        self._trouble = Link("ledger", State.MISSING, "no checkpoint of the ledger was signed yet", "LedgerEmpty")
        if note is None:
            return
        if not keys:
            told = "the ledger's key is not known here: give it to verify the checkpoint"
            self._trouble = Link("ledger", State.MISSING, told, KEY_UNKNOWN)
            return
        try:
            self._found = Checkpoint.parse(notes.open_note(note.encode(), keys)[0])
        except ValueError as exc:
            self._trouble = Link("ledger", State.FAILS, f"the checkpoint {exc}", "CheckpointInvalid")

    def link(self, record: Kept, what: str) -> Link:
        """Whether a record is in the ledger, unchanged."""
        if self._found is None:
            return self._trouble
        if record.entry is None or record.proof is None:
            return Link("ledger", State.MISSING, f"{what} has no number in the ledger yet", "NotNumberedYet")
        if json.loads(record.entry)["leaf"] != f"sha256:{hashlib.sha256(record.canonical).hexdigest()}":
            return Link("ledger", State.FAILS, f"{what} is not what was entered in the ledger", "RecordChanged")
        size, root = self._found.size, self._found.root
        leaf = merkle.leaf_hash(record.entry)
        if not merkle.verify_inclusion(leaf, record.proof.index, size, record.proof.hashes, root):
            return Link("ledger", State.FAILS, f"{what}'s proof does not lead to the signed root", "InclusionFails")
        told = f"{what} is entry {record.proof.index} of {size} in {self._found.origin}, signed, and unchanged"
        return Link("ledger", State.HOLDS, told)


def _documents(
    decisions: Iterable[Leaf], source: Source, replay: Replay, artifact: str | None
) -> Iterator[DocumentChain]:
    """The evidence of these decisions, each piece once for an image and a policy: by the newest decision."""
    seen: set[tuple[str, ...]] = set()
    for decision in sorted(decisions, key=lambda leaf: (leaf["decidedAt"], leaf["id"]), reverse=True):
        for made in replay(decision):
            proof = made.recorded
            if "artifact" not in proof or (artifact and artifact not in {proof["artifact"], proof.get("statement")}):
                continue
            key = (made.image, made.policy, proof["artifact"], proof["authority"])
            if key not in seen:
                seen.add(key)
                yield _document(decision, made, source)


def _document(decision: Leaf, made: Again, source: Source) -> DocumentChain:
    proof = made.recorded
    try:
        content = source.blob(proof["artifact"])
        kept = _bytes(proof["artifact"], content)
    except Unacceptable as exc:
        content, kept = None, Link("bytes", State.FAILS, exc.message, "BytesAltered")
    return DocumentChain(
        decision=decision["id"],
        image=made.image,
        policy=made.policy,
        artifact=proof["artifact"],
        predicate_type=proof.get("predicateType", ""),
        signer=proof["signer"],
        log_entry=proof["logEntry"],
        steps=tuple(made.steps),
        links=(kept, _subject(made.image, content), _proof(made)),
    )


def _bytes(artifact: str, content: bytes | None) -> Link:
    if content is None:
        return Link("bytes", State.MISSING, f"{artifact} is not kept any more", "BytesMissing")
    if str(Digest.of(content)) != artifact:
        return Link("bytes", State.FAILS, f"what is kept as {artifact} has another digest", "BytesAltered")
    return Link("bytes", State.HOLDS, f"{artifact}, {len(content)} bytes as they lay in the registry")


def _subject(image: str, content: bytes | None) -> Link:
    if content is None:
        return Link("subject", State.MISSING, "its bytes are not there to be read", "BytesMissing")
    digests = _subjects(content)
    if image in digests:
        return Link("subject", State.HOLDS, f"what is signed names {image}")
    if not digests:
        return Link("subject", State.FAILS, "what is signed names no digest", "SubjectMissing")
    told = f"what is signed is about {', '.join(digests[:3])}, not about {image}"
    return Link("subject", State.FAILS, told, "SubjectMismatch")


def _proof(made: Again) -> Link:
    signer = made.recorded["signer"]
    who = f"key {signer['key']}" if signer["key"] else f"{signer['subject']} ({signer['issuer']})"
    if made.trouble.startswith(IMPOSSIBLE):
        return Link("proof", State.MISSING, f"by {who}: cannot be made again here: {made.trouble}", "ReplayImpossible")
    if made.trouble:
        return Link("proof", State.FAILS, f"by {who}: {made.trouble}", "ProofFails")
    entry = made.recorded["logEntry"]
    logged = f", log entry {entry['index']} of {entry['logId']}" if entry else ", in no transparency log"
    return Link("proof", State.HOLDS, f"signed by {who}{logged}; {len(made.steps)} steps made again")


def _subjects(content: bytes) -> list[str]:
    """The digests that a piece of evidence is about, by its own words, in whichever of the known forms it is."""
    try:
        value = json.loads(content)
        if "messageSignature" in value:
            digest = value["messageSignature"]["messageDigest"]
            return [f"sha256:{base64.b64decode(digest['digest'], validate=True).hex()}"]
        if "critical" in value:  # cosign's simple signing
            return [str(value["critical"]["image"]["docker-manifest-digest"])]
        envelope = value.get("dsseEnvelope", value)
        statement = json.loads(base64.b64decode(envelope["payload"], validate=True))
        return [f"sha256:{subject['digest']['sha256']}" for subject in statement["subject"][:MAX_SUBJECTS]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        return []
