"""`provenances`: where and how the image was built, as its verified SLSA provenance says."""

from __future__ import annotations

from typing import Any

from controller.model.documents import Digests, Provenance, Resource, Source
from controller.policy.cel.values import register_record


def present(**fields: Any) -> dict[str, Any]:
    """The fields that say something: what a document leaves out stays missing, so that nothing is compared with it."""
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def _provenance(provenance: Provenance) -> dict[str, Any]:
    return present(
        specVersion=provenance.spec_version,
        builder=provenance.builder_id,
        buildType=provenance.build_type,
        source=provenance.source,
        materials=provenance.materials,
        parameters=provenance.parameters,
        invocation=provenance.invocation_id,
        startedOn=provenance.started_at,
        finishedOn=provenance.finished_at,
        slsaLevel=provenance.slsa_level,
    )


def _source(source: Source) -> dict[str, Any]:
    return present(repository=source.repository, ref=source.ref, commit=source.commit)


def _material(resource: Resource) -> dict[str, Any]:
    return present(uri=resource.uri, name=resource.name) | {"digest": _digest(resource.digests)}


def _digest(digests: Digests) -> dict[str, str]:
    return dict(digests)


register_record(Provenance, _provenance)
register_record(Source, _source)
register_record(Resource, _material)
