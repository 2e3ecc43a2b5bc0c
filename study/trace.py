"""Everything that happened to given arrivals at one pod, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from predictor.queue_policy import Place
from study.clock import COMES, Clock
from study.pod import US, Pod
from study.request import Request
from study.simulated_pod import SimulatedPod


@dataclass(frozen=True, slots=True)
class Arrival:
    """One image that comes to a frontend, and what its request asks for."""

    at_us: int
    frontend: int = 0
    priority: int = 0
    timeout_us: int | None = None
    limit_us: int | None = None
    decode_us: int = 0


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one arrival; times are ns, and 0 where it did not get there."""

    place: Place
    outcome: str
    predicted_ns: float  # from acceptance to the answer
    instance: int
    handed_ns: int
    gathered_ns: int
    began_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class Gathered:
    """Images that went into the next batch, or were dropped, and whom that left in the queue."""

    instance: int
    at_ns: int
    took: tuple[int, ...]
    left: tuple[int, ...]
    room: int  # that the batch still had


@dataclass(frozen=True, slots=True)
class Ran:
    """One batch: whose images it took, by number of arrival, and whose it left waiting."""

    instance: int
    began_ns: int
    ended_ns: int
    took: tuple[int, ...]
    left: tuple[int, ...]


@dataclass(slots=True)
class Trace:
    """Everything that happened, in order."""

    fates: list[Fate] = field(default_factory=list)
    gathers: list[Gathered] = field(default_factory=list)
    batches: list[Ran] = field(default_factory=list)

    def done(self) -> list[int]:
        """Arrivals that were computed, in the order in which they began."""
        return [number for ran in self.batches for number in ran.took]


class Recorder:
    """Sees what instances do and writes it into ``trace``."""

    def __init__(self, clock: Clock, instances: int) -> None:
        self.trace = Trace()
        self._clock = clock
        self._waiting: list[Counter[int]] = [Counter() for _ in range(instances)]

    def queued(self, instance: int, request: Request) -> None:
        """An image has come."""
        self._waiting[instance][request.number] += 1

    def gathered(self, instance: int, took: Sequence[Request], room: int) -> None:
        """Images have left the queue."""
        self._waiting[instance] -= Counter(request.number for request in took)
        numbers = tuple(request.number for request in took)
        self.trace.gathers.append(
            Gathered(instance, self._clock.now_ns, numbers, self._left(instance), room)
        )

    def dropped(self, instance: int, request: Request) -> None:
        """Its outcome says so as well."""

    def began(self, instance: int, took: Sequence[Request], ended_ns: int) -> None:
        """A batch began."""
        numbers = tuple(request.number for request in took)
        self.trace.batches.append(
            Ran(instance, self._clock.now_ns, ended_ns, numbers, self._left(instance))
        )

    def _left(self, instance: int) -> tuple[int, ...]:
        return tuple(sorted(self._waiting[instance].elements()))


def simulate(pod: Pod, arrivals: Sequence[Arrival]) -> Trace:
    """What becomes of ``arrivals``, one fate each in the order of their time."""
    clock = Clock()
    recorder = Recorder(clock, len(pod.costs))
    simulated = SimulatedPod(clock, pod, lambda _: None, recorder)
    requests = [
        Request(
            number,
            frontend=arrival.frontend % pod.frontends,
            priority=arrival.priority,
            timeout_us=arrival.timeout_us,
            limit_us=arrival.limit_us,
            decode_ns=arrival.decode_us * US,
            sent_ns=arrival.at_us * US,
        )
        for number, arrival in enumerate(sorted(arrivals, key=lambda arrival: arrival.at_us))
    ]
    for request in requests:
        clock.at(request.sent_ns, COMES, simulated.send, request)
    clock.run()
    recorder.trace.fates = [_fate(request) for request in requests]
    return recorder.trace


def _fate(request: Request) -> Fate:
    return Fate(
        request.place,
        request.outcome,
        request.predicted_ns,
        request.instance,
        request.handed_ns,
        request.gathered_ns,
        request.began_ns,
        request.ended_ns,
    )
