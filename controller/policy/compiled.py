"""A policy made ready to judge: patterns and expressions compiled once, on change, off the serving thread."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from controller.errors import PolicyError
from controller.model.policy import AuditAnnotation, Policy, PolicySpec, Problem, Validation
from controller.policy.cel import Environment, Program, compile_expression
from controller.policy.cel import schema as cel
from controller.policy.cel.problem import ExpressionError
from controller.policy.cel.schema import Type
from controller.policy.match import ImageMatcher, ImagePattern
from controller.policy.predicates import read_as
from controller.settings import PolicySettings

_DOCUMENTS: dict[str, tuple[Type, str]] = {
    "sboms": (cel.SBOMS, "SBOM"),
    "provenances": (cel.list_of(cel.PROVENANCE), "SLSAProvenance"),
    "vulnerabilities": (cel.VULNERABILITIES, "Vulnerability"),
    "vex": (cel.VEX, "OpenVEX"),
}
"""The names of documents, each with its type and the word for an `attestations` entry that it needs."""

EVIDENCE_NAMES = frozenset({"signatures", "attestations", *_DOCUMENTS})
_CONFIGURED = frozenset(f"image.{field}" for field in cel.CONFIGURED)
_IMAGE_BY_DIGEST = frozenset({"registry", "repository", "digest", "mediaType", "platforms"})
EVIDENCE_ONLY = EVIDENCE_NAMES | {f"image.{field}" for field in _IMAGE_BY_DIGEST} | _CONFIGURED

_REQUEST: dict[str, Type] = {
    "request": cel.REQUEST,
    "object": cel.DYN,
    "oldObject": cel.DYN,
    "namespaceObject": cel.NAMESPACE,
    "container": cel.CONTAINER,
}


@dataclass(frozen=True, slots=True)
class CompiledCondition:
    """One of `match.conditions`."""

    name: str
    program: Program


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """One of `validations`. `reads` includes what its variables and its message expression read.

    `evidence_only` says that the verdict depends on nothing but the image's digest, repository and verified evidence:
    it may be remembered. What reads the request, the object, the tag or the clock is judged each time.
    """

    index: int
    validation: Validation
    program: Program
    message: Program | None
    reads: frozenset[str]

    @property
    def name(self) -> str:
        """The rule's name in reasons."""
        return f"validations[{self.index}]"

    @property
    def evidence_only(self) -> bool:
        """Whether it reads nothing but evidence."""
        return self.reads <= EVIDENCE_ONLY


@dataclass(frozen=True, slots=True)
class CompiledAnnotation:
    """One of `auditAnnotations`. `reads` includes what its variables read."""

    annotation: AuditAnnotation
    program: Program
    reads: frozenset[str]

    @property
    def name(self) -> str:
        """The annotation's name in reasons."""
        return f"auditAnnotations[{self.annotation.key}]"

    @property
    def evidence_only(self) -> bool:
        """Whether it reads nothing but evidence, and may be remembered."""
        return self.reads <= EVIDENCE_ONLY


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """One policy with everything compiled that its evaluation needs.

    A policy with problems is compiled too: it stays in force and every image that it matches is an Error. `source` is
    the policy as parsed; `policy` has the problems found by compiling as well. `variables` are in their order.
    """

    policy: Policy
    images: ImageMatcher
    source: Policy
    limits: PolicySettings
    conditions: tuple[CompiledCondition, ...] = ()
    variables: tuple[tuple[str, Program], ...] = ()
    rules: tuple[CompiledRule, ...] = ()
    annotations: tuple[CompiledAnnotation, ...] = ()

    @property
    def name(self) -> tuple[str, str, str]:
        """Kind, namespace and name: which object this is, whatever its version."""
        return (self.policy.identity.kind, self.policy.identity.namespace, self.policy.identity.name)

    @property
    def has_request_rules(self) -> bool:
        """Whether any rule or annotation has to be evaluated at each request."""
        judged = all(rule.evidence_only for rule in self.rules)
        return not (judged and all(annotation.evidence_only for annotation in self.annotations))

    @property
    def reads_configs(self) -> bool:
        """Whether any rule or annotation looks at the image's configurations, which are fetched only then.

        `image` as a whole may be looked into anywhere.
        """
        wanted = _CONFIGURED | {"image"}
        parts: list[CompiledRule | CompiledAnnotation] = [*self.rules, *self.annotations]
        return any(wanted & part.reads for part in parts)


def compile_policy(policy: Policy, limits: PolicySettings | None = None) -> CompiledPolicy:
    """Compile a policy. Never raises: what does not compile becomes a `Problem` of the compiled policy."""
    limits = limits or PolicySettings()
    try:
        matcher = ImageMatcher(ImagePattern.parse(text) for text in policy.spec.match.images)
    except PolicyError:
        matcher = ImageMatcher(())  # `parse` has said why; a pattern that cannot be read means every image
    total = sum(map(len, _expressions(policy.spec)))
    if total > limits.policy_cel_max_total_length:
        message = (
            f"has expressions of {total} characters in all (bound: policy_cel_max_total_length "
            f"{limits.policy_cel_max_total_length}); make it several policies"
        )
        problems = (*policy.problems, *policy.unresolved, Problem("ExpressionTooLong", "spec", message))
        return CompiledPolicy(dataclasses.replace(policy, problems=problems), matcher, policy, limits)
    compiler = _Compiler(policy.spec, limits)
    conditions = tuple(compiler.conditions())
    variables = tuple(compiler.variables())
    rules = tuple(compiler.rules())
    annotations = tuple(compiler.annotations())
    problems = (*policy.problems, *policy.unresolved, *compiler.problems)
    return CompiledPolicy(
        policy=dataclasses.replace(policy, problems=problems),
        images=matcher,
        source=policy,
        limits=limits,
        conditions=conditions,
        variables=variables,
        rules=rules,
        annotations=annotations,
    )


def _expressions(spec: PolicySpec) -> Iterator[str]:
    yield from (condition.expression for condition in spec.match.conditions)
    yield from (variable.expression for variable in spec.variables)
    for validation in spec.validations:
        yield from (validation.expression, validation.message_expression)
    yield from (annotation.value_expression for annotation in spec.audit_annotations)


class _Compiler:
    """Compiles one spec's expressions and collects what is wrong with them."""

    def __init__(self, spec: PolicySpec, limits: PolicySettings) -> None:
        self._spec = spec
        self._limits = limits
        self._variables: dict[str, frozenset[str]] = {}  # what each reads
        self._types: dict[str, Type] = {}
        self.problems: list[Problem] = []

    def conditions(self) -> Iterator[CompiledCondition]:
        why = "conditions decide before anything is fetched, so they have no evidence, no digest and no clock"
        hidden = EVIDENCE_NAMES | {"now", "variables"}
        environment = Environment(
            names=_REQUEST | {"image": cel.NAMED_IMAGE}, refused=dict.fromkeys(hidden, ("NameNotHere", why))
        )
        for i, condition in enumerate(self._spec.match.conditions):
            program = self._compile(
                condition.expression, environment, f"spec.match.conditions[{i}].expression", cel.BOOL
            )
            if program is not None:
                yield CompiledCondition(name=condition.name, program=program)

    def variables(self) -> Iterator[tuple[str, Program]]:
        for i, variable in enumerate(self._spec.variables):
            program = self._compile(variable.expression, self._environment(), f"spec.variables[{i}].expression")
            self._variables[variable.name] = self._all_reads(program) if program is not None else frozenset()
            self._types[variable.name] = program.type if program is not None else cel.DYN
            if program is not None:
                yield variable.name, program

    def rules(self) -> Iterator[CompiledRule]:
        environment = self._environment()
        for i, validation in enumerate(self._spec.validations):
            field = f"spec.validations[{i}]"
            program = self._compile(validation.expression, environment, f"{field}.expression", cel.BOOL)
            message = None
            if validation.message_expression:
                place = f"{field}.messageExpression"
                message = self._compile(validation.message_expression, environment, place, cel.STRING)
            if program is not None:
                reads = self._all_reads(program) | (self._all_reads(message) if message is not None else frozenset())
                yield CompiledRule(index=i, validation=validation, program=program, message=message, reads=reads)

    def annotations(self) -> Iterator[CompiledAnnotation]:
        environment = self._environment()
        for i, annotation in enumerate(self._spec.audit_annotations):
            field = f"spec.auditAnnotations[{i}].valueExpression"
            program = self._compile(annotation.value_expression, environment, field, cel.STRING_OR_NULL)
            if program is not None:
                yield CompiledAnnotation(annotation=annotation, program=program, reads=self._all_reads(program))

    def _environment(self) -> Environment:
        names = _REQUEST | {"image": cel.IMAGE, "now": cel.TIMESTAMP}
        refused: dict[str, tuple[str, str]] = {}
        spec = self._spec
        if spec.signatures is not None:
            names["signatures"] = cel.list_of(cel.SIGNATURE)
        else:
            refused["signatures"] = _not_required("signatures", "spec.signatures")
        if spec.attestations:
            entries = {entry.name: cel.list_of(cel.ATTESTATION) for entry in spec.attestations}
            names["attestations"] = cel.record(entries)
        else:
            refused["attestations"] = _not_required("attestations", "an entry in spec.attestations")
        required = {read_as(entry.type) for entry in spec.attestations}
        for name, (type_, word) in _DOCUMENTS.items():
            if name in required:
                names[name] = type_
            else:
                refused[name] = _not_required(name, f"an entry of type {word} in spec.attestations")
        if self._variables:
            names["variables"] = cel.record(self._types)
        else:
            refused["variables"] = ("NameUnknown", "there are no variables before this one")
        return Environment(names=names, refused=refused)

    def _all_reads(self, program: Program) -> frozenset[str]:
        """What the expression reads, with what each of its variables reads in its place."""
        found: set[str] = set()
        for name in program.reads:
            root, _, variable = name.partition(".")
            if root != "variables":
                found.add(root if root in EVIDENCE_NAMES else name)
            else:
                chosen = [variable] if variable in self._variables else list(self._variables)
                found.update(*(self._variables[known] for known in chosen))
        return frozenset(found)

    def _compile(self, text: str, environment: Environment, field: str, wanted: Type | None = None) -> Program | None:
        if not text:
            return None  # `parse` has said that it is missing
        try:
            return compile_expression(text, environment, self._limits, wanted=wanted)
        except PolicyError as exc:
            excerpt = exc.excerpt if isinstance(exc, ExpressionError) else ""
            self.problems.append(Problem(exc.code, field, exc.message, excerpt))
            return None


def _not_required(name: str, what: str) -> tuple[str, str]:
    return ("EvidenceNotRequired", f"{name} is read but not required: add {what}, so that nothing passes without it")


def problems_of(policies: Sequence[CompiledPolicy]) -> tuple[tuple[str, Problem], ...]:
    """All problems of some policies, each with its policy's name, for commands that check files."""
    return tuple((str(c.policy.identity), problem) for c in policies for problem in c.policy.problems)
