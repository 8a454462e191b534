"""The benchmark's arithmetic: a figure that is reckoned wrongly is worse than none."""

from __future__ import annotations

import os

import pytest

from tests.bench import procfs
from tests.bench.statistics import Sample, figures, in_a_row, percentile


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(100, 0, -1)]

    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([7.0], 0.99) == 7


def test_nothing_measured_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_an_admission_counts_as_two_reviews() -> None:
    made = figures(Sample((1.0, 2.0, 3.0, 4.0), seconds=2.0, cpu=0.5))

    assert (made.reviews_per_second, made.reviews_per_core, made.cpu_ms) == (4, 16, 125)
    assert (made.admissions, made.p50, made.p99) == (4, 2, 4)


def test_slices_of_a_case_add_up() -> None:
    assert Sample((1.0,), 1.0, 0.1) + Sample((3.0,), 2.0, 0.3, refused=1) == Sample((1.0, 3.0), 3.0, 0.4, refused=1)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], 0),
        ([(0, 1), (0, 1), (0, 1)], 1),
        ([(0, 1), (1, 2), (2, 3)], 3),
        ([(0, 1), (0.5, 1.5), (1.2, 2)], 2),
        ([(2, 3), (0, 9), (0, 1)], 2),
    ],
)
def test_only_requests_that_waited_for_one_another_are_in_a_row(
    spans: list[tuple[float, float]], expected: int
) -> None:
    assert in_a_row(spans) == expected


def test_memory_and_cpu_of_a_process_are_those_of_the_kernel() -> None:
    assert os.getpid() in procfs.tree(os.getpid())
    assert procfs.pss_bytes(os.getpid()) > 1024 * 1024
    assert procfs.cpu_seconds(os.getpid()) > 0
