"""One gateway before simulated pods."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from study.balancing import BALANCING
from study.clock import COMES, ENDS, Clock
from study.pod import Pod
from study.request import REFUSED, Request
from study.simulated_pod import SimulatedPod


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is simulated.

    Attributes:
        pods: what each of them is like.
        balancing: a name in ``BALANCING``.
        network_ns: from a client to a pod and back, both ways together.
        images: of each request.
        decode_ns: to decode one of them, in the mean.
        decode_spread: of the logarithm of that, which is normal: images are not alike.
    """

    pods: tuple[Pod, ...]
    balancing: str = "least_request"
    network_ns: int = 0
    images: int = 1
    decode_ns: int = 0
    decode_spread: float = 0.0


class Gateway:
    """Sends every request to one of the pods that live, and tells its client of the answer.

    A pod that is lost gets nothing from that moment on: its connections break at once.
    """

    def __init__(self, clock: Clock, cluster: Cluster, chance: random.Random) -> None:
        self._clock = clock
        self._cluster = cluster
        self._chance = chance
        self._balancing = BALANCING[cluster.balancing](chance)
        self._one_way_ns = cluster.network_ns // 2
        self._pods: list[SimulatedPod] = []
        self._active: list[int] = []  # requests in flight at each of them
        self._sent: dict[Request, SimulatedPod] = {}
        self._number = 0
        self.on_answer: Callable[[Request], None] = lambda _: None
        for pod in cluster.pods:
            self.add(pod)

    @property
    def pods(self) -> Sequence[SimulatedPod]:
        """Those that live."""
        return self._pods

    def add(self, pod: Pod) -> None:
        """One more is ready."""
        self._pods.append(SimulatedPod(self._clock, pod, self._answered))
        self._active.append(0)

    def lose(self, place: int) -> None:
        """One is gone, and what it had accepted with it."""
        self._active.pop(place)
        self._pods.pop(place).lose()

    def ask(self) -> Request:
        """A client sends a request."""
        self._number += 1
        request = Request(
            self._number,
            self._cluster.images,
            decode_ns=self._decode_ns(),
            sent_ns=self._clock.now_ns,
        )
        if not self._pods:
            request.outcome = REFUSED
            self._clock.at(self._clock.now_ns + self._cluster.network_ns, ENDS, self._tell, request)
            return request
        place = self._balancing.choose(self._active)
        self._active[place] += 1
        pod = self._pods[place]
        self._sent[request] = pod
        request.frontend = self._number % len(pod.frontends)
        if self._one_way_ns:
            self._clock.at(self._clock.now_ns + self._one_way_ns, COMES, pod.send, request)
        else:
            pod.send(request)
        return request

    def _decode_ns(self) -> int:
        mean_ns, spread = self._cluster.decode_ns, self._cluster.decode_spread
        if not spread:
            return mean_ns
        return round(mean_ns * self._chance.lognormvariate(-spread * spread / 2, spread))

    def _answered(self, request: Request) -> None:
        pod = self._sent.pop(request)
        if pod.alive:
            self._active[self._pods.index(pod)] -= 1
        self._clock.at(self._clock.now_ns + self._one_way_ns, ENDS, self._tell, request)

    def _tell(self, request: Request) -> None:
        request.answered_ns = self._clock.now_ns
        self.on_answer(request)
