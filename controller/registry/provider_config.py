"""The kubelet's CredentialProviderConfig: which plugin to run for which image, so that one file serves both.

Read as strictly as the kubelet does: a field that is not known is an error, since a plugin that is never run would look
like a registry that refuses. `tokenAttributes` (a pod's own service account token, KEP-4412) is refused by name: Assay
has no token of a pod that does not exist yet.

Specification: https://kubernetes.io/docs/reference/config-api/kubelet-config.v1/ and KEP-2133
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from controller.errors import ConfigurationError
from controller.model.access import matches_host
from controller.model.reference import Reference, normal_host
from controller.settings import RegistrySettings

MAX_CONFIG_BYTES = 1024 * 1024  # bounds the file
MAX_SECONDS = 24 * 3600.0  # the longest that an answer is kept, whatever it says

_CONFIG_VERSIONS = frozenset(f"kubelet.config.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
_PLUGIN_VERSIONS = frozenset(
    f"credentialprovider.kubelet.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1")
)
_FIELDS = frozenset({"name", "apiVersion", "matchImages", "defaultCacheDuration", "args", "env"})
_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
_HOST = re.compile(r"(?:[a-z0-9*_-]+(?:\.[a-z0-9*_-]+)*|\[[a-f0-9:]+\])(?::[0-9]{1,5})?")
_DURATION = re.compile(r"(?:([0-9]{1,15}(?:\.[0-9]{1,15})?)(ns|us|µs|μs|ms|s|m|h))")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Provider:
    """One plugin: what it is run for and how. `default_seconds` is how long an answer serves that does not say."""

    name: str
    api_version: str
    executable: Path
    match_images: tuple[str, ...]
    default_seconds: float
    arguments: tuple[str, ...] = field(default=(), repr=False)
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def serves(self, reference: Reference) -> bool:
        """Whether it is run for this image."""
        return any(matches_image(pattern, reference) for pattern in self.match_images)


def matches_image(pattern: str, reference: Reference) -> bool:
    """Whether the pattern (`host[:port][/path]`) means this image.

    The kubelet's rule (`URLsMatch`): labels one by one with `*`, the port exact, and the path a plain prefix, which
    need not end where a component does.
    """
    host, slash, path = pattern.partition("/")
    return matches_host(host, reference.registry) and f"/{reference.repository}".startswith(slash + path)


def read_providers(settings: RegistrySettings) -> tuple[Provider, ...]:
    """The providers of the settings, in the file's order; none without the settings.

    Raises `ConfigurationError` (`SettingInvalid`) naming file and field.
    """
    file, directory = settings.registry_credential_providers_config, settings.registry_credential_providers_directory
    if not file and not directory:
        return ()
    if not file or not directory:
        raise ConfigurationError(
            "SettingInvalid",
            "registry_credential_providers_config and registry_credential_providers_directory are set both or neither",
        )
    value = _object(_content(file), file)
    if value.get("apiVersion") not in _CONFIG_VERSIONS or value.get("kind") != "CredentialProviderConfig":
        _invalid(file, "", "is no CredentialProviderConfig of kubelet.config.k8s.io/v1")
    _known(value, frozenset({"apiVersion", "kind", "providers"}), file, "")
    entries = value.get("providers")
    if not isinstance(entries, list) or not entries:
        _invalid(file, "providers", "must list at least one provider")
    providers = tuple(_provider(entry, f"providers[{i}]", file, Path(directory)) for i, entry in enumerate(entries))
    if len({provider.name for provider in providers}) != len(providers):
        _invalid(file, "providers", "names a provider twice")
    return providers


def seconds(text: str) -> float:
    """The seconds of a duration as Go writes it (`12h0m0s`, `1.5h`, `0`), at most `MAX_SECONDS`; else a ValueError."""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("no duration")
    return min(MAX_SECONDS, sum(float(number) * _UNITS[unit] for number, unit in parts))


def _provider(entry: Any, where: str, file: str, directory: Path) -> Provider:
    entry = _object(entry, file, where)
    if "tokenAttributes" in entry:
        _invalid(file, f"{where}.tokenAttributes", "is not supported: Assay has no service account token of a pod")
    _known(entry, _FIELDS, file, where)
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in {".", ".."}:
        _invalid(file, f"{where}.name", "must be the name of an executable in the directory")
    if entry.get("apiVersion") not in _PLUGIN_VERSIONS:
        _invalid(file, f"{where}.apiVersion", "must be credentialprovider.kubelet.k8s.io/v1")
    patterns = _texts(entry.get("matchImages"), file, f"{where}.matchImages")
    if not patterns:
        _invalid(file, f"{where}.matchImages", "must have at least one pattern")
    duration = entry.get("defaultCacheDuration")
    try:
        default_seconds = seconds(duration if isinstance(duration, str) else "")
    except ValueError:
        _invalid(file, f"{where}.defaultCacheDuration", "must be a duration such as 12h")
    executable = directory / name
    if not (executable.is_file() and os.access(executable, os.X_OK)):
        _invalid(file, f"{where}.name", f"{executable} is no file that can be executed")
    return Provider(
        name=name,
        api_version=entry["apiVersion"],
        executable=executable.absolute(),
        match_images=tuple(_pattern(pattern, file, f"{where}.matchImages") for pattern in patterns),
        default_seconds=default_seconds,
        arguments=_texts(entry.get("args") or [], file, f"{where}.args"),
        environment=tuple(_variable(item, file, f"{where}.env") for item in _list(entry.get("env") or [], file, where)),
    )


def _pattern(written: str, file: str, where: str) -> str:
    host, slash, path = written.partition("/")
    normal = normal_host(host)
    if not _HOST.fullmatch(normal) or "*" in path:
        _invalid(file, where, f"{written!r} is no host[:port][/path] with * in the host only")
    return normal + slash + path


def _variable(item: Any, file: str, where: str) -> tuple[str, str]:
    item = _object(item, file, where)
    _known(item, frozenset({"name", "value"}), file, where)
    name, value = item.get("name"), item.get("value", "")
    if not isinstance(name, str) or not isinstance(value, str) or not name or "=" in name or "\0" in name + value:
        _invalid(file, where, "must have a name and a value, both text")
    return name, value


def _content(file: str) -> Any:
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(MAX_CONFIG_BYTES + 1)
        if len(content) > MAX_CONFIG_BYTES:
            _invalid(file, "", f"is larger than {MAX_CONFIG_BYTES} bytes (bound: MAX_CONFIG_BYTES)")
        return yaml.safe_load(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as exc:
        raise ConfigurationError(
            "SettingInvalid", f"registry_credential_providers_config: {file} cannot be read as YAML"
        ) from exc


def _object(value: Any, file: str, where: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        _invalid(file, where, "must be an object")
    return value


def _list(value: Any, file: str, where: str) -> list[Any]:
    if not isinstance(value, list):
        _invalid(file, where, "must be a list")
    return value


def _texts(value: Any, file: str, where: str) -> tuple[str, ...]:
    texts = _list(value, file, where)
    if not all(isinstance(text, str) and "\0" not in text for text in texts):
        _invalid(file, where, "must be a list of text")
    return tuple(texts)


def _known(value: dict[str, Any], names: frozenset[str], file: str, where: str) -> None:
    unknown = sorted(value.keys() - names)
    if unknown:
        _invalid(file, where, f"has a field that is not known: {unknown[0]}")


def _invalid(file: str, where: str, what: str) -> NoReturn:
    place = f"{file}: {where}" if where else file
    raise ConfigurationError("SettingInvalid", f"registry_credential_providers_config: {place} {what}")
