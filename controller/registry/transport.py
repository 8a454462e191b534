"""One HTTP exchange, bounded in every way: time, bytes, redirects, and whom it may reach.

Redirects are followed here and not by the library, because each hop is judged anew: credentials stay with the origin
they are for, TLS is never given up, and the address is checked when the socket is made.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from controller import __version__
from controller.errors import DeadlineExceeded, LimitExceeded, Unacceptable, Unavailable
from controller.model.deadline import Deadline
from controller.registry.addresses import AddressRefused, AddressRules, GuardedResolver, forbidden, refused
from controller.registry.allowances import Allowances
from controller.registry.endpoints import Endpoints, host_of, same_origin
from controller.registry.failures import TRANSLATED, says_unreachable, translated
from controller.registry.health import Health
from controller.registry.proxies import Proxy, ProxyRules
from controller.registry.remembered import Remembered
from controller.settings import RegistrySettings

MAX_CONNECTIONS = (
    4096  # bounds the sockets of all hosts together: eight for each of 512 flights, so that none waits here
)
DNS_SECONDS = 10  # how long a name's addresses are reused for further connections; each socket is judged anyway
KEEPALIVE_SECONDS = 30.0
ERROR_BODY_BYTES = 64 * 1024  # read from an answer that is not 200, only so that its connection can be used again
PROXIED_LOOKUP_SECONDS = 1.0  # bounds the look at where a name leads that a proxy will resolve for itself
PROXIED_MEMORY_SECONDS = 60.0  # how long such a look holds
MAX_PROXIED_NAMES = 4096

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked: `what` names it to people; `max_bytes` bounds the answer and `setting` names that bound.

    `authorization` goes to the URL's own origin only; `account` names whose it is, for the pauses that a registry asks
    for, and is safe to keep. A `form` makes it a POST, which is never redirected; `head` asks for no content.
    """

    url: URL
    what: str
    max_bytes: int
    setting: str
    accept: str = "*/*"
    authorization: str | None = field(default=None, repr=False)
    account: str = ""
    form: Mapping[str, str] | None = field(default=None, repr=False)
    head: bool = False
    follow_redirects: bool = True

    @property
    def method(self) -> str:
        """The HTTP method."""
        return "HEAD" if self.head else "GET" if self.form is None else "POST"

    def with_authorization(self, header: str | None) -> Request:
        """The same request with this `Authorization` header."""
        return dataclasses.replace(self, authorization=header)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `body` is empty unless `status` is 200 and it was asked for; `url` is where it came from."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes = field(repr=False)
    url: URL


@dataclass(frozen=True, slots=True)
class _Open:
    session: aiohttp.ClientSession
    resolver: GuardedResolver


class Transport:
    """The HTTP session of all registries. Use as an asynchronous context manager, on one event loop."""

    def __init__(
        self,
        settings: RegistrySettings,
        *,
        endpoints: Endpoints,
        rules: AddressRules,
        environment: Mapping[str, str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._rules = rules
        self._proxies = ProxyRules(environment)
        self._monotonic = monotonic
        self._health = Health(settings, monotonic=monotonic)
        self.allowances = Allowances()
        self._proxied: Remembered[str, float] = Remembered(MAX_PROXIED_NAMES)
        self._open: _Open | None = None

    async def open(self) -> None:
        """Open the session; nothing is connected yet."""
        resolver = GuardedResolver(self._rules)
        connector = aiohttp.TCPConnector(
            limit=MAX_CONNECTIONS,
            limit_per_host=self._settings.registry_connections_per_host,
            ttl_dns_cache=DNS_SECONDS,
            keepalive_timeout=KEEPALIVE_SECONDS,
            resolver=resolver,
            socket_factory=self._rules.open_socket,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.registry_connect_timeout),
            headers={"User-Agent": f"assay/{__version__}"},
            skip_auto_headers=("Accept-Encoding",),  # a compressed answer could unfold without bound
        )
        self._open = _Open(session, resolver)

    async def close(self) -> None:
        """Close all connections."""
        if self._open is not None:
            opened, self._open = self._open, None
            await opened.session.close()

    async def send(self, request: Request, *, deadline: Deadline) -> Answer:
        """The answer after redirects, whatever its status but 429.

        Raises `Unavailable` (`RegistryUnavailable`, `RegistryTimeout`, `RegistryThrottled`, `CircuitOpen`),
        `LimitExceeded` or another `Unacceptable` (`AddressForbidden`, `RedirectRefused`, `ContentEncodingRefused`,
        `RegistryAnswerMalformed`).
        """
        url, authorization = request.url, request.authorization
        whole = float(self._settings.registry_request_timeout)
        seconds = min(whole, deadline.remaining())
        try:
            async with asyncio.timeout(seconds):
                for _ in range(self._settings.registry_max_redirects + 1):
                    answer = await self._exchange(request, url, authorization)
                    if answer.status not in _REDIRECTS:
                        return answer
                    url = self._next(request, answer)
                    if not same_origin(url, request.url):
                        authorization = None
        except TimeoutError as exc:
            asked = host_of(request.url)
            if seconds < whole:  # the caller's time, which he may have spent elsewhere: the host was not silent
                raise DeadlineExceeded(
                    "DeadlineExceeded", f"the deadline came while asking {asked} for {request.what}"
                ) from exc
            if same_origin(url, request.url):  # else the time was spent on the way there, by the host that redirected
                self._health.failed(asked)
            raise translated(exc, host=asked, what=request.what) from exc
        raise LimitExceeded("registry_max_redirects", f"{host_of(request.url)} redirected {request.what} too often")

    async def _exchange(self, request: Request, url: URL, authorization: str | None) -> Answer:
        opened = self._open
        if opened is None:
            raise Unavailable("ShuttingDown", f"Assay was shut down while asking for {request.what}")
        origin, host = host_of(request.url), host_of(url)
        self._health.check(host, request.account)
        heard = False
        try:
            proxy = await self._proxy(url, opened.resolver)
            headers = {"Accept": request.accept}
            if authorization is not None:
                headers["Authorization"] = authorization
            to_proxy = {"Proxy-Authorization": proxy.authorization} if proxy and proxy.authorization else {}
            tunnelled = url.scheme == "https"  # then only the CONNECT request is the proxy's to read
            async with opened.session.request(
                request.method,
                url,
                headers=headers if tunnelled else headers | to_proxy,
                data=request.form,
                allow_redirects=False,
                ssl=self._endpoints.context(url),
                proxy=proxy.url if proxy else None,
                proxy_headers=to_proxy if tunnelled else None,
            ) as response:
                heard = True
                self._health.answered(host)
                if same_origin(url, request.url):
                    self.allowances.heard(host, response.headers)
                self._obey(response, host=host, request=request)
                if response.status == 200 and not request.head:
                    body = await _body(response, request, host=origin)
                else:
                    await _discard(response)
                    body = b""
                return Answer(status=response.status, headers=response.headers, body=body, url=url)
        except TRANSLATED as exc:
            refusal = refused(exc)
            if refusal is not None:
                raise forbidden(origin, request.what, refusal) from exc
            if says_unreachable(exc):
                self._health.failed(host)
                heard = True
            raise translated(exc, host=origin, what=request.what) from exc
        finally:
            if not heard:
                self._health.abandoned(host)

    def _obey(self, response: aiohttp.ClientResponse, *, host: str, request: Request) -> None:
        retry_after = response.headers.get("Retry-After")
        if response.status == 429:
            pause = self._health.throttled(host, retry_after, account=request.account)
            raise Unavailable(
                "RegistryThrottled",
                f"{host_of(request.url)} answered 429 (too many requests) when asked for {request.what}",
                retry_after=pause,
            )
        if response.status == 503 and retry_after is not None:
            pause = self._health.throttled(host, retry_after, account=request.account)
            raise Unavailable(
                "RegistryUnavailable",
                f"{host_of(request.url)} answered 503 when asked for {request.what}",
                retry_after=pause,
            )

    def _next(self, request: Request, answer: Answer) -> URL:
        origin = host_of(request.url)
        if request.form is not None or not request.follow_redirects:
            raise Unacceptable("RedirectRefused", f"{origin} redirected {request.what}, which must be answered itself")
        try:
            url = answer.url.join(URL(answer.headers["Location"], encoded=True))
            target = host_of(url)
            usable = url.scheme in {"http", "https"} and bool(url.host) and not url.user and not url.password
        except (KeyError, ValueError):
            usable = False
        if not usable:
            raise Unacceptable("RedirectRefused", f"{origin} redirected {request.what} to no usable URL")
        if url.scheme == "http" and not self._endpoints.may_be_plain(target):
            raise Unacceptable(
                "RedirectRefused",
                f"{origin} redirected {request.what} to plain HTTP at a host not in registry_insecure_hosts",
            )
        return url

    async def _proxy(self, url: URL, resolver: GuardedResolver) -> Proxy | None:
        """The proxy for this URL, after a look at where the URL's own host leads (the proxy is judged as it connects).

        A proxy resolves names for itself, so this look is a second fence: a name that does not resolve here is left
        to the proxy's rules, one that leads to a refused address is refused.
        """
        proxy = self._proxies.for_url(url)
        host = url.host or ""
        if proxy is None or self._monotonic() < (self._proxied.get(host) or 0.0):
            return proxy
        try:
            async with asyncio.timeout(PROXIED_LOOKUP_SECONDS):
                await resolver.resolve(host, url.port or 0)
        except AddressRefused:
            raise
        except OSError:  # TimeoutError is one
            pass
        self._proxied.put(host, self._monotonic() + PROXIED_MEMORY_SECONDS)
        return proxy


async def _body(response: aiohttp.ClientResponse, request: Request, *, host: str) -> bytes:
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        response.close()
        raise Unacceptable(
            "ContentEncodingRefused", f"{host} sent {request.what} in an encoding that was not asked for"
        )
    declared = response.content_length
    parts: list[bytes] = []
    size = 0
    if declared is None or declared <= request.max_bytes:
        async for part in response.content.iter_any():
            size += len(part)
            if size > request.max_bytes:
                break
            parts.append(part)
        else:
            return b"".join(parts)
    response.close()
    raise LimitExceeded(request.setting, f"{host}: {request.what} is larger than {request.max_bytes} bytes")


async def _discard(response: aiohttp.ClientResponse) -> None:
    left = ERROR_BODY_BYTES
    if response.content_length is not None and response.content_length > left:
        response.close()
        return
    async for part in response.content.iter_any():
        left -= len(part)
        if left < 0:
            response.close()
            return
