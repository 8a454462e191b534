"""Names that people copy from a table, where digests and keys' fingerprints are cut short.

A name that was cut names nothing, and *nothing rests on it* would be a false comfort: whoever answers a question
refuses such a name (`check_signer`, `Digest.parse`), and who serves people first looks for the one whole name
(`Names.whole`).
"""

from __future__ import annotations

import re
from enum import StrEnum

from sqlalchemy import Column, Connection, func, select

from controller.errors import InputError
from controller.inventory import tables
from controller.inventory.asking.asker import Asker
from controller.model.reference import Digest

MIN_DIGITS = 8  # of a name that is cut: fewer are a slip rather than a name
MAX_NAMED = 3  # whole names that are told of one that could be any of them
_WHOLE = 64
_CUT = re.compile(rf"(?P<algorithm>sha256:)?(?P<hex>[0-9a-f]{{{MIN_DIGITS},{_WHOLE}}})…?")


class Named(StrEnum):
    """What has a name that is a digest."""

    IMAGE = "image"
    SIGNER = "signer"
    ARTIFACT = "artifact"


_COLUMNS: dict[Named, tuple[Column[str], ...]] = {  # each the first of an index
    Named.IMAGE: (tables.run.c.digest, tables.decision_image.c.digest),
    Named.SIGNER: (tables.signer_member.c.name,),
    Named.ARTIFACT: (tables.blob.c.digest,),
}


class Names(Asker):
    """Finds whole names. For who may see all of the inventory: it asks in no namespace."""

    def whole(self, what: Named, text: str) -> str:
        """The recorded name that begins with `text`, if that is a digest or fingerprint cut short; else `text` itself.

        `sha256:` may be left out of what is no signer, who can be called anything.
        Raises `InputError`: `NameUnknown` where none begins so, `NameAmbiguous` where several do.
        """
        cut = _CUT.fullmatch(text)
        if cut is None or (what is Named.SIGNER and not cut["algorithm"]):
            return text
        digits = cut["hex"]
        if len(digits) == _WHOLE:
            return f"sha256:{digits}"
        low, high = f"sha256:{digits.ljust(_WHOLE, '0')}", f"sha256:{digits.ljust(_WHOLE, 'f')}"
        found: set[str] = set()
        with self._reading() as connection:
            for column in _COLUMNS[what]:
                found |= _between(connection, column, low, high)
        if not found:
            also = "; a record's id is given whole" if not cut["algorithm"] else ""
            raise InputError("NameUnknown", f"no {what} is recorded whose digest begins with sha256:{digits}{also}")
        if len(found) > 1:
            some = ", ".join(sorted(found)[:MAX_NAMED])
            raise InputError("NameAmbiguous", f"several {what}s begin with sha256:{digits}: {some}")
        return found.pop()

    def indexes(self, manifest: str) -> tuple[str, ...]:
        """The digests of the indexes that were seen to hold this manifest, a few of them: as such it was judged."""
        held = tables.image_manifest
        query = select(held.c.digest).where(held.c.manifest == manifest).distinct().limit(MAX_NAMED)
        with self._reading() as connection:
            return tuple(sorted(connection.execute(query).scalars()))


def may_be_cut(name: str) -> bool:
    """Whether this may be the beginning of a digest, for which a database has to be asked."""
    return _CUT.fullmatch(name) is not None


def check_signer(name: str) -> str:
    """The name of a signer. Raises `InputError` (`DigestMalformed`) for a key's fingerprint that is not whole."""
    return str(Digest.parse(name)) if name.startswith("sha256:") else name


def _between(connection: Connection, column: Column[str], low: str, high: str) -> set[str]:
    """The first few values from `low` to `high`: one step along the index each, however many rows have them."""
    found: set[str] = set()
    least = select(func.min(column)).where(column >= low, column <= high)
    while len(found) <= MAX_NAMED and (value := connection.execute(least).scalar()) is not None:
        found.add(value)
        least = select(func.min(column)).where(column > value, column <= high)
    return found
