"""Every package there is in an estate, and how its versions go on over the year.

Each ecosystem has some packages that everybody knows and many that few use, as in the wild: which are taken follows a
steep law of popularity. A component's piece of JSON is written once, as syft writes it (see
`tests/fixtures/documents`), and serves every SBOM that it stands in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from json import dumps
from random import Random
from urllib.parse import quote

from tests.bench.estate.facts import Component, Package
from tests.bench.estate.size import BEGIN, DAYS

KNOWN = {
    "deb": "libc6 libssl3 zlib1g openssl bash coreutils libsystemd0 perl-base tar curl libcurl4 libxml2 dpkg apt",
    "apk": "musl busybox libcrypto3 libssl3 zlib alpine-baselayout apk-tools ca-certificates-bundle scanelf ssl_client",
    "rpm": "glibc openssl-libs bash coreutils zlib libxml2 systemd-libs rpm curl-minimal gnutls sqlite-libs",
    "npm": "lodash express axios minimist semver ws debug ms qs chalk react uuid tough-cookie json5 follow-redirects",
    "maven": "log4j-core log4j-api spring-core spring-web jackson-databind guava commons-text snakeyaml netty-handler",
    "pypi": "requests urllib3 jinja2 cryptography certifi flask django numpy pyyaml setuptools idna pillow aiohttp",
    "golang": "golang.org/x/net golang.org/x/crypto golang.org/x/text google.golang.org/grpc github.com/gorilla/mux",
}
_GROUPS = {
    "log4j-core": "org.apache.logging.log4j",
    "log4j-api": "org.apache.logging.log4j",
    "spring-core": "org.springframework",
    "spring-web": "org.springframework",
    "jackson-databind": "com.fasterxml.jackson.core",
    "guava": "com.google.guava",
    "commons-text": "org.apache.commons",
    "snakeyaml": "org.yaml",
    "netty-handler": "io.netty",
}
# How many packages of each ecosystem there are: more than any one image has.
POOLS = {"deb": 2_500, "apk": 1_200, "rpm": 2_000, "npm": 14_000, "maven": 8_000, "pypi": 5_000, "golang": 6_000}
MORE = 8  # times as many packages as an image has, at most
# The distributions of the base images: the package type, the purl's namespace, and what qualifies it.
DISTRIBUTIONS = {
    "debian-12": ("deb", "debian", "arch=amd64&distro=debian-12"),
    "ubuntu-24.04": ("deb", "ubuntu", "arch=amd64&distro=ubuntu-24.04"),
    "alpine-3.20.3": ("apk", "alpine", "arch=x86_64&distro=alpine-3.20.3"),
    "rhel-9.4": ("rpm", "redhat", "arch=x86_64&distro=rhel-9.4"),
}
_LICENSES = ("MIT", "Apache-2.0", "BSD-3-Clause", "ISC", "GPL-2.0-only", "LGPL-2.1-or-later", "MPL-2.0", "Zlib")
_WORDS = (
    "amber arc beam bolt cedar chart cloud coral core dash delta echo ember fern flint flow forge frost gate glow",
    "grid haze hive iris jade kite lark leaf link loom lumen maple mesh mint moss nest node nova opal orbit path",
    "pearl pine pixel plume port prism pulse quill rail reef ridge river rune sage seed shard slate spark stem stone",
    "tide trace vale vault vine wave wick wren yarn zephyr",
)
WORDS = " ".join(_WORDS).split()


class Catalogue:
    """Packages by number, and components (a package in one version) by number, made when first asked for."""

    def __init__(self, seed: int, *, largest: int) -> None:
        """`largest` is about how many packages one image has: there are several times as many of each ecosystem."""
        self._seed = seed
        self._most = MORE * largest
        self._pools: dict[tuple[str, str], range] = {}
        self._packages: list[Package] = []
        self._bumps: dict[int, tuple[int, ...]] = {}
        self._numbers: dict[tuple[int, int], int] = {}
        self._components: list[Component] = []
        self._owners: list[int] = []

    def pool(self, kind: str, distribution: str = "") -> range:
        """The numbers of all packages of a type (of one distribution), the best known first."""
        key = kind, distribution
        if key not in self._pools:
            first = len(self._packages)
            self._packages += self._make(kind, distribution, first)
            self._pools[key] = range(first, len(self._packages))
        return self._pools[key]

    def current(self, package: int, moment: datetime) -> int:
        """The number of the component that is a package's newest version at a time."""
        return self._component(package, bisect_right(self._bumps_of(package), (moment - BEGIN).days))

    def older(self, package: int, moment: datetime, steps: int) -> int:
        """The same some versions before."""
        return self._component(package, max(0, bisect_right(self._bumps_of(package), (moment - BEGIN).days) - steps))

    def component(self, number: int) -> Component:
        """A component by its number."""
        return self._components[number]

    def package_of(self, number: int) -> int:
        """Which package a component is a version of."""
        return self._owners[number]

    def package(self, number: int) -> Package:
        """A package by its number."""
        return self._packages[number]

    def popular(self, pool: Sequence[int], count: int, random: Random) -> list[int]:
        """So many different packages of a pool, the known ones far likelier (log-uniform ranks)."""
        count = min(count, len(pool))
        found: dict[int, None] = {}
        size = len(pool)
        while len(found) < count:
            rank = int(size ** random.random()) - 1 if random.random() < 0.5 else random.randrange(size)
            found[pool[min(rank, size - 1)]] = None
        return list(found)

    def _component(self, package: int, step: int) -> int:
        key = package, step
        if key not in self._numbers:
            self._numbers[key] = len(self._components)
            self._components.append(_component(self._packages[package], self._version(package, step)))
            self._owners.append(package)
        return self._numbers[key]

    def _bumps_of(self, package: int) -> tuple[int, ...]:
        """The days of the year on which the package has a new version."""
        if package not in self._bumps:
            random = Random(f"{self._seed} bumps {package}")
            count = min(12, int(random.expovariate(1 / 3)))
            self._bumps[package] = tuple(sorted(random.randrange(DAYS) for _ in range(count)))
        return self._bumps[package]

    def _version(self, package: int, step: int) -> str:
        random = Random(f"{self._seed} version {package}")
        major, minor, patch = random.randrange(10), random.randrange(30), random.randrange(12)
        for _ in range(step):
            luck = random.random()
            if luck < 0.7:
                patch += 1
            elif luck < 0.95:
                minor, patch = minor + 1, 0
            else:
                major, minor, patch = major + 1, 0, 0
        version = f"{major}.{minor}.{patch}"
        kind = self._packages[package].type
        revision = random.randrange(1, 9)
        if kind == "deb":
            return f"{version}-{revision}+deb12u{1 + step % 4}"
        return {"apk": f"{version}-r{revision}", "rpm": f"{version}-{revision}.el9", "golang": f"v{version}"}.get(
            kind, version
        )

    def _make(self, kind: str, distribution: str, first: int) -> list[Package]:
        random = Random(f"{self._seed} {kind} {distribution}")
        names = dict.fromkeys(KNOWN[kind].split())
        while len(names) < min(POOLS[kind], self._most):
            names["-".join(random.choices(WORDS, k=random.choice((2, 2, 3)))) + random.choice(("", "", "-js", "2"))] = (
                None
            )
        return [_package(first + place, kind, name, distribution, random) for place, name in enumerate(names)]


def _package(number: int, kind: str, name: str, distribution: str, random: Random) -> Package:
    license_, supplier, qualifiers = random.choice(_LICENSES), f"{random.choice(WORDS).title()} Maintainers", ""
    shown = name
    if distribution:
        _, namespace, qualifiers = DISTRIBUTIONS[distribution]
        path = f"{namespace}/{name}"
    elif kind == "npm":
        scope = f"@{random.choice(WORDS)}" if number % 4 == 3 and name not in KNOWN["npm"].split() else ""
        path, shown = (f"{quote(scope)}/{name}", f"{scope}/{name}") if scope else (name, name)
    elif kind == "maven":
        path = f"{_GROUPS.get(name, f'org.{random.choice(WORDS)}')}/{name}"
    elif kind == "golang":
        path = shown = name if "/" in name else f"github.com/{random.choice(WORDS)}/{name}"
    else:
        path = name
    return Package(number, kind, f"pkg:{kind}/{path}", shown, qualifiers, license_, supplier)


def _component(package: Package, version: str) -> Component:
    tail = f"?{package.qualifiers}" if package.qualifiers else ""
    return Component(
        name=package.name,
        version=version,
        purl=f"{package.path}@{quote(version, safe='._~:-')}{tail}",
        license=package.license,
        supplier=package.supplier,
        cpe=f"cpe:2.3:a:{package.name.rpartition('/')[2]}:{package.name.rpartition('/')[2]}:{version.lstrip('v')}"
        ":*:*:*:*:*:*:*",
    )


@lru_cache(maxsize=400_000)
def cyclonedx(component: Component) -> str:
    """The component as it stands in a CycloneDX document."""
    parts: dict[str, object] = {
        "bom-ref": f"{component.purl or component.name}#{abs(_number(component)):016x}",
        "type": "library",
    }
    if component.supplier:
        parts["publisher"] = component.supplier
    parts["name"] = component.name
    if component.version is not None:
        parts["version"] = component.version
    if component.license:
        parts["licenses"] = [{"license": {"id": component.license}}]
    if component.cpe:
        parts["cpe"] = component.cpe
    if component.purl:
        parts["purl"] = component.purl
    kind = component.purl.partition(":")[2].partition("/")[0] or "binary"
    parts["properties"] = [
        {"name": "syft:package:foundBy", "value": f"{kind}-cataloger"},
        {"name": "syft:package:language", "value": kind},
        {"name": "syft:package:type", "value": kind},
        {"name": "syft:package:metadataType", "value": f"{kind}-entry"},
        {"name": "syft:location:0:path", "value": f"/usr/share/{kind}/{component.name}/metadata"},
    ]
    return dumps(parts, separators=(",", ":"))


@lru_cache(maxsize=400_000)
def spdx(component: Component) -> str:
    """The component as it stands in an SPDX 2.3 document."""
    references = []
    if component.cpe:
        references.append(
            {"referenceCategory": "SECURITY", "referenceType": "cpe23Type", "referenceLocator": component.cpe}
        )
    if component.purl:
        references.append(
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": component.purl}
        )
    parts: dict[str, object] = {"name": component.name, "SPDXID": f"SPDXRef-Package-{abs(_number(component)):016x}"}
    if component.version is not None:
        parts["versionInfo"] = component.version
    parts |= {
        "supplier": f"Organization: {component.supplier}" if component.supplier else "NOASSERTION",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "sourceInfo": f"acquired package info from the following paths: /usr/share/{component.name}",
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": component.license or "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": references,
    }
    return dumps(parts, separators=(",", ":"))


def _number(component: Component) -> int:
    """A number of its own that does not depend on Python's hashing of text."""
    return Random(f"{component.name} {component.version} {component.purl}").getrandbits(62)
