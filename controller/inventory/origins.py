"""The names under which builders, sources and base images are looked up, as documents write them and as people ask.

One thing has several names (a repository with and without a scheme, a workflow with and without its reference, an image
by digest, by name, by name and tag). Each is written down in one form, and a question is brought into the same form.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controller.documents import git, purls
from controller.errors import InputError
from controller.model.documents import Provenance, Resource
from controller.model.reference import Digest, Reference

BUILDER, SOURCE, BASE, SYSTEM = "builder", "source", "base", "os"
MAX_NAME = 1000  # bytes of one name: PostgreSQL indexes no longer text
_IMAGES = frozenset({"oci", "docker"})
_SCHEMES = ("docker-image://", "oci://", "docker://")

Name = tuple[str, str]
"""What it is (`builder`, `source`, `base`) and its name."""


def of_provenance(provenance: Provenance) -> tuple[Name, ...]:
    """All names of what an image was built by and from, each once, in order."""
    found: list[Name] = [(BUILDER, name) for name in builder_names(provenance.builder_id)]
    if provenance.source is not None:
        found += [(SOURCE, name) for name in source_names(provenance.source.repository, provenance.source.commit)]
    for material in provenance.materials:
        found += _of_material(material)
    return tuple(_storable(found))


def builder_names(builder: str) -> Iterator[str]:
    """A builder's id; one that is a workflow at a reference also without that."""
    if builder:
        yield builder
        workflow, at, _ = builder.rpartition("@refs/")
        if at:
            yield workflow


def source_names(repository: str, commit: str) -> Iterator[str]:
    """A repository, a commit, and the commit in the repository."""
    name = repository_name(repository)
    if name:
        yield name
    if commit:
        yield commit.lower()
    if name and commit:
        yield f"{name}@{commit.lower()}"


def repository_name(repository: str) -> str:
    """A source repository without scheme, user, `.git` and what else does not tell it from another."""
    source = git.source(repository.strip(), ())
    if source is None:
        return ""
    name = source.repository.partition("://")[2] or source.repository
    host, slash, path = name.rstrip("/").partition("/")
    return f"{host.lower()}{slash}{path.removesuffix('.git')}"


def image_names(reference: str, digest: str = "") -> Iterator[str]:
    """A base image by its digest, its name, and its name with the tag; nothing for what is no image's name."""
    try:
        parsed = Reference.parse(reference)
    except InputError:
        if digest:
            yield digest
        return
    digest = digest or str(parsed.digest or "")
    if digest:
        yield digest
    yield parsed.name
    if parsed.tag and f":{parsed.tag}" in reference:
        yield f"{parsed.name}:{parsed.tag}"


def base_names(reference: str, digest: str) -> list[str]:
    """All names of a base image that is claimed by its name, its digest or both, as `document_trace` has them."""
    return [name for _, name in _storable((BASE, name) for name in image_names(reference, digest))]


def asked(kind: str, text: str) -> str:
    """The name that a question means. Raises `InputError` (`DigestMalformed`, `ReferenceMalformed`)."""
    if kind == SOURCE:
        repository, at, commit = text.strip().rpartition("@")
        if at and "/" not in commit:
            return f"{repository_name(repository)}@{commit.lower()}"
        return repository_name(text) if "/" in text else text.strip().lower()
    if kind == BASE:
        if text.startswith("sha256:"):
            return str(Digest.parse(text))
        parsed = Reference.parse(text)
        if parsed.digest is not None:
            return str(parsed.digest)
        return f"{parsed.name}:{parsed.tag}" if text.endswith(f":{parsed.tag}") else parsed.name
    return text


def _of_material(material: Resource) -> Iterator[Name]:
    """A base image by its purl or reference, or a repository that the build read."""
    digest = next((f"sha256:{value.lower()}" for algorithm, value in material.digests if algorithm == "sha256"), "")
    uri = material.uri
    if uri.startswith("pkg:"):
        yield from ((BASE, name) for name in _of_purl(uri, digest))
    elif (scheme := next((each for each in _SCHEMES if uri.startswith(each)), "")) or (digest and "@sha256:" in uri):
        yield from ((BASE, name) for name in image_names(uri.removeprefix(scheme), digest))
    elif uri.startswith("git+") or any(algorithm in {"gitCommit", "sha1"} for algorithm, _ in material.digests):
        source = git.source(uri, material.digests)
        if source is not None:
            yield from ((SOURCE, name) for name in source_names(source.repository, source.commit))


def _of_purl(uri: str, digest: str) -> Iterator[str]:
    try:
        purl = purls.parse(uri)
    except ValueError:
        return
    if purl.type not in _IMAGES:
        return
    in_purl = purl.version if purl.version.startswith("sha256:") else purl.qualifier("digest")
    digest = digest or (in_purl if in_purl.startswith("sha256:") else "")
    path = f"{purl.namespace}/{purl.name}" if purl.namespace else purl.name
    repository = purl.qualifier("repository_url").partition("://")[2] or purl.qualifier("repository_url")
    if repository and purl.type == "oci":
        path = repository if repository.rpartition("/")[2].lower() == purl.name else f"{repository}/{purl.name}"
    elif repository:
        path = f"{repository}/{path}"
    tag = purl.qualifier("tag") or ("" if purl.version.startswith("sha256:") else purl.version)
    yield from image_names(f"{path}:{tag}" if tag else path, digest)


def _storable(names: Iterable[Name]) -> list[Name]:
    """Without what no database can index; each once."""
    return [(kind, name) for kind, name in dict.fromkeys(names) if name and "\0" not in name and _fits(name)]


def _fits(name: str) -> bool:
    return len(name.encode()) <= MAX_NAME
