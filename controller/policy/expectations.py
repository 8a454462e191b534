"""What a case came to, held against what was expected of it: pure, and with every difference in words.

Everything that was found has to be spoken of: an evaluation or a warning that no expectation is about is a difference,
so that no policy says something unseen in a test that passes.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from controller.errors import InputError
from controller.model.decision import Evaluation, Reason, Verdict
from controller.model.policy import PolicyIdentity
from controller.policy.cases import Expectation, Expected, ExpectedEvaluation, ExpectedReason


@dataclass(frozen=True, slots=True)
class Subject:
    """One image of the case's object as its author wrote it, before it was pinned."""

    image: str
    container: str
    path: str


@dataclass(frozen=True, slots=True)
class FoundEvaluation:
    """What one policy said of one image, or of one of its platforms (one that names none goes by its digest)."""

    policy: PolicyIdentity
    subject: Subject
    platform: str
    outcome: Expected
    reasons: tuple[Reason, ...]

    @classmethod
    def of(cls, evaluation: Evaluation, subject: Subject) -> FoundEvaluation:
        """The evaluation under the name that the case knows its image by."""
        child = evaluation.child
        platform = str(child.platform or child.digest) if child is not None else ""
        return cls(evaluation.policy, subject, platform, Expected(str(evaluation.outcome)), evaluation.reasons)


@dataclass(frozen=True, slots=True)
class Found:
    """What a case came to. `policies` are all that were loaded, `subjects` all images that were to be judged."""

    verdict: Verdict
    evaluations: tuple[FoundEvaluation, ...]
    warnings: tuple[str, ...]
    policies: tuple[PolicyIdentity, ...]
    subjects: tuple[Subject, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is otherwise than expected. `about` are the policies that it concerns, to be explained."""

    what: str
    expected: str
    found: str
    about: tuple[PolicyIdentity, ...] = ()


def differences(expectation: Expectation, found: Found) -> tuple[Difference, ...]:
    """Everything that is otherwise than expected; nothing exactly when the case passes.

    Raises `InputError` (`ExpectationUnknown`) for an expectation about a policy or an image that is not there: it is
    the case that is wrong then.
    """
    return tuple(_differences(expectation, found))


def _differences(expectation: Expectation, found: Found) -> Iterator[Difference]:
    if expectation.verdict is not None and expectation.verdict is not found.verdict:
        acting = [e.policy for e in found.evaluations if e.outcome is not Expected.SATISFIED]
        about = tuple(dict.fromkeys(acting)) or found.policies
        yield Difference("verdict", str(expectation.verdict), str(found.verdict), about)
    if expectation.evaluations is not None:
        for entry in expectation.evaluations:
            yield from _entry(entry, found)
        for evaluation in found.evaluations:
            if not any(_fits(entry, evaluation) for entry in expectation.evaluations):
                nothing = "nothing: no expectation is about it"
                yield Difference(_about(evaluation), nothing, _shown(evaluation), (evaluation.policy,))
    if expectation.warnings is not None:
        yield from _warnings(expectation.warnings, found.warnings)


def _entry(entry: ExpectedEvaluation, found: Found) -> Iterator[Difference]:
    _check_known(entry, found)
    fitting = [evaluation for evaluation in found.evaluations if _fits(entry, evaluation)]
    if entry.outcome is Expected.NOT_MATCHED:
        for evaluation in fitting:
            yield Difference(_about(evaluation), str(entry.outcome), _shown(evaluation), (evaluation.policy,))
        return
    if not fitting:
        where = f" of {entry.image}" if entry.image else ""
        named = tuple(policy for policy in found.policies if _names(entry.policy, policy))
        yield Difference(f"{entry.policy}{where}", _wanted(entry), str(Expected.NOT_MATCHED), named)
    for evaluation in fitting:
        if evaluation.outcome is not entry.outcome or not _same_reasons(entry.reasons, evaluation.reasons):
            yield Difference(_about(evaluation), _wanted(entry), _shown(evaluation), (evaluation.policy,))


def _check_known(entry: ExpectedEvaluation, found: Found) -> None:
    if not any(_names(entry.policy, policy) for policy in found.policies):
        known = ", ".join(sorted(policy.name for policy in found.policies))
        raise InputError("ExpectationUnknown", f"expects something of {entry.policy!r}; the policies are: {known}")
    if entry.image and not any(entry.image == subject.image for subject in found.subjects):
        known = ", ".join(sorted({subject.image for subject in found.subjects}))
        raise InputError("ExpectationUnknown", f"expects something of the image {entry.image!r}; there are: {known}")
    if entry.container and not any(entry.container == subject.container for subject in found.subjects):
        known = ", ".join(sorted({subject.container for subject in found.subjects}))
        message = f"expects something of the container {entry.container!r}; there are: {known}"
        raise InputError("ExpectationUnknown", message)


def _fits(entry: ExpectedEvaluation, evaluation: FoundEvaluation) -> bool:
    return (
        _names(entry.policy, evaluation.policy)
        and entry.image in {"", evaluation.subject.image}
        and entry.container in {"", evaluation.subject.container}
        and entry.platform in {"", evaluation.platform}
    )


def _names(text: str, policy: PolicyIdentity) -> bool:
    """By the name alone, or by `Kind/name` or `Kind/namespace/name`."""
    return text in {policy.name, str(policy)}


def _same_reasons(expected: Sequence[ExpectedReason] | None, found: Sequence[Reason]) -> bool:
    """Whether they can be paired, each with one of the other side (augmenting paths: one reason may fit several)."""
    if expected is None:
        return True
    if len(expected) != len(found):
        return False
    taken: dict[int, int] = {}

    def place(i: int, seen: set[int]) -> bool:
        for j, reason in enumerate(found):
            if j not in seen and _is(expected[i], reason):
                seen.add(j)
                if j not in taken or place(taken[j], seen):
                    taken[j] = i
                    return True
        return False

    return all(place(i, set()) for i in range(len(expected)))


def _is(expected: ExpectedReason, reason: Reason) -> bool:
    return (
        expected.code == reason.code
        and expected.rule in {"", reason.rule}
        and (not expected.message or expected.message in reason.message)
    )


def _warnings(expected: Sequence[str], found: Sequence[str]) -> Iterator[Difference]:
    left = list(found)
    for text in sorted(expected, key=len, reverse=True):  # the most specific first, so that none takes another's
        fitting = next((warning for warning in left if text in warning), None)
        if fitting is None:
            yield Difference("warnings", text, "no such warning")
        else:
            left.remove(fitting)
    for warning in left:
        yield Difference("warnings", "nothing: no expectation is about it", warning)


def _about(evaluation: FoundEvaluation) -> str:
    platform = f" ({evaluation.platform})" if evaluation.platform else ""
    return f"{evaluation.policy} of {evaluation.subject.image}{platform}"


def _wanted(entry: ExpectedEvaluation) -> str:
    if entry.reasons is None:
        return str(entry.outcome)
    return _joined(entry.outcome, (_reason(r.code, r.rule, r.message) for r in entry.reasons))


def _shown(evaluation: FoundEvaluation) -> str:
    return _joined(evaluation.outcome, (_reason(r.code, r.rule, r.message) for r in evaluation.reasons))


def _joined(outcome: Expected, reasons: Iterable[str]) -> str:
    listed = "; ".join(sorted(reasons))
    if outcome in {Expected.VIOLATED, Expected.ERROR} and not listed:
        return f"{outcome}, without a reason"
    return f"{outcome}: {listed}" if listed else str(outcome)


def _reason(code: str, rule: str, message: str) -> str:
    return f"{code}{f' at {rule}' if rule else ''}{f' ({message})' if message else ''}"


def expectation_of(found: Found, previous: Expectation | None) -> Expectation:
    """The expectation that what was found meets, as `--update` writes it.

    Reasons by code and rule, with the part of the message that was expected where it still fits; images by name only
    where there are several; warnings only where some were expected.
    """
    images = Counter(subject.image for subject in found.subjects)
    known = previous.evaluations or () if previous is not None else ()
    entries = [_updated(e, images=images, known=known) for e in found.evaluations]
    silent = [p for p in found.policies if not any(e.policy == p for e in found.evaluations)]
    entries += [ExpectedEvaluation(_short(p, found.policies), Expected.NOT_MATCHED) for p in silent]
    shortened = [dataclasses.replace(e, policy=_short_text(e.policy, found.policies)) for e in entries]
    warnings = found.warnings if previous is not None and previous.warnings is not None else None
    return Expectation(found.verdict, tuple(dict.fromkeys(shortened)), warnings)


def _updated(
    evaluation: FoundEvaluation, *, images: Counter[str], known: Sequence[ExpectedEvaluation]
) -> ExpectedEvaluation:
    parts = [r for entry in known if _fits(entry, evaluation) for r in entry.reasons or () if r.message]
    reasons = tuple(
        ExpectedReason(r.code, r.rule, next((p.message for p in parts if _is(p, r)), "")) for r in evaluation.reasons
    )
    return ExpectedEvaluation(
        policy=str(evaluation.policy),
        outcome=evaluation.outcome,
        image=evaluation.subject.image if len(images) > 1 else "",
        container=evaluation.subject.container if images[evaluation.subject.image] > 1 else "",
        platform=evaluation.platform,
        reasons=reasons or None,
    )


def _short(policy: PolicyIdentity, policies: Sequence[PolicyIdentity]) -> str:
    return policy.name if sum(p.name == policy.name for p in policies) == 1 else str(policy)


def _short_text(text: str, policies: Sequence[PolicyIdentity]) -> str:
    return next((_short(policy, policies) for policy in policies if str(policy) == text), text)
