"""Regular expressions from policies run on RE2: linear in their input, whatever the expression."""

from __future__ import annotations

from typing import Protocol, cast

import re2  # type: ignore[import-untyped]  # google-re2 has no stubs; this is its one home in policy

from controller.errors import PolicyError

MAX_PATTERN = 2_000  # characters of one expression
MAX_PROGRAM_BYTES = 4 * 1024 * 1024  # memory of one compiled expression; `x{1000}{1000}` crosses it


class Match(Protocol):
    """What an expression matched."""

    def group(self, number: int, /) -> str:
        """The text of a group; 0 is all of it."""
        ...

    def span(self) -> tuple[int, int]:
        """Where it stands."""
        ...


class Pattern(Protocol):
    """A compiled expression."""

    def fullmatch(self, text: str) -> object | None:
        """A match of the whole text, or None."""
        ...

    def search(self, text: str, start: int = 0, /) -> Match | None:
        """A match anywhere in the text from `start` on, or None."""
        ...


def compile_pattern(pattern: str) -> Pattern:
    """Compile an RE2 expression (https://github.com/google/re2/wiki/Syntax).

    Raises `PolicyError` (`PatternMalformed`), naming what RE2 does not take.
    """
    if len(pattern) > MAX_PATTERN:
        raise PolicyError("PatternMalformed", f"has {len(pattern)} characters; at most {MAX_PATTERN} are allowed")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PROGRAM_BYTES
    try:
        return cast("Pattern", re2.compile(pattern, options))
    except (re2.error, UnicodeEncodeError) as exc:
        detail = exc.args[0].decode(errors="replace") if exc.args and isinstance(exc.args[0], bytes) else str(exc)
        raise PolicyError("PatternMalformed", f"is no RE2 regular expression: {detail}") from exc
