"""Dispatch: the choice itself, and the life of an image against an instance the test plays."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from predictor.classifier import _outcome
from predictor.decode_pool import DecodeJob, DecodePool
from predictor.dispatch import Dispatcher, Queueing
from predictor.errors import (
    BadImageError,
    BadRequestError,
    DeadlineError,
    InferenceError,
    InstanceLostError,
    NotReadyError,
    OverloadedError,
)
from predictor.metrics import FrontendMetrics
from predictor.observation import ImageTimes
from predictor.queue_policy import QueuePolicies, QueuePolicy
from predictor.slab import Board, Channel, Completion, Outcome, Slab, SlabLayout, Work
from predictor.ticket import Ticket
from predictor.types import BatchCost, DecodeLimits
from tests.predictor.test_decode import target

FAST = BatchCost(per_batch_s=0.001, per_image_s=0.0001, max_batch_size=8)
LAYOUT = SlabLayout(slots=4, height=32, width=32, top_k=2)
IMAGE = np.full((32, 32, 3), 7, np.uint8)
PHOTO = np.full((40, 50, 3), 7, np.uint8)  # must be resized
LONG_S = 60


def policies_of(levels: int = 3, **by_level: dict[str, object]) -> QueuePolicies:
    """Rules with a policy for ``level_1`` and so on."""
    policies = {int(key[-1]): QueuePolicy(**policy) for key, policy in by_level.items()}
    return QueuePolicies(levels, 0, 1000, policies, LONG_S * 1_000_000, LAYOUT.slots)


class Rig:
    """A dispatcher on this event loop, and the instances' ends of its channels."""

    def __init__(
        self,
        policies: QueuePolicies | None = None,
        *,
        preserve_ordering: bool = False,
        frontends: int = 1,
    ) -> None:
        fd = Slab.create(LAYOUT)
        board = Board.create(3, frontends)
        self.slab = Slab(fd, LAYOUT)
        self.board = Board(board, 3, frontends).outstanding
        self.ready: list[bool] = []
        self.policies = policies or policies_of()
        self.channels: list[Channel] = []
        loop = asyncio.get_running_loop()
        self.pool = DecodePool(2, DecodeLimits(10_000, 2), True, loop)
        self.dispatcher = Dispatcher(
            Slab(fd, LAYOUT),
            self.board,
            0,
            self.pool,
            Queueing(self.policies, preserve_ordering, target()),
            FrontendMetrics("m", "1"),
            lambda: self.ready.append(self.dispatcher.able),
        )
        os.close(fd)
        os.close(board)

    def attach(self, instance: int = 0, cost: BatchCost = FAST) -> Channel:
        """A new instance; its end of the channel."""
        left, right = Channel.pair()
        self.dispatcher.attach(instance, Channel(left), cost)
        channel = Channel(right)
        self.channels.append(channel)
        return channel

    def submit(
        self, *images: object, deadline_s: float = LONG_S, priority: int = 0
    ) -> list[Ticket]:
        """Accept images."""
        limit_us = int(deadline_s * 1e6)
        place = self.policies.place(time.monotonic_ns(), priority, None, limit_us)
        return self.dispatcher.submit(images or (IMAGE,), place)

    async def work(self, channel: Channel, count: int = 1) -> list[Work]:
        """What an instance is handed."""
        works: list[Work] = []
        while len(works) < count:
            works += channel.receive_work() or []
            await asyncio.sleep(0)
        return works

    def answer(
        self, channel: Channel, work: Work, outcome: Outcome = Outcome.DONE, took_s: float = 0.001
    ) -> None:
        """Complete one image as an instance does."""
        self.slab.indices[work.slot] = (1, 0)
        self.slab.scores[work.slot] = (0.75, 0.25)
        channel.send_completions(
            [Completion(work.slot, work.ticket, outcome, 1, 1, 1 + int(took_s * 1e9))]
        )

    async def die(self, only: Channel) -> None:
        """The only instance dies, and the dispatcher has noticed."""
        only.close()
        while self.ready[-1]:
            await asyncio.sleep(0)

    @property
    def slots_taken(self) -> int:
        """Slots that are not free."""
        return len(self.dispatcher._slots)

    async def idle(self) -> None:
        """Until every slot is back."""
        while self.slots_taken:
            await asyncio.sleep(0)


def blocking_job(gate: threading.Event) -> DecodeJob:
    """Holds up a decoder until the gate opens."""

    def wanted() -> bool:
        gate.wait()
        return False

    return DecodeJob(IMAGE, target(), IMAGE, 0, wanted, lambda *_: None)


@pytest.fixture
def with_rig() -> Callable[..., None]:
    """Run a scene on an event loop with a rig, and check that no slot leaked."""

    def run(scene: Callable[[Rig], Awaitable[None]], **rules: object) -> None:
        async def life() -> None:
            rig = Rig(**rules)
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
        assert rig.slots_taken == 0

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
        assert rig.slots_taken == 1
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


def test_a_level_has_no_more_images_than_its_policy_allows(with_rig):
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


def test_what_cannot_be_finished_in_time_is_refused_at_once(with_rig):
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


def test_batches_that_take_longer_than_they_should_are_reckoned_with(with_rig):
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


def test_an_instance_without_signs_of_life_gets_no_new_images(with_rig):
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


def test_answers_leave_in_the_order_of_acceptance_where_that_is_asked(with_rig):
    """Whichever is computed first; an error keeps its place as well."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        first, bad, last = (rig.submit(image)[0] for image in (IMAGE, b"no image", IMAGE))
        told: list[Ticket] = []
        for ticket in (last, bad, first):
            ticket.future.add_done_callback(lambda _, ticket=ticket: told.append(ticket))
        works = await rig.work(channel, 2)
        rig.answer(channel, works[1])
        while not (last.finished and bad.finished):
            await asyncio.sleep(0)
        assert told == []
        assert rig.slots_taken == 3  # which bounds how many answers may wait for their turn
        rig.answer(channel, works[0])
        await asyncio.wait([first.future, bad.future, last.future])
        await asyncio.sleep(0)
        assert told == [first, bad, last]
        assert isinstance(bad.future.exception(), BadImageError)

    with_rig(scene, preserve_ordering=True)


def test_a_client_that_left_holds_up_nobody_behind_it(with_rig):
    """Its place in the order is given up as soon as its slot is free."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        (left,), (stayed,) = rig.submit(), rig.submit()
        works = await rig.work(channel, 2)
        rig.dispatcher.abandon([left])
        rig.answer(channel, works[1])
        rig.answer(channel, works[0], Outcome.ABANDONED)
        await stayed.future

    with_rig(scene, preserve_ordering=True)


def test_an_answer_that_waits_for_its_turn_has_a_deadline_all_the_same(with_rig):
    """Whoever is before it may be at an instance that stands still."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        (first,) = rig.submit()
        (held,) = rig.submit(deadline_s=0.3)
        works = await rig.work(channel, 2)
        rig.answer(channel, works[1])
        with pytest.raises(DeadlineError):
            await held.future
        rig.answer(channel, works[0])
        await first.future

    with_rig(scene, preserve_ordering=True)


def test_higher_priorities_are_decoded_first(with_rig):
    """Where decoding is what takes time, that is where they must go first."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        first_gate, second_gate = threading.Event(), threading.Event()
        for gate in (first_gate, second_gate):  # both decoders are busy
            rig.pool.submit(blocking_job(gate), quick=False)
        rig.submit(PHOTO, PHOTO, priority=3)
        rig.submit(PHOTO, PHOTO, priority=1)
        first_gate.set()
        works = await rig.work(channel, 4)
        second_gate.set()
        assert [work.level for work in works] == [1, 1, 3, 3]
        for work in works:
            rig.answer(channel, work)

    with_rig(scene, policies=QueuePolicies(3, 0, 10**9, {}, 10**9, LAYOUT.slots))


def test_pixels_that_only_need_copying_wait_for_no_decoder(with_rig):
    """However many a request has of them, up to a bound."""

    async def scene(rig: Rig) -> None:
        channel = rig.attach()
        gates = threading.Event(), threading.Event()
        for gate in gates:  # both decoders are busy
            rig.pool.submit(blocking_job(gate), quick=False)
        rig.submit(IMAGE, IMAGE + 1)
        works = await rig.work(channel, 2)
        assert [rig.slab.pixels[work.slot].max() for work in works] == [7, 8]
        for gate in gates:
            gate.set()
        for work in works:
            rig.answer(channel, work)

    with_rig(scene)


@pytest.mark.parametrize(
    ("images", "quick"),
    [
        ((IMAGE, IMAGE), True),
        ((IMAGE, PHOTO), False),
        ((IMAGE, b"thumbnail"), False),
        ((b"thumbnail",), True),
        ((b"thumbnail", b"thumbnail"), False),
        ((bytes(5000),), False),
        ((IMAGE, IMAGE, IMAGE), False),
        ((), True),
    ],
)
def test_the_event_loop_is_held_up_by_little_of_a_request(with_rig, monkeypatch, images, quick):
    """One thumbnail, or pixels that only need copying, up to a number of bytes."""
    monkeypatch.setattr("predictor.decode_pool.COPIED_BYTES", 2 * IMAGE.nbytes)

    async def scene(rig: Rig) -> None:
        assert quick == rig.pool.is_quick(images, target())

    with_rig(scene)


def test_what_failed_at_one_instance_is_run_again_at_another(with_rig):
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


def test_an_instance_that_stands_still_alone_makes_the_pod_unready(with_rig):
    """Until it gives signs of life again."""

    async def scene(rig: Rig) -> None:
        rig.attach()
        rig.dispatcher.set_stalled(0, True)
        rig.dispatcher.set_stalled(0, True)
        rig.dispatcher.set_stalled(0, False)
        assert rig.ready == [True, False, True]

    with_rig(scene)


def test_a_frontend_without_work_reckons_with_that_of_the_others(with_rig):
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


def test_one_standstill_does_not_keep_an_instance_idle(with_rig):
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


def test_more_images_than_a_level_ever_takes_are_a_bad_request(with_rig):
    """Trying again later would not help."""

    async def scene(rig: Rig) -> None:
        rig.attach()
        with pytest.raises(BadRequestError, match="3 images; priority 1 takes 2 at a time"):
            rig.submit(IMAGE, IMAGE, IMAGE, priority=1)

    with_rig(scene, policies=policies_of(level_1={"max_queue_size": 2}))


def test_refusals_and_errors_leave_nothing_for_the_garbage_collector(with_rig):
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
