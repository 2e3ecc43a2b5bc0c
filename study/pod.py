"""A pod as the simulator takes it."""

from __future__ import annotations

from dataclasses import dataclass

from predictor.queue_policy import QueuePolicy
from predictor.types import BatchCost

US = 1000  # ns


@dataclass(frozen=True, slots=True)
class Pod:
    """What is simulated.

    Attributes:
        costs: of each instance; what its batches take, and what dispatch knows of them.
        levels, step_us, policies: of the priorities.
        timeout_us: the longest any request may take.
        delay_us: how long a batch may be held open.
        admits: whether what cannot be in time is refused.
        frontends: how many there are.
        slots: images each of them has room for.
        decode_threads: of each frontend; 0: as many as there are images.
        loop_ns: what an image costs its frontend's event loop, all of HTTP included.
        handling_ns: what a batch costs its instance besides running it.
        message_ns: until what a frontend sends is at the instance, and the other way.
    """

    costs: tuple[BatchCost, ...]
    levels: int = 1
    step_us: int = 0
    policies: tuple[tuple[int, QueuePolicy], ...] = ()
    timeout_us: int = 10**12
    delay_us: int = 0
    admits: bool = False
    frontends: int = 1
    slots: int = 10**9
    decode_threads: int = 0
    loop_ns: int = 0
    handling_ns: int = 0
    message_ns: int = 0
