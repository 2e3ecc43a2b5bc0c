"""The feeder of an instance: receives slot numbers, queues them, copies pixels into the next batch.

It runs in a thread beside the one that runs the model: while the device works on one buffer, the
other one is filled. What is queued and gathered is behind one lock, what is posted behind another,
so that answers do not wait while images are copied.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from predictor.batch_run import Part
from predictor.batching import BatchPolicy, BatchQueue, Queued
from predictor.control import Control, Message
from predictor.frontend_work import thread_clock
from predictor.runtimes import Memory
from predictor.slab import Channel, Completion, Outcome, Slab, SlabLayout, Work

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Peer:
    """One attached frontend."""

    channel: Channel
    slab: Slab

    @property
    def gone(self) -> bool:
        """Whether it has died, and nobody there waits any more."""
        return self.channel.socket.fileno() < 0


@dataclass(frozen=True, slots=True)
class Item:
    """One image in the queue, and who wants its answer."""

    peer: Peer
    work: Work


@dataclass(slots=True)
class Batch:
    """One batch, gathered into its own buffer."""

    buffer: NDArray[np.uint8]  # (max_batch_size, H, W, 3)
    items: list[Item] = field(default_factory=list)
    copy_ns: int = 0
    began_ns: int = 0
    ended_ns: int = 0  # set by whoever runs it

    @property
    def images(self) -> NDArray[np.uint8]:
        """The gathered part of the buffer: uint8 (n, H, W, 3)."""
        return self.buffer[: len(self.items)]

    @property
    def oldest_ns(self) -> int:
        """When the first of its images was handed over; there is one at least."""
        return min(item.work.queued_ns for item in self.items)

    def add(self, item: Item) -> None:
        """Copy one image out of its slot."""
        began = time.monotonic_ns()
        self.buffer[len(self.items)] = item.peer.slab.pixels[item.work.slot]
        self.items.append(item)
        self.copy_ns += time.monotonic_ns() - began

    def leave_out(self, places: Sequence[int]) -> None:
        """Take images out again; the last ones move to their places."""
        for place in sorted(places, reverse=True):
            last = self.items.pop()
            if place < len(self.items):
                self.items[place] = last
                self.buffer[place] = self.buffer[len(self.items)]

    def begin(self) -> None:
        """From now on its images are in a batch, and to blame if that ends the process."""
        for item in self.items:
            item.peer.slab.started[item.work.slot] = 1
        self.began_ns = time.monotonic_ns()


class Feeder:
    """Keeps the next batch ready for the thread that runs the model.

    ``next_batch``, ``limit`` and ``complete`` belong to that thread; everything else happens in the
    feeder's.

    Args:
        control: of the supervisor.
        shape: (H, W, 3) of an image.
        policy: how batches are formed.
        memory: where they are gathered.
        on_drop: told of every image that is not computed.
    """

    def __init__(
        self,
        control: Control,
        shape: tuple[int, int, int],
        policy: BatchPolicy,
        memory: Memory,
        on_drop: Callable[[Outcome], None],
    ) -> None:
        self._on_drop = on_drop
        self._control = control
        self._queue: BatchQueue[Item] = BatchQueue(policy)
        self._memory = memory
        self._gathering = Batch(memory.allocate((policy.max_batch_size, *shape)))
        self._spare = memory.allocate((policy.max_batch_size, *shape))
        self._ready = threading.Condition()
        self._posting = threading.Lock()
        self._stopping = False  # what is queued is still computed
        self._done = False  # nothing is left to be computed
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def __enter__(self) -> Feeder:
        self._selector.register(self._control.socket, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread.start()
        self._clock = thread_clock(self._thread.ident)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        for peer in self._peers():
            peer.channel.close()
        self._selector.close()
        os.close(self._wake)

    def next_batch(self) -> Batch | None:
        """Wait for a batch that may start; None once the supervisor said stop and all is done."""
        with self._ready:
            while True:
                while (wait_s := self._seconds_to_start()) != 0.0:
                    if self._stopping and not len(self._queue):
                        return None
                    self._ready.wait(wait_s)
                # They were gathered while the batch before ran; meanwhile time went by.
                if not self._drop_unwanted():
                    break
                self._gather()
            batch = self._gathering
            batch.begin()
            self._gathering = Batch(self._spare)
            self._spare = batch.buffer  # free again when this batch has been completed
            more = len(self._queue) > 0  # waits than fitted
        if more:
            os.eventfd_write(self._wake, 1)
        return batch

    def cpu_ns(self) -> int:
        """CPU time of the feeder's own thread so far."""
        return self._clock()

    def limit(self, max_batch_size: int) -> None:
        """Gather no larger batches from now on: the device has no memory for them."""
        with self._ready:
            self._queue.limit(max_batch_size)

    def complete(self, batch: Batch, part: Part) -> None:
        """Write a part's answers into their slots and tell the frontends."""
        rows_of: dict[Peer, list[int]] = {}
        items = batch.items[part.rows]
        for row, item in enumerate(items):
            rows_of.setdefault(item.peer, []).append(row)
        outcome = Outcome.FAILED if part.answers is None else Outcome.DONE
        ran = len(items), part.began_ns, part.ended_ns
        for peer, rows in rows_of.items():
            works = [items[row].work for row in rows]
            if part.answers is not None:
                slots = [work.slot for work in works]
                peer.slab.indices[slots] = part.answers.indices[rows]
                peer.slab.scores[slots] = part.answers.scores[rows]
            self._post(peer, [Completion(work.slot, work.ticket, outcome, *ran) for work in works])

    def _seconds_to_start(self) -> float | None:
        """How long the gathered batch must still be held; None while nothing is gathered."""
        gathered = len(self._gathering.items)
        if gathered == 0:
            return None
        due_ns = self._queue.due_ns(gathered, self._gathering.oldest_ns)
        return 0.0 if self._stopping else max(0, due_ns - time.monotonic_ns()) / 1e9

    def _run(self) -> None:
        """Feed until told to stop; without a feeder the process is of no use to anybody."""
        try:
            self._feed()
        except Exception:
            logger.exception("the feeder failed; this instance ends")
            os._exit(1)

    def _feed(self) -> None:
        while True:
            for key, events in self._selector.select():
                if key.fileobj is self._control.socket:
                    self._obey()
                elif key.fileobj == self._wake:
                    os.eventfd_read(self._wake)
                elif events & selectors.EVENT_READ:
                    self._receive(key.data)
            with self._ready:
                self._gather()
            if self._flush() and self._done:
                return

    def _obey(self) -> None:
        message = self._control.receive()
        if message is None or message.kind == "stop":
            for peer in self._peers():
                while self._receive(peer):  # what was sent before
                    pass
            with self._ready:
                self._stopping = True
                self._ready.notify()
            self._selector.unregister(self._control.socket)
        elif message.kind == "attach":
            self._attach(message)

    def _peers(self) -> list[Peer]:
        """The frontends that are attached."""
        keys = self._selector.get_map().values()
        return [key.data for key in keys if isinstance(key.data, Peer)]

    def _attach(self, message: Message) -> None:
        connection, slab = message.fds
        peer = Peer(
            Channel(socket.socket(fileno=connection)),
            Slab(slab, SlabLayout(**message.content["layout"])),
        )
        os.close(slab)  # the mapping keeps the memory
        self._selector.register(peer.channel.socket, selectors.EVENT_READ, peer)

    def _receive(self, peer: Peer) -> bool:
        """Queue what a frontend has sent in one packet; False where there is none."""
        if peer.gone:
            return False
        works = peer.channel.receive_work()
        if works is None:  # the frontend is gone, and everybody who waited there with it
            with self._ready, self._posting:
                self._selector.unregister(peer.channel.socket)
                peer.channel.close()
            return False
        with self._ready:
            for work in works:
                self._queue.put(
                    Queued(
                        Item(peer, work),
                        work.accepted_ns,
                        work.due_ns,
                        work.deadline_ns,
                        work.level,
                    )
                )
        return bool(works)

    def _drop_unwanted(self) -> bool:
        """Take out what nobody waits for any more; True if there was any. With the lock held."""
        batch, now_ns = self._gathering, time.monotonic_ns()
        drops = {
            place: outcome
            for place, item in enumerate(batch.items)
            if (outcome := _unwanted(item, now_ns)) is not None
        }
        for place, outcome in drops.items():
            self._drop(batch.items[place], outcome)
        batch.leave_out(list(drops))
        if drops and batch.items:
            self._memory.ahead(batch.buffer, min(drops), len(batch.items))
        return bool(drops)

    def _gather(self) -> None:
        """Fill the gathering batch from the queue; called with the lock held."""
        before = len(self._gathering.items)
        while len(self._queue) and len(self._gathering.items) < self._queue.max_batch_size:
            room = self._queue.max_batch_size - len(self._gathering.items)
            taken = self._queue.take(time.monotonic_ns(), room)
            for queued in taken.expired:
                self._drop(queued.item, Outcome.EXPIRED)
            for queued in taken.batch:
                outcome = _unwanted(queued.item, 0)
                if outcome is None:
                    self._gathering.add(queued.item)
                else:
                    self._drop(queued.item, outcome)
        if len(self._gathering.items) > before:
            self._memory.ahead(self._gathering.buffer, before, len(self._gathering.items))
        if len(self._gathering.items) > before or self._stopping:
            self._ready.notify()

    def _drop(self, item: Item, outcome: Outcome) -> None:
        self._on_drop(outcome)
        self._post(item.peer, [Completion(item.work.slot, item.work.ticket, outcome)])

    def _post(self, peer: Peer, completions: list[Completion]) -> None:
        with self._posting:
            sent = peer.gone or peer.channel.send_completions(completions)
        if not sent:
            os.eventfd_write(self._wake, 1)  # let the feeder wait until the peer reads again

    def _flush(self) -> bool:
        """Send what frontends had no room for, and ask to be woken while some is left.

        Returns:
            Whether nothing is left.
        """
        empty = True
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Peer):
                with self._posting:
                    sent = key.data.channel.flush()
                empty = empty and sent
                wanted = selectors.EVENT_READ | (0 if sent else selectors.EVENT_WRITE)
                if key.events != wanted:
                    self._selector.modify(key.fileobj, wanted, key.data)
        return empty


def _unwanted(item: Item, now_ns: int) -> Outcome | None:
    """Why an image is not to be computed; None if it is."""
    if item.peer.gone or item.peer.slab.abandoned[item.work.slot]:
        return Outcome.ABANDONED
    return Outcome.EXPIRED if item.work.deadline_ns <= now_ns else None
