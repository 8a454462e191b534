"""What expressions may name: the fields of each value that Assay provides. `docs/reference/cel.md` lists the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Type:
    """The static type of a value, as far as it is known. `DYN` is anything.

    `fields` are those of an object; None means that any may be there. `element` is a list's entry type or a map's value
    type. `later` are fields of the design that are not carried out yet.
    """

    name: str
    fields: Mapping[str, Type] | None = None
    element: Type | None = None
    later: frozenset[str] = field(default=frozenset())


DYN = Type("dyn")
STRING = Type("string")
TIMESTAMP = Type("timestamp")


def list_of(element: Type) -> Type:
    """A list of one type."""
    return Type("list", element=element)


def map_of(element: Type) -> Type:
    """A map from strings to one type."""
    return Type("map", element=element)


def record(fields: Mapping[str, Type], *, later: frozenset[str] = frozenset()) -> Type:
    """An object with exactly these fields."""
    return Type("object", fields=fields, later=later)


_IMAGE_LATER = frozenset({"configs", "user", "created", "labels", "age"})
_NAMED_IMAGE = {"reference": STRING, "registry": STRING, "repository": STRING, "tag": STRING}
NAMED_IMAGE = record(_NAMED_IMAGE, later=_IMAGE_LATER | {"digest", "mediaType", "platforms"})
IMAGE = record(_NAMED_IMAGE | {"digest": STRING, "mediaType": STRING, "platforms": list_of(STRING)}, later=_IMAGE_LATER)
CONTAINER = record({"kind": STRING, "name": STRING, "image": STRING})
NAMESPACE = record({"metadata": record({"name": STRING, "labels": map_of(STRING), "annotations": map_of(STRING)})})
_SIGNER = {"authority": STRING, "issuer": STRING, "subject": STRING, "key": STRING, "identity": STRING}
SIGNATURE = record(_SIGNER | {"claims": map_of(STRING), "signedAt": TIMESTAMP})
ATTESTATION = record(
    _SIGNER | {"claims": map_of(STRING), "signedAt": TIMESTAMP, "predicateType": STRING, "predicate": DYN}
)
COMPONENT = record({"name": STRING, "version": STRING, "purl": STRING, "licenses": list_of(STRING)})
SBOM = record(
    {
        "format": STRING,
        "specVersion": STRING,
        "name": STRING,
        "created": TIMESTAMP,
        "components": list_of(COMPONENT),
        "tools": list_of(STRING),
    },
)
SBOMS = Type("sboms", element=SBOM)
