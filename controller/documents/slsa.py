"""SLSA provenance 0.1, 0.2 and 1 into one form (https://slsa.dev/spec/v1.0/provenance, …/v0.2, …/v0.1).

What a document proves by itself ends at build level 1: that the provenance exists and says who built, by which process.
Level 2 (a hosted platform signed it) and 3 (nobody but the platform could have written it) are properties of the signer
and of the platform named in `builder_id`; a document that claims them proves nothing. They are for the policy to
conclude from who signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.documents import git
from controller.documents.reading import child, digests, required_child, resources, text, time_of
from controller.documents.unwrap import malformed
from controller.model.documents import Provenance, Resource, Source
from controller.settings import DocumentSettings

Node = Mapping[str, Any]

_GITHUB_WORKFLOW = (
    "https://actions.github.io/buildtypes/workflow/v1",
    "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1",
)
_GOOGLE_CLOUD_BUILD = "https://cloud.google.com/build/gcb-buildtypes/google-worker/v1"
_BUILDKIT = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"

# Build types whose external parameters name repository and reference, by the parameter that does. In any other build
# type a parameter of that name may be something else, so it is not looked at.
_NAMED_SOURCES = {**dict.fromkeys(_GITHUB_WORKFLOW, "workflow"), _GOOGLE_CLOUD_BUILD: "buildConfigSource"}


def parse_0_1(document: Node, limits: DocumentSettings) -> Provenance:
    """Read version 0.1. The source is the material that the recipe says it is defined in.

    Raises `Unacceptable` (`DocumentMalformed`) and `LimitExceeded`, as all of these.
    """
    recipe = child(document, "recipe", "the document")
    materials = resources(document, "materials", "the document", limits.document_max_components)
    return _provenance(
        version="0.1",
        builder=required_child(document, "builder", "the document"),
        build_type=text(recipe, "type", "recipe"),
        source=_defined_in(recipe, materials),
        parameters=recipe.get("arguments"),
        materials=materials,
        metadata=child(document, "metadata", "the document"),
    )


def parse_0_2(document: Node, limits: DocumentSettings) -> Provenance:
    """Read version 0.2. The source is the one of the build's configuration: `invocation.configSource`."""
    invocation = child(document, "invocation", "the document")
    where = "invocation.configSource"
    config = child(invocation, "configSource", "invocation")
    return _provenance(
        version="0.2",
        builder=required_child(document, "builder", "the document"),
        build_type=text(document, "buildType", "the document"),
        source=git.source(text(config, "uri", where), digests(config, "digest", where)),
        parameters=invocation.get("parameters"),
        materials=resources(document, "materials", "the document", limits.document_max_components),
        metadata=child(document, "metadata", "the document"),
    )


def parse_1(document: Node, limits: DocumentSettings) -> Provenance:
    """Read version 1. Where the source is depends on the build type; for an unknown one it stays missing."""
    definition = required_child(document, "buildDefinition", "the document")
    details = required_child(document, "runDetails", "the document")
    parameters = child(definition, "externalParameters", "buildDefinition")
    build_type = text(definition, "buildType", "buildDefinition")
    limit = limits.document_max_components
    dependencies = resources(definition, "resolvedDependencies", "buildDefinition", limit)
    return _provenance(
        version="1",
        builder=required_child(details, "builder", "runDetails"),
        build_type=build_type,
        source=_source(build_type, parameters, dependencies),
        parameters=parameters,
        materials=dependencies,
        metadata=child(details, "metadata", "runDetails"),
    )


def _provenance(
    *,
    version: str,
    builder: Node,
    build_type: str,
    source: Source | None,
    parameters: Any,
    materials: tuple[Resource, ...],
    metadata: Node,
) -> Provenance:
    builder_id = text(builder, "id", "builder")  # BuildKit on nobody's behalf writes an empty one
    start, finish = ("startedOn", "finishedOn") if version == "1" else ("buildStartedOn", "buildFinishedOn")
    return Provenance(
        spec_version=version,
        builder_id=builder_id,
        build_type=build_type,
        source=source,
        parameters=parameters,
        materials=materials,
        invocation_id=_invocation_id(metadata),
        started_at=time_of(metadata, start, "metadata"),
        finished_at=time_of(metadata, finish, "metadata"),
        slsa_level=1 if builder_id and build_type else 0,
    )


def _invocation_id(metadata: Node) -> str:
    """The run. Go's library spells it otherwise than the specification: `buildInvocationID`."""
    names = ("invocationId", "invocationID", "buildInvocationId", "buildInvocationID")
    return next(filter(None, (text(metadata, name, "metadata") for name in names)), "")


def _defined_in(recipe: Node, materials: tuple[Resource, ...]) -> Source | None:
    index = recipe.get("definedInMaterial")
    if index is None:
        return None
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(materials):
        raise malformed("recipe.definedInMaterial is no index of materials")
    return git.source(materials[index].uri, materials[index].digests)


def _source(build_type: str, parameters: Node, dependencies: tuple[Resource, ...]) -> Source | None:
    if build_type in _NAMED_SOURCES:
        name = _NAMED_SOURCES[build_type]
        where = f"externalParameters.{name}"
        named = child(parameters, name, "externalParameters")
        source = git.source(text(named, "repository", where), ())
        if source is None:
            return None
        source = Source(source.repository, source.ref or text(named, "ref", where))
        return Source(source.repository, source.ref, _commit(source, dependencies))
    if build_type == _BUILDKIT:
        where = "externalParameters.configSource"
        config = child(parameters, "configSource", "externalParameters")
        return git.source(text(config, "uri", where), digests(config, "digest", where))
    return None


def _commit(source: Source, dependencies: tuple[Resource, ...]) -> str:
    """The commit that the builder resolved the source to; empty unless it names exactly one."""
    resolved = (git.source(dependency.uri, dependency.digests) for dependency in dependencies)
    commits = {
        found.commit
        for found in resolved
        if found is not None
        and found.repository == source.repository
        and found.ref in {"", source.ref}
        and found.commit
    }
    return commits.pop() if len(commits) == 1 else ""
