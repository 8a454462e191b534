"""Verdicts: what one policy says of one image, and what Assay answers for the whole object."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from controller.model.exception import EvidenceException
from controller.model.image import ImageUse, PlatformManifest
from controller.model.policy import Action, DigestMode, FailurePolicy, PolicyIdentity, Problem
from controller.model.reference import Digest


class Outcome(StrEnum):
    """One image under one policy (guarantee 6: ERROR is never VIOLATED and never SATISFIED)."""

    SATISFIED = "Satisfied"
    VIOLATED = "Violated"
    ERROR = "Error"
    EXEMPT = "Exempt"


class ErrorKind(StrEnum):
    """Whether asking again later may help (`Ignore` and grace cover UNAVAILABLE only)."""

    UNAVAILABLE = "Unavailable"
    UNACCEPTABLE = "Unacceptable"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why. `code` is stable; `rule` names the policy's part (`signatures`, `attestations[sbom]`, `validations[0]`).

    `expected`, `found` (one sentence for each thing looked at) and `fix` are for people, in plain sentences.
    """

    code: str
    rule: str
    message: str
    expected: str = ""
    found: tuple[str, ...] = ()
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one policy says of one image. `error_kind` is set exactly when the outcome is (or else would be) ERROR.

    `child` is the manifest within the image that this is about, where the policy asks of each (`platforms`).
    `exceptions` are set exactly when the outcome is EXEMPT, and so is `otherwise`, what it would be without them.
    `lapsed` says of exceptions that name the image and except nothing why that is: for people, no part of the outcome.
    `stale` says that the evidence could not be asked for anew, and why: it is Satisfied, or Violated by a rule, all the
    same. `annotations` are what the policy's own `auditAnnotations` gave: no part of the outcome.
    """

    image: ImageUse
    digest: Digest | None
    policy: PolicyIdentity
    actions: tuple[Action, ...]
    failure_policy: FailurePolicy
    digest_mode: DigestMode
    outcome: Outcome
    reasons: tuple[Reason, ...] = ()
    error_kind: ErrorKind | None = None
    child: PlatformManifest | None = None
    stale: Reason | None = None
    otherwise: Outcome | None = None
    exceptions: tuple[EvidenceException, ...] = ()
    lapsed: tuple[tuple[str, Problem], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()


class Verdict(StrEnum):
    """What the API server is told."""

    ALLOW = "Allow"
    DENY = "Deny"


class NoMatch(StrEnum):
    """What becomes of an image that no ClusterEvidencePolicy with Deny matched."""

    DENY = "Deny"
    WARN = "Warn"
    ALLOW = "Allow"


class Templates(StrEnum):
    """What a denial of a workload template comes to; the pods made from it are always judged themselves."""

    WARN = "Warn"
    DENY = "Deny"
    IGNORE = "Ignore"


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer for one object. `flags` are the inventory's words beside allow and deny.

    (`warn`, `audit`, `exempt`, `break-glass`, `fail-open`, `stale`, `error`, `no-match`.) `message` is the denial for
    the person at the keyboard, empty on allow; `warnings` have at most 256 characters each; `audit` are Assay's audit
    annotations, `annotations` those of policies.
    """

    verdict: Verdict
    message: str
    warnings: tuple[str, ...]
    audit: tuple[tuple[str, str], ...]
    flags: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    annotations: tuple[tuple[str, str], ...] = ()
