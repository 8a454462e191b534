"""Tiles: the paths of the specification, the cutting of a tree, and proofs made from nothing but tiles."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.inventory.ledger import merkle, tiles
from controller.inventory.ledger.merkle import HASH_SIZE, Frontier, leaf_hash
from controller.inventory.ledger.tiles import WIDTH


def tiles_of(size: int) -> dict[str, bytes]:
    """All tiles of a tree, as a log would serve them."""
    rows: dict[int, list[bytes]] = {}

    def see(level: int, _index: int, value: bytes) -> None:
        if level % tiles.HEIGHT == 0:
            rows.setdefault(level // tiles.HEIGHT, []).append(value)

    Frontier().append((leaf_hash(b"%d" % number) for number in range(size)), see)
    served = {}
    for level, hashes in rows.items():
        for index in range((len(hashes) + WIDTH - 1) // WIDTH):
            part = hashes[index * WIDTH : (index + 1) * WIDTH]
            served[tiles.path(level, index, len(part))] = b"".join(part)
    return served


@pytest.mark.parametrize(
    ("level", "index", "width", "text"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 1234067, 256, "tile/0/x001/x234/067"),
        (1, 999, 17, "tile/1/999.p/17"),
        (2, 1000, 1, "tile/2/x001/000.p/1"),
        (None, 5, 255, "tile/entries/005.p/255"),
    ],
)
def test_paths_are_those_of_the_specification(level: int | None, index: int, width: int, text: str) -> None:
    assert tiles.path(level, index, width) == text
    assert tiles.parse_path(text) == (level, index, width)


@pytest.mark.parametrize(
    "text",
    [
        "tile/0/1",
        "tile/0/0001",
        "tile/0/x000/001",
        "tile/00/001",
        "tile/8/001",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/017",
        "tile/0/x001/067/",
        "tile/0/../../etc/passwd",
        "tile/entries/",
        "tile/0/" + "x999/" * 40 + "999",
        "tile/0/\N{ARABIC-INDIC DIGIT ZERO}00",
        "",
    ],
)
def test_no_other_path_is_read(text: str) -> None:
    with pytest.raises(ValueError, match="no path of a tile"):
        tiles.parse_path(text)


def test_a_tree_of_70000_has_the_tiles_that_the_specification_counts() -> None:
    served = tiles_of(70_000)
    widths = {path: len(content) // HASH_SIZE for path, content in served.items()}
    assert sum(width == WIDTH for path, width in widths.items() if path.startswith("tile/0/")) == 273
    assert {path: width for path, width in widths.items() if width < WIDTH} == {
        "tile/0/273.p/112": 112,
        "tile/1/001.p/17": 17,
        "tile/2/000.p/1": 1,
    }
    assert widths["tile/1/000"] == WIDTH
    for path, width in widths.items():
        level, index, _ = tiles.parse_path(path)
        assert tiles.width_of(level, index, 70_000) == width
    assert tiles.width_of(0, 274, 70_000) == 0
    assert tiles.width_of(None, 273, 70_000) == 112


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 1500), st.data())
def test_proofs_are_made_from_tiles_alone(size: int, data: st.DataObject) -> None:
    served = tiles_of(size)
    asked: set[str] = set()

    def tile(level: int, index: int) -> bytes:
        name = tiles.path(level, index, tiles.width_of(level, index, size))
        asked.add(name)
        return served[name]

    nodes = tiles.nodes_in(tile)
    root = merkle.root_of(size, nodes)
    assert root == Frontier().append(leaf_hash(b"%d" % number) for number in range(size)).root()
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, nodes)
    assert merkle.verify_inclusion(leaf_hash(b"%d" % index), index, size, proof, root)
    old = data.draw(st.integers(1, size))
    steps = merkle.consistency_proof(old, size, nodes)
    assert merkle.verify_consistency(old, size, steps, merkle.root_of(old, nodes), root)
    assert asked <= served.keys()


def test_a_node_that_the_tiles_do_not_have_is_an_error() -> None:
    nodes = tiles.nodes_in(lambda _level, _index: b"\x00" * HASH_SIZE * 3)
    assert nodes(0, 2)
    for level, index in ((0, 3), (1, 1), (2, 0)):
        with pytest.raises(ValueError, match="does not go that far"):
            nodes(level, index)


@pytest.mark.parametrize("content", [b"", b"\x00" * 31, b"\x00" * HASH_SIZE * 257])
def test_a_tile_is_whole_hashes(content: bytes) -> None:
    with pytest.raises(ValueError, match="1 to 256 hashes"):
        tiles.hashes_of(content)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_gives_back_its_entries(entries: list[bytes]) -> None:
    content = tiles.bundle(entries)
    assert list(tiles.entries_of(content)) == entries


def test_a_bundle_that_is_cut_within_an_entry_is_refused() -> None:
    content = tiles.bundle([b"first", b"second"])
    assert list(tiles.entries_of(content[:7])) == [b"first"]
    for length in (1, 6, 8, len(content) - 1):
        with pytest.raises(ValueError, match="is cut"):
            list(tiles.entries_of(content[:length]))


def test_an_entry_that_no_bundle_holds_is_refused() -> None:
    assert tiles.bundle([b"x" * tiles.MAX_ENTRY])
    with pytest.raises(ValueError, match="65535 bytes"):
        tiles.bundle([b"x" * (tiles.MAX_ENTRY + 1)])
