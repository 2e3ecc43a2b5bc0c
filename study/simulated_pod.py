"""One pod without processes, threads or time: its real rules, on a clock that jumps.

What decides is the predictor's own code (``QueuePolicies``, ``finish_s``, ``retry_after_s``,
``EarliestFinish``, ``BatchQueue``); what is played here is only what is around it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from predictor.admission import (
    DecodeBacklog,
    EarliestFinish,
    decoding_s,
    finish_s,
    retry_after_s,
)
from predictor.batching import BatchPolicy, Queued
from predictor.queue_policy import QueuePolicies
from study.clock import COMES, DECODED, ENDS, Clock
from study.instance import Instance, Witness
from study.pod import Pod
from study.request import DONE, EXPIRED, LOST, REFUSED, Request

RECEIVE = 0.5  # of what a request costs its event loop is spent before it is accepted (assumed)


@dataclass(slots=True)
class Frontend:
    """What one frontend has in hand.

    Attributes:
        slots: that are free.
        loop_free_ns: when its event loop has done what was asked of it so far.
        decoding: images that are being decoded.
        undecoded: images that wait for a thread, by their key.
    """

    slots: int
    loop_free_ns: int = 0
    decoding: int = 0
    backlog: DecodeBacklog = field(default_factory=DecodeBacklog)
    undecoded: list[tuple[int, int, Request]] = field(default_factory=list)


class SimulatedPod:
    """Takes requests, and answers each of them once.

    Args:
        clock: of the simulation.
        pod: what it is like.
        on_answer: told of every request that has its outcome.
        witness: who watches its instances, if anybody does.
    """

    def __init__(
        self,
        clock: Clock,
        pod: Pod,
        on_answer: Callable[[Request], None],
        witness: Witness | None = None,
    ) -> None:
        self._clock = clock
        self._pod = pod
        self._on_answer = on_answer
        self._predicts = pod.admits or witness is not None
        self._policies = QueuePolicies(
            pod.levels, 0, pod.step_us, dict(pod.policies), pod.timeout_us, pod.slots
        )
        self.frontends = [Frontend(pod.slots) for _ in range(pod.frontends)]
        self.instances = [
            Instance(
                clock,
                number,
                cost,
                BatchPolicy(
                    cost.max_batch_size,
                    pod.delay_us,
                    cost.preferred_batch_sizes,
                    pod.levels,
                    pod.step_us,
                ),
                pod.handling_ns,
                self._computed,
                self._late,
                witness,
            )
            for number, cost in enumerate(pod.costs)
        ]
        self._outstanding = [0] * len(pod.costs)  # the board, added up
        self._coming = 0  # its last row
        self._scales = [1.0] * len(pod.costs)
        self._accepted: dict[Request, None] = {}  # and not answered, in their order
        self._decodes = 0
        self.alive = True

    def send(self, request: Request) -> None:
        """A request has come to its frontend."""
        self._spend(request, RECEIVE, COMES, self._accept)

    def lose(self) -> None:
        """The pod is gone, and what it had accepted with it."""
        self.alive = False
        for request in self._accepted:
            request.outcome = LOST
            self._on_answer(request)
        self._accepted.clear()

    # On the event loop

    def _spend(
        self, request: Request, share: float, phase: int, then: Callable[[Request], None]
    ) -> None:
        """A share of what a request costs its event loop, which does one thing after another."""
        if not self._pod.loop_ns:
            then(request)
            return
        frontend = self.frontends[request.frontend]
        began_ns = max(self._clock.now_ns, frontend.loop_free_ns)
        frontend.loop_free_ns = began_ns + round(self._pod.loop_ns * request.images * share)
        self._clock.at(frontend.loop_free_ns, phase, then, request)

    def _accept(self, request: Request) -> None:
        if not self.alive:
            self._refuse(request, LOST)
            return
        frontend = self.frontends[request.frontend]
        now_ns = self._clock.now_ns
        request.place = place = self._policies.place(
            now_ns, request.priority, request.timeout_us, request.limit_us
        )
        if self._predicts and self._is_hopeless(request, frontend):
            self._refuse(request, REFUSED)
            return
        if request.images > frontend.slots:
            self._refuse(request, REFUSED)
            return
        frontend.slots -= request.images
        request.left = request.images
        self._accepted[request] = None
        if not request.decode_ns:
            self._hand(request, request.images)
            return
        self._coming += request.images
        for _ in range(request.images):
            frontend.backlog.add(request.decode_ns / 1e9)
            self._decodes += 1
            heapq.heappush(frontend.undecoded, (place.key, self._decodes, request))
        self._decode(frontend)

    def _is_hopeless(self, request: Request, frontend: Frontend) -> bool:
        """Whether it cannot be in time, by prediction; an idle pod takes everything."""
        pod, images = self._pod, request.images
        wait_s = frontend.backlog.wait_s(pod.decode_threads) if pod.decode_threads else 0.0
        decode_s = decoding_s([request.decode_ns / 1e9] * images, pod.decode_threads or images)
        predicted_s = finish_s(wait_s, decode_s, self._load(), pod.costs, self._scales, images)
        request.predicted_ns = predicted_s * 1e9
        left_s = (request.place.deadline_ns - self._clock.now_ns) / 1e9
        late = retry_after_s(predicted_s, left_s) is not None
        return pod.admits and late and (self._coming > 0 or any(self._outstanding))

    def _load(self) -> list[int]:
        """Outstanding at each instance, with its share of what is coming (``Links``)."""
        if not self._coming:
            return self._outstanding
        speeds = [1 / cost.image_seconds for cost in self._pod.costs]
        whole = sum(speeds)
        return [
            waiting + round(self._coming * speed / whole)
            for waiting, speed in zip(self._outstanding, speeds, strict=True)
        ]

    def _refuse(self, request: Request, outcome: str) -> None:
        request.outcome = outcome
        self._on_answer(request)

    def _decode(self, frontend: Frontend) -> None:
        """Let free threads begin."""
        threads = self._pod.decode_threads
        while frontend.undecoded and (not threads or frontend.decoding < threads):
            request = heapq.heappop(frontend.undecoded)[2]
            frontend.decoding += 1
            self._clock.at(self._clock.now_ns + request.decode_ns, DECODED, self._decoded, request)

    def _decoded(self, request: Request) -> None:
        if not self.alive:
            return
        frontend = self.frontends[request.frontend]
        frontend.decoding -= 1
        frontend.backlog.remove(request.decode_ns / 1e9)
        self._coming -= 1
        self._hand(request, 1)
        self._decode(frontend)

    def _hand(self, request: Request, images: int) -> None:
        """Each image goes to the instance that would finish it first."""
        place, now_ns = request.place, self._clock.now_ns
        request.handed_ns = now_ns
        queued = Queued(
            (request, now_ns), place.accepted_ns, place.due_ns, place.deadline_ns, place.level
        )
        for chosen, share in self._share_out(images).items():
            request.instance = chosen
            self._put(chosen, queued, share)

    def _share_out(self, images: int) -> dict[int, int]:
        """How many go to each instance; they count as outstanding there from now on."""
        if len(self.instances) == 1:
            self._outstanding[0] += images
            return {0: images}
        shares: dict[int, int] = {}
        earliest = EarliestFinish(self._outstanding, self._pod.costs, self._scales)
        for _ in range(images):
            chosen = earliest.take()
            self._outstanding[chosen] += 1
            shares[chosen] = shares.get(chosen, 0) + 1
        return shares

    def _put(self, chosen: int, queued: Queued[tuple[Request, int]], share: int) -> None:
        instance = self.instances[chosen]
        if not self._pod.message_ns:
            instance.put(queued, share)
            return
        arrival_ns = self._clock.now_ns + self._pod.message_ns
        self._clock.at(arrival_ns, DECODED, lambda images: instance.put(queued, images), share)

    # From the instances

    def _computed(self, number: int, batch: list[Request]) -> None:
        if self._pod.message_ns:
            back_ns = self._clock.now_ns + self._pod.message_ns
            self._clock.at(back_ns, ENDS, lambda done: self._collect(number, done), batch)
        else:
            self._collect(number, batch)

    def _collect(self, number: int, batch: list[Request]) -> None:
        if not self.alive:
            return
        self._outstanding[number] -= len(batch)
        for request in batch:
            self._count_off(request)

    def _late(self, number: int, request: Request) -> None:
        if self.alive:
            self._outstanding[number] -= 1
            request.late += 1
            self._count_off(request)

    def _count_off(self, request: Request) -> None:
        request.left -= 1
        if not request.left:
            self._spend(request, 1 - RECEIVE, ENDS, self._answer)

    def _answer(self, request: Request) -> None:
        if not self.alive:
            return
        del self._accepted[request]
        self.frontends[request.frontend].slots += request.images
        request.outcome = EXPIRED if request.late else DONE
        self._on_answer(request)
