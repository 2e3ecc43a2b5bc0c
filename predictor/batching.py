"""What goes into the next batch. Knows no images, no processes and no clock of its own."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from predictor.queue_policy import US, order_key

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """How batches are formed.

    Attributes:
        max_batch_size: most images in one.
        max_queue_delay_us: how long a batch may be held open for more.
        preferred_batch_sizes: sizes that are not held open.
        priority_levels: how many there are; the last goes last.
        priority_step_us: see ``queue_policy.order_key``.
    """

    max_batch_size: int
    max_queue_delay_us: int = 0
    preferred_batch_sizes: tuple[int, ...] = ()
    priority_levels: int = 1
    priority_step_us: int = 0


@dataclass(frozen=True, slots=True)
class Queued(Generic[Item]):
    """One image that waits. Times are nanoseconds of the caller's clock; level 1 goes first.

    When ``due_ns`` passes before ``deadline_ns`` does, the image goes on waiting as if it had just
    come, with the lowest priority.
    """

    item: Item
    accepted_ns: int
    due_ns: int
    deadline_ns: int
    level: int = 1


@dataclass(frozen=True, slots=True)
class Taken(Generic[Item]):
    """What left the queue: images to compute, and images whose deadline has passed."""

    batch: list[Queued[Item]]
    expired: list[Queued[Item]]


class BatchQueue(Generic[Item]):
    """Work-conserving batching: a free device takes what waits, up to ``max_batch_size``.

    ``max_queue_delay_us`` may hold a batch that is neither full nor of a preferred size, counted
    from the moment its oldest image was queued. Images leave in the order of ``order_key``. The
    queue itself needs no bound: every image in it holds a slot of a slab, and slabs are bounded.
    """

    def __init__(self, policy: BatchPolicy) -> None:
        self._policy = policy
        self._heap: list[tuple[int, int, Queued[Item]]] = []
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def max_batch_size(self) -> int:
        """Most images in one batch."""
        return self._policy.max_batch_size

    def limit(self, max_batch_size: int) -> None:
        """Form no larger batches from now on."""
        self._policy = replace(self._policy, max_batch_size=max_batch_size)

    def put(self, queued: Queued[Item]) -> None:
        """Let one image wait."""
        self._push(
            order_key(queued.accepted_ns, queued.level, self._policy.priority_step_us), queued
        )

    def _push(self, key: int, queued: Queued[Item]) -> None:
        heapq.heappush(self._heap, (key, self._arrivals, queued))
        self._arrivals += 1

    def take(self, now_ns: int, room: int | None = None) -> Taken[Item]:
        """Remove the images that go next, at most ``room`` (default: a whole batch).

        Expired images met on the way come back apart: they take no room and are not computed.
        """
        room = self.max_batch_size if room is None else room
        taken: Taken[Item] = Taken([], [])
        while self._heap and len(taken.batch) < room:
            queued = heapq.heappop(self._heap)[2]
            if queued.deadline_ns <= now_ns:
                taken.expired.append(queued)
            elif queued.due_ns <= now_ns:
                self._delay(queued, now_ns)
            else:
                taken.batch.append(queued)
        return taken

    def _delay(self, queued: Queued[Item], now_ns: int) -> None:
        """Put an image behind all that came in time; once, so that it does not starve."""
        levels, step_us = self._policy.priority_levels, self._policy.priority_step_us
        late = replace(queued, due_ns=queued.deadline_ns)
        self._push(order_key(now_ns, levels, step_us), late)

    def due_ns(self, gathered: int, oldest_ns: int) -> int:
        """When a batch of ``gathered`` images, the first queued at ``oldest_ns``, may start."""
        policy = self._policy
        if gathered >= policy.max_batch_size or gathered in policy.preferred_batch_sizes:
            return oldest_ns
        return oldest_ns + policy.max_queue_delay_us * US
