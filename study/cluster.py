"""Several simulated pods behind one gateway, and those who ask it."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from study.balancing import BALANCING
from study.clock import COMES, ENDS, Clock
from study.pod import Pod, SimulatedPod
from study.request import DONE, EXPIRED, LOST, REFUSED, Request

S = 1_000_000_000  # ns
RETRY_NS = S  # after a refusal: the least that a Retry-After says


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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a cluster did in the time it was watched.

    Attributes:
        images_per_second: that were answered.
        computed_per_second: that the devices that are left ran, by the fraction of a batch: under a
            steady load the same without what a window cuts off.
        requests: by their outcome.
        latencies_s: of those answered, ascending.
        utilisation: share of the time in which the devices that are left ran batches.
        batch_size: mean.
    """

    images_per_second: float
    computed_per_second: float
    requests: dict[str, int]
    latencies_s: tuple[float, ...]
    utilisation: float
    batch_size: float

    def percentile_s(self, percent: float) -> float:
        """By nearest rank; not a number where nothing was answered."""
        if not self.latencies_s:
            return float("nan")
        rank = max(0, -(-len(self.latencies_s) * percent // 100) - 1)
        return self.latencies_s[min(len(self.latencies_s) - 1, int(rank))]


def closed_loop(cluster: Cluster, clients: int, seconds: float, warm_up_s: float) -> Outcome:
    """What ``clients`` get that ask again and again, watched after a warm-up."""
    clock, tally = Clock(), Tally(round(warm_up_s * S))
    gateway = Gateway(clock, cluster, random.Random(clients))  # noqa: S311 (a simulation)
    ClosedLoop(clock, gateway, clients, tally)
    return watch(clock, gateway, tally, seconds, warm_up_s)


def open_loop(
    cluster: Cluster,
    stretches: Sequence[Stretch],
    seed: int,
    warm_up_s: float = 0.0,
    losses: Sequence[float] = (),
) -> Outcome:
    """What becomes of requests that come by chance; at each time in ``losses`` a pod is lost."""
    clock, tally = Clock(), Tally(round(warm_up_s * S))
    chance = random.Random(seed)  # noqa: S311 (a simulation)
    gateway = Gateway(clock, cluster, chance)
    OpenLoop(clock, gateway, stretches, chance, tally)
    for at_s in losses:
        clock.at(round(at_s * S), ENDS, gateway.lose, 0)
    return watch(clock, gateway, tally, stretches[-1].until_s - warm_up_s, warm_up_s)


def watch(
    clock: Clock, gateway: Gateway, tally: Tally, seconds: float, warm_up_s: float
) -> Outcome:
    """Let the warm-up pass, then see what happens in ``seconds``."""
    clock.run(round(warm_up_s * S))
    busy_ns, batches, computed = _work(gateway)
    clock.run(round((warm_up_s + seconds) * S))
    busy_after_ns, batches_after, computed_after = _work(gateway)
    devices = sum(len(pod.instances) for pod in gateway.pods)
    return Outcome(
        tally.images / seconds,
        (computed_after - computed) / seconds,
        dict(tally.requests),
        tuple(sorted(tally.latencies_s)),
        (busy_after_ns - busy_ns) / (devices * seconds * S) if devices else 0.0,
        (computed_after - computed) / max(1, batches_after - batches),
    )


def _work(gateway: Gateway) -> tuple[int, int, float]:
    """What all devices have done: busy ns, batches, images."""
    instances = [instance for pod in gateway.pods for instance in pod.instances]
    return (
        sum(instance.busy_ns for instance in instances),
        sum(instance.batches for instance in instances),
        sum(instance.computed for instance in instances),
    )
