"""Figures for people: a table for the terminal, pages for docs/benchmarks.md, JSON for programs. Pure."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from os import cpu_count, getloadavg
from typing import Any

from tests.bench.cases import Results
from tests.bench.statistics import Figures

SCHEMA = "assay.dev/bench/v1alpha1"
KNOWN = 10_000  # images, as the design's goal has it
BEGIN, END = "<!-- figures: python -m tests.bench --markdown -->", "<!-- end of figures -->"
_HEADINGS = ("case", "p50", "p95", "p99", "reviews/s", "a core", "CPU ms", "p50", "rate", "CPU")


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the design's table of goals, and how to read what came of it."""

    what: str
    goal: str
    measured: Callable[[Results], tuple[str, bool]]


def machine() -> dict[str, Any]:
    """Where and when this was measured, and how busy it was."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpus": cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "load": round(getloadavg()[0], 1),
        "loop": round(min(_loop() for _ in range(3)), 1),
    }


def place(where: dict[str, Any]) -> str:
    """The same in words. Virtual machines differ from hour to hour: the plain loop tells how fast this one was."""
    loop = f"; a million turns of a plain loop: {where['loop']} ms" if "loop" in where else ""
    return (
        f"{where['date']} on {where['cpus']} CPUs, Linux {where['kernel']}, Python {where['python']}; "
        f"load average when it began: {where['load']}{loop}"
    )


def _loop() -> float:
    """Milliseconds that a million turns of Python take."""
    began, total = time.perf_counter(), 0
    for number in range(1_000_000):
        total += number * number
    return 1000 * (time.perf_counter() - began)


def as_json(results: Results, where: dict[str, Any]) -> dict[str, Any]:
    """The whole run."""
    return {
        "schema": SCHEMA,
        "machine": where,
        "cases": {name: row.as_json() for name, row in results.rows.items()},
        "floors": results.floors,
        "values": {name: round(value, 3) for name, value in results.values.items()},
    }


def from_json(content: dict[str, Any]) -> tuple[Results, dict[str, Any]]:
    """What `as_json` wrote. Raises `ValueError` for another schema."""
    if content.get("schema") != SCHEMA:
        raise ValueError(f"not a result of this benchmark ({SCHEMA})")
    rows = {name: Figures(**row) for name, row in content["cases"].items()}
    return Results(rows, content["floors"], content["values"]), content["machine"]


def text(results: Results, where: dict[str, Any]) -> str:
    """For a terminal."""
    lines = [f"Measured {place(where)}.", ""]
    lines += _aligned([_HEADINGS, *_rows(results)])
    lines += ["", *_aligned([(name, _number(value)) for name, value in results.values.items()]), ""]
    lines += _aligned([("goal", "wanted", "measured", ""), *_goals(results)])
    return "\n".join(lines)


def markdown(results: Results, where: dict[str, Any]) -> str:
    """For docs/benchmarks.md, between its markers."""
    parts = [
        BEGIN,
        "",
        f"Measured {place(where)}.",
        "",
        "### Goals",
        "",
        *_markdown(("what", "goal", "measured", "met"), _goals(results)),
        "",
        "### All cases",
        "",
        "Latencies in milliseconds an admission; the last three columns are multiples of the floor measured in turns.",
        "",
        *_markdown((*_HEADINGS[:7], "p50 / floor", "rate / floor", "CPU / floor"), _rows(results)),
        "",
        "### Single figures",
        "",
        *_markdown(("what", "value"), [(name, _number(value)) for name, value in results.values.items()]),
        "",
        END,
    ]
    return "\n".join(parts)


def placed(page: str, generated: str) -> str:
    """The page with what stands between its markers replaced. Raises `ValueError` where a marker is missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for figures")
    return before + generated + after


def _rows(results: Results) -> list[tuple[str, ...]]:
    return [
        (
            name,
            *(f"{value:.1f}" for value in (row.p50, row.p95, row.p99)),
            f"{row.reviews_per_second:,.0f}",
            f"{row.reviews_per_core:,.0f}",
            f"{row.cpu_ms:.2f}",
            *(_times(results.ratio(name, figure)) for figure in ("p50", "reviews_per_second", "cpu_ms")),
        )
        for name, row in results.rows.items()
    ]


def _goals(results: Results) -> list[tuple[str, ...]]:
    lines = []
    for goal in GOALS:
        measured, met = goal.measured(results)
        lines.append((goal.what, goal.goal, measured, "yes" if met else "no"))
    return lines


def _markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (headings, ["---"] * len(headings), *rows)]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in pairs).rstrip()
        for row in rows
        for pairs in [enumerate(zip(row, widths, strict=True))]
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f} x"


def _latency(case: str, *, p50: float, p99: float = float("inf")) -> Callable[[Results], tuple[str, bool]]:
    """Milliseconds, with the ratio to the floor where there is one."""

    def read(results: Results) -> tuple[str, bool]:
        row, ratio = results.rows[case], results.ratio(case, "p50")
        shown = f"{row.p50:.1f} / {row.p99:.1f} ms" + (f" ({_times(ratio)} the floor)" if ratio else "")
        return shown, row.p50 <= p50 and row.p99 <= p99

    return read


def _floor(case: str, figure: str, *, most: float) -> Callable[[Results], tuple[str, bool]]:
    def read(results: Results) -> tuple[str, bool]:
        row, ratio = results.rows[case], results.ratio(case, figure) or float("inf")
        return f"{getattr(row, figure):.1f} ms ({_times(ratio)} the floor)", ratio <= most

    return read


def _rate(case: str, *, least: float) -> Callable[[Results], tuple[str, bool]]:
    def read(results: Results) -> tuple[str, bool]:
        row, ratio = results.rows[case], results.ratio(case, "reviews_per_second") or 0.0
        return f"{row.reviews_per_second / 2:,.0f}/s ({100 * ratio:.0f} % of the floor)", ratio >= least

    return read


def _value(name: str, *, most: float = float("inf"), least: float = 0.0) -> Callable[[Results], tuple[str, bool]]:
    def read(results: Results) -> tuple[str, bool]:
        value = results.values[name]
        return _number(value), least <= value <= most

    return read


def _per_core(results: Results) -> tuple[str, bool]:
    value = results.rows["warm, by tag, 8 clients"].reviews_per_core
    return f"{value:,.0f}", value >= 2500


def _known_memory(results: Results) -> tuple[str, bool]:
    values = results.values
    if values["images known"] >= KNOWN:
        return f"{values['memory, all images known, MiB']:.0f}", values["memory, all images known, MiB"] <= 300
    expected = values["memory, ten images known, MiB"] + values["memory an image known, KiB"] * KNOWN / 1024
    at = f"{values['memory, all images known, MiB']:.0f} at {values['images known']:,.0f}"
    return f"{at}; at most {expected:.0f} at {KNOWN:,}: what is remembered is bounded", expected <= 300


GOALS = (
    Goal("warm, by tag, p50", "1.5 x the floor", _floor("warm, by tag", "p50", most=1.5)),
    Goal("webhook CPU of a warm admission", "2 x the floor", _floor("warm, by tag", "cpu_ms", most=2)),
    Goal("cold, one signed image, p50 / p99", "15 ms (p50)", _latency("cold, one signed image", p50=15)),
    Goal("requests in a row, cold", "at most 4", _value("registry requests in a row, cold", most=4)),
    Goal(
        "five containers, registry at 100 ms, cold, p50 / p99",
        "0.5 s (p50)",
        _latency("five containers, registry at 100 ms, cold", p50=500),
    ),
    Goal("the same again, tags asked anew", "0.12 s", _latency("the same again, tags asked anew", p50=120)),
    Goal("admissions, 8 clients", "60 % of the floor", _rate("warm, by tag, 8 clients", least=0.6)),
    Goal("admissions, 32 clients", "60 % of the floor", _rate("warm, by tag, 32 clients", least=0.6)),
    Goal("SBOM of 5,000 packages, warm", "6 ms", _latency("warm, SBOM of 5,000 packages", p50=6)),
    Goal("SBOM of 5,000 packages, cold", "150 ms", _latency("cold, SBOM of 5,000 packages", p50=150)),
    Goal(
        "SBOM of 5,000 packages, 32 clients, p50 / p99",
        "75 ms",
        _latency("warm, SBOM of 5,000 packages, 32 clients", p50=75),
    ),
    Goal("memory (PSS) after that, MiB", "400", _value("memory after SBOMs at 32 clients, MiB", most=400)),
    Goal("registry down, verified before", "6 ms", _latency("registry down, verified before, by digest", p50=6)),
    Goal("warm reviews a second and core", "2,500", _per_core),
    Goal(
        "at half load, p50 / p99 of an admission",
        "3 / 20 ms (two reviews)",
        _latency("warm, by digest, at half of that rate", p50=3, p99=20),
    ),
    Goal("memory (PSS), 10,000 images known, MiB", "300", _known_memory),
    Goal(
        "cost of a review, many images for ten",
        "flat (1.2 x at most)",
        _floor("warm, by digest, many images in turn", "cpu_ms", most=1.2),
    ),
    Goal(
        "a review that meets 5 policies, of 1,000 for of 5",
        "2 x at most",
        _floor("warm, many policies, 5 match", "p50", most=2),
    ),
    Goal("1,000 policies compiled, s", "10", _value("compiling 1,000 policies, s", most=10)),
    Goal("decisions recorded a second", "5,000", _value("decisions recorded a second", least=5000)),
)
