"""Builders, sources and base images have one name, however documents and people write it."""

from __future__ import annotations

import pytest

from controller.errors import InputError
from controller.inventory.origins import BASE, BUILDER, MAX_NAME, SOURCE, asked, of_provenance
from controller.model.documents import Provenance, Resource, Source

HEX = "ab" * 32
DIGEST = f"sha256:{HEX}"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WORKFLOW = "https://github.com/slsa-framework/generator/.github/workflows/container.yml"


def provenance(*materials: Resource, builder: str = "", source: Source | None = None) -> Provenance:
    return Provenance(
        spec_version="1",
        builder_id=builder,
        build_type="",
        source=source,
        parameters=None,
        materials=materials,
        invocation_id="",
        started_at=None,
        finished_at=None,
        slsa_level=0,
    )


def named(kind: str, document: Provenance) -> set[str]:
    return {name for each, name in of_provenance(document) if each == kind}


def test_a_builder_that_is_a_workflow_is_found_with_and_without_its_reference() -> None:
    found = named(BUILDER, provenance(builder=f"{WORKFLOW}@refs/tags/v1.4.0"))
    assert found == {WORKFLOW, f"{WORKFLOW}@refs/tags/v1.4.0"}
    assert asked(BUILDER, WORKFLOW) in found


@pytest.mark.parametrize(
    "question",
    [
        "https://github.com/acme/app",
        "git+https://github.com/acme/app.git@refs/heads/main",
        "github.com/acme/app",
        "https://GitHub.com/acme/app/",
        COMMIT,
        COMMIT.upper(),
        f"github.com/acme/app@{COMMIT}",
        f"https://github.com/acme/app@{COMMIT}",
    ],
)
def test_a_source_is_found_however_it_is_written(question: str) -> None:
    document = provenance(source=Source("https://github.com/acme/app", "refs/heads/main", COMMIT))
    assert asked(SOURCE, question) in named(SOURCE, document)


def test_a_repository_that_the_build_read_is_a_source_as_well() -> None:
    material = Resource(uri="git+https://github.com/acme/library@refs/tags/v1", digests=(("sha1", COMMIT),))
    assert asked(SOURCE, "github.com/acme/library") in named(SOURCE, provenance(material))


@pytest.mark.parametrize(
    ("material", "names"),
    [
        (
            Resource(uri="pkg:docker/debian@bookworm?platform=linux%2Famd64", digests=(("sha256", HEX),)),
            {DIGEST, "docker.io/library/debian", "docker.io/library/debian:bookworm"},
        ),
        (
            Resource(uri=f"pkg:docker/ghcr.io/acme/base@1.2?digest={DIGEST}"),
            {DIGEST, "ghcr.io/acme/base", "ghcr.io/acme/base:1.2"},
        ),
        (
            Resource(uri=f"pkg:oci/base@sha256%3A{HEX}?repository_url=ghcr.io/acme/base&tag=7"),
            {DIGEST, "ghcr.io/acme/base", "ghcr.io/acme/base:7"},
        ),
        (Resource(uri=f"pkg:oci/base@{DIGEST}?repository_url=ghcr.io/acme"), {DIGEST, "ghcr.io/acme/base"}),
        (
            Resource(uri=f"docker-image://docker.io/library/alpine:3.20@{DIGEST}"),
            {DIGEST, "docker.io/library/alpine", "docker.io/library/alpine:3.20"},
        ),
        (
            Resource(uri="oci://gcr.io/distroless/static", digests=(("sha256", HEX),)),
            {DIGEST, "gcr.io/distroless/static"},
        ),
        (Resource(uri="pkg:npm/left-pad@1.3.0", digests=(("sha256", HEX),)), set()),
        (Resource(uri="https://example.com/archive.tar.gz", digests=(("sha256", HEX),)), set()),
        (Resource(uri="pkg:docker/", digests=(("sha256", HEX),)), set()),
    ],
)
def test_a_material_that_is_an_image_is_a_base(material: Resource, names: set[str]) -> None:
    assert named(BASE, provenance(material)) == names


@pytest.mark.parametrize(
    ("question", "name"),
    [
        (DIGEST, DIGEST),
        ("debian", "docker.io/library/debian"),
        ("debian:bookworm", "docker.io/library/debian:bookworm"),
        (f"ghcr.io/acme/base:1@{DIGEST}", DIGEST),
    ],
)
def test_a_base_is_asked_for_as_people_name_images(question: str, name: str) -> None:
    assert asked(BASE, question) == name


def test_what_names_no_image_is_refused() -> None:
    with pytest.raises(InputError, match="DigestMalformed"):
        asked(BASE, "sha256:12")
    with pytest.raises(InputError, match="ReferenceMalformed"):
        asked(BASE, "Not An Image")


def test_names_that_no_database_can_index_are_left_out() -> None:
    document = provenance(builder="b" * (MAX_NAME + 1), source=Source("https://example.com/a\0b"))
    assert of_provenance(document) == ()
