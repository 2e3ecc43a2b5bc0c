"""What each of the seven stages could do, and which of them is the limit. Pure.

A stage's capacity is what its workers could do if they did nothing else: workers ÷ the seconds that
an image takes one of them. Workers that do several stages' work, such as the event loop, are
charged with all of it, since no stage gets more of them without the others getting more as well.
Time on threads is CPU time by the kernel's clocks, so what else runs on the machine changes
nothing; time on devices is that of their batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from predictor.counts import Work
from predictor.device_work import DeviceWork
from predictor.workers import Workers

STAGES = ("receive", "decode", "queue", "copy", "infer", "collect", "respond")
# Capacities this close are the same: which of them is the limit is told by what takes longer.
ALIKE = 1.03
# The cores are the limit if they stand for less than this share of what the slowest stage could do
# with cores of its own. Not of all of it: where they are used up, stages measure as slow as they.
SHORT = 0.9
HALVINGS = 40  # of an interval, to solve an equation
# Of the time that connections have requests under way: if clients leave answers untaken for more of
# it, they are the limit; unless no connection has one for so much of the time.
READERS = 0.5


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage.

    Attributes:
        name: one of ``STAGES``.
        capacity: images per second; None: nothing has been measured yet.
        busy_s: seconds that one image takes one of its workers; None as above.
        workers: how many there are.
        worker: what they are.
    """

    name: str
    capacity: float | None
    busy_s: float | None
    workers: int
    worker: str


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores, which all stages share that do not run on a device of their own."""

    count: int
    capacity: float | None
    busy_s: float | None  # CPU time of one image in all processes


@dataclass(frozen=True, slots=True)
class Balance:
    """All stages, in their order, and which of them is the limit.

    Attributes:
        bottleneck: None until something has been measured; ``infer`` where no instance takes work.
        by_cores: it is the limit because there are no more cores for it.
        slots_wanted: with which every instance always has full batches.
    """

    stages: tuple[Stage, ...]
    cores: Cores
    bottleneck: Stage | None
    by_cores: bool
    slots_wanted: int

    @property
    def capacity(self) -> float | None:
        """Images per second of the pod."""
        if self.by_cores:
            return self.cores.capacity
        return None if self.bottleneck is None else self.bottleneck.capacity


def balance(work: Work, seconds: float, devices: Sequence[DeviceWork], workers: Workers) -> Balance:
    """Reckon with what frontends and instances have done lately.

    Args:
        work: of all frontends, for this version.
        seconds: in how long.
        devices: those that take work, and what they did meanwhile.
        workers: what there is for it.
    """
    loop = _Loop(work, workers)
    stages = (
        loop.stage("receive", loop.receive_s),
        _decode(work, workers, loop),
        _queue(work, devices, workers),
        _copy(devices),
        *_device_stages(devices),
        _respond(work, seconds, loop),
    )
    cores = _cores(work, devices, workers)
    wanted = math.ceil(_slots_wanted(_held_s(work), devices))
    if not devices:
        infer = stages[STAGES.index("infer")]
        return Balance(stages, cores, infer, by_cores=False, slots_wanted=wanted)
    measured = [stage for stage in stages if stage.capacity is not None]
    if not work.images or not measured:
        return Balance(stages, cores, None, by_cores=False, slots_wanted=wanted)
    least = min(stage.capacity for stage in measured if stage.capacity is not None)
    if cores.capacity is not None and cores.capacity < SHORT * least:
        most = max(measured, key=lambda stage: _on_cores_s(stage, devices))
        return Balance(stages, cores, most, by_cores=True, slots_wanted=wanted)
    close = [stage for stage in measured if (stage.capacity or 0) <= ALIKE * least]
    limit = max(close, key=lambda stage: (stage.name != "queue", stage.busy_s or 0))
    return Balance(stages, cores, limit, by_cores=False, slots_wanted=wanted)


class _Loop:
    """The event loops, one for each frontend, and what an image takes of one."""

    def __init__(self, work: Work, workers: Workers) -> None:
        self._count, self._free = workers.frontends, workers.free_event_loops
        images = work.images
        self.busy_s = work.loop_ns / images / 1e9 if images and work.loop_ns else None
        self.here_s = work.here_ns / images / 1e9 if images else None
        self.respond_s = work.respond_ns / images / 1e9 if images else None
        self.receive_s: float | None = None  # all that is not one of the others
        if self.busy_s is not None:
            self.receive_s = max(0.0, self.busy_s - (self.here_s or 0) - (self.respond_s or 0))

    def stage(self, name: str, own_s: float | None) -> Stage:
        capacity = self._free / self.busy_s if self.busy_s else None
        return Stage(name, capacity, own_s, self._count, "event loop")


def _decode(work: Work, workers: Workers, loop: _Loop) -> Stage:
    if work.here_ns > work.pool_ns:
        return loop.stage("decode", loop.here_s)
    decoded = work.pool_images + work.here_images  # by far not all of them may need a thread
    if not work.pool_images:
        return Stage("decode", None, None, workers.decode_threads, "decode thread")
    busy_s = max(1e-9, work.pool_ns / decoded / 1e9)
    capacity = workers.free_decode_threads / busy_s
    return Stage("decode", capacity, busy_s, workers.decode_threads, "decode thread")


def _copy(devices: Sequence[DeviceWork]) -> Stage:
    images, feeder_s = sum(one.images for one in devices), sum(one.feeder_s for one in devices)
    if not images or not feeder_s:
        return Stage("copy", None, None, len(devices), "feeder")
    busy_s = feeder_s / images
    return Stage("copy", len(devices) / busy_s, busy_s, len(devices), "feeder")


def _device_stages(devices: Sequence[DeviceWork]) -> tuple[Stage, Stage]:
    """``infer`` and ``collect``: an instance's one thread does both."""
    capacity = sum(one.capacity for one in devices)
    images = sum(one.images for one in devices)
    infer_s = collect_s = None
    if images:
        infer_s = sum(one.infer_s for one in devices) / images
        collect_s = sum(one.collect_s for one in devices) / images
    return (
        Stage("infer", capacity, infer_s, len(devices), "instance"),
        Stage("collect", capacity, collect_s, len(devices), "instance"),
    )


def _respond(work: Work, seconds: float, loop: _Loop) -> Stage:
    """Where clients take their answers more slowly than those are made, their connections limit."""
    untaken = work.untaken / 1000 / max(1, work.images)
    connections = work.connections_ns / 1e9 / seconds  # with a request under way, on average
    if untaken > READERS and connections > READERS:
        capacity = work.images / seconds / untaken
        busy_s = connections / capacity
        return Stage("respond", capacity, busy_s, max(1, round(connections)), "connection")
    return loop.stage("respond", loop.respond_s)


def _queue(work: Work, devices: Sequence[DeviceWork], workers: Workers) -> Stage:
    """The slots: what is accepted and not answered. Too few of them, and batches stay small."""
    slots = workers.slots
    if not work.images or not devices:
        return Stage("queue", None, None, slots, "slot")
    capacity = slots_capacity(slots, _held_s(work), devices)
    return Stage("queue", capacity, slots / capacity, slots, "slot")


def _held_s(work: Work) -> float:
    """How long an image has its slot while it is at no instance."""
    return work.held_ns / work.images / 1e9 if work.images else 0.0


def _slots_wanted(held_s: float, devices: Sequence[DeviceWork]) -> float:
    """For a full batch that runs at each instance and another that is gathered, and the rest."""
    whole = sum(device.capacity for device in devices)
    return sum(2 * device.cost.max_batch_size for device in devices) + whole * held_s


def slots_capacity(slots: int, held_s: float, devices: Sequence[DeviceWork]) -> float:
    """Images per second that so many slots allow for.

    With enough of them each instance has a full batch running and another one gathered, and it is
    Little's law. With fewer it runs in batches of half of what the slots leave it, which is solved
    for the rate at which that, and what is decoded or on its way back, takes all slots.

    Args:
        slots: of all frontends.
        held_s: seconds that an image has its slot while it is at no instance.
        devices: one at least.
    """
    whole = sum(device.capacity for device in devices)
    full = sum(2 * device.cost.max_batch_size for device in devices)  # images
    if slots >= _slots_wanted(held_s, devices):
        return slots / (held_s + full / whole)
    low, high = 0.0, whole
    for _ in range(HALVINGS):
        rate = (low + high) / 2
        if rate < _rate_with(slots - rate * held_s, devices, whole):
            low = rate
        else:
            high = rate
    return max(1e-9, low)


def _rate_with(images: float, devices: Sequence[DeviceWork], whole: float) -> float:
    """What instances do that have so many images among them, shared out by their speeds."""
    rate = 0.0
    for device in devices:
        share = max(0.0, images * device.capacity / whole)
        size = min(max(1.0, share / 2), device.cost.max_batch_size)
        rate += device.rate(size) * min(1.0, share)  # one that has less than an image idles
    return rate


def _cores(work: Work, devices: Sequence[DeviceWork], workers: Workers) -> Cores:
    computed = sum(device.images for device in devices)
    if not work.images or not computed:
        return Cores(workers.cores, None, None)
    frontends_ns = work.loop_ns + work.pool_ns + work.other_ns
    cpu_s = sum(device.cpu_s for device in devices) / computed + frontends_ns / work.images / 1e9
    return Cores(workers.cores, workers.free_cores / max(1e-9, cpu_s), cpu_s)


def _on_cores_s(stage: Stage, devices: Sequence[DeviceWork]) -> float:
    """CPU time of one image in a stage. An instance may compute it with several threads at once."""
    if stage.name == "infer":
        images = sum(device.images for device in devices)
        others_s = sum(device.feeder_s + device.collect_s for device in devices)
        cpu_s = sum(device.cpu_s for device in devices if device.on_cores)
        return max(0.0, cpu_s - others_s) / max(1, images)
    if stage.name == "queue" or stage.worker == "connection":
        return 0.0
    return stage.busy_s or 0.0
