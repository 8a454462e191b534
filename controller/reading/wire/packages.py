"""The JSON of searches for packages, and of lists of components."""

from __future__ import annotations

from pydantic import Field

from controller.reading.wire.base import Asked, InNamespace, Moment, Paged, Shown, Text


class _Seen(InNamespace, Paged, Asked):
    """Parameters of a question about what runs and what its documents say."""

    cluster: Text | None = Field(None, description="Only of this cluster.")
    unverified: bool = Field(False, description="Documents that nobody was found to vouch for as well, marked.")


class PackagesAsked(_Seen):
    """Which package, in which versions, and where to look."""

    purl: Text = Field(description="Type, namespace and name: pkg:maven/org.apache.logging.log4j/log4j-core.")
    versions: Text = Field("", description="<2.17.1, >=1,<2, or vers:…; default: all.")
    ever: bool = Field(False, description="Whatever ran at any time, not only then.")


class ComponentsAsked(_Seen):
    """Whose components."""

    digest: Text | None = Field(None, description="Of this image (sha256:…), whether it runs or not.")


class BomAsked(InNamespace, Asked):
    """Of what one merged SBOM is made."""

    cluster: Text | None = Field(None, description="Only of this cluster.")
    digest: Text | None = Field(None, description="Of this image (sha256:…), whether it runs or not.")
    unverified: bool = Field(False, description="Documents that nobody was found to vouch for as well.")


class PackageRun(Shown):
    """One component of one run that matches, and the document that says so."""

    cluster: str
    namespace: str
    pod: str
    container: str
    owner: str
    reference: str
    digest: str
    started_at: Moment
    ended_at: Moment | None
    purl: str
    name: str
    version: str | None
    verified: bool
    code: str
    artifact: str
    signed_at: Moment | None
    recorded_at: Moment
    known_then: bool


class PackagePage(Shown):
    """Matches, of the run that started last first."""

    items: list[PackageRun]
    cursor: str | None


class ComponentRecord(Shown):
    """One component, and how many of the images that are asked about list it."""

    hash: str
    type: str
    name: str
    version: str | None
    purl: str
    licenses: list[str]
    supplier: str
    cpe: str
    images: int
    verified: bool


class ComponentPage(Shown):
    """Components, by package. The first page tells of how many images, and from which documents."""

    items: list[ComponentRecord]
    cursor: str | None
    images: int | None
    described: int | None
    documents: list[str]
