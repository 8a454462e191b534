"""The load, from a process of its own: AdmissionReviews over kept-alive TLS connections, as an API server sends them.

`python -m tests.bench.load` reads orders (`Order` as JSON) line by line and answers each with what it measured. An
admission is `/mutate`, then `/validate` with the object as patched and a fresh uid; its latency is the sum of both
calls, without the client's own work between them. Closed loop: each client sends the next when it has its answer. Open
loop: admissions begin at a set rate whatever the server does, and a latency counts from when it should have begun, so
that a stalled server is not spared.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import itertools
import json
import ssl
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import uvloop

from controller import admission
from tests.bench import pods, procfs

TIMEOUT = 120  # seconds for one answer: past the API server's own bound, so that late answers are seen as late


@dataclass(frozen=True, slots=True)
class Order:
    """What to send. `images` are taken in turn, one list a pod; `count` admissions, or as many as fit in `seconds`."""

    url: str
    ca_file: str
    server_pid: int
    images: tuple[tuple[str, ...], ...]
    clients: int = 1
    seconds: float = 0.0
    count: int = 0
    rate: float = 0.0


@dataclass(slots=True)
class Measured:
    """What came of an order: milliseconds an admission, seconds, the server's CPU seconds, refusals."""

    latencies: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0
    client_cpu: float = 0.0
    refused: int = 0
    refusal: str = ""


async def run(order: Order) -> Measured:
    """Carry out the order."""
    measured = Measured()
    context = ssl.create_default_context(cafile=order.ca_file)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    connector = aiohttp.TCPConnector(limit=order.clients, ssl=context)
    async with aiohttp.ClientSession(order.url, connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(_connect(session) for _ in range(order.clients)))
        turns = itertools.cycle(order.images)
        began, cpu, own = time.perf_counter(), procfs.cpu_seconds(order.server_pid), time.process_time()
        if order.rate:
            await _open_loop(session, order, turns, measured)
        else:
            left = itertools.count()
            await asyncio.gather(*(_client(session, order, turns, left, measured) for _ in range(order.clients)))
        measured.seconds = time.perf_counter() - began
        measured.cpu = procfs.cpu_seconds(order.server_pid) - cpu
        measured.client_cpu = time.process_time() - own
    return measured


async def _connect(session: aiohttp.ClientSession) -> None:
    async with session.get("/livez") as response:
        await response.read()


async def _client(
    session: aiohttp.ClientSession,
    order: Order,
    turns: Iterator[tuple[str, ...]],
    left: Iterator[int],
    measured: Measured,
) -> None:
    until = time.perf_counter() + order.seconds if order.seconds else float("inf")
    most = order.count or float("inf")
    while time.perf_counter() < until and next(left) < most:
        await _admit(session, next(turns), measured)


async def _open_loop(
    session: aiohttp.ClientSession, order: Order, turns: Iterator[tuple[str, ...]], measured: Measured
) -> None:
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(order.rate * order.seconds)):
            due = began + number / order.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(_admit(session, next(turns), measured, due=due))


async def _admit(
    session: aiohttp.ClientSession, images: tuple[str, ...], measured: Measured, due: float | None = None
) -> None:
    pod = pods.pod(images)
    body = pods.review(pod)
    began = time.perf_counter()
    late = began - due if due is not None else 0.0
    mutated = await _post(session, "/mutate?timeout=10s", body)
    spent = time.perf_counter() - began
    patch = json.loads(mutated)["response"].get("patch")
    pinned = admission.apply_pins(pod, json.loads(base64.b64decode(patch))) if patch else pod
    pinned["metadata"]["uid"] = str(uuid.uuid4())
    body = pods.review(pinned)
    began = time.perf_counter()
    validated = await _post(session, "/validate?timeout=10s", body)
    spent += time.perf_counter() - began
    answer = json.loads(validated)["response"]
    if not answer["allowed"]:
        measured.refused += 1
        measured.refusal = answer.get("status", {}).get("message", "")
    measured.latencies.append(1000 * (late + spent))


async def _post(session: aiohttp.ClientSession, path: str, body: bytes) -> bytes:
    async with session.post(path, data=body, headers={"Content-Type": "application/json"}) as response:
        content = await response.read()
        if response.status != 200:
            raise ValueError(f"{path} was answered {response.status}: {content[:300]!r}")
        return content


def order_from(line: str) -> Order:
    """An order as it was written by `json.dumps(dataclasses.asdict(order))`."""
    fields: dict[str, Any] = json.loads(line)
    return Order(**{**fields, "images": tuple(tuple(images) for images in fields["images"])})


if __name__ == "__main__":
    for text in sys.stdin:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
            answer = main.run(run(order_from(text)))
        sys.stdout.write(json.dumps(dataclasses.asdict(answer)) + "\n")
        sys.stdout.flush()
