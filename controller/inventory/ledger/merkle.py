"""The Merkle tree of RFC 6962, section 2.1: hashes, proofs, and their verification (RFC 9162, 2.1.3 and 2.1.4).

A tree is a number of entries and a way to ask for the hash of any *complete* subtree (`Nodes`); every root and proof of
that size, and of each smaller one, follows from these hashes, which never change once they are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

HASH_SIZE = 32  # bytes of SHA-256
MAX_PROOF = 64  # hashes of one inclusion proof: trees have at most 2**63 entries

Nodes = Callable[[int, int], bytes]
"""(level, index): the hash of the complete subtree of the entries from index * 2**level on, 2**level of them."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node above two."""
    return hashlib.sha256(b"\x01" + left + right).digest()


EMPTY_ROOT = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """What has to be known of a tree to append to it: the roots of its complete subtrees, the largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, size: int, nodes: Nodes) -> Frontier:
        """The frontier of a tree of which every complete subtree can be asked for."""
        return cls(size, tuple(nodes(level, index) for level, index in complete_subtrees(0, size)))

    def append(self, leaves: Iterable[bytes], seen: Callable[[int, int, bytes], None] | None = None) -> Frontier:
        """The frontier after these leaf hashes. `seen` is told (level, index, hash) of each subtree made complete."""
        size, stack = self.size, list(self.hashes)
        for leaf in leaves:
            found, level = leaf, 0
            if seen is not None:
                seen(0, size, leaf)
            while size >> level & 1:
                found = node_hash(stack.pop(), found)
                level += 1
                if seen is not None:
                    seen(level, size >> level, found)
            stack.append(found)
            size += 1
        return Frontier(size, tuple(stack))

    def root(self) -> bytes:
        """The root of the tree."""
        if not self.hashes:
            return EMPTY_ROOT
        found = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            found = node_hash(left, found)
        return found


def complete_subtrees(start: int, end: int) -> list[tuple[int, int]]:
    """The complete subtrees, (level, index), that make up the entries from `start` to before `end`.

    `start` is a multiple of the largest of them, as it is for each part of a tree that proofs are made of.
    """
    found = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append((level, start >> level))
        start += 1 << level
    return found


def root_of(size: int, nodes: Nodes) -> bytes:
    """The root of the first `size` entries."""
    return Frontier.of(size, nodes).root()


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """RFC 6962, 2.1.1: the hashes by which entry `index` leads to the root of the first `size` entries.

    Raises `ValueError` for an entry that is not among these.
    """
    if not 0 <= index < size:
        raise ValueError(f"entry {index} is not among {size}")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_subtree(middle, end, nodes))
            end = middle
        else:
            proof.append(_subtree(start, middle, nodes))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """RFC 6962, 2.1.2: the hashes by which the tree of `old` entries is shown to be the beginning of that of `new`.

    Raises `ValueError` unless 0 < old <= new. (Of nothing, everything is a continuation, and nothing can be proven.)
    """
    if not 0 < old <= new:
        raise ValueError(f"no proof leads from {old} entries to {new}")
    proof: list[bytes] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_subtree(middle, end, nodes))
            end = middle
        else:
            proof.append(_subtree(start, middle, nodes))
            start, whole = middle, False
    if not whole:
        proof.append(_subtree(start, end, nodes))
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof leads from a leaf's hash, as entry `index`, to the root of `size` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size or not _well_formed(proof):
        return False
    at, last, found = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, step)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Whether the proof shows that the new tree begins with the old one (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= new or not _well_formed(proof):
        return False
    if old == new:
        return not proof and old_root == new_root
    steps = list(proof)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, step)
        at, last = at >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def _split(count: int) -> int:
    """The largest power of two below the count."""
    return 1 << ((count - 1).bit_length() - 1)


def _subtree(start: int, end: int, nodes: Nodes) -> bytes:
    hashes = tuple(nodes(level, index) for level, index in complete_subtrees(start, end))
    return Frontier(end - start, hashes).root()


def _well_formed(proof: Sequence[bytes]) -> bool:
    return len(proof) <= 2 * MAX_PROOF and all(len(step) == HASH_SIZE for step in proof)
