"""A TUF repository's TrustedRoot document, by python-tuf's client: the one other door to the network for trust.

What is pinned is the repository's root.json, which comes with the TrustRoot; everything else is believed because the
TUF client workflow (specification 1.0, section 5) proves it from there. The files that it keeps beside it guard against
rollback; the document of the last whole refresh is kept with its times, so that it outlives an outage and a restart.

The caller's duty: to call it in a thread that serves nobody, and to believe what comes back no longer than it may.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater
from urllib3.connection import HTTPSConnection

from controller import __version__
from controller.errors import ConfigurationError, PolicyError, Unacceptable, Unavailable
from controller.model.policy import TufRepository
from controller.policy.trust import trust_root
from controller.settings import ClusterSettings
from controller.verification.trust import parse_root

MAX_ROOT_ROTATIONS = 64  # new roots that one refresh follows
MAX_DELEGATIONS = 8  # delegated roles that one refresh looks into
MAX_REFRESH = 180.0  # seconds of one refresh; each of its files has tuf_request_timeout besides
_KEPT = "document.json"
_CHUNK = 65_536

CheckAddress = Callable[[str, int], None]
"""(address, port): raises `OSError` for an address that may not be reached (guarantee 11)."""


@dataclass(frozen=True, slots=True)
class Document:
    """What a repository distributes: the target's bytes, when it was last read whole, when its metadata expires."""

    content: bytes
    refreshed_at: datetime
    expires_at: datetime


def refresh(
    repository: TufRepository, *, settings: ClusterSettings, check_address: CheckAddress, now: datetime
) -> Document:
    """Read the repository, prove the target from the pinned root, and keep it. Blocks.

    Raises `Unavailable` (`TufUnavailable`) when it cannot be reached, and `Unacceptable` (`TufRefused`) for what does
    not verify: expired, rolled back, wrongly signed, too large, of another hash, a redirect. What was kept stays.
    """
    folder = _folder(repository, settings)
    fetcher = _Fetcher(settings, check_address)
    alone = contextlib.ExitStack()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metadata").mkdir(exist_ok=True)
        _lock(folder, alone)
        updater = Updater(
            metadata_dir=str(folder / "metadata"),
            metadata_base_url=repository.url,
            target_base_url=f"{repository.url.rstrip('/')}/targets/",
            fetcher=fetcher,
            config=UpdaterConfig(
                max_root_rotations=MAX_ROOT_ROTATIONS,
                max_delegations=MAX_DELEGATIONS,
                snapshot_max_length=settings.tuf_max_bytes,
                targets_max_length=settings.tuf_max_bytes,
            ),
            bootstrap=repository.root.encode(),
        )
        trusted = updater._trusted_set  # noqa: SLF001 - version pinned; the only way to pass the clock in
        trusted.reference_time = now
        updater.refresh()
        target = updater.get_targetinfo(repository.target)
        if target is None:
            raise _refused(repository, f"it has no target {repository.target}")
        if target.length > settings.tuf_max_bytes:
            raise _refused(repository, f"its target {repository.target} is larger than tuf_max_bytes")
        with tempfile.TemporaryDirectory(dir=folder) as fresh:
            content = Path(updater.download_target(target, str(Path(fresh) / "target"))).read_bytes()
        _check(content)
        expires = min(role.expires for role in trusted)
        document = Document(content, now, expires.astimezone(UTC))
        _keep(folder, document)
    except PolicyError as exc:
        raise _refused(repository, f"its target {repository.target} {exc.message}") from exc
    except RepositoryError as exc:
        raise _refused(repository, f"it does not verify: {type(exc).__name__}") from exc
    except DownloadHTTPError as exc:
        if exc.status_code in range(300, 400):
            raise _refused(repository, "it redirects, which is not followed") from exc
        raise _unavailable(repository, f"it answered {exc.status_code}") from exc
    except DownloadError as exc:
        if _forbidden(exc):
            message = f"TUF repository {repository.url[:200]} leads to an address that may not be reached"
            raise Unacceptable("AddressForbidden", message) from exc
        cause = exc.__cause__ or exc
        if type(exc).__name__ == "DownloadLengthMismatchError":
            raise _refused(repository, "a file of it is larger than it may be") from exc
        raise _unavailable(repository, type(cause).__name__) from exc
    except (OSError, ValueError, urllib3.exceptions.HTTPError) as exc:
        raise _unavailable(repository, type(exc).__name__) from exc
    finally:
        fetcher.close()
        alone.close()
    return document


def remembered(repository: TufRepository, *, settings: ClusterSettings) -> Document | None:
    """What the last whole refresh kept, whatever its age; None if there is nothing that can be read."""
    try:
        kept = json.loads((_folder(repository, settings) / _KEPT).read_bytes())
        content = kept["content"].encode()
        if hashlib.sha256(content).hexdigest() != kept["sha256"]:
            return None
        return Document(content, datetime.fromisoformat(kept["refreshedAt"]), datetime.fromisoformat(kept["expiresAt"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _check(content: bytes) -> None:
    """Raise `PolicyError` for what is no readable TrustedRoot: well signed or not, it replaces nothing."""
    try:
        parse_root(trust_root("", content))
    except ConfigurationError as exc:
        message = exc.message if isinstance(exc, PolicyError) else "is no TrustedRoot that Assay can read"
        raise PolicyError("TufRefused", message) from exc


def _lock(folder: Path, stack: contextlib.ExitStack) -> None:
    """Be the only one who writes there until the stack is closed. Raises `OSError` where somebody else is."""
    file = stack.enter_context((folder / "lock").open("w"))
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _forbidden(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, _AddressForbidden):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


class _AddressForbidden(OSError):
    """Where the connection would have led."""


def _keep(folder: Path, document: Document) -> None:
    """Write all of it or nothing."""
    kept = {
        "content": document.content.decode(),
        "sha256": hashlib.sha256(document.content).hexdigest(),
        "refreshedAt": document.refreshed_at.isoformat(),
        "expiresAt": document.expires_at.isoformat(),
    }
    fresh = folder / f"{_KEPT}.new"
    with fresh.open("w") as file:
        json.dump(kept, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(folder / _KEPT)


def _folder(repository: TufRepository, settings: ClusterSettings) -> Path:
    """Another root or address is another repository: nothing that was kept for one serves the other."""
    identity = f"{repository.url}\n{repository.target}\n{repository.root}".encode()
    return settings.tuf_folder() / hashlib.sha256(identity).hexdigest()[:32]


def _refused(repository: TufRepository, why: str) -> Unacceptable:
    return Unacceptable("TufRefused", f"TUF repository {repository.url[:200]}: {why}")


def _unavailable(repository: TufRepository, why: str) -> Unavailable:
    return Unavailable("TufUnavailable", f"TUF repository {repository.url[:200]} cannot be read: {why}")


class _Fetcher(FetcherInterface):
    """HTTPS without redirects, retries and proxies; to permitted addresses alone; each file within a bounded time."""

    def __init__(self, settings: ClusterSettings, check_address: CheckAddress) -> None:
        self._timeout = float(settings.tuf_request_timeout)
        self._end = time.monotonic() + MAX_REFRESH
        self._deadline = self._end
        context = ssl.create_default_context(cafile=settings.tuf_ca_file or None)

        class Connection(HTTPSConnection):
            def _new_conn(connection) -> socket.socket:  # noqa: N805 - `self` is the fetcher here
                return _connected(connection._dns_host, connection.port, left=self._left, check=check_address)

        class Timed(ssl.SSLSocket):
            """Waits for the next bytes no longer than the whole file may take: a server may send one at a time."""

            def recv_into(sock, *args: Any, **more: Any) -> int:  # noqa: N805 - `self` is the fetcher here
                sock.settimeout(self._left())
                return super().recv_into(*args, **more)

        context.sslsocket_class = Timed
        self._pools: dict[tuple[str, int], urllib3.HTTPSConnectionPool] = {}
        self._responses: list[Any] = []
        self._connection, self._context = Connection, context

    def close(self) -> None:
        """Close its connections, those too whose answers were not read to their end."""
        for response in self._responses:
            response.close()
        for pool in self._pools.values():
            pool.close()

    def _fetch(self, url: str) -> Iterator[bytes]:
        parsed = urllib3.util.parse_url(url)
        if parsed.scheme != "https" or not parsed.host:
            raise DownloadError("only https is spoken")
        self._deadline = min(time.monotonic() + self._timeout, self._end)
        key = parsed.host, parsed.port or 443
        if key not in self._pools:
            pool = urllib3.HTTPSConnectionPool(key[0], key[1], ssl_context=self._context, maxsize=1)
            pool.ConnectionCls = self._connection
            self._pools[key] = pool
        response = self._pools[key].urlopen(
            "GET",
            parsed.request_uri,
            headers={"User-Agent": f"assay/{__version__}", "Accept-Encoding": "identity"},
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
            timeout=urllib3.Timeout(total=self._left()),
        )
        self._responses.append(response)
        if response.status != 200:
            raise DownloadHTTPError(f"status {response.status}", response.status)
        return self._chunks(response)

    def _chunks(self, response: Any) -> Iterator[bytes]:
        while chunk := response.read1(_CHUNK):
            self._left()
            yield chunk

    def _left(self) -> float:
        """The seconds that the file may still take. Raises `TimeoutError` when there are none."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("it took longer than tuf_request_timeout, or all of it longer than MAX_REFRESH")
        return left


def _connected(host: str, port: int, *, left: Callable[[], float], check: CheckAddress) -> socket.socket:
    """A connection to the first permitted address that answers in the seconds that are left. Raises `OSError`."""
    last: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
        try:
            check(str(address[0]), port)
        except OSError as exc:
            last = _AddressForbidden(str(exc))
            continue
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(left())
            connection.connect(address)
        except OSError as exc:
            connection.close()
            last = exc
            continue
        return connection
    raise last
