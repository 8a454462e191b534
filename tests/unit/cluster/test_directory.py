"""Pull secrets and service accounts, as they are kept; and a namespace that is asked for."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest

from controller.cluster.directory import _credentials_of, _pull_secrets_of, namespace_of
from controller.model.access import Credential


def _secret(content: bytes | None, kind: str = "kubernetes.io/dockerconfigjson") -> dict[str, Any]:
    data = {} if content is None else {".dockerconfigjson": base64.b64encode(content).decode()}
    return {"metadata": {"name": "pull", "namespace": "shop"}, "type": kind, "data": data}


def test_a_pull_secret_gives_its_registries_credentials() -> None:
    content = json.dumps({"auths": {"https://ghcr.io": {"username": "u", "password": "p"}}}).encode()
    assert _credentials_of(_secret(content)) == (Credential("ghcr.io", "u", "p"),)


@pytest.mark.guarantee(12)
@pytest.mark.parametrize(
    "content", [b"hunter2", b'{"auths": "hunter2"}', b'{"auths": {"x": {"auth": "hunter2!"}}}', None]
)
def test_a_malformed_secret_gives_nothing_and_is_named_in_the_log_without_its_content(
    content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert _credentials_of(_secret(content)) is None
    assert "shop/pull" in caplog.text
    assert "hunter2" not in caplog.text


def test_secrets_of_other_types_are_not_kept() -> None:
    assert _credentials_of(_secret(b"{}", kind="Opaque")) is None


def test_a_service_account_without_pull_secrets_takes_no_room() -> None:
    assert _pull_secrets_of({"metadata": {"name": "default"}}) is None
    assert _pull_secrets_of({"imagePullSecrets": [{"name": "a"}, {}, {"name": "b"}]}) == ("a", "b")


def test_a_namespace_without_labels_has_none() -> None:
    assert namespace_of({"metadata": {"name": "shop"}}).labels == {}
