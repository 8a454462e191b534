"""Plain HTTP only where a setting allows it; trust by host."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from yarl import URL

from controller.errors import ConfigurationError
from controller.registry.endpoints import Endpoints, host_of, same_origin
from controller.settings import RegistrySettings
from tests.contract.registry_servers.certificates import Authority


@pytest.mark.parametrize(
    ("registry", "loopback", "base"),
    [
        ("docker.io", False, "https://registry-1.docker.io/"),
        ("ghcr.io", True, "https://ghcr.io/"),
        ("insecure.example:5000", False, "http://insecure.example:5000/"),
        ("insecure.example:5001", False, "https://insecure.example:5001/"),
        ("127.0.0.1:5000", False, "https://127.0.0.1:5000/"),
        ("127.0.0.1:5000", True, "http://127.0.0.1:5000/"),
        ("[::1]:5000", True, "http://[::1]:5000/"),
        ("localhost:5000", True, "http://localhost:5000/"),
        ("localhost.example:5000", True, "https://localhost.example:5000/"),
        ("insecure.example:80", False, "http://insecure.example/"),
        ("registry:443", False, "https://registry/"),
    ],
)
def test_where_and_how_a_registry_is_spoken_to(registry: str, loopback: bool, base: str) -> None:
    settings = RegistrySettings(
        registry_insecure_hosts=("Insecure.example:5000", "insecure.example:80"), registry_allow_loopback=loopback
    )  # fmt: skip
    endpoint = Endpoints(settings).of(registry)
    assert (str(endpoint.base), endpoint.insecure) == (base, base.startswith("http:"))


def test_a_host_with_an_authority_of_its_own_speaks_tls(tmp_path: Path) -> None:
    file = Authority(tmp_path).file
    settings = RegistrySettings(registry_allow_loopback=True, registry_ca_files=(f"127.0.0.1:5000={file}",))
    assert Endpoints(settings).of("127.0.0.1:5000").base.scheme == "https"
    assert Endpoints(settings).of("127.0.0.1:5001").base.scheme == "http"


def test_authorities_are_for_their_host_and_the_star_for_all(tmp_path: Path) -> None:
    def count(*files: str, host: str) -> int:
        context = Endpoints(RegistrySettings(registry_ca_files=files)).context(URL(f"https://{host}/"))
        return sum(
            certificate["subject"] == ((("commonName", "test authority"),),) for certificate in context.get_ca_certs()
        )

    own, for_all = Authority(tmp_path / "own").file, Authority(tmp_path / "all").file
    assert count(f"own.example={own}", host="own.example") == 1
    assert count(f"own.example={own}", host="own.example:443") == 1
    assert count(f"registry:443={own}", host="registry:443") == 1
    assert count(f"[FD12::0:1]:5000={own}", host="[fd12::1]:5000") == 1
    assert count(f"own.example={own}", host="other.example") == 0
    assert count(f"docker.io={own}", host="registry-1.docker.io") == 1
    assert count(f"own.example={own}", f"*={for_all}", host="own.example") == 2
    assert count(f"own.example={own}", f"*={for_all}", host="other.example") == 1


def test_certificates_and_names_are_always_checked_and_old_tls_never_spoken(tmp_path: Path) -> None:
    endpoints = Endpoints(RegistrySettings(registry_ca_files=(f"own.example={Authority(tmp_path).file}",)))
    for host in ("own.example", "any.example"):
        context = endpoints.context(URL(f"https://{host}/"))
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_an_authority_file_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for entry in ("own.example", "=file", "own.example=", f"own.example={tmp_path}/none", f"*={tmp_path}/empty.pem"):
        with pytest.raises(ConfigurationError, match="registry_ca_files"):
            Endpoints(RegistrySettings(registry_ca_files=(entry,)))


def test_a_host_that_is_none_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="SettingInvalid"):
        Endpoints(RegistrySettings(registry_insecure_hosts=("registry.example:99999",)))


def test_hosts_and_origins() -> None:
    assert host_of(URL("https://Ghcr.IO.:443/x")) == "ghcr.io"
    assert host_of(URL("http://[::1]:5000/x")) == "[::1]:5000"
    assert same_origin(URL("https://a.example/x"), URL("https://a.example:443/y"))
    for other in ("http://a.example/", "https://b.example/", "https://a.example:444/"):
        assert not same_origin(URL("https://a.example/"), URL(other))
