"""Finds the few policies that may be about an image, so that a thousand policies cost a review no more than five."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import MappingProxyType

from controller.model.policy import PolicyIdentity
from controller.model.reference import Reference
from controller.policy.compiled import CompiledPolicy

MAX_REMEMBERED = 8192  # bounds the names of images (with a namespace) whose policies are remembered


class PolicyIndex:
    """All compiled policies, by namespace and by the literal prefix of their image patterns. Immutable."""

    __slots__ = ("_by_name", "_by_prefix", "_found")

    def __init__(self, policies: Iterable[CompiledPolicy] = ()) -> None:
        ordered = sorted(policies, key=lambda compiled: compiled.name)
        self._by_name = MappingProxyType({compiled.name: compiled for compiled in ordered})
        by_prefix: dict[tuple[str, str], list[CompiledPolicy]] = {}
        for compiled in self._by_name.values():
            for prefix in compiled.images.prefixes:
                by_prefix.setdefault((compiled.policy.identity.namespace, prefix), []).append(compiled)
        self._by_prefix = MappingProxyType({key: tuple(found) for key, found in by_prefix.items()})
        self._found = lru_cache(maxsize=MAX_REMEMBERED)(self._find)

    def candidates(self, reference: Reference, namespace: str) -> tuple[CompiledPolicy, ...]:
        """The policies whose image patterns match, for an object in this namespace, sorted by kind, namespace, name.

        Cluster-wide policies and those of the object's own namespace; selectors and conditions are not looked at.
        """
        return self._found(reference.name, namespace)

    def _find(self, name: str, namespace: str) -> tuple[CompiledPolicy, ...]:
        found: dict[tuple[str, str, str], CompiledPolicy] = {}
        components = name.split("/")
        for end in range(len(components) + 1):
            prefix = "/".join(components[:end])
            for scope in {"", namespace}:
                for compiled in self._by_prefix.get((scope, prefix), ()):
                    if compiled.name not in found and compiled.images.matches_name(name):
                        found[compiled.name] = compiled
        return tuple(found[name] for name in sorted(found))

    def unparseable(self, namespace: str) -> tuple[CompiledPolicy, ...]:
        """The policies that apply to an image whose reference cannot be read: every one of its scope.

        Such an image cannot be shown to be outside any pattern, so it is Unacceptable under all of them.
        """
        return tuple(c for c in self if c.policy.identity.namespace in {"", namespace})

    def get(self, identity: PolicyIdentity) -> CompiledPolicy | None:
        """The policy of this kind, namespace and name in the version in force, which may differ from the identity's."""
        return self._by_name.get((identity.kind, identity.namespace, identity.name))

    def by_name(self, name: tuple[str, str, str]) -> CompiledPolicy | None:
        """The policy of this (kind, namespace, name)."""
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[CompiledPolicy]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)
