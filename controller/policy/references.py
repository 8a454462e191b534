"""Secrets and ConfigMaps that policies and trust roots refer to: whose, how they are read, and what is never kept.

An author names an object and a key, never a namespace: a cluster-wide object means Assay's own namespace, an
EvidencePolicy its own. A private key is withheld before it gets here: no part of Assay has a use for one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from controller.errors import PolicyError
from controller.model.exception import PolicyName
from controller.model.policy import KeyAuthority, KeyIn, Problem, TufRepository
from controller.policy.fields import MAX_TEXT, Fields
from controller.policy.kinds import CLUSTER_POLICY, EXCEPTION, NAMESPACED_POLICY, POLICY_KINDS, TRUST_ROOT

SECRET, CONFIG_MAP = "Secret", "ConfigMap"
MAX_VALUE = 8 * MAX_TEXT  # bytes of one value: the longest TrustedRoot document
MAX_SHOWN = 200  # characters of an address in a message
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")  # RFC 1123, as Kubernetes names objects
_KEY = re.compile(r"[-._A-Za-z0-9]{1,253}")
_AUTHORITY_KINDS = ("key", "certificate")


class Withheld(StrEnum):
    """Why a value's bytes are not here."""

    PRIVATE = "private key"
    TOO_LARGE = "too large"


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """Which object. `kind`: Secret or ConfigMap."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


Value = bytes | Withheld


def withhold(content: bytes) -> Value:
    """The value as it may be kept: not a private key, and not what is too large for anything that is read here."""
    if b"PRIVATE KEY" in content:
        return Withheld.PRIVATE
    return content if len(content) <= MAX_VALUE else Withheld.TOO_LARGE


@dataclass(frozen=True, slots=True)
class Materials:
    """What references lead to at one moment. `namespace` is Assay's own.

    `objects` are those that there are; `unread` those of which it cannot be told, with the reason (a clause).
    `distributed` is what TUF repositories distribute, or why that is not to be had.
    """

    namespace: str = ""
    objects: Mapping[ObjectRef, Mapping[str, Value]] = field(default_factory=dict, repr=False)
    unread: Mapping[ObjectRef, str] = field(default_factory=dict)
    distributed: Mapping[TufRepository, bytes | Problem] = field(default_factory=dict, repr=False)

    def distributed_by(self, repository: TufRepository, *, field: str) -> bytes:
        """The document that the repository distributes. Raises `PolicyError` with `field` (`TufUnread`, `TufStale`)."""
        found = self.distributed.get(repository)
        if found is None:
            raise PolicyError("TufUnread", f"nothing was read of {repository.url[:MAX_SHOWN]} yet", field)
        if isinstance(found, Problem):
            raise PolicyError(found.code, found.message, field)
        return found

    def read(self, ref: ObjectRef, key: str, *, field: str) -> bytes:
        """The value. Its bytes are in no message.

        Raises `PolicyError` with `field` (`ReferenceUnread`, `ReferenceMissing`, `ReferenceKeyMissing`,
        `ReferencePrivateKey`, `ReferenceTooLarge`).
        """
        if ref in self.unread:
            raise PolicyError("ReferenceUnread", f"{ref} could not be read: {self.unread[ref]}", field)
        held = self.objects.get(ref)
        if held is None:
            raise PolicyError("ReferenceMissing", f"there is no {ref}; create it, with the key {key}", field)
        value = held.get(key)
        match value:
            case None:
                raise PolicyError("ReferenceKeyMissing", f"{ref} has no key {key}; add it", field)
            case Withheld.PRIVATE:
                message = f"{ref}, key {key} holds a private key, which Assay does not read; name the public one"
                raise PolicyError("ReferencePrivateKey", message, field)
            case Withheld.TOO_LARGE:
                raise PolicyError(
                    "ReferenceTooLarge", f"{ref}, key {key} has more than {MAX_VALUE} bytes (MAX_VALUE)", field
                )
        return value


NOTHING = Materials()
"""No Secret and no ConfigMap: every reference is missing."""


def key_in(fields: Fields) -> KeyIn:
    """A `secretRef` or `configMapRef`: names that Kubernetes would not give are problems."""
    found = KeyIn(name=fields.text("name", required=True), key=fields.text("key", required=True))
    for name, text, grammar in (("name", found.name, _NAME), ("key", found.key, _KEY)):
        if text and not grammar.fullmatch(text):
            fields.problem("NameMalformed", f"is {text[:100]!r}, which Kubernetes has no such {name} as", name)
    fields.close()
    return found


def wanted(objects: Iterable[Mapping[str, Any]], *, namespace: str) -> Mapping[ObjectRef, frozenset[str]]:
    """What these policies and trust roots (plain dicts, right or wrong) refer to: the keys, by object.

    Only what is written as a reference should be; the rest is for `parse` to complain about.
    """
    found: dict[ObjectRef, set[str]] = {}
    for obj in objects:
        metadata = _object(obj.get("metadata"))
        own = metadata.get("namespace") if obj.get("kind") == NAMESPACED_POLICY else namespace
        for kind, reference in _written(obj):
            name, key = str(reference.get("name")), str(reference.get("key"))
            if own and _NAME.fullmatch(name) and _KEY.fullmatch(key):
                found.setdefault(ObjectRef(kind, str(own), name), set()).add(key)
    return MappingProxyType({ref: frozenset(keys) for ref, keys in found.items()})


def named_trust_roots(obj: Mapping[str, Any]) -> frozenset[str]:
    """The names of the trust roots that a policy (a plain dict, right or wrong) refers to, the default's among them."""
    authorities = _object(obj.get("spec")).get("authorities")
    parts = (
        _object(authority)[kind]
        for authority in (authorities if isinstance(authorities, list) else ())
        for kind in ("keyless", *_AUTHORITY_KINDS)
        if kind in _object(authority)
    )
    names = {_object(_object(part).get("trustRootRef")).get("name", KeyAuthority("").trust_root) for part in parts}
    return frozenset(name for name in names if isinstance(name, str) and _NAME.fullmatch(name))


def named_policies(obj: Mapping[str, Any]) -> frozenset[PolicyName]:
    """The policies that an EvidenceException (a plain dict, right or wrong) names."""
    named = _object(obj.get("spec")).get("policies") if obj.get("kind") == EXCEPTION else None
    names = (
        (str(policy.get("kind", CLUSTER_POLICY)), str(policy.get("namespace") or ""), str(policy.get("name")))
        for policy in map(_object, named if isinstance(named, list) else ())
    )
    return frozenset(
        (kind, namespace, name)
        for kind, namespace, name in names
        if kind in POLICY_KINDS and _NAME.fullmatch(name) and (not namespace or _NAME.fullmatch(namespace))
    )


def only(data: Mapping[str, bytes], keys: Collection[str]) -> Mapping[str, Value]:
    """Of an object's values those with these keys, as they may be kept."""
    return {key: withhold(content) for key, content in data.items() if key in keys}


def _written(obj: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    spec = _object(obj.get("spec"))
    if obj.get("kind") == TRUST_ROOT:
        yield SECRET, _object(spec.get("secretRef"))
        yield CONFIG_MAP, _object(spec.get("configMapRef"))
    elif obj.get("kind") in {CLUSTER_POLICY, NAMESPACED_POLICY}:
        authorities = spec.get("authorities")
        for authority in authorities if isinstance(authorities, list) else ():
            for kind in _AUTHORITY_KINDS:
                yield SECRET, _object(_object(_object(authority).get(kind)).get("secretRef"))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
