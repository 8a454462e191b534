"""The loop: one input after the other, each made from the seed and its number alone, until one fails or time is up.

Only the certificates of `targets` are made anew in every run; the file of a failure holds all that it takes.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutation import mutate
from tests.fuzz.targets import Input, Target, target

FINDINGS = Path(__file__).parent / "findings"
"""Inputs that once failed, each mended since: `<target>.<hash>`."""

DONORS = 4  # inputs of the same target that pieces of one are taken from


@dataclass(frozen=True, slots=True)
class Failure:
    """An input for which something did not hold."""

    target: Target
    input: Input
    error: BaseException

    def write(self, folder: Path) -> Path:
        """Keep the input's bytes in a file; returns it."""
        folder.mkdir(parents=True, exist_ok=True)
        raw = self.input.to_bytes()
        file = folder / f"{self.target.name}.{hashlib.sha256(raw).hexdigest()[:12]}"
        file.write_bytes(raw)
        return file


def fuzz(seed: int, targets: Sequence[Target], *, more: Callable[[int], bool]) -> tuple[int, Failure | None]:
    """Try inputs for the targets in turn while `more(count)`; returns how many were tried, and what failed."""
    count = 0
    while more(count):
        aim = targets[count % len(targets)]
        failure = attempt(aim, _made(seed, count, aim))
        count += 1
        if failure is not None:
            return count, failure
    return count, None


def attempt(aim: Target, given: Input) -> Failure | None:
    """One input. Whatever comes out is a failure, also what is no `Exception` (a panic of a library in Rust)."""
    try:
        aim.check(given)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001 - finding these is what it is for
        return Failure(aim, given, exc)
    return None


def replay(file: Path) -> Failure | None:
    """A kept input again."""
    return attempt(target(file.name.partition(".")[0]), Input.from_bytes(file.read_bytes()))


@functools.cache
def _inputs(aim: Target) -> tuple[Input, ...]:
    return tuple(aim.inputs())


def _made(seed: int, count: int, aim: Target) -> Input:
    rng = random.Random(f"{seed} {count}")  # noqa: S311 - no secret: it has to come out the same again
    known = _inputs(aim)
    given = rng.choice(known)
    donors = [other.content for other in rng.choices(known, k=DONORS)]
    return Input(given.about, mutate(rng, given.content, donors))
