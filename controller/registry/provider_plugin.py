"""One run of a credential provider's plugin: a process that is asked on its standard input and answers on its output.

Whatever goes wrong is `CredentialProviderFailed`, which says how and never what the plugin wrote: half of a broken
answer is still a password. Its standard error is not read at all.

Specification: https://kubernetes.io/docs/reference/config-api/kubelet-credentialprovider.v1/
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from controller.errors import Unavailable
from controller.model.access import MAX_CREDENTIALS, Credential, credential_prefix
from controller.model.reference import Reference
from controller.registry.provider_config import Provider, seconds

MAX_OUTPUT_BYTES = 256 * 1024  # bounds what one run may write
# What a plugin gets of Assay's own environment, beside what its configuration names: Assay's own has secrets.
PASSED_VARIABLES = (
    *("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *(name for proxy in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY") for name in (proxy, proxy.lower())),
)


class CacheKey(StrEnum):
    """For what an answer serves: `cacheKeyType`."""

    IMAGE = "Image"
    REGISTRY = "Registry"
    GLOBAL = "Global"

    def of(self, reference: Reference) -> str:
        """What two images have in common that one answer serves."""
        return {CacheKey.IMAGE: reference.name, CacheKey.REGISTRY: reference.registry, CacheKey.GLOBAL: ""}[self]


@dataclass(frozen=True, slots=True)
class PluginAnswer:
    """What a plugin answered: the credentials, for what they serve, and for how many seconds from when it was asked."""

    kind: CacheKey
    key: str
    credentials: tuple[Credential, ...]
    seconds: float

    def serves(self, reference: Reference) -> bool:
        """Whether this is an answer for that image too."""
        return self.kind.of(reference) == self.key


async def run_plugin(
    provider: Provider, reference: Reference, *, environment: Mapping[str, str], bound: float
) -> PluginAnswer:
    """Ask the provider's plugin about an image; it is killed, with what it started, after `bound` seconds.

    Raises `Unavailable` (`CredentialProviderFailed`).
    """
    request = {"apiVersion": provider.api_version, "kind": "CredentialProviderRequest", "image": reference.name}
    passed = {name: environment[name] for name in PASSED_VARIABLES if name in environment}
    try:
        async with asyncio.timeout(bound):
            output = await _output(provider, json.dumps(request).encode(), passed | dict(provider.environment))
    except TimeoutError as exc:
        late = f"did not end within {bound:g} s (bound: registry_credential_provider_timeout)"
        raise _failed(provider, reference, late) from exc
    except OSError as exc:
        raise _failed(provider, reference, "could not be run") from exc
    except _Wrong as exc:
        raise _failed(provider, reference, str(exc)) from None
    try:
        return _answer(output, provider, reference)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # Without its cause: a parser's error holds what it could not parse.
        raise _failed(provider, reference, "gave an answer that is no CredentialProviderResponse") from None


class _Wrong(Exception):
    """How a run went wrong, in words of our own."""


class _Run(asyncio.SubprocessProtocol):
    """What a process writes: `output` is set when nobody can write more, `ended` when it has ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.output: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._parts = bytearray()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        del fd  # standard output is the only pipe that is read
        if self.output.done():
            return
        self._parts += data
        if len(self._parts) > MAX_OUTPUT_BYTES:
            too_much = f"wrote more than {MAX_OUTPUT_BYTES} bytes (bound: MAX_OUTPUT_BYTES)"
            self.output.set_exception(_Wrong(too_much))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        del exc  # of standard input: one that asks nothing need not read
        if fd == 1 and not self.output.done():
            self.output.set_result(bytes(self._parts))

    def process_exited(self) -> None:
        self.ended.set()


async def _output(provider: Provider, request: bytes, environment: Mapping[str, str]) -> bytes:
    transport, run = await asyncio.get_running_loop().subprocess_exec(
        _Run,
        str(provider.executable),
        *provider.arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
        cwd="/",
        start_new_session=True,  # so that what it started ends with it
    )
    whole = False
    try:
        stdin = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
        stdin.write(request)
        stdin.close()
        output = await run.output
        await run.ended.wait()
        whole = True
    finally:
        if not whole:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(transport.get_pid(), signal.SIGKILL)
            await run.ended.wait()
        transport.close()  # whoever else may still hold the pipe's other end
    status = transport.get_returncode()
    if status != 0:
        raise _Wrong(f"ended with status {status}")
    return output


def _answer(output: bytes, provider: Provider, reference: Reference) -> PluginAnswer:
    value: Any = json.loads(output)
    if value["apiVersion"] != provider.api_version or value["kind"] != "CredentialProviderResponse":
        raise ValueError("another kind")
    kind = CacheKey(value["cacheKeyType"])
    duration = value.get("cacheDuration")
    auth = value.get("auth") or {}
    if len(auth) > MAX_CREDENTIALS:
        raise ValueError("too many")
    return PluginAnswer(
        kind=kind,
        key=kind.of(reference),
        credentials=tuple(_credential(name, entry, provider) for name, entry in auth.items() if any(entry.values())),
        seconds=provider.default_seconds if duration is None else seconds(duration),
    )


def _credential(name: str, entry: Any, provider: Provider) -> Credential:
    username, password = entry.get("username", ""), entry.get("password", "")
    if not isinstance(username, str) or not isinstance(password, str) or not username or ":" in username:
        raise ValueError("no user")
    return Credential(prefix=credential_prefix(name), username=username, password=password, provider=provider.name)


def _failed(provider: Provider, reference: Reference, how: str) -> Unavailable:
    return Unavailable(
        "CredentialProviderFailed",
        f"credential provider {provider.name} {how} (asked for {reference.name}); its output is not shown, run it by "
        "hand to see why",
    )
