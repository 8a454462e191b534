"""What people read when a pod is denied or warned about. Pure text, and no word of it from a registry (guarantee 12).

A denial names container and image, policy and rule, what was required, what was found and the next step, in lines that
`kubectl` prints as they are. The first denial's cause stands within the first 800 characters: an Event holds 1,024.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from controller.model.decision import ErrorKind, Evaluation, Outcome, Reason
from controller.model.image import ContainerKind, ImageUse

MAX_DENIAL = 6000  # characters; the rest is in the inventory, under the record that the message names
MAX_FOUND = 4  # findings printed for one reason; the rest is counted
MAX_AUDIT = 1000  # characters of one audit annotation
_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
_PEOPLE = {
    ContainerKind.INIT: "init container",
    ContainerKind.REGULAR: "container",
    ContainerKind.EPHEMERAL: "ephemeral container",
    ContainerKind.VOLUME: "image volume",
}


def denial(title: str, record: str, denying: Sequence[Evaluation], unmatched: Sequence[ImageUse]) -> str:
    """The whole denial: a first line that sums up, one paragraph for each image, the record's name."""
    by_image: dict[ImageUse, list[Evaluation]] = {}
    for evaluation in denying:
        by_image.setdefault(evaluation.image, []).append(evaluation)
    paragraphs = [_paragraph(image, evaluations) for image, evaluations in by_image.items()]
    paragraphs += [
        f"{_where(image)}: no policy covers this image, and here only covered images may run (noMatch: Deny).\n"
        "  next: ask the platform's owners for a ClusterEvidencePolicy that matches it"
        for image in unmatched
    ]
    images = len({evaluation.image for evaluation in denying} | set(unmatched))
    could_not_tell = all(evaluation.outcome is Outcome.ERROR for evaluation in denying) and not unmatched
    what = "could not be judged" if could_not_tell else "lacks the evidence that is required"
    head = (
        f"{title}: {images} image{'s' if images > 1 else ''} {what if images == 1 else what.replace('lacks', 'lack')}."
    )
    tail = f"\nrecord {record}"
    text = head
    for number, paragraph in enumerate(paragraphs):
        if len(text) + len(paragraph) + len(tail) > MAX_DENIAL and number:
            text += f"\n… and {len(paragraphs) - number} more"
            break
        text += "\n" + paragraph
    return text[:MAX_DENIAL] + tail


def warning(evaluation: Evaluation) -> str:
    """One line for `kubectl`'s `Warning:`."""
    return f"{_policy(evaluation)} (warns only): {_image(evaluation.image)}: {_first(evaluation)}"


def softened(evaluation: Evaluation, why: str) -> str:
    """A denial that is only a warning here, and why."""
    return f"{why}: {_policy(evaluation)}: {_image(evaluation.image)}: {_first(evaluation)}"


def fail_open(evaluation: Evaluation) -> str:
    """An image let in unverified because the policy says `failurePolicy: Ignore`."""
    return (
        f"{_image(evaluation.image)} was NOT verified and is let in, since {_policy(evaluation)} has "
        f"failurePolicy Ignore: {_first(evaluation)}"
    )


def exempt(evaluation: Evaluation) -> str:
    """An image let in by an exception."""
    return f"{_image(evaluation.image)} is exempt from {_policy(evaluation)}: {_first(evaluation)}"


def unmatched(image: ImageUse) -> str:
    """An image that no ClusterEvidencePolicy with Deny is about."""
    return f"{_image(image)}: no ClusterEvidencePolicy with Deny matches this image"


def audit(
    record: str, evaluations: Sequence[Evaluation], auditing: Sequence[Evaluation]
) -> tuple[tuple[str, str], ...]:
    """Audit annotations: the record, every policy with its outcome, and what the Audit action has to say."""
    annotations = [("record", record)]
    if evaluations:
        outcomes = dict.fromkeys(f"{e.policy}={e.outcome}" for e in evaluations)
        annotations.append(("evaluations", _cut(" ".join(outcomes), MAX_AUDIT)))
    if auditing:
        text = "; ".join(f"{_policy(e)}: {_image(e.image)}: {_first(e)}" for e in auditing)
        annotations.append(("audited", _cut(text, MAX_AUDIT)))
    return tuple(annotations)


def _paragraph(image: ImageUse, evaluations: Sequence[Evaluation]) -> str:
    lines = [_where(image)]
    digest = next((e.digest for e in evaluations if e.digest is not None), None)
    if digest is not None and str(digest) not in image.text:
        lines[0] += f" ({digest})"
    for evaluation in evaluations:
        for reason in evaluation.reasons:
            lines.append(
                f"  {_policy(evaluation)}, {reason.rule}: {_state(evaluation)}{reason.code}: {_short(reason.message)}"
            )
            if reason.expected:
                lines.append(f"    required: {_short(reason.expected)}")
            lines.extend(f"    {_short(line)}" for line in _found(reason))
            if reason.fix:
                lines.append(f"    next: {_short(reason.fix)}")
    return "\n".join(lines)


def _found(reason: Reason) -> Iterable[str]:
    if not reason.found:
        return
    shown = reason.found[:MAX_FOUND]
    yield f"found: {shown[0]}"
    for text in shown[1:]:
        yield f"       {text}"
    if len(reason.found) > len(shown):
        yield f"       and {len(reason.found) - len(shown)} more"


def _state(evaluation: Evaluation) -> str:
    if evaluation.outcome is not Outcome.ERROR:
        return ""
    return "cannot tell now, " if evaluation.error_kind is ErrorKind.UNAVAILABLE else "cannot be judged, "


def _first(evaluation: Evaluation) -> str:
    reason = evaluation.reasons[0] if evaluation.reasons else None
    return f"{reason.code}: {reason.message}" if reason else str(evaluation.outcome)


def _policy(evaluation: Evaluation) -> str:
    identity = evaluation.policy
    return f"{identity.kind} {identity.namespace + '/' if identity.namespace else ''}{identity.name}"


def _where(image: ImageUse) -> str:
    return f'{_PEOPLE[image.kind]} "{_cut(image.name, 63)}" runs {_image(image)}'


def _image(image: ImageUse) -> str:
    return _cut(image.text or "(no image)", 400)


def _short(text: str) -> str:
    """Digests cut to what the eye can compare; the record has them whole."""
    return _DIGEST.sub(r"\1…", text)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
