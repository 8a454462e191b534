"""Everything that can be told of Assay's own resources before they bite: the one check of webhook and command line.

Pure: objects in, findings out. What lies around them (trust roots, Secrets, other policies) is handed over as far as it
is known; what is not known is no finding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from controller.errors import PolicyError
from controller.model.exception import EvidenceException, PolicyName
from controller.model.policy import Policy, Problem, TrustRoot
from controller.policy.advice import Installation, advise
from controller.policy.compiled import compile_policy
from controller.policy.exceptions import fault, parse_exception
from controller.policy.kinds import EXCEPTION, POLICY_KINDS, TRUST_ROOT
from controller.policy.parse import parse_policy
from controller.policy.references import NOTHING, Materials
from controller.policy.resolving import needs_root, resolve
from controller.policy.trust import DOCUMENTS, is_reference, parse_trust_root
from controller.settings import ExceptionSettings, PolicySettings

_UNKNOWN_YET = frozenset({"ReferenceUnread", "TufUnread", "TufStale"})  # what only time tells


class Severity(StrEnum):
    """An error is refused; a warning is told and taken."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Subject:
    """Which object a finding is about; `namespace` is empty for what has none."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}" if self.namespace else f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or odd, with an object: reason code, the field's path, and a sentence with the fix.

    `excerpt`: the line of an expression that it is about, with a caret in the line below; empty for all else.
    """

    severity: Severity
    code: str
    subject: Subject
    field: str
    message: str
    excerpt: str = ""

    @property
    def text(self) -> str:
        """Field and message, as people read them."""
        return f"{self.field}: {self.message}" if self.field else self.message


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What lies around the objects. None: not known, and then nothing is said of it.

    `trust_roots` are the names of those that there are, `policies` those of policies; `materials` what Secrets and
    ConfigMaps hold. `now` and `exceptions` are what an exception's end is judged by. `read_document` says why a trust
    root's document cannot be used (a clause; empty if it can), which verification alone can tell.
    """

    installation: Installation
    trust_roots: frozenset[str] | None = None
    materials: Materials | None = None
    policies: frozenset[PolicyName] | None = None
    now: datetime | None = None
    exceptions: ExceptionSettings = ExceptionSettings()
    read_document: Callable[[TrustRoot], str] | None = None


def lint(obj: Mapping[str, Any], around: Surroundings, limits: PolicySettings | None = None) -> tuple[Finding, ...]:
    """Everything that is wrong or odd with one object of Assay's kinds, sorted by field; errors and warnings.

    Never raises for what is in the object.
    """
    subject = subject_of(obj)
    try:
        if obj.get("kind") in POLICY_KINDS:
            found = _policy(obj, around, limits)
        elif obj.get("kind") == TRUST_ROOT:
            found = _trust_root(obj, around)
        elif obj.get("kind") == EXCEPTION:
            found = _exception(obj, around)
        else:
            raise PolicyError("KindUnknown", f"is {str(obj.get('kind'))[:100]!r}, which is no kind of Assay's", "kind")
        findings = [
            Finding(severity, p.code, subject, _shown(p.field), _shown(p.message), _shown(p.excerpt))
            for severity, p in found
        ]
    except PolicyError as exc:
        findings = [Finding(Severity.ERROR, exc.code, subject, exc.field, exc.message)]
    return tuple(sorted(dict.fromkeys(findings), key=_order))


def lint_all(
    objects: Sequence[Mapping[str, Any]], around: Surroundings, limits: PolicySettings | None = None
) -> list[tuple[Finding, ...]]:
    """The findings of each of these objects, which are all that there are: what they name must be among them, too."""
    roots = {subject_of(obj).name for obj in objects if obj.get("kind") == TRUST_ROOT}
    named = {subject_of(obj) for obj in objects if obj.get("kind") in POLICY_KINDS}
    around = dataclasses.replace(
        around,
        trust_roots=(around.trust_roots or frozenset()) | roots,
        policies=frozenset((policy.kind, policy.namespace, policy.name) for policy in named),
    )
    seen: set[Subject] = set()
    findings: list[tuple[Finding, ...]] = []
    for obj in objects:
        subject = subject_of(obj)
        found = lint(obj, around, limits)
        if subject in seen and subject.name:
            message = f"{subject} is there already; only one of them can be in a cluster"
            found = (Finding(Severity.ERROR, "PolicyDuplicate", subject, "metadata.name", message), *found)
        seen.add(subject)
        findings.append(found)
    return findings


def _document(obj: Mapping[str, Any], root: TrustRoot, around: Surroundings) -> tuple[Problem, ...]:
    message = around.read_document(root) if around.read_document is not None and root.trusted_root else ""
    spec = obj.get("spec")
    source = next((name for name in DOCUMENTS if isinstance(spec, Mapping) and spec.get(name)), "trustedRoot")
    return (Problem("TrustRootUnreadable", f"spec.{source}", message),) if message else ()


def subject_of(obj: Mapping[str, Any]) -> Subject:
    """Which object this is, as far as it says so."""
    metadata = obj.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    return Subject(
        *(str(value or "")[:253] for value in (obj.get("kind"), metadata.get("namespace"), metadata.get("name")))
    )


def _shown(text: str) -> str:
    """The text without control characters, which a terminal would obey; each stays one character wide."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def _order(finding: Finding) -> tuple[Any, ...]:
    return (finding.field, finding.severity, finding.code, finding.message)


Found = Iterator[tuple[Severity, Problem]]


def _policy(obj: Mapping[str, Any], around: Surroundings, limits: PolicySettings | None) -> Found:
    policy = parse_policy(obj)
    compiled = compile_policy(policy, limits)
    for problem in compiled.policy.problems:
        yield Severity.ERROR, problem
    if not compiled.policy.problems:
        for advice in advise(compiled, around.installation):
            yield Severity.ERROR if advice.refused else Severity.WARNING, advice.problem
    if not policy.problems:
        for problem in _around(policy, around):
            yield Severity.WARNING, problem


def _exception(obj: Mapping[str, Any], around: Surroundings) -> Found:
    """As its author writes it: who approves it is written down as it is applied."""
    parsed = parse_exception(obj, claimed=True)
    if not isinstance(parsed, EvidenceException):
        yield from ((Severity.ERROR, problem) for problem in parsed if problem.code != "ApproverMissing")
        # Without its approver it is not read whole; the rest is looked at with one.
        spec = obj.get("spec")
        if [problem.code for problem in parsed] != ["ApproverMissing"] or not isinstance(spec, Mapping):
            return
        parsed = parse_exception({**obj, "spec": {**spec, "approver": "whoever applies it"}}, claimed=True)
    if not isinstance(parsed, EvidenceException):
        return
    found = None if around.now is None else fault(parsed, now=around.now, settings=around.exceptions)
    if found is not None:
        yield Severity.WARNING if found.code == "Expired" else Severity.ERROR, found
    known = around.policies
    for kind, namespace, name in parsed.policies:
        if known is not None and (kind, namespace, name) not in known:
            where = f" in {namespace}" if namespace else ""
            message = f"there is no {kind} {name!r}{where}, so the exception excepts nothing of it"
            yield Severity.WARNING, Problem("PolicyMissing", "spec.policies", message)


def _around(policy: Policy, around: Surroundings) -> Iterator[Problem]:
    """What a policy names that is not there. A warning: it may be created later, and until then it is an Error."""
    if around.materials is not None:
        for problem in resolve(policy, around.materials).unresolved:
            if problem.code not in _UNKNOWN_YET:
                yield problem
    for i, authority in enumerate(policy.spec.authorities):
        kind = authority.kind
        if around.trust_roots is None or kind is None or not needs_root(authority):
            continue
        if kind.trust_root not in around.trust_roots:
            part = "keyless" if authority.keyless else "key" if authority.key else "certificate"
            message = f"there is no TrustRoot {kind.trust_root!r}; create it. Until then what needs it is an Error"
            yield Problem("TrustRootMissing", f"spec.authorities[{i}].{part}.trustRootRef", message)


def _trust_root(obj: Mapping[str, Any], around: Surroundings) -> Found:
    parsed = parse_trust_root(obj, around.materials or NOTHING)
    if isinstance(parsed, TrustRoot):
        parsed = _document(obj, parsed, around)
    for problem in parsed:
        if not is_reference(problem):
            yield Severity.ERROR, problem
        elif around.materials is not None and problem.code not in _UNKNOWN_YET:
            yield Severity.WARNING, problem
