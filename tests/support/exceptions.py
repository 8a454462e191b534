"""EvidenceExceptions for tests, as the cluster would hold them: approved by `jane` just now, for a day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def stamp(moment: datetime) -> str:
    """As the API writes a time."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def exception(name: str = "hotfix", *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """An exception from the policy `signed` for ghcr.io/acme/**, with fields of its spec changed; None: taken out."""
    fields: dict[str, Any] = {
        "policies": [{"kind": "ClusterEvidencePolicy", "name": "signed"}],
        "images": ["ghcr.io/acme/**"],
        "reason": "the signing service is down, see OPS-42",
        "approver": "jane",
        "approvedAt": stamp(NOW),
        "expires": stamp(NOW + DAY),
        "breakGlass": False,
    }
    return {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "EvidenceException",
        "metadata": {"name": name, "generation": 1, **(metadata or {})},
        "spec": {key: value for key, value in (fields | spec).items() if value is not None},
    }


DIGEST = "sha256:" + "d" * 64
GLASS: dict[str, Any] = {
    "breakGlass": True,
    "images": None,
    "digests": [DIGEST],
    "namespaces": ["shop"],
    "expires": stamp(NOW + timedelta(hours=4)),
}
"""What makes a break-glass exception of it."""
