"""Where every accepted image of one version is, from its admission until it is answered.

All of it lives on one event loop and needs no lock. An image moves one way:
``submit`` → decoded → handed to an instance → completed; each step is a method below, in order.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_store.package import ImageInput
from predictor.admission import DecodeCost
from predictor.decode import least_side
from predictor.decode_pool import DecodeJob, DecodePool
from predictor.entrance import Entrance
from predictor.errors import (
    DeadlineError,
    InferenceError,
    InstanceLostError,
    PredictorError,
    RefusedError,
)
from predictor.header import Header, describe
from predictor.links import Link, Links
from predictor.metrics import FrontendMetrics
from predictor.observation import ImageTimes
from predictor.queue_policy import Place, QueuePolicies
from predictor.slab import Channel, Completion, Outcome, Slab, Work
from predictor.slots import Slots
from predictor.stage_report import Attached
from predictor.ticket import Ticket
from predictor.types import Answer, BatchCost, Image

logger = logging.getLogger(__name__)

MAX_RUNS = 2  # an image that was in two batches that died or failed is not tried again
SWEEP_S = 0.25  # how late an expired request may be told, seconds


@dataclass(frozen=True, slots=True)
class Queueing:
    """What a dispatcher goes by.

    Attributes:
        policies: who goes first and may wait how long.
        preserve_ordering: answers leave in the order of acceptance.
        target: what the network takes.
    """

    policies: QueuePolicies
    preserve_ordering: bool
    target: ImageInput


class Dispatcher:
    """Owns a frontend's slab and everything in it.

    Args:
        slab: this frontend's slots.
        board: shared; see ``Links``.
        frontend: this frontend's number.
        pool: the decode threads.
        queueing: the rules.
        metrics: where to count.
        on_ready: called when an instance comes or goes.
    """

    def __init__(
        self,
        slab: Slab,
        board: NDArray[np.int64],
        frontend: int,
        pool: DecodePool,
        queueing: Queueing,
        metrics: FrontendMetrics,
        on_ready: Callable[[], None],
    ) -> None:
        self._slab = slab
        self._pool = pool
        self._queueing = queueing
        self.metrics = metrics
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._links = Links(board, frontend)
        self._decode_cost = DecodeCost(least_side(queueing.target), scaled=pool.scaled)
        self._slots = Slots(slab.layout.slots)
        self._entrance = Entrance(self._slots, self._links, pool, queueing.policies)
        self._coming = 0  # how many of them are not handed over yet
        self._in_order: deque[Ticket] = deque()  # those not answered, where order is preserved
        self._able = False
        self._waiting: list[Ticket] = []  # decoded while no instance was there
        self._decode_seconds = metrics.stage("decode")
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def learn_decoding(self, timings: Iterable[tuple[Header, float]]) -> None:
        """What decoding has cost elsewhere, so that the first requests can be predicted as well."""
        for header, seconds in timings:
            self._decode_cost.learn(header, seconds)

    # Admission

    def submit(self, images: Sequence[Image], place: Place) -> list[Ticket]:
        """Accept all of ``images`` and start decoding them, or refuse before anything is decoded.

        Raises:
            NotReadyError: no instance takes work.
            OverloadedError: not enough free slots, or not enough time by prediction.
            BadRequestError: more images than its priority level ever takes.
        """
        try:
            self._entrance.check_room(len(images), place.level)
            quick = self._pool.is_quick(images, self._queueing.target)
            tickets = [self._ticket(image, place, quick) for image in images]
            decode_s = [ticket.decode_s for ticket in tickets]
            predicted_s = self._entrance.check_time(place, decode_s)
        except RefusedError as refusal:
            self.count(refusal)
            raise
        if len(tickets) == 1:
            tickets[0].predicted_s = predicted_s
        for image, ticket in zip(images, tickets, strict=True):
            self._accept(image, ticket, quick)
        return tickets

    def foresee(self, place: Place) -> None:
        """Refuse a request before it is read, if even the smallest image would be refused.

        Raises:
            NotReadyError, OverloadedError: as ``submit``, but nothing is counted: another version
                may take it.
        """
        self._entrance.foresee(place)

    def count(self, refusal: RefusedError) -> None:
        """Count a request that was refused."""
        self.metrics.rejected(refusal.reason)

    def _ticket(self, image: Image, place: Place, quick: bool) -> Ticket:
        ticket = Ticket(
            number=0,
            slot=-1,
            place=place,
            future=self._loop.create_future(),
            times=ImageTimes(accepted_ns=place.accepted_ns),
        )
        if not (quick or isinstance(image, np.ndarray)):
            ticket.header = describe(image)
            ticket.decode_s = self._decode_cost.predict(ticket.header)
        return ticket

    def abandon(self, tickets: Sequence[Ticket]) -> None:
        """Nobody waits for these any more: drop what has not been computed yet."""
        for ticket in tickets:
            if not ticket.future.done():
                ticket.future.cancel()
            self._mark_abandoned(ticket)
        self._answer_in_order()

    def _mark_abandoned(self, ticket: Ticket) -> None:
        ticket.abandoned = True
        if ticket in self._slots:
            self._slab.abandoned[ticket.slot] = 1

    def _accept(self, image: Image, ticket: Ticket, quick: bool) -> None:
        slot = self._slots.take(ticket)
        self._slab.abandoned[slot] = 0
        self._count_coming(1)
        self._pool.backlog.add(ticket.decode_s)
        if self._queueing.preserve_ordering:
            ticket.ordered = True
            self._in_order.append(ticket)
        self._pool.submit(
            DecodeJob(
                image=image,
                target=self._queueing.target,
                slot=self._slab.pixels[slot],
                key=ticket.place.key,
                wanted=lambda: not ticket.abandoned,
                done=lambda error, began_ns, ended_ns: self._decoded(
                    ticket, error, began_ns, ended_ns
                ),
            ),
            quick=quick,
        )

    def _count_coming(self, change: int) -> None:
        self._coming += change
        self._links.coming(self._coming)

    # From decoded to an instance

    def _decoded(
        self, ticket: Ticket, error: PredictorError | None, began_ns: int, ended_ns: int
    ) -> None:
        seconds = (ended_ns - began_ns) / 1e9
        ticket.times.decode_began_ns = began_ns
        ticket.times.decoded_ns = ended_ns
        self._decode_seconds.observe(seconds)
        self._pool.backlog.remove(ticket.decode_s)
        if ticket.abandoned or error is not None:
            self._finish(ticket, error)
            return
        if ticket.header is not None:
            self._decode_cost.learn(ticket.header, seconds)
        self._hand_over(ticket)

    def _hand_over(self, ticket: Ticket) -> None:
        if not self._links:
            self._waiting.append(ticket)  # bounded by the slots; swept when their deadline passes
            return
        place = ticket.place
        work = Work(
            ticket.slot,
            ticket.number,
            place.level,
            place.accepted_ns,
            time.monotonic_ns(),
            place.due_ns,
            place.deadline_ns,
        )
        self._slab.started[ticket.slot] = 0
        if not ticket.handed:
            ticket.handed = True
            self._count_coming(-1)
        self._links.hand(self._links.choose(ticket.failed_at), ticket, work)

    # From an instance to the answer

    def _receive(self, link: Link) -> None:
        completions = link.channel.receive_completions()
        if completions is None:
            self._detach(link)
            return
        for completion in completions:
            ticket = link.tickets.pop(completion.ticket, None)
            if ticket is not None:
                self._completed(link, ticket, completion)
        if completions:
            self._learn(link, completions[-1])
        self._links.count(link)

    def _learn(self, link: Link, completion: Completion) -> None:
        if completion.outcome is Outcome.DONE:
            measured_s = (completion.ended_ns - completion.began_ns) / 1e9
            link.scale.learn(link.cost.seconds(completion.size), measured_s)

    def _completed(self, link: Link, ticket: Ticket, completion: Completion) -> None:
        if completion.outcome is Outcome.DONE:
            times = ticket.times
            times.infer_began_ns, times.infer_ended_ns = completion.began_ns, completion.ended_ns
            times.collected_ns = time.monotonic_ns()
            took_s = (times.collected_ns - ticket.place.accepted_ns) / 1e9
            self._entrance.learn(ticket.predicted_s, took_s)
            self._finish(ticket, None)
        elif completion.outcome is Outcome.FAILED:
            ticket.failed_at = link.instance
            self._run_again(ticket, InferenceError("inference failed"))
        else:
            self._finish(ticket, DeadlineError("the deadline passed in the queue"))

    def _run_again(self, ticket: Ticket, error: PredictorError) -> None:
        # An image that was only queued there has done nothing wrong.
        ticket.runs += int(self._slab.started[ticket.slot])
        if ticket.abandoned or ticket.runs >= MAX_RUNS:
            self._finish(ticket, error)
        else:
            self._hand_over(ticket)

    def _finish(self, ticket: Ticket, error: PredictorError | None) -> None:
        """Nobody works on it any more: answer it, if it need not wait for its turn."""
        slot = ticket.slot
        if error is not None:
            ticket.outcome = error
        elif not ticket.future.done():
            indices, scores = self._slab.indices[slot].copy(), self._slab.scores[slot].copy()
            ticket.outcome = Answer(indices, scores, ticket.times)
        if not ticket.handed:
            self._count_coming(-1)
        ticket.finished = True
        if ticket.ordered:
            self._answer_in_order()
        else:
            self._answer(ticket)

    def _answer_in_order(self) -> None:
        """Answer those whose turn it is: nobody before them waits any more.

        Answers that wait for their turn keep their slots, which bounds how many there are.
        """
        while self._in_order and (self._in_order[0].finished or self._in_order[0].future.done()):
            first = self._in_order.popleft()
            first.ordered = False
            if first.finished:
                first.times.collected_ns = time.monotonic_ns()
                self._answer(first)

    def _answer(self, ticket: Ticket) -> None:
        """Answer, if somebody still waits, and take the slot back."""
        self._slots.give_back(ticket)
        if ticket.outcome is not None:
            ticket.answer(ticket.outcome)

    # Instances come and go

    def attach(self, instance: int, channel: Channel, cost: BatchCost) -> None:
        """An instance is ready: send it work, what waited for one first."""
        link = self._links.add(instance, channel, cost)
        self._loop.add_reader(channel.socket, self._receive, link)
        self.metrics.attached(instance, True)
        waiting, self._waiting = self._waiting, []
        for ticket in waiting:
            self._hand_over(ticket)
        self._look_who_is_able()

    def _detach(self, link: Link) -> None:
        """An instance is gone: what it had is run by another one, or by its successor."""
        self._loop.remove_reader(link.channel.socket)
        self._links.remove(link)
        if self._links.get(link.instance) is None:
            self.metrics.attached(link.instance, False)
            self.metrics.queue_depth(link.instance, 0)
        self._look_who_is_able()
        if link.tickets:
            logger.warning(
                "instance %d is gone; %d images go elsewhere", link.instance, len(link.tickets)
            )
        for ticket in link.tickets.values():
            self._run_again(ticket, InstanceLostError("the instance died on this image; try again"))

    def set_stalled(self, instance: int, stalled: bool) -> None:
        """An instance gives no signs of life, or does again."""
        link = self._links.get(instance)
        if link is not None:
            link.stalled = stalled
            self._look_who_is_able()

    def _look_who_is_able(self) -> None:
        if self._links.able != self._able:
            self._able = self._links.able
            self._on_ready()

    @property
    def able(self) -> bool:
        """Whether an instance takes work, and gives signs of life."""
        return self._able

    @property
    def busy(self) -> bool:
        """Whether anything that was accepted is not answered yet."""
        return len(self._slots) > 0

    @property
    def capacity(self) -> int:
        """Most images that can be accepted and not yet answered: the number of slots."""
        return self._slots.count

    def attached(self) -> tuple[dict[int, Attached], int]:
        """The instances that take work, by number, and how many images are on their way to any."""
        loads, coming = self._links.board()
        return {
            link.instance: Attached(link.cost, loads[link.instance])
            for link in self._links
            if not link.stalled
        }, coming

    def batch_sizes(self) -> list[int]:
        """The preferred batch sizes of the attached instances, without repetition."""
        return sorted({size for link in self._links for size in link.cost.preferred_batch_sizes})

    def admit(self, admitting: bool) -> None:
        """Take new images, or refuse them while those that were accepted are finished."""
        self._entrance.open = admitting

    async def settled(self) -> None:
        """Wait until everything accepted has been answered."""
        while waiting := [t.future for t in self._slots if not t.future.done()]:
            await asyncio.wait(waiting)

    def _sweep(self) -> None:
        """Tell those whose deadline has passed; their slots come back when nobody works on them."""
        for link in self._links:
            self.metrics.queue_depth(link.instance, len(link.tickets))
        now = time.monotonic_ns()
        for ticket in self._slots:
            if ticket.place.deadline_ns <= now and not ticket.future.done():
                ticket.answer(DeadlineError("no answer before the deadline"))
                self._mark_abandoned(ticket)
        self._answer_in_order()
        for ticket in [waiting for waiting in self._waiting if waiting.abandoned]:
            self._waiting.remove(ticket)
            self._finish(ticket, None)
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def close(self) -> None:
        """Let go of the instances and the timer."""
        self._sweeper.cancel()
        for link in list(self._links):
            self._loop.remove_reader(link.channel.socket)
            self._links.remove(link)
