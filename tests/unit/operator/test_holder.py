"""The snapshot in force, and when a replica must not be asked."""

from __future__ import annotations

import pytest

from controller.errors import NotReady
from controller.operator.holder import SnapshotHolder
from controller.policy.snapshot import Snapshot


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.guarantee(9)
def test_nothing_is_answered_before_the_first_whole_snapshot() -> None:
    holder = SnapshotHolder(sources=["policies", "trustroots"])
    holder.sign("policies")
    with pytest.raises(NotReady):
        holder.current()
    assert holder.problems() == ("not read once yet: trustroots",)


def test_a_silent_source_makes_the_replica_unready_and_keeps_its_policies() -> None:
    clock = _Clock()
    holder = SnapshotHolder(sources=["policies", "trustroots"], max_age=120, clock=clock)
    holder.sign("policies")
    holder.sign("trustroots")
    snapshot = Snapshot()
    holder.publish(snapshot)
    clock.now += 60
    holder.sign("policies")
    assert holder.problems() == ()
    clock.now += 61
    assert holder.problems() == ("no sign of trustroots for 121 s (bound: snapshot_max_age 120 s)",)
    assert holder.age() == 121
    assert holder.current() is snapshot


def test_a_fault_makes_the_replica_unready_until_it_is_mended() -> None:
    holder = SnapshotHolder.fixed(Snapshot())
    assert holder.problems() == ()
    holder.fault("policies", "the CRD is gone")
    assert holder.problems() == ("the CRD is gone",)
    assert isinstance(holder.current(), Snapshot)
    holder.fault("policies", "")
    assert holder.problems() == ()
