"""From a policy that refers to keys to one that has them.

The policy's hash stays that of what its author wrote; what a reference led to is part of what is judged by, and so of
the verdict's cache key and of the record.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from controller.errors import PolicyError
from controller.model.policy import Authority, KeyAuthority, KeyIn, Policy, Problem
from controller.policy.references import SECRET, Materials, ObjectRef
from controller.policy.semantics import check_key


def resolve(policy: Policy, materials: Materials) -> Policy:
    """The policy with the keys that it refers to. What cannot be had is in `unresolved`, naming field and reference.

    A broken policy is returned as it is: it evaluates to Error whatever its references lead to.
    """
    if policy.problems:
        return policy
    namespace = policy.identity.namespace or materials.namespace
    authorities: list[Authority] = []
    unresolved: list[Problem] = []
    for i, authority in enumerate(policy.spec.authorities):
        key = authority.key
        if key is None or key.secret is None:
            authorities.append(authority)
            continue
        field = f"spec.authorities[{i}].key.secretRef"
        found, problems = _key(key, key.secret, ObjectRef(SECRET, namespace, key.secret.name), materials, field)
        authorities.append(dataclasses.replace(authority, key=found))
        unresolved.extend(problems)
    spec = dataclasses.replace(policy.spec, authorities=tuple(authorities))
    return dataclasses.replace(policy, spec=spec, unresolved=tuple(unresolved))


def _key(
    key: KeyAuthority, secret: KeyIn, ref: ObjectRef, materials: Materials, field: str
) -> tuple[KeyAuthority, tuple[Problem, ...]]:
    try:
        pem = materials.read(ref, secret.key, field=field).decode("ascii", errors="replace").strip()
    except PolicyError as exc:
        return key, (Problem(exc.code, exc.field, exc.message),)
    found = tuple(Problem(p.code, p.field, f"{ref}, key {secret.key} {p.message}") for p in check_key(pem, field))
    return (key, found) if found else (dataclasses.replace(key, pem=pem), ())


@lru_cache(maxsize=1024)
def public_key_der(pem: str) -> bytes:
    """The SubjectPublicKeyInfo of a key that `check_key` found nothing wrong with; its SHA-256 is its fingerprint."""
    return load_pem_public_key(pem.encode()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
