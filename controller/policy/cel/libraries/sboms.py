"""`sboms`: native, indexed look-ups, as walking 5,000 packages in CEL takes half a second."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from controller.documents import packages
from controller.documents.packages import PackageIndex
from controller.errors import Unacceptable
from controller.model.documents import Component, Sbom
from controller.policy.cel.meter import Abort, Meter
from controller.policy.cel.overloads import UNKNOWN, ConstantError, Library
from controller.policy.cel.schema import COMPONENT, SBOMS, STRING, list_of
from controller.policy.cel.values import register_class, register_record

LIBRARY = Library("sboms", "Functions of `sboms`, over all verified SBOMs of the image.")


class Sboms(list[Sbom]):
    """The verified SBOMs, with the index that `find` uses, built at the first look-up."""

    def __init__(self, sboms: Sequence[Sbom]) -> None:
        super().__init__(sboms)
        self._indexes: tuple[PackageIndex, ...] | None = None

    def indexes(self) -> tuple[PackageIndex, ...]:
        """One index for each SBOM."""
        if self._indexes is None:
            self._indexes = tuple(PackageIndex(sbom) for sbom in self)
        return self._indexes


def _component(component: Component) -> dict[str, Any]:
    """What is missing in the document is missing here, so that it is not compared as if it were something."""
    found: dict[str, Any] = {"name": component.name, "licenses": component.licenses}
    if component.version is not None:
        found["version"] = component.version
    if component.purl:
        found["purl"] = component.purl
    return found


def _sbom(sbom: Sbom) -> dict[str, Any]:
    found: dict[str, Any] = {
        "format": sbom.format,
        "specVersion": sbom.spec_version,
        "name": sbom.name,
        "components": sbom.components,
        "tools": sbom.tools,
    }
    if sbom.created is not None:
        found["created"] = sbom.created
    return found


register_class(Sboms, "sboms", base="list")
register_record(Component, _component)
register_record(Sbom, _sbom)


@lru_cache(maxsize=256)
def _query(purl: str, versions: str) -> packages.Query:
    return packages.Query.parse(purl, versions)


def _check(_receiver: Any, purl: Any, versions: Any = "") -> None:
    if purl is UNKNOWN or versions is UNKNOWN:
        return
    try:
        packages.Query.parse(purl, versions)
    except ValueError as exc:
        raise ConstantError(1, "ArgumentInvalid", str(exc)) from exc


_COST = "1 step for each 16 bytes of the arguments and each component found"


@LIBRARY.method("find", SBOMS, STRING, returns=list_of(COMPONENT), cost=_COST, check=_check)
@LIBRARY.method("find", SBOMS, STRING, STRING, returns=list_of(COMPONENT), cost=_COST, check=_check)
def find(meter: Meter, sboms: Sboms, purl: str, versions: str = "") -> list[Any]:
    """The components of all SBOMs that are this package, in this range of versions (a comparator or `vers:`)."""
    meter.charge(len(purl) + len(versions))
    try:
        found = packages.find(sboms.indexes(), _query(purl, versions))
    except ValueError as exc:
        raise Abort(Unacceptable("ArgumentInvalid", f"sboms.find: {exc}")) from exc
    except Unacceptable as exc:
        raise Abort(exc) from exc
    meter.build(len(found))
    return list(found)
