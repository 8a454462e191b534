"""`assay policy eval`: one expression, in the very environment that policies are judged in."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import yaml

from controller.cli import options, render
from controller.errors import AssayError, InputError
from controller.policy.cel import Environment, compile_expression, shown, trace
from controller.policy.cel import schema as cel
from controller.policy.cel.meter import Meter
from controller.policy.cel.problem import ExpressionError, ExpressionFailed
from controller.settings import Settings

EXIT_ERROR = 2
SETTINGS = (
    "policy_cel_steps",
    "policy_cel_timeout",
    "policy_cel_max_length",
    "policy_cel_max_depth",
    "policy_cel_max_value_bytes",
)
_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")


@click.command("eval", context_settings={"ignore_unknown_options": True})  # -1 + 2 is an expression
@click.argument("expression")
@click.option(
    "--input",
    "source",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="JSON or YAML: each key of the object is a name for the expression. - is standard input.",
)
@click.option("--parts", is_flag=True, help="Show the value of each part that was evaluated, too.")
@options.output
@options.with_settings(*SETTINGS)
def evaluate(load: Callable[..., Settings], *, expression: str, source: Path | None, parts: bool, form: str) -> int:
    """Evaluate EXPRESSION as a policy would, and print its value and type.

    Without --input an expression has no names, only constants. With -o json the answer is {"value": …, "type": …}:
    bytes are base64, timestamps RFC 3339, durations as Go writes them (1h30m0s). Exit status: 2 for an error, which
    -o json prints as {"error": {"code", "message", "line", "column", "excerpt"}}.
    """
    settings = load()
    shown_parts: list[dict[str, Any]] = []
    try:
        names = _read(source) if source is not None else {}
        refused = {name: ("NameNotHere", f"{name} has no value here: give one with --input") for name in cel.NAMES}
        environment = Environment(names=dict.fromkeys(names, cel.DYN), refused=refused)
        program = compile_expression(expression, environment, settings.policy)
        if parts:
            shown_parts = [_part(part) for part in trace.parts(program, names, Meter(settings.policy))]
        value = program.value(names, Meter(settings.policy))
    except AssayError as exc:
        _print_error(exc, form, shown_parts)
        return EXIT_ERROR
    answer = {"value": shown.as_json(value), "type": shown.type_of(value)}
    if form == "table":
        render.table(("TYPE", "VALUE"), [(answer["type"], json.dumps(answer["value"], ensure_ascii=False))])
        _print_parts(shown_parts)
    else:
        render.dump(answer | ({"parts": shown_parts} if parts else {}), form)
    return 0


def _part(part: trace.Part) -> dict[str, Any]:
    found: dict[str, Any] = {"text": part.text, "line": part.place.line, "column": part.place.column}
    return found | ({"error": part.error} if part.error else {"value": shown.as_json(part.value)})


def _print_parts(parts: list[dict[str, Any]]) -> None:
    if parts:
        click.echo()
        told = (p["error"] if "error" in p else json.dumps(p["value"], ensure_ascii=False) for p in parts)
        render.table(
            ("PART", "VALUE"), [(" ".join(p["text"].split()), text) for p, text in zip(parts, told, strict=True)]
        )


def _read(source: Path) -> dict[str, Any]:
    content = sys.stdin.read() if str(source) == "-" else source.read_text()
    try:
        found = json.loads(content) if content.lstrip().startswith("{") else yaml.safe_load(content)
    except (ValueError, yaml.YAMLError) as exc:
        mark = getattr(exc, "problem_mark", None)  # the parser would quote the line, which may hold anything
        line = getattr(exc, "lineno", None) or (mark.line + 1 if mark else None)
        place = f", line {line}" if line else ""
        raise InputError("InputMalformed", f"{source}{place}: neither JSON nor YAML") from exc
    if not isinstance(found, dict):
        raise InputError("InputMalformed", f"{source} holds no object whose keys could be names")
    for name in found:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InputError("InputMalformed", f"{name!r} is no name of CEL: letters, digits and _, no digit first")
    return found


def _print_error(error: AssayError, form: str, parts: list[dict[str, Any]]) -> None:
    if form == "table":
        excerpt = error.excerpt if isinstance(error, ExpressionError | ExpressionFailed) else ""
        click.echo(f"assay: {error}" + (f"\n{render.indented(excerpt, '  ')}" if excerpt else ""), err=True)
        _print_parts(parts)
        return
    answer: dict[str, Any] = {"code": error.code, "message": error.message}
    if isinstance(error, ExpressionError | ExpressionFailed) and error.place is not None:
        answer |= {"line": error.place.line, "column": error.place.column, "excerpt": error.excerpt}
    render.dump({"error": answer} | ({"parts": parts} if parts else {}), form)
