"""The value of each part of an expression: how an author sees why a rule holds or does not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.policy.cel.failure import CelError
from controller.policy.cel.interpreter import Compiler, Frame, Run
from controller.policy.cel.libraries import TABLE
from controller.policy.cel.meter import Abort, Meter
from controller.policy.cel.program import Program, enough_stack
from controller.policy.cel.syntax import Literal, Macro, Node, Place, children
from controller.policy.cel.tree import TYPE_NAMES

MAX_PARTS = 100  # of one expression; further ones are left out


@dataclass(frozen=True, slots=True)
class Part:
    """One part that was evaluated: its text and place, and its value, or what went wrong.

    `value` is a CEL value (`shown.as_json`); it comes from the object and the evidence, so it is for the author's own
    eyes: never for a log, a record or a denial (guarantee 12).
    """

    text: str
    place: Place
    value: Any = None
    error: str = ""


def parts(program: Program, bindings: Mapping[str, Any], meter: Meter) -> tuple[Part, ...]:
    """Evaluate, and give every part that was evaluated, in the order of the text, the whole one first.

    Constants are left out, and what stands inside of a macro, as it has a value for each entry. Nothing is raised: the
    error of the expression is that of its parts.
    """
    shown = set(_outside_of_macros(program.tree))
    found: dict[Node, Part] = {}

    def watch(node: Node, run: Run) -> Run:
        if node not in shown:
            return run

        def watched(frame: Frame) -> Any:
            text = program.text[node.place.start : node.place.end]
            try:
                value = run(frame)
            except (CelError, Abort) as exc:
                message = exc.message if isinstance(exc, CelError) else exc.error.message
                found[node] = Part(text, node.place, error=message)
                raise
            found[node] = Part(text, node.place, value)
            return value

        return watched

    compiler = Compiler(TABLE, TYPE_NAMES - bindings.keys(), watch)
    run = compiler.compile(program.tree)
    enough_stack()
    with contextlib.suppress(CelError, Abort, RecursionError):  # told by the parts
        run(Frame(bindings, meter, compiler.loops))
    order = sorted(found.values(), key=lambda part: (part.place.start, -part.place.end))
    return tuple(order[:MAX_PARTS])


def _outside_of_macros(node: Node) -> Iterator[Node]:
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, Literal):
            yield part
        waiting += [part.target] if isinstance(part, Macro) else children(part)
