"""Checks a whole expression when a policy is read: names, fields, functions, argument counts, macros.

What this refuses would otherwise be an error at some pod's admission, and an error inside of `||` is one that nobody
sees. It also finds which names an expression reads, by which rules are divided into those that are judged once for a
digest and those that are judged at each request.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from celpy.evaluation import celstr as text_of_literal
from lark import Token, Tree

from controller.documents.packages import Query
from controller.errors import PolicyError
from controller.policy.cel.evaluator import MACROS
from controller.policy.cel.functions import ARGUMENTS, FUNCTIONS_ONLY, METHODS_ONLY
from controller.policy.cel.schema import COMPONENT, DYN, SBOMS, Type, list_of
from controller.policy.cel.tree import Node, at, malformed
from controller.policy.regex import compile_pattern

_NOT_SUPPORTED_MACROS = frozenset({"reduce", "min"})  # cel-python's own
_RESERVED = frozenset(  # CEL specification, "Syntax": RESERVED
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in"}
    | {"let", "loop", "namespace", "null", "package", "return", "true", "var", "void", "while"}
)


@dataclass(frozen=True, slots=True)
class Environment:
    """What an expression may read.

    `names` are the names with their types; `later` those that are not carried out yet; `refused` those that this place
    does not have, each with a code and the reason why.
    """

    names: Mapping[str, Type]
    later: frozenset[str] = frozenset()
    refused: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def check(tree: Node, environment: Environment) -> frozenset[str]:
    """Check an expression and return what it reads: `name`, and `name.field` where only that field is read.

    Raises `PolicyError` (`NameUnknown`, `FieldUnknown`, `FunctionUnknown`, `ArgumentCount`, `ArgumentInvalid`,
    `NotSupportedYet`, `NotSupported`, or a code of `Environment.refused`) with line and column.
    """
    checker = _Checker(environment)
    checker.infer(tree, {})
    return frozenset(checker.reads)


class _Checker:
    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self.reads: set[str] = set()
        self._by_rule: dict[str, Callable[[Node, Mapping[str, Type]], Type]] = {
            "primary": self._primary,
            "member_dot": self._member_dot,
            "member_dot_arg": self._member_dot_arg,
            "member_index": self._member_index,
            "member_object": self._message,
        }

    def infer(self, node: Node, scope: Mapping[str, Type]) -> Type:
        """The type of a node; checks everything below it. `scope` are the loop variables."""
        rule = self._by_rule.get(node.data)
        if rule is not None:
            return rule(node, scope)
        for child in _trees(node):
            self.infer(child, scope)
        return DYN

    def _primary(self, node: Node, scope: Mapping[str, Type]) -> Type:
        child = node.children[0]
        if not isinstance(child, Tree):
            return DYN
        if child.data == "ident":
            return self._name(_token(child.children[0]), scope, read_as=None)
        if child.data == "ident_arg":
            return self._call(child, scope)
        if child.data in {"dot_ident", "dot_ident_arg"}:
            raise _error(node, "a name with a leading dot is not supported", "NotSupported")
        for inner in _trees(child):
            self.infer(inner, scope)
        return DYN

    def _name(self, token: Token, scope: Mapping[str, Type], *, read_as: str | None) -> Type:
        name = str(token.value)
        if name in scope:
            return scope[name]
        found = self._environment.names.get(name)
        if found is not None:
            self.reads.add(read_as or name)
            return found
        if name in self._environment.later:
            raise _error(token, f"{name} is not supported yet", "NotSupportedYet")
        if name in self._environment.refused:
            code, why = self._environment.refused[name]
            raise _error(token, why, code)
        hint = _nearest(name, [*self._environment.names, *scope])
        raise _error(token, f"there is no name {name!r} here{hint}", "NameUnknown")

    def _member_dot(self, node: Node, scope: Mapping[str, Type]) -> Type:
        operand, name = _tree(node.children[0]), _token(node.children[1])
        root = _plain_name(operand)
        if root is not None and root.value not in scope:
            base = self._name(root, scope, read_as=f"{root.value}.{name.value}")
        else:
            base = self.infer(operand, scope)
        return _field(base, str(name.value), name)

    def _member_index(self, node: Node, scope: Mapping[str, Type]) -> Type:
        base = self.infer(_tree(node.children[0]), scope)
        index = _tree(node.children[1])
        self.infer(index, scope)
        literal = _string_literal(index)
        if base.fields is not None:
            return _field(base, literal, index) if literal is not None else DYN
        return base.element or DYN

    def _message(self, node: Node, scope: Mapping[str, Type]) -> Type:  # noqa: ARG002 - one signature for all rules
        raise _error(node, "protobuf messages are not supported", "NotSupported")

    def _call(self, node: Node, scope: Mapping[str, Type]) -> Type:
        name = _token(node.children[0])
        arguments = _arguments(node, 1)
        if name.value == "has":
            if len(arguments) != 1 or arguments[0].data != "member_dot":
                raise _error(name, "has takes one field selection, such as has(object.metadata)", "ArgumentInvalid")
            self.infer(arguments[0], scope)
            return DYN
        if name.value == "dyn":
            _check_count(name, len(arguments), (1,))
            return self.infer(arguments[0], scope)
        if name.value not in ARGUMENTS or name.value in METHODS_ONLY:
            raise self._unknown_function(name)
        _check_count(name, len(arguments), ARGUMENTS[str(name.value)])
        for argument in arguments:
            self.infer(argument, scope)
        return DYN

    def _member_dot_arg(self, node: Node, scope: Mapping[str, Type]) -> Type:
        name = _token(node.children[1])
        arguments = _arguments(node, 2)
        if name.value in MACROS:
            return self._macro(node, name, arguments, scope)
        if name.value in _NOT_SUPPORTED_MACROS:
            raise _error(name, f"{name.value} is no part of CEL and not supported", "NotSupported")
        base = self.infer(_tree(node.children[0]), scope)
        if base.later and name.value in base.later:
            raise _error(name, f"{name.value} is not supported yet", "NotSupportedYet")
        if name.value not in ARGUMENTS or name.value in FUNCTIONS_ONLY:
            raise self._unknown_function(name)
        _check_count(name, len(arguments), tuple(count - 1 for count in ARGUMENTS[str(name.value)]))
        for argument in arguments:
            self.infer(argument, scope)
        return self._method(base, name, arguments)

    def _method(self, base: Type, name: Token, arguments: list[Node]) -> Type:
        literals = [_string_literal(argument) for argument in arguments]
        if name.value == "find":
            if base not in (SBOMS, DYN):
                raise _error(name, "find is a function of sboms only", "FunctionUnknown")
            if all(literal is not None for literal in literals):
                try:
                    Query.parse(*[literal for literal in literals if literal is not None])
                except ValueError as exc:
                    raise _error(arguments[0], str(exc), "ArgumentInvalid") from exc
            return list_of(COMPONENT)
        if name.value == "matches" and literals[-1] is not None:
            try:
                compile_pattern(literals[-1])
            except PolicyError as exc:
                raise _error(arguments[-1], f"the regular expression {exc.message}", exc.code) from exc
        return DYN

    def _macro(self, node: Node, name: Token, arguments: list[Node], scope: Mapping[str, Type]) -> Type:
        base = self.infer(_tree(node.children[0]), scope)
        _check_count(name, len(arguments), MACROS[str(name.value)])
        variable = _plain_name(arguments[0])
        if variable is None:
            raise _error(
                arguments[0], f"the first argument of {name.value} is the name of a loop variable", "ArgumentInvalid"
            )
        if variable.value in self._environment.names or variable.value in _RESERVED:
            raise _error(variable, f"{variable.value!r} has a meaning of its own; name the loop variable otherwise",
                         "ArgumentInvalid")  # fmt: skip
        element = (base.element or DYN) if base.name in {"list", "sboms"} else DYN
        inner = {**scope, str(variable.value): element}
        result = DYN
        for argument in arguments[1:]:
            result = self.infer(argument, inner)
        if name.value == "filter":
            return list_of(element)
        return list_of(result) if name.value == "map" else DYN

    def _unknown_function(self, name: Token) -> PolicyError:
        hint = _nearest(str(name.value), [*ARGUMENTS, *MACROS, "has"])
        return _error(name, f"there is no such function {name.value!r}{hint}", "FunctionUnknown")


def _field(base: Type, name: str, where: Node | Token) -> Type:
    if name in base.later:
        raise _error(where, f"the field {name!r} is not supported yet, or not known at this place", "NotSupportedYet")
    if base.fields is None:
        if base.name in {"string", "timestamp", "list", "sboms"}:
            raise _error(where, f"a {base.name.removesuffix('s')} has no field {name!r}", "FieldUnknown")
        return base.element or DYN
    if name not in base.fields:
        raise _error(where, f"there is no field {name!r} here{_nearest(name, list(base.fields))}", "FieldUnknown")
    return base.fields[name]


def _check_count(name: Token, count: int, allowed: tuple[int, ...]) -> None:
    if count not in allowed:
        expected = " or ".join(str(number) for number in allowed)
        raise _error(name, f"{name.value} takes {expected} arguments, not {count}", "ArgumentCount")


def _arguments(node: Node, position: int) -> list[Node]:
    return list(_trees(_tree(node.children[position]))) if len(node.children) > position else []


def _plain_name(node: Node) -> Token | None:
    """The token of a node that is a name and nothing else."""
    if node.data == "primary" and isinstance(node.children[0], Tree) and node.children[0].data == "ident":
        return _token(node.children[0].children[0])
    return None


def _string_literal(node: Node) -> str | None:
    if node.data != "primary" or not isinstance(node.children[0], Tree) or node.children[0].data != "literal":
        return None
    token = _token(node.children[0].children[0])
    if token.type not in {"STRING_LIT", "MLSTRING_LIT"}:
        return None
    try:
        return str(text_of_literal(token))
    except (ValueError, OverflowError) as exc:
        raise _error(token, "is no valid string", "ExpressionMalformed") from exc


def _trees(node: Node) -> Iterable[Node]:
    return (child for child in node.children if isinstance(child, Tree))


def _tree(child: Node | Token) -> Node:
    if isinstance(child, Tree):
        return child
    raise _error(child, "is not supported here", "NotSupported")


def _token(child: Node | Token) -> Token:
    if isinstance(child, Token):
        return child
    raise _error(child, "is not supported here", "NotSupported")


def _error(where: Node | Token, message: str, code: str) -> PolicyError:
    line, column = at(where)
    return malformed(message, line, column, code)


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
