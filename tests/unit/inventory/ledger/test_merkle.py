"""The Merkle tree, held to RFC 6962's own recursive definition, to published roots, and to every way of being wrong."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.inventory.ledger import merkle
from controller.inventory.ledger.merkle import EMPTY_ROOT, Frontier, leaf_hash, node_hash

# The entries and roots that the tests of Google's Certificate Transparency implementations share.
ENTRIES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
ENTRIES.append(bytes(range(0x60, 0x70)))
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
SIZES = st.integers(1, 70)


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(b"entry %d" % number) for number in range(count)]


def definition(hashes: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not hashes:
        return hashlib.sha256().digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(definition(hashes[:split]), definition(hashes[split:]))


def nodes_of(hashes: list[bytes]) -> merkle.Nodes:
    def node(level: int, index: int) -> bytes:
        below = hashes[index << level : (index + 1) << level]
        assert len(below) == 1 << level, "only complete subtrees are asked for"
        return definition(below)

    return node


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_that_others_publish(size: int) -> None:
    assert Frontier().append(map(leaf_hash, ENTRIES[:size])).root().hex() == ROOTS[size - 1]


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert Frontier().root() == EMPTY_ROOT == hashlib.sha256(b"").digest()


@given(SIZES, st.integers(0, 70))
def test_a_tree_grown_in_parts_is_the_tree_grown_at_once(size: int, first: int) -> None:
    hashes = leaves(size)
    seen: dict[tuple[int, int], bytes] = {}

    def see(level: int, index: int, value: bytes) -> None:
        assert (level, index) not in seen
        seen[level, index] = value

    grown = Frontier().append(hashes[:first], see).append(hashes[first:], see)
    assert grown.root() == definition(hashes)
    assert grown == Frontier.of(size, nodes_of(hashes))
    assert seen == {
        (level, index): definition(hashes[index << level : (index + 1) << level])
        for level in range(8)
        for index in range(size >> level)
    }
    assert merkle.root_of(first, nodes_of(hashes)) == definition(hashes[:first]) if first <= size else True


@given(SIZES, st.data())
def test_an_inclusion_proof_proves_its_entry_at_its_place_and_nothing_else(size: int, data: st.DataObject) -> None:
    hashes = leaves(size)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, nodes_of(hashes))
    root = definition(hashes)
    assert merkle.verify_inclusion(hashes[index], index, size, proof, root)
    for other in range(size):
        assert merkle.verify_inclusion(hashes[index], other, size, proof, root) is (other == index)
        assert merkle.verify_inclusion(hashes[other], index, size, proof, root) is (other == index)
    assert not merkle.verify_inclusion(hashes[index], index, size, proof, definition(hashes[:-1]))
    assert not merkle.verify_inclusion(hashes[index], index, size, [*proof, proof[0] if proof else root], root)
    for at in range(len(proof)):
        assert not merkle.verify_inclusion(hashes[index], index, size, proof[:at] + proof[at + 1 :], root)
        flipped = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        assert not merkle.verify_inclusion(hashes[index], index, size, [*proof[:at], flipped, *proof[at + 1 :]], root)


@given(SIZES, st.data())
def test_a_consistency_proof_proves_that_nothing_before_was_changed(size: int, data: st.DataObject) -> None:
    hashes = leaves(size)
    old = data.draw(st.integers(1, size))
    proof = merkle.consistency_proof(old, size, nodes_of(hashes))
    before, after = definition(hashes[:old]), definition(hashes)
    assert merkle.verify_consistency(old, size, proof, before, after)
    for at in range(old):
        forged = definition([*hashes[:at], leaf_hash(b"forged"), *hashes[at + 1 : old]])
        assert not merkle.verify_consistency(old, size, proof, forged, after)
    assert not merkle.verify_consistency(old, size, [*proof, after], before, after)
    for at in range(len(proof)):
        assert not merkle.verify_consistency(old, size, proof[:at] + proof[at + 1 :], before, after)
        flipped = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        assert not merkle.verify_consistency(old, size, [*proof[:at], flipped, *proof[at + 1 :]], before, after)
    if old < size:
        assert not merkle.verify_consistency(old, size, proof, before, definition(hashes[:-1]))


def test_what_is_not_there_has_no_proof() -> None:
    node = nodes_of(leaves(5))
    for index, size in ((5, 5), (-1, 5), (0, 0)):
        with pytest.raises(ValueError, match="is not among"):
            merkle.inclusion_proof(index, size, node)
        assert not merkle.verify_inclusion(leaves(1)[0], index, size, [], EMPTY_ROOT)
    for old, new in ((0, 5), (6, 5)):
        with pytest.raises(ValueError, match="no proof leads"):
            merkle.consistency_proof(old, new, node)
        assert not merkle.verify_consistency(old, new, [], EMPTY_ROOT, EMPTY_ROOT)


def test_a_proof_of_what_are_no_hashes_proves_nothing() -> None:
    hashes = leaves(2)
    root = definition(hashes)
    # The bytes that the node above is the hash of, cut elsewhere: a proof is made of whole hashes.
    assert not merkle.verify_inclusion(hashes[0] + hashes[1][:1], 0, 2, [hashes[1][1:]], root)
    assert not merkle.verify_inclusion(hashes[0], 0, 2, [hashes[1]] * 1000, root)
    assert not merkle.verify_consistency(2, 2, [root], root, root)
    assert not merkle.verify_consistency(1, 2, [], hashes[0], root)
