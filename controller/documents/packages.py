"""Finding packages in SBOMs by an index: a rule that walked 5,000 components in CEL would take half a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from controller.documents import purls
from controller.documents.purls import Purl, PurlKey
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
            raise ValueError(f"{purl[:200]!r} is no package URL: {exc}") from exc
        if package.version or package.qualifiers or package.subpath:
            raise ValueError(f"{purl[:200]!r} must be type, namespace and name only; give versions as second argument")
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


@dataclass(slots=True)
class PackageIndex:
    """The components of one SBOM by package. Built once; a look-up costs what it finds.

    A component without a package URL is found by its name: it would be hidden from every rule otherwise.
    """

    sbom: Sbom
    _by_key: dict[PurlKey, list[int]] = field(default_factory=dict)
    _by_name: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place, component in enumerate(self.sbom.components):
            if component.purl:
                self._by_key.setdefault(purls.key_of(component.purl), []).append(place)
            else:
                self._by_name.setdefault(component.name.lower(), []).append(place)

    def find(self, query: Query) -> list[Component]:
        """The components that the query asks for, in document order."""
        places = list(self._by_key.get(query.key, ()))
        for name in query.names:
            places += self._by_name.get(name, ())
        candidates = (self.sbom.components[place] for place in sorted(places))
        return [c for c in candidates if query.matches(purls.parse(c.purl) if c.purl else None, c)]


def find(indexes: Sequence[PackageIndex], query: Query) -> list[Component]:
    """The matching components of all SBOMs.

    Raises `Unacceptable` (`SbomAbsent`, `SbomEmpty`): finding nothing in what lists nothing says nothing.
    """
    if not indexes:
        raise Unacceptable("SbomAbsent", "there is no verified SBOM to look in")
    for index in indexes:
        check_not_empty(index.sbom)
    return [component for index in indexes for component in index.find(query)]


def check_not_empty(sbom: Sbom) -> None:
    """Raise `Unacceptable` (`SbomEmpty`) for an SBOM that lists no component."""
    if not sbom.components:
        raise Unacceptable("SbomEmpty", f"the {sbom.format} SBOM lists no component, so nothing can be said from it")
