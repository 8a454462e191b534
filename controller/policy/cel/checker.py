"""Checks a whole expression when a policy is read: names, fields, functions, arguments, and types.

What this refuses would otherwise be an error at some pod's admission, and an error inside of `||` is one that nobody
sees. It also finds which names an expression reads, by which rules are divided into those that are judged once for a
digest and those that are judged at each request.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.policy.cel.libraries import TABLE
from controller.policy.cel.overloads import UNKNOWN, ConstantError, Dispatcher, Listed, Overload, applied
from controller.policy.cel.problem import ExpressionError
from controller.policy.cel.scan import RESERVED
from controller.policy.cel.schema import (
    BOOL,
    BYTES,
    DOUBLE,
    DYN,
    INT,
    NOTHING,
    NULL,
    STRING,
    TYPE,
    UINT,
    Type,
    list_of,
    map_of,
)
from controller.policy.cel.syntax import (
    Call,
    Conditional,
    ListLiteral,
    Literal,
    Logical,
    Macro,
    MapLiteral,
    Name,
    Node,
    Place,
    Select,
)
from controller.policy.cel.tree import MACROS, TYPE_NAMES
from controller.policy.cel.unify import Bound, join, matches, resolved
from controller.policy.cel.values import kind_of

_LITERALS = {"bool": BOOL, "int": INT, "uint": UINT, "double": DOUBLE, "string": STRING, "bytes": BYTES, "type": TYPE}
_KEYS = frozenset({"bool", "int", "uint", "string", "dyn", "nothing"})

Scope = Mapping[str, Type]


@dataclass(frozen=True, slots=True)
class Environment:
    """What an expression may read.

    `names` are the names with their types; `refused` those that this place does not have, each with a code and the
    reason why.
    """

    names: Mapping[str, Type]
    refused: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found: the expression's type, and what it reads (`name`, or `name.field` where only that is)."""

    type: Type
    reads: frozenset[str]


def check(tree: Node, environment: Environment, text: str) -> Checked:
    """Check an expression.

    Raises `ExpressionError` (`NameUnknown`, `FieldUnknown`, `FunctionUnknown`, `ArgumentCount`, `ArgumentInvalid`,
    `TypeMismatch`, `NameNotHere`, `NotSupported`, or a code of `Environment.refused` or of a constant's check).
    """
    checker = _Checker(environment, text)
    found = checker.infer(tree, {})
    return Checked(found, frozenset(checker.reads))


class _Checker:
    def __init__(self, environment: Environment, text: str) -> None:
        self._environment = environment
        self._text = text
        self.reads: set[str] = set()

    def infer(self, node: Node, scope: Scope) -> Type:
        """The type of a node; checks everything below it. `scope` are the loop variables."""
        match node:
            case Literal():
                return _LITERALS.get(kind_of(node.value), NULL)
            case Name():
                return self._name(node, scope, read_as=None)
            case Select():
                return self._select(node, scope)
            case Call():
                return self._call(node, scope)
            case Logical():
                return self._logical(node, scope)
            case Conditional():
                return self._conditional(node, scope)
            case ListLiteral():
                return list_of(self._joined([self.infer(item, scope) for item in node.items]))
            case MapLiteral():
                return self._map(node, scope)
        return self._macro(node, scope)

    def _name(self, node: Name, scope: Scope, *, read_as: str | None) -> Type:
        name = node.name
        if name in scope:
            return scope[name]
        found = self._environment.names.get(name)
        if found is not None:
            self.reads.add(read_as or name)
            return found
        if name in TYPE_NAMES:
            return TYPE
        if name in self._environment.refused:
            code, why = self._environment.refused[name]
            raise self._error(node.place, code, why)
        hint = _nearest(name, [*self._environment.names, *scope])
        raise self._error(node.place, "NameUnknown", f"there is no name {name!r} here{hint}")

    def _select(self, node: Select, scope: Scope) -> Type:
        root = node.operand
        if isinstance(root, Name) and root.name not in scope:
            base = self._name(root, scope, read_as=f"{root.name}.{node.field}")
        else:
            base = self.infer(root, scope)
        found = self._field(base, node.field, node.field_place)
        return BOOL if node.test else found

    def _field(self, base: Type, name: str, where: Place) -> Type:
        if name in base.elsewhere:
            raise self._error(where, "NameNotHere", f"{name!r} is not known here: nothing was fetched yet")
        if base.fields is not None:
            if name not in base.fields:
                hint = _nearest(name, list(base.fields))
                raise self._error(where, "FieldUnknown", f"there is no field {name!r} here{hint}")
            return base.fields[name]
        if not (base.is_open or base.is_map or base.kind == "nothing"):
            raise self._error(where, "FieldUnknown", f"there is no field {name!r}: {base.name} has no fields")
        return base.element or DYN

    def _logical(self, node: Logical, scope: Scope) -> Type:
        sign = "&&" if node.conjunction else "||"
        for operand in node.operands:
            found = self.infer(operand, scope)
            if not _may_be(found, BOOL):
                raise self._error(operand.place, "TypeMismatch", f"{sign} needs booleans, and this is {found.name}")
        return BOOL

    def _conditional(self, node: Conditional, scope: Scope) -> Type:
        condition = self.infer(node.condition, scope)
        if not _may_be(condition, BOOL):
            message = f"the condition of ?: is a boolean, and this is {condition.name}"
            raise self._error(node.condition.place, "TypeMismatch", message)
        then, otherwise = self.infer(node.then, scope), self.infer(node.otherwise, scope)
        joined = join(then, otherwise)
        if joined is None and NULL in (then, otherwise):
            return DYN  # how an audit annotation says that there is none
        if joined is None:
            message = f"both sides of ?: have one type, and these are {then.name} and {otherwise.name}"
            raise self._error(node.place, "TypeMismatch", message)
        return joined

    def _map(self, node: MapLiteral, scope: Scope) -> Type:
        keys, values = [], []
        for key, value in node.entries:
            found = self.infer(key, scope)
            if found.kind not in _KEYS:
                message = f"a map's keys are strings, ints, uints or booleans, and this is {found.name}"
                raise self._error(key.place, "TypeMismatch", message)
            keys.append(found)
            values.append(self.infer(value, scope))
        return map_of(self._joined(values), self._joined(keys))

    def _joined(self, types: Iterable[Type]) -> Type:
        result: Type = NOTHING
        for found in types:
            joined = join(result, found)
            if joined is None:
                return DYN  # mixed literals may hold anything
            result = joined
        return result

    def _macro(self, node: Macro, scope: Scope) -> Type:
        base = self.infer(node.target, scope)
        if node.variable in self._environment.names or node.variable in RESERVED:
            message = f"{node.variable!r} has a meaning of its own; name the loop variable otherwise"
            raise self._error(node.variable_place, "ArgumentInvalid", message)
        listed = node.name == "sortBy"
        if not (base.is_open or base.is_list or base.kind == "nothing" or (base.is_map and not listed)):
            wanted = "a list" if listed else "a list or a map"
            raise self._error(node.name_place, "TypeMismatch", f"{node.name} needs {wanted}, and this is {base.name}")
        element = (base.element or DYN) if base.is_list else (base.key or STRING) if base.is_map else DYN
        inner = {**scope, node.variable: element}
        if node.condition is not None:
            found = self.infer(node.condition, inner)
            if not _may_be(found, BOOL):
                message = f"the condition of {node.name} is a boolean, and this is {found.name}"
                raise self._error(node.condition.place, "TypeMismatch", message)
        if node.body is None:
            return list_of(element) if node.name == "filter" else BOOL
        result = self.infer(node.body, inner)
        return list_of(element) if listed else list_of(result)

    def _call(self, node: Call, scope: Scope) -> Type:
        method = node.target is not None
        self._check_namespace(node, scope)
        if node.name == "_[_]":
            return self._index(node, scope)
        types = [self.infer(operand, scope) for operand in node.operands]
        if method and node.name in types[0].elsewhere:
            raise self._error(node.name_place, "NameNotHere", f"{node.name} is not known here: nothing was fetched yet")
        dispatcher = TABLE.get(node.name, method=method)
        if dispatcher is None:
            raise self._unknown_function(node)
        chosen = self._choose(node, dispatcher, types)
        self._check_constants(node, [overload for overload, _ in chosen])
        self.reads.update(overload.reads for overload, _ in chosen if overload.reads)
        results = [resolved(overload.result, bound) for overload, bound in chosen]
        return results[0] if all(result == results[0] for result in results) else DYN

    def _index(self, node: Call, scope: Scope) -> Type:
        base, index = (self.infer(operand, scope) for operand in node.arguments)
        key = node.arguments[1]
        if base.fields is not None and base.is_map and isinstance(key, Literal) and isinstance(key.value, str):
            return self._field(base, key.value, key.place)
        wanted = INT if base.is_list else STRING if base.kind == "object" or base.base == "map" else base.key or DYN
        if not (base.is_open or base.is_list or base.is_map or base.kind == "nothing"):
            raise self._error(node.place, "TypeMismatch", f"{base.name} has no entries to take one of by [ ]")
        if not _may_be(index, wanted):
            message = f"the index of {base.name} is {wanted.name}, and this is {index.name}"
            raise self._error(key.place, "TypeMismatch", message)
        return DYN if base.fields is not None and base.is_map else base.element or DYN

    def _choose(self, node: Call, dispatcher: Dispatcher, types: list[Type]) -> list[tuple[Overload, Bound]]:
        counted = dispatcher.of_count(len(types))
        receiver = 1 if dispatcher.method else 0
        if not counted:
            allowed = sorted({len(o.parameters) for o in dispatcher.overloads})
            expected = " or ".join(map(str, allowed))
            message = f"{node.name} takes {expected} arguments, not {len(types) - receiver}"
            raise self._error(node.name_place, "ArgumentCount", message)
        chosen = [(o, bound) for o in counted if (bound := _bound(o, types)) is not None]
        if chosen:
            return chosen
        if receiver and not any(matches(o.operands[0], types[0], {}) for o in dispatcher.overloads):
            owners = " or ".join(sorted({o.operands[0].name for o in dispatcher.overloads}))
            message = f"{node.name} is a function of {owners} only, and this is {types[0].name}"
            raise self._error(node.name_place, "FunctionUnknown", message)
        tried = applied(node.name, [found.name for found in types], method=dispatcher.method)
        message = f"there is no {tried}{_wanted(node.name, counted)}"
        raise self._error(node.name_place, "TypeMismatch", message)

    def _check_constants(self, node: Call, chosen: list[Overload]) -> None:
        """Refuse constants that no overload takes: of an open receiver it is not known which one it will be."""
        constants = [_constant(operand) for operand in node.operands]
        counted = [_counted(o, value) for o, value in zip(node.operands, constants, strict=True)]
        refusal: ConstantError | None = None
        for overload in chosen:
            if overload.check is None:
                return
            try:
                overload.check(*(counted if overload.counts else constants))
            except ConstantError as exc:
                refusal = refusal or exc
            else:
                return
        if refusal is not None:
            raise self._error(node.operands[refusal.position].place, refusal.code, refusal.message) from refusal

    def _check_namespace(self, node: Call, scope: Scope) -> None:
        """`sets.contians(…)`: what is missing is a function, not a name `sets`."""
        if not isinstance(node.target, Name) or node.target.name in {*scope, *self._environment.names}:
            return
        if node.target.name in TABLE.namespaces:
            known = [name for name in TABLE.qualified if name.startswith(f"{node.target.name}.")]
            name = f"{node.target.name}.{node.name}"
            raise self._error(
                node.place, "FunctionUnknown", f"there is no such function {name!r}{_nearest(name, known)}"
            )

    def _unknown_function(self, node: Call) -> ExpressionError:
        method = node.target is not None
        known = [*TABLE.names(method=method), *(MACROS if method else ("has",))]
        if TABLE.get(node.name, method=not method) is not None:
            hint = "; it is a function, not a method" if method else "; it is a method: write it behind its receiver"
        else:
            hint = _nearest(node.name, known)
        return self._error(node.name_place, "FunctionUnknown", f"there is no such function {node.name!r}{hint}")

    def _error(self, where: Place, code: str, message: str) -> ExpressionError:
        return ExpressionError(code, message, where, self._text)


def _bound(overload: Overload, types: list[Type]) -> Bound | None:
    bound: Bound = {}
    fits = all(matches(declared, actual, bound) for declared, actual in zip(overload.operands, types, strict=True))
    return bound if fits else None


def _constant(node: Node) -> Any:
    """The value of a literal, of a list or of a map of them; `UNKNOWN` for anything else."""
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, ListLiteral):
        items = [_constant(item) for item in node.items]
        return UNKNOWN if UNKNOWN in items else items
    if isinstance(node, MapLiteral):
        entries = {key.value: _constant(value) for key, value in node.entries if isinstance(key, Literal)}
        whole = len(entries) == len(node.entries) and UNKNOWN not in entries.values()
        return entries if whole else UNKNOWN
    return UNKNOWN


def _counted(node: Node, value: Any) -> Any:
    """The same, and of a list or map that is no constant what is known of it all the same."""
    if value is UNKNOWN and isinstance(node, ListLiteral):
        return Listed(len(node.items))
    if value is UNKNOWN and isinstance(node, MapLiteral):
        entries = {key.value: _constant(entry) for key, entry in node.entries if isinstance(key, Literal)}
        return entries if len(entries) == len(node.entries) else UNKNOWN
    return value


def _may_be(actual: Type, wanted: Type) -> bool:
    return matches(wanted, actual, {})


def _wanted(name: str, overloads: tuple[Overload, ...]) -> str:
    if name in {"_==_", "_!=_"}:
        return ": values of different types are never equal"
    if "_" in name or len(overloads) > 3:
        return ""
    return f"; it is {' or '.join(o.signature for o in overloads)}"


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
