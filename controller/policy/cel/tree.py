"""From text to a syntax tree that is shallow, and bounded before anything walks it.

cel-python's grammar makes eight nodes of every name. The pass-through nodes are taken out once, here: evaluation is
several times faster, and the depth of Python's stack follows the depth of the expression.
"""

from __future__ import annotations

import threading
from typing import Any

from celpy.celparser import CELParseError, CELParser
from lark import Token, Tree
from lark.exceptions import LarkError

from controller.errors import PolicyError
from controller.settings import PolicySettings

MAX_HEIGHT = 200  # levels of a tree after simplification; bounds the stack, also for `a || b || c …`

Node = Tree[Token]

_PASSING = frozenset(
    {"expr", "conditionalor", "conditionaland", "relation", "addition", "multiplication", "unary", "member"}
)
_lock = threading.Lock()


def parse(text: str, limits: PolicySettings) -> Node:
    """The simplified tree of an expression.

    Raises `PolicyError` (`ExpressionMalformed`, `ExpressionTooLong`, `ExpressionTooDeep`), with line and column.
    """
    if len(text) > limits.policy_cel_max_length:
        raise PolicyError(
            "ExpressionTooLong",
            f"has {len(text)} characters (bound: policy_cel_max_length {limits.policy_cel_max_length})",
        )
    _check_brackets(text, limits.policy_cel_max_depth)
    try:
        with _lock:  # one parser for all threads, and it keeps the text that it works on
            tree: Node = CELParser().parse(text)
    except CELParseError as exc:
        raise malformed("is no valid CEL", exc.line, exc.column) from exc
    except (LarkError, RecursionError) as exc:
        raise malformed("is no valid CEL", None, None) from exc
    simplified = _simplify(tree)
    if _height(simplified) > MAX_HEIGHT:
        raise PolicyError("ExpressionTooDeep", f"has more than {MAX_HEIGHT} levels, chained operators included")
    return simplified


def malformed(message: str, line: int | None, column: int | None, code: str = "ExpressionMalformed") -> PolicyError:
    """An error at a place of an expression (both from 1; unknown at its end)."""
    where = f"line {line}, column {column}: " if line and line > 0 and column and column > 0 else ""
    return PolicyError(code, f"{where}{message}")


def at(node: Node | Token) -> tuple[int | None, int | None]:
    """Line and column of a node."""
    if isinstance(node, Token):
        return node.line, node.column
    return getattr(node.meta, "line", None), getattr(node.meta, "column", None)


def _check_brackets(text: str, limit: int) -> None:
    """Refuse deep nesting before the parser sees it. Brackets inside of strings count too; they are hardly nested."""
    depth = 0
    for character in text:
        if character in "([{":
            depth += 1
            if depth > limit:
                raise PolicyError("ExpressionTooDeep", f"is nested deeper than policy_cel_max_depth ({limit})")
        elif character in ")]}":
            depth = max(0, depth - 1)


def _simplify(root: Node) -> Node:
    """Take out nodes that only pass a value on. Iterative: the tree may still be deeper than Python's stack."""
    holder: Node = Tree("holder", [root])
    waiting: list[Node] = [holder]
    while waiting:
        parent = waiting.pop()
        children: list[Any] = parent.children
        for i, child in enumerate(children):
            while isinstance(child, Tree):
                inner = _passed_on(child)
                if inner is None:
                    break
                child = inner  # noqa: PLW2901 - descends to the first node that does something
            children[i] = child
            if isinstance(child, Tree):
                waiting.append(child)
    found = holder.children[0]
    assert isinstance(found, Tree)  # noqa: S101 - the grammar's start rule is a tree
    return found


def _passed_on(node: Node) -> Node | None:
    if len(node.children) != 1 or not isinstance(node.children[0], Tree):
        return None
    child = node.children[0]
    if node.data in _PASSING:
        return child
    if node.data == "primary" and child.data == "paren_expr" and isinstance(child.children[0], Tree):
        return child.children[0]
    return None


def _height(root: Node) -> int:
    height, level = 0, [root]
    while level:
        height += 1
        level = [child for node in level for child in node.children if isinstance(child, Tree)]
    return height
