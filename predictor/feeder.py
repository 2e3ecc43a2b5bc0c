"""The feeder of an instance: receives slot numbers, queues them, copies pixels into the next batch.

It runs in a thread beside the one that runs the model: while the device works on one buffer, the
other one is filled. All state is behind one lock that is held for a copy at most.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from predictor.batch_run import Part
from predictor.batching import BatchPolicy, BatchQueue, Queued
from predictor.control import Control, Message
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
    oldest_ns: int = 0
    copy_ns: int = 0
    began_ns: int = 0  # set by whoever runs it, as is the end
    ended_ns: int = 0

    @property
    def images(self) -> NDArray[np.uint8]:
        """The gathered part of the buffer: uint8 (n, H, W, 3)."""
        return self.buffer[: len(self.items)]

    def add(self, item: Item) -> None:
        """Copy one image out of its slot."""
        began = time.monotonic_ns()
        slab, slot = item.peer.slab, item.work.slot
        slab.started[slot] = 1
        self.buffer[len(self.items)] = slab.pixels[slot]
        queued_ns = item.work.queued_ns
        self.oldest_ns = min(self.oldest_ns, queued_ns) if self.items else queued_ns
        self.items.append(item)
        self.copy_ns += time.monotonic_ns() - began


class Feeder:
    """Keeps the next batch ready for the thread that runs the model.

    ``next_batch`` and ``complete`` belong to that thread; everything else happens in the feeder's.
    """

    def __init__(
        self,
        control: Control,
        shape: tuple[int, int, int],
        policy: BatchPolicy,
        on_drop: Callable[[Outcome], None],
    ) -> None:
        self._on_drop = on_drop
        self._control = control
        self._queue: BatchQueue[Item] = BatchQueue(policy)
        self._gathering = Batch(np.zeros((policy.max_batch_size, *shape), np.uint8))
        self._spare = np.zeros((policy.max_batch_size, *shape), np.uint8)
        self._ready = threading.Condition()
        self._stopping = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def __enter__(self) -> Feeder:
        self._selector.register(self._control.socket, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._ready:
            self._stopping = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()

    def next_batch(self) -> Batch | None:
        """Wait for a batch that may start; None once the supervisor said stop and all is done."""
        with self._ready:
            while (wait_s := self._seconds_to_start()) != 0.0:
                if self._stopping:
                    return None
                self._ready.wait(wait_s)
            batch = self._gathering
            self._gathering = Batch(self._spare)
            self._spare = batch.buffer  # free again when this batch has been completed
        if len(batch.items) >= self._queue.max_batch_size:
            os.eventfd_write(self._wake, 1)  # more may wait than fitted
        return batch

    def shrink(self, max_batch_size: int) -> None:
        """Gather no larger batches from now on: the device has no memory for them."""
        with self._ready:
            self._queue.shrink(max_batch_size)

    def complete(self, batch: Batch, part: Part) -> None:
        """Write a part's answers into their slots and tell the frontends."""
        by_peer: dict[Peer, list[Completion]] = {}
        outcome = Outcome.FAILED if part.answers is None else Outcome.DONE
        size = part.rows.stop - part.rows.start
        for row, item in enumerate(batch.items[part.rows]):
            if part.answers is not None:
                item.peer.slab.indices[item.work.slot] = part.answers.indices[row]
                item.peer.slab.scores[item.work.slot] = part.answers.scores[row]
            done = Completion(
                item.work.slot, item.work.ticket, outcome, size, part.began_ns, part.ended_ns
            )
            by_peer.setdefault(item.peer, []).append(done)
        with self._ready:
            for peer, completions in by_peer.items():
                self._post(peer, completions)

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
                self._flush()
                if self._stopping:
                    self._ready.notify()
                    return

    def _obey(self) -> None:
        message = self._control.receive()
        if message is None or message.kind == "stop":
            with self._ready:
                self._stopping = True
        elif message.kind == "attach":
            self._attach(message)

    def _attach(self, message: Message) -> None:
        connection, slab = message.fds
        peer = Peer(
            Channel(socket.socket(fileno=connection)),
            Slab(slab, SlabLayout(**message.content["layout"])),
        )
        os.close(slab)  # the mapping keeps the memory
        self._selector.register(peer.channel.socket, selectors.EVENT_READ, peer)

    def _receive(self, peer: Peer) -> None:
        works = peer.channel.receive_work()
        if works is None:  # the frontend is gone, and everybody who waited there with it
            with self._ready:
                self._selector.unregister(peer.channel.socket)
                peer.channel.close()
            return
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

    def _gather(self) -> None:
        """Fill the gathering batch from the queue; called with the lock held."""
        while len(self._queue) and len(self._gathering.items) < self._queue.max_batch_size:
            room = self._queue.max_batch_size - len(self._gathering.items)
            taken = self._queue.take(time.monotonic_ns(), room)
            for queued in taken.expired:
                self._drop(queued.item, Outcome.EXPIRED)
            for queued in taken.batch:
                if queued.item.peer.gone:
                    continue
                if queued.item.peer.slab.abandoned[queued.item.work.slot]:
                    self._drop(queued.item, Outcome.ABANDONED)
                else:
                    self._gathering.add(queued.item)
        if self._gathering.items:
            self._ready.notify()

    def _drop(self, item: Item, outcome: Outcome) -> None:
        self._on_drop(outcome)
        self._post(item.peer, [Completion(item.work.slot, item.work.ticket, outcome)])

    def _post(self, peer: Peer, completions: list[Completion]) -> None:
        if peer.gone:
            return
        if not peer.channel.send_completions(completions):
            os.eventfd_write(self._wake, 1)  # let the feeder wait until the peer reads again

    def _flush(self) -> None:
        """Send what frontends had no room for, and ask to be woken while some is left."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Peer):
                wanted = selectors.EVENT_READ
                if not key.data.channel.flush():
                    wanted |= selectors.EVENT_WRITE
                if key.events != wanted:
                    self._selector.modify(key.fileobj, wanted, key.data)
