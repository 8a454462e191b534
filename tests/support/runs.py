"""Stories of what ran, told in any order and at any time: leaves of sightings and decisions, for tests."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from controller.inventory import tables
from tests.support.inventory import DIGEST, START, evaluation, image, leaf, sighting

CHILD, OTHER = "sha256:" + "c1" * 32, "sha256:" + "d1" * 32
PODS = 14
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Said:
    """A leaf, and when it was recorded."""

    leaf: dict[str, Any]
    recorded_at: datetime


def written(moment: datetime) -> str:
    """A time as leaves have it."""
    return moment.strftime(tables.INSTANT_FORMAT)


def read(moment: str) -> datetime:
    """A leaf's time."""
    return datetime.fromisoformat(moment)


def story(seed: int) -> list[Said]:
    """What was recorded about some pods: runs of any length, ends without starts, decisions before, after and none."""
    chance = random.Random(seed)  # noqa: S311 - the same story in each run
    said: list[Said] = []
    for number in range(PODS):
        began = START + MINUTE * chance.choice([0, 1, 5, 60, 3000, 40_000]) * chance.random()
        length = MINUTE * chance.choice([0, 0.5, 1, 2, 3, 64, 5000, 100_000]) * chance.choice([1, chance.random()])
        digest = chance.choice([DIGEST, DIGEST, CHILD, OTHER, None])
        named: dict[str, Any] = {
            "uid": f"p{number}",
            "id": f"run-{number}",
            "namespace": chance.choice(["shop", "bank"]),
            "digest": digest,
            "startedAt": written(began),
        }
        cluster = chance.choice(["east", "west"])

        def late(chance: random.Random = chance) -> timedelta:
            return chance.choice([-2 * MINUTE, timedelta(seconds=1), timedelta(seconds=1), 700 * MINUTE])

        if chance.random() < 0.9:
            said.append(Said({**sighting("Started", **dict(named)), "cluster": cluster}, began + late()))
        if chance.random() < 0.7:
            ended = {**named, "endedAt": written(began + length), "reason": "Completed"}
            said.append(Said({**sighting("Ended", **ended), "cluster": cluster}, began + length + late()))
        for turn in range(chance.choice([0, 1, 1, 2])):
            admitted = chance.choice([DIGEST, DIGEST, OTHER, None])
            listed = [CHILD, "sha256:" + "c2" * 32] if admitted == DIGEST and chance.random() < 0.8 else []
            signers = chance.sample(["jane", "mary", "key"], chance.choice([0, 1, 2]))
            said.append(
                Said(decision(f"p{number}", admitted, listed, signers), began + late() + timedelta(milliseconds=turn))
            )
    return said


def decision(uid: str, digest: str | None, manifests: list[str], signers: list[str]) -> dict[str, Any]:
    """A decision that let a pod in with one image, verified for these signers."""
    judged = evaluation()
    proof = judged["signatures"][0]
    judged["attestations"] = []
    judged["signatures"] = [{**proof, "signer": {"key": "", "issuer": "i", "subject": who}} for who in signers]
    value = leaf(
        0, images=[{**image(digest=digest), "kind": "container", "manifests": manifests}], evaluations=[judged]
    )
    value["object"] = {**value["object"], "uid": uid}
    return value
