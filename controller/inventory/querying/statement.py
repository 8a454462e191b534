"""What may be asked: one SELECT, of known functions. Pure; the first of two walls.

The second is the database's own (SQLite: an authorizer; PostgreSQL: a role that may read the views alone). This one
says in plain words what is wrong, and keeps out what a role cannot: functions that sleep, lock or change the session,
and PostgreSQL's catalogue. It reads tokens, not grammar, so it refuses whatever the two databases could read in
another way than it does: dollar quotes, escape strings, brackets, nested comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from controller.errors import InputError

MAX_STATEMENT = 32_768  # characters
MAX_DEPTH = 64  # parentheses within parentheses
MAX_SELECTS = 20  # SELECTs in one: a planner may unfold each into the next

FUNCTIONS = frozenset(
    (
        *("count", "sum", "min", "max", "avg", "total", "abs", "round", "ceil", "ceiling", "floor", "mod", "sign"),
        *("lower", "upper", "trim", "ltrim", "rtrim", "length", "char_length", "octet_length", "substr", "substring"),
        *(
            "replace",
            "instr",
            "strpos",
            "position",
            "left",
            "right",
            "split_part",
            "starts_with",
            "concat",
            "concat_ws",
        ),
        *("like", "glob", "coalesce", "nullif", "ifnull", "iif", "greatest", "least", "typeof", "cast"),
        *("date", "time", "datetime", "julianday", "strftime", "unixepoch"),
        *("date_trunc", "date_part", "extract", "to_char", "to_timestamp", "to_date", "now", "age"),
        *("group_concat", "string_agg", "array_agg", "bool_and", "bool_or", "every"),
        *("json_each", "json_extract", "json_array_length", "json_group_array", "jsonb_array_length"),
        *("json_array_elements_text", "jsonb_array_elements_text"),
        *("row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile"),
        *("lag", "lead", "first_value", "last_value", "nth_value"),
        *("percentile_cont", "percentile_disc", "mode", "stddev", "variance", "grouping"),
    )
)
"""The functions of both databases that only compute, and make little more than what they are given."""

_BEFORE_PARENTHESIS = frozenset(
    (
        *("select", "from", "where", "and", "or", "not", "in", "exists", "any", "all", "some", "as", "on", "using"),
        *("join", "lateral", "when", "then", "else", "case", "having", "by", "over", "filter", "within", "group"),
        *("union", "intersect", "except", "distinct", "values", "limit", "offset", "between", "is", "escape", "row"),
        *("materialized", "partition", "order", "with", "rollup", "cube", "sets"),
        *("varchar", "char", "character", "numeric", "decimal", "timestamp", "timestamptz", "interval"),
    )
)
"""What may stand before a parenthesis and is no function."""

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n\f]+ | --[^\n]*)
    | (?P<comment>/\*)
    | (?P<string>(?P<prefix>[A-Za-z_&]?)'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<number>\.?[0-9][0-9A-Za-z_.]*)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sign>[-+*/%<>=!|&~^.,():?@#])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    value: str


def check(sql: str) -> str:
    """The statement, without what ends it. Raises `InputError` (`QueryRefused`) saying what it may not hold."""
    if len(sql) > MAX_STATEMENT:
        raise _refused(f"a question may have {MAX_STATEMENT} characters")
    statement = sql.replace("\r\n", "\n")
    if "\0" in statement or "\r" in statement:  # a comment ends at a lone CR in PostgreSQL, and does not in SQLite
        raise _refused("it holds a NUL, or a carriage return alone")
    statement = statement.strip().rstrip(";").rstrip()
    tokens = list(_tokens(statement))
    if not tokens or tokens[0].value not in {"select", "with", "values"}:
        raise _refused("it must be one SELECT (or WITH … SELECT)")
    if sum(token.value == "select" for token in tokens) > MAX_SELECTS:
        raise _refused(f"it has more than {MAX_SELECTS} SELECTs")
    depth = 0
    for number, token in enumerate(tokens):
        before = tokens[number - 1] if number else _Token("", "")
        if token.kind in {"name", "quoted"} and (token.value.startswith("pg_") or token.value == "information_schema"):
            raise _refused(f"{token.value} is not one of the views (docs/reference/views.md)")
        if token.value == "(" and token.kind == "sign":
            depth += 1
            _check_call(before)
        elif token.value == ")" and token.kind == "sign":
            depth -= 1
        if not 0 <= depth <= MAX_DEPTH:
            raise _refused("its parentheses do not match, or are too deep")
    if depth:
        raise _refused("its parentheses do not match")
    return statement


def _check_call(before: _Token) -> None:
    if before.kind == "quoted" or (
        before.kind == "name" and before.value not in FUNCTIONS and before.value not in _BEFORE_PARENTHESIS
    ):
        raise _refused(f"{before.value}(…) is none of the functions that a question may use")


def _tokens(text: str) -> Iterator[_Token]:
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise _refused(f"it holds {text[place]!r}, which stands in no question outside of '…' and \"…\"")
        kind = str(found.lastgroup)
        if found["comment"]:
            place = _end_of_comment(text, found.end())
            continue
        if found["string"] is not None:
            if found["prefix"]:
                raise _refused("text is written '…', without a letter before it")
            yield _Token("string", found["string"])
        elif kind == "quoted":
            yield _Token("quoted", found["quoted"][1:-1].replace('""', '"').lower())
        elif kind in {"name", "number", "sign"}:
            yield _Token(kind, found[kind].lower())
        place = found.end()


def _end_of_comment(text: str, start: int) -> int:
    end, nested = text.find("*/", start), text.find("/*", start)
    if end < 0 or 0 <= nested < end:
        raise _refused("a comment does not end, or holds another one")
    return end + 2


def _refused(why: str) -> InputError:
    return InputError("QueryRefused", f"the question cannot be asked: {why}")
