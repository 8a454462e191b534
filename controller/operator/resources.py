"""Assay's own four resources: what they are called and where the API server has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GROUP = "assay.dev"
VERSION = "v1alpha1"


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object."""

    kind: str
    plural: str
    namespaced: bool = False

    @property
    def path(self) -> str:
        """The collection of all of them, in every namespace."""
        return f"/apis/{GROUP}/{VERSION}/{self.plural}"

    @property
    def definition(self) -> str:
        """The CustomResourceDefinition's path."""
        return f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{self.plural}.{GROUP}"

    def status_path(self, namespace: str, name: str) -> str:
        """The status of one object."""
        where = f"namespaces/{namespace}/" if self.namespaced else ""
        return f"/apis/{GROUP}/{VERSION}/{where}{self.plural}/{name}/status"


CLUSTER_POLICIES = Resource("ClusterEvidencePolicy", "clusterevidencepolicies")
POLICIES = Resource("EvidencePolicy", "evidencepolicies", namespaced=True)
EXCEPTIONS = Resource("EvidenceException", "evidenceexceptions")
TRUST_ROOTS = Resource("TrustRoot", "trustroots")
RESOURCES = (CLUSTER_POLICIES, POLICIES, EXCEPTIONS, TRUST_ROOTS)

ObjectKey = tuple[str, str, str]
"""(kind, namespace, name)."""


def key_of(resource: Resource, obj: Mapping[str, Any]) -> ObjectKey:
    """Which object this is, whatever its version."""
    metadata = obj["metadata"]
    return resource.kind, (metadata.get("namespace") or "") if resource.namespaced else "", metadata["name"]
