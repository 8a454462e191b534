"""What each part of a policy's rule came to, for its author: never for an answer of the webhook, never for a record.

Unlike `trace`, which gives the plain values of one expression's own input (`assay policy eval --parts`), this is about
objects and evidence of others: bounded, loops included, secrets withheld.

The same tree is evaluated by the same interpreter within the same budget. What is kept of it is bounded, and nothing is
computed for the sake of showing it: a map that computes its values when they are read is shown by its type.

Environment values, arguments and commands of the object are withheld wherever they appear (guarantee 12): an author
who tests a policy on a pod of somebody else's sees how its rules go, and not what is in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from controller.errors import AssayError
from controller.policy.cel.failure import CelError
from controller.policy.cel.interpreter import Compiler, Frame, Run
from controller.policy.cel.libraries import TABLE
from controller.policy.cel.meter import Abort, Meter
from controller.policy.cel.program import Program
from controller.policy.cel.shown import as_json
from controller.policy.cel.syntax import Call, Literal, Name, Node, Select, children
from controller.policy.cel.tree import TYPE_NAMES
from controller.policy.cel.values import Computed, is_of, kind_of, to_cel, type_name

MAX_VALUES = 3  # shown of one part that a loop evaluates again and again
MAX_PARTS = 200  # parts shown of one expression
MAX_ENTRIES = 4  # shown of a list or a map
MAX_DEPTH = 3  # of lists and maps within each other
MAX_TEXT = 100  # characters of one string, and of a part's own text
MAX_SHOWN = 240  # characters of one value
WITHHELD = "(withheld)"

_SHORT = 4  # a value that is shorter is withheld where it stands alone, not wherever its characters occur
SECRET_FIELDS = ("env", "envFrom", "args", "command")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Shown:
    """A value for people: its CEL type and a bounded text. The type `error` goes with what was wrong."""

    type: str
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """One sub-expression: its text and place (line and column from 1), and the values that it had.

    `depth` is how deep it stands within the expression, `times` how often it was evaluated: 0 for a side of `?:`, `&&`
    or `||` that did not matter. Of many values the first and the last are shown.
    """

    text: str
    line: int
    column: int
    depth: int
    times: int
    values: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Secrets:
    """Texts that are never shown. `values` are withheld in parts too, `whole` only where all of it is there.

    `all_texts` withholds every text: of an expression that names such values something may be made that holds none of
    them any more.
    """

    values: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()
    all_texts: bool = False

    @classmethod
    def of(cls, *objects: Mapping[str, Any]) -> Secrets:
        """Those of pods and of whatever holds one."""
        values: set[str] = set()
        whole: set[str] = set()
        waiting: list[Any] = list(objects)
        while waiting:
            value = waiting.pop()
            if isinstance(value, Mapping):
                values.update(_environment(value.get("env")))
                whole.update(t for name in ("args", "command") for t in _texts(value.get(name)))
                whole.update(_texts([value.get(_LAST_APPLIED)]))
                waiting.extend(value.values())
            elif isinstance(value, list | tuple):
                waiting.extend(value)
        return cls(frozenset(values - {""}), frozenset(whole - {""}))

    def hide(self, text: str) -> bool:
        """Whether the text is one of them, holds one, or is a part of one."""
        if self.all_texts or text in self.values or text in self.whole:
            return True
        if any(len(secret) >= _SHORT and secret in text for secret in (*self.values, *self.whole)):
            return True
        return bool(text) and any(text in secret for secret in self.values)


@dataclass(slots=True)
class _Seen:
    """What one part gave: the first values, and the last one, which is what ended a loop."""

    times: int = 0
    values: list[Any] = field(default_factory=list)

    def add(self, value: Any) -> None:
        if len(self.values) == MAX_VALUES:
            self.values.pop()
        self.values.append(value)


class Trace:
    """One evaluation of a program with everything seen."""

    def __init__(self, program: Program, secrets: Secrets) -> None:
        self._program = program
        self._secrets = secrets
        self._seen: dict[int, _Seen] = {}

    def value(self, bindings: Mapping[str, Any], meter: Meter) -> Shown:
        """Evaluate; an error is a value here. The parts are those of the last evaluation."""
        self._seen.clear()
        compiler = Compiler(TABLE, TYPE_NAMES - bindings.keys(), self._watch)
        traced = compiler.compile(self._program.tree)

        def run(frame: Frame) -> Any:
            return traced(Frame(frame.names, frame.meter, compiler.loops))

        try:
            return show(self._program.replaced(run).value(bindings, meter), self._secrets)
        except AssayError as exc:
            return Shown("error", f"{exc.code}: {exc.message}")

    def parts(self) -> tuple[Part, ...]:
        """Every part that is worth a line, outer ones first."""
        return tuple(islice(self._parts(self._program.tree, 0, within=None), MAX_PARTS))

    def _parts(self, node: Node, depth: int, *, within: Node | None) -> Iterator[Part]:
        inner = depth
        if _telling(node, within):
            seen = self._seen.get(id(node), _Seen())
            text = " ".join(self._program.text[node.place.start : node.place.end].split())
            values = tuple(value if isinstance(value, Shown) else show(value, self._secrets) for value in seen.values)
            yield Part(_cut(text), node.place.line, node.place.column, depth, seen.times, values)
            inner += 1
        for child in children(node):
            yield from self._parts(child, inner, within=node)

    def _watch(self, node: Node, run: Run) -> Run:
        seen = self._seen.setdefault(id(node), _Seen())
        if isinstance(node, Literal | Name) and node is not self._program.tree:
            return run

        def watched(frame: Frame) -> Any:
            seen.times += 1
            try:
                value = run(frame)
            except CelError as exc:
                seen.add(Shown("error", _cut(exc.message)))
                raise
            except Abort as exc:
                seen.add(Shown("error", f"{exc.error.code}: {_cut(exc.error.message)}"))
                raise
            seen.add(value)
            return value

        return watched


def names_secrets(node: Node) -> bool:
    """Whether the expression names a field whose content is withheld."""
    return names_any(node, frozenset(SECRET_FIELDS))


def names_any(node: Node, fields: frozenset[str]) -> bool:
    """Whether the expression names one of these fields, as `a.field` or as a text."""
    named = isinstance(node, Select) and node.field in fields
    quoted = isinstance(node, Literal) and isinstance(node.value, str) and node.value in fields
    return named or quoted or any(names_any(child, fields) for child in children(node))


def show(value: Any, secrets: Secrets) -> Shown:
    """A value in few characters. Reads nothing that is computed when it is read."""
    text = _text(value, secrets, MAX_DEPTH)
    return Shown(type_name(value), text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…")


def _text(value: Any, secrets: Secrets, depth: int) -> str:
    if isinstance(value, str):
        return WITHHELD if secrets.hide(value) else json.dumps(_cut(value), ensure_ascii=False)
    try:
        value = to_cel(value)
    except Abort as exc:
        return f"(unreadable: {exc.error.code})"
    kind = kind_of(value)
    if isinstance(value, bytes) and secrets.hide(value.decode(errors="replace")):
        return WITHHELD
    if isinstance(value, Computed):
        return f"({kind})"
    if is_of(kind, "list"):
        return _bracketed("[]", (_text(entry, secrets, depth - 1) for entry in _some(value, depth)), len(value))
    if is_of(kind, "map"):
        entries = (_entry(value, key, secrets, depth) for key in _some(value, depth))
        return _bracketed("{}", entries, len(value))
    shown = as_json(value)
    text = shown if isinstance(shown, str) else json.dumps(shown)
    return WITHHELD if text in secrets.values and len(text) >= _SHORT else text


def _entry(value: Any, key: Any, secrets: Secrets, depth: int) -> str:
    found = dict.__getitem__(value, key) if isinstance(value, dict) else value[key]
    return f"{_text(key, secrets, 1)}: {_text(found, secrets, depth - 1)}"


def _some(value: Iterable[Any], depth: int) -> Iterable[Any]:
    return islice(value, MAX_ENTRIES) if depth > 0 else ()


def _bracketed(brackets: str, entries: Iterable[str], size: int) -> str:
    shown = list(entries)
    more = [f"… {size} in all"] if size > len(shown) else []
    return f"{brackets[0]}{', '.join([*shown, *more])}{brackets[1]}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _telling(node: Node, within: Node | None) -> bool:
    """Whether a part has a line of its own: no constant, no name, and no `a.b` on the way to `a.b.c`."""
    if within is None:
        return True
    if isinstance(node, Name) or not _names_something(node):
        return False
    return not (_is_path(node) and _is_path(within))


def _names_something(node: Node) -> bool:
    return isinstance(node, Name) or any(_names_something(child) for child in children(node))


def _is_path(node: Node) -> bool:
    return isinstance(node, Select) or (isinstance(node, Call) and node.name == "_[_]")


def _environment(env: Any) -> Iterator[str]:
    for entry in env if isinstance(env, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("value"), str):
            yield entry["value"]


def _texts(values: Any) -> Iterator[str]:
    return (value for value in (values if isinstance(values, list) else ()) if isinstance(value, str))
