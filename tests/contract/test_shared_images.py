"""Two namespaces run the same image: each may know what was found of it, and nothing of what the other did with it.

The stranger was there first, and the cluster's policy found all that it finds. What the bank does afterwards, with its
own pods, policies, exceptions and refusals, changes no answer to the stranger.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from controller.inventory.asking.queries import WITHHELD
from controller.inventory.bundle.source import Selection
from controller.inventory.questions import Questions
from controller.inventory.store import Store
from controller.model.reference import Digest
from tests.contract.test_foreign_manifests import OTHER, SECRET, SHARED, _answers, _found, _in, _listing, _ran, _record
from tests.support.inventory import INSTANT_FORMAT, START, Database, evaluation, excepted, image, leaf

Recorded = tuple[dict[str, Any], dict[Digest, bytes]]
MARK = "hush"  # in every name that is the bank's
LATER = START + timedelta(hours=1)


def _at(second: int, item: Recorded) -> Recorded:
    value, blobs = item
    return value | {"decidedAt": (START + timedelta(seconds=second)).strftime(INSTANT_FORMAT)}, blobs


def _stranger() -> Iterator[Recorded]:
    yield from _found("stranger", SECRET)
    yield _ran("stranger", SECRET)
    yield _in("stranger", _listing(SHARED, SECRET, OTHER)), {}


def _bank() -> Iterator[Recorded]:
    own = {"kind": "EvidencePolicy", "namespace": "bank", "name": f"{MARK}-policy", "hash": "sha256:" + "77" * 32}
    refusing = evaluation(outcome="Violated") | {"policy": own, "reasons": [_reason("signatures")]}
    found_nothing = evaluation() | {"signatures": [], "attestations": [], "rejections": []}
    exempt = excepted(found_nothing, name=f"{MARK}-waiver", approver=MARK, reason=MARK)
    judged = ([refusing], [exempt])
    later = [
        *_found("bank", SECRET),
        _ran("bank", SECRET),
        (_listing(SHARED, SECRET, OTHER), {}),
        *((leaf(verdict="Deny", images=[image(digest=SECRET)], evaluations=each), {}) for each in judged),
    ]
    for second, item in enumerate(later, 30):
        value, blobs = _at(second, item)
        yield (_marked(_in("bank", value)) if "object" in value else value), blobs


def _reason(rule: str) -> dict[str, str]:
    return {"rule": rule, "code": "SignatureMissing", "message": MARK}


def _marked(value: dict[str, Any]) -> dict[str, Any]:
    value["object"] |= {"name": f"{MARK}-pod", "serviceAccount": MARK, "labels": {MARK: MARK}}
    value["request"] |= {"name": f"{MARK}-pod", "user": {"username": MARK, "uid": MARK, "groups": [MARK]}}
    value |= {"message": MARK, "warnings": [MARK], "flags": ["warn"]}
    for each in value["images"]:
        each |= {"reference": f"{MARK}.example/app:1", "repository": f"{MARK}.example/app", "container": MARK}
    return value


def _asked(questions: Questions) -> dict[str, Any]:
    queries = questions.queries

    def exported(**what: Any) -> Any:
        chosen = Selection(namespace="stranger", **what)
        found = questions.gatherer.gather(chosen, known_at=LATER, confined=True)
        return None if found is None else (list(found.leaves()), found.positions)

    more: dict[str, Callable[[], Any]] = {
        "runs": partial(queries.runs, namespace="stranger"),
        "first of the runs": partial(queries.runs, namespace="stranger", limit=1),
        "signed runs": partial(queries.runs, namespace="stranger", signed=True),
        "admissions": partial(
            questions.admissions.admissions, namespace="stranger", name="web-0", as_of=LATER, confined=True
        ),
        "export": exported,
        "export of the image": partial(exported, digest=SECRET),
    }
    return _answers(questions, "stranger") | {name: ask() for name, ask in more.items()}


@pytest.mark.guarantee(20)
async def test_guarantee_20_what_others_do_with_an_image_that_one_runs_too_changes_no_answer(
    opened: Store, database: Database
) -> None:
    await _record(opened, database, *_stranger())
    before = _asked(opened.questions)
    await _record(opened, database, *_bank())
    after = _asked(opened.questions)
    assert [name for name in before if before[name] != after[name]] == []
    assert MARK not in repr(after)
    assert MARK in repr(_answers(opened.questions, "bank"))  # there is something to hide


@pytest.mark.guarantee(20)
async def test_guarantee_20_what_others_met_tells_neither_their_repository_nor_when_they_used_a_policy(
    opened: Store, database: Database
) -> None:
    """The bank was there first: what the cluster's policy found is known from it, and for the stranger as well."""
    missed = {
        "artifact": SECRET,
        "location": "registry",
        "authority": "",
        "code": "DigestMismatch",
        "message": f"{MARK}.example sent other content for the referrers of {MARK}.example/team/app@{SECRET}",
    }
    met = leaf(1, images=[image(digest=SECRET)])
    met["evaluations"][0]["rejections"].append(missed)
    late = _in("stranger", leaf(60, images=[image(digest=SECRET)]))
    await _record(opened, database, (_marked(_in("bank", met)), {}), (late, {}), _ran("stranger", SECRET))
    questions = opened.questions
    record = questions.queries.image(SECRET, namespace="stranger")
    assert record is not None
    assert MARK not in repr(record)
    told = {found.detail["code"]: found.detail["message"] for found in record.rejections}
    assert told == {"KeyMismatch": "signed by another key", "DigestMismatch": WITHHELD}
    assert MARK in repr(questions.queries.image(SECRET))  # the reader of the whole cluster is told
    assert MARK in json.dumps(questions.queries.record(met["id"]).leaf)  # type: ignore[union-attr]
    ask = partial(questions.admissions.admissions, namespace="stranger", name="web-60")
    for confined, second in ((True, 60), (False, 1)):
        (admission,) = ask(confined=confined).items
        (judged,) = admission.judged
        assert judged.first_used_at == START + timedelta(seconds=second)
        assert ask(confined=confined, known_at=START - timedelta(days=1)).items == ()
