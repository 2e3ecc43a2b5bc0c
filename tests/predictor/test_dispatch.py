"""Dispatch: the life of an image, and what is refused, against an instance the test plays."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref

import numpy as np
import pytest

from predictor.classifier import _outcome
from predictor.errors import (
    BadImageError,
    BadRequestError,
    DeadlineError,
    NotReadyError,
    OverloadedError,
)
from predictor.observation import ImageTimes
from predictor.slab import Outcome
from predictor.ticket import Ticket
from predictor.types import BatchCost
from tests.predictor.rig import IMAGE, Rig, policies_of, with_rig


def test_an_image_goes_out_and_its_answer_comes_back():
    """Pixels in the slot, answer from the slot, slot free again."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        (ticket,) = rig.submit()
        (work,) = await rig.work(channel)
        assert np.all(rig.slab.pixels[work.slot] == 7)
        rig.answer(channel, work)
        answer = await ticket.future
        assert answer.indices.tolist() == [1, 0]
        assert answer.scores.tolist() == [0.75, 0.25]

    with_rig(scene)


def test_without_an_instance_nothing_is_accepted():
    """Refused before anything is decoded."""

    async def scene(rig: Rig) -> None:
        with pytest.raises(NotReadyError):
            rig.submit()

    with_rig(scene)


def test_more_images_than_slots_are_refused_whole():
    """No part of a request is accepted."""

    async def scene(rig: Rig) -> None:
        rig.attach()
        with pytest.raises(OverloadedError, match="5 images wanted, 4 of 4 slots free"):
            rig.submit(*[IMAGE] * 5)
        assert rig.slots_taken == 0

    with_rig(scene)


def test_a_bad_image_never_reaches_an_instance():
    """It fails alone; the one beside it is answered."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        bad, good = rig.submit(b"no image", IMAGE)
        (work,) = await rig.work(channel)
        rig.answer(channel, work)
        await good.future
        with pytest.raises(BadImageError):
            await bad.future

    with_rig(scene)


def test_a_deadline_is_told_even_when_the_instance_is_silent():
    """The slot comes back only when the instance has let go of it."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        (ticket,) = rig.submit(deadline_s=0.01)
        (work,) = await rig.work(channel)
        with pytest.raises(DeadlineError):
            await ticket.future
        assert rig.slots_taken == 1
        assert rig.slab.abandoned[work.slot] == 1
        rig.answer(channel, work, Outcome.ABANDONED)

    with_rig(scene)


def test_an_abandoned_image_is_marked_for_the_instance():
    """So that it is dropped before the batch."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        tickets = rig.submit()
        (work,) = await rig.work(channel)
        rig.dispatcher.abandon(tickets)
        assert rig.slab.abandoned[work.slot] == 1
        assert tickets[0].future.cancelled()
        rig.answer(channel, work, Outcome.ABANDONED)

    with_rig(scene)


def test_a_level_has_no_more_images_than_its_policy_allows():
    """The others have the rest of the slots."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        rig.submit(IMAGE, priority=3)
        with pytest.raises(OverloadedError, match="queue of priority 3 is full"):
            rig.submit(IMAGE, priority=3)
        rig.submit(IMAGE, IMAGE, IMAGE, priority=1)
        for work in await rig.work(channel, 4):
            rig.answer(channel, work)

    with_rig(scene, policies=policies_of(level_3={"max_queue_size": 1}))


def test_what_cannot_be_finished_in_time_is_refused_at_once():
    """By what batches cost; with the seconds after which it may be tried again."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach(cost=BatchCost(0.0, 2.0, 8))
        first = rig.submit(deadline_s=1)  # nothing is under way: taken whatever is predicted
        second = rig.submit(deadline_s=6)
        with pytest.raises(OverloadedError, match=r"the answer would take 6\.00 s") as refused:
            rig.submit(deadline_s=4)
        assert refused.value.retry_after_s == 3
        for work in await rig.work(channel, 2):
            rig.answer(channel, work)
        await asyncio.wait([first[0].future, second[0].future])

    with_rig(scene)


def test_batches_that_take_longer_than_they_should_are_reckoned_with():
    """What was measured while serving beats what warm-up said."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach(cost=BatchCost(0.0, 0.5, 8))
        for _ in range(200):
            (ticket,) = rig.submit()
            (work,) = await rig.work(channel)
            rig.answer(channel, work, took_s=2.0)
            await ticket.future
        rig.submit(deadline_s=30)
        # Twice 2 s; half of that, since the answers here come faster than any device's.
        with pytest.raises(OverloadedError, match=r"would take 2\.0"):
            rig.submit(deadline_s=1.9)
        (work,) = await rig.work(channel)
        rig.answer(channel, work)

    with_rig(scene)


def test_a_frontend_without_work_reckons_with_that_of_the_others():
    """Two thousand images elsewhere are in the way of its first one as well."""

    async def scene(rig: Rig) -> None:
        rig.attach(cost=BatchCost(0.0, 0.01, 1))
        rig.board[0, 1] = 2000
        with pytest.raises(OverloadedError, match="would take"):
            rig.submit(deadline_s=1)
        rig.board[0, 1] = 0
        (ticket,) = rig.submit(deadline_s=1)
        rig.dispatcher.abandon([ticket])
        (work,) = await rig.work(rig.channels[0])
        rig.answer(rig.channels[0], work, Outcome.ABANDONED)

    with_rig(scene, frontends=2)


def test_one_standstill_does_not_keep_an_instance_idle():
    """A batch that took a hundred times as long weighs no more than one that took eight."""

    async def scene(rig: Rig) -> None:
        cost = BatchCost(0.0, 0.001, 1)
        first, second = rig.attach(0, cost), rig.attach(1, cost)
        (ticket,) = rig.submit()
        (work,) = await rig.work(first)
        rig.answer(first, work, took_s=0.1)
        await ticket.future
        tickets = rig.submit(IMAGE, IMAGE, IMAGE)
        works = [*await rig.work(first, 1), *await rig.work(second, 2)]
        assert len(works) == 3
        for done, channel in zip(works, (first, second, second), strict=True):
            rig.answer(channel, done)
        await asyncio.wait([each.future for each in tickets])

    with_rig(scene)


def test_more_images_than_a_level_ever_takes_are_a_bad_request():
    """Trying again later would not help."""

    async def scene(rig: Rig) -> None:
        rig.attach()
        with pytest.raises(BadRequestError, match="3 images; priority 1 takes 2 at a time"):
            rig.submit(IMAGE, IMAGE, IMAGE, priority=1)

    with_rig(scene, policies=policies_of(level_1={"max_queue_size": 2}))


def test_refusals_and_errors_leave_nothing_for_the_garbage_collector():
    """Hundreds a second would have it stop the event loop for tens of milliseconds."""

    async def scene(rig: Rig) -> None:
        rig.attach()
        place = rig.policies.place(time.monotonic_ns(), 0, None, None)
        bad = Ticket(0, 0, place, asyncio.get_running_loop().create_future(), ImageTimes())
        bad.answer(BadImageError("broken"))
        gone = []
        gc.disable()
        try:
            rig.submit(*[IMAGE] * 9)
        except OverloadedError as refusal:
            gone.append(weakref.ref(refusal))
        outcome = await _outcome(bad)
        gone.append(weakref.ref(outcome))
        del bad, outcome
        left = [reference() for reference in gone]
        gc.enable()
        assert left == [None, None]

    with_rig(scene)
