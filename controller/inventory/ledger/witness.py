"""What is said to a witness, and what it answers (https://c2sp.org/tlog-witness).

A witness cosigns a checkpoint if it continues the last one that it cosigned of this ledger. Whoever trusts it needs no
other proof that nobody was shown another history.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from controller.inventory.ledger import notes
from controller.inventory.ledger.notes import COSIGNATURE, NoteKey

MAX_PROOF = 63  # hashes that may be sent
MAX_ANSWER = 16_384  # bytes of an answer that are read
SIZE_TYPE = "text/x.tlog.size"  # the media type of an answer that only says how far the witness has come
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")


@dataclass(frozen=True, slots=True)
class Witness:
    """Who is asked: the submission prefix of its URLs, and the key that it cosigns with."""

    url: str
    key: NoteKey

    @classmethod
    def parse(cls, text: str, *, allow_http: bool = False) -> Witness:
        """Read `URL=KEY` (a verifier key, NAME+ID+KEY). Raises `ValueError` saying what is wrong with it.

        `allow_http`: plain HTTP may be spoken (that it leads to loopback alone is judged when connecting).
        """
        url, gap, key = text.strip().rpartition("=")
        parts = urlsplit(url)
        if not gap or not parts.hostname or parts.query or parts.fragment or parts.username is not None:
            raise ValueError("is no URL=KEY")
        if parts.scheme != "https" and not (allow_http and parts.scheme == "http"):
            raise ValueError("is to be reached by https")
        found = NoteKey.parse(key)
        if found.kind != COSIGNATURE:
            raise ValueError("holds a key that is none for cosignatures")
        return cls(url.rstrip("/"), found)


def request(old: int, proof: Sequence[bytes], note: str) -> bytes:
    """The body that asks to cosign a note, from the size that the witness has seen. Raises `ValueError`."""
    if len(proof) > MAX_PROOF:
        raise ValueError(f"a proof has at most {MAX_PROOF} hashes")
    lines = [f"old {old}\n", *(f"{base64.b64encode(step).decode()}\n" for step in proof)]
    return f"{''.join(lines)}\n{note}".encode()


def size_of(body: bytes) -> int:
    """The size that the witness has cosigned last, of an answer of type `SIZE_TYPE`. Raises `ValueError`."""
    match = _SIZE.fullmatch(body)
    if match is None:
        raise ValueError("its answer is no size")
    return int(match[1])


def cosignature(note: str, body: bytes, key: NoteKey) -> str:
    """The line with the witness's own signature of this note, verified. Raises `ValueError` where there is none."""
    try:
        lines = body.decode()
    except UnicodeDecodeError as exc:
        raise ValueError("its answer is no text") from exc
    text, _ = notes.split(note.encode())
    for line in lines.splitlines(keepends=True):
        try:
            notes.open_note(f"{text}\n{line}".encode(), [key])
        except ValueError:
            continue  # another's, or none
        return line
    raise ValueError("its answer has no signature of its own of this checkpoint")
