"""Git sources as provenance writes them: one URI for repository and reference, the commit beside it."""

from __future__ import annotations

from controller.model.documents import Digests, Source


def source(uri: str, digests: Digests) -> Source | None:
    """The source that a URI names; None for an empty one.

    `git+https://host/path@ref` is SPDX's form (2.3, 7.7); `https://host/path.git#ref:folder` is BuildKit's. A user and
    password in the URI are left out: provenance is shown to people.
    """
    if not uri:
        return None
    repository, _, fragment = uri.removeprefix("git+").partition("#")
    scheme, separator, rest = repository.partition("://")
    if not separator:
        return Source(repository, commit=_commit(digests))
    host, slash, path = rest.partition("/")
    host = host.rpartition("@")[2]
    path, _, ref = path.partition("@")  # the first one: a tag may be called @scope/package@1.0
    if not ref and not uri.startswith("git+"):
        ref = fragment.partition(":")[0]
    return Source(f"{scheme}://{host}{slash}{path}", ref, _commit(digests))


def _commit(digests: Digests) -> str:
    by_algorithm = dict(digests)
    return by_algorithm.get("gitCommit") or by_algorithm.get("sha1") or ""
