"""Versions as each ecosystem orders them, and ranges of them. One file an ecosystem, each by its specification.

A version that cannot be ordered is never guessed at: orders raise `Unorderable` and ranges answer None.
"""

from __future__ import annotations

from controller.documents.versions.ranges import Range, parse_range

__all__ = ["Range", "parse_range"]
