"""Assay's objects as the cluster has them, and the snapshot that they make. One thread's; compiling goes elsewhere.

Objects come by two ways, as single events and as whole lists, in any order. An event only ever adds or renews; what is
gone is found out by a list alone, so that no lost or late event takes a policy out or lets a deleted one live on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from controller.model.policy import Problem, TrustRoot, TufRepository
from controller.operator.distribution import Refreshed
from controller.operator.exceptions import exception_conditions
from controller.operator.resources import (
    CLUSTER_POLICIES,
    EXCEPTIONS,
    POLICIES,
    RESOURCES,
    TRUST_ROOTS,
    ObjectKey,
    Resource,
    key_of,
)
from controller.operator.status import Condition, object_conditions, policy_conditions, status_patch
from controller.policy.exception_index import ExceptionIndex, build_exceptions
from controller.policy.index import PolicyIndex
from controller.policy.references import NOTHING, Materials, ObjectRef, wanted
from controller.policy.resolving import needs_root
from controller.policy.snapshot import build_policies
from controller.policy.trust import faulty, is_reference, parse_trust_root, repository_of
from controller.settings import ExceptionSettings, PolicySettings

logger = logging.getLogger(__name__)

KubernetesObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Picture:
    """What Assay's own objects come to: compiled policies, exceptions, trust roots by name, and their problems."""

    policies: PolicyIndex
    exceptions: ExceptionIndex
    trust_roots: Mapping[str, TrustRoot]
    trust_problems: Mapping[str, tuple[Problem, ...]]
    refreshed: Mapping[str, Refreshed] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StatusWrite:
    """A status that should be patched: where, and with what."""

    key: ObjectKey
    resource: Resource
    patch: Mapping[str, Any]


class Keeper:
    """Holds the objects and makes pictures of them."""

    def __init__(self, *, trust_roots: Mapping[str, TrustRoot] | None = None) -> None:
        self._objects: dict[str, dict[ObjectKey, KubernetesObject]] = {resource.kind: {} for resource in RESOURCES}
        self._touched: dict[str, set[ObjectKey]] = {resource.kind: set() for resource in RESOURCES}
        self._begun = {resource.kind: 0 for resource in RESOURCES}
        self._whole = dict(self._begun)
        self._given = dict(trust_roots or {})  # by setting: they win over the cluster's

    def put(self, resource: Resource, obj: KubernetesObject) -> bool:
        """Take in an event's object. Return whether a new picture is needed (not for a mere change of status)."""
        key = key_of(resource, obj)
        known = self._objects[resource.kind].get(key)
        if known is not None and _is_older(obj, known):
            return False
        self._touched[resource.kind].add(key)
        self._objects[resource.kind][key] = obj
        return known is None or not _same_demand(known, obj)

    def begin_list(self, resource: Resource) -> None:
        """A list is asked for: what events bring from here on is newer than the list's answer."""
        self._touched[resource.kind].clear()
        self._begun[resource.kind] += 1

    def begun(self, resource: Resource) -> int:
        """How many lists of it were asked for."""
        return self._begun[resource.kind]

    def whole(self, resource: Resource) -> int:
        """Which of them was taken in last; 0 is none."""
        return self._whole[resource.kind]

    def missing(self, resource: Resource, listed: Iterable[KubernetesObject]) -> frozenset[ObjectKey]:
        """The objects that are held and that the list does not have."""
        there = {key_of(resource, obj) for obj in listed}
        return frozenset(self._objects[resource.kind].keys() - there - self._touched[resource.kind])

    def replace(self, resource: Resource, listed: Iterable[KubernetesObject]) -> bool:
        """Take in a whole list. Return whether a new picture is needed."""
        listed = tuple(listed)
        self._whole[resource.kind] = self._begun[resource.kind]
        gone = self.missing(resource, listed)
        for key in gone:
            del self._objects[resource.kind][key]
        touched = frozenset(self._touched[resource.kind])
        changed = [self.put(resource, obj) for obj in listed if key_of(resource, obj) not in touched]
        return bool(gone) or any(changed)

    def objects(self, *resources: Resource) -> tuple[KubernetesObject, ...]:
        """What is held of these kinds."""
        return tuple(obj for resource in resources for obj in self._objects[resource.kind].values())

    def references(self, *, namespace: str) -> Mapping[ObjectRef, frozenset[str]]:
        """The Secrets and ConfigMaps that are referred to, with their keys. `namespace` is Assay's own."""
        given = [obj for obj in self.objects(TRUST_ROOTS) if obj["metadata"]["name"] not in self._given]
        return wanted([*self.objects(CLUSTER_POLICIES, POLICIES), *given], namespace=namespace)

    def repositories(self) -> Mapping[str, TufRepository]:
        """The TUF repositories that TrustRoots name, by the TrustRoot's name."""
        named = {obj["metadata"]["name"]: repository_of(obj) for obj in self.objects(TRUST_ROOTS)}
        return {name: found for name, found in named.items() if found is not None and name not in self._given}

    def given_trust_roots(self) -> Mapping[str, TrustRoot]:
        """The trust roots that come by setting."""
        return self._given

    def status_writes(self, picture: Picture, *, now: datetime) -> tuple[StatusWrite, ...]:
        """The statuses that differ from what the picture says. Objects newer than the picture are left for the next."""
        writes = [*self._policy_writes(picture, now), *self._other_writes(picture, now)]
        return tuple(write for write in writes if write is not None)

    def _policy_writes(self, picture: Picture, now: datetime) -> Iterable[StatusWrite | None]:
        for resource in (CLUSTER_POLICIES, POLICIES):
            for key, obj in self._objects[resource.kind].items():
                compiled = picture.policies.by_name(key)
                if compiled is None or compiled.policy.generation != obj["metadata"].get("generation", 0):
                    continue
                source = compiled.source
                needed = {a.kind.trust_root for a in source.spec.authorities if a.kind is not None and needs_root(a)}
                usable = {name for name, root in picture.trust_roots.items() if root.fault is None}
                known = (*source.problems, *source.unresolved)
                conditions = policy_conditions(
                    problems=source.problems,
                    compile_problems=tuple(p for p in compiled.policy.problems if p not in known),
                    unresolved=source.unresolved,
                    missing_trust_roots=sorted(needed - usable),
                )
                yield _write(key, resource, obj, conditions, now, hash=compiled.policy.identity.hash)

    def _other_writes(self, picture: Picture, now: datetime) -> Iterable[StatusWrite | None]:
        for key, obj in self._objects[TRUST_ROOTS.kind].items():
            name = key[2]
            root = picture.trust_roots.get(name)
            problems = picture.trust_problems.get(name, ())
            if root is None and not problems:
                continue
            ready = "Certificates and logs are checked against it."
            fields = {"hash": root.hash} if root is not None and not problems else {}
            refreshed, reason = picture.refreshed.get(name), "InForce"
            if refreshed is not None and refreshed.at:
                fields["refreshedAt"] = refreshed.at
            if refreshed is not None and refreshed.trouble:
                ready, reason = f"{ready} The last good copy serves: {refreshed.trouble}", "RefreshFailed"
            accepted = bool(problems) and all(map(is_reference, problems))
            conditions = object_conditions(problems, ready=ready, accepted=accepted, reason=reason)
            yield _write(key, TRUST_ROOTS, obj, conditions, now, **fields)
        yield from self._exception_writes(picture, now)

    def _exception_writes(self, picture: Picture, now: datetime) -> Iterable[StatusWrite | None]:
        for key, obj in self._objects[EXCEPTIONS.kind].items():
            generation = obj["metadata"].get("generation", 0)
            conditions = exception_conditions(
                key[2], picture.exceptions, policies=picture.policies, generation=generation, now=now
            )
            if conditions:
                yield _write(key, EXCEPTIONS, obj, conditions, now)


def make_picture(
    policies: Iterable[KubernetesObject],
    trust_roots: Iterable[KubernetesObject],
    exceptions: Iterable[KubernetesObject] = (),
    *,
    given: Mapping[str, TrustRoot],
    previous: PolicyIndex | None,
    limits: PolicySettings | None = None,
    settings: ExceptionSettings | None = None,
    materials: Materials = NOTHING,
    refreshed: Mapping[str, Refreshed] = MappingProxyType({}),
) -> Picture:
    """Parse and compile, only what changed. Pure and slow: for a thread that serves nobody."""
    roots = dict(given)
    problems: dict[str, tuple[Problem, ...]] = {}
    for obj in trust_roots:
        name = obj["metadata"]["name"]
        if name in given:
            problems[name] = (
                Problem("TrustRootShadowed", "metadata.name", f"the setting trusted_root names {name} too and wins"),
            )
            continue
        parsed = parse_trust_root(obj, materials)
        if isinstance(parsed, TrustRoot):
            roots[name] = parsed
        else:
            problems[name] = tuple(parsed)
            roots[name] = faulty(name, parsed[0])
    return Picture(
        build_policies(policies, previous, limits=limits, materials=materials),
        build_exceptions(exceptions, settings=settings),
        roots,
        problems,
        refreshed,
    )


def _write(
    key: ObjectKey,
    resource: Resource,
    obj: KubernetesObject,
    conditions: Iterable[Condition],
    now: datetime,
    **fields: str,
) -> StatusWrite | None:
    patch = status_patch(obj, conditions, now=now, **fields)
    return None if patch is None else StatusWrite(key=key, resource=resource, patch=patch)


def _same_demand(one: KubernetesObject, other: KubernetesObject) -> bool:
    # Annotations and labels of a policy demand nothing; the generation changes with every change of the spec.
    first, second = one["metadata"], other["metadata"]
    return (first.get("uid"), first.get("generation")) == (second.get("uid"), second.get("generation")) and one.get(
        "spec"
    ) == other.get("spec")


def _is_older(obj: KubernetesObject, known: KubernetesObject) -> bool:
    # Of one object's versions: etcd's revisions grow (KEP-5504 makes it a promise). A new object has a new uid.
    if obj["metadata"].get("uid") != known["metadata"].get("uid"):
        return False
    one, other = obj["metadata"].get("resourceVersion", ""), known["metadata"].get("resourceVersion", "")
    return one.isdigit() and other.isdigit() and int(one) < int(other)
