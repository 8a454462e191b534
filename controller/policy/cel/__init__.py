"""CEL for policies: the one home of cel-python, compiled with every name checked and evaluated within bounds.

What the library does by default is not safe for verdicts, so here (see docs/design/cel.md): evaluation is budgeted by
steps, time and size, and a crossed bound is raised *past* the interpreter, which otherwise swallows errors in `||`,
`has` and `exists`; mixed types are unequal; only a real `true` is true; macros and operators are strict in their types.
"""

from __future__ import annotations

from controller.policy.cel.checker import Environment
from controller.policy.cel.program import Program, compile_expression

__all__ = ["Environment", "Program", "compile_expression"]
