"""Whatever lies in a registry, a review of it ends with its reason and in little memory: the real program is measured.

Bound of the project: less than 100 MiB above idle, webhook and worker together.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.contract.registry_servers.scripted import BUNDLE, OCI_INDEX, OCI_MANIFEST, ScriptedRegistry, descriptor
from tests.support.assay import Assay, serving
from tests.support.pipeline import key_authority, pod, policy, review_of

MiB = 1024 * 1024
MOST_ABOVE_IDLE = 100 * MiB
APP = "acme/app"


@dataclass(slots=True)
class Bench:
    """The real program before a registry of ours."""

    assay: Assay
    registry: ScriptedRegistry

    def image(self) -> str:
        """A new image; returns its digest."""
        return self.registry.put_image(APP, mark=str(len(self.registry.manifests)))

    async def review(self, digest: str) -> tuple[str, int]:
        """Review a pod of the image: the denial, and the peak of memory above idle, in bytes."""
        idle = _resident(self.assay.server.pid, "VmRSS")
        _forget_peaks(self.assay.server.pid)
        body = review_of(pod(f"{self.registry.host}/{APP}@{digest}"))
        status, answer = await asyncio.to_thread(self.assay.post, "/validate?timeout=25s", body)
        assert status == 200, answer
        response = answer["response"]
        assert not response["allowed"]
        return response["status"]["message"], _resident(self.assay.server.pid, "VmHWM") - idle


def _family(pid: int) -> list[int]:
    """The process and those that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    others = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [pid, *{*map(int, children), *others}]


def _forget_peaks(pid: int) -> None:
    for one in _family(pid):
        Path(f"/proc/{one}/clear_refs").write_text("5")


def _resident(pid: int, name: str) -> int:
    """The resident memory of the family, in bytes: `VmRSS` now, `VmHWM` at its peak."""
    total = 0
    for one in _family(pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
            total += next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    return total


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with ScriptedRegistry() as registry:
        signed = policy(
            "signed",
            match={"images": [f"{registry.host}/**"]},
            authorities=[key_authority()],
            signatures={"authorities": ["release"]},
        )
        (tmp_path / "policies").mkdir()
        (tmp_path / "policies" / "signed.json").write_text(json.dumps(signed))
        with serving(tmp_path / "assay", policies=str(tmp_path / "policies"), failure_max_age="0s") as assay:
            running = Bench(assay, registry)
            for _ in range(3):  # warm: what is loaded once is no image's doing
                digest = running.image()
                registry.put_referrer(APP, digest, json.dumps({"mediaType": BUNDLE}).encode())
                await running.review(digest)
            yield running


Prepared = Callable[[Bench, str], Awaitable[str | None]]


async def large_attestation(bench: Bench, digest: str) -> None:
    bench.registry.put_referrer(APP, digest, b" " * (100 * MiB))


async def many_referrers(bench: Bench, digest: str) -> None:
    entry = descriptor(b"{}", OCI_MANIFEST, artifactType=BUNDLE)
    entries = [{**entry, "digest": f"sha256:{number:064x}"} for number in range(10_000)]
    listing = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    bench.registry.put_manifest(APP, listing, media_type=OCI_INDEX, tag=bench.registry._listing_name(digest))


async def deep_bundle(bench: Bench, digest: str) -> None:
    bench.registry.put_referrer(APP, digest, b"[" * 150_000)


async def brackets_alone(bench: Bench, digest: str) -> None:
    bench.registry.put_referrer(APP, digest, b"[" * (30 * MiB))


async def wide_bundle(bench: Bench, digest: str) -> None:
    bench.registry.put_referrer(APP, digest, b'{"a":[' + b"{}," * (10 * MiB) + b"{}]}")


async def bundle_of_names(bench: Bench, digest: str) -> None:
    names = b",".join(b'"%d":0' % number for number in range(2_000_000))
    bench.registry.put_referrer(APP, digest, b"{" + names + b"}")


async def large_payload(bench: Bench, digest: str) -> None:
    envelope = {
        "payload": base64.b64encode(b" " * (22 * MiB)).decode(),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"sig": "AAAA"}],
    }
    bundle = {"mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": ""}}, "dsseEnvelope": envelope}
    bench.registry.put_referrer(APP, digest, json.dumps(bundle).encode())


async def wide_manifest(bench: Bench, _digest: str) -> str:
    content = b'{"schemaVersion":2,"a":[' + b"{}," * (MiB + MiB // 4) + b"{}]}"
    return bench.registry.put_manifest(APP, content, media_type=OCI_INDEX)


async def endless_manifest(bench: Bench, digest: str) -> None:
    bench.registry.answer(f"/v2/{APP}/manifests/{digest}", _endless)


async def endless_referrers(bench: Bench, digest: str) -> None:
    bench.registry.answer(f"/v2/{APP}/referrers/{digest}", _endless)


async def compressed_manifest(bench: Bench, digest: str) -> None:
    bomb = await asyncio.to_thread(lambda: gzip.compress(b" " * (1024 * MiB), 1))

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip", "Content-Type": OCI_MANIFEST})

    bench.registry.answer(f"/v2/{APP}/manifests/{digest}", answer)


async def _endless(request: web.BaseRequest) -> web.Response:
    response = web.StreamResponse(headers={"Content-Type": OCI_INDEX})
    await response.prepare(request)
    with contextlib.suppress(OSError):
        while True:
            await response.write(b" " * MiB)
    return response  # type: ignore[return-value]  # streamed already


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    ("hostile", "code"),
    [
        (large_attestation, "registry_max_blob_bytes"),
        (many_referrers, "registry_max_referrers"),
        (deep_bundle, "document_max_depth"),
        (brackets_alone, "MAX_VALUES"),
        (wide_bundle, "MAX_VALUES"),
        (bundle_of_names, "MAX_VALUES"),
        (large_payload, "SignatureNotTrusted"),
        (wide_manifest, "MAX_VALUES"),
        (endless_manifest, "registry_max_manifest_bytes"),
        (endless_referrers, "registry_max_manifest_bytes"),
        (compressed_manifest, ""),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_guarantee_10_a_hostile_input_ends_with_its_reason_and_in_little_memory(
    bench: Bench, hostile: Prepared, code: str
) -> None:
    digest = bench.image()
    changed: Any = await hostile(bench, digest)
    message, above_idle = await bench.review(changed or digest)
    assert code in message
    assert above_idle < MOST_ABOVE_IDLE, f"{above_idle // MiB} MiB"
