"""The figures of the evidence inventory: each question has a row of its own."""

from __future__ import annotations

from tests.bench.estate.asking import QUESTIONS
from tests.bench.estate.report import Run, markdown

MADE = {
    "rows": {"decision": 1},
    "seconds": {},
    "bytes": {"blob": 0},
    "counts": {"leaf": 1},
    "documents": {},
    "images": 1,
    "leaf bytes": 1,
    "files": 0,
    "tenths": [1.0],
}
MACHINE = {"date": "2026-01-01 00:00 UTC", "cpus": 2, "kernel": "6.1", "python": "3.11.7", "load": 0.1}


def run(kind: str, first: int) -> Run:
    """A run in which each question took another time than all others."""
    questions = [
        {
            "number": question.number,
            "what": question.what,
            "goal": 300,
            **{name: float(number) for name in ("p50", "p95", "cpu")},
            "failed": 0,
            "times": 1,
        }
        for number, question in enumerate(QUESTIONS, first)
    ]
    return {"kind": kind, "size": 1, "made": MADE, "machine": MACHINE, "questions": questions}


def test_no_two_questions_are_taken_for_one() -> None:
    names = [(question.number, question.what) for question in QUESTIONS]
    assert len(set(names)) == len(names)
    page = markdown([run("sqlite", 0), run("postgresql", 100)])
    rows = [line.strip("| ").split(" | ") for line in page.splitlines()]
    shown = {(int(row[0]), row[1]): row[3:] for row in rows if row[0].isdecimal()}
    told = [shown[name] for name in names]
    assert told == [[f"{at}.0 / {at}.0 ({at}.0)" for at in (n, 100 + n)] for n in range(len(QUESTIONS))]
