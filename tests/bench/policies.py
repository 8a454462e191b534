"""What a thousand policies cost to compile, as the serving process does it: in a thread, beside a loop that serves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.policy.snapshot import build_policies

TICK = 0.001  # seconds that the loop sleeps at a time; whatever it oversleeps, a review would have waited


@dataclass(frozen=True, slots=True)
class Compiling:
    """`seconds` for all, `again` after a change of one, `pauses` of the loop meanwhile, in seconds."""

    seconds: float
    again: float
    pauses: tuple[float, ...]


def compile_beside(objects: Sequence[Mapping[str, Any]], changed: Mapping[str, Any]) -> Compiling:
    """Compile the objects, then the same with `changed` in the place of the last."""
    return asyncio.run(_beside(objects, changed))


async def _beside(objects: Sequence[Mapping[str, Any]], changed: Mapping[str, Any]) -> Compiling:
    began = time.perf_counter()
    compiling = asyncio.create_task(asyncio.to_thread(build_policies, objects))
    pauses = []
    while not compiling.done():
        asleep = time.perf_counter()
        await asyncio.sleep(TICK)
        pauses.append(time.perf_counter() - asleep - TICK)
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    await asyncio.to_thread(build_policies, [*objects[:-1], changed], compiling.result())
    return Compiling(seconds, time.perf_counter() - began, tuple(pauses))


def many(count: int, template: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Policies that no image of the benchmark matches, each with patterns and expressions of its own."""
    return [_one(number, template) for number in range(count)]


def _one(number: int, template: Mapping[str, Any]) -> dict[str, Any]:
    host = "*" if number % 2 else "ghcr.io"
    spec = template["spec"] | {
        "match": {
            "images": [f"{host}/team-{number}/**", f"!{host}/team-{number}/sandbox/**"],
            "namespaceSelector": {"matchLabels": {"team": f"team-{number}"}},
            "conditions": [{"name": "users", "expression": f"request.userInfo.username != 'robot-{number}'"}],
        },
        "variables": [{"name": "known", "expression": f"signatures.filter(s, s.key != 'key-{number}')"}],
        "validations": [
            {
                "expression": f"size(variables.known) > 0 && image.repository != 'team-{number}/old'",
                "messageExpression": "'signed by ' + string(size(signatures)) + ' only'",
            },
            {"expression": f"object.metadata.namespace == 'team-{number}' || request.operation == 'CREATE'"},
        ],
    }
    return {**template, "metadata": {"name": f"team-{number}", "uid": f"{number}", "generation": 1}, "spec": spec}
