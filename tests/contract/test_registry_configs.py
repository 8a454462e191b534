"""The configurations of an image: all that a container runtime could choose, each by its digest, and bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from controller.errors import AccessDenied, AssayError, LimitExceeded, NotFound, Unacceptable, Unavailable
from controller.model.access import ANONYMOUS, Credential, RegistryAccess
from controller.model.image import ConfigBlob, Platform
from controller.registry.handed import HandedOver
from controller.registry.layout import OciLayout
from controller.settings import RegistrySettings
from tests.contract.registry_servers.clients import NOW, client, ref, soon
from tests.contract.registry_servers.scripted import (
    OCI_INDEX,
    OCI_MANIFEST,
    ScriptedRegistry,
    Users,
    descriptor,
    digest_of,
    encoded,
)
from tests.contract.test_registry_layout import write_layout

APP = "acme/app"
CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER = "application/vnd.docker.container.image.v1+json"


def put(server: ScriptedRegistry, *, user: str = "", media_type: str = CONFIG, tag: str = "") -> tuple[str, bytes]:
    """An image that starts as this user: its digest, and its configuration."""
    config = encoded({"architecture": "amd64", "os": "linux", "config": {"User": user}})
    server.put_blob(config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, media_type),
        "layers": [],
    }
    return server.put_manifest(APP, manifest, tag=tag), config


def put_index(server: ScriptedRegistry, *children: dict[str, Any]) -> str:
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(children)}
    return server.put_manifest(APP, index, media_type=OCI_INDEX, tag="1.0")


def child(server: ScriptedRegistry, platform: str | None, **image: Any) -> tuple[dict[str, Any], bytes]:
    """An image in an index, as its entry there, and its configuration."""
    digest, config = put(server, **image)
    content, _ = server.manifests[(APP, digest)]
    entry = descriptor(content, OCI_MANIFEST)
    if platform is not None:
        system, architecture = platform.split("/")
        entry["platform"] = {"os": system, "architecture": architecture}
    return entry, config


async def configs(server: ScriptedRegistry, **settings: Any) -> tuple[ConfigBlob, ...]:
    async with client(**settings) as registry:
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        return await registry.configs(image, access=ANONYMOUS, deadline=soon())


@pytest.mark.parametrize("media_type", [CONFIG, DOCKER])
async def test_the_configuration_of_one_image(media_type: str) -> None:
    async with ScriptedRegistry() as server:
        digest, config = put(server, user="65532", media_type=media_type, tag="1.0")
        (found,) = await configs(server)
    assert (found.platform, str(found.manifest), found.content) == (None, digest, config)
    assert str(found.digest) == digest_of(config)


async def test_that_of_every_platform_but_attestations() -> None:
    async with ScriptedRegistry() as server:
        amd64, one = child(server, "linux/amd64", user="1")
        arm64, two = child(server, "linux/arm64", user="2")
        bare, three = child(server, None, user="3")
        attested, _ = child(server, "unknown/unknown", user="0")
        put_index(server, amd64, attested, arm64, bare)
        found = await configs(server)
    assert [(c.platform, c.content) for c in found] == [
        (Platform("linux", "amd64"), one),
        (Platform("linux", "arm64"), two),
        (None, three),
    ]


async def test_a_layout_and_handed_over_evidence_give_the_same(tmp_path: Path) -> None:
    async with ScriptedRegistry(referrers=False) as server:
        entry, _ = child(server, "linux/amd64", user="1")
        put_index(server, entry)
        expected = await configs(server)
        folder = await write_layout(server, tmp_path / "layout")
    layout = OciLayout(folder, RegistrySettings(), clock=lambda: NOW)
    for registry in (layout, HandedOver(layout, (), clock=lambda: NOW)):
        image = await registry.resolve(ref(f"ghcr.io/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert await registry.configs(image, access=ANONYMOUS, deadline=soon()) == expected


async def test_one_flight_whoever_asks() -> None:
    async with ScriptedRegistry() as server, client() as registry:
        put(server, tag="1.0")
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        before = len(server.requests)
        asking = (registry.configs(image, access=ANONYMOUS, deadline=soon()) for _ in range(10))
        assert len(set(await asyncio.gather(*asking))) == 1
        assert len(server.requests) - before == 2


async def test_a_mirror_that_lacks_a_part_is_passed_over() -> None:
    async with ScriptedRegistry() as mirror, ScriptedRegistry() as host:
        for server in (mirror, host):
            entry, config = child(server, "linux/amd64", user="1")
            put_index(server, entry)
        del mirror.blobs[digest_of(config)]
        (found,) = await configs(host, registry_mirrors=(f"{host.host}={mirror.host}",))
    assert found.content == config


async def test_a_private_repository_shows_its_configuration_to_its_own_credentials_alone() -> None:
    users = Users(passwords={"ann": "secret"})
    async with ScriptedRegistry(users=users) as server, client() as registry:
        put(server, tag="1.0")
        known = RegistryAccess((Credential(prefix=server.host, username="ann", password="secret"),))
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=known, deadline=soon())
        assert len(await registry.configs(image, access=known, deadline=soon())) == 1
        with pytest.raises((AccessDenied, NotFound)):
            await registry.configs(image, access=ANONYMOUS, deadline=soon())


def other_content(server: ScriptedRegistry) -> None:
    _, config = put(server, tag="1.0")
    server.blobs[digest_of(config)] = config.replace(b"amd64", b"arm64")


def artefact(server: ScriptedRegistry) -> None:
    put(server, media_type="application/vnd.cncf.helm.config.v1+json", tag="1.0")


def nothing(server: ScriptedRegistry) -> None:
    put_index(server, child(server, "unknown/unknown")[0])


def nested(server: ScriptedRegistry) -> None:
    entry, _ = child(server, "linux/amd64")
    put_index(server, entry | {"mediaType": OCI_INDEX})


def missing(server: ScriptedRegistry) -> None:
    _, config = put(server, tag="1.0")
    del server.blobs[digest_of(config)]


def another_manifest(server: ScriptedRegistry) -> None:
    entry, _ = child(server, "linux/amd64", user="0")
    put_index(server, entry)
    content, media_type = server.manifests[(APP, entry["digest"])]
    server.manifests[(APP, entry["digest"])] = (content + b" ", media_type)


@pytest.mark.parametrize(
    ("prepare", "kind", "code"),
    [
        (other_content, Unacceptable, "DigestMismatch"),
        (another_manifest, Unacceptable, "DigestMismatch"),
        (artefact, Unacceptable, "ConfigUnsupported"),
        (nothing, Unacceptable, "ConfigsMissing"),
        (nested, Unacceptable, "PlatformsNested"),
        (missing, NotFound, "NotFound"),
    ],
)
async def test_what_is_not_the_configuration_of_this_image_is_none(prepare: Any, kind: Any, code: str) -> None:
    async with ScriptedRegistry() as server:
        prepare(server)
        with pytest.raises(kind) as raised:
            await configs(server)
    assert isinstance(raised.value, AssayError)
    assert raised.value.code == code


async def test_a_registry_that_fails_is_unavailable() -> None:
    async with ScriptedRegistry() as server:
        _, config = put(server, tag="1.0")
        server.status(f"/v2/{APP}/blobs/{digest_of(config)}", 503)
        with pytest.raises(Unavailable):
            await configs(server)


@pytest.mark.guarantee(10)
async def test_configurations_are_bounded_in_number_and_size() -> None:
    async with ScriptedRegistry() as server:
        children = [child(server, f"linux/a{i}", user=str(i))[0] for i in range(4)]
        put_index(server, *children)
        assert len(await configs(server, registry_max_configs=4)) == 4
        for setting, value in (("registry_max_configs", 3), ("registry_max_config_bytes", 10)):
            with pytest.raises(LimitExceeded) as raised:
                await configs(server, **{setting: value})
            assert raised.value.setting == setting
