"""Which places an image is asked for at, in which order and by which name."""

from __future__ import annotations

import pytest

from controller.errors import ConfigurationError
from controller.model.access import ANONYMOUS, Credential, RegistryAccess
from controller.model.reference import Reference
from controller.registry.mirrors import Mirrors

DIGEST = f"sha256:{'a' * 64}"
MIRRORS = (
    "docker.io=mirror.example:5000",
    "index.docker.io=Cache.Example/hub/proxy",
    "ghcr.io=mirror.example:5000/ghcr",
    " ghcr.io = ! ",
    "registry.example:443=[2001:DB8::1]:5000",
    "localhost:5000=127.0.0.1:5001",
)


@pytest.mark.parametrize(
    ("image", "places"),
    [
        (
            "nginx",
            [
                ("mirror.example:5000/library/nginx:latest", False),
                ("cache.example/hub/proxy/library/nginx:latest", False),
                ("docker.io/library/nginx:latest", True),
            ],
        ),
        (
            f"acme/app:1@{DIGEST}",
            [
                (f"mirror.example:5000/acme/app:1@{DIGEST}", False),
                (f"cache.example/hub/proxy/acme/app:1@{DIGEST}", False),
                (f"docker.io/acme/app:1@{DIGEST}", True),
            ],
        ),
        ("ghcr.io/acme/app:1", [("mirror.example:5000/ghcr/acme/app:1", False)]),
        (
            "registry.example/app:1",
            [("[2001:db8::1]:5000/app:1", False), ("registry.example/app:1", True)],
        ),
        ("localhost:5000/app:1", [("127.0.0.1:5001/app:1", False), ("localhost:5000/app:1", True)]),
        ("quay.io/acme/app:1", [("quay.io/acme/app:1", True)]),
        ("registry.example:5000/app:1", [("registry.example:5000/app:1", True)]),
        ("mirror.example:5000/acme/app:1", [("mirror.example:5000/acme/app:1", True)]),
    ],
)
def test_mirrors_come_in_their_order_and_then_the_host_itself(image: str, places: list[tuple[str, bool]]) -> None:
    found = Mirrors(MIRRORS).places(Reference.parse(image))
    assert [(str(place.reference), place.own) for place in found] == places


def test_only_the_host_itself_is_given_a_workloads_credentials() -> None:
    access = RegistryAccess((Credential("docker.io", "u", "p"), Credential("mirror.example:5000", "u", "p")))
    places = Mirrors(MIRRORS).places(Reference.parse("nginx"))
    assert [place.access(access) for place in places] == [ANONYMOUS, ANONYMOUS, access]


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "docker.io",
        "docker.io=",
        "=mirror.example",
        "docker.io=mirror",
        "acme=mirror.example",
        "docker.io/library=mirror.example",
        "docker.io=https://mirror.example",
        "docker.io=mirror.example:99999",
        "docker.io=mirror.example/UPPER",
        "docker.io=mirror.example/",
        "docker.io=mirror.example/hub/",
        "docker.io=mirror.example//hub",
        "docker.io=mirror.example/hub:tag",
        "docker.io=user@mirror.example",
        f"docker.io=mirror.example/hub@{DIGEST}",
        "*=mirror.example",
        "docker.io=!mirror.example",
        "docker.io=mirror.example=!",
    ],
)
def test_an_entry_that_is_no_mirror_is_refused(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="SettingInvalid"):
        Mirrors([entry])


def test_a_host_without_a_mirror_that_is_never_asked_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="has no mirror"):
        Mirrors(["docker.io=!"])


@pytest.mark.guarantee(12)
@pytest.mark.parametrize("mirror", ["https://jane:s3cr3t@mirror.example", "s3cr3t@mirror.example", "jane:s3c/r3t@x"])
def test_a_password_in_an_entry_is_not_quoted(mirror: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Mirrors([f"docker.io={mirror}"])
    assert "docker.io=" in raised.value.message
    assert "s3c" not in raised.value.message
