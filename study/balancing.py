"""To which pod a gateway sends the next request."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Protocol


class Balancing(Protocol):
    """Chooses by the requests that this gateway has in flight at each pod."""

    def choose(self, active: Sequence[int]) -> int:
        """The place of one; there is one at least."""


class RoundRobin:
    """One after the other."""

    def __init__(self, _: random.Random) -> None:
        self._turn = -1

    def choose(self, active: Sequence[int]) -> int:
        """The one after the last one."""
        self._turn = (self._turn + 1) % len(active)
        return self._turn


class Random:
    """Any of them."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def choose(self, active: Sequence[int]) -> int:
        """Each as likely as any other."""
        return int(self._chance.random() * len(active))


class LeastRequest:
    """Of two that are drawn the one with fewer requests: Envoy's LEAST_REQUEST, choice_count 2.

    The draws are independent, so they may be of the same pod, as Envoy's are.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def choose(self, active: Sequence[int]) -> int:
        """The first of two equals."""
        one = int(self._chance.random() * len(active))
        other = int(self._chance.random() * len(active))
        return other if active[other] < active[one] else one


BALANCING: dict[str, Callable[[random.Random], Balancing]] = {
    "round_robin": RoundRobin,
    "random": Random,
    "least_request": LeastRequest,
}
