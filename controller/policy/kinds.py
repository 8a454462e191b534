"""The names of Assay's resources in the Kubernetes API."""

from __future__ import annotations

API_VERSION = "assay.dev/v1alpha1"
CLUSTER_POLICY = "ClusterEvidencePolicy"
NAMESPACED_POLICY = "EvidencePolicy"
POLICY_KINDS = (CLUSTER_POLICY, NAMESPACED_POLICY)
TRUST_ROOT = "TrustRoot"
POLICY_TEST = "PolicyTest"
"""Never in a cluster: the file format of `assay policy test`."""
EXCEPTION = "EvidenceException"
