"""Reviews of Assay's own resources: everything that would be wrong with one later is refused as it is written.

Not the pods' pipeline: it needs no snapshot and no registry, so it works as soon as the server serves. Its bounds and
its thread are its own, so that neither waits for the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from controller import admission
from controller.errors import InputError
from controller.model.deadline import Deadline
from controller.model.workload import AdmissionRequest, Operation
from controller.policy.kinds import API_VERSION, POLICY_KINDS, TRUST_ROOT
from controller.policy.lint import Severity, Surroundings, lint
from controller.settings import PolicySettings

GROUP, _, VERSION = API_VERSION.partition("/")
KINDS = (*POLICY_KINDS, TRUST_ROOT)


class Around(Protocol):
    """Knows what lies around an object."""

    async def of(self, obj: Mapping[str, Any], *, deadline: Deadline) -> Surroundings:
        """What the object names, as far as it can be told in a part of the time."""
        ...


class Known:
    """What is known without asking anybody (`Around`)."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    async def of(self, obj: Mapping[str, Any], *, deadline: Deadline) -> Surroundings:  # noqa: ARG002
        """The same for every object."""
        return self._surroundings


class PolicyReviews:
    """Answers `/validate-policy`. Close it when the server has stopped."""

    def __init__(self, settings: PolicySettings, around: Around) -> None:
        self._settings = settings
        self._around = around
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="assay-policies")

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
        if not errors:
            return admission.allow_response(request.uid, warnings=warnings)
        causes = [(finding.code, finding.field, finding.message) for finding in errors]
        return admission.invalid_response(request, causes, warnings=warnings)

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
