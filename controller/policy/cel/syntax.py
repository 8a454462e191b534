"""The syntax tree of an expression, free of the parser that made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in its expression: line and column from 1, and the characters [start, end)."""

    line: int
    column: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """A constant: a number, a text, bytes, a boolean, null, or the name of a type."""

    place: Place
    value: Any


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A name of the environment or of a loop."""

    place: Place
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Select:
    """`operand.field`; `test` for `has(operand.field)`."""

    place: Place
    operand: Node
    field: str
    field_place: Place
    test: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A function, a method (with `target`), or an operator (`_+_`, `_[_]`, `!_`)."""

    place: Place
    name: str
    name_place: Place
    target: Node | None
    arguments: tuple[Node, ...]

    @property
    def operands(self) -> tuple[Node, ...]:
        """The target, if there is one, and the arguments."""
        return self.arguments if self.target is None else (self.target, *self.arguments)


@dataclass(frozen=True, slots=True, eq=False)
class Logical:
    """`a && b && …` (`conjunction`) or `a || b || …`: a chain is one node, so that it is not deep."""

    place: Place
    conjunction: bool
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Conditional:
    """`condition ? then : otherwise`."""

    place: Place
    condition: Node
    then: Node
    otherwise: Node


@dataclass(frozen=True, slots=True, eq=False)
class ListLiteral:
    """`[a, b]`."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class MapLiteral:
    """`{a: b}`."""

    place: Place
    entries: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Macro:
    """`target.name(variable, …)`: `condition` is what `all`, `exists`, `exists_one` and `filter` ask, and what the
    longer `map` asks first; `body` is what `map` and `sortBy` make of each entry."""

    place: Place
    name: str
    name_place: Place
    target: Node
    variable: str
    variable_place: Place
    condition: Node | None
    body: Node | None


Node = Literal | Name | Select | Call | Logical | Conditional | ListLiteral | MapLiteral | Macro


def children(node: Node) -> tuple[Node, ...]:
    """The nodes right below this one, in the order of the text."""
    match node:
        case Select():
            return (node.operand,)
        case Call() | Logical():
            return node.operands
        case Conditional():
            return (node.condition, node.then, node.otherwise)
        case ListLiteral():
            return node.items
        case MapLiteral():
            return tuple(part for entry in node.entries for part in entry)
        case Macro():
            return (node.target, *(part for part in (node.condition, node.body) if part is not None))
    return ()
