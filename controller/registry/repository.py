"""One repository as one credential sees it: manifests, blobs and referrers, each hashed and compared (guarantee 3)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator

from yarl import URL

from controller.errors import AccessDenied, LimitExceeded, Unacceptable
from controller.model.deadline import Deadline
from controller.model.image import ResolvedImage
from controller.model.reference import Digest
from controller.registry.authentication import Authenticator, Login
from controller.registry.endpoints import host_of, same_origin
from controller.registry.failures import raise_for_status
from controller.registry.manifests import ACCEPT, OCI_INDEX, Descriptor, Manifest, parse_manifest
from controller.registry.transport import Answer, Request, Transport
from controller.review.budget import Room
from controller.settings import RegistrySettings

FIRST_BYTES = 64 * 1024  # taken for an answer of unknown size; one that is larger is asked for again, with more room
MAX_REFERRER_PAGES = 64  # bounds the pages of one referrers answer, empty ones too

# Answers of registries that do not know the referrers API. The specification asks for 404; the others are what
# registries give that take the path for a malformed or unsupported one.
_NO_REFERRERS_API = frozenset({400, 404, 405, 406, 501})
_NEXT_LINK = re.compile(r'<([^<>]{1,4096})>\s*;(?:[^,<>]*;)?\s*rel\s*=\s*"?next"?\s*(?:[;,]|$)', re.IGNORECASE)


class Repository:
    """The requests of the distribution specification that Assay makes, for one login.

    Before anything is asked for, `room` is taken for what may come: no connection is held while there is none.
    """

    def __init__(
        self,
        login: Login,
        *,
        transport: Transport,
        authenticator: Authenticator,
        room: Room,
        settings: RegistrySettings,
    ) -> None:
        self.login = login
        self._room = room
        self._transport = transport
        self._authenticator = authenticator
        self._settings = settings
        self._base = login.endpoint.base.with_path(f"/v2/{login.repository}/")

    async def manifest(self, name: Digest | str, *, deadline: Deadline) -> Manifest:
        """The manifest of this digest or tag.

        A registry that counts pulls is asked by HEAD first whether the tag is there, as most that evidence may lie
        under are not. Raises `Unacceptable` (`DigestMismatch`, or as `parse_manifest`), `NotFound`, `AccessDenied`,
        `Unavailable`.
        """
        if not isinstance(name, Digest) and self._transport.allowances.counts(host_of(self._base)):
            await self._head(name, deadline=deadline)
        return await self._manifest(name, deadline=deadline)

    async def manifest_unless(self, known: ResolvedImage, tag: str, *, deadline: Deadline) -> Manifest | None:
        """The manifest of this tag, or None when a HEAD says that it still names what is `known`: that is no pull.

        Raises as `manifest` does.
        """
        if await self._head(tag, deadline=deadline) == (str(known.digest), known.media_type):
            return None
        return await self._manifest(tag, deadline=deadline)

    async def _head(self, tag: str, *, deadline: Deadline) -> tuple[str, str] | None:
        """Digest and media type that the registry says a tag has, unchecked; None when it says nothing of use.

        Raises `NotFound`, and `Unavailable` as the transport does; whatever else is wrong, the GET will say.
        """
        what = self._what(tag)
        request = Request(
            url=self._base.join(URL(f"manifests/{tag}")),
            what=what,
            max_bytes=0,
            setting="registry_max_manifest_bytes",
            accept=ACCEPT,
            account=self.login.account,
            head=True,
        )
        try:
            answer = await self._ask(request, deadline=deadline)
        except AccessDenied:
            return None
        if answer.status == 404:
            self._require_success(answer, what)
        if answer.status != 200:
            return None
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return answer.headers.get("Docker-Content-Digest", "").strip(), media_type

    async def _manifest(self, name: Digest | str, *, deadline: Deadline) -> Manifest:
        what = self._what(name)
        answer = await self._get(
            f"manifests/{name}",
            what=what,
            accept=ACCEPT,
            max_bytes=self._settings.registry_max_manifest_bytes,
            setting="registry_max_manifest_bytes",
            deadline=deadline,
        )
        digest = Digest.of(answer.body)
        if isinstance(name, Digest) and digest != name:
            raise Unacceptable("DigestMismatch", f"{self._host} sent other content for {what}: it has {digest}")
        said = answer.headers.get("Docker-Content-Digest", str(digest)).strip()
        if said != str(digest):
            raise Unacceptable("DigestMismatch", f"{self._host} names another digest for {what} than its content has")
        return parse_manifest(answer.body, content_type=answer.headers.get("Content-Type", ""), what=what)

    async def blob(self, descriptor: Descriptor, *, deadline: Deadline) -> bytes:
        """The content that the descriptor points to, of exactly its size and digest.

        Raises `LimitExceeded` (`registry_max_blob_bytes`) before asking, `Unacceptable` (`DigestMismatch`), and as
        `manifest` does.
        """
        what = f"blob {descriptor.digest} of {self.login.endpoint.name}/{self.login.repository}"
        if descriptor.size > self._settings.registry_max_blob_bytes:
            raise LimitExceeded(
                "registry_max_blob_bytes",
                f"{what} is larger than {self._settings.registry_max_blob_bytes} bytes",
            )
        try:
            answer = await self._get(
                f"blobs/{descriptor.digest}",
                what=what,
                accept="*/*",
                max_bytes=descriptor.size,
                setting="registry_max_blob_bytes",
                first=descriptor.size,
                deadline=deadline,
            )
        except LimitExceeded as exc:
            if exc.setting != "registry_max_blob_bytes":
                raise
            raise Unacceptable("DigestMismatch", f"{self._host} sent other content for {what}") from exc
        if len(answer.body) != descriptor.size or Digest.of(answer.body) != descriptor.digest:
            raise Unacceptable("DigestMismatch", f"{self._host} sent other content for {what}")
        return answer.body

    async def referrers(self, subject: Digest, *, deadline: Deadline) -> AsyncIterator[Manifest]:
        """The pages of the referrers API for `subject`; nothing at all from a registry that does not have it.

        Each page is an index whose entries point at referrers. Raises `Unacceptable` (`ReferrersMalformed`,
        `PaginationRefused`), `LimitExceeded`, and as `manifest` does.
        """
        what = f"the referrers of {self.login.endpoint.name}/{self.login.repository}@{subject}"
        url = self._base.join(URL(f"referrers/{subject}"))
        for page in range(MAX_REFERRER_PAGES):
            answer = await self._send(
                Request(
                    url=url,
                    what=what,
                    max_bytes=self._settings.registry_max_manifest_bytes,
                    setting="registry_max_manifest_bytes",
                    accept=OCI_INDEX,
                    account=self.login.account,
                ),
                deadline=deadline,
            )
            if page == 0 and answer.status in _NO_REFERRERS_API:
                return
            self._require_success(answer, what)
            yield self._page(answer, what)
            following = _following(url, answer, what=f"{self._host}: {what}")
            if following is None:
                return
            url = following
        raise LimitExceeded("MAX_REFERRER_PAGES", f"{self._host} lists {what} on too many pages")

    @property
    def _host(self) -> str:
        return self.login.endpoint.name

    def _what(self, name: Digest | str) -> str:
        separator = "@" if isinstance(name, Digest) else ":"
        return f"{self.login.endpoint.name}/{self.login.repository}{separator}{name}"

    def _page(self, answer: Answer, what: str) -> Manifest:
        content_type = answer.headers.get("Content-Type", "")
        if content_type.partition(";")[0].strip().lower() != OCI_INDEX:
            raise Unacceptable("ReferrersMalformed", f"{self._host} did not answer with an index for {what}")
        return parse_manifest(answer.body, content_type=content_type, what=what)

    async def _get(
        self,
        path: str,
        *,
        what: str,
        accept: str,
        max_bytes: int,
        setting: str,
        deadline: Deadline,
        first: int = FIRST_BYTES,
    ) -> Answer:
        request = Request(
            url=self._base.join(URL(path)),
            what=what,
            accept=accept,
            max_bytes=max_bytes,
            setting=setting,
            account=self.login.account,
        )
        answer = await self._send(request, deadline=deadline, first=first)
        self._require_success(answer, what)
        return answer

    async def _send(self, request: Request, *, deadline: Deadline, first: int = FIRST_BYTES) -> Answer:
        """The answer, of at most `first` bytes if that will do."""
        if first < request.max_bytes:
            try:
                return await self._within_room(dataclasses.replace(request, max_bytes=first), deadline=deadline)
            except LimitExceeded as exc:
                if exc.setting != request.setting:
                    raise
        return await self._within_room(request, deadline=deadline)

    async def _within_room(self, request: Request, *, deadline: Deadline) -> Answer:
        """The answer, with room taken for all that it may have before it is asked for, and kept for what it has."""
        await self._room.take(request.max_bytes, deadline=deadline)
        kept = 0
        try:
            answer = await self._ask(request, deadline=deadline)
            kept = len(answer.body)
            return answer
        finally:
            self._room.give(request.max_bytes - kept)

    async def _ask(self, request: Request, *, deadline: Deadline) -> Answer:
        header = await self._authenticator.header(self.login, deadline=deadline)
        answer = await self._transport.send(request.with_authorization(header), deadline=deadline)
        if answer.status == 401 and same_origin(answer.url, request.url):
            header = await self._authenticator.challenged(self.login, answer, used=header, deadline=deadline)
            answer = await self._transport.send(request.with_authorization(header), deadline=deadline)
        return answer

    def _require_success(self, answer: Answer, what: str) -> None:
        raise_for_status(answer.status, host=self._host, what=what, credentials=self.login.words)


def _following(url: URL, answer: Answer, *, what: str) -> URL | None:
    match = _NEXT_LINK.search(", ".join(answer.headers.getall("Link", [])))
    if match is None:
        return None
    try:
        following = url.join(URL(match[1]))
        allowed = same_origin(following, url) and following.path == url.path and following != url
    except ValueError:
        allowed = False
    if not allowed:
        raise Unacceptable("PaginationRefused", f"{what} are said to go on at another place")
    return following
