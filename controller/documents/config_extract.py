"""What of an image's configuration is recorded. Its bytes are not: builders put secrets there (guarantee 12).

`Env` holds values that were given to a build, `Entrypoint`, `Cmd` and the health check hold arguments, and `history`
quotes whole commands. So a configuration is named by its digest, and beside it stands what is read here: words of a
fixed list of fields, each bounded, none of which repeats a value of the environment. Names of variables are left out
too: of an entry without `=`, which some builders write, the name would be all there is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from controller.model.bases import BASE_DIGEST, BASE_NAME, MAX_BASE_NAME, claimed
from controller.model.image import ConfigExtract

MAX_WORD = 64  # characters of an operating system, architecture, variant, version or user
MAX_LABEL = 256  # characters of a label's value: longer ones are left out, not cut
LONG = 8  # characters from which a value of the environment is looked for within other words

_PREFIX = "org.opencontainers.image."
# Predefined ones that say what it is and where it comes from. `description`, `authors` and others are free text.
LABELS = tuple(
    f"{_PREFIX}{name}"
    for name in ("created", "licenses", "ref.name", "revision", "source", "title", "url", "vendor", "version")
)
_USER_IN_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@")
_PASSWORD = re.compile(r"[^\s/:@]:[^@]*@")

Node = Mapping[str, Any]


def extract(document: Node, config: Node, *, created: datetime | None) -> ConfigExtract:
    """Of a configuration (`document`), its member `config`, and when it was made.

    Nothing is decided by it, so it raises nothing: what is no text, or not to be told, is empty.
    """
    secret = _environment(config.get("Env"))

    def word(node: Node, name: str) -> str:
        return _told(node.get(name), MAX_WORD, secret)

    return ConfigExtract(
        os=word(document, "os"),
        architecture=word(document, "architecture"),
        variant=word(document, "variant"),
        os_version=word(document, "os.version"),
        created=_moment(created) if created is not None else "",
        user=word(config, "User"),
        labels=tuple(sorted(_labels(config.get("Labels"), secret).items())),
    )


def _labels(labels: Any, secret: frozenset[str] | None) -> dict[str, str]:
    """Those of the list, and what is claimed of the base image: that is an image's name, and no other word."""
    if not isinstance(labels, Mapping):
        return {}
    texts = {name: value for name, value in labels.items() if isinstance(value, str)}
    short = {name: texts[name] for name in LABELS if name in texts and len(texts[name]) <= MAX_LABEL}  # before patterns
    found = {name: _told(_harmless(value), MAX_LABEL, secret) for name, value in short.items()}
    claim = claimed({name: _told(texts.get(name), MAX_BASE_NAME, secret) for name in (BASE_NAME, BASE_DIGEST)})
    return {name: value for name, value in found.items() if value} | (claim.annotations() if claim is not None else {})


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _harmless(value: str) -> str:
    """Without the user and password, query and fragment of a URL; nothing of one that is written without a scheme."""
    if "://" not in value:
        return "" if _PASSWORD.search(value) else value
    told = _USER_IN_URL.sub(r"\1", value).partition("?")[0].partition("#")[0]
    return "" if _PASSWORD.search(told) else told


def _told(value: Any, most: int, secret: frozenset[str] | None) -> str:
    """The value, if it is one word or line, not too long, and holds no value of the environment."""
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        return ""
    return "" if secret is None or any(each in value for each in secret) else value


def _environment(env: Any) -> frozenset[str] | None:
    """The values that are looked for: `NAME=value`, or what stands there instead. None where it cannot be read."""
    if env is None:
        return frozenset()
    if not isinstance(env, list | tuple) or not all(isinstance(entry, str) for entry in env):
        return None
    found = {entry.partition("=")[2] or entry for entry in env}
    return frozenset(value for value in found if len(value) >= LONG)
