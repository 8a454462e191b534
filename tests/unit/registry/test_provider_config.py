"""The kubelet's CredentialProviderConfig: read as strictly, and matched as the kubelet matches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controller.errors import ConfigurationError
from controller.model.reference import Reference
from controller.registry.provider_config import MAX_CONFIG_BYTES, MAX_SECONDS, Provider, read_providers, seconds
from controller.settings import RegistrySettings

PLUGIN_API = "credentialprovider.kubelet.k8s.io/v1"
ENTRY = {"name": "plugin", "apiVersion": PLUGIN_API, "matchImages": ["*.example.com"], "defaultCacheDuration": "12h"}


def config(*entries: Any, **changes: Any) -> dict[str, Any]:
    """A configuration of these providers."""
    value = {"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers": list(entries)}
    return value | changes


def read(folder: Path, content: Any) -> tuple[Provider, ...]:
    """What is read of a configuration whose plugins are there."""
    for name in ("plugin", "other"):
        (folder / name).write_text("#!/bin/true")
        (folder / name).chmod(0o700)
    file = folder / "config.yaml"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_providers(
        RegistrySettings(
            registry_credential_providers_config=str(file), registry_credential_providers_directory=str(folder)
        )
    )


def test_without_the_settings_there_is_no_provider() -> None:
    assert read_providers(RegistrySettings()) == ()


def test_a_file_as_nodes_have_it_is_read(tmp_path: Path) -> None:
    content = b"""
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
  - name: plugin
    matchImages:
      - "*.dkr.ecr.*.amazonaws.com"
      - "Registry.Example.com:443/team"
    defaultCacheDuration: "12h30m0s"
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    args: [get-credentials]
    env:
      - name: AWS_PROFILE
        value: example
      - name: EMPTY
  - name: other
    matchImages: ["docker.io", "[2001:DB8::1]:5000"]
    defaultCacheDuration: "0s"
    apiVersion: credentialprovider.kubelet.k8s.io/v1beta1
"""
    assert read(tmp_path, content) == (
        Provider(
            name="plugin",
            api_version=PLUGIN_API,
            executable=tmp_path / "plugin",
            match_images=("*.dkr.ecr.*.amazonaws.com", "registry.example.com/team"),
            default_seconds=45_000,
            arguments=("get-credentials",),
            environment=(("AWS_PROFILE", "example"), ("EMPTY", "")),
        ),
        Provider(
            name="other",
            api_version="credentialprovider.kubelet.k8s.io/v1beta1",
            executable=tmp_path / "other",
            match_images=("docker.io", "[2001:db8::1]:5000"),
            default_seconds=0,
        ),
    )


def test_what_a_configuration_gives_to_plugins_is_not_shown(tmp_path: Path) -> None:
    entry = ENTRY | {"args": ["--password=SECRET"], "env": [{"name": "KEY", "value": "SECRET"}]}
    assert "SECRET" not in repr(read(tmp_path, config(entry)))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"{", "YAML"),
        (b"\xff", "YAML"),
        (b"[" * 5000, "YAML"),
        (b"", "must be an object"),
        (b"[]", "must be an object"),
        (b" " * (MAX_CONFIG_BYTES + 1), "MAX_CONFIG_BYTES"),
        (config(ENTRY, apiVersion="v1"), "no CredentialProviderConfig"),
        (config(ENTRY, kind="KubeletConfiguration"), "no CredentialProviderConfig"),
        (config(ENTRY, provider=[]), "not known: provider"),
        (config(), "providers must list"),
        (config(ENTRY, providers=ENTRY), "providers must list"),
        (config("plugin"), "providers[0] must be an object"),
        (config(ENTRY, ENTRY), "names a provider twice"),
        (config(ENTRY | {"matchimages": []}), "not known: matchimages"),
        (config(ENTRY | {"tokenAttributes": {}}), "tokenAttributes is not supported"),
        (config(ENTRY | {"name": "../plugin"}), "providers[0].name"),
        (config(ENTRY | {"name": ".."}), "providers[0].name"),
        (config(ENTRY | {"name": ""}), "providers[0].name"),
        (config(ENTRY | {"name": 7}), "providers[0].name"),
        (config(ENTRY | {"name": "missing"}), "no file that can be executed"),
        (config(ENTRY | {"name": "config.yaml"}), "no file that can be executed"),
        (config(ENTRY | {"apiVersion": "credentialprovider.kubelet.k8s.io/v2"}), "providers[0].apiVersion"),
        (config(ENTRY | {"matchImages": []}), "at least one pattern"),
        (config(ENTRY | {"matchImages": "*"}), "must be a list"),
        (config(ENTRY | {"matchImages": [7]}), "must be a list of text"),
        (config(ENTRY | {"matchImages": ["https://example.com"]}), "no host"),
        (config(ENTRY | {"matchImages": ["example.com:*"]}), "no host"),
        (config(ENTRY | {"matchImages": ["example.com/*"]}), "no host"),
        (config(ENTRY | {"matchImages": ["example.[a-z]om"]}), "no host"),
        (config(ENTRY | {"matchImages": [""]}), "no host"),
        (config({name: value for name, value in ENTRY.items() if name != "defaultCacheDuration"}), "duration"),
        (config(ENTRY | {"defaultCacheDuration": "-1h"}), "duration"),
        (config(ENTRY | {"defaultCacheDuration": 60}), "duration"),
        (config(ENTRY | {"args": ["a\0b"]}), "must be a list of text"),
        (config(ENTRY | {"env": {"A": "b"}}), "must be a list"),
        (config(ENTRY | {"env": [{"name": "A=B", "value": "c"}]}), "a name and a value"),
        (config(ENTRY | {"env": [{"value": "c"}]}), "a name and a value"),
        (config(ENTRY | {"env": [{"name": "A", "valueFrom": {}}]}), "not known: valueFrom"),
    ],
)
def test_a_configuration_that_is_not_understood_whole_is_refused(content: Any, part: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="SettingInvalid") as caught:
        read(tmp_path, content)
    assert part in caught.value.message
    assert "config.yaml" in caught.value.message


@pytest.mark.parametrize("given", ["registry_credential_providers_config", "registry_credential_providers_directory"])
def test_half_of_the_settings_is_refused(given: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="both or neither"):
        read_providers(RegistrySettings(**{given: str(tmp_path)}))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_providers(
            RegistrySettings(
                registry_credential_providers_config=str(tmp_path / "none"),
                registry_credential_providers_directory=str(tmp_path),
            )
        )


@pytest.mark.parametrize(
    ("pattern", "image", "served"),
    [
        ("*.dkr.ecr.*.amazonaws.com", "123.dkr.ecr.eu-west-1.amazonaws.com/app", True),
        ("*.dkr.ecr.*.amazonaws.com", "123.dkr.ecr.eu-west-1.amazonaws.com.cn/app", False),
        ("*.dkr.ecr.*.amazonaws.com", "evil.example/123.dkr.ecr.eu-west-1.amazonaws.com/app", False),
        ("*.k8s.io", "registry.k8s.io/pause", True),
        ("*.io", "registry.k8s.io/pause", False),
        ("app*.k8s.io", "app-1.k8s.io/pause", True),
        ("k8s.*", "k8s.io/pause", True),
        ("*.k8s.io", "k8s.io/pause", False),
        ("registry.io", "registry.io:8080/path", False),
        ("registry.io:8080", "registry.io:8080/path", True),
        ("registry.io:8080", "registry.io/path", False),
        ("registry.io:8080/path", "registry.io:8080/path/app", True),
        ("registry.io/path", "registry.io/pathological", True),  # as for the kubelet: a plain prefix
        ("registry.io/path/", "registry.io/pathological", False),
        ("registry.io/path", "registry.io/other/path", False),
        ("docker.io", "nginx", True),
        ("index.docker.io", "nginx", True),
        ("docker.io/library", "nginx", True),
        ("docker.io/acme", "nginx", False),
        ("REGISTRY.io:443", "registry.io/app", True),
        ("[2001:db8::1]:5000", "[2001:DB8::1]:5000/app", True),
    ],
)
def test_a_plugin_is_for_the_images_that_the_kubelet_would_run_it_for(
    pattern: str, image: str, served: bool, tmp_path: Path
) -> None:
    (provider,) = read(tmp_path, config(ENTRY | {"matchImages": ["nothing.example", pattern]}))
    assert provider.serves(Reference.parse(image)) is served


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("0s", 0),
        ("12h0m0s", 43_200),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("10m", 600),
        ("1500ms", 1.5),
        ("3us", 3e-6),
        ("100000h", MAX_SECONDS),
        ("999999999999999h", MAX_SECONDS),
    ],
)
def test_durations_are_read_as_go_writes_them(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "1", "-1h", "h", "1d", "1 h", "1h ", "1h-1m", "1e3s", "NaNs", "٣s", "9" * 400 + "h"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        seconds(text)
