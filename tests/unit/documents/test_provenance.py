"""Provenance of three versions has one form, and says nothing that its builder did not say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controller.documents import git
from controller.errors import LimitExceeded, Unacceptable
from controller.model.documents import Resource, Source
from tests.unit.documents.predicates import PREDICATES, load, parse

V0_1, V0_2, V1 = (f"https://slsa.dev/provenance/{version}" for version in ("v0.1", "v0.2", "v1"))
COMMIT = "4f1c2a9be5d0873c6a41f7de90b5382cd17e6a04"


def github(**definition: Any) -> dict[str, Any]:
    """Provenance of GitHub's workflow build type, with other fields in its build definition."""
    document = load("slsa-1", PREDICATES)
    document["buildDefinition"] |= definition
    return document


def test_version_1_in_one_form() -> None:
    found = parse(V1, github())
    assert found.builder_id == "https://github.com/actions/runner/github-hosted"
    assert found.build_type == "https://actions.github.io/buildtypes/workflow/v1"
    assert found.source == Source("https://github.com/acme/app", "refs/tags/v1.0.0", COMMIT)
    assert found.parameters["workflow"]["path"] == ".github/workflows/release.yml"
    assert found.materials == (
        Resource(uri="git+https://github.com/acme/app@refs/tags/v1.0.0", digests=(("gitCommit", COMMIT),)),
    )
    assert found.invocation_id == "https://github.com/acme/app/actions/runs/1234567890/attempts/1"
    assert found.started_at == datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
    assert (found.spec_version, found.slsa_level) == ("1", 1)


def test_version_0_2_in_the_same_form() -> None:
    found = parse(V0_2, load("slsa-0.2", PREDICATES))
    assert found.builder_id.endswith("generator_container_slsa3.yml@refs/tags/v2.0.0")
    assert found.source == Source("https://github.com/acme/app", "refs/tags/v1.0.0", COMMIT)
    assert (found.invocation_id, found.parameters, found.slsa_level) == ("1234567890-1", {}, 1)


def test_version_0_1_in_the_same_form() -> None:
    found = parse(V0_1, load("slsa-0.1"))
    commit = "d6525c840a62b398424a78d792f457477135d0cf"
    assert found.source == Source("https://github.com/curl/curl-docker", "master", commit)
    assert found.materials[1] == Resource(uri="github_hosted_vm:ubuntu-18.04:20210123.1")
    assert (found.spec_version, found.invocation_id, found.parameters) == ("0.1", "1144441", None)


def test_what_buildkit_leaves_empty_stays_missing_and_proves_no_level() -> None:
    found = parse(V0_2, load("slsa-0.2-buildkit"))
    assert found.source == Source("https://github.com/acme/app.git", "refs/heads/main", COMMIT)
    assert (found.builder_id, found.slsa_level, found.finished_at) == ("", 0, None)
    assert found.invocation_id == "rpv7a389uzil5lqmrgwhijwjz"


def test_the_source_of_google_cloud_build() -> None:
    found = parse(V1, load("slsa-1-cloud-build"))
    assert found.source == Source("https://github.com/acme/app", "refs/heads/main", COMMIT)
    assert len(found.materials) == 2


def test_the_source_of_an_unknown_build_type_is_not_guessed() -> None:
    assert parse(V1, github(buildType="https://example.com/anything@v1")).source is None


@pytest.mark.parametrize(
    "dependencies",
    [
        pytest.param([], id="none"),
        pytest.param([{"uri": "git+https://github.com/acme/app@refs/tags/v1.0.0"}], id="no digest"),
        pytest.param(
            [{"uri": "git+https://github.com/mallory/app@refs/tags/v1.0.0", "digest": {"gitCommit": COMMIT}}],
            id="another repository",
        ),
        pytest.param(
            [{"uri": "git+https://github.com/acme/app@refs/heads/main", "digest": {"gitCommit": COMMIT}}],
            id="another reference",
        ),
        pytest.param(
            [{"uri": "git+https://github.com/acme/app", "digest": {"gitCommit": c * 40}} for c in "ab"],
            id="two commits",
        ),
    ],
)
def test_a_commit_that_is_not_the_sources_own_stays_missing(dependencies: list[Any]) -> None:
    source = parse(V1, github(resolvedDependencies=dependencies)).source
    assert source == Source("https://github.com/acme/app", "refs/tags/v1.0.0", "")


def test_a_level_that_a_document_claims_is_not_believed() -> None:
    document = load("slsa-1", PREDICATES)
    document["slsaLevel"] = document["runDetails"]["slsa_level"] = 3
    assert parse(V1, document).slsa_level == 1
    document["buildDefinition"]["buildType"] = ""
    assert parse(V1, document).slsa_level == 0


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (
            "git+https://github.com/a/b@refs/tags/@scope/c@1.0",
            Source("https://github.com/a/b", "refs/tags/@scope/c@1.0"),
        ),
        ("git+ssh://git@host/a/b.git@main#sub", Source("ssh://host/a/b.git", "main")),
        ("https://user:secret@host/a.git#main:folder", Source("https://host/a.git", "main")),
        ("https://host/a", Source("https://host/a")),
        ("git+https://host/a#folder", Source("https://host/a")),
        ("github_hosted_vm:1", Source("github_hosted_vm:1")),
        ("", None),
    ],
)
def test_git_uris_are_taken_apart_and_lose_their_secrets(uri: str, expected: Source | None) -> None:
    assert git.source(uri, ()) == expected


@pytest.mark.parametrize(
    ("type_", "document"),
    [
        (V1, {}),
        (V1, {"buildDefinition": {}, "runDetails": {}}),
        (V1, {"buildDefinition": [], "runDetails": {"builder": {}}}),
        (V1, github(externalParameters=[])),
        (V1, github(resolvedDependencies=[{"digest": {"sha256": 1}}])),
        (V1, load("slsa-0.2", PREDICATES)),
        (V0_2, github()),
        (V0_2, {"builder": {"id": 1}}),
        (V0_2, {"builder": {}, "metadata": {"buildStartedOn": "soon"}}),
        (V0_2, {"builder": {}, "materials": {}}),
        (V0_1, {"builder": {}, "recipe": {"definedInMaterial": 0}}),
        (V0_1, {"builder": {}, "recipe": {"definedInMaterial": -1}, "materials": [{}]}),
        (V0_1, {"builder": {}, "recipe": {"definedInMaterial": True}, "materials": [{}, {}]}),
    ],
)
def test_malformed_provenance_is_an_error(type_: str, document: Any) -> None:
    with pytest.raises(Unacceptable) as raised:
        parse(type_, document)
    assert raised.value.code == "DocumentMalformed"


@pytest.mark.guarantee(10)
def test_materials_are_bounded() -> None:
    with pytest.raises(LimitExceeded) as raised:
        parse(V1, github(resolvedDependencies=[{}] * 11), document_max_components=10)
    assert raised.value.setting == "document_max_components"


@pytest.mark.parametrize("type_", ["https://slsa.dev/provenance", "https://slsa.dev/provenance/v2"])
def test_a_version_that_is_not_read_has_no_normal_form(type_: str) -> None:
    assert parse(type_, github()) is None
