"""The bytes of images' configurations, which older versions kept and which no version keeps: they hold environment
values, and commands with tokens (guarantee 12; docs/design/image-configurations.md).

Older leaves name a configuration among their `blobs`, as they name evidence. What is only that counts as not kept: it
is not written, not handed over and not missed, and what is there is deleted (`retention.configurations`). Its hash
stays in the ledger, by the leaf. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def kept(leaf: Mapping[str, Any]) -> Sequence[str]:
    """The digests of the bytes that are kept beside a leaf: all that it names but for configurations.

    Raises what a malformed leaf raises: `KeyError`, `TypeError`, `AttributeError`.
    """
    named: Sequence[str] = leaf["blobs"]
    unkept = configurations(leaf) if named else frozenset()
    return [digest for digest in named if digest not in unkept] if unkept else named


def demanded(leaf: Mapping[str, Any]) -> Sequence[str]:
    """Of these, those that are missed where they are gone. Raises as `kept` does."""
    unsure = unexplained(leaf)
    return [digest for digest in kept(leaf) if digest not in unsure]


def configurations(leaf: Mapping[str, Any]) -> frozenset[str]:
    """The digests that a leaf names as configurations and as nothing else.

    Whoever pushes an image chooses its configuration's bytes: they may be those of a policy, a key, a trust root, or of
    evidence too. Such bytes are what they are there, and are kept. Raises as `kept` does.
    """
    configs = _configs(leaf)
    return frozenset(configs.difference(_otherwise(leaf))) if configs else frozenset()


def unexplained(leaf: Mapping[str, Any]) -> frozenset[str]:
    """The digests of which a leaf does not say what they are, since what they were for was never assessed.

    They are configurations, or evidence that proved nothing. Raises as `kept` does.
    """
    if all(evaluation.get("used") for evaluation in leaf.get("evaluations") or ()):
        return frozenset()
    return frozenset(set(leaf["blobs"]).difference(_configs(leaf), _otherwise(leaf)))


def _configs(leaf: Mapping[str, Any]) -> set[str]:
    return {config["digest"] for used in _used(leaf) for config in used.get("configs") or ()}


def _used(leaf: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for evaluation in leaf.get("evaluations") or ():
        yield evaluation.get("used") or {}


def _otherwise(leaf: Mapping[str, Any]) -> Iterator[str]:
    """Every digest that a leaf names by what it was for, configurations aside."""
    for evaluation in leaf.get("evaluations") or ():
        yield evaluation["policy"]["hash"]
        yield from (exception["hash"] for exception in evaluation.get("exceptions") or ())
        for what in ("artifacts", "signatures", "attestations", "rejections"):
            yield from (artifact["artifact"] for artifact in evaluation.get(what) or ())
    for used in _used(leaf):
        yield from used.get("artifacts") or ()
        yield from (used.get("trustRoots") or {}).values()
        yield from (used.get("chains") or {}).values()
        yield from (digest for digests in (used.get("keys") or {}).values() for digest in digests)
