"""Makes of a checked tree one function that evaluates it: metered, strict in types, and safe for many threads.

Each node becomes a closure over its parts; all that changes is in the `Frame` of one evaluation. An ordinary error is
an exception (`CelError`) that only the logical operators, `all` and `exists` catch, so nothing else can pass over it by
mistake, and no value is ever an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from controller.errors import Unacceptable
from controller.policy.cel.failure import CelError
from controller.policy.cel.libraries.lists import sort_by
from controller.policy.cel.meter import Abort, Meter
from controller.policy.cel.overloads import Dispatcher, Table, no_overload
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
from controller.policy.cel.values import FIELDS, Keyed, TypeValue, is_of, kind_of, to_cel, type_name


class Frame:
    """One evaluation: the names' values, the loop variables by number, and the meter."""

    __slots__ = ("loops", "meter", "names")

    def __init__(self, names: Mapping[str, Any], meter: Meter, loops: int) -> None:
        self.names = names
        self.meter = meter
        self.loops: list[Any] = [None] * loops


Run = Callable[[Frame], Any]


class Compiler:
    """Compiles one expression. `loops` is how many loop variables a frame needs.

    `types` are the names that mean types unless the environment has them; `watch`, if given, is called with each node
    and its closure, and returns the closure to use: how `explain` sees each part's value.
    """

    def __init__(
        self, table: Table, types: Iterable[str] = (), watch: Callable[[Node, Run], Run] | None = None
    ) -> None:
        self._table = table
        self._types = frozenset(types)
        self._watch = watch
        self.loops = 0

    def compile(self, node: Node, scope: Mapping[str, int] | None = None) -> Run:
        """The function of a node. `scope` are the loop variables' numbers."""
        run = self._compile(node, scope or {})
        return run if self._watch is None else self._watch(node, run)

    def _compile(self, node: Node, scope: Mapping[str, int]) -> Run:
        match node:
            case Literal():
                return _constant(node.value)
            case Name():
                return self._name(node, scope)
            case Select():
                return _select(self.compile(node.operand, scope), node)
            case Call():
                return self._call(node, scope)
            case Logical():
                operands = [self.compile(operand, scope) for operand in node.operands]
                return _logical(operands, node)
            case Conditional():
                parts = (node.condition, node.then, node.otherwise)
                return _conditional(*(self.compile(part, scope) for part in parts), place=node.condition.place)
            case ListLiteral():
                return _list([self.compile(item, scope) for item in node.items])
            case MapLiteral():
                entries = [(self.compile(k, scope), self.compile(v, scope)) for k, v in node.entries]
                return _map(entries, node.place)
        return self._macro(node, scope)

    def _name(self, node: Name, scope: Mapping[str, int]) -> Run:
        if node.name in scope:
            return _loop_variable(scope[node.name])
        return _constant(TypeValue(node.name)) if node.name in self._types else _named(node.name)

    def _call(self, node: Call, scope: Mapping[str, int]) -> Run:
        dispatcher = self._table.get(node.name, method=node.target is not None)
        if dispatcher is None:
            raise AssertionError(f"the checker let {node.name} through")
        operands = [self.compile(operand, scope) for operand in node.operands]
        if len(operands) == 2:
            return _call_two(dispatcher, operands[0], operands[1], node.name_place)
        return _call(dispatcher, operands, node.name_place)

    def _macro(self, node: Macro, scope: Mapping[str, int]) -> Run:
        target = self.compile(node.target, scope)
        number = max(scope.values(), default=-1) + 1  # an inner loop of the same name hides the outer one
        inner = {**scope, node.variable: number}
        self.loops = max(self.loops, number + 1)
        condition = self.compile(node.condition, inner) if node.condition is not None else None
        body = self.compile(node.body, inner) if node.body is not None else None
        return _loop(_Loop(node, target, number, condition, body))


def _constant(value: Any) -> Run:
    def constant(frame: Frame) -> Any:
        frame.meter.step()
        return value

    return constant


def _loop_variable(number: int) -> Run:
    def variable(frame: Frame) -> Any:
        frame.meter.step()
        return frame.loops[number]

    return variable


def _named(name: str) -> Run:
    def named(frame: Frame) -> Any:
        frame.meter.step()
        try:
            value = frame.names[name]
        except KeyError as exc:  # never passed over: a rule whose input is absent is an Error (guarantee 17)
            raise Abort(Unacceptable("InputAbsent", f"the expression reads {name}, which is not known here")) from exc
        return to_cel(value)

    return named


def _select(operand: Run, node: Select) -> Run:
    field, test, place = node.field, node.test, node.field_place

    def select(frame: Frame) -> Any:
        frame.meter.step()
        value = operand(frame)
        if type(value) in FIELDS:
            value = FIELDS[type(value)](value)
        elif type(value) is not dict and not is_of(kind_of(value), "map"):
            raise CelError(f"no field {field!r}: {type_name(value)} has no fields", place)
        if test:
            return bool(field in value)
        if field not in value:
            raise CelError(f"no such field {field!r}", place)
        return to_cel(value[field])

    return select


def _call_two(dispatcher: Dispatcher, first: Run, second: Run, place: Place) -> Run:
    known = dispatcher.known

    def call(frame: Frame) -> Any:
        meter = frame.meter
        meter.step()
        a, b = first(frame), second(frame)
        try:
            run = known.get((type(a), type(b))) or dispatcher.find((a, b))
            return run(meter, a, b)
        except CelError as exc:
            if exc.place is None:
                exc.place = place
            raise

    return call


def _call(dispatcher: Dispatcher, operands: list[Run], place: Place) -> Run:
    known = dispatcher.known

    def call(frame: Frame) -> Any:
        meter = frame.meter
        meter.step()
        values = [operand(frame) for operand in operands]
        try:
            run = known.get(tuple(map(type, values))) or dispatcher.find(values)
            return run(meter, *values)
        except CelError as exc:
            if exc.place is None:
                exc.place = place
            raise

    return call


def _logical(operands: list[Run], node: Logical) -> Run:
    """`&&` and `||`: any side may decide whatever the others are, also errors; else the first error is the result."""
    decides = not node.conjunction
    sign = "_&&_" if node.conjunction else "_||_"
    place = node.place

    def logical(frame: Frame) -> bool:
        frame.meter.step()
        error: CelError | None = None
        for operand in operands:
            try:
                value = operand(frame)
            except CelError as exc:
                error = error or exc
                continue
            if value is decides:
                return bool(value)
            if value is not True and value is not False:
                failure = no_overload(sign, (value, True))
                failure.place = place
                error = error or failure
        if error is not None:
            raise error
        return not decides

    return logical


def _conditional(condition: Run, then: Run, otherwise: Run, *, place: Place) -> Run:
    """Only the chosen side is evaluated; a condition that is no boolean is an error."""

    def conditional(frame: Frame) -> Any:
        frame.meter.step()
        value = condition(frame)
        if value is True:
            return then(frame)
        if value is False:
            return otherwise(frame)
        raise CelError(f"the condition of ?: is {type_name(value)} and no bool", place)

    return conditional


def _list(items: list[Run]) -> Run:
    def build(frame: Frame) -> list[Any]:
        frame.meter.step()
        return [item(frame) for item in items]

    return build


def _map(entries: list[tuple[Run, Run]], place: Place) -> Run:
    def build(frame: Frame) -> dict[str, Any] | Keyed:
        frame.meter.step()
        found = [(key(frame), value(frame)) for key, value in entries]
        if all(type(key) is str for key, _ in found):
            plain = dict(found)
            if len(plain) != len(found):
                raise CelError("a map has each key once", place)
            return plain
        keyed = Keyed()
        for key, value in found:
            if kind_of(key) not in {"string", "int", "uint", "bool"}:
                raise CelError(f"{type_name(key)} is no key of a map", place)
            try:
                keyed.add(key, value)
            except CelError as exc:
                exc.place = place
                raise
        return keyed

    return build


class _Loop:
    """One macro: its entries are those of a list or the keys of a map."""

    __slots__ = ("body", "condition", "name", "number", "place", "target")

    def __init__(self, node: Macro, target: Run, number: int, condition: Run | None, body: Run | None) -> None:
        self.name = node.name
        self.place = node.name_place
        self.target = target
        self.number = number
        self.condition = condition
        self.body = body

    def entries(self, frame: Frame) -> Iterator[Any]:
        frame.meter.step()
        value = self.target(frame)
        if not isinstance(value, list | tuple) and not (is_of(kind_of(value), "map") and self.name != "sortBy"):
            raise CelError(f"no such overload: {type_name(value)}.{self.name}", self.place)
        meter, loops, number = frame.meter, frame.loops, self.number
        for entry in value:
            meter.step()
            loops[number] = bound = to_cel(entry)
            yield bound

    def truth(self, frame: Frame) -> bool:
        if self.condition is None:
            return True
        value = self.condition(frame)
        if value is True or value is False:
            return value
        raise CelError(f"the condition of {self.name} is {type_name(value)} and no bool", self.place)


def _loop(loop: _Loop) -> Run:
    match loop.name:
        case "all":
            return lambda frame: _decide(loop, frame, until=False)
        case "exists":
            return lambda frame: _decide(loop, frame, until=True)
        case "exists_one":
            return lambda frame: sum(loop.truth(frame) for _ in loop.entries(frame)) == 1
        case "sortBy":
            return lambda frame: _sort(loop, frame)
    return lambda frame: _collect(loop, frame)


def _decide(loop: _Loop, frame: Frame, *, until: bool) -> bool:
    """`exists` (until true) and `all` (until false): an error counts only if no entry decides."""
    error: CelError | None = None
    for _ in loop.entries(frame):
        try:
            value = loop.truth(frame)
        except CelError as exc:
            error = error or exc
            continue
        if value is until:
            return until
    if error is not None:
        raise error
    return not until


def _collect(loop: _Loop, frame: Frame) -> list[Any]:
    """`filter` and `map`. Any error is the result."""
    found = []
    body = loop.body
    for entry in loop.entries(frame):
        if loop.truth(frame):
            found.append(entry if body is None else body(frame))
            frame.meter.charge(16)
    return found


def _sort(loop: _Loop, frame: Frame) -> list[Any]:
    assert loop.body is not None  # noqa: S101 - sortBy has one
    pairs = [(loop.body(frame), entry) for entry in loop.entries(frame)]
    try:
        return sort_by(frame.meter, [key for key, _ in pairs], [entry for _, entry in pairs])
    except CelError as exc:
        exc.place = exc.place or loop.place
        raise
