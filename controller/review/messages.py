"""What people read when a pod is denied or warned about. Pure text, and no word of it from a registry (guarantee 12).

A denial names container and image, policy and rule, what was required, what was found and the next step, in lines that
`kubectl` prints as they are. The first denial's cause stands within the first 800 characters: an Event holds 1,024.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from controller.model.decision import ErrorKind, Evaluation, Outcome, Reason
from controller.model.exception import EvidenceException
from controller.model.image import ContainerKind, ImageUse
from controller.model.policy import Action

MAX_DENIAL = 6000  # characters; the rest is in the inventory, under the record that the message names
MAX_WARNING = 256  # characters of one warning; the API server cuts longer ones
MAX_FOUND = 4  # findings printed for one reason; the rest is counted
MAX_LAPSED = 2  # exceptions that ended, or never were in force, told of for one policy
MAX_AUDIT = 1000  # characters of one audit annotation
MAX_SENTENCE = 500  # characters of one message, expectation, finding or next step
MAX_TITLE = 100  # characters of what is denied; with the next three, what stands before the first cause
MAX_IMAGE = 160  # characters of a reference; its beginning and its end are kept
MAX_POLICY = 100  # characters of a policy's kind and name
MAX_CHILD = 120  # characters of a manifest's platform and digest
MAX_RULE = 80  # characters of the part of a policy that a reason names
MAX_WARNED_IMAGE = 90  # characters of a reference in a warning, and of the policy below: the cause needs its share
MAX_WARNED_POLICY = 60
MAX_EXEMPT_IMAGE = 60  # characters of the same where an exception is told of: its end and its approver need theirs
MAX_EXEMPT_POLICY = 42
MAX_EXCEPTION = 28  # characters of an exception's name in a warning, and of whoever approved it
MAX_APPROVER = 32
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
    images = len(by_image.keys() | set(unmatched))
    count = "1 image" if images == 1 else f"{images} images"
    head = f"{_line(title, MAX_TITLE)}: {count} {_verdict(denying, unmatched, one=images == 1)}."
    tail = f"\nrecord {record}"
    text = head
    for number, paragraph in enumerate(paragraphs):
        if len(text) + len(paragraph) + len(tail) > MAX_DENIAL and number:
            text += f"\n… and {len(paragraphs) - number} more"
            break
        text += "\n" + paragraph
    return text[:MAX_DENIAL] + tail


def _verdict(denying: Sequence[Evaluation], unmatched: Sequence[ImageUse], *, one: bool) -> str:
    """What is wrong with the images, in a few words: not judged, a rule broken, or evidence that is not there."""
    rules = [reason.rule for evaluation in denying for reason in evaluation.reasons]
    if not unmatched and all(evaluation.outcome is Outcome.ERROR for evaluation in denying):
        return "could not be judged"
    if not unmatched and rules and all(rule.startswith("validations[") for rule in rules):
        return "breaks a policy's rule" if one else "break a policy's rules"
    return "lacks the evidence that is required" if one else "lack the evidence that is required"


def warning(evaluation: Evaluation) -> str:
    """One line for `kubectl`'s `Warning:`."""
    only = "" if Action.DENY in evaluation.actions else " (warns only)"
    return _warning(f"{_warned_policy(evaluation)}{only}: {_warned(evaluation.image)}: {_first(evaluation)}")


def softened(evaluation: Evaluation, why: str) -> str:
    """A denial that is only a warning here, and why."""
    return _warning(f"{why}: {_warned_policy(evaluation)}: {_warned(evaluation.image)}: {_first(evaluation)}")


def fail_open(evaluation: Evaluation, *, let_in: bool) -> str:
    """An image that was not verified, and whose policy says `failurePolicy: Ignore`; `let_in` only because of that."""
    image, policy = _warned(evaluation.image), _warned_policy(evaluation)
    said = f"and is let in, since {policy} has" if let_in else f"by {policy}, which has"
    return _warning(f"{image} was NOT verified {said} failurePolicy Ignore: {_first(evaluation)}")


def exempt(evaluation: Evaluation) -> str:
    """An image that an exception excepts: until when, by which (of several the one that ends last), and who says so."""
    last = max(evaluation.exceptions, key=lambda each: (each.expires, each.name))
    loud = "BREAK-GLASS: " if any(each.break_glass for each in evaluation.exceptions) else ""
    more = f" and {len(evaluation.exceptions) - 1} more" if len(evaluation.exceptions) > 1 else ""
    image = _ends(evaluation.image.text, MAX_EXEMPT_IMAGE)
    policy = _line(_policy(evaluation), MAX_EXEMPT_POLICY)
    return _warning(
        f"{loud}{image} is exempt from {policy} until {_until(last)} by exception {_ends(last.name, MAX_EXCEPTION)}"
        f"{more}, {_approved(last, MAX_APPROVER)}: {_first(evaluation)}"
    )


def exceptions(evaluations: Sequence[Evaluation]) -> tuple[tuple[str, str], ...]:
    """Audit annotations of every exception that was used, and again of those that broke the glass."""
    used: dict[str, list[str]] = {"exceptions": [], "break-glass": []}
    for evaluation in evaluations:
        for each in evaluation.exceptions:
            by = f"{_ends(each.name, MAX_POLICY)} until {_until(each)}, {_approved(each, MAX_POLICY)}"
            text = f"{_policy(evaluation)}: {_image(evaluation.image)}: {by}"
            used["exceptions"].append(text)
            if each.break_glass:
                used["break-glass"].append(f"{text}: {_line(each.reason, MAX_SENTENCE)}")
    return tuple((name, _line("; ".join(texts), MAX_AUDIT)) for name, texts in used.items() if texts)


def stale(image: ImageUse, why: Reason) -> str:
    """An image that was judged by evidence that could not be asked for anew."""
    return _warning(f"{_warned(image)} was {why.message}")


def unmatched(image: ImageUse) -> str:
    """An image that no ClusterEvidencePolicy with Deny is about."""
    return _warning(f"{_warned(image)}: no ClusterEvidencePolicy with Deny matches this image")


def audit(
    record: str, evaluations: Sequence[Evaluation], auditing: Sequence[Evaluation]
) -> tuple[tuple[str, str], ...]:
    """Audit annotations: the record, every policy with its outcome, and what the Audit action has to say."""
    annotations = [("record", record)]
    if evaluations:
        outcomes = dict.fromkeys(f"{e.policy}={e.outcome}" for e in evaluations)
        annotations.append(("evaluations", _line(" ".join(outcomes), MAX_AUDIT)))
    if auditing:
        text = "; ".join(f"{_policy(e)}: {_image(e.image)}: {_first(e)}" for e in auditing)
        annotations.append(("audited", _line(text, MAX_AUDIT)))
    return tuple(annotations)


def _paragraph(image: ImageUse, evaluations: Sequence[Evaluation]) -> str:
    lines = [_where(image)]
    digest = next((e.digest for e in evaluations if e.digest is not None), None)
    if digest is not None and str(digest) not in image.text:
        lines[0] += f" ({digest})"
    for evaluation in evaluations:
        where = f"  {_policy(evaluation)}{_of(evaluation)}"
        if not evaluation.reasons:
            lines.append(f"{where}: {_state(evaluation)}{evaluation.outcome}")
        for reason in evaluation.reasons:
            cause = f"{_state(evaluation)}{reason.code}: {_short(reason.message)}"
            lines.append(f"{where}, {_line(reason.rule, MAX_RULE)}: {cause}")
            if reason.expected:
                lines.append(f"    required: {_short(reason.expected)}")
            lines.extend(f"    {_short(line)}" for line in _found(reason))
            if reason.fix:
                lines.append(f"    next: {_short(reason.fix)}")
        for name, problem in evaluation.lapsed[:MAX_LAPSED]:
            lines.append(f"    exception {_ends(name, MAX_POLICY)}: {_short(f'{problem.field} {problem.message}')}")
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
    of = f" ({evaluation.child.platform or evaluation.child.digest})" if evaluation.child is not None else ""
    return f"{reason.code}{of}: {reason.message}" if reason else f"{evaluation.outcome}{of}"


def _of(evaluation: Evaluation) -> str:
    """Of which manifest of the image this speaks, where it is about one of several."""
    return f" of {_line(str(evaluation.child), MAX_CHILD)}" if evaluation.child is not None else ""


def _policy(evaluation: Evaluation) -> str:
    identity = evaluation.policy
    name = f"{identity.kind} {identity.namespace + '/' if identity.namespace else ''}{identity.name}"
    return _line(name, MAX_POLICY)


def _warned_policy(evaluation: Evaluation) -> str:
    return _line(_policy(evaluation), MAX_WARNED_POLICY)


def _until(exception: EvidenceException) -> str:
    return f"{exception.expires:%Y-%m-%d %H:%MZ}"


def _approved(exception: EvidenceException, length: int) -> str:
    return f"{'claimed' if exception.claimed else 'approved'} by {_ends(exception.approver, length)}"


def _where(image: ImageUse) -> str:
    return f'{_PEOPLE[image.kind]} "{_line(image.name, 63)}" runs {_image(image)}'


def _image(image: ImageUse) -> str:
    return _ends(image.text or "(no image)", MAX_IMAGE)


def _warned(image: ImageUse) -> str:
    return _ends(image.text or "(no image)", MAX_WARNED_IMAGE)


def _warning(text: str) -> str:
    return _line(_short(text), MAX_WARNING)


def _short(text: str) -> str:
    """Digests cut to what the eye can compare; the record has them whole."""
    return _line(_DIGEST.sub(r"\1…", text), MAX_SENTENCE)


def _ends(text: str, length: int) -> str:
    """The beginning and the end of a reference: registry, and tag or digest."""
    half = length // 2
    return _line(text if len(text) <= length else f"{text[:half]}…{text[half + 1 - length :]}", length)


def _line(text: str, length: int) -> str:
    """One line of at most `length` characters, without anything that a terminal obeys or the eye misreads.

    Names in it come from outside: none may look like a line of Assay's own.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= length else text[: length - 1] + "…"
