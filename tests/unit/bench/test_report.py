"""What the benchmark shows is what it measured, whatever the form."""

from __future__ import annotations

import json

import pytest

from tests.bench import report
from tests.bench.cases import Results
from tests.bench.report import Goal
from tests.bench.statistics import Sample, figures

WHERE = {"date": "2026-01-01 00:00 UTC", "cpus": 2, "kernel": "6.1", "python": "3.11.7", "load": 0.1}


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Results:
    """One case at twice its floor in latency, four times in CPU."""
    goals = (
        Goal("latency", "1.5 x the floor", report._floor("warm", "p50", most=1.5)),
        Goal("rate", "40 % of the floor", report._rate("warm", least=0.4)),
        Goal("records", "10", report._value("records", least=10)),
    )
    monkeypatch.setattr(report, "GOALS", goals)
    rows = {"floor": figures(Sample((2.0,), 0.002, 0.001)), "warm": figures(Sample((4.0,), 0.004, 0.004))}
    return Results(rows, {"warm": "floor"}, {"records": 12.5})


def test_every_figure_stands_beside_the_floor_of_the_same_run(results: Results) -> None:
    shown = report.text(results, WHERE)

    row = next(line for line in shown.splitlines() if line.startswith("warm"))
    assert row.split() == ["warm", "4.0", "4.0", "4.0", "500", "500", "4.00", "2.00", "x", "0.50", "x", "4.00", "x"]


def test_a_goal_that_is_not_met_is_shown_as_such(results: Results) -> None:
    page = report.markdown(results, WHERE)

    assert "| latency | 1.5 x the floor | 4.0 ms (2.00 x the floor) | no |" in page
    assert "| rate | 40 % of the floor | 250/s (50 % of the floor) | yes |" in page
    assert "| records | 10 | 12.50 | yes |" in page


def test_a_written_run_is_shown_as_it_was(results: Results) -> None:
    written = json.loads(json.dumps(report.as_json(results, WHERE)))

    assert report.markdown(*report.from_json(written)) == report.markdown(results, WHERE)


def test_another_programs_file_is_refused() -> None:
    with pytest.raises(ValueError, match="not a result of this benchmark"):
        report.from_json({"schema": "something else"})


def test_figures_replace_only_what_stands_between_the_markers(results: Results) -> None:
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"

    placed = report.placed(page, report.markdown(results, WHERE))

    assert placed.startswith("before\n")
    assert placed.endswith("\nafter\n")
    assert "old" not in placed
    assert report.placed(placed, report.markdown(results, WHERE)) == placed


def test_a_page_without_a_place_for_figures_is_left_alone(results: Results) -> None:
    with pytest.raises(ValueError, match="no place"):
        report.placed("a page", report.markdown(results, WHERE))
