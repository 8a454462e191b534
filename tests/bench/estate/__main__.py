"""`python -m tests.bench.estate`: builds an inventory with a year of a whole estate, and asks it every question.

`build` makes a database and says what it holds; `ask` builds one of each kind where there is none yet, and measures.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from pathlib import Path
from typing import Any

from controller.inventory.store import Store
from controller.settings import InventorySettings
from tests.bench import report as bench
from tests.bench.estate import asking, keeping, linking, recording, report
from tests.bench.estate.keeping import CHECKOUT, POSTGRESQL, SQLITE
from tests.bench.estate.load import SIGNER
from tests.bench.statistics import percentile

PAGE = CHECKOUT / "docs" / "benchmarks.md"
RESULTS = Path("bench-inventory.json")


def main() -> None:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.estate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="make an inventory that holds an estate")
    ask = commands.add_parser("ask", help="measure every question")
    for command in (build, ask):
        command.add_argument("--size", type=float, default=0.01, help="of 5,000 images and a million decisions")
        command.add_argument("--grown", type=int, default=1, help="build a so manieth part of it, and multiply that")
    build.add_argument("--database", help="URL of a database, empty or not there yet; else one is kept in the cache")
    ask.add_argument("--kind", choices=[SQLITE, POSTGRESQL], action="append", help="default: both")
    ask.add_argument("--times", type=int, default=asking.TIMES, help="that each question is asked")
    ask.add_argument("--only", default="", help="questions with this in their text")
    ask.add_argument("--output", type=Path, default=RESULTS, metavar="FILE", help="runs are added to what it holds")
    ask.add_argument("--markdown", action="store_true", help=f"put FILE's runs into {PAGE.relative_to(CHECKOUT)}")
    ask.add_argument("--no-measure", action="store_true", help="only show, or put into the page, what FILE holds")
    arguments = parser.parse_args()
    if arguments.command == "build":
        _build(arguments)
    else:
        _ask(arguments)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _build(arguments: argparse.Namespace) -> None:
    where = bench.machine()
    if arguments.database:
        made, _ = keeping.build(arguments.database, arguments.size, say=_say)
        print(report.text({"kind": "database", "size": arguments.size, "machine": where, "made": made}))
        _say_how(arguments.database)
        return
    with keeping.kept(SQLITE, arguments.size, grown=arguments.grown, say=_say) as found:
        print(report.text({"kind": found.kind, "size": arguments.size, "machine": where, "made": found.made}))
        _say_how(found.url)


def _say_how(url: str) -> None:
    """How to ask what was made: docs/reference/questions.md."""
    print(f"\nexport ASSAY_DATABASE_URL={url}")
    print("assay inventory running --as-of 2026-03-01      # it ends on 1 November 2026")
    print(f"assay ledger verify --key {SIGNER.key()}")


def _ask(arguments: argparse.Namespace) -> None:
    runs: list[dict[str, Any]] = []
    if arguments.output.exists():
        runs = json.loads(arguments.output.read_text())["runs"]
    for kind in () if arguments.no_measure else arguments.kind or (SQLITE, POSTGRESQL):
        run = _measure(kind, arguments)
        print(report.text(run) + "\n")
        runs = sorted([*(other for other in runs if _of(other) != _of(run)), run], key=_of)
        arguments.output.write_text(json.dumps({"schema": report.SCHEMA, "runs": runs}, indent=1) + "\n")
    if arguments.markdown:
        PAGE.write_text(report.placed(PAGE.read_text(), report.markdown(runs)))


def _of(run: dict[str, Any]) -> tuple[bool, float, int]:
    """What a run is one of, and where it stands: SQLite first, the smaller before the larger, a whole one last."""
    return run["kind"] != SQLITE, run["size"], -run["made"].get("grown", 1)


def _measure(kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    answers = []
    with keeping.kept(kind, arguments.size, grown=arguments.grown, say=_say) as found:
        where = bench.machine()
        rates: dict[str, Any] = {}
        if not arguments.only:
            rates = recording.measure(found) | linking.measure(found) | asking.commands(found.url)
        with Store.open_to_read(InventorySettings(database_url=found.url)) as store:
            if not arguments.only:
                rates |= asking.requests(store.questions, found.sample)
                rates |= asking.streams(store.questions, found.sample)
            gc.collect()
            gc.freeze()  # as `assay serve` does: what is loaded is not looked through beside an answer
            for question in asking.QUESTIONS:
                if arguments.only not in question.what:
                    continue
                answered = asking.measure(store.questions, found.sample, question, times=arguments.times)
                cpu = percentile(answered.cpu, 0.95)
                _say(f"{answered.p50:8.1f} {answered.p95:8.1f} ms, of CPU {cpu:8.1f} ms  {question.what}")
                answers.append(
                    {
                        "number": question.number,
                        "what": question.what,
                        "goal": question.goal,
                        "p50": answered.p50,
                        "p95": answered.p95,
                        "max": max(answered.times),
                        "cpu": cpu,
                        "times": len(answered.times),
                        "failed": answered.failed,
                        "rows": answered.rows,
                    }
                )
    return {
        "kind": kind,
        "size": arguments.size,
        "machine": where,
        "made": found.made,
        "rates": rates,
        "questions": answers,
    }


if __name__ == "__main__":
    main()
