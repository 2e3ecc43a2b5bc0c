"""One frontend of a simulated pod: its event loop, its slots and its decode threads."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from predictor.admission import DecodeBacklog, decoding_s
from study.clock import DECODED, Clock
from study.pod import Pod
from study.request import Request


class Frontend:
    """What it has in hand.

    Args:
        clock: of the simulation.
        pod: what its frontends are like.
        on_decoded: told of each image that is.

    Attributes:
        slots: that are free.
    """

    def __init__(self, clock: Clock, pod: Pod, on_decoded: Callable[[Request], None]) -> None:
        self.slots = pod.slots
        self._clock = clock
        self._pod = pod
        self._on_decoded = on_decoded
        self._free_ns = 0  # when its event loop has done what was asked of it so far
        self._decoding = 0
        self._backlog = DecodeBacklog()
        self._undecoded: list[tuple[int, int, Request]] = []  # by key, then in their order
        self._queued = 0

    def spend(
        self, request: Request, share: float, phase: int, then: Callable[[Request], None]
    ) -> None:
        """A share of what a request costs its event loop, which does one thing after another."""
        if not self._pod.loop_ns:
            then(request)
            return
        began_ns = max(self._clock.now_ns, self._free_ns)
        self._free_ns = began_ns + round(self._pod.loop_ns * request.images * share)
        self._clock.at(self._free_ns, phase, then, request)

    def decoded_after_s(self, request: Request) -> tuple[float, float]:
        """Seconds until its images' turn comes, and to decode them."""
        threads = self._pod.decode_threads
        wait_s = self._backlog.wait_s(threads) if threads else 0.0
        images = [request.decode_ns / 1e9] * request.images
        return wait_s, decoding_s(images, threads or request.images)

    def decode(self, request: Request) -> None:
        """Its images wait for threads, by its place in the queues."""
        for _ in range(request.images):
            self._backlog.add(request.decode_ns / 1e9)
            self._queued += 1
            heapq.heappush(self._undecoded, (request.place.key, self._queued, request))
        self._begin()

    def stop(self) -> None:
        """Begin nothing more."""
        self._undecoded.clear()

    def _begin(self) -> None:
        """Let free threads begin."""
        threads = self._pod.decode_threads
        while self._undecoded and (not threads or self._decoding < threads):
            request = heapq.heappop(self._undecoded)[2]
            self._decoding += 1
            self._clock.at(self._clock.now_ns + request.decode_ns, DECODED, self._decoded, request)

    def _decoded(self, request: Request) -> None:
        self._decoding -= 1
        self._backlog.remove(request.decode_ns / 1e9)
        self._on_decoded(request)
        self._begin()
