"""The two ways in which a piece of evidence can fail to count, kept apart from the first moment (guarantee 6).

These exceptions never leave `controller.verification`: the verifier turns each into a `Rejection` of its artefact, so
that one bad artefact beside an image never decides about a good one.
"""

from __future__ import annotations


class EvidenceFailure(Exception):
    """A piece of evidence does not count. `code` is a stable reason code, `message` a plain sentence.

    Neither ever holds text from the evidence itself unless that text was proven (guarantee 5, guarantee 12).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class NotVerified(EvidenceFailure):
    """It was judged and found wanting: not signed by whom the policy asks for, not about this image, not proven."""


class Unjudged(EvidenceFailure):
    """It could not be judged: malformed, unsupported, past a bound, or a trust root is missing."""
