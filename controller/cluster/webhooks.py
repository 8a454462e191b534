"""Fills in `caBundle` of the webhook configurations, and does nothing else to them.

The chart owns these objects. Whoever deletes, recreates or empties one opens the cluster for as long as that lasts, so
Assay has the right to `get` and `patch` them by name and sends one kind of patch only: `caBundle` of entries that are
there, guarded by a `test` of the entry's name in the same request.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from typing import Any

from controller.cluster.client import JSON_PATCH, NOT_FOUND, ClusterClient
from controller.errors import AssayError

logger = logging.getLogger(__name__)

GROUP = "/apis/admissionregistration.k8s.io/v1"
COLLECTIONS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")


async def inject_ca_bundle(client: ClusterClient, *, name: str, bundle: bytes) -> int:
    """Make `caBundle` of each entry of both configurations called `name` the PEM bundle; return how many were patched.

    A configuration that is not there is logged and left alone. Raises what `ClusterClient` raises.
    """
    patched = 0
    for collection in COLLECTIONS:
        path = f"{GROUP}/{collection}/{name}"
        try:
            configuration = await client.get(path)
        except AssayError as exc:
            if exc.code != NOT_FOUND:
                raise
            logger.warning("there is no %s %s whose caBundle could be filled in", collection, name)
            continue
        patch = ca_bundle_patch(configuration, bundle)
        if patch:
            await client.patch(path, patch, content_type=JSON_PATCH)
            patched += 1
            logger.info("filled in caBundle of %s %s", collection, name)
    return patched


def ca_bundle_patch(configuration: Mapping[str, Any], bundle: bytes) -> list[dict[str, Any]]:
    """The JSON patch (RFC 6902) that makes every entry's `caBundle` the bundle; empty if it is so already."""
    if not bundle:
        raise ValueError("an empty caBundle would take the webhook out of service")
    value = base64.b64encode(bundle).decode()
    patch: list[dict[str, Any]] = []
    for index, webhook in enumerate(configuration.get("webhooks") or ()):
        if (webhook.get("clientConfig") or {}).get("caBundle") != value:
            patch += [
                {"op": "test", "path": f"/webhooks/{index}/name", "value": webhook["name"]},
                {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": value},
            ]
    return patch
