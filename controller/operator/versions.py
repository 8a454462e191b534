"""Turns policies and exceptions, as they come and go, into facts: each version once when it was applied, each object
once when it is gone.

Nothing here decides. What is not known is not made up: who changed a policy the cluster does not keep, it names the
program alone that wrote it; and when something went while nobody watched is told as when that was found.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import rfc8785

from controller.inventory.records import ResourceVersion
from controller.model.exception import EvidenceException
from controller.model.naming import name_of
from controller.model.policy import Problem
from controller.model.reference import Digest
from controller.operator.keeper import Picture
from controller.operator.resources import CLUSTER_POLICIES, EXCEPTIONS, POLICIES, ObjectKey, key_of
from controller.operator.sightings import UNSEEN
from controller.policy.canonical import canonical_bytes
from controller.policy.exceptions import canonical_bytes as exception_bytes
from controller.policy.exceptions import fault, parse_exception
from controller.review.leaf import exception_record, timestamp

SCHEMA = "assay.dev/resource/v1alpha1"
APPLIED, GONE = "Applied", "Deleted"
RECORDED = {resource.kind: resource for resource in (CLUSTER_POLICIES, POLICIES, EXCEPTIONS)}

KubernetesObject = Mapping[str, Any]
Tell = Callable[[dict[str, Any], Mapping[Digest, bytes]], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """An object that is there: which, of which uid, and since when."""

    key: ObjectKey
    uid: str
    generation: int
    created: datetime | None


@dataclass(frozen=True, slots=True)
class Version:
    """What an object says in its present version.

    `content` is the canonical spec, of an exception that cannot be read its problems alone. `problem` is the code of
    why it does not take effect, `exception` what it grants if it does. `written_at` is when the cluster says that its
    spec was written last (None: it does not say), `manager` by which program.
    """

    seen: Seen
    content: bytes
    manager: str
    written_at: datetime | None
    problem: str = ""
    exception: EvidenceException | None = None

    @property
    def hash(self) -> Digest:
        """The version's name."""
        return Digest.of(self.content)


class Chronicle:
    """Tells of each version and of each deletion, once. Pure but for what `tell` does with a leaf."""

    def __init__(self, cluster: str, *, tell: Tell, clock: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._tell = tell
        self._clock = clock
        self._known: dict[str, ResourceVersion] = {}  # by uid
        self._unseen: set[str] = set()  # the uids of those that only the inventory knows yet

    def resume(self, known: Iterable[ResourceVersion]) -> None:
        """What the inventory knows to be there, from before this process began."""
        for version in known:
            self._known[version.uid] = version
            self._unseen.add(version.uid)

    def knows(self, uid: str) -> bool:
        """Whether an object of this uid is known to be there."""
        return uid in self._known

    def missed(self, there: Collection[str]) -> Iterator[ResourceVersion]:
        """What the inventory knows, and this process has never seen: it went while nobody watched, if it went."""
        return (self._known[uid] for uid in self._unseen if uid not in there)

    def follow(
        self,
        there: Mapping[str, Seen],
        versions: Iterable[Version],
        *,
        lives: Mapping[str, int],
        unsure: Collection[str] = (),
    ) -> None:
        """All objects that there are, by uid, and what those of them say that may have changed.

        `lives` says how often each of those that are new was deleted before. Of the kinds that are `unsure` nothing is
        taken for gone that only the inventory knows.
        """
        now = self._clock()
        by_key = {seen.key: seen for seen in there.values()}
        for uid in self._known.keys() - there.keys():
            known = self._known[uid]
            if uid in self._unseen and known.kind in unsure:
                continue
            # Where another has its name by now, it was gone when that was made; unless a backup brought that one back.
            other = by_key.get((known.kind, known.namespace, known.name))
            made = other.created if other is not None else None
            self._gone(known, at=made if made is not None and known.applied_at < made < now else now)
        self._unseen &= self._known.keys() - there.keys()
        for version in versions:
            self._apply(version, life=lives.get(version.seen.uid, 0), now=now)

    def _apply(self, version: Version, *, life: int, now: datetime) -> None:
        seen, known = version.seen, self._known.get(version.seen.uid)
        digest = str(version.hash)
        if known is not None and known.hash == digest:
            self._known[seen.uid] = replace(known, generation=seen.generation)
            return
        at: datetime | None = now
        if known is None and not life:  # in a further life the cluster's times are those of the first
            at = seen.created if seen.generation <= 1 else version.written_at
        elif known is not None and seen.generation != known.generation:  # else another version of Assay writes it so
            at = version.written_at
        at = min(at or now, now)
        life = known.life if known is not None else life
        resource = ResourceVersion(*seen.key, seen.uid, life, seen.generation, digest, at)
        self._known[seen.uid] = resource
        leaf = self._leaf(APPLIED, resource, at=at, manager=version.manager, problem=version.problem)
        if version.exception is not None:
            leaf["exception"] = exception_record(version.exception)
        self._tell(leaf | {"blobs": [digest]}, {version.hash: version.content})

    def _gone(self, known: ResourceVersion, *, at: datetime) -> None:
        del self._known[known.uid]
        leaf = self._leaf(GONE, known, at=at)
        self._tell(leaf | {"reason": UNSEEN if known.uid in self._unseen else ""}, {})

    def _leaf(
        self, what: str, resource: ResourceVersion, *, at: datetime, manager: str = "", problem: str = ""
    ) -> dict[str, Any]:
        version = [resource.generation, resource.hash] if what == APPLIED else []
        parts = [self._cluster, what, resource.kind, resource.namespace, resource.name, resource.uid, resource.life]
        identity = name_of("\n".join(map(str, (*parts, *version))), at=None)
        return {
            "schema": SCHEMA,
            "id": identity,
            "salt": secrets.token_hex(16),
            "decisionKey": f"resource:{identity}",
            "verdict": what,
            "decidedAt": timestamp(at),
            "cluster": self._cluster,
            "blobs": [],
            "resource": {
                "kind": resource.kind,
                "namespace": resource.namespace,
                "name": resource.name,
                "uid": resource.uid,
                "life": resource.life,
                "generation": resource.generation,
                "hash": resource.hash,
                "manager": manager,
                "problem": problem,
            },
            "exception": None,
            "reason": "",
        }


def seen_in(objects: Iterable[KubernetesObject]) -> dict[str, tuple[Seen, KubernetesObject]]:
    """The objects by their uids. An exception that is being deleted is as good as gone: it excepts nothing any more."""
    found: dict[str, tuple[Seen, KubernetesObject]] = {}
    for obj in objects:
        metadata = obj["metadata"]
        resource = RECORDED[obj["kind"]]
        if resource is EXCEPTIONS and metadata.get("deletionTimestamp"):
            continue
        created = _moment(metadata.get("creationTimestamp"))
        found[metadata["uid"]] = (
            Seen(key_of(resource, obj), metadata["uid"], metadata.get("generation", 0), created),
            obj,
        )
    return found


def read(seen: Seen, obj: KubernetesObject, picture: Picture, *, now: datetime) -> Version | None:
    """What the object says, as the picture has it; None of a policy that is newer than the picture."""
    manager, written_at = writer_of(obj)
    if seen.key[0] == EXCEPTIONS.kind:
        found = parse_exception(obj)
        if not isinstance(found, EvidenceException):
            content = rfc8785.dumps({"problems": [[p.code, p.field, p.message] for p in found]})
            return Version(seen, content, manager, written_at, problem=found[0].code)
        wrong = fault(found, now=now, settings=picture.exceptions.settings)
        problem = wrong.code if wrong is not None and wrong.code != "Expired" else ""
        granted = None if problem else found
        return Version(seen, exception_bytes(found), manager, written_at, problem=problem, exception=granted)
    policy, compiled = picture.policies.parsed(obj), picture.policies.by_name(seen.key)
    if policy is None or compiled is None:
        return None
    problems: list[Problem] = [p for p in compiled.policy.problems if p not in compiled.source.unresolved]
    content = canonical_bytes(policy.spec, policy.problems)
    return Version(seen, content, manager, written_at, problem=problems[0].code if problems else "")


def writer_of(obj: KubernetesObject) -> tuple[str, datetime | None]:
    """Which program wrote the spec last, and when it last wrote anything of the object: what `managedFields` tells."""
    manager, last = "", None
    for entry in obj["metadata"].get("managedFields") or ():
        at = _moment(entry.get("time"))
        if entry.get("subresource") or "f:spec" not in (entry.get("fieldsV1") or {}):
            continue
        if last is None or (at is not None and at >= last):
            manager, last = entry.get("manager") or "", at
    return manager, last


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except (ValueError, TypeError, OverflowError):
        return None
