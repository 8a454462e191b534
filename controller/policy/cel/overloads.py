"""How functions are declared, and the one table of them that the checker, the evaluation and the reference read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from controller.policy.cel.failure import CelError
from controller.policy.cel.schema import Type
from controller.policy.cel.values import is_of, kind_of, type_name

F = TypeVar("F", bound=Callable[..., Any])
Implementation = Callable[..., Any]


class Declare(Protocol):
    """A decorator that takes an implementation as it is."""

    def __call__(self, run: F, /) -> F:
        """Note the implementation."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """An argument that is a list written out: what is in it is no constant, but how much is."""

    count: int


UNKNOWN: Any = type("Unknown", (), {"__slots__": ()})()  # an argument that is no constant
CONSTANT = "1 step"
SCANS = "1 step for each 16 bytes"
ENTRIES = "1 step for each entry"


class ConstantError(Exception):
    """A constant argument that could only fail. `position` counts the operands, the receiver first."""

    def __init__(self, position: int, code: str, message: str) -> None:
        super().__init__(message)
        self.position = position
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Overload:
    """One function for one list of types.

    `receiver` is None for a plain function. `run` is called with the meter and the operands, which are of these kinds;
    what is inside of a list or map it has to look at itself. `cost` is what it charges, in words. `reads` is the name
    that calling it reads although the expression does not say so (`now`). `check` is given the operands that are
    constants (else `UNKNOWN`; with `counts`, `Listed` for a list that is written out, and for a map whose keys are the
    map with `UNKNOWN` in it) when a policy is compiled, and raises `ConstantError`.
    """

    name: str
    receiver: Type | None
    parameters: tuple[Type, ...]
    result: Type
    run: Implementation
    text: str
    cost: str
    reads: str = ""
    check: Callable[..., None] | None = None
    counts: bool = False

    @property
    def operands(self) -> tuple[Type, ...]:
        """The types of the receiver, if there is one, and the parameters."""
        return self.parameters if self.receiver is None else (self.receiver, *self.parameters)

    @property
    def signature(self) -> str:
        """As the reference shows it."""
        receiver = f"{self.receiver.name}." if self.receiver is not None else ""
        return f"{receiver}{self.name}({', '.join(p.name for p in self.parameters)}) -> {self.result.name}"

    def takes(self, kinds: Sequence[str]) -> bool:
        """Whether it is the one for values of these kinds."""
        return all(_takes(t, kind) for t, kind in zip(self.operands, kinds, strict=True))


def _takes(declared: Type, kind: str) -> bool:
    if declared.kind in {"dyn", "parameter"}:
        return True
    return is_of(kind, "map" if declared.kind == "object" else declared.kind)


class Library:
    """A file of functions: `function` and `method` declare one each; the docstring's first line is its text."""

    def __init__(self, name: str, text: str, source: str = "") -> None:
        self.name = name
        self.text = text
        self.source = source
        self.overloads: list[Overload] = []

    def function(self, name: str, *parameters: Type, returns: Type, **more: Any) -> Declare:
        """Declare `name(parameters)`. `more`: `cost`, `text`, `reads`, `check`, `counts` of `Overload`."""
        return self._declare(name, None, parameters, returns, more)

    def method(self, name: str, receiver: Type, *parameters: Type, returns: Type, **more: Any) -> Declare:
        """Declare `receiver.name(parameters)`. `more`: as for `function`."""
        return self._declare(name, receiver, parameters, returns, more)

    def _declare(
        self, name: str, receiver: Type | None, parameters: tuple[Type, ...], returns: Type, more: dict[str, Any]
    ) -> Declare:
        def declare(run: F) -> F:
            text = more.pop("text", None) or (run.__doc__ or "").strip().partition("\n")[0]
            if not text:
                raise ValueError(f"{self.name}: {name} has no text for the reference")
            cost = more.pop("cost", CONSTANT)
            self.overloads.append(Overload(name, receiver, parameters, returns, run=run, text=text, cost=cost, **more))
            return run

        return declare


class Dispatcher:
    """All overloads of one name, as function or as method: finds the one for the real types of the values."""

    __slots__ = ("known", "method", "name", "overloads")

    def __init__(self, name: str, *, method: bool, overloads: Sequence[Overload]) -> None:
        self.name = name
        self.method = method
        self.overloads = tuple(overloads)
        self.known: dict[tuple[type, ...], Implementation] = {}
        """What was found for the classes of some operands: few, as values have few classes."""

    def find(self, values: Sequence[Any]) -> Implementation:
        """The implementation for these values. Raises `CelError` that names their types."""
        kinds = [kind_of(value) for value in values]
        for overload in self.overloads:
            if len(overload.operands) == len(kinds) and overload.takes(kinds):
                self.known[tuple(type(value) for value in values)] = overload.run
                return overload.run
        raise no_overload(self.name, values, method=self.method)

    def of_count(self, count: int) -> tuple[Overload, ...]:
        """Those that take so many operands."""
        return tuple(o for o in self.overloads if len(o.operands) == count)


def no_overload(name: str, values: Sequence[Any], *, method: bool = False) -> CelError:
    """`no such overload`, with the types and without the values."""
    return CelError(f"no such overload: {applied(name, [type_name(value) for value in values], method=method)}")


def applied(name: str, types: Sequence[str], *, method: bool) -> str:
    """How an author would write a call of this function with these types."""
    if name == "_[_]":
        return f"{types[0]}[{types[1]}]"
    if name == "_?_:_":
        return f"{types[0]} ? {types[1]} : {types[2]}"
    if name.startswith("_") and name.endswith("_"):
        return f"{types[0]} {name.strip('_')} {types[1]}"
    if name.endswith("_"):
        return f"{name.strip('_')}{types[0]}"
    if method:
        return f"{types[0]}.{name}({', '.join(types[1:])})"
    return f"{name}({', '.join(types)})"


class Table:
    """Every function of some libraries."""

    def __init__(self, libraries: Iterable[Library]) -> None:
        self.libraries = tuple(libraries)
        grouped: dict[tuple[str, bool], list[Overload]] = {}
        for library in self.libraries:
            for overload in library.overloads:
                grouped.setdefault((overload.name, overload.receiver is not None), []).append(overload)
        self._dispatchers = {
            (name, method): Dispatcher(name, method=method, overloads=found)
            for (name, method), found in grouped.items()
        }
        self.qualified = frozenset(name for name, method in grouped if "." in name and not method)
        """Functions with a namespace, such as `sets.contains`."""
        self.namespaces = frozenset(name.rpartition(".")[0] for name in self.qualified)

    def get(self, name: str, *, method: bool) -> Dispatcher | None:
        """The function or method of this name."""
        return self._dispatchers.get((name, method))

    def names(self, *, method: bool) -> list[str]:
        """What an author may write; operators are not among it."""
        return [name for name, is_method in self._dispatchers if is_method is method and "_" not in name]
