"""Those who ask a simulated gateway, and what they see."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from study.clock import COMES, Clock, S
from study.gateway import Gateway
from study.request import DONE, EXPIRED, LOST, REFUSED, Request

RETRY_NS = S  # after a refusal: the least that a Retry-After says


@dataclass(slots=True)
class Tally:
    """What clients saw from ``since_ns`` on, by the time of the answer.

    Attributes:
        images: that were answered.
        requests: by their outcome.
        latencies_s: of requests that were answered.
    """

    since_ns: int = 0
    images: int = 0
    requests: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys((DONE, EXPIRED, REFUSED, LOST), 0)
    )
    latencies_s: array[float] = field(default_factory=lambda: array("d"))

    def count(self, request: Request) -> None:
        """A client has its answer."""
        if request.answered_ns < self.since_ns:
            return
        self.requests[request.outcome] += 1
        if request.outcome == DONE:
            self.images += request.images
            self.latencies_s.append((request.answered_ns - request.sent_ns) / S)


class ClosedLoop:
    """So many clients, each of which asks again when it has its answer."""

    def __init__(self, clock: Clock, gateway: Gateway, clients: int, tally: Tally) -> None:
        self._clock = clock
        self._gateway = gateway
        self._tally = tally
        gateway.on_answer = self._answered
        for _ in range(clients):
            clock.at(0, COMES, self._ask, None)

    def _ask(self, _: None) -> None:
        self._gateway.ask()

    def _answered(self, request: Request) -> None:
        self._tally.count(request)
        wait_ns = RETRY_NS if request.outcome == REFUSED else 0
        self._clock.at(self._clock.now_ns + wait_ns, COMES, self._ask, None)


@dataclass(frozen=True, slots=True)
class Stretch:
    """So many requests a second, until then."""

    until_s: float
    rate: float


class OpenLoop:
    """Requests that come by chance, whatever becomes of those before them: a Poisson process."""

    def __init__(
        self,
        clock: Clock,
        gateway: Gateway,
        stretches: Sequence[Stretch],
        chance: random.Random,
        tally: Tally,
    ) -> None:
        self._clock = clock
        self._gateway = gateway
        self._stretches = list(stretches)[::-1]
        self._chance = chance
        gateway.on_answer = tally.count
        self._next(0)

    def _next(self, now_ns: int) -> None:
        # The process has no memory: what would come after a stretch is drawn anew in the next one.
        while self._stretches:
            stretch = self._stretches[-1]
            at_ns = now_ns + round(self._chance.expovariate(stretch.rate) * S)
            if at_ns < stretch.until_s * S:
                self._clock.at(at_ns, COMES, self._ask, None)
                return
            now_ns = round(stretch.until_s * S)
            self._stretches.pop()

    def _ask(self, _: None) -> None:
        self._gateway.ask()
        self._next(self._clock.now_ns)
