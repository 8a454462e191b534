"""How a blob's bytes lie where they are kept. A digest and a size are always those of the original bytes.

Zstandard (RFC 8878) by the standard library's own module, which before Python 3.14 is a package of the same interface.
"""

from __future__ import annotations

import sys
from enum import StrEnum

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_BLOB_BYTES = 128 * 1024 * 1024  # of one blob, unpacked: the writer takes no larger record
MIN_PACKED_BYTES = 256  # below it a frame's own bytes eat what is won
LEVEL = 1  # 1 MB of SBOM in 4 ms; level 3 takes two to three times as long for 3 % less, in signed envelopes
WINDOW_LOG = 27  # 128 MiB: what unpacking may hold in memory, whatever a frame's header asks for


class Encoding(StrEnum):
    """How the kept bytes become the original ones."""

    RAW = "raw"
    ZSTD = "zstd"


def pack(content: bytes) -> tuple[Encoding, bytes]:
    """The bytes as they are to be kept: the shorter of both forms."""
    if len(content) >= MIN_PACKED_BYTES:
        packed = zstd.compress(content, level=LEVEL)
        if len(packed) < len(content):
            return Encoding.ZSTD, packed
    return Encoding.RAW, content


def unpack(encoding: str, kept: bytes, *, size: int) -> bytes:
    """The original bytes. Never makes more of them than `size`, nor than `MAX_BLOB_BYTES`, whatever `kept` unfolds to.

    Raises `ValueError` for what is not the packed form of exactly `size` bytes.
    """
    if not 0 <= size <= MAX_BLOB_BYTES:
        raise ValueError(f"a blob has no {size} bytes")
    if encoding == Encoding.RAW:
        content = kept
    elif encoding == Encoding.ZSTD:
        content = _unpack(kept, size)
    else:
        raise ValueError("it is kept in no form that this version reads")
    if len(content) != size:
        raise ValueError(f"it has {len(content)} bytes, and had {size}")
    return content


def _unpack(kept: bytes, size: int) -> bytes:
    decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})
    try:
        content = decompressor.decompress(kept, max_length=size + 1)
        if len(content) > size:
            raise ValueError(f"it unfolds to more than the {size} bytes that it had")
        if not decompressor.eof:
            content += decompressor.decompress(b"", max_length=1)  # a frame's end may be read after its last byte
    except (zstd.ZstdError, EOFError) as exc:
        raise ValueError("it cannot be unpacked") from exc
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("it is not one whole frame")
    return content
