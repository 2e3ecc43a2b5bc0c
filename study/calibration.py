"""What the simulator is told of this machine, measured apart from what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from predictor.types import BatchCost
from study.bench import Bench, Seen
from study.cluster import Outcome, closed_loop
from study.device import Device
from study.errors import StudyError
from study.gateway import Cluster
from study.pod import Pod
from study.real_pod import RealPod

ALONE_S = 2.0  # of one request after another, at most
# Of so many measurements the middle one counts: what else runs here disturbs some of them.
TIMES, LEAST_S = 3, 0.5
# Devices that are no limit: what is measured on them is the frontends.
QUICK = Device(60_000.0, 64)
QUICK_DEVICES = 2
SIMULATED_S = 20.0  # so that one batch more or less is next to nothing
SETTLING_S = 2.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """Seconds, each measured in pods that no row of a study is of.

    Attributes:
        cost: of the device's batches, as its instance measures them.
        handling_s: what a batch costs its instance besides: until the next one begins.
        message_s: between a frontend and an instance, one way.
        loop_s: of a frontend, for an image: what keeps one from giving more.
        loop_limit: what ended that: ``frontends``, or the ``cores`` of this machine.
        ready_s: from the start of a pod to its readiness.
    """

    cost: BatchCost
    handling_s: float
    message_s: float
    loop_s: float
    loop_limit: str
    ready_s: float

    def pod(self, bench: Bench, device: Device, devices: int) -> Pod:
        """The pod that a row is of, as the simulator is told of it."""
        return Pod(
            (self.cost,) * devices,
            frontends=bench.frontends,
            slots=bench.slots(device, devices),
            loop_ns=round(self.loop_s * 1e9),
            handling_ns=round(self.handling_s * 1e9),
            message_ns=round(self.message_s * 1e9),
        )


def calibrate(bench: Bench, device: Device) -> Calibration:
    """Three short measurements.

    1. A pod of one device, one request after another: what is left of the latency when batch and
       frontend are taken off is two messages.
    2. The same pod kept busy: its batches' own time is what its statistics say; what is left of
       the time between two of them is handling.
    3. A pod whose devices are no limit: what one frontend gives is the reciprocal of what an image
       costs it.

    Raises:
        StudyError: the device was not kept busy, so that nothing can be learnt.
    """
    with bench.pod(device, 1) as pod:
        alone = bench.keep_busy(pod, 1, 1, min(ALONE_S, bench.seconds))
        clients = bench.clients(device, 1)
        busy = middle(bench, pod, clients)
    with bench.pod(QUICK, QUICK_DEVICES) as pod:
        many = bench.clients(QUICK, QUICK_DEVICES)
        quick = middle(bench, pod, many)
    images = busy.batches.images / busy.batches.batches
    if images < 0.9 * device.batch:
        raise StudyError(
            f"batches of {images:.1f} images where {device.batch} fit: one device is not kept busy "
            "here; give it a lower rate"
        )
    infer_s = busy.batches.infer_s / busy.batches.batches
    between_s = images / busy.rate(clients, bench.images)
    loop_s = bench.frontends / quick.rate(many, bench.images)
    cost = replace(device.cost, per_batch_s=infer_s - images * device.per_image_s)
    left_s = alone.loaded.mean_s - cost.seconds(1) - loop_s
    return Calibration(
        cost,
        max(0.0, between_s - infer_s),
        max(0.0, left_s / 2),
        loop_s,
        quick.cores.limit or "neither alone",
        busy.ready_s,
    )


def middle(bench: Bench, pod: RealPod, clients: int) -> Seen:
    """Keep a pod busy three times, half as long as a row; the one whose rate is in the middle."""
    seconds = max(LEAST_S, bench.seconds / 2)
    seen = [bench.keep_busy(pod, clients, bench.images, seconds) for _ in range(TIMES)]
    return sorted(seen, key=lambda each: each.rate(clients, bench.images))[TIMES // 2]


def predict(calibration: Calibration, bench: Bench, device: Device, devices: int) -> Outcome:
    """What the simulator says of the pod and the load that a row measures."""
    cluster = Cluster((calibration.pod(bench, device, devices),), images=bench.images)
    clients = bench.clients(device, devices)
    return closed_loop(cluster, clients, SIMULATED_S, SETTLING_S)
