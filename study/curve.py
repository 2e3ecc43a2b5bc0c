"""What one pod does under a given load, learnt from simulated pods behind their gateway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.clients import Stretch
from study.cluster import closed_loop, open_loop
from study.errors import StudyError
from study.gateway import Cluster
from study.shape import DECODE_SPREAD, PodShape

Numbers = NDArray[np.float64]

# Of a pod's capacity. Denser where it matters: what waits grows as 1 / (1 - load).
LOADS = (0.02, 0.1, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.3, 2.0)
LEVELS = tuple(
    float(level) for level in (*np.linspace(0.5, 98.5, 50), 99, 99.25, 99.5, 99.75, 99.9)
)
PODS = 4  # that are simulated together; more of them change little (tests/study/test_levels.py)
SECONDS, SETTLING_S = 3.0, 1.0  # at least
IMAGES = 200  # that are asked for at each load, at least: slow pods are watched for longer
BATCHES = 20  # that a device can run meanwhile, at least
BUSY_CLIENTS = 224  # per pod, for its capacity: all but a few of its slots


@dataclass(frozen=True, slots=True)
class Curve:
    """By the load on a pod, as a share of its capacity; what lies between is interpolated.

    Attributes:
        capacity: images a second of one pod that is kept busy.
        loads: ascending.
        answered: images that were, a second, as a share of the capacity as well.
        busy: share of the time in which the device ran batches. It says little: at a tenth of its
            capacity a device is busy for nine tenths of the time, with small batches.
        concurrency: requests in flight.
        latencies_s: of those answered (loads, levels), by ``levels`` in percent.
    """

    capacity: float
    loads: Numbers
    answered: Numbers
    busy: Numbers
    concurrency: Numbers
    levels: Numbers
    latencies_s: Numbers

    def at(self, load: Numbers, values: Numbers) -> Numbers:
        """One of the above at each ``load``; beyond the last one as there."""
        found: Numbers = np.interp(load, self.loads, values)
        return found

    def answered_at(self, load: Numbers) -> Numbers:
        """Share of the images that are; beyond the last load as many a second as there."""
        share: Numbers = self.at(load, self.answered) / np.maximum(load, 1e-9)
        return np.where(load < self.loads[0], 1.0, np.minimum(1.0, share))


def cluster_of(shape: PodShape, pods: int, balancing: str, network_s: float) -> Cluster:
    """So many pods of that shape behind one gateway."""
    return Cluster(
        (shape.pod,) * pods,
        balancing,
        round(network_s * 1e9),
        decode_ns=round(shape.decode_s * 1e9),
        decode_spread=DECODE_SPREAD,
    )


def learn_curve(
    shape: PodShape,
    balancing: str,
    network_s: float,
    seed: int,
    say: Callable[[str], None],
    loads: Sequence[float] = LOADS,
) -> Curve:
    """Simulate pods at each load, image by image.

    Raises:
        StudyError: such a pod answers nothing, or nothing in time.
    """
    cluster = cluster_of(shape, PODS, balancing, network_s)
    say(f"learning how {PODS} pods behind a gateway answer, image by image")
    longest_s = max(shape.device.cost.seconds(shape.device.batch), shape.decode_s, shape.loop_s)
    watched_s = max(SECONDS, BATCHES * longest_s)
    settling_s = watched_s * SETTLING_S / SECONDS
    kept_busy = closed_loop(cluster, BUSY_CLIENTS * PODS, watched_s, settling_s)
    capacity = kept_busy.computed_per_second / PODS
    if not capacity:
        raise StudyError(shape.why_nothing)
    answered, busy, concurrency, latencies = [], [], [], []
    for place, load in enumerate(loads):
        rate = PODS * load * capacity
        seconds = max(watched_s, IMAGES / rate)
        until = Stretch(settling_s + seconds, rate)
        outcome = open_loop(cluster, [until], seed + place, settling_s)
        asked = max(1, sum(outcome.requests.values()))
        times = np.asarray(outcome.latencies_s)
        if not len(times):
            raise StudyError(shape.why_nothing)
        answered.append(load * len(times) / asked)
        busy.append(outcome.utilisation)
        # Little's law.
        concurrency.append(len(times) / seconds / PODS * float(times.mean()))
        latencies.append(np.percentile(times, LEVELS))
    return Curve(
        capacity,
        np.asarray(loads),
        np.asarray(answered),
        np.asarray(busy),
        np.asarray(concurrency),
        np.asarray(LEVELS),
        np.asarray(latencies),
    )
