"""Attested documents into one normal form, whatever their producer. Foreign data: every read is typed and bounded."""

from __future__ import annotations

from typing import Any

from controller.documents import cyclonedx, spdx
from controller.documents.types import CYCLONEDX, SPDX, is_of_type
from controller.documents.unwrap import unwrap
from controller.model.documents import Sbom
from controller.settings import DocumentSettings


def parse(predicate_type: str, predicate: Any, limits: DocumentSettings) -> Sbom | None:
    """The normal form of a predicate; None for a type that Assay has no normal form for.

    Raises `Unacceptable` (`DocumentMalformed`, `DocumentUnsupported`) and `LimitExceeded`.
    """
    if is_of_type(predicate_type, SPDX):
        return spdx.parse(unwrap(predicate, limits), limits)
    if is_of_type(predicate_type, CYCLONEDX):
        return cyclonedx.parse(unwrap(predicate, limits), limits)
    return None
