"""Figures of the evidence inventory for people: a table for the terminal, a part of docs/benchmarks.md. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.bench.report import place

SCHEMA = "assay.dev/bench/inventory/v1alpha1"
BEGIN, END = "<!-- figures: python -m tests.bench.estate ask --markdown -->", "<!-- end of the inventory's figures -->"
_HEADINGS = ("", "question", "goal", "p50", "p95", "CPU p95", "max", "rows", "")
INDEX = ("document", "document_subject", "package", "component", "sbom_component")
Run = Mapping[str, Any]  # one database of one size: `kind`, `size`, `made`, `machine`, `questions`, `rates`


def making(made: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the making of a database says: rates, and bytes of each thing."""
    rows, seconds, bytes_, counts = made["rows"], made["seconds"], made["bytes"], made["counts"]
    grown = made.get("grown", 1)
    whole = sum(bytes_.values())
    index = sum(bytes_.get(name, 0) for name in INDEX)
    links = rows.get("sbom_component", 0)
    sbom_bytes, sboms = made["documents"].get("sbom", (0, 0))
    attached = sum(size for size, _ in made["documents"].values())
    found = [
        ("decisions", f"{rows['decision']:,}"),
        ("runs", f"{rows.get('run') or rows.get('sighting', 0):,}"),
        ("images", f"{made['images'] * grown:,}"),
        ("component links", f"{links:,}"),
        ("distinct components", f"{rows.get('component', 0):,}"),
        ("mean bytes of a leaf (canonical JSON)", _each(made["leaf bytes"], counts["leaf"])),
        ("mean bytes of an SBOM, as attached", _each(sbom_bytes, sboms)),
    ]
    if grown == 1:  # copies have no evidence of their own
        found += [
            ("tables, MB", f"{whole / 1e6:,.0f}"),
            ("bytes a decision or sighting, all but evidence", _each(whole - bytes_["blob"] - index, counts["leaf"])),
            ("evidence, MB as attached", f"{attached / 1e6:,.0f}"),
            ("evidence, MB as kept (in rows and files)", f"{(bytes_['blob'] + made['files']) / 1e6:,.0f}"),
            ("facts appended a second, many groups a commit", _each(counts["leaf"], seconds.get("append", 0))),
            ("the same, of the first and last tenth", f"{made['tenths'][0]:,.0f}; {made['tenths'][-1]:,.0f}"),
            ("leaves numbered a second", _each(counts["leaf"], seconds.get("sequence", 0))),
        ]
    else:
        found.append(("made of copies", f"{grown} of each fact"))
    if links:
        found.append(("bytes a component link, with its index", _each(bytes_["sbom_component"], links, digits=1)))
        found.append(("bytes an SBOM in the index, links included", _each(index, sboms * grown)))
    if links and grown == 1 and seconds.get("index"):
        found.append(("links indexed a second, documents read in the same process", _each(links, seconds["index"])))
        found.append(("links written a second, reading apart", _each(links, seconds["links"])))
    return found


def text(run: Run) -> str:
    """For a terminal."""
    lines = [f"{run['kind']}, size {run['size']:g}: {place(run['machine'])}", ""]
    lines += _aligned([("what", "value"), *making(run["made"]), *run.get("rates", {}).items()])
    if run.get("questions"):
        lines += [
            "",
            *_aligned([_HEADINGS, *map(_question, run["questions"])]),
        ]
    return "\n".join(lines)


def markdown(runs: Sequence[Run]) -> str:
    """The part of docs/benchmarks.md, between its markers."""
    names = [f"{run['kind']}, {run['size']:g}{' (grown)' if run['made'].get('grown') else ''}" for run in runs]
    parts = [BEGIN, ""]
    parts += [f"- {name}: {place(run['machine'])}" for name, run in zip(names, runs, strict=True)]
    parts += ["", "### Questions", "", "p50 / p95 in milliseconds (CPU of the asking process), the first 100 rows.", ""]
    answered = [{_named(q): q for q in run["questions"]} for run in runs]
    asked = {_named(q): q for run in runs for q in run["questions"]}
    parts += _markdown(
        ("no.", "question", "goal", *names),
        [
            (str(number), what, f"{q['goal']:.0f}", *(_cell(found.get((number, what))) for found in answered))
            for (number, what), q in sorted(asked.items(), key=lambda item: item[0][0])
        ],
    )
    parts += ["", "### Size and rates", ""]
    tables = [dict([*making(run["made"]), *run.get("rates", {}).items()]) for run in runs]
    wanted = dict.fromkeys(name for table in tables for name in table)
    parts += _markdown(("what", *names), [(name, *(table.get(name, "") for table in tables)) for name in wanted])
    return "\n".join([*parts, "", END])


def placed(page: str, generated: str) -> str:
    """The page with what stands between the markers replaced. Raises `ValueError` where a marker is missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for figures")
    return before + generated + after


def _named(q: Mapping[str, Any]) -> tuple[int, str]:
    """Which question it is: several are *the same in a namespace*, each of another."""
    return q["number"], q["what"]


def _question(q: Mapping[str, Any]) -> tuple[str, ...]:
    met = "" if q["p95"] <= q["goal"] and not q["failed"] else f"{q['failed']} failed" if q["failed"] else "late"
    return (
        str(q["number"]),
        q["what"],
        f"{q['goal']:.0f}",
        *(f"{q[k]:.1f}" for k in ("p50", "p95", "cpu", "max", "rows")),
        met,
    )


def _cell(q: Mapping[str, Any] | None) -> str:
    if q is None:
        return ""
    shown = f"{q['p50']:.1f} / {q['p95']:.1f} ({q['cpu']:.1f})"
    missed = q["p95"] > q["goal"] or q["failed"]
    return f"**{shown}**" + (f" ({q['failed']} of {q['times']} failed)" if q["failed"] else "") if missed else shown


def _each(whole: float, count: float, *, digits: int = 0) -> str:
    return f"{whole / count:,.{digits}f}" if count else "none"


def _markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (headings, ["---"] * len(headings), *rows)]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
