"""Finds the few policies that may be about an image, so that a thousand policies cost a review no more than five."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from controller.model.policy import Policy, PolicyIdentity
from controller.model.reference import Reference
from controller.policy.compiled import CompiledPolicy
from controller.policy.match import Anchor, anchors_of

MAX_REMEMBERED = 8192  # bounds the names of images (with a namespace) whose policies are remembered
_VERSION = ("uid", "generation", "namespace")

Name = tuple[str, str, str]
"""Kind, namespace and name."""

Read = tuple[Mapping[str, Any], Policy]
"""An object as it came, and what it was parsed to."""


def name_of(obj: Mapping[str, Any]) -> Name:
    """The name of an object as it came; of one without any, a name that no policy has."""
    metadata = obj.get("metadata") or {}
    return (str(obj.get("kind")), str(metadata.get("namespace") or ""), str(metadata.get("name") or ""))


class PolicyIndex:
    """All compiled policies, by namespace and by what their image patterns spell out. Immutable.

    `read` is what each was parsed from, so that the next index need not parse it again.
    """

    __slots__ = ("_by_anchor", "_by_name", "_found", "_read")

    def __init__(
        self, policies: Iterable[CompiledPolicy] = (), read: Mapping[Name, Read] = MappingProxyType({})
    ) -> None:
        ordered = sorted(policies, key=lambda compiled: compiled.name)
        self._by_name = MappingProxyType({compiled.name: compiled for compiled in ordered})
        self._read = read
        by_anchor: dict[tuple[str, Anchor], list[CompiledPolicy]] = {}
        for compiled in self._by_name.values():
            for anchor in compiled.images.anchors:
                by_anchor.setdefault((compiled.policy.identity.namespace, anchor), []).append(compiled)
        self._by_anchor = MappingProxyType({key: tuple(found) for key, found in by_anchor.items()})
        self._found = lru_cache(maxsize=MAX_REMEMBERED)(self._find)

    def candidates(self, reference: Reference, namespace: str) -> tuple[CompiledPolicy, ...]:
        """The policies whose image patterns match, for an object in this namespace, sorted by kind, namespace, name.

        Cluster-wide policies and those of the object's own namespace; selectors and conditions are not looked at.
        """
        return self._found(reference.name, namespace)

    def _find(self, name: str, namespace: str) -> tuple[CompiledPolicy, ...]:
        found: dict[Name, CompiledPolicy] = {}
        for anchor in anchors_of(name):
            for scope in {"", namespace}:
                for compiled in self._by_anchor.get((scope, anchor), ()):
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

    def parsed(self, obj: Mapping[str, Any]) -> Policy | None:
        """What this very version of an object was parsed to, if it was; before what it refers to was looked up.

        The same object, or one that the API server calls the same: a status that was written changes no generation.
        """
        read = self._read.get(name_of(obj))
        if read is None:
            return None
        known, policy = read
        if known is obj:
            return policy
        one, other = known.get("metadata") or {}, obj.get("metadata") or {}
        same = one.get("uid") and one.get("generation") and all(one.get(k) == other.get(k) for k in _VERSION)
        return policy if same and known.get("spec") == obj.get("spec") else None

    def by_name(self, name: Name) -> CompiledPolicy | None:
        """The policy of this (kind, namespace, name)."""
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[CompiledPolicy]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)
