"""A dispatcher, and instances that the test plays."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from predictor.decode_pool import DecodePool
from predictor.dispatch import Dispatcher, Queueing
from predictor.metrics import FrontendMetrics
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


def with_rig(scene: Callable[[Rig], Awaitable[None]], **rules: Any) -> None:
    """Run a scene on an event loop with a rig, and check that no slot leaked."""

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
