"""Which operating system an SBOM is about: what the purls of its packages say (`distro=debian-12`)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from controller.inventory.index.contents import Row
from controller.inventory.origins import MAX_NAME, SYSTEM
from controller.model.documents import Component

_DISTRO = re.compile(r"[?&]distro=([^&#]+)")
_PACKAGED = ("pkg:deb/", "pkg:rpm/", "pkg:apk/", "pkg:alpm/")


def systems(components: Iterable[Component]) -> tuple[Row, ...]:
    """Each system that packages of distributions name, once: `debian 12`."""
    found: dict[str, None] = {}
    for component in components:
        if component.purl.startswith(_PACKAGED) and (named := _DISTRO.search(component.purl)):
            name, dash, version = named[1].partition("-")
            found[f"{name} {version}" if dash and version else name] = None
    return tuple({"kind": SYSTEM, "value": value} for value in sorted(found) if len(value) <= MAX_NAME // 4)
