"""An error about a text that a rule hands over: what is wrong with it is told, the text itself only to who wrote it.

A rule may take its argument from the request, and there it may be somebody's secret (guarantee 12). What a verdict says
is recorded, logged and shown, so `str` of the error tells kind and length. Where the text is a constant of the policy,
its author is told the text too: `quoting`.
"""

from __future__ import annotations

from typing import Any

MAX_QUOTED = 100  # characters


class Unusable(ValueError):
    """A sentence about a text, which stands where `{}` is in it."""

    def __init__(self, sentence: str, written: Any) -> None:
        super().__init__(sentence.replace("{}", measured(written)))
        self.quoting = sentence.replace("{}", repr(str(written)[:MAX_QUOTED]))


def quoting(error: ValueError) -> str:
    """The sentence for who wrote the text."""
    return error.quoting if isinstance(error, Unusable) else str(error)


def measured(written: Any) -> str:
    """What stands for a value that is not to be told."""
    return f"a text of {len(written)} characters" if isinstance(written, str) else f"a {type(written).__name__}"
