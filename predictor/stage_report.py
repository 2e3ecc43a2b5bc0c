"""How a version is doing at the moment: what ``/stages`` and ``millrace top`` show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from predictor.capacity import Balance, balance
from predictor.counts import Counts, execution_count, inference_count
from predictor.device_work import DeviceWork
from predictor.placement import ON_CORES
from predictor.types import BatchCost
from predictor.window import Window
from predictor.workers import Workers


@dataclass(frozen=True, slots=True)
class Attached:
    """An instance that takes work: what its batches cost, and what all frontends have there."""

    cost: BatchCost
    queue: int


@dataclass(frozen=True, slots=True)
class InstanceReport:
    """One instance over the last ten seconds.

    Attributes:
        attached: None while it does not take work.
        busy_ratio: share of the time in which its device ran batches.
        mean_batch: images in one; None if it ran none.
    """

    instance: int
    device: str
    attached: Attached | None
    busy_ratio: float
    images_per_second: float
    mean_batch: float | None


@dataclass(frozen=True, slots=True)
class StageReport:
    """One version in the whole pod; rates and latencies over the last ``window_s`` seconds."""

    balance: Balance
    window_s: float
    images_per_second: float
    p50_s: float | None
    p99_s: float | None
    slots: int
    coming: int  # images accepted and not yet handed to an instance
    instances: tuple[InstanceReport, ...]
    batch_sizes: dict[int, int]  # how many batches there were of each size

    @property
    def taken(self) -> int:
        """Slots in use."""
        outstanding = sum(one.attached.queue for one in self.instances if one.attached)
        return min(self.slots, self.coming + outstanding)

    @property
    def headroom(self) -> float | None:
        """Images per second that the pod could do besides."""
        capacity = self.balance.capacity
        return None if capacity is None else max(0.0, capacity - self.images_per_second)


def stage_report(
    window: Window,
    devices: Mapping[int, str],
    attached: Mapping[int, Attached],
    coming: int,
    workers: Workers,
) -> StageReport:
    """Put together what is known.

    Args:
        window: of the version's counts.
        devices: of its instances, by their numbers.
        attached: those of them that take work.
        coming: images on their way to any of them.
        workers: what the pod has.
    """
    lately, telling = window.lately(), window.telling()
    counts = lately.counts
    attached = {
        number: replace(one, cost=_as_limited(one.cost, window.latest.batch_limit(number)))
        for number, one in attached.items()
        if number in devices
    }
    working = [
        _device_work(telling.counts, number, devices[number], one.cost)
        for number, one in attached.items()
    ]
    ratios = dict(zip(counts.layout.numbers, window.busy_ratios(), strict=True))
    return StageReport(
        balance=balance(telling.counts.work, telling.seconds, working, workers),
        window_s=lately.seconds,
        images_per_second=counts.work.images / lately.seconds,
        p50_s=counts.latency_s(0.5),
        p99_s=counts.latency_s(0.99),
        slots=workers.slots,
        coming=coming,
        instances=tuple(
            _instance(counts, lately.seconds, number, device, attached.get(number), ratios[number])
            for number, device in devices.items()
        ),
        batch_sizes={batch.size: batch.count for batch in counts.batches},
    )


def _as_limited(cost: BatchCost, limit: int) -> BatchCost:
    """An instance that had no memory for larger batches runs smaller ones."""
    return replace(cost, max_batch_size=min(cost.max_batch_size, limit)) if limit else cost


def _device_work(counts: Counts, instance: int, device: str, cost: BatchCost) -> DeviceWork:
    cpu_ns, feeder_ns = counts.cpu_ns(instance)
    on_cores = device.partition(":")[0] in ON_CORES
    return DeviceWork(cost, counts.batches_of(instance), cpu_ns / 1e9, feeder_ns / 1e9, on_cores)


def _instance(
    counts: Counts,
    seconds: float,
    number: int,
    device: str,
    attached: Attached | None,
    busy_ratio: float,
) -> InstanceReport:
    batches = counts.batches_of(number)
    images, ran = inference_count(batches), execution_count(batches)
    mean = images / ran if ran else None
    return InstanceReport(number, device, attached, busy_ratio, images / seconds, mean)
