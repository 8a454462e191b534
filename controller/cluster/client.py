"""One request to the API server, and the one edge at which its errors become Assay's.

`kubernetes.aio` is used for what is hard to get right (kubeconfig, exec plugins, rotating service account tokens, TLS);
its typed models are not: they cost nine times the parse, and Assay reads few fields of each object.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import OpenApiException
from kubernetes.aio.config import KUBE_CONFIG_DEFAULT_LOCATION, ConfigException, load_incluster_config, load_kube_config
from kubernetes.aio.config.incluster_config import SERVICE_HOST_ENV_NAME

from controller import __version__
from controller.errors import AssayError, ConfigurationError, Unacceptable, Unavailable
from controller.settings import ClusterSettings, MiB

CONNECT_TIMEOUT = 5.0  # seconds for one connection to the API server, TLS included
REQUEST_TIMEOUT = 30.0  # seconds for one request that is no watch
MAX_EVENT_BYTES = 8 * MiB  # one watch event: etcd bounds an object to 1.5 MiB, a request to 3 MiB
MAX_SAID = 500  # characters of the API server's own words in an error

NOT_FOUND = "ClusterNotFound"
EXPIRED = "ClusterExpired"  # HTTP 410: the resource version is too old, list anew
THROTTLED = "ClusterThrottled"
UNAVAILABLE = "ClusterUnavailable"
DENIED = "ClusterAccessDenied"
REFUSED = "ClusterRefused"
CONFLICT = "ClusterConflict"  # HTTP 409: it is there already, or was changed meanwhile

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"

Query = Mapping[str, str | int]


async def load_configuration(settings: ClusterSettings) -> Configuration:
    """How the API server is reached: the kubeconfig that is set, else the pod's service account, else the user's own.

    Raises `ConfigurationError` (`KubeconfigInvalid`).
    """
    configuration = Configuration()
    file = settings.kubeconfig
    try:
        if not file and SERVICE_HOST_ENV_NAME in os.environ:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            path = file or os.environ.get("KUBECONFIG") or KUBE_CONFIG_DEFAULT_LOCATION
            await load_kube_config(config_file=path, client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError, ValueError, KeyError, TypeError, ssl.SSLError) as exc:
        source = f"kubeconfig {file}" if file else "the service account or the user's kubeconfig"
        raise ConfigurationError(
            "KubeconfigInvalid", f"{source} does not say how the API server is reached: {type(exc).__name__}"
        ) from exc
    return configuration


@dataclass(frozen=True, slots=True)
class Connection:
    """How the API server is reached, in plain values, for a library with a client of its own."""

    server: str
    ca_file: str
    verify: bool
    scheme: str = field(repr=False)
    token: str = field(repr=False)
    certificate_file: str
    key_file: str
    proxy: str


async def load_connection(settings: ClusterSettings) -> Connection:
    """The connection of the settings, credentials read anew. Raises as `load_configuration`."""
    configuration = await load_configuration(settings)
    authorization = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    scheme, _, token = str(authorization or "").strip().partition(" ")
    return Connection(
        server=str(configuration.host).rstrip("/"),
        ca_file=configuration.ssl_ca_cert or "",
        verify=bool(configuration.verify_ssl),
        scheme=scheme.capitalize(),
        token=token,
        certificate_file=configuration.cert_file or "",
        key_file=configuration.key_file or "",
        proxy=configuration.proxy or "",
    )


class ClusterClient:
    """Requests to one API server. Belongs to the event loop that it was made on."""

    def __init__(self, configuration: Configuration) -> None:
        self._api = ApiClient(configuration)
        self._host = str(configuration.host).rstrip("/")

    @classmethod
    async def connect(cls, settings: ClusterSettings, *, connections: int | None = None) -> ClusterClient:
        """A client for the cluster of the settings. Nothing is sent yet. Raises `ConfigurationError`.

        `connections`: how many it may hold at once, where the library's bound is too few.
        """
        configuration = await load_configuration(settings)
        if connections is not None:
            configuration.connection_pool_maxsize = connections
        return cls(configuration)

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, path: str, *, query: Query | None = None, timeout: float = REQUEST_TIMEOUT) -> dict[str, Any]:
        """GET an object or a list.

        Raises `Unavailable` (`ClusterNotFound`, `ClusterExpired`, `ClusterThrottled`, `ClusterUnavailable`),
        `ConfigurationError` (`ClusterAccessDenied`) or `Unacceptable` (`ClusterRefused`).
        """
        return await self._request("GET", path, query=query, timeout=timeout)

    async def pages(self, path: str, *, query: Query | None = None, size: int = 500) -> AsyncIterator[dict[str, Any]]:
        """GET a collection page by page (`limit` and `continue`), so that no answer is unbounded. Raises as `get`."""
        more = ""
        while True:
            page = await self.get(path, query={**(query or {}), "limit": size, **({"continue": more} if more else {})})
            yield page
            more = (page.get("metadata") or {}).get("continue") or ""
            if not more:
                return

    async def patch(
        self,
        path: str,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        content_type: str,
        timeout: float = REQUEST_TIMEOUT,
    ) -> dict[str, Any]:
        """PATCH an object or a subresource (`JSON_PATCH` or `MERGE_PATCH`). Raises as `get`."""
        return await self._request("PATCH", path, body=body, content_type=content_type, timeout=timeout)

    async def create(self, path: str, body: Mapping[str, Any], *, timeout: float = REQUEST_TIMEOUT) -> dict[str, Any]:
        """POST an object into a collection. Raises as `get`, and `Unacceptable` (CONFLICT) if it is there."""
        return await self._request("POST", path, body=body, timeout=timeout)

    async def replace(self, path: str, body: Mapping[str, Any], *, timeout: float = REQUEST_TIMEOUT) -> dict[str, Any]:
        """PUT an object of the version that it names. Raises as `get`; `Unacceptable` (CONFLICT) if it is another."""
        return await self._request("PUT", path, body=body, timeout=timeout)

    async def stream(self, path: str, *, query: Query, silence: float) -> AsyncIterator[dict[str, Any]]:
        """The events of a watch, until the server ends it. `silence`: seconds without a byte that end it too.

        Raises as `get`; a silent or broken connection is `Unavailable`.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=silence)
        try:
            response = await self._send("GET", path, query={**query, "watch": "true"}, limits=limits)
            try:
                if response.status != 200:
                    raise _refusal(response.status, response.headers, await response.read(), f"watch {path}")
                async for line in _lines(response):
                    yield json.loads(line)
            finally:
                response.close()
        except (aiohttp.ClientError, OpenApiException, OSError, ValueError) as exc:
            raise _unreachable(exc) from exc

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout: float,
    ) -> dict[str, Any]:
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT)
        try:
            response = await self._send(method, path, query=query, body=body, content_type=content_type, limits=limits)
            try:
                content = await response.read()
            finally:
                response.release()
            if response.status >= 300:
                raise _refusal(response.status, response.headers, content, f"{method} {path}")
            answer = json.loads(content)
        except (aiohttp.ClientError, OpenApiException, OSError, ValueError) as exc:
            raise _unreachable(exc) from exc
        if not isinstance(answer, dict):
            raise Unavailable(UNAVAILABLE, "the API server's answer is no JSON object")
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        content_type: str = "application/json",
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        url = self._host + path + (f"?{urlencode(query)}" if query else "")
        headers = {
            "Accept": "application/json",
            "Content-Type": content_type,
            "User-Agent": f"assay/{__version__}",
        }
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        answer = await self._api.rest_client.request(  # type: ignore[no-untyped-call]
            method, url, headers=headers, body=body, _request_timeout=limits
        )
        response: aiohttp.ClientResponse = answer.response
        return response


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of a body of any length, each of bounded length. (aiohttp's own reader bounds them at its buffer.)"""
    rest = bytearray()
    async for chunk in response.content.iter_any():
        *whole, last = chunk.split(b"\n")
        for part in whole:
            rest += part
            if rest:
                yield bytes(rest)
            rest.clear()
        rest += last
        if len(rest) > MAX_EVENT_BYTES:
            raise ValueError("a watch event is too large")


def error_of_status(status: int, said: str, *, retry_after: float | None = None) -> AssayError:
    """The one table from HTTP status codes of the API server to Assay's errors."""
    if status in {401, 403}:
        return ConfigurationError(DENIED, f"the API server refused Assay's own account: {said}")
    if status == 404:
        return Unavailable(NOT_FOUND, f"the API server has no such thing: {said}")
    if status == 409:
        return Unacceptable(CONFLICT, f"it is there already, or was changed meanwhile: {said}")
    if status == 410:
        return Unavailable(EXPIRED, f"the resource version is too old: {said}")
    if status == 429:
        return Unavailable(THROTTLED, f"the API server asks for patience: {said}", retry_after)
    if status >= 500:
        return Unavailable(UNAVAILABLE, f"the API server failed with status {status}: {said}", retry_after)
    return Unacceptable(REFUSED, f"the API server refused the request with status {status}: {said}")


def _refusal(status: int, headers: Mapping[str, str], content: bytes, doing: str) -> AssayError:
    try:
        said = str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        said = "no reason given"
    try:
        retry_after = float(headers["Retry-After"])
    except (KeyError, ValueError):
        retry_after = None
    return error_of_status(status, f"{doing}: {said[:MAX_SAID]}", retry_after=retry_after)


def _unreachable(exc: Exception) -> Unavailable:
    kind = "it did not answer in time" if isinstance(exc, TimeoutError | asyncio.TimeoutError) else type(exc).__name__
    return Unavailable(UNAVAILABLE, f"the API server cannot be reached: {kind}")
