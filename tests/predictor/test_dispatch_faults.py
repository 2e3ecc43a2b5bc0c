"""Dispatch: instances that die, fail or stand still, and what becomes of their images."""

from __future__ import annotations

import pytest

from predictor.errors import InferenceError, InstanceLostError
from predictor.slab import Outcome
from predictor.types import BatchCost
from tests.predictor.rig import IMAGE, Rig, with_rig


def test_images_of_a_dead_instance_go_to_another():
    """Queued or running, they are handed on without the client noticing."""

    async def scene(rig: Rig) -> None:
        first, second = rig.attach(0), rig.attach(1)
        tickets = rig.submit(IMAGE, IMAGE)
        (lost,) = await rig.work(first)
        (kept,) = await rig.work(second)
        rig.slab.started[lost.slot] = 1
        first.close()
        (again,) = await rig.work(second)
        assert lost.slot == again.slot
        rig.answer(second, kept)
        rig.answer(second, again)
        for ticket in tickets:
            await ticket.future

    with_rig(scene)


def test_images_wait_for_the_successor_of_the_only_instance():
    """And readiness says so meanwhile."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        (ticket,) = rig.submit()
        await rig.work(channel)
        await rig.die(channel)
        successor = rig.attach()
        (work,) = await rig.work(successor)
        rig.answer(successor, work)
        await ticket.future
        assert rig.ready == [True, False, True]

    with_rig(scene)


def test_an_image_that_two_instances_died_on_is_given_up():
    """It may be what kills them: answered with an error, not tried a third time."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        (ticket,) = rig.submit()
        for _ in range(2):
            (work,) = await rig.work(channel)
            rig.slab.started[work.slot] = 1
            await rig.die(channel)
            channel = rig.attach()
        with pytest.raises(InstanceLostError):
            await ticket.future

    with_rig(scene)


def test_an_image_that_was_only_queued_at_dead_instances_is_not_given_up():
    """It cannot have killed them."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        (ticket,) = rig.submit()
        for _ in range(5):
            await rig.work(channel)
            await rig.die(channel)
            channel = rig.attach()
        (work,) = await rig.work(channel)
        rig.answer(channel, work)
        await ticket.future

    with_rig(scene)


def test_a_batch_that_failed_is_run_once_more():
    """The second failure is the answer."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        (ticket,) = rig.submit()
        for _ in range(2):
            (work,) = await rig.work(channel)
            rig.slab.started[work.slot] = 1
            rig.answer(channel, work, Outcome.FAILED)
        with pytest.raises(InferenceError):
            await ticket.future

    with_rig(scene)


def test_what_a_dead_frontend_left_on_the_board_is_forgotten():
    """Or its instance would seem busy for ever."""

    async def scene(rig: Rig) -> None:
        rig.board[0, 0] = 200
        rig.attach(0)
        assert rig.board[0, 0] == 0

    with_rig(scene)


def test_an_instance_without_signs_of_life_gets_no_new_images():
    """Unless there is no other; and it gets them again when it lives."""

    async def scene(rig: Rig) -> None:
        stalled, lively = rig.attach(0), rig.attach(1)
        rig.dispatcher.set_stalled(0, True)
        rig.submit(IMAGE, IMAGE)
        for work in await rig.work(lively, 2):
            rig.answer(lively, work)
        await rig.idle()
        await rig.die(lively)
        rig.submit(IMAGE)
        (work,) = await rig.work(stalled)
        rig.answer(stalled, work)

    with_rig(scene)


def test_what_failed_at_one_instance_is_run_again_at_another():
    """Though the one that fails at once looks as if it had the least to do."""

    async def scene(rig: Rig) -> None:
        broken = rig.attach(0)
        slow = rig.attach(1, BatchCost(1.0, 1.0, 1))
        (ticket,) = rig.submit()
        (work,) = await rig.work(broken)
        rig.slab.started[work.slot] = 1
        rig.answer(broken, work, Outcome.FAILED)
        (again,) = await rig.work(slow)
        rig.answer(slow, again)
        await ticket.future

    with_rig(scene)


def test_an_instance_that_stands_still_alone_makes_the_pod_unready():
    """Until it gives signs of life again."""

    async def scene(rig: Rig) -> None:
        rig.attach()
        rig.dispatcher.set_stalled(0, True)
        rig.dispatcher.set_stalled(0, True)
        rig.dispatcher.set_stalled(0, False)
        assert rig.ready == [True, False, True]

    with_rig(scene)
