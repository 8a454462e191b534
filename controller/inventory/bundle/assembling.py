"""Puts a bundle together: file after file, the index and the signature last, with nothing held that is not needed.

The order is fixed and each file follows from the content alone, so that the same content gives the same bytes; only the
time at which the bundle was made is its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controller.errors import InputError, Unacceptable
from controller.inventory.bundle import cosign, keys, readme
from controller.inventory.bundle.archive import File
from controller.inventory.bundle.cosign import Material
from controller.inventory.bundle.parts import Part, Role
from controller.inventory.bundle.plan import Plan, Proven, file_name
from controller.inventory.bundle.signing import ExportKey, statement
from controller.inventory.bundle.source import Circumstances, Source
from controller.inventory.bundle.summary import Summary, summarise
from controller.inventory.canonical import canonical
from controller.inventory.tables import instant

SCHEMA = "assay.dev/evidence-bundle/v1alpha1"
PREDICATE = "https://assay.dev/evidence-bundle/v1alpha1"
SUMS, SIGNATURE, INDEX, README = "SHA256SUMS", "SHA256SUMS.sigstore.json", "index.json", "README.md"
CHECKPOINT, LEDGER_KEY, LEDGER_PEM, EXPORT_KEY = "checkpoint", "keys/ledger.vkey", "keys/ledger.pub", "keys/export.pub"
SBOMS = "sboms.json"
MAX_BYTES = 2 * 1024**3  # of kept bytes in one bundle


def assemble(source: Source, circumstances: Circumstances, key: ExportKey) -> Iterator[File]:
    """The files of the bundle, read from the source as they are asked for; a first look at its records is taken now.

    Raises `InputError` (`ExportTooLarge`).
    """
    plan = Plan()
    for leaf in source.leaves():
        plan.add(leaf)
    weight = source.weigh(plan.parts)
    if weight > MAX_BYTES:
        raise InputError(
            "ExportTooLarge", f"{weight} bytes of evidence belong to it, more than {MAX_BYTES} (bound: MAX_BYTES)"
        )
    return _Assembly(source, circumstances, key, plan).files()


class _Assembly:
    """One bundle in the making."""

    def __init__(self, source: Source, circumstances: Circumstances, key: ExportKey, plan: Plan) -> None:
        self._source = source
        self._about = circumstances
        self._key = key
        self._plan = plan
        self._sums: list[tuple[str, str, int]] = []
        self._records: list[dict[str, Any]] = []
        self._missing: list[dict[str, str]] = []
        self._summaries: dict[str, tuple[str, str]] = {}  # by image: file and result, or empty and why there is none
        self._evidence: list[dict[str, Any]] = []
        self._keys: dict[str, bytes] = {}
        self._roots: dict[str, bytes] = {}
        self._policies: dict[str, bytes] = {}
        self._present: set[str] = set()

    def files(self) -> Iterator[File]:
        """Everything, in order."""
        for file in self._content():
            self._sums.append((file.path, file.sha256, len(file.content)))
            yield file
        sums = File(SUMS, "".join(f"{digest}  {path}\n" for path, digest, _ in sorted(self._sums)).encode())
        yield sums
        about = {**self._circumstances(), "files": len(self._sums), "bytes": sum(size for *_, size in self._sums)}
        yield File(SIGNATURE, self._key.sign(statement(SUMS, sums.sha256, predicate_type=PREDICATE, predicate=about)))

    def _content(self) -> Iterator[File]:
        yield from self._ledger()
        yield from self._kept_records()
        for role in Role:
            yield from self._parts(role)
        yield from self._public_keys()
        for digest in self._plan.images:  # what only ran
            index = self._plan.children.get(digest)
            why = f"it ran as a manifest of {index}" if index else "no decision about it is in the bundle"
            self._summaries.setdefault(digest, ("", why))
        self._judge_evidence()
        yield File(SBOMS, _json({"schema": SCHEMA, "items": self._sboms()}))
        yield File(INDEX, _json(self._index()))
        yield File(README, self._readme().encode())

    def _ledger(self) -> Iterator[File]:
        if self._source.checkpoint is not None:
            yield File(CHECKPOINT, self._source.checkpoint.encode())
        if self._about.ledger_key is not None:
            public = Ed25519PublicKey.from_public_bytes(self._about.ledger_key.public)
            yield File(LEDGER_KEY, f"{self._about.ledger_key}\n".encode())
            yield File(LEDGER_PEM, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def _kept_records(self) -> Iterator[File]:
        wanted = {image.newest[1]: set[str]() for image in self._plan.images.values()}
        for digest, image in self._plan.images.items():
            wanted[image.newest[1]].add(digest)
        paths = {digest: part.path for digest, part in self._plan.parts.items() if part.role is Role.EVIDENCE}
        sets: dict[str, bytes] = {}
        for record in self._source.records():
            name = file_name(record.id)
            yield File(f"records/{name}.json", record.canonical)
            proven = record.entry is not None and record.proof is not None
            if record.entry is not None and record.proof is not None:
                yield File(f"ledger/{name}.entry.json", record.entry)
                yield File(f"ledger/{name}.tlog-proof", record.proof.text().encode())
            leaf = json.loads(record.canonical)
            self._records.append(_record(leaf, name, record.proof.index if proven and record.proof else None))
            for digest in sorted(wanted.get(record.id, ())):
                made = summarise(leaf, digest, paths)
                yield from self._summary(digest, made, sets)

    def _summary(self, digest: str, made: Summary | str, sets: dict[str, bytes]) -> Iterator[File]:
        if isinstance(made, str):
            self._summaries[digest] = ("", made)
            return
        if made.policies_path not in sets:
            sets[made.policies_path] = made.policies
            yield File(made.policies_path, made.policies)
        path = f"vsa/{digest.removeprefix('sha256:')}.sigstore.json"
        self._summaries[digest] = (path, made.result)
        yield File(path, self._key.sign(made.statement))

    def _parts(self, role: Role) -> Iterator[File]:
        for part in sorted(self._plan.parts.values(), key=lambda part: part.path):
            if part.role is not role:
                continue
            content, why = self._read(part.digest)
            if content is None:
                self._missing.append({"digest": part.digest, "role": str(part.role), "code": why})
                continue
            self._present.add(part.digest)
            self._remember(part, content)
            yield File(part.path, content)

    def _read(self, digest: str) -> tuple[bytes | None, str]:
        """The bytes, or the code of why they are not there."""
        try:
            content = self._source.blob(digest)
        except Unacceptable as exc:
            return None, exc.code
        return content, "" if content is not None else "BytesMissing"

    def _remember(self, part: Part, content: bytes) -> None:
        """What later files need of this one. Policies, trust roots and keys are small and few."""
        if part.role is Role.POLICY:
            self._policies[part.digest] = content
        if part.role is Role.TRUST_ROOT:
            self._roots[part.digest] = content
        if part.role is Role.KEY:
            self._keys[part.digest] = content
        if part.role in {Role.POLICY, Role.TRUST_ROOT}:
            self._keys.update((keys.fingerprint(der), der) for der in keys.keys_in(content))

    def _public_keys(self) -> Iterator[File]:
        yield File(EXPORT_KEY, self._key.pem())
        wanted = {proven.proof["signer"]["key"] for proven in self._plan.proven.values()} - {""}
        for fingerprint in sorted(wanted & self._keys.keys()):
            try:
                yield File(_key_path(fingerprint), keys.pem_of(self._keys[fingerprint]))
            except ValueError:
                del self._keys[fingerprint]

    def _judge_evidence(self) -> None:
        """For each proof the command that makes it again."""
        for _, proven in sorted(self._plan.proven.items()):
            part = self._plan.parts.get(proven.artifact)
            entry = _evidence(proven, part.path if part is not None and proven.artifact in self._present else "")
            if entry["file"]:
                content = self._read(proven.artifact)[0] or b""
                line, why = cosign.command(proven, entry["file"], content, self._material(proven))
                entry |= {"command": line} if line else {"noCommand": why}
            else:
                entry["noCommand"] = "its bytes are not kept"
            self._evidence.append(entry)

    def _material(self, proven: Proven) -> Material:
        signer = proven.proof["signer"]["key"]
        name = keys.trust_root_of(self._policies.get(proven.policy, b""), proven.proof["authority"])
        root = proven.trust_roots.get(name, "")
        part = self._plan.parts.get(root)
        return Material(
            key=self._keys.get(signer),
            key_path=_key_path(signer),
            trust_root=self._roots.get(root),
            trust_root_path=part.path if part is not None else "",
        )

    def _sboms(self) -> list[dict[str, Any]]:
        chosen = [proven for _, proven in sorted(self._plan.proven.items()) if proven.is_sbom]
        return [
            {
                "image": proven.image,
                "predicateType": proven.predicate_type,
                "statement": proven.proof.get("statement"),
                "artifact": proven.artifact,
                "file": self._plan.parts[proven.artifact].path if proven.artifact in self._present else None,
                "signer": proven.proof["signer"],
            }
            for proven in chosen
        ]

    def _index(self) -> Mapping[str, Any]:
        return {
            "schema": SCHEMA,
            **self._circumstances(),
            "records": self._records,
            "images": [
                {
                    "digest": digest,
                    "references": sorted(image.references),
                    "decisions": image.decisions,
                    "runs": image.runs,
                    **_told(*self._summaries[digest]),
                }
                for digest, image in sorted(self._plan.images.items())
            ],
            "evidence": self._evidence,
            "parts": [
                {"digest": p.digest, "role": str(p.role), "mediaType": p.media_type, "file": p.path}
                for p in sorted(self._plan.parts.values(), key=lambda part: part.path)
                if p.digest in self._present
            ],
            "missing": self._missing,
        }

    def _circumstances(self) -> dict[str, Any]:
        chosen = self._about.selection
        told = {
            **{name: getattr(chosen, name) for name in ("digest", "run", "record", "namespace")},
            "since": instant(chosen.since) if chosen.since else None,
            "until": instant(chosen.until) if chosen.until else None,
        }
        return {
            "selection": {name: value for name, value in told.items() if value is not None},
            "knownAt": instant(self._about.known_at),
            "madeAt": instant(self._about.made_at),
            "madeBy": {"assay": self._about.version},
        }

    def _readme(self) -> str:
        waiting = sum(record["index"] is None for record in self._records)
        return readme.text(
            readme.Facts(
                selection={k: str(v) for k, v in self._circumstances()["selection"].items()},
                known_at=instant(self._about.known_at),
                made_at=instant(self._about.made_at),
                records=len(self._records),
                waiting=waiting,
                has_checkpoint=self._source.checkpoint is not None,
                ledger=self._about.ledger_key.name if self._about.ledger_key is not None else "",
                evidence=[(e["image"], e["command"]) for e in self._evidence if "command" in e],
                without=[(e["file"] or e["artifact"], e["noCommand"]) for e in self._evidence if "noCommand" in e],
                summaries=[(digest, *self._summaries[digest]) for digest in sorted(self._summaries)],
                missing=len(self._missing),
            )
        )


def _record(leaf: Mapping[str, Any], name: str, index: int | None) -> dict[str, Any]:
    found = {"id": leaf["id"], "schema": leaf["schema"], "verdict": leaf["verdict"], "at": leaf["decidedAt"]}
    found |= {"file": f"records/{name}.json", "index": index}
    if index is not None:
        found |= {"entry": f"ledger/{name}.entry.json", "proof": f"ledger/{name}.tlog-proof"}
    return found


def _evidence(proven: Proven, path: str) -> dict[str, Any]:
    return {
        "image": proven.image,
        "artifact": proven.artifact,
        "file": path or None,
        "predicateType": proven.predicate_type or None,
        "signer": proven.proof["signer"],
        "logEntry": proven.proof["logEntry"],
    }


def _told(path: str, word: str) -> dict[str, str]:
    return {"summary": path, "result": word} if path else {"noSummary": word}


def _key_path(fingerprint: str) -> str:
    return f"keys/{fingerprint.removeprefix('sha256:')}.pub"


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(json.loads(canonical(value)), indent=1, ensure_ascii=False).encode() + b"\n"
