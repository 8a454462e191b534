"""What follows from a leaf: the rows that queries read. Pure; a malformed leaf is refused by itself, before it waits.

Most decisions are about images that were judged before, and differ in the pod alone. So what follows from the judgement
(images, evaluations, and what they rest on) may be read once and taken over (`Projector`): else reading and encoding a
leaf takes longer than writing it down.
"""

from __future__ import annotations

import marshal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Table

from controller.errors import InputError, RecordingFailed
from controller.inventory import tables
from controller.inventory.canonical import canonical, encoder, joined
from controller.inventory.configurations import kept
from controller.inventory.recording import runs, tracing
from controller.inventory.recording.claims import claims
from controller.inventory.recording.fields import count as _count
from controller.inventory.recording.fields import moment as _instant
from controller.inventory.recording.fields import optional as _optional
from controller.inventory.recording.fields import required as _required
from controller.inventory.recording.fields import text as _text
from controller.inventory.recording.proven import NOBODY, NOBODY_SIGNED, Proven, proven
from controller.inventory.recording.runs import Heard
from controller.inventory.retention.leaves import DROPPED, HOLD_SCHEMA, RETENTION_SCHEMA, carried_rows, hold_row
from controller.model.reference import Reference

SCHEMA = "assay.dev/decision/v1alpha1"
SIGHTING_SCHEMA = "assay.dev/sighting/v1alpha1"
READ_SCHEMA = "assay.dev/read/v1alpha1"
VERDICTS = frozenset({"Allow", "Deny"})
REFUSING = ("Violated", "Error")  # outcomes that are in the way of an image, under a policy that denies
FINDINGS = {"signatures": "signature", "attestations": "attestation", "rejections": "rejection"}
MAX_JUDGEMENTS = 16 * 1024 * 1024  # bytes of judgements that are kept: some 400 of three policies, 1,500 of one
ROW_BYTES = 800  # that a row takes in memory, with its name and its values (counted)
SHARED = (
    *(tables.policy_version, tables.verification, tables.exception, tables.evidence, tables.trace),
    tables.claim,
    *(tables.image_manifest, tables.signer_set, tables.signer_member, tables.policy_use),
    *(tables.presence, tables.refused_image),
)
"""The tables whose rows several leaves say together."""
KEYS = {table.name: tuple(column.name for column in table.primary_key) for table in SHARED}

Row = dict[str, Any]
Writing = Callable[[Any], bytes]


class Shared(NamedTuple):
    """A row, without its times, that other leaves may make as well, and its name among all of these."""

    table: Table
    key: tuple[str, ...]
    row: Row


@dataclass(frozen=True, slots=True)
class Projection:
    """One leaf and the rows that follow from it. Its position and the time of recording come with the append.

    `shared` are in the order of `SHARED`; the others follow from this leaf alone. `judgement` names what its images and
    evaluations make (`shared` is among it), empty where it is not known.
    """

    id: str
    key: str
    verdict: str
    canonical: bytes
    decided_at: datetime
    blobs: tuple[str, ...]
    decision: Row | None = None
    images: tuple[Row, ...] = ()
    evaluations: tuple[Row, ...] = ()
    uses: tuple[Row, ...] = ()
    flags: tuple[Row, ...] = ()
    refusals: tuple[Row, ...] = ()
    apart: tuple[Row, ...] = ()
    shared: tuple[Shared, ...] = ()
    heard: Heard | None = None
    gap: Row | None = None
    hold: Row | None = None
    carried: tuple[tuple[Table, Row], ...] = ()
    read: Row | None = None
    judgement: bytes = field(default=b"", compare=False)

    def of(self, table: Table) -> tuple[Row, ...]:
        """Its shared rows of one table."""
        return tuple(item.row for item in self.shared if item.table is table)


@dataclass(frozen=True, slots=True)
class _Judgement:
    """What decisions share that judged the same images alike, in one namespace of a cluster.

    `name` is a hash of all that it follows from, empty where that was not asked for; `encoded` has the leaf's members
    that it was read from, in canonical form.
    """

    name: bytes
    encoded: Mapping[str, bytes]
    blobs: tuple[str, ...]
    reasons: str
    images: tuple[Row, ...]
    evaluations: tuple[Row, ...]
    uses: tuple[Row, ...]
    refusals: tuple[Row, ...]
    apart: tuple[Row, ...]
    shared: tuple[Shared, ...]


def project(leaf: Mapping[str, Any]) -> Projection:
    """Read a leaf. Raises `RecordingFailed` (`LeafMalformed`) when it is none of a schema that is known."""
    return _project(leaf, _judgement)


class Projector:
    """Reads leaves as `project` does, and remembers judgements. May be used by several threads.

    `max_bytes` bounds what it remembers; the oldest goes first.
    """

    def __init__(self, max_bytes: int = MAX_JUDGEMENTS) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: dict[bytes, _Judgement] = {}
        self._changing = threading.Lock()

    def project(self, leaf: Mapping[str, Any]) -> Projection:
        """See `project`."""
        return _project(leaf, self._judgement)

    def _judgement(self, leaf: Mapping[str, Any], decision: Row) -> _Judgement:
        rests_on = (leaf["images"], leaf["evaluations"], leaf["blobs"])
        where = (decision["cluster"], decision["namespace"], lets_in(decision))
        try:
            # By every value and its type, in 10 µs. Version 0 writes alike what is alike, whoever else refers to it.
            name = sha256(marshal.dumps((*rests_on, *where), 0)).digest()
        except ValueError:  # other types than a leaf is made of, or too deep: `_judgement` says what is to be said
            return _judgement(leaf, decision)
        found = self._known.get(name)
        if found is None:
            found = replace(_judgement(leaf, decision), name=name)
            with self._changing:
                self._keep(found)
        return found

    def _keep(self, judgement: _Judgement) -> None:
        if judgement.name in self._known:
            return
        self._known[judgement.name] = judgement
        self._bytes += _size(judgement)
        while self._bytes > self._max_bytes:
            self._bytes -= _size(self._known.pop(next(iter(self._known))))


def _size(judgement: _Judgement) -> int:
    """Bytes in memory: most of them are the rows'."""
    own = (judgement.images, judgement.evaluations, judgement.uses, judgement.refusals, judgement.apart)
    return sum(map(len, judgement.encoded.values())) + ROW_BYTES * sum(map(len, (*own, judgement.shared)))


def _project(leaf: Mapping[str, Any], judge: Callable[[Mapping[str, Any], Row], _Judgement]) -> Projection:
    try:
        if leaf["schema"] == SIGHTING_SCHEMA:
            return _project_sighting(leaf)
        if leaf["schema"] in {HOLD_SCHEMA, RETENTION_SCHEMA}:
            return _project_keeping(leaf)
        if leaf["schema"] == READ_SCHEMA:
            return _project_read(leaf)
        if leaf["schema"] != SCHEMA or leaf["verdict"] not in VERDICTS:
            raise ValueError("unknown schema or verdict")
        decision = _decision(leaf)
        judgement = judge(leaf, decision)
        return Projection(
            id=_required(leaf["id"]),
            key=_required(leaf["decisionKey"]),
            verdict=leaf["verdict"],
            canonical=joined(leaf, judgement.encoded),
            decided_at=_instant(leaf["decidedAt"]),
            blobs=judgement.blobs,
            decision=decision | {"reasons": judgement.reasons},
            images=judgement.images,
            evaluations=judgement.evaluations,
            uses=judgement.uses,
            flags=tuple({"flag": _required(flag), "namespace": decision["namespace"]} for flag in set(leaf["flags"])),
            refusals=judgement.refusals,
            apart=judgement.apart,
            shared=judgement.shared,
            judgement=judgement.name,
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as exc:
        # A field that is missing is named; what stands in one that is wrong is not.
        field = f": {str(exc)[:200]}" if isinstance(exc, KeyError) else ""
        raise RecordingFailed("LeafMalformed", f"a decision's leaf is malformed ({type(exc).__name__}{field})") from exc


def _judgement(leaf: Mapping[str, Any], decision: Row) -> _Judgement:
    """What follows from a decision's images and evaluations."""
    listed = {name: leaf[name] for name in ("images", "evaluations", "blobs")}
    write_json = encoder(listed)
    signed = proven(leaf) if lets_in(decision) else NOBODY
    images = tuple(_image(position, item, signed) for position, item in enumerate(leaf["images"]))
    digests = [image["digest"] for image in images]
    evaluations = tuple(_evaluation(n, item, digests, write_json) for n, item in enumerate(leaf["evaluations"]))
    used = [
        (number, _exception(decision["cluster"], entry))
        for number, item in enumerate(leaf["evaluations"])
        for entry in item.get("exceptions", ())
    ]
    policies = {tuple(row.values()): row for row in (_policy(item["policy"]) for item in leaf["evaluations"])}
    evidence = _distinct(row for item in leaf["evaluations"] for row in tracing.evidence(item, digests))
    claimed = _distinct(claims(leaf, digests, decision["namespace"]))
    refusals = tuple(_refusals(decision, evaluations))
    shared = (
        tuple(policies.values()),
        tuple(row for item in leaf["evaluations"] for row in _facts(item, digests, write_json)),
        _distinct(row for _, row in used),
        evidence,
        _distinct(row for item in leaf["evaluations"] for row in tracing.traces(item, digests)),
        claimed,
        tuple(_manifests(leaf["images"], (*evidence, *claimed))),
        signed.sets,
        signed.members,
        _distinct({"namespace": decision["namespace"], "hash": row["hash"]} for row in policies.values()),
        ({name: decision[name] for name in ("namespace", "cluster")},),
        _distinct({name: row[name] for name in KEYS[tables.refused_image.name]} for row in refusals),
    )
    return _Judgement(
        name=b"",
        encoded={name: write_json(value) for name, value in listed.items()},
        blobs=tuple(_required(digest) for digest in kept(leaf)),
        reasons=write_json(_reason_codes(leaf)).decode(),
        images=images,
        evaluations=evaluations,
        uses=tuple(_use(position, number, row) for position, (number, row) in enumerate(used)),
        refusals=refusals,
        apart=signed.apart,
        shared=tuple(
            Shared(table, key_of(table, row), row) for table, rows in zip(SHARED, shared, strict=True) for row in rows
        ),
    )


def key_of(table: Table, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The name of a shared row among all of these."""
    return (table.name, *(row[name] for name in KEYS[table.name]))


def _project_keeping(leaf: Mapping[str, Any]) -> Projection:
    """A leaf that says what must not be dropped, or what was: the facts that others rest on go on as this leaf's."""
    projection = _bare(leaf)
    if leaf["schema"] == HOLD_SCHEMA:
        return replace(projection, hold=hold_row(leaf))
    if leaf["verdict"] != DROPPED:
        raise ValueError("unknown fact about retention")
    return replace(projection, carried=tuple(carried_rows(leaf, {table.name: table for table in SHARED})))


def _bare(leaf: Mapping[str, Any]) -> Projection:
    return Projection(
        id=_required(leaf["id"]),
        key=_required(leaf["decisionKey"]),
        verdict=_required(leaf["verdict"]),
        canonical=canonical(leaf),
        decided_at=_instant(leaf["decidedAt"]),
        blobs=(),
    )


def lets_in(decision: Row) -> bool:
    """Whether this decision let a pod in: then runs of its containers may rest on it."""
    return decision["kind"] == "Pod" and decision["verdict"] == "Allow" and bool(decision["object_uid"])


def _manifests(images: Iterable[Mapping[str, Any]], found: Iterable[Row]) -> Iterable[Row]:
    """What the indexes among the images hold, each pair once: what is listed, which of a large index is not all, and
    of what something was found as the index's."""
    held = {
        (image["digest"], _required(one)) for image in images if image["digest"] for one in image.get("manifests", ())
    }
    held |= {(row["digest"], row["child"]) for row in found if row["child"]}
    return ({"digest": digest, "manifest": manifest} for digest, manifest in sorted(held))


def _refusals(decision: Row, evaluations: Iterable[Row]) -> Iterable[Row]:
    """The evaluations that stand in the way of an image whose digest is known."""
    where = {name: decision[name] for name in ("cluster", "namespace")}
    names = ("position", "digest", "policy_kind", "policy_namespace", "policy_name", "policy_hash")
    for row in evaluations:
        if row["digest"] and row["outcome"] in REFUSING and '"Deny"' in row["actions"]:
            yield where | {name: row[name] for name in names}


def _project_sighting(leaf: Mapping[str, Any]) -> Projection:
    """A leaf that says what was seen running: that a run started, that it ended, or when nobody watched."""
    projection = _bare(leaf)
    cluster = _text(leaf["cluster"])
    match leaf["verdict"]:
        case "Gap":
            gap = {"cluster": cluster, **{name: _instant(leaf["gap"][name]) for name in ("since", "until")}}
            return replace(projection, gap=gap)
        case "Started" | "Ended":
            heard = runs.heard(leaf)
            where = {name: heard.facts[name] for name in ("namespace", "cluster")}
            shared = Shared(tables.presence, key_of(tables.presence, where), where)
            return replace(projection, heard=heard, shared=(shared,))
    raise ValueError("unknown fact")


def _project_read(leaf: Mapping[str, Any]) -> Projection:
    """A leaf that says that somebody was shown something (`reads`)."""
    asked, answer = leaf["asked"], leaf["answer"]
    row: Row = {
        "id": _required(leaf["id"]),
        "cluster": _text(leaf["cluster"]),
        **{name: _text(leaf["reader"][name]) for name in ("username", "via")},
        **{name: _text(asked[name]) for name in ("verb", "resource", "namespace", "identity")},
        "parameters": canonical(dict(asked["parameters"])).decode(),
        "status": _count(answer["status"]),
        "count": None if answer["count"] is None else _count(answer["count"]),
    }
    return Projection(
        id=row["id"],
        key=_required(leaf["decisionKey"]),
        verdict=_required(leaf["verdict"]),
        canonical=canonical(leaf),
        decided_at=_instant(leaf["decidedAt"]),
        blobs=(),
        read=row,
    )


def _decision(leaf: Mapping[str, Any]) -> Row:
    """The decision's own row, but for the reasons."""
    request, subject = leaf["request"], leaf["object"]
    return {
        "id": leaf["id"],
        "cluster": _text(leaf["cluster"]),
        "verdict": leaf["verdict"],
        "flags": canonical(leaf["flags"]).decode(),
        "message": _text(leaf["message"]),
        "operation": _text(request["operation"]),
        "kind": _text(subject["kind"]),
        "namespace": _text(subject["namespace"]),
        "name": _text(subject["name"]),
        "object_uid": _text(subject["uid"]),
        "object_hash": _text(subject["hash"]),
        "service_account": _text(subject["serviceAccount"]),
        "username": _text(request["user"]["username"]),
        "latency_us": _count(leaf["latencyUs"]),
    }


def _image(position: int, item: Mapping[str, Any], signed: Proven) -> Row:
    text = _text(item["reference"])
    try:
        reference = Reference.parse(text)
    except InputError:  # a decision about an image that no one can read is a decision all the same
        name, tag = "", ""
    else:
        name, tag = reference.name, reference.tag or ""
    return {
        "position": position,
        "kind": _text(item["kind"]),
        "container": _text(item["container"]),
        "field": _text(item["field"]),
        "reference": text,
        "repository": _text(item["repository"]) or name,
        "tag": tag,
        "digest": _optional(item["digest"]),
        "media_type": _optional(item["mediaType"]),
        "manifests": len(item.get("manifests", ())),
        "signers": signed.images[position] if signed.images else NOBODY_SIGNED,
    }


def _evaluation(position: int, item: Mapping[str, Any], digests: Sequence[str | None], write_json: Writing) -> Row:
    policy = _policy(item["policy"])
    return {
        "position": position,
        "image": int(item["image"]),
        "digest": digests[item["image"]],
        **{f"policy_{name}": value for name, value in policy.items()},
        "actions": write_json(item["actions"]).decode(),
        "outcome": _required(item["outcome"]),
        "error_kind": _optional(item["errorKind"]),
        "reasons": write_json(item["reasons"]).decode(),
    }


def _facts(item: Mapping[str, Any], digests: Sequence[str | None], write_json: Writing) -> Iterable[Row]:
    digest = digests[item["image"]]
    if digest is None:  # nothing can be found about an image that was never resolved
        return
    policy = {f"policy_{name}": value for name, value in _policy(item["policy"]).items()}
    for name, finding in FINDINGS.items():
        for entry in item[name]:
            signer = entry.get("signer") or {}
            detail = write_json({**entry, "child": item["child"]} if "child" in item else entry)
            fact = "\n".join((digest, finding, *policy.values())).encode() + b"\n" + detail
            yield {
                "fact": sha256(fact).hexdigest(),
                "digest": digest,
                "finding": finding,
                **policy,
                "artifact": _optional(entry.get("artifact")),
                "authority": _optional(entry.get("authority")),
                "signer_key": _optional(signer.get("key")),
                "signer_issuer": _optional(signer.get("issuer")),
                "signer_subject": _optional(signer.get("subject")),
                "predicate_type": _optional(entry.get("predicateType")),
                "code": _optional(entry.get("code")),
                "detail": detail.decode(),
                "child": _optional(item["child"]["digest"]) if "child" in item else None,
                "signed_at": _instant(entry["signedAt"]) if entry.get("signedAt") else None,
            }


def _distinct(rows: Iterable[Row]) -> tuple[Row, ...]:
    return tuple({tuple(row.values()): row for row in rows}.values())


def _exception(cluster: str, entry: Mapping[str, Any]) -> Row:
    return {
        "cluster": cluster,
        "name": _required(entry["name"]),
        "hash": _required(entry["hash"]),
        "approval": "claimed" if entry["claimed"] else "stamped",
        "approver": _required(entry["approver"]),
        "approved_at": _instant(entry["approvedAt"]) if entry["approvedAt"] is not None else None,
        "reason": _required(entry["reason"]),
        "expires": _instant(entry["expires"]),
        "break_glass": bool(entry["breakGlass"]),
    }


def _use(position: int, evaluation: int, exception: Row) -> Row:
    names = ("cluster", "name", "hash", "approval")
    return {"position": position, "evaluation": evaluation, **{name: exception[name] for name in names}}


def _policy(policy: Mapping[str, Any]) -> Row:
    return {
        "kind": _text(policy["kind"]),
        "namespace": _text(policy["namespace"]),
        "name": _text(policy["name"]),
        "hash": _text(policy["hash"]),
    }


def _reason_codes(leaf: Mapping[str, Any]) -> list[str]:
    return sorted({reason["code"] for evaluation in leaf["evaluations"] for reason in evaluation["reasons"]})
