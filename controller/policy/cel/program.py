"""A compiled expression, and the one edge at which everything that may go wrong inside becomes Assay's own error."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.errors import LimitExceeded, Unacceptable
from controller.policy.cel import tree
from controller.policy.cel.checker import Environment, check
from controller.policy.cel.failure import CelError
from controller.policy.cel.interpreter import Compiler, Frame, Run
from controller.policy.cel.libraries import TABLE
from controller.policy.cel.meter import Abort, Meter
from controller.policy.cel.problem import ExpressionError, ExpressionFailed
from controller.policy.cel.schema import BOOL, NULL, STRING, STRING_OR_NULL, Type
from controller.policy.cel.syntax import Node
from controller.policy.cel.tree import MAX_HEIGHT, TYPE_NAMES
from controller.policy.cel.unify import matches
from controller.policy.cel.values import type_name
from controller.settings import PolicySettings

_FRAMES_PER_LEVEL = 8  # of Python's stack, for one level of a tree: read, checked, compiled or evaluated
STACK = MAX_HEIGHT * _FRAMES_PER_LEVEL + 1000

_NOT_WANTED = {
    BOOL: ("ExpressionNotBoolean", "boolean"),
    STRING: ("ExpressionNotString", "string"),
    STRING_OR_NULL: ("ExpressionNotString", "string and not null"),
}


@dataclass(frozen=True, slots=True)
class Program:
    """A checked expression.

    `reads` are the names (`object`) and fields (`image.tag`) that it may read; `type` is what it gives, as far as that
    is known without evaluating it.
    """

    text: str
    reads: frozenset[str]
    type: Type
    tree: Node
    _run: Run
    _loops: int

    def evaluate(self, bindings: Mapping[str, Any], meter: Meter) -> Any:
        """The value. `bindings` are values as `to_cel` takes them. Raises `Abort` and `CelError`."""
        return self._run(Frame(bindings, meter, self._loops))

    def replaced(self, run: Run) -> Program:
        """The same with another function in the place of the compiled one (`controller.policy.cel.tracing`)."""
        return dataclasses.replace(self, _run=run)

    def value(self, bindings: Mapping[str, Any], meter: Meter) -> Any:
        """The value. Raises `Unacceptable` (`ExpressionFailed`, or what a function met) and `LimitExceeded`."""
        enough_stack()
        try:
            return self.evaluate(bindings, meter)
        except Abort as exc:
            raise exc.error from exc
        except CelError as exc:
            raise ExpressionFailed(exc.message, exc.place, self.text) from exc
        except RecursionError as exc:
            raise LimitExceeded("policy_cel_max_depth", "the expression or a value is nested too deeply") from exc
        except Exception as exc:  # a fault of ours is an Error of this rule, not a crash, and nothing passed over it
            raise Unacceptable("ExpressionFailed", f"the interpreter failed ({type(exc).__name__})") from exc

    def holds(self, bindings: Mapping[str, Any], meter: Meter) -> bool:
        """Whether the expression is true; only a real boolean counts.

        Raises as `value` does, and `Unacceptable` (`ExpressionNotBoolean`).
        """
        value = self.value(bindings, meter)
        if value is not True and value is not False:
            raise Unacceptable("ExpressionNotBoolean", f"the expression is no boolean but {_described(value)}")
        return value

    def as_text(self, bindings: Mapping[str, Any], meter: Meter) -> str:
        """The expression's string. Raises as `value` does, and `Unacceptable` (`ExpressionNotString`)."""
        value = self.value(bindings, meter)
        if not isinstance(value, str):
            raise Unacceptable("ExpressionNotString", f"the expression is no string but {_described(value)}")
        return value

    def as_text_or_null(self, bindings: Mapping[str, Any], meter: Meter) -> str | None:
        """The expression's string, None for null. Raises as `as_text` does."""
        value = self.value(bindings, meter)
        if value is not None and not isinstance(value, str):
            message = f"the expression is neither a string nor null but {_described(value)}"
            raise Unacceptable("ExpressionNotString", message)
        return value


def enough_stack() -> None:
    """Let Python's stack be as deep as a tree may be, macros in macros included."""
    if sys.getrecursionlimit() < STACK:
        sys.setrecursionlimit(STACK)


def compile_expression(
    text: str, environment: Environment, limits: PolicySettings, *, wanted: Type | None = None
) -> Program:
    """Parse and check an expression, which gives a value of the type `wanted` if that can be told.

    Raises `PolicyError` (see `tree.parse` and `checker.check`; `ExpressionNotBoolean`, `ExpressionNotString`).
    """
    enough_stack()
    parsed = tree.parse(text, limits, TABLE.qualified)
    checked = check(parsed, environment, text)
    if wanted is not None and not _fits(wanted, checked.type):
        code, name = _NOT_WANTED[wanted]
        message = f"the expression is no {name} but {checked.type.name}"
        raise ExpressionError(code, message, parsed.place, text)
    compiler = Compiler(TABLE, TYPE_NAMES - environment.names.keys())
    run = compiler.compile(parsed)
    return Program(text, checked.reads, checked.type, parsed, run, compiler.loops)


def _fits(wanted: Type, actual: Type) -> bool:
    return matches(wanted, actual, {}) or (wanted == STRING_OR_NULL and actual == NULL)


def _described(value: Any) -> str:
    return "null" if value is None else f"a value of type {type_name(value)}"
