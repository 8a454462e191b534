"""Under which policy version a pod was judged, by which rule values: asked of what the real pipeline recorded."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from controller.errors import InputError
from controller.inventory.asking.decisions.admissions import AdmissionRecord
from controller.inventory.asking.decisions.rule_values import Value
from tests.support.inventory import START, Clock, Database, leaf, soon, sqlite_database
from tests.support.pipeline import Rig, pod, running, workflow_authority

SBOM = {"name": "sbom", "type": "SBOM", "authorities": ["release"]}
SIGNED, LISTED = "release.none.signature", "release.none.spdxjson"
HOLDS, FAILS, BROKEN = "size(sboms) == 1", "size(sboms) == 7", "sboms[5].name == 'x'"


def values(record: AdmissionRecord, policy: str) -> dict[str, tuple[Value, str]]:
    (judged,) = [one for one in record.judged if one.policy.name == policy]
    assert judged.rules is not None
    return {rule.rule: (rule.value, rule.code) for rule in judged.rules}


def rules(*expressions: str, **more: Any) -> dict[str, Any]:
    return {"attestations": [SBOM], "validations": [{"expression": text} for text in expressions], **more}


def only(rig: Rig, **asked: Any) -> AdmissionRecord:
    (record,) = rig.store.questions.admissions.admissions(**asked).items
    return record


async def test_each_rule_of_each_policy_has_the_value_that_it_came_to(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        rig.publish(
            rig.policy("good", **rules(HOLDS)),
            rig.policy("mixed", **rules(HOLDS, FAILS, HOLDS)),
            rig.policy("broken", **rules(HOLDS, FAILS, BROKEN)),
            rig.policy("unmet", **rules(HOLDS, authorities=[workflow_authority("release")])),
        )
        image = rig.image(SIGNED, LISTED)
        answer = await rig.review(pod(image, name="web-1", uid="0a3d9c5e-0000-4000-8000-000000000001"))
        assert not answer.allowed
        record = only(rig, namespace="shop", name="web-1")
        assert record == only(rig, uid="0a3d9c5e-0000-4000-8000-000000000001")
    assert (record.verdict, record.namespace, record.name) == ("Deny", "shop", "web-1")
    held = (Value.TRUE, "")
    assert values(record, "good") == {"signatures": held, "attestations[sbom]": held, "validations[0]": held}
    assert values(record, "mixed") == {
        "signatures": held,
        "attestations[sbom]": held,
        "validations[0]": held,
        "validations[1]": (Value.FALSE, "RuleViolated"),
        "validations[2]": held,
    }
    broken = values(record, "broken")
    assert broken["validations[0]"] == held
    assert broken["validations[2]"][0] is Value.ERROR
    unmet = values(record, "unmet")
    assert unmet["signatures"][0] is Value.FALSE
    assert unmet["validations[0]"] == (Value.UNASKED, "")
    (judged,) = [one for one in record.judged if one.policy.name == "mixed"]
    assert judged.rules is not None
    assert [rule.expression for rule in judged.rules][2:] == [HOLDS, FAILS, HOLDS]
    assert judged.first_used_at == record.decided_at
    assert judged.policy.hash.startswith("sha256:")


async def test_of_an_image_that_was_never_resolved_nothing_was_asked(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        rig.publish(rig.policy("good", **rules(HOLDS)))
        await rig.review(pod(rig.reference("absent", repository="acme/none"), name="web-1"))
        record = only(rig, name="web-1")
    found = values(record, "good")
    assert {found[rule][0] for rule in ("signatures", "attestations[sbom]", "validations[0]")} == {Value.UNASKED}
    assert any(value is Value.ERROR and code for value, code in found.values())


async def test_a_changed_policy_is_another_version_and_the_first_decision_stays_under_the_first(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        image = rig.image(SIGNED, LISTED)
        rig.publish(rig.policy("changing", **rules(HOLDS)))
        await rig.review(pod(image, name="web"))
        rig.publish(rig.policy("changing", **rules(FAILS)))
        await rig.review(pod(image, name="web"))
        second, first = rig.store.questions.admissions.admissions(namespace="shop", name="web").items
        then = rig.store.questions.admissions.admissions(name="web", as_of=first.decided_at).items
        known = rig.store.questions.admissions.admissions(name="web", known_at=first.recorded_at).items
    assert (first.verdict, second.verdict) == ("Allow", "Deny")
    assert first.object_uid != second.object_uid
    assert first.judged[0].policy.hash != second.judged[0].policy.hash
    assert values(first, "changing")["validations[0]"] == (Value.TRUE, "")
    assert values(second, "changing")["validations[0]"] == (Value.FALSE, "RuleViolated")
    assert then == known == (first,)


async def test_what_an_exception_hid_is_told(tmp_path: Path) -> None:
    record = leaf(1)
    assert record["evaluations"][0]["outcome"] == "Satisfied"
    with sqlite_database(tmp_path).open(Clock()) as opened:
        record["evaluations"][0] |= {
            "outcome": "Exempt",
            "otherwise": "Violated",
            "exceptions": [],
            "reasons": [],
        }
        await opened.writer.record(record, blobs={}, deadline=soon())
        (found,) = opened.questions.admissions.admissions(name="web-1").items
    assert found.judged[0].outcome == "Exempt"
    assert found.judged[0].rules is None  # the policy's bytes were never recorded: it is said, and nothing is guessed
    assert found.judged[0].untold == "PolicyVersionAbsent"


@pytest.mark.parametrize(
    "kept",
    [
        b"{}",
        b"[]",
        b"{",
        b"\xff",
        b'{"spec": null}',
        b'{"spec": {"attestations": [], "validations": [{}]}}',
        b'{"spec": {"attestations": []}}',
        b'{"spec": {"attestations": [{"name": "sbom"}], "validations": []}}',
    ],
)
async def test_a_kept_policy_that_cannot_be_read_is_said_to_be_so_and_the_rest_is_answered(
    tmp_path: Path, kept: bytes
) -> None:
    """As another version may have written it: the fields that this one reads are not there."""
    digest = f"sha256:{hashlib.sha256(kept).hexdigest()}"
    record = leaf(1)
    record["evaluations"][0]["policy"]["hash"] = digest
    record["blobs"] = [digest]
    with sqlite_database(tmp_path).open(Clock()) as opened:
        await opened.writer.record(record, blobs={digest: kept}, deadline=soon())
        (found,) = opened.questions.admissions.admissions(name="web-1").items
    assert (found.judged[0].rules, found.judged[0].untold) == (None, "PolicyVersionUnreadable")
    assert (found.verdict, found.judged[0].policy.hash) == ("Allow", digest)


async def test_admissions_are_paged_newest_first_on_both_databases(database: Database) -> None:
    leaves = []
    for number in range(5):
        item = leaf(number)
        item["object"] |= {"name": "web"}
        leaves.append(item)
    elsewhere = leaf(9)
    elsewhere["object"] |= {"name": "web", "namespace": "other"}
    with database.open(Clock()) as opened:
        admissions = opened.questions.admissions
        await asyncio.gather(*(opened.writer.record(i, blobs={}, deadline=soon()) for i in [*leaves, elsewhere]))
        found, cursor = [], None
        while True:
            page = admissions.admissions(namespace="shop", name="web", limit=2, cursor=cursor)
            found += [item.id for item in page.items]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == [item["id"] for item in reversed(leaves)]
        assert len(admissions.admissions(name="web").items) == 6
        then = admissions.admissions(name="web", as_of=START + timedelta(seconds=2)).items
        assert [item.id for item in then] == [item["id"] for item in reversed(leaves[:3])]
        assert admissions.admissions(name="web", kind="Deployment").items == ()
        assert admissions.admissions(name="web", cluster="elsewhere").items == ()


async def test_an_object_has_to_be_named(tmp_path: Path) -> None:
    with sqlite_database(tmp_path).open(Clock()) as opened, pytest.raises(InputError) as caught:
        opened.questions.admissions.admissions(namespace="shop")
    assert caught.value.code == "ObjectRequired"


async def test_an_object_is_found_by_an_index(tmp_path: Path) -> None:
    with sqlite_database(tmp_path).open(Clock()) as opened, opened._reading.connect() as connection:
        plan = connection.execute(
            text(
                "EXPLAIN QUERY PLAN SELECT * FROM decision WHERE namespace = 'a' AND name = 'b' AND kind = 'Pod'"
                " ORDER BY decided_at DESC, leaf DESC LIMIT 51"
            )
        ).all()
    assert "ix_decision_name" in str(plan)
    assert "TEMP B-TREE" not in str(plan)
