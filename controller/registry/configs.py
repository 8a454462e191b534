"""The configurations of an image: what each of its manifests says a container is started as.

Nobody signs them; they count because the image's digest leads to them: index -> manifest -> configuration, each by its
digest and hashed.
"""

from __future__ import annotations

import asyncio

from controller.errors import LimitExceeded, Unacceptable
from controller.model.deadline import Deadline
from controller.model.image import NO_PLATFORM, ConfigBlob, Platform, ResolvedImage
from controller.model.reference import Digest
from controller.registry.discovery import SIDE_BY_SIDE, Source, together
from controller.settings import RegistrySettings

MEDIA_TYPES = frozenset({"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"})


async def read_configs(
    repository: Source, image: ResolvedImage, *, settings: RegistrySettings, deadline: Deadline
) -> tuple[ConfigBlob, ...]:
    """One for each manifest that a container runtime could choose, in the index's order; never empty.

    Raises `Unavailable`, `AccessDenied`, `NotFound`, `LimitExceeded` (`registry_max_configs`,
    `registry_max_config_bytes`), and `Unacceptable` (`ConfigsMissing`: an index of nothing; `ConfigUnsupported`: it is
    no container image; `PlatformsNested`).
    """
    wanted: dict[tuple[Digest, Platform | None], None] = {}
    if image.is_index:
        able = [child for child in image.platforms if child.platform != NO_PLATFORM]
        if any(child.is_index for child in able):
            raise Unacceptable("PlatformsNested", f"{image.reference.name} is an index that has another index in it")
        wanted = {(child.digest, child.platform): None for child in able}
    else:
        own = next((child.platform for child in image.platforms if child.digest == image.digest), None)
        wanted = {(image.digest, own): None}
    if not wanted:
        raise Unacceptable("ConfigsMissing", f"{image.reference.name} is an index of no manifest that could run")
    if len(wanted) > settings.registry_max_configs:
        message = f"{image.reference.name} is an index of {len(wanted)} manifests"
        raise LimitExceeded("registry_max_configs", message)
    places = asyncio.Semaphore(SIDE_BY_SIDE)

    async def read(manifest: Digest, platform: Platform | None) -> ConfigBlob:
        async with places:
            return await _read(repository, manifest, platform, settings=settings, deadline=deadline)

    return tuple(await together(read(manifest, platform) for manifest, platform in wanted))


async def _read(
    repository: Source,
    digest: Digest,
    platform: Platform | None,
    *,
    settings: RegistrySettings,
    deadline: Deadline,
) -> ConfigBlob:
    manifest = await repository.manifest(digest, deadline=deadline)
    config = manifest.config
    if config is None or config.media_type not in MEDIA_TYPES:
        raise Unacceptable("ConfigUnsupported", f"{digest} is no container image: its configuration is of another type")
    if config.size > settings.registry_max_config_bytes:
        message = f"the configuration of {digest} is larger than {settings.registry_max_config_bytes} bytes"
        raise LimitExceeded("registry_max_config_bytes", message)
    content = await repository.blob(config, deadline=deadline)
    return ConfigBlob(platform, digest, config.digest, content, base=manifest.base)
