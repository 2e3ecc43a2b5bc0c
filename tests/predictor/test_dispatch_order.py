"""Dispatch: who is decoded first, and who is told first."""

from __future__ import annotations

import asyncio
import threading

import pytest

from predictor.decode_pool import DecodeJob
from predictor.errors import BadImageError, DeadlineError
from predictor.queue_policy import QueuePolicies
from predictor.slab import Outcome
from predictor.ticket import Ticket
from tests.predictor.rig import IMAGE, LAYOUT, PHOTO, Rig, with_rig
from tests.predictor.test_decode import target


def blocking_job(gate: threading.Event) -> DecodeJob:
    """Holds up a decoder until the gate opens."""

    def wanted() -> bool:
        gate.wait()
        return False

    return DecodeJob(IMAGE, target(), IMAGE, 0, wanted, lambda *_: None)


def test_answers_leave_in_the_order_of_acceptance_where_that_is_asked():
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


def test_a_client_that_left_holds_up_nobody_behind_it():
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


def test_an_answer_that_waits_for_its_turn_has_a_deadline_all_the_same():
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


def test_higher_priorities_are_decoded_first():
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


def test_pixels_that_only_need_copying_wait_for_no_decoder():
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
def test_the_event_loop_is_held_up_by_little_of_a_request(monkeypatch, images, quick):
    """One thumbnail, or pixels that only need copying, up to a number of bytes."""
    monkeypatch.setattr("predictor.decode_pool.COPIED_BYTES", 2 * IMAGE.nbytes)

    async def scene(rig: Rig) -> None:
        assert quick == rig.pool.is_quick(images, target())

    with_rig(scene)
