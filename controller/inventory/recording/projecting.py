"""What follows from a leaf: the rows that queries read. Pure; a malformed leaf is refused by itself, before it waits.

Most decisions are about images that were judged before, and differ in the pod alone. So what follows from the judgement
(images, evaluations, and what they rest on) may be read once and taken over (`Projector`): else reading and encoding a
leaf takes longer than writing it down.
"""

from __future__ import annotations

import marshal
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from controller.errors import RecordingFailed
from controller.inventory import tables
from controller.inventory.canonical import canonical, joined
from controller.inventory.recording import runs
from controller.inventory.recording.fields import count as _count
from controller.inventory.recording.fields import moment as _instant
from controller.inventory.recording.fields import required as _required
from controller.inventory.recording.fields import text as _text
from controller.inventory.recording.judgements import Judgement, exception_row, judgement_of, lets_in
from controller.inventory.recording.rows import SHARED, Projection, Row, Shared, key_of
from controller.inventory.retention.leaves import DROPPED, HOLD_SCHEMA, RETENTION_SCHEMA, carried_rows, hold_row

SCHEMA = "assay.dev/decision/v1alpha1"
SIGHTING_SCHEMA = "assay.dev/sighting/v1alpha1"
READ_SCHEMA = "assay.dev/read/v1alpha1"
RESOURCE_SCHEMA = "assay.dev/resource/v1alpha1"
VERDICTS = frozenset({"Allow", "Deny"})
MAX_JUDGEMENTS = 16 * 1024 * 1024  # bytes of judgements that are kept: some 400 of three policies, 1,500 of one


def project(leaf: Mapping[str, Any]) -> Projection:
    """Read a leaf. Raises `RecordingFailed` (`LeafMalformed`) when it is none of a schema that is known."""
    return _project(leaf, judgement_of)


class Projector:
    """Reads leaves as `project` does, and remembers judgements. May be used by several threads.

    `max_bytes` bounds what it remembers; the oldest goes first.
    """

    def __init__(self, max_bytes: int = MAX_JUDGEMENTS) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: dict[bytes, Judgement] = {}
        self._changing = threading.Lock()

    def project(self, leaf: Mapping[str, Any]) -> Projection:
        """See `project`."""
        return _project(leaf, self._judgement)

    def _judgement(self, leaf: Mapping[str, Any], decision: Row) -> Judgement:
        rests_on = (leaf["images"], leaf["evaluations"], leaf["blobs"])
        where = (decision["cluster"], decision["namespace"], lets_in(decision))
        try:
            # By every value and its type, in 10 µs. Version 0 writes alike what is alike, whoever else refers to it.
            name = sha256(marshal.dumps((*rests_on, *where), 0)).digest()
        except ValueError:  # other types than a leaf is made of, or too deep: `judgement_of` says what is to be said
            return judgement_of(leaf, decision)
        found = self._known.get(name)
        if found is None:
            found = replace(judgement_of(leaf, decision), name=name)
            with self._changing:
                self._keep(found)
        return found

    def _keep(self, judgement: Judgement) -> None:
        if judgement.name in self._known:
            return
        self._known[judgement.name] = judgement
        self._bytes += judgement.size
        while self._bytes > self._max_bytes:
            self._bytes -= self._known.pop(next(iter(self._known))).size


def _project(leaf: Mapping[str, Any], judge: Callable[[Mapping[str, Any], Row], Judgement]) -> Projection:
    try:
        if leaf["schema"] == SIGHTING_SCHEMA:
            return _project_sighting(leaf)
        if leaf["schema"] in {HOLD_SCHEMA, RETENTION_SCHEMA}:
            return _project_keeping(leaf)
        if leaf["schema"] == READ_SCHEMA:
            return _project_read(leaf)
        if leaf["schema"] == RESOURCE_SCHEMA:
            return _project_resource(leaf)
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
    return replace(_bare(leaf), read=row)


def _project_resource(leaf: Mapping[str, Any]) -> Projection:
    """A leaf that says that a version of a policy or an exception was applied, or that the object was deleted."""
    if leaf["verdict"] not in {"Applied", "Deleted"}:
        raise ValueError("unknown fact about a resource")
    told, cluster = leaf["resource"], _text(leaf["cluster"])
    row: Row = {
        "id": _required(leaf["id"]),
        "cluster": cluster,
        "fact": leaf["verdict"],
        **{name: _required(told[name]) for name in ("kind", "name", "uid", "hash")},
        **{name: _text(told[name]) for name in ("namespace", "manager", "problem")},
        **{name: _count(told[name]) for name in ("life", "generation")},
        "reason": _text(leaf["reason"]),
    }
    said = [exception_row(cluster, leaf["exception"])] if leaf["exception"] is not None else []
    table = tables.exception
    return replace(
        _bare(leaf),
        blobs=tuple(_required(digest) for digest in leaf["blobs"]),
        resource=row,
        shared=tuple(Shared(table, key_of(table, one), one) for one in said),
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
