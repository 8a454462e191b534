"""An OCI layout on disk answers as a registry does, and is believed as little."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from controller.errors import ConfigurationError, LimitExceeded, NotFound, Unacceptable
from controller.model.access import ANONYMOUS
from controller.model.deadline import Deadline
from controller.model.evidence import Artifact, ArtifactKind
from controller.registry.layout import OciLayout
from controller.settings import RegistrySettings
from tests.contract.registry_servers.clients import NOW, client, ref, soon
from tests.contract.registry_servers.scripted import BUNDLE, OCI_INDEX, OCI_MANIFEST, ScriptedRegistry, digest_of

APP = "acme/app"


async def write_layout(server: ScriptedRegistry, folder: Path) -> Path:
    """What a registry holds, as a layout: its manifests listed by digest and, where they have one, by tag."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    entries = []
    for (repository, name), (content, media_type) in server.manifests.items():
        digest = digest_of(content)
        (blobs / digest.removeprefix("sha256:")).write_bytes(content)
        entry = {"mediaType": media_type, "digest": digest, "size": len(content)}
        if ":" not in name:
            entry["annotations"] = {"org.opencontainers.image.ref.name": f"{repository}:{name}"}
        entries.append(entry)
    for digest, content in server.blobs.items():
        (blobs / digest.removeprefix("sha256:")).write_bytes(content)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))
    return folder


async def signed(folder: Path) -> tuple[Path, str, tuple[Artifact, ...]]:
    """A layout with one signed image, the image's digest, and what a registry of the same content would give."""
    async with ScriptedRegistry(referrers=False) as server, client() as registry:
        digest = server.put_image(APP, "1.0")
        server.put_image(APP, "2.0", mark="other")
        server.put_referrer(APP, digest, b"bundle")
        server.put_signature(APP, digest, b"payload", {"dev.cosignproject.cosign/signature": "one"})
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
        return await write_layout(server, folder), digest, evidence.artifacts


def opened(folder: Path, **settings: int) -> OciLayout:
    return OciLayout(folder, RegistrySettings(**settings), clock=lambda: NOW)


async def test_a_layout_gives_the_same_evidence_as_a_registry(tmp_path: Path) -> None:
    folder, digest, artifacts = await signed(tmp_path / "layout")
    layout = opened(folder)
    for reference in (f"ghcr.io/{APP}:1.0", f"ghcr.io/{APP}@{digest}"):
        image = await layout.resolve(ref(reference), access=ANONYMOUS, deadline=soon())
        evidence = await layout.discover(image, access=ANONYMOUS, deadline=soon())
        assert (str(image.digest), image.media_type) == (digest, OCI_MANIFEST)
        assert (evidence.artifacts, evidence.problems) == (artifacts, ())
        assert (evidence.repository, evidence.fetched_at) == (f"ghcr.io/{APP}", NOW)
    other = await layout.resolve(ref(f"ghcr.io/{APP}:2.0"), access=ANONYMOUS, deadline=soon())
    assert (await layout.discover(other, access=ANONYMOUS, deadline=soon())).artifacts == ()


async def test_what_cosign_saved_of_one_image_is_found_and_of_several_is_refused(tmp_path: Path) -> None:
    folder, digest, _ = await signed(tmp_path / "layout")
    index = json.loads((folder / "index.json").read_bytes())
    tag = f"{APP}:{digest.replace(':', '-')}.sig"
    for entry in index["manifests"]:
        if entry.get("annotations", {}).pop("org.opencontainers.image.ref.name", None) == tag:
            entry["annotations"] = {"kind": "dev.cosignproject.cosign/sigs"}
            saved = entry
    (folder / "index.json").write_text(json.dumps(index))
    image = await opened(folder).resolve(ref(f"ghcr.io/{APP}@{digest}"), access=ANONYMOUS, deadline=soon())
    found = await opened(folder).discover(image, access=ANONYMOUS, deadline=soon())
    assert ArtifactKind.COSIGN_SIGNATURE in {artifact.kind for artifact in found.artifacts}
    index["manifests"].append(saved)
    (folder / "index.json").write_text(json.dumps(index))
    several = await opened(folder).discover(image, access=ANONYMOUS, deadline=soon())
    assert ArtifactKind.COSIGN_SIGNATURE not in {artifact.kind for artifact in several.artifacts}
    assert "LayoutAmbiguous" in {problem.code for problem in several.problems}


async def test_a_referrer_is_found_by_its_subject_alone(tmp_path: Path) -> None:
    folder, digest, _ = await signed(tmp_path / "layout")
    index = json.loads((folder / "index.json").read_bytes())
    for entry in index["manifests"]:
        entry.get("annotations", {}).pop("org.opencontainers.image.ref.name", None)
    (folder / "index.json").write_text(json.dumps(index))
    layout = opened(folder)
    image = await layout.resolve(ref(f"ghcr.io/{APP}@{digest}"), access=ANONYMOUS, deadline=soon())
    evidence = await layout.discover(image, access=ANONYMOUS, deadline=soon())
    assert [(found.kind, found.media_type) for found in evidence.artifacts] == [(ArtifactKind.BUNDLE, BUNDLE)]


async def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    folder, _, _ = await signed(tmp_path / "layout")
    for absent in (f"ghcr.io/{APP}:3.0", "ghcr.io/acme/other:1.0", f"ghcr.io/{APP}@sha256:{'0' * 64}"):
        with pytest.raises(NotFound):
            await opened(folder).resolve(ref(absent), access=ANONYMOUS, deadline=soon())


@pytest.mark.guarantee(3)
async def test_changed_content_is_never_taken(tmp_path: Path) -> None:
    folder, digest, artifacts = await signed(tmp_path / "layout")
    (folder / "blobs" / "sha256" / artifacts[0].digest.hex).write_bytes(b"BUNDLE")
    layout = opened(folder)
    image = await layout.resolve(ref(f"ghcr.io/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
    evidence = await layout.discover(image, access=ANONYMOUS, deadline=soon())
    assert artifacts[0].digest not in {found.digest for found in evidence.artifacts}
    assert "DigestMismatch" in {problem.code for problem in evidence.problems}
    (folder / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(b"{}")
    with pytest.raises(Unacceptable, match="DigestMismatch"):
        await layout.resolve(ref(f"ghcr.io/{APP}:1.0"), access=ANONYMOUS, deadline=soon())


@pytest.mark.guarantee(10)
async def test_the_bounds_of_a_registry_hold(tmp_path: Path) -> None:
    folder, _, _ = await signed(tmp_path / "layout")
    layout = opened(folder, registry_max_referrers=1)
    image = await layout.resolve(ref(f"ghcr.io/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
    with pytest.raises(LimitExceeded, match="registry_max_referrers"):
        await layout.discover(image, access=ANONYMOUS, deadline=soon())
    with pytest.raises(ConfigurationError, match="registry_max_manifest_bytes"):
        opened(folder, registry_max_manifest_bytes=100)
    with pytest.raises(Exception, match="DeadlineExceeded"):
        await layout.resolve(ref(f"ghcr.io/{APP}:1.0"), access=ANONYMOUS, deadline=Deadline.after(-1))


async def test_an_artefact_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    folder, digest, _ = await signed(tmp_path / "layout")
    index = json.loads((folder / "index.json").read_bytes())
    index["manifests"].append({"mediaType": OCI_MANIFEST, "digest": f"sha256:{'1' * 64}", "size": 5})
    (folder / "index.json").write_text(json.dumps(index))
    layout = opened(folder)
    image = await layout.resolve(ref(f"ghcr.io/{APP}@{digest}"), access=ANONYMOUS, deadline=soon())
    evidence = await layout.discover(image, access=ANONYMOUS, deadline=soon())
    assert [problem.code for problem in evidence.problems] == ["NotFound"]


def test_a_folder_that_is_no_layout_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "index.json").write_text("{}")
    for folder in (tmp_path / "none", tmp_path, tmp_path / "broken"):
        with pytest.raises(ConfigurationError, match="LayoutUnreadable"):
            opened(folder)
    shutil.rmtree(tmp_path / "broken")
