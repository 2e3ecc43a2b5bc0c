"""One instance of a simulated pod: it gathers the next batch while the one before it runs.

What goes into a batch, and when, is the predictor's own ``BatchQueue``; what is played here is what
``predictor/feeder.py`` and ``predictor/instance.py`` do around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from predictor.batching import BatchPolicy, BatchQueue, Queued
from predictor.types import BatchCost
from study.clock import ENDS, LOOKS, Clock
from study.request import Request

Waiting: TypeAlias = Queued[tuple[Request, int]]  # an image of that request, handed over then


class Witness(Protocol):
    """Who sees what an instance does."""

    def queued(self, instance: int, request: Request) -> None:
        """An image has come."""

    def gathered(self, instance: int, took: Sequence[Request], room: int) -> None:
        """Images went from the queue into the next batch, which has room for so many more."""

    def dropped(self, instance: int, request: Request) -> None:
        """An image expired before it was computed."""

    def began(self, instance: int, took: Sequence[Request], ended_ns: int) -> None:
        """A batch began."""


class Instance:
    """A device and the two threads that feed it.

    Args:
        clock: of the simulation.
        number: its own, within its pod.
        cost: what its batches take.
        policy: how they are formed.
        handling_ns: what a batch costs the instance besides, during which no other one runs.
        on_done: told of a batch that has ended.
        on_late: told of an image that expired.
        witness: who watches, if anybody does.
    """

    def __init__(
        self,
        clock: Clock,
        number: int,
        cost: BatchCost,
        policy: BatchPolicy,
        handling_ns: int,
        on_done: Callable[[int, list[Request]], None],
        on_late: Callable[[int, Request], None],
        witness: Witness | None = None,
    ) -> None:
        self._clock = clock
        self._number = number
        self._cost = cost
        self._held = policy.max_queue_delay_us > 0
        self._handling_ns = handling_ns
        self._on_done = on_done
        self._on_late = on_late
        self._witness = witness
        self._queue: BatchQueue[tuple[Request, int]] = BatchQueue(policy)
        self._gathering: list[Waiting] = []
        self._busy = False
        self._looking = False
        self._timer_ns = -1  # when a batch that is held open is looked at again
        self.batches = 0
        self._begun = 0
        self._running = 0
        self._worked_ns = 0
        self._ends_ns = 0
        self._took_ns = 1

    @property
    def busy_ns(self) -> int:
        """How long it has run batches by now."""
        return self._worked_ns - max(0, self._ends_ns - self._clock.now_ns)

    @property
    def computed(self) -> float:
        """How many images by now, with as much of a batch as has passed of its time."""
        left_ns = max(0, self._ends_ns - self._clock.now_ns)
        return self._begun - self._running * left_ns / self._took_ns

    def put(self, queued: Waiting, images: int = 1) -> None:
        """Images of one request have come."""
        for _ in range(images):
            self._queue.put(queued)
            if self._witness:
                self._witness.queued(self._number, queued.item[0])
        self._look_soon()

    def _look_soon(self) -> None:
        """Once all that comes at this moment has come."""
        has_room = len(self._gathering) < self._queue.max_batch_size
        if not self._looking and (has_room or not self._busy):
            self._looking = True
            self._clock.at(self._clock.now_ns, LOOKS, self._look, None)

    def _look(self, _: None) -> None:
        self._looking = False
        self._gather()
        if not self._busy:
            self._begin()

    def _gather(self) -> None:
        room = self._queue.max_batch_size - len(self._gathering)
        if not room or not len(self._queue):
            return
        now_ns = self._clock.now_ns
        taken = self._queue.take(now_ns, room)
        for queued in taken.batch:
            queued.item[0].gathered_ns = now_ns
        self._gathering += taken.batch
        if self._witness:
            took = [queued.item[0] for queued in (*taken.batch, *taken.expired)]
            self._witness.gathered(self._number, took, room - len(taken.batch))
        for queued in taken.expired:
            self._drop(queued)

    def _drop(self, queued: Waiting) -> None:
        if self._witness:
            self._witness.dropped(self._number, queued.item[0])
        self._on_late(self._number, queued.item[0])

    def _begin(self) -> None:
        """Begin a batch if one is due; what expired since it was gathered is not in it."""
        now_ns = self._clock.now_ns
        while self._gathering:
            if self._held and self._hold(now_ns):
                return
            late = [queued for queued in self._gathering if queued.deadline_ns <= now_ns]
            if not late:
                self._run([queued.item[0] for queued in self._gathering])
                return
            self._gathering = [each for each in self._gathering if each.deadline_ns > now_ns]
            for queued in late:
                self._drop(queued)
            self._gather()

    def _hold(self, now_ns: int) -> bool:
        """Whether what is gathered is still held open for more."""
        oldest_ns = min(queued.item[1] for queued in self._gathering)
        due_ns = self._queue.due_ns(len(self._gathering), oldest_ns)
        if due_ns > now_ns and due_ns != self._timer_ns:
            self._timer_ns = due_ns
            self._clock.at(due_ns, LOOKS, self._look, None)
        return due_ns > now_ns

    def _run(self, batch: list[Request]) -> None:
        now_ns = self._clock.now_ns
        took_ns = max(
            1, round(1e9 * (self._cost.per_batch_s + self._cost.per_image_s * len(batch)))
        )
        for request in batch:
            request.began_ns = now_ns
            request.ended_ns = now_ns + took_ns
        if self._witness:
            self._witness.began(self._number, batch, now_ns + took_ns)
        self.batches += 1
        self._begun += len(batch)
        self._running = len(batch)
        self._took_ns = took_ns
        self._worked_ns += took_ns
        self._ends_ns = now_ns + took_ns
        self._busy = True
        self._gathering = []
        self._clock.at(now_ns + took_ns, ENDS, self._ended, batch)
        self._gather()  # the next one, from what did not fit

    def _ended(self, batch: list[Request]) -> None:
        self._on_done(self._number, batch)
        if self._handling_ns:
            self._clock.at(self._clock.now_ns + self._handling_ns, ENDS, self._free, None)
        else:
            self._free(None)

    def _free(self, _: None) -> None:
        self._busy = False
        self._look_soon()
