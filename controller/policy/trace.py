"""Why a policy says what it says of an image, part by part: for `assay policy explain` and failing policy tests.

Nothing here decides. Rules are judged by `evaluation` and matching by `review.scope`; this evaluates the same programs
over the same values once more, and keeps what each part came to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controller.errors import AssayError
from controller.model.evidence import VerifiedEvidence
from controller.model.image import ImageConfigs, ImageUse, ResolvedImage
from controller.model.policy import Namespace
from controller.model.reference import Reference
from controller.model.workload import AdmissionRequest
from controller.policy import bindings
from controller.policy.cel.meter import Abort, Meter
from controller.policy.cel.program import Program
from controller.policy.cel.tracing import Part, Secrets, Shown, Trace, names_secrets
from controller.policy.compiled import CompiledPolicy
from controller.policy.evaluation import all_values, check_present, with_variables


@dataclass(frozen=True, slots=True)
class Traced:
    """One expression of a policy: its name (`validations[0]`, `variables.bad`), its value, and that of each part."""

    name: str
    expression: str
    value: Shown
    parts: tuple[Part, ...] = ()


def trace_rules(
    compiled: CompiledPolicy,
    *,
    evidence: VerifiedEvidence,
    image: ResolvedImage,
    use: ImageUse | None,
    request: AdmissionRequest | None,
    namespace: Namespace | None,
    now: datetime,
    configs: ImageConfigs = (),
) -> tuple[Traced, ...]:
    """The variables, validations and audit annotations of a policy. `evidence` is what met its requirements."""
    try:
        values = all_values(
            compiled,
            evidence=evidence,
            image=image,
            use=use,
            request=request,
            namespace=namespace,
            now=now,
            configs=configs,
        )
    except Abort as exc:
        failed = Shown("error", str(exc.error))
        return tuple(Traced(name, program.text, failed) for name, program, _ in _programs(compiled))
    tracer = _Tracer(compiled, values, request)
    return tuple(tracer.trace(name, program, reads) for name, program, reads in _programs(compiled))


def trace_conditions(
    compiled: CompiledPolicy,
    *,
    request: AdmissionRequest,
    namespace: Namespace | None,
    use: ImageUse,
    reference: Reference | None,
) -> tuple[Traced, ...]:
    """The `match.conditions` of a policy, each evaluated, whatever the others are."""
    values = bindings.of_request(request=request, namespace=namespace, use=use, now=None)
    if reference is not None:
        values["image"] = bindings.of_reference(reference)
    tracer = _Tracer(compiled, values, request)
    return tuple(
        tracer.trace(f"match.conditions[{condition.name}]", condition.program, condition.program.reads)
        for condition in compiled.conditions
    )


class _Tracer:
    def __init__(self, compiled: CompiledPolicy, values: Mapping[str, Any], request: AdmissionRequest | None) -> None:
        self._compiled = compiled
        self._values = values
        objects = (request.object, request.old_object) if request is not None else ()
        self._secrets = Secrets.of(*objects)
        named = any(names_secrets(program.tree) for _, program in compiled.variables)
        self._variables_name_secrets = named

    def trace(self, name: str, program: Program, reads: frozenset[str]) -> Traced:
        """One expression, on a budget of its own as when it is judged."""
        meter = Meter(self._compiled.limits)
        withheld = names_secrets(program.tree) or (self._variables_name_secrets and _reads_variables(program))
        trace = Trace(program, dataclasses.replace(self._secrets, all_texts=withheld))
        try:
            check_present(reads, self._values)
        except AssayError as exc:
            return Traced(name, program.text, Shown("error", f"{exc.code}: {exc.message}"))
        value = trace.value(with_variables(self._compiled, self._values, meter), meter)
        return Traced(name, program.text, value, trace.parts())


def _reads_variables(program: Program) -> bool:
    return any(name.partition(".")[0] == "variables" for name in program.reads)


def _programs(compiled: CompiledPolicy) -> Iterator[tuple[str, Program, frozenset[str]]]:
    """Every expression over evidence, with all names that it reads, by way of variables too."""
    for name, program in compiled.variables:
        yield f"variables.{name}", program, frozenset()
    for rule in compiled.rules:
        yield rule.name, rule.program, rule.reads
    for annotation in compiled.annotations:
        yield annotation.name, annotation.program, annotation.reads
