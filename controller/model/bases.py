"""What an image says of the image that it was built on: a claim of its own, bound by its digest and signed by nobody.

Annotations of a manifest, of an index, or of an index's entry, and labels of a configuration have the same two names:
https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller.errors import InputError
from controller.model.reference import Digest, Reference

BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
MAX_BASE_NAME = 512  # characters of a name that is recorded: more than a repository, a tag and a digest have together


@dataclass(frozen=True, slots=True, order=True)
class BaseClaim:
    """The base image as it is named. One of the two may be empty: where it is not said, or is none."""

    name: str = ""
    digest: str = ""

    def annotations(self) -> dict[str, str]:
        """The claim under the names that it has in an image."""
        return {key: value for key, value in ((BASE_NAME, self.name), (BASE_DIGEST, self.digest)) if value}


def claimed(told: Mapping[str, str]) -> BaseClaim | None:
    """The claim in annotations or labels; None where there is none.

    What is no image's name, or no sha256 digest, is no claim: nobody could look for it, and whoever may push an image
    may write there what he likes.
    """
    claim = BaseClaim(_name(told.get(BASE_NAME, "")), _digest(told.get(BASE_DIGEST, "")))
    return claim if claim != BaseClaim() else None


def _name(text: str) -> str:
    if not text or len(text) > MAX_BASE_NAME:
        return ""
    try:
        Reference.parse(text)
    except InputError:
        return ""
    return text


def _digest(text: str) -> str:
    try:
        return str(Digest.parse(text))
    except InputError:
        return ""
