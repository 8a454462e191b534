"""DER taken apart and put together again, for tests that change what a real tool made."""

from __future__ import annotations


def parts(body: bytes) -> list[tuple[int, bytes]]:
    """The elements of a DER sequence's content: tag and content."""
    found = []
    while body:
        length, start = body[1], 2
        if length >= 0x80:
            start += length - 0x80
            length = int.from_bytes(body[2:start])
        found.append((body[0], body[start : start + length]))
        body = body[start + length :]
    return found


def whole(tag: int, *contents: bytes) -> bytes:
    body = b"".join(contents)
    octets = (len(body).bit_length() + 7) // 8
    length = bytes([len(body)]) if len(body) < 0x80 else bytes([0x80 + octets]) + len(body).to_bytes(octets)
    return bytes([tag]) + length + body
