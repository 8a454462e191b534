"""From single answers to figures. Pure, so that the figures themselves can be tested."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """Admissions that were measured together: each is one `/mutate` and one `/validate`.

    `latencies` are milliseconds an admission, `seconds` the time that all took, `cpu` the server's CPU seconds.
    """

    latencies: tuple[float, ...]
    seconds: float
    cpu: float
    refused: int = 0

    def __add__(self, other: Sample) -> Sample:
        return Sample(
            self.latencies + other.latencies,
            self.seconds + other.seconds,
            self.cpu + other.cpu,
            self.refused + other.refused,
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """What is said of a sample. Latencies in milliseconds; a review is half an admission."""

    admissions: int
    p50: float
    p95: float
    p99: float
    reviews_per_second: float
    reviews_per_core: float
    cpu_ms: float

    def as_json(self) -> dict[str, float]:
        """Plain numbers."""
        return {name: round(value, 3) for name, value in dataclasses.asdict(self).items()}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed (nearest rank)."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def figures(sample: Sample) -> Figures:
    """Percentiles, rates and CPU of a sample. Raises `ValueError` for an empty one."""
    count = len(sample.latencies)
    return Figures(
        admissions=count,
        p50=percentile(sample.latencies, 0.50),
        p95=percentile(sample.latencies, 0.95),
        p99=percentile(sample.latencies, 0.99),
        reviews_per_second=2 * count / sample.seconds,
        reviews_per_core=2 * count / sample.cpu if sample.cpu else math.inf,
        cpu_ms=1000 * sample.cpu / count,
    )


def in_a_row(spans: Iterable[tuple[float, float]]) -> int:
    """The most requests that waited for one another: spans (begin, end) of which each begins after the last ended."""
    count, free = 0, -math.inf
    for begin, end in sorted(spans, key=lambda span: span[1]):
        if begin >= free:
            count, free = count + 1, end
    return count
