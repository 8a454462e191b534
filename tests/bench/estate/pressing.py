"""Leaves into records, quickly: what a million decisions share is read and encoded once.

`project` alone reads what differs from one decision to the next; what follows from the shared images and evaluations is
taken over, and the canonical bytes are put together from parts. A test holds the result equal to `project`'s own, leaf
by leaf.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.inventory.append import Record
from controller.inventory.canonical import canonical
from controller.inventory.projections import Projection, project
from tests.bench.estate.leaves import DECISION

MAX_PLATES = 16_000  # judgements whose rows are kept for the next decision that shares them
SHARED = ("blobs", "evaluations", "flags", "images", "verifier", "warnings")
_WITHOUT = {"evaluations": [], "images": [], "blobs": []}


@dataclass(frozen=True, slots=True)
class Plate:
    """What all decisions of one judgement, about objects of one kind in one namespace of a cluster, share."""

    evaluations: Any  # kept, so that its identity stays its own
    encoded: Mapping[str, str]
    fields: Mapping[str, Any]
    columns: Mapping[str, Any]


class Press:
    """Makes records of leaves that a `Scribe` wrote."""

    def __init__(self) -> None:
        self._plates: dict[tuple[int, str, str, str, str], Plate] = {}

    def record(self, leaf: Mapping[str, Any], blobs: Mapping[str, bytes]) -> Record:
        """The record of a leaf. Raises `RecordingFailed` as `project` does."""
        if leaf["schema"] != DECISION:
            return Record(project(leaf), blobs)
        subject = leaf["object"]
        key = id(leaf["evaluations"]), leaf["cluster"], leaf["verdict"], subject["kind"], subject["namespace"]
        plate = self._plates.get(key)
        if plate is None:
            if len(self._plates) >= MAX_PLATES:
                self._plates.clear()
            whole = project(leaf)
            self._plates[key] = _plate(leaf, whole)
            return Record(whole, blobs)
        light = project({**leaf, **_WITHOUT})
        decision = {**(light.decision or {}), **plate.columns}
        return Record(
            dataclasses.replace(light, canonical=_encoded(leaf, plate), decision=decision, **plate.fields), blobs
        )


def _plate(leaf: Mapping[str, Any], whole: Projection) -> Plate:
    light = project({**leaf, **_WITHOUT})
    names = {field.name for field in dataclasses.fields(Projection)} - {"canonical", "decision"}
    before, after = light.decision or {}, whole.decision or {}
    return Plate(
        evaluations=leaf["evaluations"],
        encoded={name: canonical(leaf[name]).decode() for name in SHARED},
        fields={name: getattr(whole, name) for name in names if getattr(whole, name) != getattr(light, name)},
        columns={name: value for name, value in after.items() if value != before[name]},
    )


def _encoded(leaf: Mapping[str, Any], plate: Plate) -> bytes:
    parts = (f'"{name}":{plate.encoded.get(name) or _json(leaf[name])}' for name in sorted(leaf))
    return f"{{{','.join(parts)}}}".encode()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
