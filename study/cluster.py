"""What becomes of a load on several simulated pods behind one gateway."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from study.clients import ClosedLoop, OpenLoop, Stretch, Tally
from study.clock import ENDS, Clock, S
from study.gateway import Cluster, Gateway
from study.instance import Instance


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a cluster did in the time it was watched.

    Attributes:
        images_per_second: that were answered.
        computed_per_second: that the devices that are left at the end ran, by the fraction of a
            batch: under a steady load the same without what a window cuts off.
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
    if seconds <= 0:
        raise ValueError(f"nothing is left to be watched after a warm-up of {warm_up_s:g} s")
    clock.run(round(warm_up_s * S))
    before = {instance: _work(instance) for pod in gateway.pods for instance in pod.instances}
    clock.run(round((warm_up_s + seconds) * S))
    # A pod that was lost meanwhile is in neither sum: what it had done before is not to be taken
    # off what others did.
    left = [instance for pod in gateway.pods for instance in pod.instances]
    done = [_work(instance).since(before.get(instance, NOTHING)) for instance in left]
    busy_ns = sum(work.busy_ns for work in done)
    computed = sum(work.computed for work in done)
    return Outcome(
        tally.images / seconds,
        computed / seconds,
        dict(tally.requests),
        tuple(sorted(tally.latencies_s)),
        busy_ns / (len(left) * seconds * S) if left else 0.0,
        computed / max(1, sum(work.batches for work in done)),
    )


@dataclass(frozen=True, slots=True)
class Work:
    """What one device has done."""

    busy_ns: int
    batches: int
    computed: float

    def since(self, before: Work) -> Work:
        """What it has done after ``before``."""
        return Work(
            self.busy_ns - before.busy_ns,
            self.batches - before.batches,
            self.computed - before.computed,
        )


NOTHING = Work(0, 0, 0.0)


def _work(instance: Instance) -> Work:
    return Work(instance.busy_ns, instance.batches, instance.computed)
