"""From a policy that refers to keys and CA certificates to one that has them.

The policy's hash stays that of what its author wrote; what a reference led to is part of what is judged by, and so of
the verdict's cache key and of the record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import lru_cache

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from controller.errors import PolicyError
from controller.model.policy import Authority, KeyIn, Need, Policy, Problem
from controller.policy.pems import blocks
from controller.policy.references import SECRET, Materials, ObjectRef
from controller.policy.semantics import check_chain, check_key


def resolve(policy: Policy, materials: Materials) -> Policy:
    """The policy with what it refers to. What cannot be had is in `unresolved`, naming field and reference.

    A broken policy is returned as it is: it evaluates to Error whatever its references lead to.
    """
    if policy.problems:
        return policy
    namespace = policy.identity.namespace or materials.namespace
    authorities: list[Authority] = []
    unresolved: list[Problem] = []
    for i, authority in enumerate(policy.spec.authorities):
        field = f"spec.authorities[{i}]"
        if authority.source is not None:
            authority = dataclasses.replace(  # noqa: PLW2901 - the same one, told where its secret lies
                authority, source=dataclasses.replace(authority.source, namespace=namespace)
            )
        try:
            authorities.append(_resolved(authority, namespace, materials, field))
        except _Unresolved as unresolved_:
            authorities.append(authority)
            unresolved.extend(unresolved_.problems)
    spec = dataclasses.replace(policy.spec, authorities=tuple(authorities))
    return dataclasses.replace(policy, spec=spec, unresolved=tuple(unresolved))


class _Unresolved(Exception):
    def __init__(self, *problems: Problem) -> None:
        super().__init__()
        self.problems = problems


def _resolved(authority: Authority, namespace: str, materials: Materials, field: str) -> Authority:
    """The authority with the PEM that it refers to, if it refers to any. Raises `_Unresolved`."""
    key, certificate = authority.key, authority.certificate
    if key is not None and key.secret is not None:
        pem = _pem(key.secret, namespace, materials, f"{field}.key.secretRef", check_key)
        return dataclasses.replace(authority, key=dataclasses.replace(key, pem=pem))
    if certificate is not None and certificate.secret is not None:
        pem = _pem(certificate.secret, namespace, materials, f"{field}.certificate.secretRef", check_chain)
        return dataclasses.replace(authority, certificate=dataclasses.replace(certificate, chain=pem))
    return authority


def _pem(
    secret: KeyIn,
    namespace: str,
    materials: Materials,
    field: str,
    check: Callable[[str, str], Iterable[Problem]],
) -> str:
    ref = ObjectRef(SECRET, namespace, secret.name)
    try:
        pem = materials.read(ref, secret.key, field=field).decode("ascii", errors="replace").strip()
    except PolicyError as exc:
        raise _Unresolved(Problem(exc.code, exc.field, exc.message)) from None
    found = [Problem(p.code, p.field, f"{ref}, key {secret.key} {p.message}") for p in check(pem, field)]
    if found:
        raise _Unresolved(*found)
    return pem


def needs_root(authority: Authority) -> bool:
    """Whether nothing at all can count for the authority while its trust root is missing."""
    has_own = (authority.key is not None and (authority.key.pem or authority.key.secret is not None)) or (
        authority.certificate is not None and (authority.certificate.chain or authority.certificate.secret is not None)
    )
    return not has_own or Need.REQUIRED in {authority.transparency_log, authority.timestamp}


def resolved_pems(policy: Policy) -> tuple[str, ...]:
    """What the policy's references led to: its keys, then its chains."""
    keys = (a.key for a in policy.spec.authorities if a.key is not None and a.key.secret is not None)
    cas = (a.certificate for a in policy.spec.authorities if a.certificate is not None)
    return (*(key.pem for key in keys), *(ca.chain for ca in cas if ca.secret is not None))


@lru_cache(maxsize=1024)
def public_keys_der(pem: str) -> tuple[bytes, ...]:
    """The SubjectPublicKeyInfo of keys that `check_key` let pass; its SHA-256 is a key's fingerprint."""
    keys = (load_pem_public_key(block.encode()) for block in blocks(pem, "PUBLIC KEY"))
    return tuple(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in keys)
