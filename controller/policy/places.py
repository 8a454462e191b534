"""Where in its YAML file something stands that is wrong with an object: from a field's path to line and column.

Pure, over the nodes that PyYAML composes. Lines and columns count from 1, columns in characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

_INDEX = re.compile(r"\[(\d+)\]")
_IN_EXPRESSION = re.compile(r"line (\d+), column (\d+): ")
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a file."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class _Found:
    """The node at a path: its key's place (of a list's entry its own), and itself if the whole path is there."""

    place: Place
    node: yaml.Node | None


def place_of(root: yaml.Node, field: str, message: str, lines: list[str]) -> Place:
    """Where a field of the object at `root` stands; of one that is not there, the nearest that is above it.

    A message that begins with `line L, column C:` is about the text in that field: then where that is in the file, as
    far as it can be told. `lines` are the file's.
    """
    found = _find(root, field)
    inside = _IN_EXPRESSION.match(message)
    if inside is not None and isinstance(found.node, yaml.ScalarNode):
        return _inside(found.node, lines, int(inside[1]), int(inside[2])) or found.place
    return found.place


def duplicate_keys(root: yaml.Node) -> Iterator[tuple[str, Place]]:
    """Every key that stands twice in one mapping, where it stands again: YAML readers keep the last without a word."""
    waiting, seen = [root], {id(root)}
    while waiting:
        node = waiting.pop()
        children: list[yaml.Node] = list(node.value) if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                children.append(value)
                if isinstance(key, yaml.ScalarNode):
                    if key.value in keys:
                        yield key.value, _place(key.start_mark)
                    keys.add(key.value)
        for child in children:  # an alias is the node that it stands for
            if id(child) not in seen:
                seen.add(id(child))
                waiting.append(child)


def _find(root: yaml.Node, field: str) -> _Found:
    node, place, rest = root, _place(root.start_mark), field
    while rest:
        rest = rest.removeprefix(".")
        step: tuple[yaml.Node, yaml.Node, int] | None = None  # whose place, the next node, characters of the path
        index = _INDEX.match(rest)
        if isinstance(node, yaml.SequenceNode) and index is not None:
            entries = node.value
            if int(index[1]) < len(entries):
                step = (entries[int(index[1])], entries[int(index[1])], index.end())
        elif isinstance(node, yaml.MappingNode):
            step = _key(node, rest)
        if step is None:
            return _Found(place, None)
        place, node, rest = _place(step[0].start_mark), step[1], rest[step[2] :]
    return _Found(place, node)


def _key(node: yaml.MappingNode, rest: str) -> tuple[yaml.Node, yaml.Node, int] | None:
    """The entry whose key is the longest that the path may go on with: labels' keys have dots of their own."""
    best: tuple[yaml.Node, yaml.Node, int] | None = None
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        name = key.value
        fits = rest == name or rest.startswith((f"{name}.", f"{name}["))
        if fits and (best is None or len(name) > best[2]):
            best = (key, value, len(name))
    return best


def _inside(node: yaml.ScalarNode, lines: list[str], line: int, column: int) -> Place | None:
    """The place of a line and column of a scalar's text. None where the text cannot be laid beside the file's."""
    texts = node.value.split("\n")
    if line > len(texts):
        return None
    wanted = sum(len(text) + 1 for text in texts[: line - 1]) + column - 1
    source = _characters(node, lines)
    last = Place(node.start_mark.line + 1, node.start_mark.column + 1)
    upcoming = next(source, None)
    for position, character in enumerate(node.value):
        if upcoming is not None and upcoming[0] == character:
            last = upcoming[1]
            if position == wanted:
                return last
            upcoming = next(source, None)
        elif character not in " \n":  # neither what folding puts in the place of a line's end
            return None
    return Place(last.line, last.column + 1)  # at the end of the text


def _characters(node: yaml.ScalarNode, lines: list[str]) -> Iterator[tuple[str, Place]]:
    """The characters of a scalar as the file has them, without indentation, quotes and line ends."""
    start, end = node.start_mark, node.end_mark
    block = node.style in ("|", ">")
    first = start.line + 1 if block else start.line
    after = end.line if block and end.column == 0 else end.line + 1
    shown = lines[first:after]
    indent = min((len(text) - len(text.lstrip(" ")) for text in shown if text.strip()), default=0) if block else 0
    for number, text in enumerate(shown, first):
        begin, finish = indent, len(text)
        if not block:
            quoted = len(node.style or "") if node.style in ("'", '"') else 0
            finish = end.column - quoted if number == end.line else len(text.rstrip())
            begin = start.column + quoted if number == start.line else len(text) - len(text.lstrip())
        yield from _unescaped(text, begin, finish, number, node.style or "")


def _unescaped(text: str, begin: int, finish: int, number: int, style: str) -> Iterator[tuple[str, Place]]:
    position = begin
    while position < finish:
        place, width, character = Place(number + 1, position + 1), 1, text[position]
        escape = _ESCAPE.match(text, position, finish) if style == '"' else None
        if escape is not None:
            width = len(escape[0])
            code = escape[1]
            simple = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}
            character = chr(int(code[1:], 16)) if len(code) > 1 else simple.get(code, code)
        elif style == "'" and text.startswith("''", position):
            width = 2
        yield character, place
        position += width


def _place(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)
