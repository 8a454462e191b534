"""CEL for policies: names, functions and types checked when a policy is read, and evaluated within bounds.

The one home of cel-python, which gives the grammar (see docs/design/cel.md). Evaluation is budgeted by steps, time and
size, and a crossed bound is raised *past* the operators that pass over errors; mixed types are unequal; only a real
`true` is true; macros and operators are strict in their types.
"""

from __future__ import annotations

from controller.policy.cel.checker import Environment
from controller.policy.cel.program import Program, compile_expression

__all__ = ["Environment", "Program", "compile_expression"]
