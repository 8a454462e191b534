"""Reviews of Assay's own resources: everything that would be wrong with one later is refused as it is written.

Not the pods' pipeline: it needs no snapshot and no registry, so it works as soon as the server serves. Its bounds and
its thread are its own, so that neither waits for the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Protocol

from controller import admission
from controller.errors import InputError
from controller.model.deadline import Deadline
from controller.model.policy import Problem
from controller.model.workload import AdmissionRequest, Operation, User
from controller.policy.exceptions import breaks_glass, review_exception, stamp
from controller.policy.kinds import API_VERSION, EXCEPTION, POLICY_KINDS, TRUST_ROOT
from controller.policy.lint import Severity, Surroundings, lint
from controller.settings import ExceptionSettings, PolicySettings

GROUP, _, VERSION = API_VERSION.partition("/")
KINDS = (*POLICY_KINDS, TRUST_ROOT, EXCEPTION)


class Around(Protocol):
    """Knows what lies around an object."""

    async def of(self, obj: Mapping[str, Any], *, deadline: Deadline) -> Surroundings:
        """What the object names, as far as it can be told in a part of the time."""
        ...


class Glass(Protocol):
    """Knows who may break the glass."""

    async def may_break(self, user: User, *, deadline: Deadline) -> bool:
        """Whether the user has the verb `break-glass`. Raises `Unavailable` where that cannot be told."""
        ...


class Unbreakable:
    """Where nobody can be asked who may (`Glass`): nobody may."""

    async def may_break(self, user: User, *, deadline: Deadline) -> bool:  # noqa: ARG002
        """No."""
        return False


class Known:
    """What is known without asking anybody (`Around`)."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    async def of(self, obj: Mapping[str, Any], *, deadline: Deadline) -> Surroundings:  # noqa: ARG002
        """The same for every object."""
        return self._surroundings


class PolicyReviews:
    """Answers `/validate-policy` and `/mutate-policy`. Close it when the server has stopped."""

    def __init__(
        self,
        settings: PolicySettings,
        exceptions: ExceptionSettings,
        *,
        around: Around,
        glass: Glass,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._exceptions = exceptions
        self._around = around
        self._glass = glass
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="assay-policies")

    async def mutate(self, request: AdmissionRequest, deadline: Deadline) -> dict[str, Any]:  # noqa: ARG002 - as others
        """The answer that stamps an exception with who approves it, and leaves everything else alone."""
        patch = stamp(request, now=self._clock()) if (request.group, request.kind) == (GROUP, EXCEPTION) else ()
        return admission.patch_response(request.uid, patch)

    async def validate(self, request: AdmissionRequest, deadline: Deadline) -> dict[str, Any]:
        """The answer about one object of Assay's own.

        An update that leaves the spec alone passes whatever the spec is: a policy that an upgrade made invalid can
        still be labelled, and deleted by its finalizers' owner.
        Raises `InputError` (`KindUnsupported`) for an object that is none of Assay's.
        """
        if request.group != GROUP or request.kind not in KINDS:
            kind = f"{request.group} {request.kind}"[:200]
            raise InputError("KindUnsupported", f"{kind} is none of {', '.join(KINDS)} of {API_VERSION}")
        if not _is_written(request):
            return admission.allow_response(request.uid)
        obj = _named(request)
        around = await self._around.of(obj, deadline=deadline)
        loop = asyncio.get_running_loop()
        findings = await loop.run_in_executor(self._thread, lint, obj, around, self._settings)
        warnings = [finding.text for finding in findings if finding.severity is Severity.WARNING]
        errors = [finding for finding in findings if finding.severity is Severity.ERROR]
        causes = [(f.code, f.field, f"{f.message}\n{f.excerpt}".strip()) for f in errors]
        if request.kind == EXCEPTION:
            causes += [(p.code, p.field, p.message) for p in await self._exception(request, deadline)]
            causes = sorted(dict.fromkeys(causes), key=lambda cause: cause[1])
        if not causes:
            return admission.allow_response(request.uid, warnings=warnings)
        return admission.invalid_response(request, causes, warnings=warnings)

    async def _exception(self, request: AdmissionRequest, deadline: Deadline) -> tuple[Problem, ...]:
        """What is wrong with an exception as it would be stored, and with who approves it."""
        problems = review_exception(request, now=self._clock(), settings=self._exceptions)
        if breaks_glass(request) and not await self._glass.may_break(request.user, deadline=deadline):
            message = "needs the verb break-glass on evidenceexceptions.assay.dev, which you do not have"
            problems += (Problem("BreakGlassForbidden", "spec.breakGlass", message),)
        return problems

    def close(self) -> None:
        """End the thread once its work is done; what has not begun is dropped."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _is_written(request: AdmissionRequest) -> bool:
    """Whether the request makes or changes what is demanded."""
    if request.operation not in {Operation.CREATE, Operation.UPDATE}:
        return False
    return request.operation is Operation.CREATE or request.object.get("spec") != request.old_object.get("spec")


def _named(request: AdmissionRequest) -> Mapping[str, Any]:
    """The object, with a name also where the API server is still to make one up of `generateName`."""
    metadata = request.object.get("metadata")
    if not isinstance(metadata, Mapping) or metadata.get("name"):
        return request.object
    name = request.name or f"{metadata.get('generateName') or ''}…"
    return {**request.object, "metadata": {**metadata, "name": name}}
