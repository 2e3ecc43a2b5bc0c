"""What goes into the next batch. Knows no images, no processes and no clock of its own."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Queued(Generic[Item]):
    """One image that waits. Times are nanoseconds of the caller's clock; priority 0 goes first."""

    item: Item
    queued_ns: int
    deadline_ns: int
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Taken(Generic[Item]):
    """What left the queue: images to compute, and images whose deadline has passed."""

    batch: list[Queued[Item]]
    expired: list[Queued[Item]]


class BatchQueue(Generic[Item]):
    """Work-conserving batching: a free device takes what waits, up to ``max_batch_size``.

    ``max_queue_delay_us`` may hold a batch that is not full, counted from the moment its oldest
    image was queued. Images leave in order of priority, then of arrival. The queue itself needs no
    bound: every image in it holds a slot of a slab, and slabs are bounded.
    """

    def __init__(self, max_batch_size: int, max_queue_delay_us: int = 0) -> None:
        self._max_batch_size = max_batch_size
        self._max_delay_ns = max_queue_delay_us * 1000
        self._heap: list[tuple[int, int, Queued[Item]]] = []
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, queued: Queued[Item]) -> None:
        """Let one image wait."""
        heapq.heappush(self._heap, (queued.priority, self._arrivals, queued))
        self._arrivals += 1

    def take(self, now_ns: int, room: int | None = None) -> Taken[Item]:
        """Remove the images that go next, at most ``room`` (default: a whole batch).

        Expired images met on the way come back apart: they take no room and are not computed.
        """
        room = self._max_batch_size if room is None else room
        taken: Taken[Item] = Taken([], [])
        while self._heap and len(taken.batch) < room:
            queued = heapq.heappop(self._heap)[2]
            target = taken.expired if queued.deadline_ns <= now_ns else taken.batch
            target.append(queued)
        return taken

    def due_ns(self, gathered: int, oldest_ns: int) -> int:
        """When a batch of ``gathered`` images, the first queued at ``oldest_ns``, may start."""
        if gathered >= self._max_batch_size:
            return oldest_ns
        return oldest_ns + self._max_delay_ns
