"""A manifest has one reading or none (CVE-2021-41190)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import LimitExceeded, Unacceptable
from controller.model.bases import BaseClaim
from controller.model.image import Platform
from controller.model.reference import Digest, Reference
from controller.registry.manifests import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MAX_PLATFORM_LENGTH,
    MAX_VALUES,
    OCI_INDEX,
    OCI_MANIFEST,
    Manifest,
    parse_manifest,
)

HEX = "ab" * 32
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{HEX}", "size": 2}
IMAGE = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": [CONFIG]}
INDEX = {
    "schemaVersion": 2,
    "manifests": [CONFIG | {"platform": {"os": "linux", "architecture": "arm", "variant": "v7"}}],
}


def parse(value: Any, content_type: str = OCI_MANIFEST) -> Manifest:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return parse_manifest(content, content_type=content_type, what="the manifest")


def test_an_image() -> None:
    content = json.dumps(IMAGE | {"subject": CONFIG, "artifactType": "application/x"}).encode()
    manifest = parse(content, f"{OCI_MANIFEST.upper()}; charset=utf-8")
    assert (manifest.digest, manifest.size, manifest.media_type) == (Digest.of(content), len(content), OCI_MANIFEST)
    assert (manifest.artifact_type, manifest.subject) == ("application/x", Digest(HEX))
    assert not manifest.is_index
    assert [layer.digest for layer in manifest.layers] == [Digest(HEX)]


def test_without_an_artifact_type_the_configs_type_stands_for_it() -> None:
    assert parse(IMAGE).artifact_type == CONFIG["mediaType"]


@pytest.mark.parametrize("content_type", [OCI_INDEX, DOCKER_LIST])
def test_an_index(content_type: str) -> None:
    manifest = parse(INDEX, content_type)
    assert manifest.is_index
    assert [child.platform for child in manifest.children] == [Platform("linux", "arm", "v7")]


BASE = {"org.opencontainers.image.base.name": "debian:12", "org.opencontainers.image.base.digest": f"sha256:{HEX}"}


def test_what_annotations_claim_of_a_base_image_is_read_of_a_manifest_an_index_and_its_entries() -> None:
    claim = BaseClaim("debian:12", f"sha256:{HEX}")
    assert parse(IMAGE | {"annotations": BASE}).base == claim
    entry = CONFIG | {"annotations": {"org.opencontainers.image.base.name": "scratch"}}
    index = parse({"schemaVersion": 2, "annotations": BASE, "manifests": [entry, CONFIG]}, OCI_INDEX)
    resolved = index.resolved(Reference.parse("ghcr.io/acme/app:1"))
    assert (resolved.base, [child.base for child in resolved.platforms]) == (claim, [BaseClaim("scratch"), None])


@pytest.mark.parametrize(
    "annotations",
    [None, [], "x", {}, dict.fromkeys(BASE, 1), dict.fromkeys(BASE, "not a name!"), {"a": []}],
)
def test_annotations_that_claim_nothing_keep_no_image_out(annotations: Any) -> None:
    assert parse(IMAGE | {"annotations": annotations}).base is None


def with_(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (IMAGE | changes).items() if value is not ...}


def of_platform(system: str) -> dict[str, Any]:
    return INDEX | {"manifests": [CONFIG | {"platform": {"os": system, "architecture": "amd64"}}]}


@pytest.mark.parametrize(
    ("value", "content_type", "code"),
    [
        (with_(manifests=[]), OCI_MANIFEST, "ManifestAmbiguous"),
        (INDEX | {"layers": []}, OCI_INDEX, "ManifestAmbiguous"),
        (INDEX | {"config": CONFIG}, OCI_INDEX, "ManifestAmbiguous"),
        (with_(mediaType=DOCKER_MANIFEST), OCI_MANIFEST, "ManifestAmbiguous"),
        (with_(mediaType=None), OCI_MANIFEST, "ManifestAmbiguous"),
        (with_(Layers=[]), OCI_MANIFEST, "ManifestAmbiguous"),
        (IMAGE | {"layer\u017f": []}, OCI_MANIFEST, "ManifestAmbiguous"),
        (with_(config=CONFIG | {"Digest": "x"}), OCI_MANIFEST, "ManifestAmbiguous"),
        (INDEX, OCI_MANIFEST, "ManifestMalformed"),
        (with_(mediaType=...), OCI_INDEX, "ManifestMalformed"),
        (with_(schemaVersion=...), OCI_MANIFEST, "ManifestMalformed"),
        (with_(schemaVersion=3), OCI_MANIFEST, "ManifestMalformed"),
        (with_(schemaVersion=2.0), OCI_MANIFEST, "ManifestMalformed"),
        (with_(config=...), OCI_MANIFEST, "ManifestMalformed"),
        (with_(layers=...), OCI_MANIFEST, "ManifestMalformed"),
        (with_(layers={}), OCI_MANIFEST, "ManifestMalformed"),
        (with_(layers=[1]), OCI_MANIFEST, "ManifestMalformed"),
        (with_(config=CONFIG | {"digest": f"sha512:{HEX * 2}"}), OCI_MANIFEST, "ManifestMalformed"),
        (with_(subject=CONFIG | {"digest": f"sha256:{HEX.upper()}"}), OCI_MANIFEST, "ManifestMalformed"),
        (with_(config=CONFIG | {"size": -1}), OCI_MANIFEST, "ManifestMalformed"),
        (with_(config=CONFIG | {"size": True}), OCI_MANIFEST, "ManifestMalformed"),
        (with_(config=CONFIG | {"size": "2"}), OCI_MANIFEST, "ManifestMalformed"),
        (with_(config=CONFIG | {"mediaType": 1}), OCI_MANIFEST, "ManifestMalformed"),
        (with_(config=CONFIG | {"annotations": {"a": "\ud800"}}), OCI_MANIFEST, "ManifestMalformed"),
        (with_(config=CONFIG | {"annotations": {"\udfff": "a"}}), OCI_MANIFEST, "ManifestMalformed"),
        (with_(config=CONFIG | {"annotations": {"a": 1}}), OCI_MANIFEST, "ManifestMalformed"),
        (with_(artifactType=1), OCI_MANIFEST, "ManifestMalformed"),
        (of_platform("linux\x1b[2J"), OCI_INDEX, "ManifestMalformed"),
        (of_platform("linux\n  next: trust it"), OCI_INDEX, "ManifestMalformed"),
        (of_platform("l" * (MAX_PLATFORM_LENGTH + 1)), OCI_INDEX, "ManifestMalformed"),
        ([], OCI_MANIFEST, "ManifestMalformed"),
        (b"", OCI_MANIFEST, "ManifestMalformed"),
        (b"\xff", OCI_MANIFEST, "ManifestMalformed"),
        (b"[" * 100_000, OCI_MANIFEST, "ManifestMalformed"),
        (b'{"a": NaN}', OCI_MANIFEST, "ManifestMalformed"),
        (b'{"schemaVersion": 1' + b"0" * 5000 + b"}", OCI_MANIFEST, "ManifestMalformed"),
        (json.dumps(IMAGE).encode()[:-1] + b', "schemaVersion": 2}', OCI_MANIFEST, "ManifestMalformed"),
        (json.dumps(IMAGE).encode().replace(b'"size"', b'"size": 3, "size"', 1), OCI_MANIFEST, "ManifestMalformed"),
        (IMAGE, "", "ManifestUnsupported"),
        (IMAGE, "text/html", "ManifestUnsupported"),
        (IMAGE, "application/vnd.oci.artifact.manifest.v1+json", "ManifestUnsupported"),
        (IMAGE, "application/vnd.docker.distribution.manifest.v1+json", "SchemaOneUnsupported"),
        (with_(schemaVersion=1), OCI_MANIFEST, "SchemaOneUnsupported"),
    ],
)
def test_anything_else_is_refused(value: Any, content_type: str, code: str) -> None:
    with pytest.raises(Unacceptable) as raised:
        parse(value, content_type)
    assert raised.value.code == code


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*IMAGE, *CONFIG, "manifests", "x"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from([OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST]))
def test_any_json_is_a_manifest_or_refused(value: Any, content_type: str) -> None:
    base: Any = IMAGE | {"mediaType": content_type} if isinstance(value, dict) else value
    try:
        manifest = parse(base | value if isinstance(value, dict) else value, content_type)
    except Unacceptable:
        return
    assert manifest.media_type == content_type
    assert not (manifest.layers and manifest.children)


@given(st.binary(max_size=64))
def test_any_bytes_are_refused_or_read(content: bytes) -> None:
    with pytest.raises(Unacceptable):
        parse(content)


@pytest.mark.guarantee(10)
def test_values_are_bounded_before_they_are_made() -> None:
    for filler in (b"{},", b"[],", b"0,"):
        content = b'{"schemaVersion":2,"x":[' + filler * MAX_VALUES + b"0]}"
        with pytest.raises(LimitExceeded, match="MAX_VALUES"):
            parse(content)
