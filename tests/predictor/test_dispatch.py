"""Dispatch: the choice itself, and the life of an image against an instance the test plays."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from predictor.decode_pool import DecodePool
from predictor.dispatch import Dispatcher, Ticket, earliest_finish
from predictor.errors import (
    BadImageError,
    DeadlineError,
    InferenceError,
    InstanceLostError,
    NotReadyError,
    OverloadedError,
)
from predictor.metrics import FrontendMetrics
from predictor.slab import Board, Channel, Completion, Outcome, Slab, SlabLayout, Work
from predictor.types import BatchCost, DecodeLimits
from tests.predictor.test_decode import target

FAST = BatchCost(per_batch_s=0.001, per_image_s=0.0001, max_batch_size=8)
SLOW = BatchCost(per_batch_s=0.0, per_image_s=0.01, max_batch_size=8)
LAYOUT = SlabLayout(slots=4, height=32, width=32, top_k=2)
IMAGE = np.full((32, 32, 3), 7, np.uint8)
LONG_S = 60


def test_the_slow_device_helps_once_the_fast_one_is_behind():
    """It is used only when it beats the fast one's predicted finish."""
    assert earliest_finish([0, 0], [FAST, SLOW]) == 0
    assert earliest_finish([30, 0], [FAST, SLOW]) == 0
    assert earliest_finish([90, 0], [FAST, SLOW]) == 1


def test_like_devices_share_evenly():
    """Ties go to whoever has less to do, then to the first."""
    assert earliest_finish([0, 0], [FAST, FAST]) == 0
    assert earliest_finish([1, 0], [FAST, FAST]) == 1
    assert earliest_finish([3, 2], [BatchCost(0.1, 0.0, 8)] * 2) == 1


class Rig:
    """A dispatcher on this event loop, and the instances' ends of its channels."""

    def __init__(self) -> None:
        fd = Slab.create(LAYOUT)
        board = Board.create(2, 1)
        self.slab = Slab(fd, LAYOUT)
        self.board = Board(board, 2, 1).outstanding
        self.ready: list[bool] = []
        self.channels: list[Channel] = []
        loop = asyncio.get_running_loop()
        self.pool = DecodePool(2, target(), DecodeLimits(10_000, 2), True, loop)
        self.dispatcher = Dispatcher(
            Slab(fd, LAYOUT),
            self.board,
            0,
            self.pool,
            FrontendMetrics("m", "1"),
            self.ready.append,
        )
        os.close(fd)
        os.close(board)

    def attach(self, instance: int = 0) -> Channel:
        """A new instance; its end of the channel."""
        left, right = Channel.pair()
        self.dispatcher.attach(instance, Channel(left), FAST)
        channel = Channel(right)
        self.channels.append(channel)
        return channel

    def submit(self, *images: object, deadline_s: float = LONG_S) -> list[Ticket]:
        """Accept images."""
        deadline_ns = time.monotonic_ns() + int(deadline_s * 1e9)
        return self.dispatcher.submit(images or (IMAGE,), deadline_ns, 0)

    async def work(self, channel: Channel, count: int = 1) -> list[Work]:
        """What an instance is handed."""
        works: list[Work] = []
        while len(works) < count:
            works += channel.receive_work() or []
            await asyncio.sleep(0)
        return works

    def answer(self, channel: Channel, work: Work, outcome: Outcome = Outcome.DONE) -> None:
        """Complete one image as an instance does."""
        self.slab.indices[work.slot] = (1, 0)
        self.slab.scores[work.slot] = (0.75, 0.25)
        channel.send_completions([Completion(work.slot, work.ticket, outcome)])

    async def die(self, only: Channel) -> None:
        """The only instance dies, and the dispatcher has noticed."""
        only.close()
        while self.ready[-1]:
            await asyncio.sleep(0)

    async def idle(self) -> None:
        """Until every slot is back."""
        while self.dispatcher.outstanding:
            await asyncio.sleep(0)


@pytest.fixture
def with_rig() -> Callable[[Callable[[Rig], Awaitable[None]]], None]:
    """Run a scene on an event loop with a rig, and check that no slot leaked."""

    def run(scene: Callable[[Rig], Awaitable[None]]) -> None:
        async def life() -> None:
            rig = Rig()
            try:
                await scene(rig)
                await asyncio.wait_for(rig.idle(), 10)
            finally:
                rig.dispatcher.close()
                rig.pool.close()
                for channel in rig.channels:
                    channel.close()

        asyncio.run(life())

    return run


def test_an_image_goes_out_and_its_answer_comes_back(with_rig):
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


def test_without_an_instance_nothing_is_accepted(with_rig):
    """Refused before anything is decoded."""

    async def scene(rig: Rig) -> None:
        with pytest.raises(NotReadyError):
            rig.submit()

    with_rig(scene)


def test_more_images_than_slots_are_refused_whole(with_rig):
    """No part of a request is accepted."""

    async def scene(rig: Rig) -> None:
        rig.attach()
        with pytest.raises(OverloadedError, match="5 images wanted, 4 of 4 slots free"):
            rig.submit(*[IMAGE] * 5)
        assert rig.dispatcher.outstanding == 0

    with_rig(scene)


def test_a_bad_image_never_reaches_an_instance(with_rig):
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


def test_images_of_a_dead_instance_go_to_another(with_rig):
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


def test_images_wait_for_the_successor_of_the_only_instance(with_rig):
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


def test_an_image_that_two_instances_died_on_is_given_up(with_rig):
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


def test_an_image_that_was_only_queued_at_dead_instances_is_not_given_up(with_rig):
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


def test_a_batch_that_failed_is_run_once_more(with_rig):
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


def test_what_a_dead_frontend_left_on_the_board_is_forgotten(with_rig):
    """Or its instance would seem busy for ever."""

    async def scene(rig: Rig) -> None:
        rig.board[0, 0] = 200
        rig.attach(0)
        assert rig.board[0, 0] == 0

    with_rig(scene)


def test_a_deadline_is_told_even_when_the_instance_is_silent(with_rig):
    """The slot comes back only when the instance has let go of it."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        (ticket,) = rig.submit(deadline_s=0.01)
        (work,) = await rig.work(channel)
        with pytest.raises(DeadlineError):
            await ticket.future
        assert rig.dispatcher.outstanding == 1
        assert rig.slab.abandoned[work.slot] == 1
        rig.answer(channel, work, Outcome.ABANDONED)

    with_rig(scene)


def test_an_abandoned_image_is_marked_for_the_instance(with_rig):
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
