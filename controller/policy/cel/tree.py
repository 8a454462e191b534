"""From text to a syntax tree that is shallow, and bounded before anything walks it.

The only module that knows cel-python: its grammar reads the text, and the parser's tree (eight nodes for every name)
becomes ours here, with macros recognised as CEL does it, by name and number of arguments. The grammar is run by a
parser of our own: the library's is one for all threads and loses the places of `true` and `false`.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any

import celpy
from lark import Lark, Token, Tree
from lark.exceptions import LarkError, UnexpectedCharacters, UnexpectedToken

from controller.errors import PolicyError
from controller.policy.cel import scan
from controller.policy.cel.problem import ExpressionError, place_at
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
from controller.policy.cel.values import TypeValue
from controller.settings import PolicySettings

MAX_HEIGHT = 200  # levels of a tree, chains of + or . included (&& and || chains are one level); bounds the stack
_MAX_DOTTED = 3  # names of the longest `google.protobuf.Timestamp`

MACROS: dict[str, tuple[int, ...]] = {
    "all": (2,),
    "exists": (2,),
    "exists_one": (2,),
    "map": (2, 3),
    "filter": (2,),
    "sortBy": (2,),
}
TYPE_NAMES = frozenset(
    {"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint", "optional_type"}
    | {"google.protobuf.Timestamp", "google.protobuf.Duration", "net.IP", "net.CIDR"}
    | {"kubernetes.URL", "kubernetes.Quantity", "kubernetes.Semver", "kubernetes.NamedFormat"}
)
_TWO_VARIABLES = {"all": 3, "exists": 3, "exists_one": 3, "existsOne": 3}
_TRANSFORMS = frozenset({"transformList", "transformMap", "transformMapEntry"})
_REFUSED = {
    "optMap": "optional values are not supported; use has()",
    "optFlatMap": "optional values are not supported; use has()",
    "reduce": "reduce is no part of CEL and not supported",
}
_REFUSED_NAMESPACES = {
    "cel": "the functions of cel (bind, block) are not supported; use spec.variables",
    "optional": "optional values are not supported; use has()",
}
_BINARY = {
    "relation_lt": "_<_",
    "relation_le": "_<=_",
    "relation_ge": "_>=_",
    "relation_gt": "_>_",
    "relation_eq": "_==_",
    "relation_ne": "_!=_",
    "relation_in": "_in_",
    "addition_add": "_+_",
    "addition_sub": "_-_",
    "multiplication_mul": "_*_",
    "multiplication_div": "_/_",
    "multiplication_mod": "_%_",
}
_PASSING = frozenset({"expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary"}) | {
    "member",
    "primary",
    "paren_expr",
}
_lock = threading.Lock()

_Parsed = Tree[Token]


def parse(text: str, limits: PolicySettings, qualified: Collection[str] = ()) -> Node:
    """The tree of an expression. `qualified` are the functions with a namespace, such as `sets.contains`.

    Raises `ExpressionError` (`ExpressionMalformed`, `ExpressionTooLong`, `ExpressionTooDeep`, `NameReserved`,
    `NotSupported`, `ArgumentCount`, `ArgumentInvalid`).
    """
    if len(text) > limits.policy_cel_max_length:
        raise PolicyError(
            "ExpressionTooLong",
            f"has {len(text)} characters (bound: policy_cel_max_length {limits.policy_cel_max_length})",
        )
    try:
        scanned = scan.scan(text, max_depth=limits.policy_cel_max_depth)
    except scan.ScanError as exc:
        raise ExpressionError(exc.code, exc.message, place_at(text, exc.start, exc.end), text) from exc
    return _Builder(text, scanned, frozenset(qualified)).build(_parsed(text, scanned.masked))


def _parsed(text: str, masked: str) -> _Parsed:
    try:
        with _lock:
            return _grammar().parse(masked)
    except (UnexpectedToken, UnexpectedCharacters) as exc:
        start: int = getattr(exc, "pos_in_stream", 0)  # typed as None in the library
        token = exc.token if isinstance(exc, UnexpectedToken) else None
        if token is not None and token.type == "$END":
            raise ExpressionError("ExpressionMalformed", "ends too early", place_at(text, len(text)), text) from exc
        end = start + max(1, len(token or ""))
        message = f"{text[start:end]!r} is not expected here"
        raise ExpressionError("ExpressionMalformed", message, place_at(text, start, end), text) from exc
    except (LarkError, RecursionError) as exc:
        raise ExpressionError("ExpressionMalformed", "is no valid CEL", None, text) from exc


@cache
def _grammar() -> Lark:
    return Lark(
        (Path(celpy.__file__).parent / "cel.lark").read_text(),
        parser="lalr",
        start="expr",
        lexer_callbacks={"IDENT": _boolean_or_name},
        propagate_positions=True,
        maybe_placeholders=False,
        priority="invert",
    )


def _boolean_or_name(token: Token) -> Token:
    return token.update(type="BOOL_LIT") if token.value in {"true", "false"} else token


def _too_deep() -> PolicyError:
    return PolicyError("ExpressionTooDeep", f"has more than {MAX_HEIGHT} levels, chained operators included")


class _Builder:
    """Makes our tree of the parser's."""

    def __init__(self, text: str, scanned: scan.Scanned, qualified: frozenset[str]) -> None:
        self._text = text
        self._literals = scanned.literals
        self._signs = scanned.signs
        self._qualified = qualified
        self._level = 0
        self._by_rule: dict[str, Callable[[_Parsed], Node]] = {
            "expr": self._conditional,
            "conditionalor": lambda tree: self._logical(tree, conjunction=False),
            "conditionaland": lambda tree: self._logical(tree, conjunction=True),
            "relation": self._binary,
            "addition": self._binary,
            "multiplication": self._binary,
            "unary": self._unary,
            "member_dot": self._select,
            "member_dot_arg": self._method,
            "member_index": self._index,
            "member_object": self._refused_message,
            "dot_ident": self._refused_dot,
            "dot_ident_arg": self._refused_dot,
            "ident": self._ident,
            "ident_arg": self._function,
            "literal": self._literal,
            "list_lit": self._list,
            "map_lit": self._map,
        }

    def build(self, tree: _Parsed) -> Node:
        """The node of a tree."""
        while tree.data in _PASSING and len(tree.children) == 1:
            tree = _tree(tree.children[0])
        self._level += 1
        if self._level > MAX_HEIGHT:
            raise _too_deep()
        node = self._by_rule[str(tree.data)](tree)
        self._level -= 1
        return node

    def _conditional(self, tree: _Parsed) -> Node:
        condition, then, otherwise = (self.build(_tree(child)) for child in tree.children)
        return Conditional(_place(tree), condition, then, otherwise)

    def _logical(self, tree: _Parsed, *, conjunction: bool) -> Node:
        place = _place(tree)
        rule = tree.data
        operands: list[_Parsed] = []
        while tree.data == rule and len(tree.children) == 2:
            operands.append(_tree(tree.children[1]))
            tree = _through(_tree(tree.children[0]), rule)
        operands.append(tree)
        return Logical(place, conjunction, tuple(self.build(operand) for operand in reversed(operands)))

    def _binary(self, tree: _Parsed) -> Node:
        operator = _tree(tree.children[0])
        left, right = self.build(_tree(operator.children[0])), self.build(_tree(tree.children[1]))
        name = _BINARY[str(operator.data)]
        return Call(_place(tree), name, self._sign(name.strip("_"), left.place.end), None, (left, right))

    def _sign(self, sign: str, after: int) -> Place:
        """Where an operator stands: behind its left side come only brackets before it."""
        behind = self._signs[bisect_left(self._signs, (after, "")) :]
        start = next((start for start, found in behind if found == sign), after)
        return place_at(self._text, start, start + len(sign))

    def _unary(self, tree: _Parsed) -> Node:
        place = _place(tree)
        name = "!_" if _tree(tree.children[0]).data == "unary_not" else "-_"
        count = 0
        while tree.data == "unary" and len(tree.children) == 2 and _sign(tree) == name:
            count += 1
            tree = _through(_tree(tree.children[1]), "unary")
        if tree.data == "unary" and len(tree.children) == 2:
            raise self._error("ExpressionMalformed", "! and - do not follow each other", _place(tree))
        if name == "-_" and count == 1 and (digits := _number_token(tree)) is not None:
            return self._number(place, digits)  # the least int is no negative of an int
        operand = self.build(tree)
        if count % 2 == 0:
            return operand  # pairs mean nothing, not even that the operand is of the type
        return Call(place, name, place, None, (operand,))

    def _number(self, place: Place, digits: Place, sign: str = "-") -> Node:
        try:
            return Literal(place, scan.number(sign + self._text[digits.start : digits.end]))
        except ValueError as exc:
            raise self._error("ExpressionMalformed", str(exc), place) from exc

    def _select(self, tree: _Parsed) -> Node:
        token = _token(tree.children[1])
        dotted = _dotted(tree)
        if dotted in TYPE_NAMES:
            return Literal(_place(tree), TypeValue(str(dotted)))
        operand = self.build(_tree(tree.children[0]))
        return Select(_place(tree), operand, str(token.value), _place_of(token))

    def _index(self, tree: _Parsed) -> Node:
        operand, index = (self.build(_tree(child)) for child in tree.children)
        place = _place(tree)
        return Call(place, "_[_]", place, None, (operand, index))

    def _ident(self, tree: _Parsed) -> Node:
        return Name(_place(tree), str(_token(tree.children[0]).value))

    def _literal(self, tree: _Parsed) -> Node:
        token = _token(tree.children[0])
        place = _place_of(token)
        written = str(token.value)
        if token.type in {"STRING_LIT", "MLSTRING_LIT", "BYTES_LIT"}:
            return Literal(place, self._text_literal(place))
        if token.type == "NULL_LIT":
            return Literal(place, None)
        if token.type == "BOOL_LIT":
            return Literal(place, written == "true")
        return self._number(place, place, sign="")

    def _text_literal(self, place: Place) -> str | bytes:
        """The mask may have moved a prefix, so the literal begins here or up to two characters before."""
        for start in range(place.start, place.start - 3, -1):
            if start in self._literals:
                return self._literals[start]
        raise AssertionError("the scan found no literal here")

    def _list(self, tree: _Parsed) -> Node:
        return ListLiteral(_place(tree), self._arguments(tree, 0))

    def _map(self, tree: _Parsed) -> Node:
        parts = self._arguments(tree, 0)
        return MapLiteral(_place(tree), tuple(zip(parts[0::2], parts[1::2], strict=True)))

    def _function(self, tree: _Parsed) -> Node:
        token = _token(tree.children[0])
        name, where = str(token.value), _place_of(token)
        arguments = self._arguments(tree, 1)
        if name != "has":
            return Call(_place(tree), name, where, None, arguments)
        if len(arguments) != 1 or not isinstance(arguments[0], Select):
            raise self._error("ArgumentInvalid", "has takes one field selection, such as has(object.metadata)", where)
        selected = arguments[0]
        return Select(_place(tree), selected.operand, selected.field, selected.field_place, test=True)

    def _method(self, tree: _Parsed) -> Node:
        operand, token = _tree(tree.children[0]), _token(tree.children[1])
        name, where = str(token.value), _place_of(token)
        namespace = _dotted(operand)
        if namespace in _REFUSED_NAMESPACES:
            raise self._error("NotSupported", _REFUSED_NAMESPACES[namespace], _place(tree))
        arguments = self._arguments(tree, 2)
        if namespace is not None and f"{namespace}.{name}" in self._qualified:
            return Call(_place(tree), f"{namespace}.{name}", where, None, arguments)
        if name in _TRANSFORMS or _TWO_VARIABLES.get(name) == len(arguments):
            raise self._error("NotSupported", f"{name} with two loop variables is not supported", where)
        if name in _REFUSED:
            raise self._error("NotSupported", _REFUSED[name], where)
        target = self.build(operand)
        if name in MACROS:
            return self._macro(tree, where, name, (target, *arguments))
        return Call(_place(tree), name, where, target, arguments)

    def _macro(self, tree: _Parsed, where: Place, name: str, parts: tuple[Node, ...]) -> Node:
        target, *arguments = parts
        if len(arguments) not in MACROS[name]:
            expected = " or ".join(map(str, MACROS[name]))
            raise self._error("ArgumentCount", f"{name} takes {expected} arguments, not {len(arguments)}", where)
        variable = arguments[0]
        if not isinstance(variable, Name):
            message = f"the first argument of {name} is the name of a loop variable"
            raise self._error("ArgumentInvalid", message, variable.place)
        maps = name in {"map", "sortBy"}
        condition = None if maps and len(arguments) == 2 else arguments[1]
        return Macro(
            place=_place(tree),
            name=name,
            name_place=where,
            target=target,
            variable=variable.name,
            variable_place=variable.place,
            condition=condition,
            body=arguments[-1] if maps else None,
        )

    def _refused_message(self, tree: _Parsed) -> Node:
        raise self._error("NotSupported", "protobuf messages are not supported", _place(tree))

    def _refused_dot(self, tree: _Parsed) -> Node:
        raise self._error("NotSupported", "a name with a leading dot is not supported", _place(tree))

    def _arguments(self, tree: _Parsed, position: int) -> tuple[Node, ...]:
        if len(tree.children) <= position:
            return ()
        return tuple(self.build(_tree(child)) for child in _tree(tree.children[position]).children)

    def _error(self, code: str, message: str, place: Place) -> ExpressionError:
        return ExpressionError(code, message, place, self._text)


def _through(tree: _Parsed, rule: str) -> _Parsed:
    """Past the nodes that only pass a value on, up to one of this rule with two children. Brackets are kept apart."""
    while tree.data in _PASSING and len(tree.children) == 1 and tree.data != "paren_expr":
        if tree.data == "primary" and _tree(tree.children[0]).data == "paren_expr":
            return tree
        tree = _tree(tree.children[0])
        if tree.data == rule and len(tree.children) == 2:
            return tree
    return tree


def _sign(tree: _Parsed) -> str:
    return "!_" if _tree(tree.children[0]).data == "unary_not" else "-_"


def _dotted(tree: _Parsed) -> str | None:
    """`a.b.c` if the tree is no more than that."""
    names: list[str] = []
    while True:
        while tree.data in _PASSING - {"paren_expr"} and len(tree.children) == 1:
            tree = _tree(tree.children[0])
        if tree.data == "ident":
            return ".".join([str(_token(tree.children[0]).value), *reversed(names)])
        if tree.data != "member_dot" or len(names) == _MAX_DOTTED:
            return None
        names.append(str(_token(tree.children[1]).value))
        tree = _tree(tree.children[0])


def _number_token(tree: _Parsed) -> Place | None:
    """The place of a number without a sign, if the tree is no more than that."""
    while tree.data in _PASSING - {"paren_expr"} and len(tree.children) == 1:
        tree = _tree(tree.children[0])
    if tree.data != "literal" or not str(_token(tree.children[0]).value)[0].isdigit():
        return None
    return _place(tree)


def _place(tree: _Parsed) -> Place:
    meta = tree.meta
    return Place(meta.line, meta.column, meta.start_pos, meta.end_pos)


def _place_of(token: Token) -> Place:
    start = token.start_pos or 0
    return Place(token.line or 1, token.column or 1, start, start + len(token.value))


def _tree(child: Any) -> _Parsed:
    assert isinstance(child, Tree)  # noqa: S101 - the grammar has a rule here
    return child


def _token(child: Any) -> Token:
    assert isinstance(child, Token)  # noqa: S101 - the grammar has a terminal here
    return child
