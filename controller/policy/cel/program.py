"""A compiled expression, and the one edge at which everything that may go wrong inside becomes Assay's own error."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celpy import celtypes
from celpy.evaluation import CELEvalError

from controller.errors import LimitExceeded, Unacceptable
from controller.policy.cel import functions, tree
from controller.policy.cel.checker import Environment, check
from controller.policy.cel.evaluator import MeteredEvaluator, Scope
from controller.policy.cel.meter import Abort, Meter
from controller.policy.cel.tree import MAX_HEIGHT, Node
from controller.policy.cel.values import to_cel
from controller.settings import PolicySettings

_FRAMES_PER_LEVEL = 8  # of Python's stack, for one level of a simplified tree, macros included
STACK = MAX_HEIGHT * _FRAMES_PER_LEVEL + 1000

_TYPE_NAME = re.compile(r"<class '[\w.]*?(\w+?)(?:Type)?'>")


@dataclass(frozen=True, slots=True)
class Program:
    """A checked expression. `reads` are the names (`object`) and fields (`image.tag`) that it may read."""

    text: str
    reads: frozenset[str]
    _tree: Node

    def evaluate(self, bindings: Mapping[str, Any], meter: Meter) -> Any:
        """The CEL value, a `CELEvalError` among them: only `holds` and `as_text` make a verdict of it.

        `bindings` are values as `to_cel` takes them. Raises `Abort`.
        """
        scope = Scope({name: to_cel(value) for name, value in bindings.items()}, functions.table(meter))
        return MeteredEvaluator(self._tree, scope, meter).visit(self._tree)

    def holds(self, bindings: Mapping[str, Any], meter: Meter) -> bool:
        """Whether the expression is true; only a real boolean counts.

        Raises `Unacceptable` (`ExpressionFailed`, `ExpressionNotBoolean`, or what an evidence function met) and
        `LimitExceeded`.
        """
        value = self._value(bindings, meter)
        if not isinstance(value, celtypes.BoolType):
            message = f"the expression is no boolean but {_type_name(value)}"
            raise Unacceptable("ExpressionNotBoolean", message)
        return bool(value)

    def as_text(self, bindings: Mapping[str, Any], meter: Meter) -> str:
        """The expression's string. Raises as `holds` does (`ExpressionNotString`)."""
        value = self._value(bindings, meter)
        if not isinstance(value, celtypes.StringType):
            raise Unacceptable("ExpressionNotString", f"the expression is no string but {_type_name(value)}")
        return str(value)

    def as_text_or_null(self, bindings: Mapping[str, Any], meter: Meter) -> str | None:
        """The expression's string, None for null. Raises as `holds` does (`ExpressionNotString`)."""
        value = self._value(bindings, meter)
        if value is None:
            return None
        if not isinstance(value, celtypes.StringType):
            message = f"the expression is neither a string nor null but {_type_name(value)}"
            raise Unacceptable("ExpressionNotString", message)
        return str(value)

    def _value(self, bindings: Mapping[str, Any], meter: Meter) -> Any:
        if sys.getrecursionlimit() < STACK:
            sys.setrecursionlimit(STACK)
        try:
            value = self.evaluate(bindings, meter)
        except Abort as exc:
            raise exc.error from exc
        except RecursionError as exc:
            raise LimitExceeded("policy_cel_max_depth", "the expression or a value is nested too deeply") from exc
        except Exception as exc:  # whatever the library trips over is an Error of this rule, not a crash
            raise Unacceptable("ExpressionFailed", f"the interpreter failed ({type(exc).__name__})") from exc
        if isinstance(value, CELEvalError):
            raise Unacceptable("ExpressionFailed", explain(value))
        return value


def compile_expression(text: str, environment: Environment, limits: PolicySettings) -> Program:
    """Parse and check an expression. Raises `PolicyError` (see `tree.parse` and `checker.check`)."""
    parsed = tree.parse(text, limits)
    return Program(text=text, reads=check(parsed, environment), _tree=parsed)


def explain(error: CELEvalError) -> str:
    """What went wrong, and where; types are named, values never shown (guarantee 12)."""
    text = _TYPE_NAME.sub(lambda match: match[1].lower(), str(error.args[0]) if error.args else "error")
    where = f"line {error.line}, column {error.column}: " if error.line and error.column else ""
    return f"{where}{text}"


def _type_name(value: Any) -> str:
    names = {
        celtypes.StringType: "a string",
        celtypes.IntType: "an int",
        celtypes.UintType: "a uint",
        celtypes.DoubleType: "a double",
        celtypes.BytesType: "bytes",
    }
    if value is None:
        return "null"
    if isinstance(value, celtypes.ListType):
        return "a list"
    if isinstance(value, celtypes.MapType):
        return "an object"
    return names.get(type(value), "another value")
