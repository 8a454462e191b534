"""What of an image's configuration is recorded. Its bytes are not: builders put secrets there (guarantee 12).

`Env` holds values that were given to a build, `Entrypoint`, `Cmd` and the health check hold arguments, and `history`
quotes whole commands. So a configuration is named by its digest, and beside it stands what is read here: words of a
fixed list of fields, each bounded, none of which repeats a value of the environment. Names of variables are left out
too: of an entry without `=`, which some builders write, the name would be all there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from controller.documents.secret_shapes import harmless, passwords, says_secret
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

Node = Mapping[str, Any]


def extract(document: Node, config: Node, *, created: datetime | None) -> ConfigExtract:
    """Of a configuration (`document`), its member `config`, and when it was made.

    Nothing is decided by it, so it raises nothing: what is no text, or not to be told, is empty.
    """
    secret = _Environment.of(config.get("Env"))

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


def _labels(labels: Any, secret: _Environment | None) -> dict[str, str]:
    """Those of the list, and what is claimed of the base image: that is an image's name, and no other word."""
    if not isinstance(labels, Mapping):
        return {}
    found = {name: _told(labels.get(name), MAX_LABEL, secret) for name in LABELS}
    bases = {name: labels.get(name) for name in (BASE_NAME, BASE_DIGEST)}
    claim = claimed(
        {name: told for name, value in bases.items() if (told := _told(value, MAX_BASE_NAME, secret)) == value}
    )
    return {name: value for name, value in found.items() if value} | (claim.annotations() if claim is not None else {})


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _told(value: Any, most: int, secret: _Environment | None) -> str:
    """The value, if it is one word or line, not too long, and neither is nor holds a secret; of a URL what is none."""
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        return ""
    told = harmless(value)
    return "" if secret is None or secret.stands_in(told) else told


@dataclass(frozen=True, slots=True)
class _Environment:
    """What is looked for, in any letter case: `long` wherever its characters occur, `named` as whole words."""

    long: frozenset[str]
    named: frozenset[str]

    @classmethod
    def of(cls, env: Any) -> _Environment | None:
        """Of `NAME=value`, the value; where there is no name, what stands there. None where it cannot be read."""
        if env is None:
            return cls(frozenset(), frozenset())
        if not isinstance(env, list | tuple) or not all(isinstance(entry, str) for entry in env):
            return None
        values: set[str] = set()
        named: set[str] = set()
        for entry in env:
            name, _, value = entry.partition("=")
            values.add(value or entry)
            named |= passwords(value or entry)
            if not name or "=" not in entry or says_secret(name):
                named.add(value or entry)
        long = frozenset(value.casefold() for value in values if len(value) >= LONG)
        return cls(long, frozenset(value.casefold() for value in named) - {""})

    def stands_in(self, text: str) -> bool:
        """Whether one of them is or stands in the text, percent-encoded or not."""
        for written in {text.casefold(), unquote(text).casefold()}:
            if any(value in written for value in self.long) or any(_as_words(value, written) for value in self.named):
                return True
        return False


def _as_words(value: str, text: str) -> bool:
    """Whether the value stands in the text with no letter or digit before or behind it."""
    at = text.find(value)
    while at >= 0:
        end = at + len(value)
        if not text[at - 1 : at].isalnum() and not text[end : end + 1].isalnum():
            return True
        at = text.find(value, at + 1)
    return False
