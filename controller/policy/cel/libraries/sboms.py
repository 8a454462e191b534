"""`sboms`: native, indexed look-ups, as walking 5,000 packages in CEL takes half a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, TypeVar

from controller.documents import licenses, packages
from controller.documents.packages import Element
from controller.documents.unquoted import quoting
from controller.errors import Unacceptable
from controller.model.documents import Component, Sbom
from controller.policy.cel.libraries.provenances import present
from controller.policy.cel.meter import BYTES_PER_STEP, Abort, Meter
from controller.policy.cel.overloads import UNKNOWN, ConstantError, Library
from controller.policy.cel.schema import BOOL, COMPONENT, SBOM, SBOMS, STRING, Type, list_of
from controller.policy.cel.values import Computed, register_class, register_record

LIBRARY = Library(
    "sboms", "Functions of `sboms`, over all verified SBOMs of the image, of one of them, and of packages."
)

T = TypeVar("T")

_FOUND = "1 step for each 16 bytes of the arguments, and for each component of the package in any version"
_LICENSED = "1 step for each 16 components, and for each 16 bytes of what they say of their licences"
_WALKED = "1 step for each 16 components"


class Sboms(list[Sbom]):
    """The verified SBOMs."""


class SbomValue(Computed):
    """One SBOM that a rule reads; its components are an Error where it lists none."""

    def __init__(self, sbom: Sbom) -> None:
        plain = present(
            format=sbom.format,
            specVersion=sbom.spec_version,
            created=sbom.created,
        ) | {"name": sbom.name, "tools": sbom.tools, "authors": sbom.authors, "relationships": sbom.relationships}
        super().__init__(
            {name: partial(_same, value) for name, value in plain.items()}
            | {"components": lambda: _answered(packages.components, [sbom])}
        )
        self.sbom = sbom


class ComponentValue(dict[str, Any]):
    """One package that a rule reads. What is missing in the document is missing here: it is compared with nothing."""

    def __init__(self, component: Component) -> None:
        super().__init__(
            present(
                name=component.name,
                version=component.version,
                purl=component.purl,
                supplier=component.supplier,
                cpe=component.cpe,
                licenses=component.licenses,
            )
        )
        self.written = component.licenses


def _same(value: T) -> T:
    return value


def _answered(ask: Callable[..., T], *arguments: Any) -> T:
    """What asking gives; an SBOM that says nothing ends the evaluation."""
    try:
        return ask(*arguments)
    except Unacceptable as exc:
        raise Abort(exc) from exc


register_class(Sboms, "sboms", base="list", fields=lambda sboms: {"components": _answered(packages.components, sboms)})
register_class(SbomValue, "sbom", base="map")
register_class(ComponentValue, "component", base="map")
register_record(Sbom, SbomValue)
register_record(Component, ComponentValue)


def _documents(receiver: Sboms | SbomValue) -> Sequence[Sbom]:
    return receiver if isinstance(receiver, Sboms) else [receiver.sbom]


def _walk(meter: Meter, sboms: Sequence[Sbom], *, licences: bool = False) -> None:
    meter.charge(sum(len(sbom.components) for sbom in sboms))
    if licences:
        meter.charge(sum(len(text) for sbom in sboms for component in sbom.components for text in component.licenses))


@lru_cache(maxsize=256)
def _query(purl: str, versions: str) -> packages.Query:
    return packages.Query.parse(purl, versions)


def _check_query(_receiver: Any, purl: Any, versions: Any = "") -> None:
    if purl is UNKNOWN:
        return
    for position, arguments in ((1, (purl,)), (2, (purl, versions))):
        try:
            if UNKNOWN not in arguments:
                packages.Query.parse(*arguments)
        except ValueError as exc:
            raise ConstantError(position, "ArgumentInvalid", quoting(exc)) from exc


def _find(meter: Meter, name: str, sboms: Sequence[Sbom], purl: str, versions: str) -> list[Component]:
    meter.charge(len(purl) + len(versions))
    try:
        query = _query(purl, versions)
    except ValueError as exc:
        raise Abort(Unacceptable("ArgumentInvalid", f"sboms.{name}: {exc}")) from exc
    indexes = [packages.index_of(sbom) for sbom in sboms]
    meter.charge(BYTES_PER_STEP * sum(index.count(query) for index in indexes))
    found = _answered(packages.find, indexes, query)
    meter.build(len(found))
    return found


def _of_both(name: str, *parameters: Type, **more: Any) -> Callable[[Any], Any]:
    """Declares a function of all SBOMs and of one."""

    def declare(run: Any) -> Any:
        for receiver in (SBOMS, SBOM):
            LIBRARY.method(name, receiver, *parameters, **more)(run)
        return run

    return declare


@_of_both("find", STRING, returns=list_of(COMPONENT), cost=_FOUND, check=_check_query)
@_of_both("find", STRING, STRING, returns=list_of(COMPONENT), cost=_FOUND, check=_check_query)
def find(meter: Meter, receiver: Sboms | SbomValue, purl: str, versions: str = "") -> list[Any]:
    """The components that are this package, in this range of versions (a comparator or `vers:`)."""
    return _find(meter, "find", _documents(receiver), purl, versions)


@_of_both("contains", STRING, returns=BOOL, cost=_FOUND, check=_check_query)
@_of_both("contains", STRING, STRING, returns=BOOL, cost=_FOUND, check=_check_query)
def contains(meter: Meter, receiver: Sboms | SbomValue, purl: str, versions: str = "") -> bool:
    """Whether `find` finds anything."""
    return bool(_find(meter, "contains", _documents(receiver), purl, versions))


@_of_both("licenses", returns=list_of(STRING), cost=_LICENSED)
def licenses_of_all(meter: Meter, receiver: Sboms | SbomValue) -> list[str]:
    """The SPDX identifiers of all licences that any component names; `NOASSERTION` is one if any names none."""
    sboms = _documents(receiver)
    _walk(meter, sboms, licences=True)
    return list(_answered(packages.licenses_of, sboms))


@LIBRARY.method("licenses", COMPONENT, returns=list_of(STRING))
def licenses_of_one(meter: Meter, component: ComponentValue) -> list[str]:
    """The SPDX identifiers of all licences that the component names; `NOASSERTION` alone if it names none."""
    meter.charge(sum(map(len, component.written)))
    return list(_answered(licenses.names, component.written))


def _patterns(asked: Any) -> tuple[str, ...]:
    """Raises `ValueError`."""
    texts = [asked] if isinstance(asked, str) else asked
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("takes a licence, or a list of them that is not empty")
    return tuple(licenses.pattern(text) for text in texts)


def _check_licences(_receiver: Any, asked: Any) -> None:
    if asked is UNKNOWN:
        return
    try:
        _patterns(asked)
    except ValueError as exc:
        raise ConstantError(1, "ArgumentInvalid", f"licensed: {quoting(exc)}") from exc


@_of_both("licensed", STRING, returns=list_of(COMPONENT), cost=_LICENSED, check=_check_licences)
@_of_both("licensed", list_of(STRING), returns=list_of(COMPONENT), cost=_LICENSED, check=_check_licences)
def licensed(meter: Meter, receiver: Sboms | SbomValue, asked: Any) -> list[Any]:
    """The components that name this licence, or one of these (`GPL-3.0`, `GPL-*`), among others or in any version."""
    sboms = _documents(receiver)
    try:
        patterns = _patterns(asked)
    except ValueError as exc:
        raise Abort(Unacceptable("ArgumentInvalid", f"sboms.licensed: {exc}")) from exc
    _walk(meter, sboms, licences=True)
    meter.charge(sum(map(len, patterns)))
    found = _answered(packages.licensed_under, sboms, patterns)
    meter.build(len(found))
    return list(found)


def _element(asked: str) -> Element:
    """Raises `ValueError`."""
    if asked not in frozenset(Element):
        raise ValueError(f"takes one of {', '.join(Element)}")
    return Element(asked)


def _check_element(_receiver: Any, asked: Any) -> None:
    if asked is UNKNOWN:
        return
    try:
        _element(asked)
    except ValueError as exc:
        raise ConstantError(1, "ArgumentInvalid", f"lacking {exc}") from exc


@_of_both("lacking", STRING, returns=list_of(COMPONENT), cost=_WALKED, check=_check_element)
def lacking(meter: Meter, receiver: Sboms | SbomValue, asked: str) -> list[Any]:
    """The components that do not say this of themselves: `version`, `supplier`, `identifier`, `purl` or `license`."""
    sboms = _documents(receiver)
    try:
        element = _element(asked)
    except ValueError as exc:
        raise Abort(Unacceptable("ArgumentInvalid", f"sboms.lacking {exc}")) from exc
    _walk(meter, sboms, licences=element is Element.LICENSE)
    found = _answered(packages.lacking, sboms, element)
    meter.build(len(found))
    return found
