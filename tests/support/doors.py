"""The doors to an inventory that people have, REST and the commands, with the handles of the program's own questions.

Whatever asks `Questions` can ask a `Door`: the same calls become requests or command lines, and what they answer in
JSON is read into values of the same names. A door remembers which ways were used (`used`).
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlencode

from pydantic import BaseModel, Field

from controller.cli import run
from controller.inventory.asking.affected.resting import Footing
from controller.inventory.asking.documents.findings import FindingFilter
from controller.inventory.bundle.source import Selection
from controller.inventory.questions import Questions
from controller.inventory.records import DecisionFilter
from controller.model.reference import Digest
from controller.reading import wire
from controller.reading.app import create_app
from controller.reading.evidence import Evidence
from controller.reading.wire import admissions, affected, findings, packages, refused, sboms
from controller.settings import InventorySettings
from tests.support.asgi import call

NEGATED = {"signed": ("--unsigned",)}  # flags that say no; others are left out
ABSENT = 2  # exit status of a command that finds nothing of that name
UNKNOWN = {  # what it says then, and what REST would have answered
    "ImageUnknown": None,
    "BlobUnknown": None,
    "NothingToExport": None,
    "DecisionUnknown": b'{"items": [], "cursor": null}',
}
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Way:
    """How one thing is asked for: `path` may have one of the parameters in it, `words` are given without a flag."""

    path: str
    command: str
    words: tuple[str, ...] = ()
    model: type[BaseModel] | None = None  # None: bytes
    renamed: tuple[tuple[str, str], ...] = ()  # parameters with another flag
    fixed: tuple[str, ...] = ()  # flags that it always has


class Row(BaseModel):
    """What is looked at of a row of the workbook."""

    identifier: str = Field(alias="UNIQUE ASSET IDENTIFIER")
    software: str = Field(alias="Software/ Database Name & Version")
    location: str = Field(alias="Location")
    system: str = Field(alias="OS Name and Version")
    baseline: str = Field(alias="Baseline Configuration Name")
    in_latest_scan: str = Field(alias="In Latest Scan")


class Workbook(BaseModel):
    """A page of such rows."""

    items: list[Row]
    cursor: str | None


PACKAGES = Way("/api/v1/packages", "packages", ("purl", "versions"), packages.PackagePage)
COMPONENTS = Way("/api/v1/components", "components", (), packages.ComponentPage)
RUNS = Way("/api/v1/runs", "running", (), wire.RunPage)
DECISIONS = Way("/api/v1/decisions", "decisions", (), wire.DecisionPage)
ADMISSIONS = Way("/api/v1/admissions", "admission", ("name",), admissions.AdmissionPage)
REFUSED = Way("/api/v1/refused", "refused", (), refused.RefusedPage)
EXCEPTIONS = Way("/api/v1/exceptions", "exceptions", (), wire.ExceptionPage)
IMAGE = Way("/api/v1/images/{digest}", "show", ("digest",), wire.ImageRecord)
BLOB = Way("/api/v1/blobs/{digest}", "blob", ("digest",))
SBOMS = Way("/api/v1/sboms", "sboms", (), sboms.SbomPage)
ASSETS = Way("/api/v1/assets", "assets", (), Workbook)
FINDINGS = Way("/api/v1/findings", "findings", (), findings.FindingPage)
EXTENT = Way("/api/v1/affected", "affected", (), affected.Extent, fixed=("--count",))
AFFECTED_RUNS = Way("/api/v1/affected/runs", "affected", (), affected.AffectedRuns, fixed=("--list", "runs"))
AFFECTED_IMAGES = Way("/api/v1/affected/images", "affected", (), affected.AffectedImages, fixed=("--list", "images"))
EXPORT = Way("/api/v1/exports", "export", renamed=(("since", "from"), ("until", "to")))


class Door:
    """An inventory as it is asked through `ask`, which answers with the bytes, or None for what is not there."""

    def __init__(self, ask: Callable[[Way, Parameters], bytes | None]) -> None:
        self._ask = ask
        self.used: set[Way] = set()
        self.packages = SimpleNamespace(packages=self._packages)
        self.components = SimpleNamespace(components=self._family(COMPONENTS))
        self.admissions = SimpleNamespace(admissions=self._family(ADMISSIONS))
        self.refused = SimpleNamespace(refused=self._family(REFUSED))
        self.sboms = SimpleNamespace(sboms=self._family(SBOMS))
        self.assets = SimpleNamespace(assets=self._family(ASSETS))
        self.findings = SimpleNamespace(findings=self._filtered(FINDINGS))
        self.gatherer = SimpleNamespace(gather=self._gather)
        self.queries = SimpleNamespace(
            runs=self._family(RUNS),
            decisions=self._filtered(DECISIONS),
            exceptions=self._family(EXCEPTIONS),
            image=lambda digest, **parameters: self._asked(IMAGE, {"digest": digest, **parameters}),
            blob=lambda digest, **parameters: self._asked(BLOB, {"digest": digest, **parameters}),
        )
        self.affected = SimpleNamespace(
            extent=self._resting(EXTENT), images=self._resting(AFFECTED_IMAGES), runs=self._resting(AFFECTED_RUNS)
        )

    def _asked(self, way: Way, parameters: Parameters) -> Any:
        self.used.add(way)
        answer = self._ask(
            way, {name: value for name, value in parameters.items() if value is not None and value != ""}
        )
        if answer is None or way.model is None:
            return answer
        return _plain(way.model.model_validate({k: v for k, v in json.loads(answer).items() if k != "schema"}))

    def _family(self, way: Way) -> Callable[..., Any]:
        return lambda **parameters: self._asked(way, parameters)

    def _packages(self, purl: str, versions: str, **parameters: Any) -> Any:
        return self._asked(PACKAGES, {"purl": purl, "versions": versions, **parameters})

    def _filtered(self, way: Way) -> Callable[..., Any]:
        def ask(where: DecisionFilter | FindingFilter, **parameters: Any) -> Any:
            return self._asked(way, {**asdict(where), **parameters})

        return ask

    def _resting(self, way: Way) -> Callable[..., Any]:
        def ask(footing: Footing, value: str, **parameters: Any) -> Any:
            return self._asked(way, {str(footing): value, **parameters})

        return ask

    def _gather(self, chosen: Selection, *, known_at: datetime, confined: bool) -> Bundle | None:  # noqa: ARG002
        content = self._asked(EXPORT, {**asdict(chosen), "known_at": known_at})
        return Bundle(content) if content is not None else None


class Bundle:
    """What came in an evidence bundle."""

    def __init__(self, content: bytes) -> None:
        self._records: list[Any] = []
        self._content: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                file = archive.extractfile(member)
                assert file is not None, member.name
                read = file.read()
                self._content[str(Digest.of(read))] = read
                if Path(member.name).parent.name == "records":
                    self._records.append(json.loads(read))

    def leaves(self) -> Iterator[Any]:
        """The records."""
        yield from self._records

    def blob(self, digest: str) -> bytes | None:
        """The bytes that hash to this, if they are in it."""
        return self._content.get(digest)


@contextmanager
def by_call(questions: Questions, settings: InventorySettings) -> Iterator[Door]:
    """Through the REST interface."""
    app = create_app(questions, evidence=Evidence(inventory=settings))
    with asyncio.Runner() as runner:

        def ask(way: Way, parameters: Parameters) -> bytes | None:
            path = way.path.format(**{name: quote(str(value), safe=":") for name, value in parameters.items()})
            query = {_camel(k): _text(v) for k, v in parameters.items() if f"{{{k}}}" not in way.path}
            answer = runner.run(call(app, "GET", path, query=urlencode(query), headers={"host": "127.0.0.1"}))
            assert answer.status in {200, 404}, (path, query, answer.body)
            return answer.body if answer.status == 200 else None

        yield Door(ask)


def by_command(settings: InventorySettings) -> Door:
    """Through the commands, each as it is typed, in this process."""
    where = ["--database-url", settings.database_url]

    def ask(way: Way, parameters: Parameters) -> bytes | None:
        given = dict(parameters)
        # An object is named as kubectl names it.
        if way is ADMISSIONS and "namespace" in given:
            given["name"] = f"{given.pop('namespace')}/{given['name']}"
        words = [str(given.pop(name)) for name in way.words if name in given]
        command = ["inventory", way.command, *words, *way.fixed, *_flags(given, dict(way.renamed)), *where]
        if way is EXPORT:
            command += ["-O", "-", "--ledger-directory", settings.ledger_directory]
        elif way.model is not None:
            command += ["-o", "json"]
        with _standard_output() as written, redirect_stderr(io.StringIO()) as said:
            status = run(command)
        assert status in {0, ABSENT}, (command, said.getvalue())
        if status == ABSENT:
            code = said.getvalue().split(":")[1].strip()
            assert code in UNKNOWN, (command, said.getvalue())
            return UNKNOWN[code]
        return written.getvalue()

    return Door(ask)


@contextmanager
def _standard_output() -> Iterator[io.BytesIO]:
    before, written = sys.stdout, io.BytesIO()
    sys.stdout = io.TextIOWrapper(written, encoding="utf-8", write_through=True)
    try:
        yield written
    finally:
        sys.stdout.detach()  # type: ignore[attr-defined]
        sys.stdout = before


def _flags(parameters: Parameters, renamed: Mapping[str, str]) -> Iterator[str]:
    for name, value in parameters.items():
        flag = f"--{renamed.get(name, name).replace('_', '-')}"
        if value is False:
            yield from NEGATED.get(name, ())
        elif value is True:
            yield flag
        else:
            yield from (flag, _text(value))


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _camel(name: str) -> str:
    head, *tail = name.replace("-", "_").split("_")
    return head + "".join(map(str.capitalize, tail))


def _plain(value: Any) -> Any:
    """Values of the same names, lists as tuples: comparable with what the program's own records hold."""
    if isinstance(value, BaseModel):
        return SimpleNamespace(**{name: _plain(getattr(value, name)) for name in type(value).model_fields})
    if isinstance(value, list):
        return tuple(map(_plain, value))
    return value
