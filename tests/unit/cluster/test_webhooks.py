"""The one patch that Assay sends to webhook configurations."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from controller.cluster.client import JSON_PATCH, NOT_FOUND, ClusterClient
from controller.cluster.webhooks import ca_bundle_patch, inject_ca_bundle
from controller.errors import Unavailable

BUNDLE = b"-----BEGIN CERTIFICATE-----\n"
VALUE = base64.b64encode(BUNDLE).decode()


def _configuration(*values: str | None) -> dict[str, Any]:
    return {
        "webhooks": [
            {"name": f"hook-{i}", "clientConfig": {} if value is None else {"caBundle": value}}
            for i, value in enumerate(values)
        ]
    }


def test_only_the_bundle_of_entries_that_differ_is_patched_and_each_is_tested_by_name() -> None:
    assert ca_bundle_patch(_configuration(VALUE, "old", None), BUNDLE) == [
        {"op": "test", "path": "/webhooks/1/name", "value": "hook-1"},
        {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": VALUE},
        {"op": "test", "path": "/webhooks/2/name", "value": "hook-2"},
        {"op": "add", "path": "/webhooks/2/clientConfig/caBundle", "value": VALUE},
    ]


def test_a_configuration_that_is_right_is_not_patched() -> None:
    assert ca_bundle_patch(_configuration(VALUE, VALUE), BUNDLE) == []
    assert ca_bundle_patch({}, BUNDLE) == []


def test_an_empty_bundle_is_never_written() -> None:
    with pytest.raises(ValueError, match="out of service"):
        ca_bundle_patch(_configuration(VALUE), b"")


class _Cluster(ClusterClient):
    """Answers from memory and remembers what was sent."""

    def __init__(self, there: dict[str, dict[str, Any]]) -> None:
        self.there = there
        self.sent: list[tuple[str, Any, str]] = []

    async def get(self, path: str, **_: Any) -> dict[str, Any]:
        if path not in self.there:
            raise Unavailable(NOT_FOUND, path)
        return self.there[path]

    async def patch(self, path: str, body: Any, *, content_type: str, **_: Any) -> dict[str, Any]:
        self.sent.append((path, body, content_type))
        return {}


async def test_a_configuration_that_is_not_there_is_left_alone_and_the_other_one_is_still_filled_in() -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/assay"
    cluster = _Cluster({path: _configuration(None)})
    assert await inject_ca_bundle(cluster, name="assay", bundle=BUNDLE) == 1
    assert cluster.sent == [(path, ca_bundle_patch(_configuration(None), BUNDLE), JSON_PATCH)]
