"""Finding packages: nothing that may match is left out, and nothing is found in what lists nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.documents import packages
from controller.documents.packages import Element, PackageIndex, Query, find
from controller.errors import Unacceptable
from controller.model.documents import Component, Sbom

LOG4J = "pkg:maven/org.apache.logging.log4j/log4j-core"


def sbom(*components: tuple[str, str | None]) -> PackageIndex:
    listed = tuple(Component(name="x", version=version, purl=purl) for purl, version in components)
    return PackageIndex(Sbom(format="SPDX", spec_version="2.3", name="", created=None, components=listed))


def versions(*indexes: PackageIndex, purl: str = LOG4J, range_: str = "") -> list[str | None]:
    return [component.version for component in find(indexes, Query.parse(purl, range_))]


def test_all_sboms_are_looked_in() -> None:
    one = sbom((f"{LOG4J}@2.14.1", "2.14.1"), ("pkg:npm/x@1", "1"))
    other = sbom((f"{LOG4J}@2.17.1?type=jar", "2.17.1"))
    assert versions(one, other) == ["2.14.1", "2.17.1"]
    assert versions(one, other, range_="<2.17.1") == ["2.14.1"]
    assert versions(one, other, purl="pkg:npm/log4j-core") == []


@pytest.mark.parametrize("version", [None, "", "unknown", "${log4j.version}"])
def test_a_component_whose_version_cannot_be_told_is_found(version: str | None) -> None:
    assert len(versions(sbom((LOG4J, version)), range_="<2.17.1")) == 1


def test_a_component_is_found_by_the_version_of_its_purl_too() -> None:
    assert versions(sbom((f"{LOG4J}@2.14.1", "9.9")), range_="<2.17.1") == ["9.9"]


def test_an_epoch_in_an_rpm_purl_counts() -> None:
    index = sbom(("pkg:rpm/fedora/curl@7.50.3-1.fc25?epoch=1", "7.50.3-1.fc25"))
    assert versions(index, purl="pkg:rpm/fedora/curl", range_="<1:7.50") == []
    assert versions(index, purl="pkg:rpm/fedora/curl", range_="<1:7.51") == ["7.50.3-1.fc25"]


@pytest.mark.guarantee(2)
def test_nothing_is_found_in_an_empty_sbom_but_an_error() -> None:
    full, empty = sbom((f"{LOG4J}@1", "1")), sbom()
    for indexes, code in (([], "SbomAbsent"), ([empty], "SbomEmpty"), ([full, empty], "SbomEmpty")):
        with pytest.raises(Unacceptable) as raised:
            find(indexes, Query.parse(LOG4J))
        assert raised.value.code == code


@pytest.mark.parametrize("purl", ["log4j", "", f"{LOG4J}@2.14.1", f"{LOG4J}?type=jar", f"{LOG4J}#x"])
def test_a_query_that_would_be_read_otherwise_than_written_is_refused(purl: str) -> None:
    with pytest.raises(ValueError, match=r"package URL|name only"):
        Query.parse(purl)


def described(**fields: str | None) -> Component:
    full: dict[str, Any] = {"version": "1", "purl": "pkg:npm/x@1", "supplier": "Acme", "cpe": "cpe:2.3:a:x"}
    return Component(name="x", licenses=("MIT",), **(full | fields))


def listed(*components: Component) -> Sbom:
    return Sbom(format="SPDX", spec_version="2.3", name="", created=None, components=components)


@pytest.mark.parametrize(
    ("element", "component"),
    [
        ("version", described(version=None)),
        ("supplier", described(supplier="")),
        ("identifier", described(purl="", cpe="")),
        ("purl", described(purl="")),
        ("license", replace(described(), licenses=())),
        ("license", replace(described(), licenses=("NOASSERTION",))),
    ],
)
def test_a_component_that_lacks_an_element_is_told(element: str, component: Component) -> None:
    others = [other for other in Element if other != element and not (element == "identifier" and other == "purl")]
    assert packages.lacking([listed(described(), component)], Element(element)) == [component]
    assert all(not packages.lacking([listed(component)], other) for other in others)


def test_an_identifier_is_a_package_url_or_a_cpe_name() -> None:
    assert packages.lacking([listed(described(purl=""), described(cpe=""))], Element.IDENTIFIER) == []


def test_the_licences_of_all_sboms_and_whether_any_is_missing() -> None:
    one, other = listed(described()), listed(replace(described(), licenses=("mit OR gpl-2.0+",)))
    assert packages.licenses_of([one, other]) == ("MIT", "GPL-2.0+")
    assert packages.licenses_of([one, listed(replace(described(), licenses=()))]) == ("MIT", "NOASSERTION")
    assert packages.licensed_under([one, other], ["gpl-*"]) == [*other.components]


@pytest.mark.parametrize(
    "asked",
    [
        packages.components,
        lambda sboms: packages.lacking(sboms, Element.VERSION),
        packages.licenses_of,
        lambda sboms: packages.licensed_under(sboms, ["gpl-*"]),
    ],
)
def test_an_sbom_that_lists_nothing_says_nothing(asked: Any) -> None:
    for sboms, code in (([], "SbomAbsent"), ([listed(described()), listed()], "SbomEmpty")):
        with pytest.raises(Unacceptable) as raised:
            asked(sboms)
        assert raised.value.code == code
