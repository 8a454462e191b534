"""The registry client against real registries, with and without the referrers API, and what real cosign writes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.errors import NotFound
from controller.model.access import ANONYMOUS
from controller.model.evidence import ArtifactKind
from controller.model.reference import Digest
from tests.contract.registry_servers.clients import NOW, client, ref, soon
from tests.support.cosign import Cosign
from tests.support.registry import Registry, run_registry

SIGNED, UNSIGNED, INDEX = "acme/app", "acme/bare", "acme/many"


@dataclass(frozen=True)
class Held:
    """A registry with a signed and attested image, an unsigned one and an index; digests by repository."""

    registry: Registry
    digests: dict[str, str]


@pytest.fixture(scope="module", params=[False, True], ids=["fallback-tag", "referrers-api"])
def held(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    folder = tmp_path_factory.mktemp("registry")
    with run_registry(folder, referrers=request.param) as registry:
        digests = {
            SIGNED: registry.push_image(SIGNED, "1.0"),
            UNSIGNED: registry.push_image(UNSIGNED, "1.0", files={"other": b"other"}),
            INDEX: registry.push_index(INDEX, "1.0"),
        }
        _sign(registry, digests[SIGNED], folder / "cosign")
        yield Held(registry, digests)


def _sign(registry: Registry, digest: str, folder: Path) -> None:
    cosign = Cosign(folder)
    key = cosign.generate_key_pair("release")
    image = registry.reference(SIGNED, digest=digest)
    sbom = {"spdxVersion": "SPDX-2.3", "name": "app", "packages": []}
    for new_bundle_format in (True, False):
        cosign.sign(image, key=key, new_bundle_format=new_bundle_format)
        cosign.attest(
            image, key=key, predicate_type="spdxjson", predicate=sbom, new_bundle_format=new_bundle_format
        )  # fmt: skip


async def test_a_tag_is_resolved_to_the_digest_of_its_content(held: Held) -> None:
    async with client() as registry:
        for repository, digest in held.digests.items():
            image = await registry.resolve(
                ref(held.registry.reference(repository, tag="1.0")), access=ANONYMOUS, deadline=soon()
            )
            assert str(image.digest) == digest
            again = await registry.resolve(
                ref(held.registry.reference(repository, digest=digest)), access=ANONYMOUS, deadline=soon()
            )
            assert (again.digest, again.media_type, again.size) == (image.digest, image.media_type, image.size)


async def test_an_index_names_its_platforms(held: Held) -> None:
    async with client() as registry:
        image = await registry.resolve(
            ref(held.registry.reference(INDEX, tag="1.0")), access=ANONYMOUS, deadline=soon()
        )
    assert sorted(str(child.platform) for child in image.platforms) == ["linux/amd64", "linux/arm64"]


async def test_the_configuration_of_every_platform_is_read(held: Held) -> None:
    async with client() as registry:
        for repository, platforms in ((INDEX, ["linux/amd64", "linux/arm64"]), (UNSIGNED, ["None"])):
            image = await registry.resolve(
                ref(held.registry.reference(repository, tag="1.0")), access=ANONYMOUS, deadline=soon()
            )
            configs = await registry.configs(image, access=ANONYMOUS, deadline=soon())
            assert sorted(str(config.platform) for config in configs) == platforms
            assert all(Digest.of(config.content) == config.digest for config in configs)


async def test_everything_that_cosign_wrote_is_found_and_nothing_is_a_problem(held: Held) -> None:
    async with client() as registry:
        image = await registry.resolve(
            ref(held.registry.reference(SIGNED, tag="1.0")), access=ANONYMOUS, deadline=soon()
        )
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
    assert sorted(artifact.kind for artifact in evidence.artifacts) == [
        ArtifactKind.COSIGN_ATTESTATION,
        ArtifactKind.COSIGN_SIGNATURE,
        ArtifactKind.BUNDLE,
        ArtifactKind.BUNDLE,
    ]
    assert evidence.problems == ()
    assert (evidence.image, evidence.repository) == (image.digest, f"{held.registry.host}/{SIGNED}")
    assert evidence.fetched_at == NOW
    for artifact in evidence.artifacts:
        assert Digest.of(artifact.content) == artifact.digest
    legacy = next(artifact for artifact in evidence.artifacts if artifact.kind is ArtifactKind.COSIGN_SIGNATURE)
    assert "dev.cosignproject.cosign/signature" in dict(legacy.annotations)
    assert legacy.location == f"tag sha256-{image.digest.hex}.sig, layer 0"


async def test_an_unsigned_image_has_no_evidence_and_no_problem(held: Held) -> None:
    async with client() as registry:
        image = await registry.resolve(
            ref(held.registry.reference(UNSIGNED, tag="1.0")), access=ANONYMOUS, deadline=soon()
        )
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
    assert (evidence.artifacts, evidence.problems) == ((), ())


async def test_an_image_that_is_not_there_is_not_found(held: Held) -> None:
    async with client() as registry:
        for absent in (
            held.registry.reference(SIGNED, tag="no-such-tag"),
            held.registry.reference(SIGNED, digest=f"sha256:{'0' * 64}"),
            held.registry.reference("no/such/repository", tag="1.0"),
        ):
            with pytest.raises(NotFound, match="does not have"):
                await registry.resolve(ref(absent), access=ANONYMOUS, deadline=soon())


async def test_many_at_once_get_the_same_answer(held: Held) -> None:
    async with client() as registry:
        images = await asyncio.gather(
            *(
                registry.resolve(
                    ref(held.registry.reference(SIGNED, tag="1.0")), access=ANONYMOUS, deadline=soon()
                )
                for _ in range(50)
            )
        )  # fmt: skip
        sets = await asyncio.gather(*(registry.discover(image, access=ANONYMOUS, deadline=soon()) for image in images))
    assert {str(image.digest) for image in images} == {held.digests[SIGNED]}
    assert len({evidence.hash for evidence in sets}) == 1


async def test_a_tag_that_is_asked_for_again_is_the_same_and_one_that_moved_is_not(held: Held) -> None:
    """The second time by HEAD, which each registry answers in its own way."""
    async with client() as registry:
        reference = ref(held.registry.reference("acme/moving", tag="1.0"))
        first = held.registry.push_image("acme/moving", "1.0")
        images = [await registry.resolve(reference, access=ANONYMOUS, deadline=soon()) for _ in range(2)]
        assert [str(image.digest) for image in images] == [first, first]
        second = held.registry.push_image("acme/moving", "1.0", files={"moved": b"moved"})
        image = await registry.resolve(reference, access=ANONYMOUS, deadline=soon())
        assert str(image.digest) == second != first


async def test_a_mirror_brings_the_image_and_all_that_cosign_wrote_beside_it(held: Held) -> None:
    mirrors = (f"registry.example={held.registry.host}", "registry.example=!")
    async with client(registry_mirrors=mirrors) as registry:
        direct = await registry.resolve(
            ref(held.registry.reference(SIGNED, tag="1.0")), access=ANONYMOUS, deadline=soon()
        )
        image = await registry.resolve(ref(f"registry.example/{SIGNED}:1.0"), access=ANONYMOUS, deadline=soon())
        expected = await registry.discover(direct, access=ANONYMOUS, deadline=soon())
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
    assert image.digest == direct.digest
    assert evidence.artifacts == expected.artifacts
    assert len(evidence.artifacts) > 0
    assert evidence.repository == f"registry.example/{SIGNED}"
