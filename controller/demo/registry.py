"""A read-only OCI registry over a recorded image layout, on loopback.

Serves manifests by tag and digest, blobs, and the referrers API (OCI distribution 1.1), from the folder that
`tests/fixtures/record.py` made with the real tools. Requests are served in threads of their own.
"""

from __future__ import annotations

import json
import re
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_REF_NAME = "org.opencontainers.image.ref.name"
_INDEX = "application/vnd.oci.image.index.v1+json"
_ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<what>manifests|blobs|referrers)/(?P<reference>[^/?]+)")


class Layout:
    """An OCI image layout whose index names images `repository:tag` or `repository@digest`."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs" / "sha256"
        self._manifests: dict[tuple[str, str], dict[str, Any]] = {}
        self._referrers: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for entry in json.loads((folder / "index.json").read_bytes())["manifests"]:
            name = entry["annotations"][_REF_NAME]
            repository, _, reference = name.partition("@") if "@" in name else name.rpartition(":")
            descriptor = {key: entry[key] for key in ("mediaType", "digest", "size")}
            self._manifests[repository, reference] = descriptor
            self._manifests[repository, entry["digest"]] = descriptor
        for (repository, reference), descriptor in self._manifests.items():
            if reference.startswith("sha256:"):
                self._add_children(repository, descriptor)

    def manifest(self, repository: str, reference: str) -> tuple[str, str, bytes] | None:
        """Media type, digest and bytes."""
        descriptor = self._manifests.get((repository, reference)) or self._child(repository, reference)
        if descriptor is None:
            return None
        content = self.blob(descriptor["digest"])
        return (descriptor["mediaType"], descriptor["digest"], content) if content is not None else None

    def blob(self, digest: str) -> bytes | None:
        """The bytes of this digest."""
        if not re.fullmatch(r"sha256:[a-f0-9]{64}", digest):
            return None
        file = self._blobs / digest.removeprefix("sha256:")
        return file.read_bytes() if file.is_file() else None

    def referrers(self, repository: str, digest: str) -> bytes:
        """The index of manifests that name this digest as their subject."""
        manifests = self._referrers.get((repository, digest), [])
        return json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}).encode()

    def _add_children(self, repository: str, descriptor: dict[str, Any]) -> None:
        content = json.loads((self._blobs / descriptor["digest"].removeprefix("sha256:")).read_bytes())
        subject = content.get("subject")
        if subject:
            entry = {**descriptor, "artifactType": content.get("artifactType") or content["config"]["mediaType"]}
            known = self._referrers.setdefault((repository, subject["digest"]), [])
            if entry not in known:
                known.append(entry)

    def _child(self, repository: str, digest: str) -> dict[str, Any] | None:
        """A manifest that stands only inside an index of this repository."""
        for (name, _), descriptor in self._manifests.items():
            if name == repository and descriptor["mediaType"] == _INDEX:
                content = json.loads(self.blob(descriptor["digest"]) or b"{}")
                for child in content.get("manifests", ()):
                    if child["digest"] == digest:
                        return {key: child[key] for key in ("mediaType", "digest", "size")}
        return None


class EmbeddedRegistry:
    """Serves a layout by plain HTTP on a free loopback port, as a context manager. `host` is `127.0.0.1:PORT`."""

    def __init__(self, layout: Layout) -> None:
        handler = type("Handler", (_Handler,), {"layout": layout})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="demo-registry", daemon=True)

    @property
    def host(self) -> str:
        """What stands before the first slash of an image reference."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    layout: Layout
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet: the demo prints what matters."""

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        if path in {"/v2/", "/v2"}:
            self._send("application/json", b"{}", body=body)
            return
        match = _ROUTE.fullmatch(path)
        if match is None:
            self._missing(body=body)
            return
        name, reference = match["name"], match["reference"]
        if match["what"] == "referrers":
            self._send(_INDEX, self.layout.referrers(name, reference), body=body)
        elif match["what"] == "blobs":
            blob = self.layout.blob(reference)
            self._missing(body=body) if blob is None else self._send("application/octet-stream", blob, body=body)
        else:
            found = self.layout.manifest(name, reference)
            if found is None:
                self._missing(body=body)
            else:
                self._send(found[0], found[2], body=body, digest=found[1])

    def _send(
        self, media_type: str, content: bytes, *, body: bool, digest: str = "", status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _missing(self, *, body: bool) -> None:
        content = b'{"errors":[{"code":"NAME_UNKNOWN"}]}'
        self._send("application/json", content, body=body, status=HTTPStatus.NOT_FOUND)
