"""What a policy's own words must not quote, since they are answered and recorded: environment values and commands.

A message or an audit annotation is the policy author's. One that is made of `env`, `args` or `command` of an object, or
of `entrypoint` or `cmd` of an image's configuration, might quote what somebody keeps secret there (guarantee 12). Of a
configuration's `Env` and `history` no expression sees anything at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controller.policy.cel.libraries.images import ImageValue
from controller.policy.cel.meter import Abort
from controller.policy.cel.program import Program
from controller.policy.cel.tracing import SECRET_FIELDS, WITHHELD, Secrets, names_any
from controller.policy.compiled import CompiledPolicy

_NAMES = frozenset({*SECRET_FIELDS, "entrypoint", "cmd", "annotations"})  # of which one may hold the object as applied
_RUN = 6  # characters in a row of a secret: a text with so many was made of it


def told(text: str, program: Program, compiled: CompiledPolicy, scope: Mapping[str, Any]) -> str | None:
    """The text that `program` gave over these values; None where it holds what must not be told.

    Looked for where the expression, or a variable that it may read, names such a field: a word of a message may happen
    to be somebody's value as well, and no message is lost for that.
    """
    named = names_any(program.tree, _NAMES)
    if not named and any(name.partition(".")[0] == "variables" for name in program.reads):
        named = any(names_any(variable.tree, _NAMES) for _, variable in compiled.variables)
    if not named:
        return text
    secrets = _secrets(scope)
    return None if secrets.hide(text) or _is_made_of(text, secrets) else text


def _is_made_of(text: str, secrets: Secrets) -> bool:
    """Whether a part of one of them stands in it, in whatever letter case."""
    folded = text.casefold()
    parts = {folded[start : start + _RUN] for start in range(len(folded) - _RUN + 1)}
    lowered = [secret.casefold() for secret in (*secrets.values, *secrets.whole)]
    return any(secret[at : at + _RUN] in parts for secret in lowered for at in range(len(secret) - _RUN + 1))


def annotated(text: str, program: Program, compiled: CompiledPolicy, scope: Mapping[str, Any]) -> str:
    """As `told`, for an audit annotation: who reads the log must see that there is one."""
    found = told(text, program, compiled, scope)
    return WITHHELD if found is None else found


def _secrets(scope: Mapping[str, Any]) -> Secrets:
    objects = [value for name in ("object", "oldObject") if isinstance(value := scope.get(name), Mapping)]
    found = Secrets.of(*objects)
    return Secrets(found.values, found.whole | set(_commands(scope.get("image"))) - {""})


def _commands(image: Any) -> Iterator[str]:
    if isinstance(image, ImageValue):
        try:
            configs = image.configs()
        except Abort:  # none were read: none can be quoted
            return
        for config in configs:
            yield from (*config.entrypoint, *config.command)
