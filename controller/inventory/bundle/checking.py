"""Verifies a bundle that somebody handed over, without a database. Pure but for the file that it reads.

The steps, in their order:

1. The archive holds plain files with safe names, each once (`Archive`).
2. `SHA256SUMS` is signed by the export key.
3. Every file but these two is in it, with that hash, and every file in it is there.
4. The checkpoint is signed by the ledger's key.
5. Each record hashes to what its entry says, and the entry leads to the checkpoint's root.
6. What is named by its digest has that digest.
7. Each summary is signed, and says what the records say.
8. Each proof of each decision is made again from the bundle's bytes (`replay`, handed in by the caller).

The caller's duty: to give keys that came another way. Those in the bundle say who may have made it, not who did.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from controller.errors import AssayError, InputError
from controller.inventory.bundle import assembling, signing
from controller.inventory.bundle.archive import Archive
from controller.inventory.bundle.parts import Role
from controller.inventory.bundle.plan import Plan, file_name
from controller.inventory.bundle.source import IMPOSSIBLE
from controller.inventory.bundle.summary import PREDICATE as VSA
from controller.inventory.bundle.summary import summarise
from controller.inventory.bundle.tlog_proof import TlogProof
from controller.inventory.ledger import merkle, notes
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.notes import NoteKey
from controller.inventory.recording.projecting import project

BYTES_MISSING = "BytesMissing:"  # how a replay says that it lacks bytes
MAX_FINDINGS = 100  # told of one bundle
_SUM = re.compile(r"([0-9a-f]{64})  (\S{1,100})")
_RECORD, _ENTRY, _PROOF = "records/{}.json", "ledger/{}.entry.json", "ledger/{}.tlog-proof"
_NAMED = re.compile(r"(?:policies|exceptions|trust-roots|evidence|other|policy-sets)/([0-9a-f]{64})\.[a-z.]+")
_PLACES = (
    *("policies/{}.json", "exceptions/{}.json", "trust-roots/{}.json", "keys/{}.der", "keys/{}.pem"),
    *("evidence/{}.sigstore.json", "evidence/{}.layer", "other/{}.bin"),
)
_NOT_A_RECORD = (AssayError, KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError)

Replay = Callable[[Mapping[str, Any], Callable[[str], bytes | None]], Iterable[tuple[str, str]]]
"""(leaf, bytes by digest): of each proof of the decision what it is about, and why it does not hold, if it does not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. `code` is stable; `where` is a file of the bundle."""

    code: str
    where: str
    message: str


@dataclass(slots=True)
class BundleReport:
    """What was verified, and what did not hold.

    `unproven`: proofs whose bytes are not in the bundle, as its signed index says: nothing is known of them.
    `impossible`: proofs that this version of Assay cannot make again, and why the first of them: not that they fail.
    `unnumbered`: whoever verifies named the ledger, and there is no checkpoint of any.
    `keyless`: there is a checkpoint, and no key of the ledger to hold it against, so that no record is proven to be in
    it, and none fails to be.
    """

    index: Mapping[str, Any] = field(default_factory=dict)
    files: int = 0
    records: int = 0
    proven: int = 0
    summaries: int = 0
    proofs: int = 0
    unproven: int = 0
    impossible: list[str] = field(default_factory=list)
    checkpoint: Checkpoint | None = None
    keyless: bool = False
    unnumbered: bool = False
    findings: list[Finding] = field(default_factory=list)
    omitted: int = 0

    @property
    def untold(self) -> bool:
        """Whether something of it could not be verified here, which is not that it does not hold."""
        return self.keyless or self.unnumbered or bool(self.impossible)

    def find(self, code: str, where: str, message: str) -> None:
        """Note a finding; the number of those that are told is bounded."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(code, where, message))
        else:
            self.omitted += 1


def verify(
    archive: Archive,
    *,
    export_key: Ed25519PublicKey,
    ledger_keys: Iterable[NoteKey],
    replay: Replay,
    ledger_expected: bool = False,
) -> BundleReport:
    """All steps. `ledger_expected`: who verifies knows that there is a ledger.

    Raises `InputError` (`BundleMalformed`, `BundleIncomplete`) for what is no bundle at all.
    """
    report = BundleReport(files=sum(1 for _ in archive))
    report.unnumbered = ledger_expected and assembling.CHECKPOINT not in archive
    sums = archive.read(assembling.SUMS)
    try:
        signed = signing.open_statement(archive.read(assembling.SIGNATURE), export_key)
        if signed.get("predicateType") != assembling.PREDICATE or _subject(signed) != archive.sha256(assembling.SUMS):
            raise ValueError("is about other files")
    except ValueError as exc:
        report.find("SignatureInvalid", assembling.SIGNATURE, f"it {exc}")
    _check_sums(archive, sums, report)
    try:
        _check_content(archive, export_key, ledger_keys, replay, report)
    except InputError as exc:  # of a bundle that was changed: that it cannot be read further takes nothing of that away
        if not report.findings:
            raise
        report.find(exc.code, assembling.INDEX, exc.message)
    return report


def _check_content(
    archive: Archive,
    export_key: Ed25519PublicKey,
    ledger_keys: Iterable[NoteKey],
    replay: Replay,
    report: BundleReport,
) -> None:
    """The steps from the checkpoint on. Raises `InputError` for what cannot be read."""
    report.index = _json(archive, assembling.INDEX)
    if assembling.CHECKPOINT in archive:
        keys = list(ledger_keys)
        report.keyless = not keys
        report.checkpoint = _checkpoint(archive.read(assembling.CHECKPOINT), keys, report) if keys else None
    _check_names(archive, report)
    leaves = list(_check_records(archive, report))
    _check_summaries(archive, leaves, export_key, report)
    missing = _missing(report.index)
    for name in leaves:
        leaf = _json(archive, _RECORD.format(name))
        if "evaluations" not in leaf:
            continue
        try:
            for about, trouble in replay(leaf, partial(_blob, archive)):
                if trouble.startswith(BYTES_MISSING) and any(digest in trouble for digest in missing):
                    report.unproven += 1
                    continue
                if trouble.startswith(IMPOSSIBLE):
                    report.impossible.append(trouble)
                    continue
                report.proofs += 1
                if trouble:
                    report.find("ProofFails", _RECORD.format(name), f"{about}: {trouble}")
        except _NOT_A_RECORD:
            report.find("RecordMalformed", _RECORD.format(name), "its proofs cannot be read")


def _check_sums(archive: Archive, sums: bytes, report: BundleReport) -> None:
    listed: dict[str, str] = {}
    for line in sums.decode(errors="replace").splitlines():
        found = _SUM.fullmatch(line)
        if found is None or found[2] in listed:
            report.find("SumsMalformed", assembling.SUMS, "a line is malformed, or a file stands there twice")
            continue
        listed[found[2]] = found[1]
    for path in archive:
        if path in {assembling.SUMS, assembling.SIGNATURE}:
            continue
        if path not in listed:
            report.find("FileAdded", path, "it is not in SHA256SUMS")
        elif archive.sha256(path) != listed[path]:
            report.find("FileChanged", path, "it has another hash than in SHA256SUMS")
    for path in listed.keys() - set(archive):
        report.find("FileMissing", path, "it is in SHA256SUMS and not in the bundle")


def _checkpoint(content: bytes, keys: list[NoteKey], report: BundleReport) -> Checkpoint | None:
    try:
        text, _ = notes.open_note(content, keys)
        return Checkpoint.parse(text)
    except ValueError as exc:
        report.find("CheckpointInvalid", assembling.CHECKPOINT, f"it {exc}")
        return None


def _check_names(archive: Archive, report: BundleReport) -> None:
    for path in archive:
        found = _NAMED.fullmatch(path)
        if found is not None and archive.sha256(path) != found[1]:
            report.find("DigestMismatch", path, "its bytes have another digest than its name")


def _check_records(archive: Archive, report: BundleReport) -> Iterator[str]:
    """The names of the records that can be read, each held against the ledger where it has a proof."""
    for path in archive:
        if not path.startswith("records/"):
            continue
        name = path.removeprefix("records/").removesuffix(".json")
        try:
            leaf = _json(archive, path)
            if path != _RECORD.format(file_name(leaf["id"])):
                raise ValueError("another id")
            project(leaf)
            Plan().add(leaf)
        except _NOT_A_RECORD:
            report.find("RecordMalformed", path, "it is no record, or not the one that its name says")
            continue
        report.records += 1
        if _PROOF.format(name) in archive and not report.keyless:
            trouble = _proven(archive, name, report.checkpoint)
            if trouble:
                report.find("InclusionFails", _PROOF.format(name), trouble)
            else:
                report.proven += 1
        yield name


def _proven(archive: Archive, name: str, checkpoint: Checkpoint | None) -> str:
    """Why a record is not proven to be in the ledger; empty if it is."""
    if checkpoint is None:
        return "there is no checkpoint to lead to"
    try:
        entry = archive.read(_ENTRY.format(name))
        proof = TlogProof.parse(archive.read(_PROOF.format(name)))
        if json.loads(entry)["leaf"] != f"sha256:{archive.sha256(_RECORD.format(name))}":
            return "its entry is that of another record"
    except (InputError, ValueError, KeyError, TypeError, RecursionError) as exc:
        return f"it cannot be read: {exc}"
    if proof.checkpoint.encode() != archive.read(assembling.CHECKPOINT):
        return "it leads to another checkpoint"
    if not merkle.verify_inclusion(
        merkle.leaf_hash(entry), proof.index, checkpoint.size, proof.hashes, checkpoint.root
    ):
        return "it does not lead to the checkpoint's root"
    return ""


def _check_summaries(archive: Archive, names: list[str], key: Ed25519PublicKey, report: BundleReport) -> None:
    plan = Plan()
    for name in names:
        plan.add(_json(archive, _RECORD.format(name)))
    paths = {digest: part.path for digest, part in plan.parts.items() if part.role is Role.EVIDENCE}
    for path in archive:
        if not path.startswith("vsa/"):
            continue
        digest = f"sha256:{path.removeprefix('vsa/').removesuffix('.sigstore.json')}"
        newest = plan.images[digest].newest[1] if digest in plan.images else ""
        try:
            told = signing.open_statement(archive.read(path), key)
            made = summarise(_json(archive, _RECORD.format(file_name(newest))), digest, paths) if newest else ""
            if told.get("predicateType") != VSA or isinstance(made, str) or told != made.statement:
                raise ValueError("says something else than the records")
        except (ValueError, KeyError, TypeError) as exc:
            report.find("SummaryInvalid", path, f"it {exc}")
            continue
        report.summaries += 1


def _blob(archive: Archive, digest: str) -> bytes | None:
    """Kept bytes by their digest, wherever they lie: what one record knows as evidence may be a policy to another."""
    hex_of = digest.removeprefix("sha256:")
    found = next((path for path in (place.format(hex_of) for place in _PLACES) if path in archive), None)
    return archive.read(found) if found is not None else None


def _missing(index: Mapping[str, Any]) -> frozenset[str]:
    """The digests of what the bundle says that it lacks."""
    listed = index.get("missing")
    found = (entry.get("digest") for entry in listed if isinstance(entry, dict)) if isinstance(listed, list) else ()
    return frozenset(digest for digest in found if isinstance(digest, str) and digest)


def _subject(statement: Mapping[str, Any]) -> str:
    try:
        ((digest),) = (one["digest"]["sha256"] for one in statement["subject"])
    except (KeyError, TypeError, ValueError):
        return ""
    return str(digest)


def _json(archive: Archive, path: str) -> Mapping[str, Any]:
    try:
        value = json.loads(archive.read(path))
    except (ValueError, RecursionError) as exc:
        raise InputError("BundleMalformed", f"{path} is no JSON") from exc
    if not isinstance(value, dict):
        raise InputError("BundleMalformed", f"{path} is no JSON object")
    return value
