"""Python versions, PEP 440 (https://packaging.python.org/en/latest/specifications/version-specifiers/)."""

from __future__ import annotations

import re
from typing import Any

from controller.documents.versions.order import Unorderable

_VERSION = re.compile(
    r"""v?(?:(?P<epoch>[0-9]+)!)?(?P<release>[0-9]+(?:\.[0-9]+)*)
    (?:[-_.]?(?P<pre>alpha|beta|preview|pre|a|b|c|rc)[-_.]?(?P<pre_n>[0-9]*))?
    (?:-(?P<post_implicit>[0-9]+)|[-_.]?(?P<post>post|rev|r)[-_.]?(?P<post_n>[0-9]*))?
    (?:[-_.]?(?P<dev>dev)[-_.]?(?P<dev_n>[0-9]*))?
    (?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_PHASES = {"a": 1, "alpha": 1, "b": 2, "beta": 2, "c": 3, "rc": 3, "pre": 3, "preview": 3}
_FINAL_PHASE = 4
_NO_DEV = (1, 0)


def key(version: str) -> tuple[Any, ...]:
    """The key of a version: epoch, release, pre-, post-, development release, local part. Raises `Unorderable`."""
    match = _VERSION.fullmatch(version.strip())
    if match is None:
        raise Unorderable(version)
    release = [int(part) for part in match["release"].split(".")]
    while release and release[-1] == 0:
        release.pop()
    is_post = match["post_implicit"] is not None or match["post"] is not None
    post = int(match["post_implicit"] or match["post_n"] or 0) if is_post else -1
    dev = (0, int(match["dev_n"] or 0)) if match["dev"] else _NO_DEV
    if match["pre"]:
        pre = (_PHASES[match["pre"].lower()], int(match["pre_n"] or 0))
    elif match["dev"] and not is_post:
        pre = (0, 0)  # 1.0.dev1 comes before 1.0a1
    else:
        pre = (_FINAL_PHASE, 0)
    return (int(match["epoch"] or 0), tuple(release), pre, post, dev, _local(match["local"]))


def _local(text: str | None) -> tuple[tuple[int, int, str], ...]:
    if text is None:
        return ()
    parts = re.split(r"[-_.]", text.lower())
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)
