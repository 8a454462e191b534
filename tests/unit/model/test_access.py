"""Pull secrets: read as the kubelet reads them, sent to nobody else, shown to nobody."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from controller.errors import InputError
from controller.model.access import ANONYMOUS, Credential, RegistryAccess, parse_docker_config
from controller.model.reference import Reference


def config(**auths: Any) -> bytes:
    return json.dumps({"auths": auths}).encode()


def basic(username: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("host", "prefix"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("registry.hub.docker.com", "docker.io"),
        ("https://GHCR.io", "ghcr.io"),
        ("ghcr.io/", "ghcr.io"),
        ("ghcr.io:443", "ghcr.io"),
        ("ghcr.io:0443", "ghcr.io"),
        ("registry:443", "registry:443"),
        ("http://registry.local:5000/v2/", "registry.local:5000"),
        ("ghcr.io/acme/app", "ghcr.io/acme/app"),
        ("ghcr.io/v2/acme", "ghcr.io/acme"),
        ("ghcr.io/acme/v1", "ghcr.io/acme/v1"),
        ("*.example.com", "*.example.com"),
    ],
)
def test_hosts_of_pull_secrets_have_the_same_form_as_those_of_images(host: str, prefix: str) -> None:
    (credential,) = parse_docker_config(config(**{host: basic("u", "p")}))
    assert credential == Credential(prefix, "u", "p")


def test_every_way_of_writing_a_credential_is_read() -> None:
    found = parse_docker_config(
        config(
            **{
                "a.io": {"username": "u", "password": "p"},
                "b.io": basic("u", "p:with:colons"),
                "c.io": {"identitytoken": "t"},
                "d.io": {"username": "ignored", "password": "ignored", **basic("u", "p")},
                "e.io": {},
                "f.io": {"email": "x@y"},
            }
        )
    )
    assert found == (
        Credential("a.io", "u", "p"),
        Credential("b.io", "u", "p:with:colons"),
        Credential("c.io", "", "", "t"),
        Credential("d.io", "u", "p"),
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hunter2",
        b"[]",
        b"{}",
        b'"auths"',
        b'{"auths": []}',
        b'{"auths": {"a.io": "hunter2"}}',
        b'{"auths": {"a.io": {"auth": "hunter2!"}}}',
        b'{"auths": {"a.io": {"auth": 7}}}',
        b'{"auths": {"a.io": {"auth": "/w=="}}}',
        b'{"auths": {"a.io": {"username": 7, "password": "hunter2"}}}',
        b'{"auths": {"a.io": {"username": "u", "password": ["hunter2"]}}}',
        b'{"auths": {"a.io": {"identitytoken": {"hunter2": 1}}}}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_malformed_pull_secret_is_an_error_that_shows_nothing_of_it(content: bytes) -> None:
    with pytest.raises(InputError, match="PullSecretMalformed") as caught:
        parse_docker_config(content)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("prefix", "image", "covers"),
    [
        ("ghcr.io", "ghcr.io/acme/app", True),
        ("ghcr.io", "ghcr.io.evil.example/acme/app", False),
        ("ghcr.io", "evil.example/ghcr.io/app", False),
        ("ghcr.io", "ghcr.io:8443/acme/app", False),
        ("ghcr.io/acme", "ghcr.io/acme/app", True),
        ("ghcr.io/acme", "ghcr.io/acme", True),
        ("ghcr.io/acme", "ghcr.io/acmeevil/app", False),
        ("docker.io", "nginx", True),
        ("*.example.com", "registry.example.com/app", True),
        ("*.example.com", "a.registry.example.com/app", False),
        ("*.example.com", "example.com/app", False),
        ("*.example.com", "registry.example.com.evil.example/app", False),
        ("*.example.com", "registry.example.com:5000/app", False),
        ("*.example.com:5000", "registry.example.com:5000/app", True),
        ("re*ry.example.com/acme", "registry.example.com/acme/app", True),
        ("re*ry.example.com/acme", "registry.example.com/other/app", False),
        ("*", "localhost/app", True),
        ("*", "ghcr.io/app", False),
    ],
)
def test_credentials_go_only_to_the_host_and_path_that_they_are_for(prefix: str, image: str, covers: bool) -> None:
    assert Credential(prefix, "u", "p").covers(Reference.parse(image)) is covers


def test_the_most_specific_credential_is_tried_first() -> None:
    wide, narrow, other = (
        Credential("ghcr.io", "w", "p"),
        Credential("ghcr.io/acme", "n", "p"),
        Credential("q.io", "o", "p"),
    )
    access = RegistryAccess((wide, other, narrow))
    assert access.for_reference(Reference.parse("ghcr.io/acme/app")) == (narrow, wide)


def test_no_secret_is_ever_shown() -> None:
    shown = repr(RegistryAccess((Credential("ghcr.io", "alice", "hunter2", "token9"),)))
    assert "alice" not in shown
    assert "hunter2" not in shown
    assert "token9" not in shown


def test_a_scope_names_exactly_one_set_of_credentials() -> None:
    reference = Reference.parse("ghcr.io/acme/app")

    def scope(*credentials: Credential) -> str:
        return RegistryAccess(credentials).scope(reference)

    scopes = [
        ANONYMOUS.scope(reference),
        scope(Credential("ghcr.io", "u", "p")),
        scope(Credential("ghcr.io", "u", "q")),
        scope(Credential("ghcr.io", "u", "p", "t")),
        scope(Credential("ghcr.io/acme", "u", "p")),
        scope(Credential("ghcr.io", "u\0p", "")),
        scope(Credential("ghcr.io", "u", "p\0")),
        scope(Credential("ghcr.io", "u", "p"), Credential("ghcr.io", "v", "p")),
    ]
    assert len(set(scopes)) == len(scopes)
    assert scope(Credential("quay.io", "u", "p")) == ANONYMOUS.scope(reference)
    assert "p" * 4 not in scope(Credential("ghcr.io", "u", "p" * 4))
