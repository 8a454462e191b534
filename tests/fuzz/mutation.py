"""Bytes made from other bytes: what a stranger would try, at random but by a seed.

JSON is changed as JSON, also where it lies in a string, in base64 or not, so that most of what comes out is still read
far enough to be judged; everything is changed as bytes as well.
"""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Path = tuple[str | int, ...]

# What no writer of JSON would write: stands for itself as a string of the key, until the text is there.
_RAW = {
    "past-float": b"1e999",
    "many-digits": b"9" * 5000,
    "past-int": str(2**64).encode(),
    "minus-zero": b"-0",
    "float": b"1.0",
    "nan": b"NaN",
    "infinity": b"-Infinity",
    "surrogate": b'"\\ud800"',
    "zero": b'"\\u0000"',
    "deep-list": b"[" * 300 + b"]" * 300,
    "deep-object": b'{"a":' * 300 + b"0" + b"}" * 300,
    "deeper": b"[" * 50_000 + b"]" * 50_000,
    "wide": b"[" + b",".join([b"{}"] * 5000) + b"]",
    "long": b'"' + b"A" * 100_000 + b'"',
}
_RAW_TEXT = re.compile(rb'"@raw:([a-z-]+)@"')
_TWICE = "@twice@"
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**53, 2**63, -(2**63), 10**30, 0.5, "", "0", "null", "-1", " ", "é", "AA==",
    "sha256:", "sha256", "https://", "\x00", "x" * 3000, [], {}, [[]], [None], {"": None},
)  # fmt: skip
_BYTES = (b"\x00", b"\xff", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"\n", b"\xef\xbb\xbf", b"[" * 4000)


def mutate(rng: random.Random, content: bytes, donors: Sequence[bytes]) -> bytes:
    """`content` changed in one to four places, perhaps with pieces of `donors`."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        content = _once(rng, content, donors)
    return content


def _once(rng: random.Random, content: bytes, donors: Sequence[bytes]) -> bytes:
    value = _loaded(content)
    if not isinstance(value, dict | list) or rng.random() < 0.2:
        return _changed_bytes(rng, content, rng.choice(donors) if donors else b"")
    return _written(_changed_json(rng, value, donors))


def _loaded(content: bytes) -> Any:
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError):
        return None


def _written(value: Any) -> bytes:
    text = json.dumps(value).replace(_TWICE, "").encode()
    return _RAW_TEXT.sub(lambda found: _RAW[found[1].decode()], text)


def _changed_bytes(rng: random.Random, content: bytes, donor: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    end = min(len(content), at + rng.choice((1, 1, 2, 8, 64)))
    match rng.randrange(7):
        case 0:  # a bit
            if at < len(content):
                return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
            return content + b"\x00"
        case 1:  # cut off
            return content[:at]
        case 2:  # a piece gone
            return content[:at] + content[end:]
        case 3:  # a piece twice
            return content[:end] + content[at:]
        case 4:  # something put in
            return content[:at] + rng.choice(_BYTES) + content[at:]
        case 5:  # other bytes
            return content[:at] + rng.randbytes(end - at) + content[end:]
        case _:  # the rest of something else
            return content[:at] + donor[at:]


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield (*path, name)
        yield from _paths(child, (*path, name))


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _changed_json(rng: random.Random, value: Any, donors: Sequence[bytes]) -> Any:
    paths = list(_paths(value))
    if not paths:
        return rng.choice(_VALUES)
    path = rng.choice(paths)
    holder, name = _at(value, path[:-1]), path[-1]
    change = rng.choice(_CHANGES)
    change(rng, value, holder, name, donors)
    return value


Change = Callable[[random.Random, Any, Any, Any, Sequence[bytes]], None]


def _remove(_: random.Random, __: Any, holder: Any, name: Any, ___: Sequence[bytes]) -> None:
    del holder[name]


def _replace(rng: random.Random, _: Any, holder: Any, name: Any, __: Sequence[bytes]) -> None:
    holder[name] = f"@raw:{rng.choice(list(_RAW))}@" if rng.random() < 0.3 else rng.choice(_VALUES)


def _double(rng: random.Random, _: Any, holder: Any, name: Any, __: Sequence[bytes]) -> None:
    """An item, or a name, twice."""
    if isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), holder[name])
    else:
        holder[f"{_TWICE}{name}"] = holder[name] if rng.random() < 0.5 else rng.choice(_VALUES)


def _move(rng: random.Random, value: Any, holder: Any, name: Any, _: Sequence[bytes]) -> None:
    """To another place, of the same name or another one."""
    moved = holder.pop(name)
    holders = [value, *(_at(value, path) for path in _paths(value))]
    target = rng.choice([found for found in holders if isinstance(found, dict | list)])
    if isinstance(target, list):
        target.insert(rng.randrange(len(target) + 1), moved)
    else:
        target[str(name) if rng.random() < 0.5 or not target else rng.choice(list(target))] = moved


def _swap(rng: random.Random, value: Any, holder: Any, name: Any, _: Sequence[bytes]) -> None:
    """With another value; not with one that it holds or is held by."""
    path = rng.choice(list(_paths(value)))
    other = _at(value, path[:-1])
    if not any(isinstance(part, dict | list) for part in (holder[name], other[path[-1]])):
        holder[name], other[path[-1]] = other[path[-1]], holder[name]


def _wrap(rng: random.Random, _: Any, holder: Any, name: Any, __: Sequence[bytes]) -> None:
    holder[name] = rng.choice(([holder[name]], {str(name): holder[name]}, json.dumps(holder[name]), str(holder[name])))


def _rename(rng: random.Random, _: Any, holder: Any, name: Any, __: Sequence[bytes]) -> None:
    if isinstance(holder, dict):
        holder[rng.choice((name.upper(), name.title(), f"{name} ", f"{name}\x00", name[:-1]))] = holder.pop(name)


def _splice(rng: random.Random, _: Any, holder: Any, name: Any, donors: Sequence[bytes]) -> None:
    """A value of another one, rather one of the same name."""
    donor = _loaded(rng.choice(donors)) if donors else None
    if isinstance(donor, dict | list) and donor:
        paths = list(_paths(donor))
        same = [path for path in paths if path[-1] == name]
        holder[name] = _at(donor, rng.choice(same or paths))


def _inside(rng: random.Random, _: Any, holder: Any, name: Any, donors: Sequence[bytes]) -> None:
    """What lies within a string: JSON or bytes, in base64 or not; else a character."""
    text = holder[name]
    if not isinstance(text, str):
        _replace(rng, None, holder, name, donors)
        return
    try:
        inner, encoded = base64.b64decode(text, validate=True), bool(text)
    except ValueError:
        inner, encoded = text.encode("utf-8", "surrogatepass"), False
    changed = _once(rng, inner, ())
    holder[name] = base64.b64encode(changed).decode() if encoded else changed.decode("utf-8", "replace")


_CHANGES: tuple[Change, ...] = (
    _remove, _replace, _replace, _double, _move, _swap, _wrap, _rename, _splice, _inside, _inside, _inside,
)  # fmt: skip
