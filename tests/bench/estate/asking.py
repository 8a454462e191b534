"""Every question of the inventory, asked many times of an estate with parameters by chance, and how long it took.

A question is measured as a caller meets it: the first page of 100 rows, filters and rights applied, from the call to
the records. The database is warm as one in use is: each question is asked some times before it is measured.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from random import Random
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.errors import Unavailable
from controller.inventory.asking.affected.resting import Footing
from controller.inventory.asking.asker import MAX_LIMIT
from controller.inventory.asking.documents.findings import FindingFilter
from controller.inventory.bundle import archive, assembling
from controller.inventory.bundle.signing import ExportKey
from controller.inventory.bundle.source import Circumstances, Selection
from controller.inventory.questions import Questions
from controller.inventory.records import Admission, DecisionFilter
from controller.reading.app import create_app
from tests.bench.estate.keeping import CHECKOUT
from tests.bench.estate.load import SIGNER
from tests.bench.estate.sample import Sample, days
from tests.bench.estate.size import END
from tests.bench.statistics import percentile
from tests.support.asgi import call

PAGE = 100
TIMES = 100
WARM = 5
PATIENCE = 40.0  # seconds for one question; what is slower is measured a few times less
COMMANDS = ("running", "refused", "findings")  # of `assay inventory`: one that is quick, and two that are not
STARTS = 10  # that each command is started
REQUESTS = (  # of REST, by whoever may see all of it; the last with a package and a day by chance
    "/api/v1/runs",
    "/api/v1/decisions",
    "/api/v1/refused",
    "/api/v1/findings",
    "/api/v1/packages",
)
EXPORT_KEY = ExportKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
FIRST, OTHER = 150.0, 300.0  # milliseconds that 95 of 100 may take: questions 1 to 6, and the rest

Ask = Callable[[Questions, Sample, Random], Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One way of asking one of the design's questions. `number` is the design's, `goal` milliseconds (p95)."""

    number: int
    what: str
    ask: Ask

    @property
    def goal(self) -> float:
        """What p95 may be."""
        return FIRST if self.number <= 6 else OTHER


@dataclass(frozen=True, slots=True)
class Answered:
    """Milliseconds of each answer; `failed` of them came to no answer at all (the time limit of a read).

    `cpu` is the part of each that this process worked for it: on SQLite all of it, whatever else the machine does.
    """

    times: tuple[float, ...]
    cpu: tuple[float, ...]
    failed: int
    rows: float

    @property
    def p50(self) -> float:
        """Milliseconds, median."""
        return percentile(self.times, 0.5)

    @property
    def p95(self) -> float:
        """Milliseconds that 95 of 100 do not exceed."""
        return percentile(self.times, 0.95)


def measure(questions: Questions, sample: Sample, question: Question, *, times: int = TIMES, seed: int = 5) -> Answered:
    """Ask, and take the time. An answer that fails counts with the time until it did."""
    random = Random(f"{seed} {question.what}")
    taken: list[float] = []
    worked: list[float] = []
    failed = rows = 0
    end = time.perf_counter() + PATIENCE
    for number in range(WARM + times):
        began, idle = time.perf_counter(), time.thread_time()
        try:
            answer = question.ask(questions, sample, random)
        except Unavailable:
            answer = None
            failed += 1
        if number >= WARM:
            taken.append(1000 * (time.perf_counter() - began))
            worked.append(1000 * (time.thread_time() - idle))
            rows += _rows(answer)
        if time.perf_counter() > end and len(taken) >= 5:
            break
    return Answered(tuple(taken), tuple(worked), failed, rows / len(taken))


def _rows(answer: Any) -> int:
    items = getattr(answer, "items", answer)
    return len(items) if isinstance(items, tuple | list) else int(items is not None)


def _decisions(**where: Callable[[Sample, Random], Any]) -> Ask:
    def ask(questions: Questions, sample: Sample, random: Random) -> Any:
        wanted = DecisionFilter(**{name: choose(sample, random) for name, choose in where.items()})
        return questions.queries.decisions(wanted, limit=PAGE)

    return ask


def _runs(*, now: bool = False, **where: Callable[[Sample, Random], Any]) -> Ask:
    def ask(questions: Questions, sample: Sample, random: Random) -> Any:
        as_of = None if now else days(random)
        return questions.queries.runs(
            as_of=as_of, limit=PAGE, **{name: choose(sample, random) for name, choose in where.items()}
        )

    return ask


def one(name: str) -> Callable[[Sample, Random], Any]:
    """Any of these."""
    return lambda sample, random: random.choice(getattr(sample, name))


def always(value: Any) -> Callable[[Sample, Random], Any]:
    """This."""
    return lambda _sample, _random: value


def _day(_sample: Sample, random: Random) -> Any:
    return days(random)


def _image(questions: Questions, sample: Sample, random: Random) -> Any:
    return questions.queries.image(random.choice(sample.digests), limit=PAGE)


def _image_in(questions: Questions, sample: Sample, random: Random) -> Any:
    return questions.queries.image(
        random.choice(sample.digests), limit=PAGE, namespace=random.choice(sample.namespaces)
    )


def _decision(questions: Questions, sample: Sample, random: Random) -> Any:
    return questions.queries.decision(random.choice(sample.decisions))


def _record(sample: Sample, random: Random) -> Selection:
    return Selection(record=random.choice(sample.decisions))


def _admissions(questions: Questions, sample: Sample, random: Random) -> Any:
    """Of a pod that a decision is known of: its uid is looked up first."""
    decision = questions.queries.decision(random.choice(sample.decisions))
    uid = decision.leaf["object"]["uid"] if decision is not None else "none"
    return questions.admissions.admissions(uid=uid, limit=PAGE)


def _proofs(questions: Questions, sample: Sample, random: Random) -> Any:
    found = questions.gatherer.gather(_record(sample, random), known_at=END, newest=1)
    return tuple(found.records()) if found is not None else None


def _bundle(questions: Questions, sample: Sample, random: Random) -> Any:
    chosen = _record(sample, random)
    found = questions.gatherer.gather(chosen, known_at=END)
    if found is None:
        return None
    about = Circumstances(chosen, END, END, SIGNER.key(), "benchmark")
    return sum(map(len, archive.write(assembling.assemble(found, about, EXPORT_KEY))))


def _exceptions(questions: Questions, sample: Sample, random: Random) -> Any:
    del sample, random
    return questions.queries.exceptions(limit=PAGE)


def _exception(questions: Questions, sample: Sample, random: Random) -> Any:
    return questions.queries.exceptions(name=random.choice(sample.exceptions), limit=PAGE)


def _blob(questions: Questions, sample: Sample, random: Random) -> Any:
    return questions.queries.blob(random.choice(sample.artifacts), namespace=random.choice(sample.namespaces))


def _package(questions: Questions, sample: Sample, random: Random) -> Any:
    package, version = random.choice(sample.packages)
    return questions.packages.packages(package, f"<={version}", as_of=days(random), limit=PAGE)


def _package_everywhere(questions: Questions, sample: Sample, random: Random) -> Any:
    del random
    package, _ = sample.packages[0]
    return questions.packages.packages(package, limit=PAGE, as_of=END)


def _package_then(questions: Questions, sample: Sample, random: Random) -> Any:
    package, _ = random.choice(sample.packages)
    day = days(random)
    return questions.packages.packages(package, as_of=day, known_at=day, limit=PAGE)


def _package_in(questions: Questions, sample: Sample, random: Random) -> Any:
    package, _ = random.choice(sample.packages)
    namespace = random.choice(sample.namespaces)
    return questions.packages.packages(package, as_of=days(random), namespace=namespace, limit=PAGE)


def _components(**where: Callable[[Sample, Random], Any]) -> Ask:
    def ask(questions: Questions, sample: Sample, random: Random) -> Any:
        told = {name: choose(sample, random) for name, choose in where.items()}
        return questions.components.components(as_of=days(random), limit=PAGE, **told)

    return ask


Chooser = Callable[[Sample, Random], Any]


def _sboms(when: Chooser = _day, **where: Chooser) -> Ask:
    def ask(questions: Questions, sample: Sample, random: Random) -> Any:
        told = {name: choose(sample, random) for name, choose in where.items()}
        return questions.sboms.sboms(as_of=when(sample, random), limit=PAGE, **told)

    return ask


def _assets(questions: Questions, sample: Sample, random: Random) -> Any:
    del sample
    return questions.assets.assets(as_of=days(random), limit=PAGE)


def _findings(when: Chooser = _day, **where: Chooser) -> Ask:
    def ask(questions: Questions, sample: Sample, random: Random) -> Any:
        told = FindingFilter(**{name: choose(sample, random) for name, choose in where.items()})
        return questions.findings.findings(told, as_of=when(sample, random), limit=PAGE)

    return ask


def _refused(when: Chooser = _day, **where: Chooser) -> Ask:
    def ask(questions: Questions, sample: Sample, random: Random) -> Any:
        told = {name: choose(sample, random) for name, choose in where.items()}
        return questions.refused.refused(as_of=when(sample, random), limit=PAGE, **told)

    return ask


def _affected_lists(what: str, footing: Footing, field: str) -> Ask:
    def ask(questions: Questions, sample: Sample, random: Random) -> Any:
        value = str(random.choice(getattr(sample, field)))
        return getattr(questions.affected, what)(footing, value, as_of=days(random), limit=PAGE)

    return ask


def _affected(footing: Footing, field: str, *, extent: bool = False) -> Ask:
    def ask(questions: Questions, sample: Sample, random: Random) -> Any:
        value = str(random.choice(getattr(sample, field)))
        if extent:
            return questions.affected.extent(footing, value, as_of=days(random))
        return questions.affected.runs(footing, value, as_of=days(random), limit=PAGE)

    return ask


QUESTIONS: tuple[Question, ...] = (
    Question(1, "a package everybody has, now", _package_everywhere),
    Question(2, "what ran on a day with a package, by a range of versions", _package),
    Question(2, "what ran on a day with a package in a namespace", _package_in),
    Question(3, "what ran on a day with a package, as it was known then", _package_then),
    Question(4, "what ran on a day", _runs()),
    Question(4, "what ran on a day in a namespace", _runs(namespace=one("namespaces"))),
    Question(4, "what ran on a day, as it was known then", _runs(known_at=_day)),
    Question(4, "where a digest ran on a day", _runs(digest=one("running"))),
    Question(4, "what ran on a day that nobody signed", _runs(signed=always(False))),
    Question(4, "what ran on a day that this one signed", _runs(signer=one("signers"))),
    Question(5, "a decision by its id", _decision),
    Question(5, "a decision by its id, then the admissions of its pod, with the values of rules", _admissions),
    Question(5, "decisions of a namespace, newest first", _decisions(namespace=one("namespaces"))),
    Question(5, "decisions about a digest", _decisions(digest=one("digests"))),
    Question(5, "decisions by a policy before a day", _decisions(policy=one("policies"), until=_day)),
    Question(6, "what was admitted by an exception", _decisions(flag=always("exempt"), until=_day)),
    Question(6, "what was admitted by breaking the glass", _decisions(flag=always("break-glass"), until=_day)),
    Question(6, "what was admitted by failing open", _decisions(flag=always("fail-open"), until=_day)),
    Question(
        6,
        "what was admitted with a warning in a namespace",
        _decisions(flag=always("warn"), namespace=one("namespaces")),
    ),
    Question(6, "what ran on a day unadmitted", _runs(admission=always(Admission.UNADMITTED))),
    Question(6, "what ran on a day that is not what was admitted", _runs(admission=always(Admission.DRIFTED))),
    Question(8, "exceptions, the last used first", _exceptions),
    Question(8, "an exception by its name", _exception),
    Question(9, "all that is known of an image", _image),
    Question(9, "the same as a namespace may know it", _image_in),
    Question(9, "a document, if a namespace may see it", _blob),
    Question(9, "a decision's record and what belongs to it, with their proofs in the ledger", _proofs),
    Question(7, "what runs and would be refused, now", _refused(always(END))),
    Question(7, "what ran on a day and was refused by then", _refused()),
    Question(7, "the same in a namespace", _refused(namespace=one("namespaces"))),
    Question(10, "running images by the state of their SBOM", _sboms()),
    Question(10, "the same, now", _sboms(always(END))),
    Question(10, "the same in a namespace", _sboms(namespace=one("namespaces"))),
    Question(11, "components of a cluster on a day", _components(cluster=one("clusters"))),
    Question(11, "components of a namespace on a day", _components(namespace=one("namespaces"))),
    Question(11, "components of an image", _components(digest=one("digests"))),
    Question(12, "assets on a day", _assets),
    Question(13, "findings in what ran on a day", _findings()),
    Question(13, "findings in what runs now", _findings(always(END))),
    Question(13, "open findings of a namespace", _findings(namespace=one("namespaces"), cleared=always(False))),
    Question(13, "where a vulnerability was", _findings(vulnerability=one("vulnerabilities"))),
    Question(14, "how far a signer reaches", _affected(Footing.SIGNER, "signers", extent=True)),
    Question(14, "what ran on a day by a signer", _affected(Footing.SIGNER, "signers")),
    Question(14, "which images are a signer's", _affected_lists("images", Footing.SIGNER, "signers")),
    Question(14, "which decisions let in a signer's", _affected_lists("decisions", Footing.SIGNER, "signers")),
    Question(14, "how far a builder reaches", _affected(Footing.BUILDER, "builders", extent=True)),
    Question(14, "what ran on a day on a base image", _affected(Footing.BASE, "bases")),
    Question(14, "what ran on a day on a log entry", _affected(Footing.LOG_ENTRY, "log_entries")),
    Question(15, "an evidence bundle about a decision, whole", _bundle),
)


def commands(url: str) -> dict[str, str]:
    """Milliseconds of a whole command, from its start to its end, with the first 100 rows as a table."""
    return {f"`assay inventory {name}`, start to end, p50 / p95 ms": _command(name, url) for name in COMMANDS}


def _command(name: str, url: str) -> str:
    program = [sys.executable, "-c", "from controller.cli import main; main()"]
    asked = [*program, "inventory", name, "--database-url", url, "--limit", str(PAGE)]
    own = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}  # the benchmark's own
    taken = []
    for number in range(WARM + STARTS):
        began = time.perf_counter()
        run = subprocess.run(
            asked, cwd=CHECKOUT, env=own, check=False, capture_output=True, text=True, timeout=PATIENCE
        )
        if run.returncode:
            raise RuntimeError(f"assay inventory {name}: {run.stderr.strip()}")
        if number >= WARM:
            taken.append(1000 * (time.perf_counter() - began))
    return f"{percentile(taken, 0.5):.0f} / {percentile(taken, 0.95):.0f}"


def requests(questions: Questions, sample: Sample) -> dict[str, str]:
    """Milliseconds of a whole request, from its first byte to the last of 100 rows in JSON, at any day of the year."""
    return asyncio.run(_requests(questions, sample))


async def _requests(questions: Questions, sample: Sample) -> dict[str, str]:
    app = create_app(questions)
    told = {}
    for path in REQUESTS:
        random = Random(path)
        taken = []
        for number in range(WARM + TIMES):
            query = f"limit={PAGE}&asOf={quote(days(random).isoformat())}"
            if path.endswith("packages"):
                query += f"&purl={quote(random.choice(sample.packages)[0])}"
            began = time.perf_counter()
            answer = await call(app, "GET", path, query=query, headers={"host": "localhost"})
            if answer.status != HTTPStatus.OK:
                raise RuntimeError(f"{path}: {answer.status} {answer.body[:500]!r}")
            if number >= WARM:
                taken.append(1000 * (time.perf_counter() - began))
        told[f"`GET {path}`, first byte to last, p50 / p95 ms"] = (
            f"{percentile(taken, 0.5):.0f} / {percentile(taken, 0.95):.0f}"
        )
    return told


def streams(questions: Questions, sample: Sample) -> dict[str, str]:
    """Rows a second of whole lists, page by page, as a stream of one is made; at most `PATIENCE` seconds of each."""
    day = END - timedelta(days=100)
    namespace = sample.namespaces[1]
    lists: dict[str, Callable[[str | None], Any]] = {
        "decisions of a namespace, all": lambda cursor: questions.queries.decisions(
            DecisionFilter(namespace=namespace), limit=MAX_LIMIT, cursor=cursor
        ),
        "what ran on a day, all": lambda cursor: questions.queries.runs(as_of=day, limit=MAX_LIMIT, cursor=cursor),
    }
    return {f"{what}: rows; rows a second": _streamed(ask) for what, ask in lists.items()}


def _streamed(ask: Callable[[str | None], Any]) -> str:
    began = time.perf_counter()
    rows = 0
    for size in _pages(ask):
        rows += size
        if time.perf_counter() - began > PATIENCE:
            break
    return f"{rows:,}; {rows / (time.perf_counter() - began):,.0f}"


def _pages(ask: Callable[[str | None], Any]) -> Iterator[int]:
    """The size of each page until the last."""
    cursor: str | None = None
    while True:
        page = ask(cursor)
        yield len(page.items)
        cursor = page.cursor
        if cursor is None:
            return
