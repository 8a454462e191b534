"""What an author reads in `status`: three conditions, each with field, cause and fix. Pure.

*Accepted*: well-formed, and nothing in it that this version cannot carry out. *Compiled*: its expressions compile.
*Ready*: it is in force as written. A policy that is not ready stays in force: what it matches is an Error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller.model.policy import Problem

MAX_PROBLEMS = 10  # problems told in one condition; a person mends these first
MAX_MESSAGE = 8_000  # characters of one message; etcd holds it in every object
IN_FORCE = "It stays in force as it is, and every image that it matches is an Error."


@dataclass(frozen=True, slots=True)
class Condition:
    """One of Kubernetes' conditions, without its times."""

    type: str
    status: bool | None
    reason: str
    message: str


def policy_conditions(
    *,
    problems: Sequence[Problem],
    compile_problems: Sequence[Problem],
    unresolved: Sequence[Problem] = (),
    missing_trust_roots: Sequence[str],
) -> tuple[Condition, ...]:
    """The conditions of a policy: what parsing and compiling found, and which keys and trust roots are not there."""
    accepted = (
        Condition("Accepted", False, problems[0].code, told(problems))
        if problems
        else Condition("Accepted", True, "Valid", "Every field is understood.")
    )
    if problems:
        compiled = Condition("Compiled", None, "NotAccepted", "Expressions are compiled once the policy is accepted.")
    elif compile_problems:
        compiled = Condition("Compiled", False, compile_problems[0].code, told(compile_problems))
    else:
        compiled = Condition("Compiled", True, "Compiled", "Every expression compiles.")
    every = (*problems, *compile_problems, *unresolved)
    if every:
        ready = Condition("Ready", False, every[0].code, f"{told(every)} {IN_FORCE}")
    elif missing_trust_roots:
        names = ", ".join(missing_trust_roots)
        ready = Condition(
            "Ready",
            False,
            "TrustRootMissing",
            f"spec.authorities: there is no usable TrustRoot {names}; create it. Until then keyless evidence cannot "
            "be verified, and what needs it is an Error.",
        )
    else:
        ready = Condition("Ready", True, "InForce", "In force as written.")
    return accepted, compiled, ready


def object_conditions(
    problems: Sequence[Problem], *, ready: str, accepted: bool = False, reason: str = "InForce"
) -> tuple[Condition, ...]:
    """The conditions of a TrustRoot or an exception, which have nothing to compile. `ready` completes *Ready*.

    `accepted` says that the problems are none of the object itself, but of what it refers to.
    """
    valid = Condition("Accepted", True, "Valid", "Every field is understood.")
    if problems:
        message = told(problems)
        return (
            valid if accepted else Condition("Accepted", False, problems[0].code, message),
            Condition("Ready", False, problems[0].code, message),
        )
    return valid, Condition("Ready", True, reason, ready)


def told(problems: Sequence[Problem]) -> str:
    """The problems as sentences, each with its field."""
    parts = [f"{problem.field}: {problem.message}" if problem.field else problem.message for problem in problems]
    shown = [part if part.endswith((".", "!", "?")) else f"{part}." for part in parts[:MAX_PROBLEMS]]
    if len(parts) > MAX_PROBLEMS:
        shown.append(f"And {len(parts) - MAX_PROBLEMS} more.")
    return " ".join(shown)[:MAX_MESSAGE]


def status_patch(
    obj: Mapping[str, Any], conditions: Iterable[Condition], *, now: datetime, **fields: str
) -> dict[str, Any] | None:
    """The merge patch (RFC 7396) of `status` that says so, or None where the object says it already.

    `lastTransitionTime` changes only with a condition's status; conditions of others are kept. `fields` are further
    fields of the status.
    """
    generation = obj["metadata"].get("generation", 0)
    present = obj.get("status") or {}
    before = {condition.get("type"): condition for condition in present.get("conditions") or ()}
    wanted: dict[str, dict[str, Any]] = {}
    for condition in conditions:
        word = {True: "True", False: "False", None: "Unknown"}[condition.status]
        known = before.get(condition.type) or {}
        moment = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        wanted[condition.type] = {
            "type": condition.type,
            "status": word,
            "reason": condition.reason,
            "message": condition.message[:MAX_MESSAGE],
            "observedGeneration": generation,
            "lastTransitionTime": known.get("lastTransitionTime", moment) if known.get("status") == word else moment,
        }
    others = [condition for kind, condition in before.items() if kind not in wanted]
    status = {**fields, "observedGeneration": generation, "conditions": [*wanted.values(), *others]}
    if all(present.get(name) == value for name, value in status.items()):
        return None
    return {"status": status}
