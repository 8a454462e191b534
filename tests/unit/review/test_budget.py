"""One budget of bytes: never crossed, shared out by namespace, and never stuck."""

from __future__ import annotations

import asyncio
import gc
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from controller.errors import DeadlineExceeded, LimitExceeded
from controller.model.access import RegistryAccess
from controller.model.deadline import Deadline
from controller.model.decision import ErrorKind
from controller.model.evidence import EvidenceSet
from controller.model.image import ResolvedImage
from controller.model.reference import Reference
from controller.review.budget import BUDGET_FULL, Budget, Room
from controller.review.caches import Evidences
from controller.review.decide import OWN_DOING
from controller.review.judge import _kind
from controller.review.shares import NAMESPACE
from controller.settings import ReviewSettings
from tests.support.review import digest, evidence

LATER, NOW = Deadline.after(10**6), Deadline.after(0)  # later than any run of all tests takes


def room(budget: Budget, namespace: str) -> Room:
    """An image's room, of a namespace."""
    token = NAMESPACE.set(namespace)
    try:
        return budget.open()
    finally:
        NAMESPACE.reset(token)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@contextmanager
def without_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def taking(*rooms: Room, size: int = 10) -> list[asyncio.Task[None]]:
    """Each takes so much; the tasks, of which some may wait."""
    tasks = [asyncio.create_task(one.take(size, deadline=LATER)) for one in rooms]
    await settle()
    return tasks


@pytest.mark.guarantee(10)
async def test_no_more_is_granted_than_there_is_whatever_is_asked_for_and_by_whom() -> None:
    budget = Budget(100)
    rooms = [room(budget, f"n{number % 7}") for number in range(50)]
    tasks = [asyncio.create_task(one.take(7 + number % 5, deadline=LATER)) for number, one in enumerate(rooms)]
    while any(one.size for one in rooms) or not all(task.done() for task in tasks):
        await settle()
        assert 0 < sum(one.size for one in rooms) == budget.held <= 100
        next(one for one in rooms if one.size).close()
    assert budget.held == 0


async def test_a_namespace_takes_half_of_what_the_others_leave_and_something_is_left_for_one_more() -> None:
    budget = Budget(128)  # of which 96 are shared out
    helped = room(budget, "x")
    helped.finishing = budget._finishing = True  # the reserve is taken
    kept = []
    for namespace, half in (("a", 48), ("b", 24), ("c", 12), ("d", 6)):
        mine = [room(budget, namespace) for _ in range(half)]
        tasks = await taking(*mine, size=1)
        assert all(task.done() for task in tasks)
        (waiting,) = await taking(room(budget, namespace), size=1)
        assert not waiting.done()
        waiting.cancel()
        kept += mine
    assert budget.held == 48 + 24 + 12 + 6


async def test_where_images_wait_for_each_other_one_of_them_is_helped_to_its_end_and_then_the_next() -> None:
    budget = Budget(128)
    rooms = [room(budget, "a") for _ in range(6)]
    for one in rooms:
        await one.take(8, deadline=LATER)  # 48: all that the namespace may have
    tasks = [asyncio.create_task(one.take(8, deadline=LATER)) for one in rooms for _ in range(3)]
    ended = 0
    while ended < len(rooms):
        await settle()
        done = [one for one in rooms if one.size == 32]
        assert done, "one of them has all that it needs"
        assert budget.held <= 128
        for one in done:
            one.close()
            ended += 1
    await asyncio.gather(*tasks)


async def test_those_who_wait_are_served_by_turns_of_their_namespaces() -> None:
    budget = Budget(40)
    first = room(budget, "a")
    await first.take(15, deadline=LATER)
    helped = room(budget, "a")
    await taking(helped)  # the reserve is his
    many, one = [room(budget, "a") for _ in range(5)], room(budget, "b")
    await taking(*many, one, size=12)
    assert [r.size for r in (*many, one)] == [0] * 6
    first.close()
    helped.close()
    await settle()
    assert one.size == 12
    assert [r.size for r in many] == [12, 0, 0, 0, 0]


async def test_whoever_waits_in_vain_is_told_so_by_a_reason_for_which_ignore_never_opens() -> None:
    budget = Budget(40)
    held = room(budget, "a")
    await held.take(40, deadline=LATER)
    with pytest.raises(DeadlineExceeded, match="review_max_bytes") as caught:
        await room(budget, "b").take(1, deadline=Deadline.after(0.01))
    assert caught.value.code == BUDGET_FULL
    assert _kind(caught.value) is ErrorKind.UNAVAILABLE
    assert BUDGET_FULL in OWN_DOING
    assert not budget.waits("b")


async def test_what_can_never_fit_is_refused_at_once() -> None:
    one = room(Budget(40), "a")
    await one.take(30, deadline=LATER)
    with pytest.raises(LimitExceeded, match="review_max_bytes"):
        await one.take(11, deadline=LATER)


async def test_who_gives_up_leaves_nothing_behind() -> None:
    budget = Budget(40)
    held = room(budget, "a")
    await held.take(40, deadline=LATER)
    waiting = await taking(*(room(budget, "b") for _ in range(5)))
    for task in waiting:
        task.cancel()
    held.close()  # grants and cancellations in the same turn
    await asyncio.gather(*waiting, return_exceptions=True)
    await settle()
    assert (budget.held, budget.waits("b")) == (0, False)


async def test_room_is_free_when_the_last_reference_goes_and_not_before() -> None:
    budget = Budget(40)
    with without_collector():
        one = room(budget, "a")
        other = one
        await one.take(10, deadline=LATER)
        del one
        await settle()
        assert budget.held == 10
        await asyncio.to_thread(lambda held: held.clear(), [other])
        del other
        await settle()
        assert budget.held == 0


async def test_room_that_is_closed_gives_nothing_back_twice() -> None:
    budget = Budget(40)
    one, other = room(budget, "a"), room(budget, "a")
    for each in (one, other):
        await each.take(10, deadline=LATER)
    one.close()
    one.close()
    one.give(10)
    del one
    await settle()
    assert budget.held == 10 == other.size


async def test_in_another_process_a_room_is_nothing() -> None:
    one = room(Budget(40), "a")
    await one.take(10, deadline=LATER)
    assert pickle.loads(pickle.dumps(one)) is None  # noqa: S301 - written here


async def test_what_is_only_remembered_is_asked_to_go_by_namespace_or_where_all_is_full_by_anybody() -> None:
    budget = Budget(64)
    asked: list[tuple[str | None, int]] = []
    budget.make_room = lambda namespace, size: asked.append((namespace, size))
    a = room(budget, "a")
    await a.take(24, deadline=LATER)
    more = room(budget, "a")
    await taking(more, size=30)
    assert (more.size, asked) == (30, [("a", 30)])
    await taking(room(budget, "b"), size=11)
    assert asked[1:] == [(None, 11)]


class Source:
    """A registry that has evidence of ten bytes for every image."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.asked = 0

    async def resolve(self, reference: Reference, *, access: RegistryAccess, deadline: Deadline) -> ResolvedImage:
        raise NotImplementedError

    async def discover(self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline) -> EvidenceSet:
        del access
        self.asked += 1
        held = self._budget.open()
        await held.take(10, deadline=deadline)
        return replace(evidence(image.digest, b"found"), held=held)


async def test_evidence_for_whose_room_others_wait_is_not_kept_only_to_be_remembered() -> None:
    budget = Budget(64)  # of which a namespace alone has 24 and the reserve
    source = Source(budget)
    evidences = Evidences(source, ReviewSettings(), budget)

    async def ask(name: str) -> None:
        image = ResolvedImage(Reference.parse(f"ghcr.io/acme/{name}"), digest(name), "", 1)
        await evidences.get(image, access=RegistryAccess(), deadline=LATER)

    for _ in range(2):
        await ask("first")
    assert (source.asked, budget.held) == (1, 10), "what nobody waits for is remembered"
    filler, helped = room(budget, ""), room(budget, "another")
    helped.finishing = budget._finishing = True  # the reserve is taken
    (filled,) = await taking(filler, size=24)  # all that there is for the namespace: what is remembered goes
    await filled
    second = asyncio.create_task(ask("second"))
    await settle()
    (waiting,) = await taking(room(budget, ""), size=24)
    assert (second.done(), waiting.done(), budget.held) == (False, False, 24)
    filler.close()
    await second
    await asyncio.wait_for(waiting, 5)
    await evidences.close()
