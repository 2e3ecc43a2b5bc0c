"""Which instance takes an image, and where every accepted image is until it is answered.

All of it lives on one event loop and needs no lock. An image moves one way:
``submit`` → decoded → handed to an instance → completed; each step is a method below, in order.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model_store.package import ImageInput
from predictor.decode_pool import DecodeJob, DecodePool
from predictor.errors import (
    DeadlineError,
    InferenceError,
    InstanceLostError,
    NotReadyError,
    OverloadedError,
    PredictorError,
)
from predictor.metrics import FrontendMetrics
from predictor.observation import ImageTimes
from predictor.slab import Channel, Completion, Outcome, Slab, Work
from predictor.types import Answer, BatchCost, Image

logger = logging.getLogger(__name__)

MAX_RUNS = 2  # an image that was in two batches that died or failed is not tried again
SWEEP_S = 0.25  # how late an expired request may be told, seconds


@dataclass(slots=True, eq=False)
class Ticket:
    """One accepted image, from admission to its answer."""

    number: int
    slot: int
    deadline_ns: int
    priority: int
    future: asyncio.Future[Answer]
    times: ImageTimes
    runs: int = 0
    abandoned: bool = False


@dataclass(slots=True, eq=False)
class Link:
    """One attached instance, as this frontend sees it."""

    channel: Channel
    cost: BatchCost
    tickets: dict[int, Ticket] = field(default_factory=dict)
    unsent: list[Work] = field(default_factory=list)


def earliest_finish(outstanding: Sequence[int], costs: Sequence[BatchCost]) -> int:
    """The place of the instance that would finish one more image first.

    Predicted finish = seconds to work off what is outstanding there plus this image. Ties go to
    the instance with the fewest outstanding, then to the first.
    """
    return min(
        range(len(costs)),
        key=lambda place: (
            costs[place].seconds(outstanding[place] + 1),
            outstanding[place],
        ),
    )


class Dispatcher:
    """Owns a frontend's slab and everything in it.

    Args:
        slab: this frontend's slots.
        outstanding: int64 (instances, frontends), shared; this frontend writes column ``frontend``.
        frontend: this frontend's number.
        pool: the decode threads.
        target: what the network takes.
        metrics: where to count.
        on_ready: called with whether any instance takes work, whenever that changes.
    """

    def __init__(
        self,
        slab: Slab,
        outstanding: NDArray[np.int64],
        frontend: int,
        pool: DecodePool,
        target: ImageInput,
        metrics: FrontendMetrics,
        on_ready: Callable[[bool], None],
    ) -> None:
        self._slab = slab
        self._board = outstanding
        self._frontend = frontend
        self._pool = pool
        self._target = target
        self.metrics = metrics
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._free = list(range(slab.layout.slots))
        self._tickets: dict[int, Ticket] = {}  # every ticket whose slot is taken, by number
        self._links: dict[int, Link] = {}
        self._waiting: list[Ticket] = []  # decoded while no instance was there
        self._admitting = True
        self._next_number = 0
        self._decode_seconds = metrics.stage("decode")
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    # Admission

    def submit(self, images: Sequence[Image], deadline_ns: int, priority: int) -> list[Ticket]:
        """Accept all of ``images`` and start decoding them, or refuse before anything is decoded.

        Raises:
            NotReadyError: no instance takes work.
            OverloadedError: not enough free slots.
        """
        if not self._admitting:
            self.metrics.rejected("unloaded")
            raise NotReadyError("the model is unloaded")
        if not self._links:
            self.metrics.rejected("not_ready")
            raise NotReadyError("no instance is ready; try again")
        if len(images) > len(self._free):
            self.metrics.rejected("queue_full")
            raise OverloadedError(
                f"the queue is full: {len(images)} images wanted, "
                f"{len(self._free)} of {self._slab.layout.slots} slots free"
            )
        alone = len(images) == 1
        return [self._accept(image, deadline_ns, priority, alone) for image in images]

    def abandon(self, tickets: Sequence[Ticket]) -> None:
        """Nobody waits for these any more: drop what has not been computed yet."""
        for ticket in tickets:
            if not ticket.future.done():
                ticket.future.cancel()
            self._mark_abandoned(ticket)

    def _mark_abandoned(self, ticket: Ticket) -> None:
        ticket.abandoned = True
        if ticket.number in self._tickets:
            self._slab.abandoned[ticket.slot] = 1

    def _accept(self, image: Image, deadline_ns: int, priority: int, alone: bool) -> Ticket:
        slot = self._free.pop()
        self._slab.abandoned[slot] = 0
        number = self._next_number = (self._next_number + 1) & 0xFFFFFFFF
        times = ImageTimes(accepted_ns=time.monotonic_ns())
        ticket = Ticket(number, slot, deadline_ns, priority, self._loop.create_future(), times)
        self._tickets[number] = ticket
        self._pool.submit(
            DecodeJob(
                image=image,
                target=self._target,
                slot=self._slab.pixels[slot],
                wanted=lambda: not ticket.abandoned,
                done=lambda error, began_ns, ended_ns: self._decoded(
                    ticket, error, began_ns, ended_ns
                ),
            ),
            alone=alone,
        )
        return ticket

    # From decoded to an instance

    def _decoded(
        self, ticket: Ticket, error: PredictorError | None, began_ns: int, ended_ns: int
    ) -> None:
        ticket.times.decode_began_ns = began_ns
        ticket.times.decoded_ns = ended_ns
        self._decode_seconds.observe((ended_ns - began_ns) / 1e9)
        if error is not None or ticket.abandoned:
            self._finish(ticket, error)
        else:
            self._hand_over(ticket)

    def _hand_over(self, ticket: Ticket) -> None:
        if not self._links:
            self._waiting.append(ticket)  # bounded by the slots; swept when their deadline passes
            return
        instances = list(self._links)
        chosen = instances[0]
        if len(instances) > 1:
            everyone: list[list[int]] = self._board.tolist()
            costs = [self._links[instance].cost for instance in instances]
            load = [sum(everyone[instance]) for instance in instances]
            chosen = instances[earliest_finish(load, costs)]
        link = self._links[chosen]
        now_ns = time.monotonic_ns()
        work = Work(ticket.slot, ticket.number, now_ns, ticket.deadline_ns, ticket.priority)
        self._slab.started[ticket.slot] = 0
        link.tickets[ticket.number] = ticket
        self._board[chosen, self._frontend] = len(link.tickets)
        if not link.unsent:
            self._loop.call_soon(self._send, link)
        link.unsent.append(work)

    def _send(self, link: Link) -> None:
        """Send what one turn of the event loop has gathered: one packet, one awakening there."""
        works, link.unsent = link.unsent, []
        if link.channel.socket.fileno() >= 0 and not link.channel.send_work(works):
            self._loop.add_writer(link.channel.socket, self._flush, link.channel)

    def _flush(self, channel: Channel) -> None:
        if channel.flush():
            self._loop.remove_writer(channel.socket)

    # From an instance to the answer

    def _receive(self, instance: int, link: Link) -> None:
        completions = link.channel.receive_completions()
        if completions is None:
            self._detach(instance, link)
            return
        for completion in completions:
            ticket = link.tickets.pop(completion.ticket, None)
            if ticket is not None:
                self._completed(ticket, completion)
        self._board[instance, self._frontend] = len(link.tickets)

    def _completed(self, ticket: Ticket, completion: Completion) -> None:
        if completion.outcome is Outcome.DONE:
            times = ticket.times
            times.infer_began_ns, times.infer_ended_ns = completion.began_ns, completion.ended_ns
            times.collected_ns = time.monotonic_ns()
            self._finish(ticket, None)
        elif completion.outcome is Outcome.FAILED:
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
        """Answer, if somebody still waits, and take the slot back."""
        slot = ticket.slot
        if not ticket.future.done():
            if error is not None:
                ticket.future.set_exception(error)
            else:
                indices, scores = self._slab.indices[slot].copy(), self._slab.scores[slot].copy()
                ticket.future.set_result(Answer(indices, scores, ticket.times))
        del self._tickets[ticket.number]
        self._free.append(slot)

    # Instances come and go

    def attach(self, instance: int, channel: Channel, cost: BatchCost) -> None:
        """An instance is ready: send it work, what waited for one first."""
        self._board[instance, self._frontend] = 0  # whatever a predecessor of ours had left there
        link = Link(channel, cost)
        self._links[instance] = link
        self._loop.add_reader(channel.socket, self._receive, instance, link)
        self.metrics.attached(instance, True)
        waiting, self._waiting = self._waiting, []
        for ticket in waiting:
            self._hand_over(ticket)
        self._on_ready(True)

    def _detach(self, instance: int, link: Link) -> None:
        """An instance is gone: what it had is run by another one, or by its successor."""
        self._loop.remove_reader(link.channel.socket)
        self._loop.remove_writer(link.channel.socket)
        link.channel.close()
        if self._links.get(instance) is link:
            del self._links[instance]
        self._board[instance, self._frontend] = 0
        self.metrics.attached(instance, False)
        self.metrics.queue_depth(instance, 0)
        self._on_ready(bool(self._links))
        if link.tickets:
            logger.warning(
                "instance %d is gone; %d images go elsewhere", instance, len(link.tickets)
            )
        for ticket in link.tickets.values():
            self._run_again(ticket, InstanceLostError("the instance died on this image; try again"))

    @property
    def capacity(self) -> int:
        """Most images that can be accepted and not yet answered: the number of slots."""
        return self._slab.layout.slots

    def batch_sizes(self) -> list[int]:
        """The largest batches of the attached instances, without repetition."""
        return sorted({link.cost.max_batch_size for link in self._links.values()})

    @property
    def attached(self) -> bool:
        """Whether an instance takes work."""
        return bool(self._links)

    def set_stalled(self, instance: int, stalled: bool) -> None:
        """TEMPORARY"""

    def admit(self, admitting: bool) -> None:
        """Take new images, or refuse them while those that were accepted are finished."""
        self._admitting = admitting

    async def settled(self) -> None:
        """Wait until everything accepted has been answered."""
        while waiting := [t.future for t in self._tickets.values() if not t.future.done()]:
            await asyncio.wait(waiting)

    @property
    def outstanding(self) -> int:
        """Images accepted and not yet answered."""
        return len(self._tickets)

    def _sweep(self) -> None:
        """Tell those whose deadline has passed; their slots come back when nobody works on them."""
        for instance, link in self._links.items():
            self.metrics.queue_depth(instance, len(link.tickets))
        now = time.monotonic_ns()
        for ticket in list(self._tickets.values()):
            if ticket.deadline_ns <= now and not ticket.future.done():
                ticket.future.set_exception(DeadlineError("no answer before the deadline"))
                self._mark_abandoned(ticket)
        for ticket in [waiting for waiting in self._waiting if waiting.abandoned]:
            self._waiting.remove(ticket)
            self._finish(ticket, None)
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    def close(self) -> None:
        """Let go of the instances and the timer."""
        self._sweeper.cancel()
        for link in self._links.values():
            self._loop.remove_reader(link.channel.socket)
            self._loop.remove_writer(link.channel.socket)
            link.channel.close()
        self._links.clear()
