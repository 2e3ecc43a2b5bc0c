"""A pod without processes, threads or time: its real rules, on a clock that jumps.

What decides is the predictor's own code (``QueuePolicies``, ``earliest_finish``, ``finish_s``,
``BatchQueue``); what is played here is only what is around it: frontends that accept and decode,
and instances whose batches of n take ``a + b·n``.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from predictor.admission import earliest_finish, finish_s, retry_after_s
from predictor.batching import BatchPolicy, BatchQueue, Queued
from predictor.queue_policy import Place, QueuePolicies, QueuePolicy
from predictor.types import BatchCost

US = 1000  # ns
DONE, EXPIRED, REFUSED = "done", "expired", "refused"


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
class Pod:
    """What is simulated.

    Attributes:
        costs: of each instance; what its batches take, and what dispatch knows of them.
        levels, step_us, policies: of the priorities.
        timeout_us: the longest any request may take.
        delay_us: how long a batch may be held open.
        admits: whether what cannot be in time is refused.
    """

    costs: tuple[BatchCost, ...]
    levels: int = 1
    step_us: int = 0
    policies: tuple[tuple[int, QueuePolicy], ...] = ()
    timeout_us: int = 10**12
    delay_us: int = 0
    admits: bool = False


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one arrival; times are ns, and 0 where it did not get there."""

    place: Place
    outcome: str = ""
    predicted_ns: float = 0.0  # from acceptance to the answer
    instance: int = -1
    handed_ns: int = 0
    began_ns: int = 0
    ended_ns: int = 0


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
    batches: list[Ran] = field(default_factory=list)

    def done(self) -> list[int]:
        """Arrivals that were computed, in the order in which they began."""
        return [number for ran in self.batches for number in ran.took]


@dataclass(slots=True)
class _Instance:
    queue: BatchQueue[int]
    waiting: set[int] = field(default_factory=set)
    free_ns: int = 0  # when what runs there has ended


class Simulation:
    """Plays ``arrivals``, ordered by time, through ``pod`` until nothing is left to do."""

    def __init__(self, pod: Pod, arrivals: Sequence[Arrival]) -> None:
        self._pod = pod
        self._arrivals = arrivals
        self._policies = QueuePolicies(
            pod.levels, 0, pod.step_us, dict(pod.policies), pod.timeout_us, len(arrivals)
        )
        self._instances = [
            _Instance(
                BatchQueue(
                    BatchPolicy(
                        cost.max_batch_size,
                        pod.delay_us,
                        cost.preferred_batch_sizes,
                        pod.levels,
                        pod.step_us,
                    )
                )
            )
            for cost in pod.costs
        ]
        self._outstanding = [0] * len(pod.costs)  # the board, added up
        self._scales = [1.0] * len(pod.costs)
        self._events: list[tuple[int, int]] = []  # when, and whose image is decoded; -1: just look
        self._trace = Trace()

    def run(self) -> Trace:
        """All of it. What happens at one time happens before a batch begins at that time."""
        coming = list(enumerate(self._arrivals))[::-1]
        while coming or self._events:
            times = [coming[-1][1].at_us * US] if coming else []
            now_ns = min([*times, *(event[0] for event in self._events[:1])])
            self._complete(now_ns)
            while coming and coming[-1][1].at_us * US == now_ns:
                self._accept(*coming.pop())
            while self._events and self._events[0][0] == now_ns:
                number = heapq.heappop(self._events)[1]
                if number >= 0:
                    self._hand(number, now_ns)
            for instance in range(len(self._instances)):
                self._begin(instance, now_ns)
        self._complete(2**62)
        return self._trace

    def _accept(self, number: int, arrival: Arrival) -> None:
        now_ns = arrival.at_us * US
        place = self._policies.place(now_ns, arrival.priority, arrival.timeout_us, arrival.limit_us)
        predicted_s = finish_s(
            0.0, arrival.decode_us / 1e6, self._outstanding, self._pod.costs, self._scales
        )
        late = retry_after_s(predicted_s, (place.deadline_ns - now_ns) / 1e9) is not None
        if self._pod.admits and late and any(self._outstanding):
            self._trace.fates.append(Fate(place, REFUSED, predicted_s * 1e9))
            return
        self._trace.fates.append(Fate(place, predicted_ns=predicted_s * 1e9))
        if arrival.decode_us:
            heapq.heappush(self._events, (now_ns + arrival.decode_us * US, number))
        else:
            self._hand(number, now_ns)

    def _hand(self, number: int, now_ns: int) -> None:
        place = self._trace.fates[number].place
        chosen = earliest_finish(self._outstanding, self._pod.costs, self._scales)
        self._note(number, instance=chosen, handed_ns=now_ns)
        self._outstanding[chosen] += 1
        self._instances[chosen].waiting.add(number)
        self._instances[chosen].queue.put(
            Queued(number, place.accepted_ns, place.due_ns, place.deadline_ns, place.level)
        )

    def _begin(self, place: int, now_ns: int) -> None:
        """What an instance does whenever it looks: begin a batch, if it is free and one is due."""
        instance = self._instances[place]
        if instance.free_ns > now_ns or not instance.waiting:
            return
        oldest_ns = min(self._trace.fates[number].handed_ns for number in instance.waiting)
        gathered = min(len(instance.queue), instance.queue.max_batch_size)
        due_ns = instance.queue.due_ns(gathered, oldest_ns)
        if due_ns > now_ns:
            heapq.heappush(self._events, (due_ns, -1))
            return
        taken = instance.queue.take(now_ns)
        for queued in taken.expired:
            self._note(queued.item, outcome=EXPIRED)
            self._outstanding[place] -= 1
        took = tuple(queued.item for queued in taken.batch)
        instance.waiting -= {*took, *(queued.item for queued in taken.expired)}
        if not took:
            return
        cost = self._pod.costs[place]
        ended_ns = now_ns + round(1e9 * (cost.per_batch_s + cost.per_image_s * len(took)))
        for number in took:
            self._note(number, outcome=DONE, began_ns=now_ns, ended_ns=ended_ns)
        self._trace.batches.append(
            Ran(place, now_ns, ended_ns, took, tuple(sorted(instance.waiting)))
        )
        instance.free_ns = ended_ns
        heapq.heappush(self._events, (ended_ns, -1))

    def _complete(self, now_ns: int) -> None:
        """Count off what has been answered by now."""
        self._outstanding = [
            sum(
                fate.instance == place and (fate.outcome == "" or fate.ended_ns > now_ns)
                for fate in self._trace.fates
            )
            for place in range(len(self._instances))
        ]

    def _note(self, number: int, **changes: object) -> None:
        self._trace.fates[number] = replace(self._trace.fates[number], **changes)


def simulate(pod: Pod, arrivals: Sequence[Arrival]) -> Trace:
    """What becomes of ``arrivals``, one fate each in their order."""
    return Simulation(pod, sorted(arrivals, key=lambda arrival: arrival.at_us)).run()
