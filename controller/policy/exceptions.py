"""EvidenceExceptions: read with every mistake named, in force or not at a time, and their approval as they are written.

Guarantee 16: an exception always has a reason, an approver and an end. So one that lacks any of them, whose approver
nobody checked or whose end lies further off than may be granted excepts *nothing*, and says why; there is no exception
in part. That holds at every use, not only when the object is written: the webhook may have been away then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import rfc8785

from controller.errors import InputError, PolicyError
from controller.model.exception import EvidenceException, PolicyName
from controller.model.policy import Problem
from controller.model.reference import Digest
from controller.model.workload import AdmissionRequest, Operation
from controller.policy.fields import Fields
from controller.policy.kinds import API_VERSION, CLUSTER_POLICY, EXCEPTION, NAMESPACED_POLICY
from controller.policy.match import ImagePattern
from controller.settings import ExceptionSettings, Seconds

BREAK_GLASS_MAX = Seconds(4 * 3600)  # from approval to end; an emergency that lasts longer is no longer one
CLOCK_SKEW = 300.0  # seconds by which the clocks of two machines may differ
MAX_REASON = 4096  # characters of `reason`, and below of `approver`: the CRD's own bounds
MAX_APPROVER = 1024
_STAMPS = ("approver", "approvedAt")
JsonPatch = tuple[Mapping[str, Any], ...]


class _PolicyKind(StrEnum):
    CLUSTER = CLUSTER_POLICY
    NAMESPACED = NAMESPACED_POLICY


def parse_exception(obj: Mapping[str, Any], *, claimed: bool = False) -> EvidenceException | tuple[Problem, ...]:
    """Read an EvidenceException, or say everything that is wrong with it. Whether it is in force says `fault`.

    `claimed`: it comes from a file, where nobody checked who approved it.
    Raises `PolicyError` (`KindUnknown`, `NameMissing`) for an object that is no EvidenceException or has no name.
    """
    metadata = obj.get("metadata")
    if obj.get("kind") != EXCEPTION or obj.get("apiVersion") != API_VERSION:
        raise PolicyError("KindUnknown", f"not an {EXCEPTION} of {API_VERSION}", "kind")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise PolicyError("NameMissing", "the exception has no name", "metadata.name")
    problems: list[Problem] = []
    if metadata.get("deletionTimestamp"):  # held by a finalizer, which whoever may label it can add
        problems.append(Problem("BeingDeleted", "metadata.deletionTimestamp", "is set: it excepts nothing any more"))
    fields = Fields(obj.get("spec"), "spec", problems)
    expires = fields.time("expires", required=True)
    generation = metadata.get("generation", 0)
    exception = EvidenceException(
        name=metadata["name"],
        hash="",
        policies=tuple(sorted({_policy(node) for node in fields.nodes("policies")})),
        images=tuple(dict.fromkeys(_images(fields))),
        digests=tuple(sorted(set(_digests(fields)))),
        namespaces=tuple(sorted(set(fields.texts("namespaces")))),
        reason=fields.text("reason", required=True),
        approver=fields.text("approver"),
        approved_at=fields.time("approvedAt"),
        expires=expires or datetime.min.replace(tzinfo=UTC),
        break_glass=fields.boolean("breakGlass", default=False),
        claimed=claimed,
        generation=generation if isinstance(generation, int) else 0,
    )
    fields.close()
    _check(exception, fields)
    if problems:
        return tuple(problems)
    return replace(exception, hash=str(Digest.of(canonical_bytes(exception))))


def canonical_bytes(exception: EvidenceException) -> bytes:
    """RFC 8785 of the spec, as `hash` is made of it: what is absent is left out, so that a file and a cluster agree."""
    approved = {} if exception.approved_at is None else {"approvedAt": _instant(exception.approved_at)}
    spec: dict[str, Any] = {
        "policies": [
            {"kind": kind, "name": name, **({"namespace": namespace} if namespace else {})}
            for kind, namespace, name in exception.policies
        ],
        "images": list(exception.images),
        "digests": [str(digest) for digest in exception.digests],
        "namespaces": list(exception.namespaces),
        "reason": exception.reason,
        "approver": exception.approver,
        "expires": _instant(exception.expires),
        "breakGlass": exception.break_glass,
        **approved,
    }
    return rfc8785.dumps({"spec": spec})


def fault(exception: EvidenceException, *, now: datetime, settings: ExceptionSettings) -> Problem | None:
    """Why it excepts nothing at this time; None if it is in force.

    An end past what may be granted makes it void rather than shorter: it was not approved under this bound, so nobody
    who was checked said that any part of it is in order.
    """
    if now >= exception.expires:
        return Problem("Expired", "spec.expires", f"was {_instant(exception.expires)}; it excepts nothing any more")
    if exception.approved_at is None and not exception.claimed:
        message = "is missing: nobody's approval was checked. Change the spec once more while Assay's webhook is there"
        return Problem("NotApproved", "spec.approvedAt", message)
    if exception.approved_at is not None and (exception.approved_at - now).total_seconds() > CLOCK_SKEW:
        return Problem("NotApproved", "spec.approvedAt", f"is in the future: {_instant(exception.approved_at)}")
    longest, bound = settings.exception_max_duration, "exception_max_duration"
    if exception.break_glass and longest > BREAK_GLASS_MAX:
        longest, bound = BREAK_GLASS_MAX, "BREAK_GLASS_MAX"
    begin = exception.approved_at or now
    if (exception.expires - begin).total_seconds() > longest:
        what = "a break-glass exception" if exception.break_glass else "an exception"
        message = (
            f"lies {_span((exception.expires - begin).total_seconds())} after its approval; {what} ends within "
            f"{_span(longest)} (bound: {bound})"
        )
        return Problem("EndTooFar", "spec.expires", message)
    return None


def stamp(request: AdmissionRequest, *, now: datetime) -> JsonPatch:
    """The JSON patch by which `/mutate-policy` writes down who approves, and when: the request's own user, now.

    That is on creation and on every change of the spec. What the author wrote into these fields himself is left as it
    is, for `review_exception` to refuse: a forged name must not vanish without a word. A spec that is written again
    without its stamps (as a file has it) and otherwise unchanged gets them back.
    """
    spec, old = _spec(request.object), _spec(request.old_object)
    if request.operation not in {Operation.CREATE, Operation.UPDATE} or not isinstance(spec, Mapping):
        return ()
    old = old if isinstance(old, Mapping) else {}
    if old and _content(spec) == _content(old) and all(_kept(spec, old, field) for field in _STAMPS):
        wanted = {field: old[field] for field in _STAMPS if old.get(field) is not None}
    else:
        wanted = {"approver": request.user.username, "approvedAt": _instant(now.replace(microsecond=0))}
    return tuple(
        {"op": "add", "path": f"/spec/{field}", "value": value}
        for field, value in wanted.items()
        if _kept(spec, old, field) and spec.get(field) != value
    )


def review_exception(request: AdmissionRequest, *, now: datetime, settings: ExceptionSettings) -> tuple[Problem, ...]:
    """Why `/validate-policy` refuses the exception as it would be stored; nothing if it does not.

    It holds whether `/mutate-policy` was asked or not, and whatever another webhook made of its stamps. An update that
    leaves the spec as it is passes: labels and finalizers can be mended, and an expired exception can be deleted.
    Whoever breaks the glass (`breaks_glass`) needs a right besides.
    """
    if request.operation not in {Operation.CREATE, Operation.UPDATE}:
        return ()
    if request.operation is Operation.UPDATE and _spec(request.object) == _spec(request.old_object):
        return ()
    try:
        exception = parse_exception(_named(request))
    except PolicyError as exc:
        return (Problem(exc.code, exc.field, exc.message),)
    if not isinstance(exception, EvidenceException):
        return exception
    problems = list(_stamped(exception, request.user.username, now))
    found = fault(exception, now=now, settings=settings)
    if found is not None and not problems:
        problems.append(found)
    return tuple(problems)


def breaks_glass(request: AdmissionRequest) -> bool:
    """Whether the request's user needs the verb `break-glass`: who makes a break-glass exception, or changes one."""
    if request.operation not in {Operation.CREATE, Operation.UPDATE}:
        return False
    spec, old = _spec(request.object), _spec(request.old_object)
    changed = request.operation is Operation.CREATE or spec != old
    return changed and any(isinstance(each, Mapping) and each.get("breakGlass") is True for each in (spec, old))


def _stamped(exception: EvidenceException, username: str, now: datetime) -> Iterator[Problem]:
    """What is wrong with who is said to have approved, and when."""
    if not username:
        yield Problem("ApproverMissing", "spec.approver", "cannot be stamped: the request names no user")
    elif exception.approver != username:
        message = f"is {exception.approver[:100]!r}, and you are {username[:100]!r}; leave it out, Assay fills it in"
        yield Problem("ApproverForged", "spec.approver", message)
    if exception.approved_at is None:
        yield Problem("NotApproved", "spec.approvedAt", "is missing: Assay's mutating webhook was not asked; try again")
    elif abs((exception.approved_at - now).total_seconds()) > CLOCK_SKEW:
        message = f"is {_instant(exception.approved_at)}, and it is {_instant(now)}; leave it out, Assay fills it in"
        yield Problem("ApproverForged", "spec.approvedAt", message)


def _policy(fields: Fields) -> PolicyName:
    kind = fields.choice("kind", _PolicyKind.CLUSTER)
    namespace, name = fields.text("namespace"), fields.text("name", required=True)
    if (kind is _PolicyKind.NAMESPACED) != bool(namespace):
        fields.problem("NamespaceMissing", "must be given for an EvidencePolicy, and only for one", "namespace")
    fields.close()
    return (str(kind), namespace, name)


def _images(fields: Fields) -> Iterable[str]:
    patterns = fields.texts("images")
    for i, text in enumerate(patterns):
        try:
            ImagePattern.parse(text)
        except PolicyError as exc:
            fields.problem(exc.code, exc.message, f"images[{i}]")
    if patterns and all(text.startswith("!") for text in patterns):
        message = "only says what is not meant; name the images that are, an exception has no 'all others'"
        fields.problem("ImagePatternMalformed", message, "images")
    return patterns


def _digests(fields: Fields) -> Iterator[Digest]:
    for i, text in enumerate(fields.texts("digests")):
        try:
            yield Digest.parse(text)
        except InputError as exc:
            fields.problem(exc.code, exc.message, f"digests[{i}]")


def _check(exception: EvidenceException, fields: Fields) -> None:
    if not exception.policies:
        fields.problem("FieldMissing", "must name at least one policy", "policies")
    if not exception.images and not exception.digests:
        fields.problem("FieldMissing", "must name what is excepted: images or digests")
    if exception.reason and not exception.reason.strip():
        fields.problem("FieldMissing", "must say why, for the auditor", "reason")
    if not exception.approver:
        fields.problem("ApproverMissing", "is missing: nothing is excepted that nobody approved", "approver")
    for name, text, most in (("reason", exception.reason, MAX_REASON), ("approver", exception.approver, MAX_APPROVER)):
        if len(text) > most:
            fields.problem("TooLong", f"has {len(text)} characters; at most {most} are allowed", name)
    if exception.break_glass and (exception.images or not exception.namespaces or not exception.digests):
        message = "needs namespaces and digests, and no images: an emergency is about what is known exactly"
        fields.problem("BreakGlassTooWide", message, "breakGlass")


def _named(request: AdmissionRequest) -> Mapping[str, Any]:
    """The object, with a name also where the API server is still to make one up of `generateName`."""
    metadata = request.object.get("metadata")
    if not isinstance(metadata, Mapping) or metadata.get("name"):
        return request.object
    return {**request.object, "metadata": {**metadata, "name": f"{metadata.get('generateName') or ''}…"}}


def _spec(obj: Mapping[str, Any]) -> Any:
    return obj.get("spec")


def _content(spec: Any) -> Any:
    """The spec without its stamps."""
    return {k: v for k, v in spec.items() if k not in _STAMPS} if isinstance(spec, Mapping) else spec


def _kept(spec: Mapping[str, Any], old: Mapping[str, Any], field: str) -> bool:
    """Whether the author left this stamp alone: it is not there, or as it was."""
    return not spec.get(field) or spec.get(field) == old.get(field)


def _instant(moment: datetime) -> str:
    """RFC 3339 in UTC, with fractions of a second only where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _span(seconds: float) -> str:
    """A length of time as people read it: `30 d`, `4 h`, `90 min`."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"
