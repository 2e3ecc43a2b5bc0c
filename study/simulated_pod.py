"""One pod without processes, threads or time: its real rules, on a clock that jumps.

What decides is the predictor's own code (``QueuePolicies``, ``finish_s``, ``retry_after_s``,
``EarliestFinish``, ``BatchQueue``); what is played here is only what is around it.
"""

from __future__ import annotations

from collections.abc import Callable

from predictor.admission import retry_after_s
from predictor.batching import BatchPolicy, Queued
from predictor.queue_policy import QueuePolicies
from study.board import Board
from study.clock import COMES, DECODED, ENDS, Clock
from study.frontend import Frontend
from study.instance import Instance, Witness
from study.pod import Pod
from study.request import DONE, EXPIRED, LOST, REFUSED, Request

RECEIVE = 0.5  # of what a request costs its event loop is spent before it is accepted (assumed)


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
        self.frontends = [Frontend(clock, pod, self._decoded) for _ in range(pod.frontends)]
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
        self._board = Board(pod.costs)
        self._accepted: dict[Request, None] = {}  # and not answered, in their order
        self.alive = True

    def send(self, request: Request) -> None:
        """A request has come to its frontend."""
        self.frontends[request.frontend].spend(request, RECEIVE, COMES, self._accept)

    def lose(self) -> None:
        """The pod is gone, and what it had accepted with it."""
        self.alive = False
        for frontend in self.frontends:
            frontend.stop()
        for request in self._accepted:
            request.outcome = LOST
            self._on_answer(request)
        self._accepted.clear()

    def _accept(self, request: Request) -> None:
        if not self.alive:
            self._refuse(request, LOST)
            return
        frontend = self.frontends[request.frontend]
        now_ns = self._clock.now_ns
        request.place = self._policies.place(
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
        self._board.coming += request.images
        frontend.decode(request)

    def _is_hopeless(self, request: Request, frontend: Frontend) -> bool:
        """Whether it cannot be in time, by prediction; an idle pod takes everything."""
        wait_s, decode_s = frontend.decoded_after_s(request)
        predicted_s = self._board.predicted_s(wait_s, decode_s, request.images)
        request.predicted_ns = predicted_s * 1e9
        left_s = (request.place.deadline_ns - self._clock.now_ns) / 1e9
        late = retry_after_s(predicted_s, left_s) is not None
        return self._pod.admits and late and not self._board.idle

    def _refuse(self, request: Request, outcome: str) -> None:
        request.outcome = outcome
        self._on_answer(request)

    def _decoded(self, request: Request) -> None:
        if self.alive:
            self._board.coming -= 1
            self._hand(request, 1)

    def _hand(self, request: Request, images: int) -> None:
        """Each image goes to the instance that would finish it first."""
        place, now_ns = request.place, self._clock.now_ns
        request.handed_ns = now_ns
        queued = Queued(
            (request, now_ns), place.accepted_ns, place.due_ns, place.deadline_ns, place.level
        )
        for chosen, share in self._board.share_out(images).items():
            request.instance = chosen
            self._put(chosen, queued, share)

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
        self._board.count_off(number, len(batch))
        for request in batch:
            self._count_off(request)

    def _late(self, number: int, request: Request) -> None:
        if self.alive:
            self._board.count_off(number, 1)
            request.late += 1
            self._count_off(request)

    def _count_off(self, request: Request) -> None:
        request.left -= 1
        if not request.left:
            frontend = self.frontends[request.frontend]
            frontend.spend(request, 1 - RECEIVE, ENDS, self._answer)

    def _answer(self, request: Request) -> None:
        if not self.alive:
            return
        del self._accepted[request]
        self.frontends[request.frontend].slots += request.images
        request.outcome = EXPIRED if request.late else DONE
        self._on_answer(request)
