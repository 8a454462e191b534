"""What an expression comes to, as far as constants tell: a rule that can never be true denies everything.

Not a solver. It evaluates what reads nothing, carries that through `&&`, `||`, `!` and `?:`, and knows that no size is
negative. Whatever else an expression does may come out any way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from itertools import product

from controller.errors import AssayError, LimitExceeded
from controller.policy.cel.interpreter import Compiler
from controller.policy.cel.libraries import TABLE
from controller.policy.cel.meter import Meter
from controller.policy.cel.program import Program
from controller.policy.cel.schema import DYN
from controller.policy.cel.syntax import Call, Conditional, Literal, Logical, Macro, Name, Node, children
from controller.settings import PolicySettings


class Outcome(Enum):
    """How an evaluation may end."""

    TRUE = "true"
    FALSE = "false"
    FAILS = "fails"


STEPS = 2_000  # that evaluating one constant may take: a policy has hundreds of expressions, and somebody waits
Outcomes = frozenset[Outcome]
ANY: Outcomes = frozenset(Outcome)
_NOT = {Outcome.TRUE: Outcome.FALSE, Outcome.FALSE: Outcome.TRUE, Outcome.FAILS: Outcome.FAILS}
_MIRRORED = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_", "_==_": "_==_", "_!=_": "_!=_"}
_SIZES: dict[str, tuple[Callable[[int], bool], Outcome]] = {
    # a size compared with a bound: when that is settled by `size >= 0` alone, and how
    "_<_": (lambda bound: bound <= 0, Outcome.FALSE),
    "_<=_": (lambda bound: bound < 0, Outcome.FALSE),
    "_>_": (lambda bound: bound < 0, Outcome.TRUE),
    "_>=_": (lambda bound: bound <= 0, Outcome.TRUE),
    "_==_": (lambda bound: bound < 0, Outcome.FALSE),
    "_!=_": (lambda bound: bound < 0, Outcome.TRUE),
}


def outcomes(program: Program, limits: PolicySettings) -> Outcomes:
    """Every way in which the expression may end; never less than that, often more."""
    budget = replace(limits, policy_cel_steps=min(STEPS, limits.policy_cel_steps))
    return _Folder(program.text, budget).of(program.tree)


class _Folder:
    def __init__(self, text: str, limits: PolicySettings) -> None:
        self._text = text
        self._limits = limits

    def of(self, node: Node) -> Outcomes:
        if _is_constant(node):
            return self._value(node)
        match node:
            case Logical():
                return self._logical(node)
            case Call(name="!_", arguments=(operand,)):
                return frozenset(_NOT[outcome] for outcome in self.of(operand))
            case Conditional():
                return self._chosen(node)
            case Call(arguments=(left, right)) if node.target is None and node.name in _SIZES:
                return self._compared(node.name, left, right)
        return ANY

    def _logical(self, node: Logical) -> Outcomes:
        """Any operand may decide, whatever the others are; an error is the result where none does."""
        decides = Outcome.FALSE if node.conjunction else Outcome.TRUE
        found: Outcomes = frozenset({_NOT[decides]})
        for operand in node.operands:
            pairs = product(found, self.of(operand))
            found = frozenset(
                decides if decides in pair else Outcome.FAILS if Outcome.FAILS in pair else _NOT[decides]
                for pair in pairs
            )
        return found

    def _chosen(self, node: Conditional) -> Outcomes:
        branches = {Outcome.TRUE: node.then, Outcome.FALSE: node.otherwise}
        parts = (
            self.of(branches[outcome]) if outcome in branches else frozenset({outcome})
            for outcome in self.of(node.condition)
        )
        return frozenset[Outcome]().union(*parts)

    def _compared(self, name: str, left: Node, right: Node) -> Outcomes:
        if _is_size(right):
            name, left, right = _MIRRORED[name], right, left
        bound = right.value if isinstance(right, Literal) else None
        if not _is_size(left) or isinstance(bound, bool) or not isinstance(bound, int):
            return ANY
        settled, outcome = _SIZES[name]
        return frozenset({outcome, Outcome.FAILS}) if settled(bound) else ANY

    def _value(self, node: Node) -> Outcomes:
        compiler = Compiler(TABLE)
        run = compiler.compile(node)
        try:
            held = Program(self._text, frozenset(), DYN, node, run, compiler.loops).holds({}, Meter(self._limits))
        except LimitExceeded:
            return ANY  # it costs more than telling is worth
        except AssayError:
            return frozenset({Outcome.FAILS})
        return frozenset({Outcome.TRUE if held else Outcome.FALSE})


def _is_constant(node: Node) -> bool:
    """Whether a node reads nothing: its only names are those of its own loops' variables."""
    waiting: list[tuple[Node, frozenset[str]]] = [(node, frozenset())]
    while waiting:
        part, loops = waiting.pop()
        if isinstance(part, Name) and part.name not in loops:
            return False
        inner = loops | {part.variable} if isinstance(part, Macro) else loops
        waiting.extend(_below(part, loops, inner))
    return True


def _below(part: Node, loops: frozenset[str], inner: frozenset[str]) -> Iterator[tuple[Node, frozenset[str]]]:
    """The nodes below with the loop variables that they may read: a macro's target knows not its own."""
    for child in children(part):
        outside = isinstance(part, Macro) and child is part.target
        yield child, loops if outside else inner


def _is_size(node: Node) -> bool:
    return isinstance(node, Call) and node.name == "size" and len(node.operands) == 1
