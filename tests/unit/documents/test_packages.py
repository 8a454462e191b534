"""Finding packages: nothing that may match is left out, and nothing is found in what lists nothing."""

from __future__ import annotations

import pytest

from controller.documents.packages import PackageIndex, Query, find
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
