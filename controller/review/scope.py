"""*extract* and *match*: what a request is about, and which policies are about each of its images. Pure but for one
question to the API server, when a namespace is newer than the snapshot.

A policy of which it cannot be told whether it matches is `undecided`: its evaluation is an Error, never *unmatched*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from controller.errors import AssayError, InputError, Unacceptable
from controller.model.access import RegistryAccess
from controller.model.deadline import Deadline
from controller.model.decision import Templates
from controller.model.image import ImageUse
from controller.model.policy import Action, DigestMode, Namespace
from controller.model.reference import Reference
from controller.model.workload import AdmissionRequest, Operation, Workload
from controller.policy.compiled import CompiledPolicy
from controller.policy.evaluation import conditions_hold
from controller.policy.match import selects
from controller.policy.snapshot import Snapshot
from controller.review.ports import Namespaces
from controller.review.threads import beside

_STRICTNESS = (DigestMode.RESOLVE, DigestMode.PIN, DigestMode.REQUIRE)
_BRIEF = frozenset(  # what a condition may read and still be judged at once: its size is not the pod's author's choice
    {f"request.{name}" for name in ("operation", "namespace", "name", "dryRun", "kind", "resource", "subResource")}
    | {"request.userInfo"}
    | {f"image.{name}" for name in ("reference", "registry", "repository", "tag")}
    | {f"container.{name}" for name in ("kind", "name", "image")}
)
_MIRROR_ANNOTATION = "kubernetes.io/config.mirror"


@dataclass(frozen=True, slots=True)
class Covered:
    """One image with the policies that are about it.

    `reference` is None when the text is no reference (`malformed` says why). `undecided` are policies of which it could
    not be told whether they are about the image.
    """

    image: ImageUse
    reference: Reference | None
    malformed: InputError | None
    policies: tuple[CompiledPolicy, ...]
    undecided: tuple[tuple[CompiledPolicy, AssayError], ...]

    @property
    def deciding(self) -> tuple[CompiledPolicy, ...]:
        """The policies that say how a tag is treated: those with Deny, or all where none denies.

        A Warn policy decides nothing for a Deny one (guarantee 7).
        """
        policies = (*self.policies, *(compiled for compiled, _ in self.undecided))
        return tuple(c for c in policies if Action.DENY in c.policy.spec.validation_actions) or policies

    @property
    def digest_mode(self) -> DigestMode:
        """The strictest `digest` of the policies that decide."""
        return max((c.policy.spec.digest for c in self.deciding), key=_STRICTNESS.index, default=DigestMode.RESOLVE)


@dataclass(frozen=True, slots=True)
class Scope:
    """One request, ready to be judged: the workload, what the snapshot knows around it, and what covers it."""

    request: AdmissionRequest
    workload: Workload
    snapshot: Snapshot
    namespace: Namespace | None
    access: RegistryAccess
    covered: tuple[Covered, ...]


def untouched(request: AdmissionRequest, workload: Workload) -> bool:
    """Whether the request may pass unevaluated: it changes no image, or the object is on its way out.

    Metadata can be mended and pods can end even while Assay or a registry is in trouble.
    """
    if request.operation not in {Operation.CREATE, Operation.UPDATE}:
        return True
    if request.operation is Operation.CREATE:
        return False
    # What is stored says whether the object is on its way out; what the author of the update wrote says nothing yet.
    metadata = request.old_object.get("metadata")
    deleting = isinstance(metadata, dict) and bool(metadata.get("deletionTimestamp"))
    return deleting or not workload.changed


def softened(request: AdmissionRequest, workload: Workload, templates: Templates) -> str:
    """Why a denial is only a warning here, or nothing."""
    if _is_mirror_pod(request, workload):
        return "this static pod runs already and is recorded, not denied"
    if not workload.is_pod and templates is Templates.WARN:
        return f"pods of this {workload.kind} will be denied"
    return ""


async def scope(
    request: AdmissionRequest, workload: Workload, *, snapshot: Snapshot, namespaces: Namespaces, deadline: Deadline
) -> Scope:
    """Everything that the judging of this request needs."""
    namespace: Namespace | None = snapshot.namespaces.get(request.namespace)
    unknown: AssayError | None = None
    if namespace is None and request.namespace:
        try:
            namespace = await namespaces.fetch(request.namespace, deadline=deadline)
        except AssayError as exc:
            unknown = exc
    conditions = _Conditions(request, namespace, deadline)
    covered = [
        await _cover(image, workload=workload, snapshot=snapshot, conditions=conditions, unknown=unknown)
        for image in workload.changed
    ]
    return Scope(
        request=request,
        workload=workload,
        snapshot=snapshot,
        namespace=namespace,
        access=snapshot.access(workload),
        covered=tuple(covered),
    )


class _Conditions:
    """The `conditions` of policies for one request.

    Those that read the object are judged beside the event loop, since its author decides how long that takes; those
    that do not read the image only once, however many images there are.
    """

    def __init__(self, request: AdmissionRequest, namespace: Namespace | None, deadline: Deadline) -> None:
        self.request = request
        self.namespace = namespace
        self._deadline = deadline
        self._known: dict[tuple[str, str, str], bool | AssayError] = {}

    async def hold(self, compiled: CompiledPolicy, image: ImageUse, reference: Reference | None) -> bool:
        """Whether all are true. Raises as `conditions_hold`, and `DeadlineExceeded`."""
        reads = frozenset[str]().union(*(condition.program.reads for condition in compiled.conditions))
        judging = partial(
            conditions_hold,
            compiled,
            request=self.request,
            namespace=self.namespace,
            image=image,
            reference=reference,
        )
        if reads <= _BRIEF:
            return judging()
        if any(name.partition(".")[0] in {"image", "container"} for name in reads):
            return await beside(judging, deadline=self._deadline)
        if compiled.name not in self._known:
            try:
                self._known[compiled.name] = await beside(judging, deadline=self._deadline)
            except AssayError as exc:
                self._known[compiled.name] = exc
        known = self._known[compiled.name]
        if isinstance(known, AssayError):
            raise type(known)(*known.args) from known
        return known


async def _cover(
    image: ImageUse,
    *,
    workload: Workload,
    snapshot: Snapshot,
    conditions: _Conditions,
    unknown: AssayError | None,
) -> Covered:
    reference, malformed = _parsed(image)
    namespace = conditions.request.namespace
    candidates: Sequence[CompiledPolicy] = (
        snapshot.policies.candidates(reference, namespace) if reference else snapshot.policies.unparseable(namespace)
    )
    policies, undecided = [], []
    for compiled in candidates:
        try:
            if _selected(compiled, workload, conditions.namespace, unknown) and await conditions.hold(
                compiled, image, reference
            ):
                policies.append(compiled)
        except AssayError as exc:
            undecided.append((compiled, exc))
    return Covered(image, reference, malformed, tuple(policies), tuple(undecided))


def _selected(
    compiled: CompiledPolicy, workload: Workload, namespace: Namespace | None, unknown: AssayError | None
) -> bool:
    match = compiled.policy.spec.match
    if not selects(match.object_selector, workload.labels):
        return False
    selector = match.namespace_selector
    if not (selector.match_labels or selector.match_expressions):
        return True
    if unknown is not None:
        raise unknown
    if namespace is None:
        raise Unacceptable("NamespaceMissing", "the request names no namespace, and the policy selects by namespace")
    return selects(selector, namespace.labels)


def _parsed(image: ImageUse) -> tuple[Reference | None, InputError | None]:
    try:
        return Reference.parse(image.text), None
    except InputError as exc:
        return None, exc


def _is_mirror_pod(request: AdmissionRequest, workload: Workload) -> bool:
    """A static pod's picture in the API, made by the kubelet of the very node that it runs on."""
    spec, metadata = request.object.get("spec"), request.object.get("metadata")
    if not (workload.is_pod and isinstance(spec, dict) and isinstance(metadata, dict)):
        return False
    node = spec.get("nodeName")
    annotations = metadata.get("annotations") or {}
    return (
        bool(node)
        and request.user.username == f"system:node:{node}"
        and "system:nodes" in request.user.groups
        and isinstance(annotations, dict)
        and _MIRROR_ANNOTATION in annotations
    )
