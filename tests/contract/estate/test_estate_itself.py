"""The estate: that it has what questions tell apart, and that what is written of it is what the program writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller.inventory.canonical import canonical
from controller.inventory.recording.projecting import Projector, project
from controller.model.bases import BaseClaim
from tests.bench.estate.growing import SHARED, grow
from tests.bench.estate.history import Estate
from tests.bench.estate.leaves import Scribe
from tests.bench.estate.load import leaves, load
from tests.bench.estate.size import BEGIN, Size
from tests.bench.estate.sizes import sizes
from tests.contract.registry_servers.scripted import OCI_MANIFEST, descriptor
from tests.support.asked_estate import DAY, estate, oracle
from tests.support.pipeline import key_authority, running, workflow_authority


def test_the_estate_has_every_state_that_a_question_tells_apart() -> None:
    flags = {flag for decision in estate().decisions for flag in decision.judgement.flags}
    assert flags == {"warn", "audit", "exempt", "break-glass", "stale", "error", "fail-open", "no-match", "softened"}
    admissions = {ran.admission for ran in oracle().runs(as_of=BEGIN + 200 * DAY)} | {
        ran.admission for ran in oracle().runs()
    }
    assert admissions == {"Admitted", "Drifted", "Unadmitted", "Unknown"}
    late = [d for d in estate().decisions if d.recorded_at - d.decided_at > 2 * estate().size.grain]
    assert late
    assert 0.85 < len(estate().runs) / estate().size.runs < 1.15
    assert len(estate().decisions) == estate().size.decisions


def test_the_same_seed_makes_the_same_estate() -> None:
    size = Size.of(0.001, components=20)

    def written(seed: int) -> list[Any]:
        return [group for _, group in leaves(Estate(size, seed=seed), Scribe())]

    assert written(3) == written(3)
    assert written(3) != written(4)


def test_a_leaf_means_the_same_whether_its_judgement_was_met_before_or_not() -> None:
    projector, met = Projector(), set[bytes]()
    told = [leaf for _, group in leaves(Estate(Size.of(0.002, components=20)), Scribe()) for leaf, _ in group]
    for leaf in told:
        projection = projector.project(leaf)
        met.add(projection.judgement)
        assert projection == project(leaf)
        assert projection.canonical == canonical(leaf)
    assert 10 < len(met) < len(told) / 4


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_grown_estate_has_so_many_times_as_much_of_everything(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'grown.db'}"
    if kind == "postgresql":
        url = request.getfixturevalue("server").new_database()
    load(Estate(Size.of(0.0005, components=20)), url)
    before = sizes(url)["rows"]
    grow(url, 18, say=lambda _: None)
    after = sizes(url)["rows"]
    assert min(before[name] for name in ("sbom_component", "decision", "run")) > 0
    assert {name: rows * (1 if name in SHARED else 18) for name, rows in before.items()} == after


async def test_the_estates_leaves_have_the_keys_of_real_ones(tmp_path: Path) -> None:
    async with running(tmp_path / "rig") as rig:
        bundles = ("release.rekor1.signature", "workflow.rekor1.cyclonedx", "stranger.none.spdxjson")
        sbom = {"name": "sbom", "type": "SBOM", "authorities": ["workflow", "release"]}
        both = [workflow_authority(), key_authority()]
        scanned = {"name": "scan", "type": "Vulnerability", "authorities": ["release"]}
        rig.publish(
            rig.policy("signed"),
            rig.policy("sbom", authorities=both, signatures=None, attestations=[sbom]),
            rig.policy("scanned", attestations=[scanned], validationActions=["Warn"]),
        )
        await rig.review(rig.image(*bundles))
        await rig.review(rig.other_image(repository="acme/plain"))
        config = descriptor(rig.registry.put_blob(b"{}"), "application/vnd.oci.image.config.v1+json")
        base = BaseClaim("docker.io/library/debian:12", "sha256:" + "0b" * 32)
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
        rig.registry.put_manifest("acme/based", manifest | {"annotations": base.annotations()}, tag="1")
        await rig.review(rig.reference("1", repository="acme/based"))
        real = [_shape(leaf) for leaf in rig.leaves()]
    made = [
        _shape(leaf)
        for _, group in leaves(Estate(Size.of(0.001, components=20)), Scribe())
        for leaf, _ in group
        if leaf["schema"].endswith("decision/v1alpha1")
    ]
    # An index and an exception are not among the recorded images; the names of labels, keys and claims are values.
    absent = {"images[].manifests[]", "evaluations[].otherwise"}
    values = ("evaluations[].exceptions", "evaluations[].used.", "object.labels.", "object.namespaceLabels.")
    differ = {path for path in _merged(real) ^ _merged(made) if not path.startswith(values) and ".claims" not in path}
    assert differ <= absent


def _shape(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict):
        return {path} | {p for key, inner in value.items() for p in _shape(inner, f"{path}.{key}" if path else key)}
    if isinstance(value, list):
        return {path} | {p for inner in value for p in _shape(inner, f"{path}[]")}
    return {path}


def _merged(shapes: list[set[str]]) -> set[str]:
    return set().union(*shapes)
