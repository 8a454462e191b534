"""What images say of themselves, out of the leaf of a decision: on which base image they were built, for which system.

Each is bound by the image's digest and signed by nobody. So it stands in a table of its own, apart from what proofs
lead to (`tracing`) and from what attested documents say (`index`): nothing that is claimed stands under a verified name
(guarantee 5). Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.inventory.origins import BASE, SYSTEM, base_names
from controller.inventory.recording.fields import required, text
from controller.model.bases import BASE_DIGEST, BASE_NAME

ANNOTATION, LABEL, CONFIGURATION = "annotation", "label", "configuration"
"""Where it is said: an annotation of a manifest, or of an index about it; a label or a field of a configuration."""

Row = dict[str, Any]


def claims(leaf: Mapping[str, Any], digests: Sequence[str | None], here: str) -> Iterator[Row]:
    """The claims of a decision's images, whose digests these are. `artifact` names the bytes that say it.

    Raises what a malformed leaf raises: `KeyError`, `TypeError`, `ValueError`, `AttributeError`.
    """
    for position, image in enumerate(leaf["images"]):
        if image["digest"] is not None:
            for base in image.get("bases", ()):
                names = base_names(text(base.get("name")), text(base.get("digest")))
                # An index names whatever manifests its author likes: what it says is known where it was met alone.
                namespace = here if image.get("manifests") else ""
                judged = _judged(digests[position], required(base["manifest"]))
                yield from _rows(BASE, names, ANNOTATION, judged, by=image["digest"], namespace=namespace)
    for evaluation in leaf["evaluations"]:
        if digests[evaluation["image"]] is not None:
            namespace = text(evaluation["policy"]["namespace"])
            for config in evaluation.get("used", {}).get("configs", ()):
                judged = _judged(digests[evaluation["image"]], required(config["manifest"]))
                yield from _of_config(config, judged, namespace)


def _judged(digest: str | None, manifest: str) -> Row:
    """The image that was judged, and which manifest of it a claim is about."""
    return {"digest": digest, "child": manifest if manifest != digest else ""}


def _of_config(config: Mapping[str, Any], judged: Row, namespace: str) -> Iterator[Row]:
    manifest, own = config["manifest"], config["digest"]
    for source, by in ((ANNOTATION, manifest), (LABEL, own)):
        told = config.get(f"{source}s", {})
        names = base_names(text(told.get(BASE_NAME)), text(told.get(BASE_DIGEST)))
        yield from _rows(BASE, names, source, judged, by=by, namespace=namespace)
    system = " ".join(word for name in ("os", "osVersion") if (word := text(config.get(name))))
    yield from _rows(SYSTEM, [system] if system else [], CONFIGURATION, judged, by=own, namespace=namespace)


def _rows(kind: str, values: Sequence[str], source: str, judged: Row, *, by: Any, namespace: str) -> Iterator[Row]:
    for value in values:
        yield {
            "kind": kind,
            "value": value,
            **judged,
            "source": source,
            "artifact": required(by),
            "policy_namespace": namespace,
        }
