"""Package URLs: canonical as the reference library has them, and compared by type, namespace and name."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packageurl import PackageURL

from controller.documents import purls

# Types whose normal form the reference library and the specification agree on.
TYPES = ["maven", "npm", "pypi", "cargo", "gem", "nuget", "generic", "oci", "hex", "composer", "apk", "github"]
TEXT = st.text(alphabet=string.ascii_letters + string.digits + "._-+~: @%éß", min_size=1, max_size=12).filter(
    lambda text: text.strip() == text
)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        (
            "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1",
            "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1",
        ),
        ("PKG:PyPI/Django_Rest@1.0", "pkg:pypi/django-rest@1.0"),
        ("pkg:npm/%40angular/core@1.0", "pkg:npm/%40angular/core@1.0"),
        ("pkg:npm/@angular/core@1.0", "pkg:npm/%40angular/core@1.0"),
        (
            "pkg:deb/Debian/libstdc++6@12.2.0-14?distro=debian-12&arch=amd64",
            "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14?arch=amd64&distro=debian-12",
        ),
        ("pkg://golang/github.com/Acme/App@v1.0.0#/cmd/./x/", "pkg:golang/github.com/acme/app@v1.0.0#cmd/x"),
        ("pkg:rpm/fedora/curl@7.50.3-1.fc25?epoch=1", "pkg:rpm/fedora/curl@7.50.3-1.fc25?epoch=1"),
    ],
)
def test_equal_packages_have_one_canonical_form(written: str, canonical: str) -> None:
    assert purls.parse(written).canonical() == canonical


@pytest.mark.parametrize(
    "text",
    ["", "log4j", "pkg:", "pkg:maven", "pkg:maven/", "npm/x@1", "pkg:1a/x", "pkg:npm/%ff", "pkg:npm/" + "a" * 5000],
)
def test_what_names_no_package_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the module's one documented error
        purls.parse(text)


@given(
    type_=st.sampled_from(TYPES), namespace=st.one_of(st.none(), TEXT), name=TEXT, version=st.one_of(st.none(), TEXT)
)
def test_canonical_form_is_the_reference_library_s(
    type_: str, namespace: str | None, name: str, version: str | None
) -> None:
    if type_ == "npm" and namespace is not None:
        namespace = namespace.lower()  # its type's definition says so, and the library leaves it
    text = PackageURL(type=type_, namespace=namespace, name=name, version=version).to_string()
    expected = re.sub("%[0-9a-f]{2}", lambda code: code[0].upper(), PackageURL.from_string(text).to_string())
    assert purls.parse(text).canonical() == expected


@given(
    type_=st.sampled_from([*TYPES, "golang", "deb", "rpm"]),
    namespace=st.one_of(st.just(""), TEXT),
    name=TEXT,
    version=TEXT,
)
def test_the_quick_key_is_the_parsed_key(type_: str, namespace: str, name: str, version: str) -> None:
    text = PackageURL(type=type_, namespace=namespace, name=name, version=version).to_string()
    canonical = purls.parse(text).canonical()
    assert purls.key_of(canonical) == purls.parse(canonical).key
    assert purls.parse(canonical).canonical() == canonical
