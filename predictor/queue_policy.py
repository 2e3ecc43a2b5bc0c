"""Who goes first and who may wait how long: priority levels and the policy of each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pydantic
from pydantic import Field

US = 1000  # ns


def order_key(accepted_ns: int, level: int, step_us: int) -> int:
    """Where an image stands in every queue of the pod: the least goes first.

    An image of the next lower level counts as accepted ``step_us`` later. So higher levels go
    first, and nobody starves: an image of level n waits at most (n - 1) steps longer than one of
    level 1 that was accepted with it. Within a level the order is that of acceptance, over all
    frontends.
    """
    return accepted_ns + (level - 1) * step_us * US


class QueuePolicy(pydantic.BaseModel):
    """The policy of one priority level, in the words of Triton's ModelQueuePolicy."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    max_queue_size: int = Field(default=0, ge=0)  # images of this level per frontend; 0: all slots
    default_timeout_us: int = Field(default=0, ge=0)  # 0: request_timeout_s
    timeout_action: Literal["reject", "delay"] = "reject"
    allow_timeout_override: bool = True  # by the request's timeout parameter, downwards only


@dataclass(frozen=True, slots=True)
class Place:
    """How one request stands in the queues. Times are nanoseconds of one clock.

    Attributes:
        level: of its priority; 1 goes first.
        accepted_ns: when it was accepted.
        due_ns: when its time in the queue is over; with ``delay`` it then goes last.
        deadline_ns: when nobody waits for its answer any more.
        key: its ``order_key``.
    """

    level: int
    accepted_ns: int
    due_ns: int
    deadline_ns: int
    key: int


class QueuePolicies:
    """The policies of all levels.

    Args:
        levels: how many priority levels there are.
        default_level: of a request that states none, or one that is not; 0: the middle one.
        step_us: see ``order_key``.
        policies: by level; the others have Triton's defaults.
        timeout_us: the longest any request may take.
        slots: images a frontend has room for.
    """

    def __init__(
        self,
        levels: int,
        default_level: int,
        step_us: int,
        policies: Mapping[int, QueuePolicy],
        timeout_us: int,
        slots: int,
    ) -> None:
        self.levels = levels
        self.default_level = default_level or (levels + 1) // 2
        self.step_us = step_us
        self.of_level = {
            level: policies.get(level, QueuePolicy()) for level in range(1, levels + 1)
        }
        self._timeout_us = timeout_us
        self._room = {
            level: policy.max_queue_size or slots for level, policy in self.of_level.items()
        }

    def level(self, priority: int) -> int:
        """The level of a request's priority; as Triton, the default one for 0 or too high."""
        return priority if 1 <= priority <= self.levels else self.default_level

    def room(self, level: int) -> int:
        """Most images of a level that one frontend has accepted and not answered."""
        return self._room[level]

    def place(
        self, now_ns: int, priority: int, timeout_us: int | None, limit_us: int | None
    ) -> Place:
        """Where a request stands that is accepted now.

        Args:
            now_ns: the time.
            priority: as the request states it; 0: none.
            timeout_us: its ``timeout`` parameter: how long it may be queued.
            limit_us: how long its client waits at all: a gRPC deadline, or a header.
        """
        level = self.level(priority)
        policy = self.of_level[level]
        longest_us = self._timeout_us if limit_us is None else min(limit_us, self._timeout_us)
        queued_us = policy.default_timeout_us or self._timeout_us
        if timeout_us and policy.allow_timeout_override:
            queued_us = min(queued_us, timeout_us)
        due_ns = now_ns + min(queued_us, longest_us) * US
        delayed = policy.timeout_action == "delay"
        return Place(
            level,
            now_ns,
            due_ns,
            now_ns + longest_us * US if delayed else due_ns,
            order_key(now_ns, level, self.step_us),
        )
