"""What rules ask of SBOMs, by an index: a rule that walked 5,000 components in CEL would take half a second."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from controller.documents import licenses, purls
from controller.documents.purls import Purl, PurlKey
from controller.documents.unquoted import Unusable
from controller.documents.versions import Range, parse_range
from controller.errors import Unacceptable
from controller.model.documents import Component, Sbom


@dataclass(frozen=True, slots=True)
class Query:
    """A package and, perhaps, a range of its versions: what `sboms.find(purl, versions)` asks for."""

    key: PurlKey
    range: Range | None

    @classmethod
    def parse(cls, purl: str, versions: str = "") -> Query:
        """Read the arguments of `find`.

        `purl` names the package; a version in it would be ignored by the comparison and is therefore refused.
        `versions` is a comparator (`<2.17.1`, `>=1,<2`), a `vers:` range or empty for all. Raises `ValueError`.
        """
        try:
            package = purls.parse(purl)
        except ValueError as exc:
            raise Unusable(f"{{}} is no package URL: {exc}", purl) from exc
        if package.version or package.qualifiers or package.subpath:
            raise Unusable("{} must be type, namespace and name only; give versions as second argument", purl)
        return cls(key=package.key, range=parse_range(versions, package.type) if versions else None)

    @property
    def names(self) -> frozenset[str]:
        """How a component without a package URL may be called that is this package, in lower case."""
        _, namespace, name = self.key
        return frozenset({name.lower(), f"{namespace}/{name}".lower(), f"{namespace}:{name}".lower()})

    def matches(self, found: Purl | None, component: Component) -> bool:
        """Whether a component of this package is in the range. `found` is its package URL, if it has one.

        One whose version is missing or cannot be ordered is: what cannot be told to be safe is reported.
        """
        if self.range is None:
            return True
        epoch = found.qualifier("epoch") if found is not None and found.type == "rpm" else ""
        versions = {version for version in (component.version, found.version if found else "") if version}
        if epoch.isdigit():
            versions = {version if ":" in version else f"{epoch}:{version}" for version in versions}
        return not versions or any(self.range.contains(version) is not False for version in versions)


class Element(StrEnum):
    """What a component may lack: the minimum elements of an SBOM that are about its components (NTIA, 2021).

    `identifier` is a package URL or a CPE name, `license` any word on its licence.
    """

    VERSION = "version"
    SUPPLIER = "supplier"
    IDENTIFIER = "identifier"
    PURL = "purl"
    LICENSE = "license"


@lru_cache(maxsize=4096)
def _is_licensed(written: tuple[str, ...]) -> bool:
    return licenses.NO_ASSERTION not in licenses.names(written)


_HAS: Mapping[Element, Callable[[Component], bool]] = {
    Element.VERSION: lambda component: component.version is not None,
    Element.SUPPLIER: lambda component: bool(component.supplier),
    Element.IDENTIFIER: lambda component: bool(component.purl or component.cpe),
    Element.PURL: lambda component: bool(component.purl),
    Element.LICENSE: lambda component: _is_licensed(component.licenses),
}


class PackageIndex:
    """The components of one SBOM by package. A look-up costs what it finds.

    A component without a package URL is found by its name: it would be hidden from every rule otherwise.
    """

    __slots__ = ("_by_key", "_by_name", "components", "format")

    def __init__(self, sbom: Sbom) -> None:
        self.format = sbom.format
        self.components = sbom.components
        self._by_key: dict[PurlKey, list[int]] = {}
        self._by_name: dict[str, list[int]] = {}
        for place, component in enumerate(sbom.components):
            if component.purl:
                self._by_key.setdefault(purls.key_of(component.purl), []).append(place)
            else:
                self._by_name.setdefault(component.name.lower(), []).append(place)

    def count(self, query: Query) -> int:
        """How many components `find` has to look at."""
        named = sum(len(self._by_name.get(name, ())) for name in query.names)
        return len(self._by_key.get(query.key, ())) + named

    def find(self, query: Query) -> list[Component]:
        """The components that the query asks for, in document order."""
        places = list(self._by_key.get(query.key, ()))
        for name in query.names:
            places += self._by_name.get(name, ())
        candidates = (self.components[place] for place in sorted(places))
        return [c for c in candidates if query.matches(purls.parse(c.purl) if c.purl else None, c)]


_indexes: dict[int, PackageIndex] = {}


def index_of(sbom: Sbom) -> PackageIndex:
    """The index of an SBOM, made at the first question and kept for as long as the SBOM is there.

    By identity: to compare two SBOMs of thousands of components would cost as much as to index one.
    """
    index = _indexes.get(id(sbom))
    if index is None:
        index = PackageIndex(sbom)
        _indexes[id(sbom)] = index
        weakref.finalize(sbom, _indexes.pop, id(sbom), None)
    return index


def find(indexes: Sequence[PackageIndex], query: Query) -> list[Component]:
    """The matching components of all SBOMs.

    Raises `Unacceptable` (`SbomAbsent`, `SbomEmpty`): finding nothing in what lists nothing says nothing.
    """
    if not indexes:
        raise Unacceptable("SbomAbsent", "there is no verified SBOM to look in")
    for index in indexes:
        check_not_empty(index)
    return [component for index in indexes for component in index.find(query)]


def components(sboms: Iterable[Sbom]) -> tuple[Component, ...]:
    """All components of some SBOMs, in document order. Raises as `find` does."""
    sboms = tuple(sboms)
    if not sboms:
        raise Unacceptable("SbomAbsent", "there is no verified SBOM to look in")
    for sbom in sboms:
        check_not_empty(sbom)
    return sboms[0].components if len(sboms) == 1 else tuple(c for sbom in sboms for c in sbom.components)


def lacking(sboms: Iterable[Sbom], element: Element) -> list[Component]:
    """The components that do not say this of themselves. Raises as `find` does, and `LimitExceeded`."""
    has = _HAS[element]
    return [component for component in components(sboms) if not has(component)]


def licenses_of(sboms: Iterable[Sbom]) -> tuple[str, ...]:
    """The names of all licences (see `licenses.names`), `NOASSERTION` among them where a component names none.

    Raises as `find` does, and `LimitExceeded`.
    """
    written = dict.fromkeys(component.licenses for component in components(sboms))
    return tuple(dict.fromkeys(name for texts in written for name in licenses.names(texts)))


def licensed_under(sboms: Iterable[Sbom], patterns: Sequence[str]) -> list[Component]:
    """The components that name one of these licences (see `licenses.named`). Raises as `find` does."""
    judged: dict[tuple[str, ...], bool] = {}
    found = []
    for component in components(sboms):
        if component.licenses not in judged:
            judged[component.licenses] = licenses.named(component.licenses, patterns)
        if judged[component.licenses]:
            found.append(component)
    return found


def check_not_empty(sbom: Sbom | PackageIndex) -> None:
    """Raise `Unacceptable` (`SbomEmpty`) for an SBOM that lists no component."""
    if not sbom.components:
        raise Unacceptable("SbomEmpty", f"the {sbom.format} SBOM lists no component, so nothing can be said from it")
