"""From a leaf to the rows that queries read. What is here can be thrown away: `rebuild` makes it again from the leaves.

Reading a leaf (`project`) is pure and happens before a record is queued, so that a malformed one is refused by itself.
Writing rows (`write`) is idempotent and does not depend on the order of the leaves: what several leaves say together
(`verification`, `policy_version`) is kept with the earliest of their times.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Table, delete, select

from controller.errors import InputError, RecordingFailed
from controller.inventory import dialect, runs, tables, tracing
from controller.inventory.canonical import encoder
from controller.inventory.fields import count as _count
from controller.inventory.fields import moment as _instant
from controller.inventory.fields import optional as _optional
from controller.inventory.fields import required as _required
from controller.inventory.fields import text as _text
from controller.inventory.inserts import Inserting, keeping_earliest
from controller.inventory.proven import NOBODY, NOBODY_SIGNED, Proven, proven
from controller.inventory.retention.leaves import DROPPED, HOLD_SCHEMA, RETENTION_SCHEMA, carried_rows, hold_row
from controller.inventory.runs import Heard, Told
from controller.model.reference import Reference

SCHEMA = "assay.dev/decision/v1alpha1"
SIGHTING_SCHEMA = "assay.dev/sighting/v1alpha1"
READ_SCHEMA = "assay.dev/read/v1alpha1"
VERDICTS = frozenset({"Allow", "Deny"})
REFUSING = ("Violated", "Error")  # outcomes that are in the way of an image, under a policy that denies
FINDINGS = {"signatures": "signature", "attestations": "attestation", "rejections": "rejection"}
FIRST_POSITION = -(2**63)  # before any that a row can have, whoever wrote it
REBUILD_BATCH = 500  # leaves held in memory while rebuilding
FRESH = timedelta(hours=1)
MAX_REMEMBERED = 50_000  # rows that `Remembered` holds before it starts anew: bounds memory, never correctness
_OWN = {
    table.name: Inserting(table)
    for table in (
        *(tables.decision, tables.decision_flag, tables.decision_image, tables.evaluation, tables.exception_use),
        *(tables.manifest_signers, tables.watch_gap, tables.legal_hold, tables.read, tables.refusal),
    )
}
_SHARED = (
    *(tables.policy_version, tables.verification, tables.exception, tables.evidence, tables.trace),
    *(tables.image_manifest, tables.signer_set, tables.signer_member, tables.policy_use),
)
_KEEPING = {table.name: keeping_earliest(table) for table in _SHARED}
_KEYS = {table.name: tuple(c.name for c in table.primary_key) for table in _SHARED}

Row = dict[str, Any]
Writing = Callable[[Any], bytes]
Written = dict[tuple[str, ...], tuple[datetime, datetime]]  # a row's name and its two times


@dataclass(frozen=True, slots=True)
class Projection:
    """One leaf and the rows that follow from it. Its position and the time of recording come with the append."""

    id: str
    key: str
    verdict: str
    canonical: bytes
    decided_at: datetime
    blobs: tuple[str, ...]
    decision: Row | None = None
    images: tuple[Row, ...] = ()
    evaluations: tuple[Row, ...] = ()
    facts: tuple[Row, ...] = ()
    policies: tuple[Row, ...] = ()
    exceptions: tuple[Row, ...] = ()
    evidence: tuple[Row, ...] = ()
    traces: tuple[Row, ...] = ()
    uses: tuple[Row, ...] = ()
    flags: tuple[Row, ...] = ()
    manifests: tuple[Row, ...] = ()
    refusals: tuple[Row, ...] = ()
    policy_uses: tuple[Row, ...] = ()
    proven: Proven = NOBODY
    heard: Heard | None = None
    gap: Row | None = None
    hold: Row | None = None
    carried: tuple[tuple[Table, Row], ...] = ()
    read: Row | None = None


@dataclass(frozen=True, slots=True)
class Appended:
    """A leaf that lies in the database, ready to be projected."""

    position: int
    recorded_at: datetime
    projection: Projection


class Remembered:
    """Rows known to be committed with no later time than these, so that a warm admission need not write them again.

    Only what was committed goes in. Nothing in the program removes such rows, but for evidence: `is_fresh`.
    """

    def __init__(self) -> None:
        self._times: Written = {}

    def covers(self, key: tuple[str, ...], times: tuple[datetime, datetime]) -> bool:
        """Whether the database's row for this key is at least as early in both times."""
        known = self._times.get(key)
        return known is not None and known[0] <= times[0] and known[1] <= times[1]

    def is_fresh(self, key: tuple[str, ...], now: datetime) -> bool:
        """Whether a row was there within the last hour: of those that are dropped once nothing needs them."""
        known = self._times.get(key)
        return known is not None and abs(now - known[1]) < FRESH

    def add(self, written: Written) -> None:
        """Remember rows, now that they are committed."""
        if len(self._times) > MAX_REMEMBERED:
            self._times.clear()
        self._times.update(written)


def project(leaf: Mapping[str, Any]) -> Projection:
    """Read a leaf. Raises `RecordingFailed` (`LeafMalformed`) when it is none of a schema that is known."""
    try:
        if leaf["schema"] == SIGHTING_SCHEMA:
            return _project_sighting(leaf)
        if leaf["schema"] in {HOLD_SCHEMA, RETENTION_SCHEMA}:
            return _project_keeping(leaf)
        if leaf["schema"] == READ_SCHEMA:
            return _project_read(leaf)
        if leaf["schema"] != SCHEMA or leaf["verdict"] not in VERDICTS:
            raise ValueError("unknown schema or verdict")
        write_json = encoder(leaf)
        decision = _decision(leaf, write_json)
        signed = proven(leaf) if lets_in(decision) else NOBODY
        images = tuple(_image(position, item, signed) for position, item in enumerate(leaf["images"]))
        digests = [image["digest"] for image in images]
        evaluations = tuple(_evaluation(n, item, digests, write_json) for n, item in enumerate(leaf["evaluations"]))
        used = [
            (number, _exception(_text(leaf["cluster"]), entry))
            for number, item in enumerate(leaf["evaluations"])
            for entry in item.get("exceptions", ())
        ]
        policies = {tuple(row.values()): row for row in (_policy(item["policy"]) for item in leaf["evaluations"])}
        return Projection(
            id=_required(leaf["id"]),
            key=_required(leaf["decisionKey"]),
            verdict=leaf["verdict"],
            canonical=write_json(leaf),
            decided_at=_instant(leaf["decidedAt"]),
            blobs=tuple(_required(digest) for digest in leaf["blobs"]),
            decision=decision,
            images=images,
            evaluations=evaluations,
            refusals=tuple(_refusals(decision, evaluations)),
            policy_uses=_distinct(
                {"namespace": decision["namespace"], "hash": row["hash"]} for row in policies.values()
            ),
            facts=tuple(row for item in leaf["evaluations"] for row in _facts(item, digests, write_json)),
            policies=tuple(policies.values()),
            exceptions=_distinct(row for _, row in used),
            evidence=_distinct(row for item in leaf["evaluations"] for row in tracing.evidence(item, digests)),
            traces=_distinct(row for item in leaf["evaluations"] for row in tracing.traces(item, digests)),
            uses=tuple(_use(position, number, row) for position, (number, row) in enumerate(used)),
            flags=tuple({"flag": _required(flag), "namespace": decision["namespace"]} for flag in set(leaf["flags"])),
            manifests=tuple(_manifests(leaf["images"])),
            proven=signed,
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as exc:
        raise RecordingFailed(
            "LeafMalformed", f"a decision's leaf is malformed ({type(exc).__name__}: {str(exc)[:200]})"
        ) from exc


def _project_keeping(leaf: Mapping[str, Any]) -> Projection:
    """A leaf that says what must not be dropped, or what was: the facts that others rest on go on as this leaf's."""
    projection = _bare(leaf)
    if leaf["schema"] == HOLD_SCHEMA:
        return replace(projection, hold=hold_row(leaf))
    if leaf["verdict"] != DROPPED:
        raise ValueError("unknown fact about retention")
    return replace(projection, carried=tuple(carried_rows(leaf, {table.name: table for table in _SHARED})))


def _bare(leaf: Mapping[str, Any]) -> Projection:
    return Projection(
        id=_required(leaf["id"]),
        key=_required(leaf["decisionKey"]),
        verdict=_required(leaf["verdict"]),
        canonical=encoder(leaf)(leaf),
        decided_at=_instant(leaf["decidedAt"]),
        blobs=(),
    )


def lets_in(decision: Row) -> bool:
    """Whether this decision let a pod in: then runs of its containers may rest on it."""
    return decision["kind"] == "Pod" and decision["verdict"] == "Allow" and bool(decision["object_uid"])


def _manifests(images: Iterable[Mapping[str, Any]]) -> Iterable[Row]:
    """What the indexes among the images hold, each pair once."""
    held = {
        (image["digest"], _required(one)) for image in images if image["digest"] for one in image.get("manifests", ())
    }
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
            return replace(projection, heard=runs.heard(leaf))
    raise ValueError("unknown fact")


def _project_read(leaf: Mapping[str, Any]) -> Projection:
    """A leaf that says that somebody was shown something (`reads`)."""
    asked, answer = leaf["asked"], leaf["answer"]
    row: Row = {
        "id": _required(leaf["id"]),
        "cluster": _text(leaf["cluster"]),
        **{name: _text(leaf["reader"][name]) for name in ("username", "via")},
        **{name: _text(asked[name]) for name in ("verb", "resource", "namespace", "identity")},
        "parameters": encoder(leaf)(dict(asked["parameters"])).decode(),
        "status": _count(answer["status"]),
        "count": None if answer["count"] is None else _count(answer["count"]),
    }
    return Projection(
        id=row["id"],
        key=_required(leaf["decisionKey"]),
        verdict=_required(leaf["verdict"]),
        canonical=encoder(leaf)(leaf),
        decided_at=_instant(leaf["decidedAt"]),
        blobs=(),
        read=row,
    )


def write(
    connection: Connection, appended: Sequence[Appended], remembered: Remembered, *, alone: bool = False
) -> Written:
    """Write the rows of these leaves inside the caller's transaction. `alone`: nobody can append until that ends.

    Returns what `remembered` may add once that transaction is committed.
    """
    own: dict[str, list[Row]] = {name: [] for name in _OWN}
    firsts: dict[tuple[str, ...], tuple[Table, Row]] = {}
    for leaf in appended:
        projection = leaf.projection
        stamp = {"leaf": leaf.position, "decided_at": projection.decided_at, "recorded_at": leaf.recorded_at}
        for name, rows in _own_rows(projection):
            own[name].extend(row | stamp for row in rows)
        times = (projection.decided_at, leaf.recorded_at)
        for table, shared in zip(_SHARED, _shared_rows(projection), strict=True):
            for row in shared:
                key = (table.name, *(row[name] for name in _KEYS[table.name]))
                if not remembered.covers(key, times):
                    _keep_earliest(firsts, key, table, row | {"decided_at": times[0], "recorded_at": times[1]})
        for table, row in projection.carried:
            key = (table.name, *(row[name] for name in _KEYS[table.name]))
            _keep_earliest(firsts, key, table, dict(row))
    for name, wanted in own.items():
        if wanted:
            _OWN[name].run(connection, wanted)
    for table in _SHARED:
        # In one order everywhere: two replicas that meet the same new facts wait for each other, never in a circle.
        rows = [row for key, (owner, row) in sorted(firsts.items(), key=lambda item: item[0]) if owner is table]
        if rows:
            _KEEPING[table.name].run(connection, rows)
    told = [Told(leaf.position, leaf.recorded_at, leaf.projection.heard) for leaf in appended if leaf.projection.heard]
    decisions = [leaf.projection.decision for leaf in appended if leaf.projection.decision is not None]
    runs.follow(connection, told, {row["object_uid"] for row in decisions if lets_in(row)}, alone=alone)
    return {key: (row["decided_at"], row["recorded_at"]) for key, (_, row) in firsts.items()}


def shared_rows(projection: Projection) -> Iterator[tuple[Table, Row]]:
    """The rows, without their times, that other leaves may make as well."""
    for table, rows in zip(_SHARED, _shared_rows(projection), strict=True):
        yield from ((table, row) for row in rows)


def _shared_rows(projection: Projection) -> tuple[Sequence[Row], ...]:
    """The rows that other leaves may make as well, in the order of `_SHARED`."""
    signed = projection.proven
    return (
        *(projection.policies, projection.facts, projection.exceptions, projection.evidence, projection.traces),
        *(projection.manifests, signed.sets, signed.members, projection.policy_uses),
    )


def _own_rows(projection: Projection) -> Iterator[tuple[str, Sequence[Row]]]:
    """The rows that follow from this leaf alone, by table."""
    single = {
        "decision": projection.decision,
        "watch_gap": projection.gap,
        "legal_hold": projection.hold,
        "read": projection.read,
    }
    yield from ((name, (row,)) for name, row in single.items() if row is not None)
    yield "decision_image", projection.images
    yield "evaluation", projection.evaluations
    yield "exception_use", projection.uses
    yield "decision_flag", projection.flags
    yield "manifest_signers", projection.proven.apart
    yield "refusal", projection.refusals


def rebuild(connection: Connection, *, unreadable: Callable[[str], None] | None = None) -> int:
    """Throw all projections away and make them again from the leaves alone, inside the caller's transaction.

    Nobody may append meanwhile. Returns the number of leaves. One that cannot be read raises `RecordingFailed`
    (`LeafMalformed`), or is left out if `unreadable` is to be told of it.
    """
    for table in tables.PROJECTIONS:
        connection.execute(delete(table))
    count = 0
    nothing = Remembered()
    for batch in stored(connection, unreadable=unreadable):
        write(connection, batch, nothing, alone=True)
        count += len(batch)
    return count


def stored(connection: Connection, *, unreadable: Callable[[str], None] | None = None) -> Iterator[list[Appended]]:
    """All leaves, in batches, in the order of their positions.

    `unreadable` is told the id of each that cannot be read, which is then left out; without it that raises
    `RecordingFailed` (`LeafMalformed`).
    """
    last = FIRST_POSITION
    leaf = tables.leaf
    while True:
        columns = dialect.stored(connection, (leaf.c.position, leaf.c.id, leaf.c.recorded_at, leaf.c.canonical))
        rows = connection.execute(
            select(*columns).where(leaf.c.position > last).order_by(leaf.c.position).limit(REBUILD_BATCH)
        ).all()
        if not rows:
            return
        last = rows[-1].position
        batch = []
        for row in rows:
            try:
                batch.append(Appended(row.position, _moment(row.recorded_at), project(_read(row.canonical))))
            except RecordingFailed:
                if unreadable is None:
                    raise
                unreadable(str(row.id))
        yield batch


def _read(canonical: Any) -> Mapping[str, Any]:
    try:
        leaf: Mapping[str, Any] = json.loads(canonical)
    except (ValueError, TypeError, RecursionError) as exc:
        raise RecordingFailed("LeafMalformed", "a decision's leaf is no JSON") from exc
    return leaf


def _moment(stored: Any) -> datetime:
    try:
        return stored if isinstance(stored, datetime) else _instant(stored)
    except (ValueError, TypeError, OverflowError) as exc:
        raise RecordingFailed("LeafMalformed", "a leaf has no time at which it was recorded") from exc


def _keep_earliest(
    firsts: dict[tuple[str, ...], tuple[Table, Row]], key: tuple[str, ...], table: Table, row: Row
) -> None:
    known = firsts.get(key)
    if known is not None:
        row["decided_at"] = min(row["decided_at"], known[1]["decided_at"])
        row["recorded_at"] = min(row["recorded_at"], known[1]["recorded_at"])
    firsts[key] = (table, row)


def _decision(leaf: Mapping[str, Any], write_json: Writing) -> Row:
    request, subject = leaf["request"], leaf["object"]
    return {
        "id": leaf["id"],
        "cluster": _text(leaf["cluster"]),
        "verdict": leaf["verdict"],
        "flags": write_json(leaf["flags"]).decode(),
        "reasons": write_json(_reason_codes(leaf)).decode(),
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
    for field, finding in FINDINGS.items():
        for entry in item[field]:
            signer = entry.get("signer") or {}
            detail = write_json({**entry, "child": item["child"]} if "child" in item else entry)
            name = "\n".join((digest, finding, *policy.values())).encode() + b"\n" + detail
            yield {
                "fact": sha256(name).hexdigest(),
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
