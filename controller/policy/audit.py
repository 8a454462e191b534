"""Audit annotations of a policy's own: what they are called in the audit log, and how much they may say.

As ValidatingAdmissionPolicy has them, within what the API server takes from a webhook: it puts the webhook's name and a
slash before each key, and drops (with a line in its own log) every key that is then no qualified name, so a key of ours
has no slash and at most 63 characters (k8s.io/apiserver, `admission/attributes.go`: `checkKeyFormat`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from controller.model.policy import AuditAnnotation, PolicyIdentity, Problem
from controller.policy.kinds import NAMESPACED_POLICY

MAX_ANNOTATIONS = 20  # of one policy, as in Kubernetes
MAX_KEY = 63  # characters of a key as the API server takes it, its prefix not counted
MAX_VALUE = 10 * 1024  # bytes of one value; Kubernetes cuts there too
MAX_VALUES = 64 * 1024  # bytes of all values of one answer; bounds what many policies and images say together
FIELD = "spec.auditAnnotations"


def check_annotations(kind: str, name: str, annotations: Sequence[AuditAnnotation]) -> Iterator[Problem]:
    """What is wrong with a policy's annotations beside their expressions."""
    if len(annotations) > MAX_ANNOTATIONS:
        yield Problem("TooMany", FIELD, f"has {len(annotations)} entries; at most {MAX_ANNOTATIONS} are allowed")
    for key, count in Counter(annotation.key for annotation in annotations).items():
        if count > 1:
            yield Problem("NameDuplicate", FIELD, f"{count} entries have the key {key!r}; keys must differ")
    for i, annotation in enumerate(annotations):
        longest = MAX_KEY - len(_prefix(kind, name))
        if len(annotation.key) > longest:
            message = (
                f"has {len(annotation.key)} characters; the API server takes {MAX_KEY} together with the policy's "
                f"name, which leaves {max(longest, 0)}"
            )
            yield Problem("TooLong", f"{FIELD}[{i}].key", message)


def full_key(policy: PolicyIdentity, key: str) -> str:
    """The key of one policy's annotation in an answer, unlike that of any other policy about the same object.

    `policy_key`, and `policy__key` of a namespaced policy: no policy's name has an underscore and no key begins with
    one. The namespace is that of the object, which the audit event names.
    """
    return f"{_prefix(policy.kind, policy.name)}{key}"


def joined(values: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Values by full key, sorted: what several images give under one key is joined, each value once, in its order.

    Whatever is past the bounds is cut, the last keys first; those of namespaced policies before all others, so that no
    tenant says so much that what the cluster's own policies say is lost.
    """
    by_key: dict[str, set[str]] = {}
    for key, value in values:
        by_key.setdefault(key, set()).add(value)
    ordered = sorted(by_key, key=lambda key: (_is_namespaced(key), key))
    return tuple(sorted(_bounded({key: ", ".join(sorted(by_key[key])) for key in ordered})))


def shortened(value: str, size: int = MAX_VALUE) -> str:
    """At most so many bytes of UTF-8, without half a character."""
    encoded = value.encode(errors="replace")
    return encoded[:size].decode(errors="ignore")


def _bounded(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    left = MAX_VALUES
    for key, value in values.items():
        text = shortened(value, min(left, MAX_VALUE))
        left -= len(text.encode())
        if text:
            yield key, text


def _is_namespaced(key: str) -> bool:
    """Whether a full key is that of a namespaced policy."""
    return key.partition("_")[2].startswith("_")


def _prefix(kind: str, name: str) -> str:
    return f"{name}__" if kind == NAMESPACED_POLICY else f"{name}_"
