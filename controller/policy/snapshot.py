"""The whole picture that a review sees: policies, trust roots, namespaces, pull secrets. Immutable, swapped whole.

A review takes the snapshot once and keeps it, so one answer never mixes two versions of a policy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from controller.errors import LimitExceeded
from controller.model.access import Credential, RegistryAccess
from controller.model.image import Platform
from controller.model.policy import Namespace, TrustRoot
from controller.model.workload import Workload
from controller.policy.compiled import CompiledPolicy, compile_policy
from controller.policy.exception_index import ExceptionIndex
from controller.policy.index import Name, PolicyIndex, Read, name_of
from controller.policy.parse import parse_policy
from controller.policy.references import NOTHING, Materials
from controller.policy.resolving import resolve
from controller.settings import PolicySettings

DEFAULT_SERVICE_ACCOUNT = "default"
MAX_POD_CREDENTIALS = 1024  # bounds those of one pod: each is compared with each of its images, while others wait


def _frozen(mapping: Mapping[Any, Any]) -> Mapping[Any, Any]:
    return mapping if isinstance(mapping, MappingProxyType) else MappingProxyType(dict(mapping))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is known of the cluster at one moment.

    `service_accounts` maps (namespace, name) to the names of its imagePullSecrets; `pull_secrets` maps
    (namespace, secret name) to the credentials in it; `node_platforms` are those of all nodes. The `with_…` methods
    return a new snapshot.
    """

    policies: PolicyIndex = field(default_factory=PolicyIndex)
    exceptions: ExceptionIndex = field(default_factory=ExceptionIndex)
    trust_roots: Mapping[str, TrustRoot] = field(default_factory=dict)
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    service_accounts: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    pull_secrets: Mapping[tuple[str, str], tuple[Credential, ...]] = field(default_factory=dict, repr=False)
    node_platforms: frozenset[Platform] = frozenset()

    def __post_init__(self) -> None:
        for name in ("trust_roots", "namespaces", "service_accounts", "pull_secrets"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))

    def access(self, workload: Workload) -> RegistryAccess:
        """What the workload's pods may use at registries: their own imagePullSecrets, then their service account's.

        Only secrets of the workload's own namespace; one that is named and unknown gives nothing, as for a kubelet.
        Raises `LimitExceeded` (`MAX_POD_CREDENTIALS`).
        """
        account = workload.service_account or DEFAULT_SERVICE_ACCOUNT
        names = (*workload.pull_secrets, *self.service_accounts.get((workload.namespace, account), ()))
        credentials: list[Credential] = []
        for name in dict.fromkeys(names):
            credentials.extend(self.pull_secrets.get((workload.namespace, name), ()))
            if len(credentials) > MAX_POD_CREDENTIALS:
                raise LimitExceeded(
                    "MAX_POD_CREDENTIALS", f"the pod's pull secrets hold over {MAX_POD_CREDENTIALS} of them"
                )
        return RegistryAccess(tuple(credentials))

    def with_policies(self, policies: PolicyIndex) -> Snapshot:
        """The same with other policies."""
        return dataclasses.replace(self, policies=policies)

    def with_trust_roots(self, trust_roots: Mapping[str, TrustRoot]) -> Snapshot:
        """The same with other trust roots."""
        return dataclasses.replace(self, trust_roots=trust_roots)

    def with_namespaces(self, namespaces: Mapping[str, Namespace]) -> Snapshot:
        """The same with other namespaces."""
        return dataclasses.replace(self, namespaces=namespaces)

    def with_service_accounts(self, service_accounts: Mapping[tuple[str, str], tuple[str, ...]]) -> Snapshot:
        """The same with other service accounts."""
        return dataclasses.replace(self, service_accounts=service_accounts)

    def with_pull_secrets(self, pull_secrets: Mapping[tuple[str, str], tuple[Credential, ...]]) -> Snapshot:
        """The same with other pull secrets."""
        return dataclasses.replace(self, pull_secrets=pull_secrets)

    def with_node_platforms(self, node_platforms: frozenset[Platform]) -> Snapshot:
        """The same with other platforms of nodes."""
        return dataclasses.replace(self, node_platforms=node_platforms)


def build_policies(
    objects: Iterable[Mapping[str, Any]],
    previous: PolicyIndex | None = None,
    *,
    limits: PolicySettings | None = None,
    materials: Materials = NOTHING,
) -> PolicyIndex:
    """The index of these ClusterEvidencePolicy and EvidencePolicy objects (plain dicts).

    Whatever `previous` has in the same version is taken over: not parsed again, and if what its references lead to is
    the same too, not compiled again. Never raises for a broken policy: it is in the index with its problems, and
    evaluates to Error.
    """
    compiled: list[CompiledPolicy] = []
    read: dict[Name, Read] = {}
    for obj in objects:
        parsed = (previous.parsed(obj) if previous is not None else None) or parse_policy(obj)
        read[name_of(obj)] = (obj, parsed)
        policy = resolve(parsed, materials)
        identity = policy.identity
        known = previous.get(identity) if previous is not None else None
        if known is not None and known.source == policy:
            compiled.append(known)
        else:
            compiled.append(compile_policy(policy, limits))
    return PolicyIndex(compiled, read)
