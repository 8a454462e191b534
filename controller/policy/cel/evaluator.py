"""cel-python's interpreter, made fit for verdicts: metered, strict, and without its own name resolution.

Subclasses `Evaluator`, never the compiled runner: that one keeps its activation in a global and mixes up threads.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from celpy import celtypes
from celpy.evaluation import Activation, CELEvalError, Evaluator
from lark import Token, Tree

from controller.policy.cel.functions import Function
from controller.policy.cel.meter import Meter
from controller.policy.cel.tree import Node

MACROS: Mapping[str, tuple[int, ...]] = {
    "all": (2,),
    "exists": (2,),
    "exists_one": (2,),
    "map": (2, 3),
    "filter": (2,),
}

# At DEBUG the library prints whole contexts: pods with their environment values. All its loggers are below this one.
logging.getLogger("celpy").setLevel(logging.CRITICAL)


class Scope(Activation):
    """Names and functions as two plain dictionaries: what is not in them does not exist."""

    def __init__(self, names: Mapping[str, Any], functions: Mapping[str, Function]) -> None:
        super().__init__()
        self.names = dict(names)
        self.table = functions

    def resolve_variable(self, name: str) -> Any:
        """The value of a name. Raises `KeyError`."""
        return self.names[name]

    def resolve_function(self, name: str) -> Any:
        """The function of a name. Raises `KeyError`."""
        return self.table[name]

    def __repr__(self) -> str:
        return "the policy's environment"  # the library puts it into error texts; values do not belong there


class MeteredEvaluator(Evaluator):
    """Evaluates a simplified tree. Each node is a step; every result is a CEL value or a `CELEvalError`.

    The methods are called by the grammar's rule names, with trees whose children are nodes and tokens as the rule says.
    """

    def __init__(self, ast: Node, activation: Scope, meter: Meter) -> None:
        super().__init__(ast, activation)
        self.scope = activation
        self.meter = meter

    def sub_evaluator(self, ast: Node) -> MeteredEvaluator:
        """The same meter goes on in macros."""
        return MeteredEvaluator(ast, Scope(self.scope.names, self.scope.table), self.meter)

    def _visit_tree(self, tree: Any) -> Any:
        self.meter.step()
        return getattr(self, tree.data)(tree)

    def expr(self, tree: Any) -> Any:
        """`c ? a : b`: only the chosen side is evaluated; a condition that is no boolean is an error."""
        condition = self.visit(tree.children[0])
        if isinstance(condition, CELEvalError):
            return condition
        if not isinstance(condition, celtypes.BoolType):
            return CELEvalError("the condition of ?: is no boolean", TypeError, None, tree=tree)
        return self.visit(tree.children[1 if condition else 2])

    def member_dot(self, tree: Any) -> Any:
        """`a.b`: a key of a map, and nothing else. The error never shows the value that has no such field."""
        operand, name = tree.children
        member = self.visit(operand)
        if isinstance(member, CELEvalError):
            return member
        if not isinstance(member, celtypes.MapType):
            return CELEvalError(f"no field {name.value!r}: not an object", TypeError, None, tree=tree)
        if name.value not in member:
            return CELEvalError(f"no such field {name.value!r}", KeyError, None, tree=tree)
        return member[name.value]

    def macro_has_eval(self, exprlist: Any) -> Any:
        """`has(e.f)`: whether the object `e` has a field `f`. An error in `e` stays an error (CEL specification)."""
        operand, name = exprlist.children[0].children
        member = self.visit(operand)
        if isinstance(member, CELEvalError):
            return member
        if not isinstance(member, celtypes.MapType):
            return CELEvalError(f"has: no field {name.value!r}: not an object", TypeError, None, tree=exprlist)
        return celtypes.BoolType(name.value in member)

    def mapinits(self, tree: Any) -> Any:
        """A map literal. An error in it is its value."""
        values = self.visit_children(tree)
        result: dict[Any, Any] = celtypes.MapType()
        for key, value in zip(values[0::2], values[1::2], strict=True):
            if isinstance(key, CELEvalError):
                return key
            if isinstance(value, CELEvalError):
                return value
            if not celtypes.MapType.valid_key_type(key) or key in result:
                return CELEvalError(
                    "a map's keys are different strings, numbers or booleans", ValueError, None, tree=tree
                )
            result[key] = value
        return result

    def member_dot_arg(self, tree: Any) -> Any:
        """A macro, with CEL's own strictness, or a method."""
        name = tree.children[1].value
        if name not in MACROS:
            return super().member_dot_arg(tree)
        receiver = self.visit(tree.children[0])
        if isinstance(receiver, CELEvalError):
            return receiver
        if not isinstance(receiver, celtypes.ListType | celtypes.MapType):
            return CELEvalError(f"{name} needs a list or a map", TypeError, None, tree=tree)
        arguments = tree.children[2].children
        loop = _Loop(self, receiver, _variable(arguments[0]))
        match name:
            case "all":
                return loop.decide(arguments[1], until=False)
            case "exists":
                return loop.decide(arguments[1], until=True)
            case "exists_one":
                return loop.exactly_one(arguments[1])
            case "filter":
                return loop.collect(arguments[1], None)
        return loop.collect(arguments[1] if len(arguments) == 3 else None, arguments[-1])


class _Loop:
    """One macro over one list (or over the keys of one map)."""

    def __init__(self, outer: MeteredEvaluator, receiver: Any, variable: str) -> None:
        self._inner = outer.sub_evaluator(outer.ast)
        self._meter = outer.meter
        self._receiver = receiver
        self._variable = variable

    def _items(self) -> Iterator[Any]:
        for item in self._receiver:
            self._meter.step()
            bound = celtypes.StringType(item) if type(item) is str else item
            self._inner.scope.names[self._variable] = bound
            yield bound

    def _truth(self, body: Node) -> Any:
        value = self._inner.visit(body)
        if isinstance(value, celtypes.BoolType | CELEvalError):
            return value
        return CELEvalError("the macro's condition is no boolean", TypeError, None, tree=body)

    def decide(self, body: Node, *, until: bool) -> Any:
        """`exists` (until true) and `all` (until false): an error counts only if no entry decides."""
        error: CELEvalError | None = None
        for _ in self._items():
            value = self._truth(body)
            if isinstance(value, CELEvalError):
                error = error or value
            elif bool(value) is until:
                return celtypes.BoolType(until)
        return error if error is not None else celtypes.BoolType(not until)

    def exactly_one(self, body: Node) -> Any:
        """Any error is the result."""
        count = 0
        for _ in self._items():
            value = self._truth(body)
            if isinstance(value, CELEvalError):
                return value
            count += bool(value)
        return celtypes.BoolType(count == 1)

    def collect(self, condition: Node | None, body: Node | None) -> Any:
        """`filter` and `map`. Any error is the result."""
        found = []
        for item in self._items():
            keep = self._truth(condition) if condition is not None else True
            if isinstance(keep, CELEvalError):
                return keep
            if keep:
                value = self._inner.visit(body) if body is not None else item
                if isinstance(value, CELEvalError):
                    return value
                found.append(value)
                self._meter.charge(16)
        return celtypes.ListType(found)


def _variable(node: Node) -> str:
    """The loop variable; `checker` has seen to it that it is a plain name."""
    ident = node.children[0]
    if isinstance(ident, Tree) and isinstance(ident.children[0], Token):
        return str(ident.children[0].value)
    raise TypeError("a macro's first argument is a name")
