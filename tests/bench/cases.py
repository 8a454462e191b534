"""What is measured, in the order of the table. Cases that are compared run in turns, a slice at a time: a machine that
slows down half-way slows all of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench import recording
from tests.bench.policies import compile_beside, many
from tests.bench.rig import Rig, Target, serve
from tests.bench.statistics import Figures, Sample, figures, percentile

SLOW_REGISTRY = 0.1  # seconds an answer, as the design's case has it


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is sent: enough for the third digit, or just enough to see that all works."""

    rounds: int
    slice: float  # seconds
    cold: int  # images
    slow: int  # pods of five containers
    sboms: int  # images
    known: int  # images
    policies: int
    records: int


FULL = Scale(rounds=5, slice=2.0, cold=100, slow=8, sboms=8, known=10_000, policies=1000, records=20_000)
QUICK = Scale(rounds=1, slice=1.0, cold=15, slow=2, sboms=2, known=50, policies=100, records=2_000)


@dataclass(slots=True)
class Results:
    """`rows` by case, `floors` the floor that each case was compared with, `values` single numbers by name."""

    rows: dict[str, Figures] = field(default_factory=dict)
    floors: dict[str, str] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)

    def ratio(self, case: str, figure: str) -> float | None:
        """The case's figure in floors; None where there is no floor to compare with."""
        if case not in self.floors:
            return None
        floor = getattr(self.rows[self.floors[case]], figure)
        return float(getattr(self.rows[case], figure) / floor) if floor else None


Case = Callable[[Rig, Scale, Results], None]


def run(rig: Rig, scale: Scale) -> Iterator[tuple[str, Results]]:
    """Every case in turn; yields its title before, the results being filled meanwhile."""
    results = Results()
    for title, case in CASES.items():
        yield title, results
        case(rig, scale, results)
        rig.registry.requests()  # what the next case finds there is its own


def _idle(rig: Rig, scale: Scale, results: Results) -> None:
    del scale
    results.values["memory idle, MiB"] = rig.memory(rig.assay)


def _cold(rig: Rig, scale: Scale, results: Results) -> None:
    rig.measure(rig.assay, [[rig.reference("signed/first")]], count=1)  # connections and code are warm, images are not
    rig.registry.requests()
    images = [[image] for image in rig.fresh([f"signed/cold-{number}" for number in range(scale.cold)])]
    results.rows["cold, one signed image"] = figures(rig.measure(rig.assay, images, count=scale.cold))
    requests = rig.registry.requests()
    results.values["registry requests, cold"] = sum(map(len, requests.values())) / scale.cold


def _warm(rig: Rig, scale: Scale, results: Results) -> None:
    tagged, pinned = rig.reference("signed/warm"), rig.reference("signed/warm", digest=True)
    five = [rig.reference(f"signed/warm-{number}") for number in range(5)]
    rig.measure(rig.assay, [[tagged], [rig.reference("ruled/warm")], [rig.reference("sbom/warm")], five], count=4)
    _in_turns(
        rig,
        scale,
        results,
        floor="floor",
        cases={
            "warm, by tag": [[tagged]],
            "warm, by digest": [[pinned]],
            "warm, by tag, a rule that reads the request": [[rig.reference("ruled/warm")]],
            "warm, by tag, five containers": [five],
            "warm, SBOM of 5,000 packages": [[rig.reference("sbom/warm")]],
        },
    )
    ruled, plain = (results.rows[n] for n in ("warm, by tag, a rule that reads the request", "warm, by tag"))
    results.values["a rule that reads the request, ms CPU more"] = ruled.cpu_ms - plain.cpu_ms


def _clients(rig: Rig, scale: Scale, results: Results) -> None:
    tagged = [[rig.reference(f"signed/warm-{number}")] for number in range(5)]
    rig.measure(rig.assay, tagged, count=5)
    for clients in (8, 32):
        cases = {f"warm, by tag, {clients} clients": tagged}
        _in_turns(rig, scale, results, floor=f"floor, {clients} clients", cases=cases, clients=clients)


def _half_load(rig: Rig, scale: Scale, results: Results) -> None:
    pinned = [[rig.reference(f"signed/warm-{number}", digest=True)] for number in range(5)]
    rig.measure(rig.assay, pinned, count=5)
    rate = results.rows["warm, by tag, 8 clients"].reviews_per_second / 4  # half of them, two reviews an admission
    cases = {"warm, by digest, at half of that rate": pinned}
    _in_turns(rig, scale, results, floor="floor, at that rate", cases=cases, clients=64, rate=rate)


def _slow_registry(rig: Rig, scale: Scale, results: Results) -> None:
    pods = [rig.fresh([f"signed/slow-{pod}-{n}" for n in range(5)]) for pod in range(scale.slow)]
    rig.registry.delay(SLOW_REGISTRY)
    rig.registry.requests()
    results.rows["five containers, registry at 100 ms, cold"] = figures(rig.measure(rig.assay, pods, count=scale.slow))
    results.values["registry requests, cold, by image"], row = rig.round_trips()
    results.values["registry requests in a row, cold"] = row
    results.rows["the same again at once"] = figures(rig.measure(rig.assay, pods, count=scale.slow))
    rig.registry.delay(0)


def _tags_anew(rig: Rig, scale: Scale, results: Results) -> None:
    """The pods of `_slow_registry` once more, now that their tags are not believed any longer."""
    pods = [[rig.reference(f"signed/slow-{pod}-{n}") for n in range(5)] for pod in range(scale.slow)]
    rig.registry.delay(SLOW_REGISTRY)
    rig.registry.requests()
    results.rows["the same again, tags asked anew"] = figures(rig.measure(rig.assay, pods, count=scale.slow))
    results.values["registry requests in a row, tags asked anew"] = rig.round_trips()[1]
    rig.registry.delay(0)


def _sbom(rig: Rig, scale: Scale, results: Results) -> None:
    images = [[image] for image in rig.fresh([f"sbom/cold-{number}" for number in range(scale.sboms)])]
    results.rows["cold, SBOM of 5,000 packages"] = figures(rig.measure(rig.assay, images, count=scale.sboms))
    tagged = [[rig.reference("sbom/warm")]]
    rig.measure(rig.assay, tagged, count=1)
    cases = {"warm, SBOM of 5,000 packages, 32 clients": tagged}
    _in_turns(rig, scale, results, floor="floor, 32 clients, once more", cases=cases, clients=32)
    results.values["memory after SBOMs at 32 clients, MiB"] = rig.memory(rig.assay)


def _registry_down(rig: Rig, scale: Scale, results: Results) -> None:
    pinned = [[rig.reference("signed/warm", digest=True)]]
    rig.measure(rig.assay, pinned, count=1)
    rig.registry.stop()
    cases = {"registry down, verified before, by digest": pinned}
    _in_turns(rig, scale, results, floor="floor, meanwhile", cases=cases)
    rig.registry.start()


def _many_images(rig: Rig, scale: Scale, results: Results) -> None:
    names = [f"signed/known-{number}" for number in range(scale.known)]
    images = [[image] for image in rig.fresh(names, digest=True)]
    with serve(rig.folder / "many", rig.folder / "policies") as serving:
        fresh = Target(serving.url, serving.ca_file, serving.server.pid)
        rig.measure(fresh, images[:10], count=10)
        idle = rig.memory(fresh)
        few = Sample((), 0, 0)
        few += rig.measure(fresh, images[:10], seconds=scale.slice)
        rest = images[10:]
        results.rows["cold, one signed image, 16 clients"] = figures(
            rig.measure(fresh, rest, count=len(rest), clients=16)
        )
        known = rig.memory(fresh)
        many, again = Sample((), 0, 0), images[-500:]
        for _ in range(scale.rounds):
            few += rig.measure(fresh, images[:10], seconds=scale.slice / 2)
            many += rig.measure(fresh, again, seconds=scale.slice / 2)
    results.rows["warm, by digest, 10 images in turn"] = figures(few)
    results.rows["warm, by digest, many images in turn"] = figures(many)
    results.floors["warm, by digest, many images in turn"] = "warm, by digest, 10 images in turn"
    results.values["images known"] = scale.known
    results.values["memory, ten images known, MiB"] = idle
    results.values["memory, all images known, MiB"] = known
    results.values["memory an image known, KiB"] = 1024 * (known - idle) / max(1, scale.known - 10)


def _many_policies(rig: Rig, scale: Scale, results: Results) -> None:
    """Five policies that match, alone and among a thousand; and what the thousand cost to compile."""
    template, *_ = rig.policies()
    five = [{**template, "metadata": {"name": f"five-{number}"}} for number in range(5)]
    others = many(scale.policies - 5, template)
    pinned = [[rig.reference(f"signed/warm-{number}", digest=True)] for number in range(5)]
    samples = {name: Sample((), 0, 0) for name in ("warm, 5 policies, all match", "warm, many policies, 5 match")}
    with (
        serve(rig.folder / "few-policies", rig.written("policies-few", five)) as few,
        serve(rig.folder / "many-policies", rig.written("policies-many", [*five, *others])) as whole,
    ):
        targets = [Target(one.url, one.ca_file, one.server.pid) for one in (few, whole)]
        for target in targets:
            rig.measure(target, pinned, count=10)
        for _ in range(4 * scale.rounds):
            for name, target in zip(samples, targets, strict=True):
                samples[name] += rig.measure(target, pinned, seconds=scale.slice / 4)
    for name, sample in samples.items():
        results.rows[name] = figures(sample)
    results.floors["warm, many policies, 5 match"] = "warm, 5 policies, all match"
    changed = {**others[-1], "metadata": {**others[-1]["metadata"], "generation": 2}}
    compiling = compile_beside([*five, *others], changed)
    results.values["policies"] = scale.policies
    results.values["compiling 1,000 policies, s"] = compiling.seconds * 1000 / scale.policies
    results.values["a change of one of them, ms"] = 1000 * compiling.again
    results.values["pause of a loop while they compile, p99 ms"] = 1000 * percentile(compiling.pauses, 0.99)


def _recording(rig: Rig, scale: Scale, results: Results) -> None:
    with sqlite3.connect(f"file:{rig.serving.folder / 'inventory.db'}?mode=ro", uri=True) as connection:
        leaf, blobs = recording.taken_from(connection)
    connection.close()
    recorded = recording.measure(rig.folder / "recording.db", leaf, blobs, count=scale.records)
    results.values["decisions recorded a second"] = recorded.rate
    results.values["CPU of a decision recorded, ms"] = recorded.cpu
    results.values["a record alone, p50 ms"] = percentile(recorded.alone, 0.5)
    results.values["bytes a leaf"] = recorded.leaf_bytes
    results.values["memory after load, MiB"] = rig.memory(rig.assay)


def _in_turns(
    rig: Rig,
    scale: Scale,
    results: Results,
    *,
    floor: str,
    cases: dict[str, Sequence[Sequence[str]]],
    **order: Any,
) -> None:
    """The floor and the cases, a slice of each in every round."""
    samples = {name: Sample((), 0, 0) for name in (floor, *cases)}
    any_image = next(iter(cases.values()))
    for _ in range(scale.rounds):
        samples[floor] += rig.measure(rig.floor, any_image, seconds=scale.slice, **order)
        for name, images in cases.items():
            samples[name] += rig.measure(rig.assay, images, seconds=scale.slice, **order)
    for name, sample in samples.items():
        results.rows[name] = figures(sample)
        if name != floor:
            results.floors[name] = floor


CASES: dict[str, Case] = {
    "memory of an idle process": _idle,
    "cold reviews": _cold,
    "warm reviews and their floor, in turns": _warm,
    "8 and 32 clients": _clients,
    "half of that load": _half_load,
    "five containers, registry at 100 ms an answer": _slow_registry,
    "SBOMs of 5,000 packages": _sbom,
    "registry down": _registry_down,
    "many images": _many_images,
    "many policies": _many_policies,
    "five containers again, ten seconds later": _tags_anew,  # the default of tag_max_age has passed by now
    "recording": _recording,
}
