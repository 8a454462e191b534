"""The static types of expressions, and what the names of a policy are. `docs/reference/cel.md` is made from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Type:
    """The static type of a value, as far as it is known.

    `kind` is the name of the values' type at run time (`values.kind_of`), or `dyn` (anything), `object` (a map with
    the known `fields`), `parameter` (a type that a function leaves open, such as A in `list(A)`) or `nothing` (the
    entries of an empty list). `base` is `list` or `map` for a receiver with functions of its own. `element` is a list's
    entry type or a map's value type, `key` a map's key type. `elsewhere` are fields and functions that the same
    name has at another place, and not here. `name` is how messages and the reference call it.
    """

    kind: str
    fields: Mapping[str, Type] | None = None
    element: Type | None = None
    key: Type | None = None
    base: str | None = None
    elsewhere: frozenset[str] = field(default=frozenset())
    alias: str = ""

    @property
    def name(self) -> str:
        """As an author would write it."""
        if self.alias:
            return self.alias
        if self.kind == "list" and self.element is not None:
            return "list" if self.element.kind == "nothing" else f"list({self.element.name})"
        if self.kind == "map" and self.element is not None and self.key is not None:
            return "map" if self.element.kind == "nothing" else f"map({self.key.name}, {self.element.name})"
        return self.kind

    @property
    def is_list(self) -> bool:
        """Whether it has entries."""
        return "list" in (self.kind, self.base)

    @property
    def is_map(self) -> bool:
        """Whether it has keys or fields."""
        return self.kind in {"map", "object"} or self.base == "map"

    @property
    def is_open(self) -> bool:
        """Whether nothing is known of it."""
        return self.kind == "dyn"


DYN = Type("dyn")
NOTHING = Type("nothing")
NULL = Type("null_type", alias="null")
BOOL = Type("bool")
INT = Type("int")
UINT = Type("uint")
DOUBLE = Type("double")
STRING = Type("string")
BYTES = Type("bytes")
STRING_OR_NULL = Type("string", alias="string or null")
TYPE = Type("type")
TIMESTAMP = Type("google.protobuf.Timestamp", alias="timestamp")
DURATION = Type("google.protobuf.Duration", alias="duration")
A = Type("parameter", alias="A")
B = Type("parameter", alias="B")


def list_of(element: Type) -> Type:
    """A list of one type."""
    return Type("list", element=element)


def map_of(element: Type, key: Type = STRING) -> Type:
    """A map from strings, or another type of key, to one type."""
    return Type("map", element=element, key=key)


def record(fields: Mapping[str, Type], *, elsewhere: frozenset[str] = frozenset(), alias: str = "object") -> Type:
    """An object with exactly these fields."""
    return Type("object", fields=fields, elsewhere=elsewhere, alias=alias)


def opaque(kind: str, alias: str = "") -> Type:
    """A type that only its own functions look into, such as `net.IP`."""
    return Type(kind, alias=alias)


def value_of(kind: str, fields: Mapping[str, Type]) -> Type:
    """An object with these fields and functions of its own."""
    return Type(kind, fields=fields, base="map")


_OF_ALL_PLATFORMS = {"user": STRING, "created": TIMESTAMP, "labels": map_of(STRING), "nonRoot": BOOL}
CONFIG = record(
    _OF_ALL_PLATFORMS
    | {
        "entrypoint": list_of(STRING),
        "cmd": list_of(STRING),
        "workingDir": STRING,
        "exposedPorts": list_of(STRING),
        "volumes": list_of(STRING),
    },
    alias="config",
)
CONFIGURED: dict[str, Type] = _OF_ALL_PLATFORMS | {"configs": map_of(CONFIG)}
"""The fields of `image` that come from the image's configurations."""

_NAMED_IMAGE = {"reference": STRING, "registry": STRING, "repository": STRING, "tag": STRING}
_RESOLVED_IMAGE = {"digest": STRING, "mediaType": STRING, "platforms": list_of(STRING)} | CONFIGURED
NAMED_IMAGE = record(_NAMED_IMAGE, elsewhere=frozenset({*_RESOLVED_IMAGE, "age"}))
IMAGE = value_of("image", _NAMED_IMAGE | _RESOLVED_IMAGE)
CONTAINER = record({"kind": STRING, "name": STRING, "image": STRING}, alias="container")
_METADATA = record({"name": STRING, "labels": map_of(STRING), "annotations": map_of(STRING)}, alias="metadata")
NAMESPACE = record({"metadata": _METADATA}, alias="namespace")
_KIND = record({"group": STRING, "version": STRING, "kind": STRING}, alias="groupVersionKind")
_RESOURCE = record({"group": STRING, "version": STRING, "resource": STRING}, alias="groupVersionResource")
_USER = record(
    {"username": STRING, "uid": STRING, "groups": list_of(STRING), "extra": map_of(list_of(STRING))}, alias="userInfo"
)
REQUEST = record(  # k8s.io/api/admission/v1, AdmissionRequest
    {
        "uid": STRING,
        "kind": _KIND,
        "resource": _RESOURCE,
        "subResource": STRING,
        "requestKind": _KIND,
        "requestResource": _RESOURCE,
        "requestSubResource": STRING,
        "name": STRING,
        "namespace": STRING,
        "operation": STRING,
        "userInfo": _USER,
        "object": DYN,
        "oldObject": DYN,
        "dryRun": BOOL,
        "options": DYN,
    },
    alias="request",
)
_SIGNER = {"authority": STRING, "issuer": STRING, "subject": STRING, "key": STRING, "identity": STRING}
SIGNATURE = record(_SIGNER | {"claims": map_of(STRING), "signedAt": TIMESTAMP}, alias="signature")
ATTESTATION = record(
    _SIGNER | {"claims": map_of(STRING), "signedAt": TIMESTAMP, "predicateType": STRING, "predicate": DYN},
    alias="attestation",
)
COMPONENT = value_of(
    "component",
    {
        "name": STRING,
        "version": STRING,
        "purl": STRING,
        "licenses": list_of(STRING),
        "supplier": STRING,
        "cpe": STRING,
    },
)
SBOM = value_of(
    "sbom",
    {
        "format": STRING,
        "specVersion": STRING,
        "name": STRING,
        "created": TIMESTAMP,
        "components": list_of(COMPONENT),
        "tools": list_of(STRING),
        "authors": list_of(STRING),
        "relationships": INT,
    },
)
SBOMS = Type("sboms", fields={"components": list_of(COMPONENT)}, element=SBOM, base="list")
SOURCE = record({"repository": STRING, "ref": STRING, "commit": STRING}, alias="source")
MATERIAL = record({"uri": STRING, "name": STRING, "digest": map_of(STRING)}, alias="material")
PROVENANCE = record(
    {
        "specVersion": STRING,
        "builder": STRING,
        "buildType": STRING,
        "source": SOURCE,
        "materials": list_of(MATERIAL),
        "parameters": DYN,
        "invocation": STRING,
        "startedOn": TIMESTAMP,
        "finishedOn": TIMESTAMP,
        "slsaLevel": INT,
    },
    alias="provenance",
)
FINDING = value_of(
    "finding",
    {
        "id": STRING,
        "severity": STRING,
        "package": STRING,
        "version": STRING,
        "purl": STRING,
        "fixedVersions": list_of(STRING),
        "fixable": BOOL,
        "score": DOUBLE,
        "aliases": list_of(STRING),
    },
)
SCAN = value_of(
    "scan",
    {
        "format": STRING,
        "scanner": STRING,
        "scannerVersion": STRING,
        "databaseUpdated": TIMESTAMP,
        "scannedAt": TIMESTAMP,
        "targets": list_of(STRING),
        "findings": list_of(FINDING),
    },
)
VULNERABILITIES = Type("vulnerabilities", element=SCAN, base="list")
VEX_PRODUCT = record({"id": STRING, "purl": STRING, "subcomponents": list_of(STRING)}, alias="product")
VEX_STATEMENT = record(
    {
        "vulnerability": STRING,
        "aliases": list_of(STRING),
        "products": list_of(VEX_PRODUCT),
        "status": STRING,
        "justification": STRING,
        "impact": STRING,
        "action": STRING,
        "timestamp": TIMESTAMP,
    },
    alias="statement",
)
VEX_DOCUMENT = record(
    {"id": STRING, "author": STRING, "timestamp": TIMESTAMP, "statements": list_of(VEX_STATEMENT)}, alias="vexDocument"
)
VEX = Type("vex", element=VEX_DOCUMENT, base="list")
NAMES: dict[str, Type] = {
    "image": IMAGE,
    "container": CONTAINER,
    "object": DYN,
    "oldObject": DYN,
    "request": REQUEST,
    "namespaceObject": NAMESPACE,
    "signatures": list_of(SIGNATURE),
    "attestations": map_of(list_of(ATTESTATION)),
    "sboms": SBOMS,
    "provenances": list_of(PROVENANCE),
    "vulnerabilities": VULNERABILITIES,
    "vex": VEX,
    "now": TIMESTAMP,
    "variables": map_of(DYN),
}
"""Every name that a policy's expressions may have, each where it is there."""
