"""Changes one decision of the verification at a time and asks whether any test notices (`make mutants`).

A comparison the other way round, `and` for `or`, a condition turned about: each such mutant of
`controller/verification` must make a test fail, or be one of `equivalent.txt`, which says why it decides nothing. The
checkout is not touched: every mutant is tried in a copy. It takes hours and is no part of `make test`.

    python -m tests.mutation.mutants                       # every module
    python -m tests.mutation.mutants keyed.py proof.py     # these

Exit status 1 if a mutant survives that `equivalent.txt` does not list, or one that it lists is no longer there.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = Path("controller/verification")
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
TESTS = (
    "tests/unit/verification",
    "tests/security/test_verification_tampering.py",
    "tests/security/test_verification_legacy.py",
)
# What is most likely to notice is asked first, where it is not `test_MODULE.py`.
FIRST = {
    "keyless.py": "verifier",
    "trust.py": "certificates",
    "witnesses.py": "keyed",
    "fulcio.py": "identities",
    "simple_signing.py": "legacy",
    "ed25519ph.py": "keys",
    "signatures.py": "verifier",
    "timestamps.py": "verifier",
}
ELSEWHERE = {"tuf.py": ("tests/contract/test_tuf.py",)}
TIMEOUT = 600  # seconds for the tests of one mutant: one that hangs is noticed as well
_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_CALLED = {"all": "any", "any": "all", "min": "max", "max": "min"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: `was` became `now` in `function` of `module`; `source` is the whole module with it."""

    module: str
    line: int
    function: str
    was: str
    now: str
    source: str

    @property
    def name(self) -> str:
        """What `equivalent.txt` calls it: without the line's number, which moves."""
        return f"{self.module} {self.function}: {self.was} -> {self.now}"


def mutants(path: Path) -> Iterator[Mutant]:
    """Every mutant of a module."""
    tree = ast.parse(path.read_text())
    seen = {ast.unparse(tree)}
    for function, node, is_condition in _decisions(tree):
        for changed in _changes(node, is_condition=is_condition):
            mutated = _Replace(node, changed).visit(copy.deepcopy(tree))
            source = ast.unparse(ast.fix_missing_locations(mutated))
            was, now = (" ".join(ast.unparse(each).split()) for each in (node, changed))
            if source not in seen:
                seen.add(source)
                yield Mutant(path.name, node.lineno, function, was, now, source)


def _decisions(tree: ast.Module) -> Iterator[tuple[str, ast.expr, bool]]:
    """The expressions that decide something, with the function that they are in; whether each is a whole condition."""

    def walk(node: ast.AST, function: str) -> Iterator[tuple[str, ast.expr, bool]]:
        for child in ast.iter_child_nodes(node):
            inner = child.name if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) else function
            if isinstance(child, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Call):
                yield inner, child, False
            yield from walk(child, inner)
        if isinstance(node, ast.If | ast.IfExp):
            yield function, node.test, True

    yield from walk(tree, "")


def _changes(node: ast.expr, *, is_condition: bool) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(ops=ops) if not is_condition:  # it comes as itself
            for number, op in enumerate(ops):
                changed = copy.deepcopy(node)
                changed.ops[number] = _COMPARED[type(op)]()
                yield changed
        case ast.BoolOp(op=op) if not is_condition:
            changed_ = copy.deepcopy(node)
            changed_.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield changed_
        case ast.UnaryOp(op=ast.Not(), operand=operand) if not is_condition:
            yield copy.deepcopy(operand)
        case ast.Call(func=ast.Name(id=name)) if name in _CALLED:
            called = copy.deepcopy(node)
            called.func = ast.Name(_CALLED[name], ast.Load())
            yield called
        case ast.Name() | ast.Attribute() | ast.Call() if is_condition:
            yield ast.UnaryOp(ast.Not(), copy.deepcopy(node))


class _Replace(ast.NodeTransformer):
    """Puts `new` where `old` stands (the same kind of node in the same place)."""

    def __init__(self, old: ast.expr, new: ast.expr) -> None:
        self._place = (type(old), old.lineno, old.col_offset, old.end_lineno, old.end_col_offset)
        self._new = new

    def visit(self, node: ast.AST) -> ast.AST:
        """Replace, or go on inside."""
        if isinstance(node, ast.expr):
            place = (type(node), node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)
            if place == self._place:
                return self._new
        return self.generic_visit(node)


def passes(module: str, copied: Path) -> bool:
    """Whether the tests of the module pass in the copy as it stands. Raises `RuntimeError` when they cannot be run."""
    own = Path("tests/unit/verification") / f"test_{FIRST.get(module, module.removesuffix('.py'))}.py"
    if module not in ELSEWHERE and (copied / own).exists() and not _run((str(own),), copied):
        return False
    return _run(ELSEWHERE.get(module, TESTS), copied)


def _run(tests: Sequence[str], copied: Path) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copied), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, check=False, cwd=copied, env=environment, timeout=TIMEOUT, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in {0, 1, 2}:  # 1: a test failed; 2: the mutant cannot even be imported
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def survives(mutant: Mutant, copied: Path) -> bool:
    """Whether no test fails when this mutant stands in the copy of the checkout."""
    path = copied / PACKAGE / mutant.module
    original = path.read_text()
    path.write_text(mutant.source)
    try:
        return passes(mutant.module, copied)
    finally:
        path.write_text(original)


def equivalents() -> dict[str, str]:
    """The mutants that decide nothing, by name, each with its reason."""
    lines = [line for line in EQUIVALENT.read_text().splitlines() if line and not line.startswith("#")]
    return dict(tuple(map(str.strip, line.split(" | ", 1))) for line in lines)  # type: ignore[misc]  # two parts


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants of the modules that are named (default: all); return the exit status."""
    parser = argparse.ArgumentParser(description="Change one decision of the verification at a time.")
    parser.add_argument("modules", nargs="*", help="Modules of controller/verification; default: all.")
    chosen = parser.parse_args(arguments).modules
    paths = [CHECKOUT / PACKAGE / name for name in chosen] or sorted((CHECKOUT / PACKAGE).glob("*.py"))
    every = [mutant for path in paths for mutant in mutants(path)]
    known, began, survivors = equivalents(), time.monotonic(), []
    with TemporaryDirectory(prefix="assay-mutants-") as scratch:
        copied = Path(scratch) / "checkout"
        shutil.copytree(CHECKOUT, copied, ignore=shutil.ignore_patterns(".venv", ".git", ".*_cache"))
        for module in ("", *ELSEWHERE):
            if not passes(module, copied):
                sys.exit("the tests fail without any mutant")
        for number, mutant in enumerate(every, 1):
            if mutant.name in known:
                continue
            if survives(mutant, copied):
                survivors.append(mutant)
                print(f"SURVIVED {mutant.module}:{mutant.line} {mutant.name}", flush=True)
            if number % 20 == 0:
                print(f"{number} of {len(every)}, {time.monotonic() - began:.0f} s", flush=True)
    names = {mutant.name for mutant in every}
    stale = [name for name in known if name not in names and name.split()[0] in {path.name for path in paths}]
    for name in stale:
        print(f"NO LONGER THERE {name}")
    print(f"{len(every)} mutants, {len(survivors)} survived, {len(known)} known to decide nothing")
    return 1 if survivors or stale else 0


if __name__ == "__main__":
    sys.exit(main())
