"""A witness as https://c2sp.org/tlog-witness has it: a real HTTP server that remembers what it has cosigned.

It can also misbehave, as a test asks it to.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from controller.inventory.ledger import merkle, notes
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.notes import COSIGNATURE, NoteKey, NoteSigner


@dataclass
class Witness:
    """What it signs with, whose ledger it knows, and what it has cosigned last."""

    signer: NoteSigner
    log: NoteKey | None  # None: it knows nobody's yet
    last: Checkpoint | None = None
    asked: list[tuple[int, int]] = field(default_factory=list)  # (old size, size) of each request
    answers: list[tuple[int, str, bytes]] = field(default_factory=list)  # given instead, one a request
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def setting(self) -> str:
        """How `ledger_witnesses` names it."""
        return f"{self.url}={self.signer.key(COSIGNATURE)}"

    def add_checkpoint(self, body: bytes) -> tuple[int, str, bytes]:  # noqa: PLR0911 - as many as the specification has
        """Status, media type and body of the answer."""
        head, _, note = body.decode().partition("\n\n")
        first, *lines = head.split("\n")
        word, _, old_text = first.partition(" ")
        if word != "old" or not old_text.isdecimal() or len(lines) > 63:
            return 400, "text/plain", b"malformed\n"
        old, proof = int(old_text), [base64.b64decode(line, validate=True) for line in lines]
        text, _ = notes.split(note.encode())
        checkpoint = Checkpoint.parse(text)
        if self.log is None or checkpoint.origin != self.log.name:
            return 404, "text/plain", b"unknown\n"
        try:
            notes.open_note(note.encode(), [self.log])
        except ValueError:
            return 403, "text/plain", b"not signed\n"
        with self.lock:
            self.asked.append((old, checkpoint.size))
            if self.answers:
                return self.answers.pop(0)
            if old > checkpoint.size:
                return 400, "text/plain", b"old\n"
            seen = self.last.size if self.last is not None else 0
            if old != seen:
                return 409, "text/x.tlog.size", f"{seen}\n".encode()
            if self.last is not None and old == checkpoint.size and self.last.root != checkpoint.root:
                return 409, "text/plain", b"another root\n"
            if old and old != checkpoint.size:
                assert self.last is not None
                whole = merkle.verify_consistency(old, checkpoint.size, proof, self.last.root, checkpoint.root)
                if not whole:
                    return 422, "text/plain", b"no proof\n"
            elif proof:
                return 422, "text/plain", b"a proof of nothing\n"
            self.last = checkpoint
        return 200, "text/plain", self.signer.cosign(text, datetime.now(UTC)).encode()


@contextmanager
def running(witness: Witness) -> Iterator[Witness]:
    """Serve it on loopback for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if self.path != "/prefix/add-checkpoint":
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, kind, answer = witness.add_checkpoint(body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's signature
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    witness.url = f"http://127.0.0.1:{server.server_port}/prefix"
    try:
        yield witness
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
