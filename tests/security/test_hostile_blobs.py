"""Bytes that somebody put in the place of evidence: unpacking them is bounded in memory, and they are never served."""

from __future__ import annotations

import struct
import tracemalloc

import pytest

from controller.inventory.blobs import packing

MAGIC = struct.pack("<I", 0xFD2FB528)


def bomb(size: int) -> bytes:
    """A frame of a few kilobytes that unfolds to so many zeros."""
    return packing.zstd.compress(bytes(size), level=1)


@pytest.mark.guarantee(10)
def test_guarantee_10_a_bomb_unfolds_to_no_more_than_was_recorded() -> None:
    kept = bomb(packing.MAX_BLOB_BYTES)
    assert len(kept) < 20_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="unfolds to more"):
            packing.unpack("zstd", kept, size=1000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.guarantee(10)
@pytest.mark.parametrize("size", [-1, packing.MAX_BLOB_BYTES + 1, 2**62])
def test_guarantee_10_a_size_that_no_record_has_is_refused_before_anything_is_unpacked(size: int) -> None:
    with pytest.raises(ValueError, match="a blob has no"):
        packing.unpack("zstd", bomb(10_000), size=size)


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"\0" * 100,
        MAGIC,
        bomb(1000)[:-1],
        bomb(1000) + bomb(1000),
        bomb(1000) + b"x",
        bomb(0),
        bomb(999),
        # RFC 8878 section 3.1.1.1: a window of 2^41 bytes, which would have to be held in memory
        MAGIC + b"\x00\xf8" + b"\x01\x00\x00",
        # section 3.1.2: a skippable frame, and nothing else
        struct.pack("<II", 0x184D2A50, 4) + b"abcd",
        # a frame that names a dictionary which nobody has
        MAGIC + b"\x01\x00\x07" + b"\x01\x00\x00",
    ],
    ids=[
        "empty",
        "zeros",
        "header",
        "cut",
        "twice",
        "trailing",
        "nothing",
        "short",
        "window",
        "skippable",
        "dictionary",
    ],
)
def test_guarantee_10_what_is_not_exactly_one_frame_of_the_recorded_size_is_refused(kept: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        packing.unpack("zstd", kept, size=1000)
