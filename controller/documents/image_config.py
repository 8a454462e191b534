"""The configuration of an image (https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md).

It is bound by the image's digest and signed by nobody. A container runtime reads it with Go's JSON reader, which takes
names in any letter case and the last of several: what two readers could read in two ways is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.documents.config_extract import extract
from controller.documents.reading import child, text, texts, time_of
from controller.documents.unwrap import unwrap
from controller.errors import Unacceptable
from controller.model.image import ConfigBlob, ImageConfig, Platform
from controller.settings import DocumentSettings

_NAMES = frozenset({"created", "author", "architecture", "os", "os.version", "os.features", "variant", "config"})
_CONFIG_NAMES = frozenset(
    {"User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal"}
)

Node = Mapping[str, Any]


def parse(blob: ConfigBlob, limits: DocumentSettings) -> ImageConfig:
    """Read a configuration. Raises `Unacceptable` (`ConfigMalformed`) and `LimitExceeded`."""
    where = f"the configuration {blob.digest}"
    try:
        document = unwrap(blob.content.decode(), limits)
        _exact(document, _NAMES)
        config = child(document, "config", "it")
        _exact(config, _CONFIG_NAMES)
        created = time_of(document, "created", "it")
        return ImageConfig(
            platform=str(blob.platform) if blob.platform is not None else _platform(document),
            digest=blob.digest,
            created=created,
            user=text(config, "User", "config"),
            labels=tuple(sorted(_labels(config).items())),
            entrypoint=texts(config, "Entrypoint", "config"),
            command=texts(config, "Cmd", "config"),
            working_dir=text(config, "WorkingDir", "config"),
            ports=tuple(child(config, "ExposedPorts", "config")),
            volumes=tuple(child(config, "Volumes", "config")),
            extract=extract(document, config, created=created),
        )
    except UnicodeDecodeError as exc:
        raise Unacceptable("ConfigMalformed", f"{where} is no UTF-8") from exc
    except Unacceptable as exc:
        if exc.code != "DocumentMalformed":
            raise
        raise Unacceptable("ConfigMalformed", f"{where} cannot be read: {exc.message}") from exc


def _exact(node: Node, names: frozenset[str]) -> None:
    """Refuse a name that is one of `names` but for its letter case: Go's reader takes it for that one."""
    folded = {name.casefold() for name in names}
    if any(name.casefold() in folded and name not in names for name in node):
        raise Unacceptable("DocumentMalformed", "it has a name in another letter case than the specification's")


def _platform(document: Node) -> str:
    parts = [text(document, name, "it") for name in ("os", "architecture", "variant")]
    return str(Platform(parts[0] or "unknown", parts[1] or "unknown", parts[2]))


def _labels(config: Node) -> Mapping[str, str]:
    labels = child(config, "Labels", "config")
    # Which of them is not told: a label's name may be anything, a secret too.
    if not all(isinstance(value, str | None) for value in labels.values()):
        raise Unacceptable("DocumentMalformed", "config.Labels is no map of strings")
    return {name: value or "" for name, value in labels.items()}
