"""`python -m tests.bench`: measures Assay as it is served, prints the figures and writes them as JSON.

Without a time in it that a test would assert: machines differ, and one machine drifts. What is compared with the floor
of the same run stands.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import cases, report
from tests.bench.rig import CHECKOUT, rig

PAGE = CHECKOUT / "docs" / "benchmarks.md"


def main() -> None:
    """Run the benchmark, or show a run that was written before."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute; the figures are rough")
    parser.add_argument("--images", type=int, help="images that are known in the case of many")
    parser.add_argument("--output", type=Path, default=Path("bench-results.json"), metavar="FILE")
    parser.add_argument("--input", type=Path, metavar="FILE", help="measure nothing: show this run")
    parser.add_argument("--markdown", action="store_true", help=f"put the figures into {PAGE.relative_to(CHECKOUT)}")
    arguments = parser.parse_args()
    if arguments.input:
        results, where = report.from_json(json.loads(arguments.input.read_text()))
    else:
        scale = cases.QUICK if arguments.quick else cases.FULL
        if arguments.images:
            scale = dataclasses.replace(scale, known=arguments.images)
        where = report.machine()
        results = _measure(scale)
        arguments.output.write_text(json.dumps(report.as_json(results, where), indent=1) + "\n")
    print(report.text(results, where))
    if arguments.markdown:
        PAGE.write_text(report.placed(PAGE.read_text(), report.markdown(results, where)))


def _measure(scale: cases.Scale) -> cases.Results:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder, rig(Path(folder)) as running:
        results = cases.Results()
        for title, results in cases.run(running, scale):  # noqa: B007 - what the last one filled is the result
            print(f"{time.perf_counter() - began:6.1f} s  {title}", file=sys.stderr, flush=True)
    return results


if __name__ == "__main__":
    main()
