"""How the tree is cut into tiles, and what these are called (https://c2sp.org/tlog-tiles).

A tile at level L holds up to 256 hashes of the tree's level 8 * L; a full one never changes. Entries lie in bundles of
256, each with its length before it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence

from controller.inventory.ledger.merkle import HASH_SIZE, Frontier, Nodes

HEIGHT = 8  # levels of the tree in one tile
WIDTH = 1 << HEIGHT  # hashes in a full tile, entries in a full bundle
MAX_LEVEL = 7  # tiles of a tree of 2**63 entries
MAX_ENTRY = 65_535  # bytes of one entry: its length is two bytes

_PATH = re.compile(r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


def path(level: int | None, index: int, width: int = WIDTH) -> str:
    """The path of a tile, or of a bundle of entries (`level` None); `width` below 256 names a partial one."""
    groups = []
    rest = index
    while True:
        groups.append(f"{rest % 1000:03}")
        rest //= 1000
        if not rest:
            break
    name = "/".join([*(f"x{group}" for group in reversed(groups[1:])), groups[0]])
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{'entries' if level is None else level}/{name}{partial}"


def parse_path(text: str) -> tuple[int | None, int, int]:
    """(level or None for entries, index, width) of a path. Raises `ValueError` for one that `path` would not write."""
    match = _PATH.fullmatch(text)
    if match is None:
        raise ValueError("no path of a tile")
    level = None if match[1] == "entries" else int(match[1])
    index = int(match[2].replace("x", "").replace("/", ""))
    width = int(match[3]) if match[3] else WIDTH
    if path(level, index, width) != text or (level or 0) > MAX_LEVEL or index >= 1 << 63:
        raise ValueError("no path of a tile")
    return level, index, width


def width_of(level: int | None, index: int, size: int) -> int:
    """How many hashes (or entries) this tile has in a tree of that size: 0 to 256."""
    count = size >> (HEIGHT * (level or 0))
    return max(0, min(WIDTH, count - index * WIDTH))


def hashes_of(tile: bytes) -> list[bytes]:
    """The hashes in a tile. Raises `ValueError` for one that is no list of hashes."""
    if not tile or len(tile) % HASH_SIZE or len(tile) > WIDTH * HASH_SIZE:
        raise ValueError("a tile is 1 to 256 hashes")
    return [tile[at : at + HASH_SIZE] for at in range(0, len(tile), HASH_SIZE)]


def nodes_in(tile_of: Nodes) -> Nodes:
    """The tree's nodes, read from its tiles: `tile_of(level, index)` gives a tile's bytes, as wide as the tree has it.

    Raises `ValueError` for a node that the tree does not have, and what `tile_of` raises.
    """

    def node(level: int, index: int) -> bytes:
        height = level % HEIGHT
        first = index << height  # of the tile level's hashes that are below this node
        tile = hashes_of(tile_of(level // HEIGHT, first // WIDTH))
        below = tile[first % WIDTH : first % WIDTH + (1 << height)]
        if len(below) != 1 << height:
            raise ValueError("the tree does not go that far")
        return Frontier().append(below).root()

    return node


def bundle(entries: Sequence[bytes]) -> bytes:
    """A bundle of entries. Raises `ValueError` for an entry that is too long for one."""
    if not all(len(entry) <= MAX_ENTRY for entry in entries):
        raise ValueError(f"an entry has more than {MAX_ENTRY} bytes")
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)


def entries_of(content: bytes) -> Iterator[bytes]:
    """The entries of a bundle. Raises `ValueError` for one that is cut."""
    at = 0
    while at < len(content):
        if at + 2 > len(content):
            raise ValueError("a bundle of entries is cut")
        (length,) = struct.unpack_from(">H", content, at)
        at += 2 + length
        if at > len(content):
            raise ValueError("a bundle of entries is cut")
        yield content[at - length : at]
