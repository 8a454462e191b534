"""An image's configuration is read as a container runtime reads it, or not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.documents import image_config
from controller.errors import LimitExceeded, Unacceptable
from controller.model.image import ConfigBlob, ImageConfig, Platform
from controller.model.reference import Digest
from controller.settings import DocumentSettings

AMD64 = Platform("linux", "amd64")


def parse(value: Any, platform: Platform | None = None) -> ImageConfig:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    blob = ConfigBlob(platform, Digest.of(b"manifest"), Digest.of(content), content)
    return image_config.parse(blob, DocumentSettings())


def test_a_configuration_as_buildkit_writes_it() -> None:
    found = parse(
        {
            "architecture": "arm64",
            "os": "linux",
            "variant": "v8",
            "created": "2026-01-02T03:04:05.123456789Z",
            "author": "Ann",
            "config": {
                "User": "65532:65532",
                "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
                "Env": ["PATH=/bin"],
                "Entrypoint": ["/app"],
                "Cmd": ["--serve"],
                "WorkingDir": "/srv",
                "Labels": {"org.opencontainers.image.source": "https://github.com/acme/app"},
                "Volumes": {"/data": {}},
                "ArgsEscaped": True,
                "OnBuild": None,
            },
            "rootfs": {"type": "layers", "diff_ids": []},
            "history": [{"created": "2026-01-02T03:04:05Z"}],
        }
    )
    assert (found.platform, found.created) == ("linux/arm64/v8", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC))
    assert (found.user, found.non_root, found.entrypoint, found.command) == (
        "65532:65532",
        True,
        ("/app",),
        ("--serve",),
    )
    assert (found.working_dir, found.ports, found.volumes) == ("/srv", ("8080/tcp", "53/udp"), ("/data",))
    assert found.labels == (("org.opencontainers.image.source", "https://github.com/acme/app"),)


def test_what_is_not_said_stays_missing_and_the_index_says_the_platform() -> None:
    found = parse({"architecture": "arm64", "os": "linux", "config": None}, AMD64)
    assert (found.platform, found.created, found.user, found.labels) == ("linux/amd64", None, "", ())
    assert parse({"created": "0001-01-01T00:00:00Z"}).created is None
    assert parse({}).platform == "unknown/unknown"


@pytest.mark.parametrize(
    ("user", "certain"),
    [
        ("", False),
        ("0", False),
        ("00", False),
        ("0:1000", False),
        ("root", False),
        ("nonroot", False),
        ("+1", False),
        ("-1", False),
        (" 1", False),
        ("1 ", False),
        ("٣", False),
        ("4" * 5000, False),
        ("0000000000000000000001", False),
        ("1", True),
        ("65532", True),
        ("1000:0", True),
    ],
)
def test_only_a_number_is_certainly_not_root(user: str, certain: bool) -> None:
    assert parse({"config": {"User": user}}).non_root is certain


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"[]",
        b"{",
        b"null",
        b'"{}"x',
        b'{"config": []}',
        b'{"config": {"User": 0}}',
        b'{"config": {"User": "1"}, "config": {"User": "0"}}',
        b'{"config": {"User": "1", "user": "0"}}',
        b'{"config": {"User": "1"}, "Config": {"User": "0"}}',
        b'{"CREATED": "2026-01-01T00:00:00Z"}',
        b'{"created": "yesterday"}',
        b'{"created": 7}',
        b'{"config": {"Labels": {"a": 1}}}',
        b'{"config": {"Labels": ["a"]}}',
        b'{"config": {"Entrypoint": "/app"}}',
        b'{"config": {"ExposedPorts": ["80"]}}',
        b'{"config": {"Volumes": "x"}}',
        b'{"os": ["linux"]}',
        b'{"os": "\\ud800"}',
        b'{"x": NaN}',
    ],
)
def test_what_has_two_readings_or_none_is_malformed(content: bytes) -> None:
    with pytest.raises(Unacceptable) as raised:
        parse(content)
    assert raised.value.code == "ConfigMalformed"


@pytest.mark.guarantee(12)
def test_an_error_about_a_label_names_neither_its_name_nor_its_value() -> None:
    with pytest.raises(Unacceptable) as raised:
        parse(b'{"config": {"Labels": {"s3cr3t-name": ["s3cr3t-value"]}}}')
    assert "config.Labels is no map of strings" in raised.value.message
    assert "s3cr3t" not in raised.value.message


@pytest.mark.guarantee(10)
def test_nesting_is_bounded() -> None:
    with pytest.raises(LimitExceeded):
        parse(b'{"x":' * 5000 + b"1" + b"}" * 5000)


KEYS = st.sampled_from(["config", "User", "Labels", "created", "os", "Entrypoint", "x"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text()


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20))
def test_anything_is_read_or_refused(value: Any) -> None:
    try:
        parse(value)
    except Unacceptable as refused:
        assert refused.code in {"ConfigMalformed", "LimitExceeded"}  # noqa: PT017 - either is right
