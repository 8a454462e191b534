"""Databases of an estate, built once and kept for the next run: outside of the checkout, under what they were made by.

`$ASSAY_BENCH_DIR` says where, else the user's cache. A database belongs to a fingerprint of the generator and of the
tables: whoever changes either gets a new one. Old ones are the user's to delete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.estate import growing
from tests.bench.estate.history import Estate
from tests.bench.estate.load import load
from tests.bench.estate.sample import Sample, sample
from tests.bench.estate.size import Size
from tests.bench.estate.sizes import sizes
from tests.support import postgres

CHECKOUT = Path(__file__).parents[3]
SOURCES = ("tests/bench/estate", "controller/inventory/tables", "controller/inventory/migrations/versions")
IGNORED = {
    "__main__.py",
    "asking.py",
    "growing.py",
    "linking.py",
    "recording.py",
    "report.py",
    "sample.py",
}  # they make no rows
SQLITE, POSTGRESQL = "sqlite", "postgresql"
# A server as one is set up for a database of some size; durable as Assay asks for.
OPTIONS = (
    "shared_buffers=2GB",
    "work_mem=32MB",
    "max_wal_size=8GB",
    "effective_cache_size=8GB",
    "random_page_cost=1.1",
)
Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Kept:
    """A database that holds an estate: its address, what to ask it, and what its making took (JSON)."""

    kind: str
    url: str
    folder: Path
    sample: Sample
    made: dict[str, Any]


def directory() -> Path:
    """Where databases are kept."""
    chosen = os.environ.get("ASSAY_BENCH_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assay" / "estate"


def fingerprint() -> str:
    """What the rows were made by."""
    digest = hashlib.sha256()
    for source in SOURCES:
        path = CHECKOUT / source
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if file.name not in IGNORED and file.parent.name != "oracle":
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def kept(kind: str, fraction: float, *, grown: int = 1, say: Say = print) -> Iterator[Kept]:
    """An estate of this size in a database of this kind, for the length of the block; built if there is none yet.

    With `grown` it is made of one that was built a so manieth part as large (`growing`).
    """
    name = f"{fingerprint()}-{fraction:g}{f'x{grown}' if grown > 1 else ''}-{kind}"
    folder = directory() / name
    facts = folder / "made.json"
    if grown > 1 and not facts.exists():
        shutil.rmtree(folder, ignore_errors=True)
        with kept(kind, fraction / grown, say=say) as small:
            source = small.folder
        subprocess.run(["cp", "--archive", source, folder], check=True)  # owners too: PostgreSQL's files are not ours
        facts.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    if kind == SQLITE:
        file = folder / "inventory.db"
        if not facts.exists() and grown == 1:
            for part in folder.glob("inventory.db*"):
                shutil.rmtree(part) if part.is_dir() else part.unlink()
        yield _ready(kind, f"sqlite:///{file}", fraction, grown, folder, say)
        return
    with postgres.running(*OPTIONS, data=folder / "data") as server:
        if not facts.exists() and grown == 1:
            server.execute("DROP DATABASE IF EXISTS estate")
            server.execute("CREATE DATABASE estate")
        made = _ready(kind, server.url("estate"), fraction, grown, folder, say)
        server.execute("VACUUM (ANALYZE)", database="estate")  # as autovacuum does in its time
        yield made


def build(url: str, fraction: float, *, say: Say = print) -> tuple[dict[str, Any], Sample]:
    """Make a database hold an estate. Returns what it took and what came of it, and what may be asked."""
    began = time.perf_counter()
    estate = Estate(Size.of(fraction))
    estate.facts  # noqa: B018 - invented when first looked at
    invented = time.perf_counter() - began
    say(f"{invented:8.1f} s  {len(estate.decisions):,} decisions and {len(estate.runs):,} runs invented")
    loaded = load(estate, url, say=say)
    made: dict[str, Any] = {
        "size": fraction,
        "images": len(estate.world.images),
        "decisions": len(estate.decisions),
        "runs": len(estate.runs),
        "seconds": {"facts": invented, **loaded.seconds},
        "counts": loaded.counts,
        "tenths": loaded.tenths,
        "documents": loaded.documents,
        "leaf bytes": loaded.leaf_bytes,
        **sizes(url),
    }
    return made, sample(estate)


def _ready(kind: str, url: str, fraction: float, grown: int, folder: Path, say: Say) -> Kept:
    facts, base = folder / "made.json", folder / "base.json"
    if not facts.exists():
        if grown > 1:
            found = json.loads(base.read_text())
            growing.grow(url, grown, say=say)
            chosen = growing.spread(Sample(**found["sample"]), grown)
            made = {**found["made"], "grown": grown, **sizes(url)}
        else:
            made, chosen = build(url, fraction, say=say)
        text = json.dumps({"made": made, "sample": chosen.as_json()})
        base.write_text(text)
        facts.write_text(text)
    found = json.loads(facts.read_text())
    return Kept(kind, url, folder, Sample(**found["sample"]), found["made"])
