"""Real pods of emulated devices under a closed loop: what they give, and what it takes of cores."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from study.device import Device
from study.errors import StudyError
from study.load import Ask, Load, Loaded
from study.real_pod import Batches, PodOrder, RealPod, real_pod

WAITING = 4  # batches in flight per device: one runs, one is gathered, the others are on their way
WARM_UP_S = 1.5  # at most, and no longer than what is measured
# A core that is busy for so much of the time has no more to give: the rest is waiting for others.
BUSY = 0.8
FULL = 0.9  # of all cores together
MUCH = 0.1  # of all cores, for others: then what was measured is theirs as well
CORES, SHARED_CORES, FRONTENDS = "cores", "cores (others use them)", "frontends"


@dataclass(frozen=True, slots=True)
class Cores:
    """How many cores were busy, on average.

    Attributes:
        busiest_frontend, frontends, instances, load: of the pod, and of the load client.
        machine: of everything that runs here, others' work as well.
        there: how many cores there are.
    """

    busiest_frontend: float
    frontends: float
    instances: float
    load: float
    machine: float
    there: int

    @property
    def limit(self) -> str:
        """What had no more to give; empty where it was not the cores."""
        if self.machine >= FULL * self.there:
            return SHARED_CORES if self.others >= MUCH * self.there else CORES
        return FRONTENDS if self.busiest_frontend >= BUSY else ""

    @property
    def others(self) -> float:
        """How many were busy with what is neither the pod nor its load."""
        return max(0.0, self.machine - self.frontends - self.instances - self.load)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a pod gave: to its clients, by its own statistics, and at what price."""

    loaded: Loaded
    batches: Batches
    seconds: float
    cores: Cores
    ready_s: float

    def rate(self, clients: int, images: int) -> float:
        """Images a second by Little's law, which knows no edges of a window.

        Args:
            clients: that asked again and again.
            images: of each request.
        """
        return clients * images / self.loaded.mean_s


@dataclass(frozen=True, slots=True)
class Bench:
    """How real pods are measured.

    Attributes:
        load: who asks.
        model, store: the package that is served.
        size: of its input, height and width in pixels.
        images: of each request.
        frontends: processes of each pod.
        seconds: that count, of each measurement.
        folder: where pods write their logs.
    """

    load: Load
    model: str
    store: Path
    size: tuple[int, int]
    images: int
    frontends: int
    seconds: float
    folder: Path

    def clients(self, device: Device, devices: int) -> int:
        """As many requests in flight as keep all devices busy."""
        return max(1, -(-WAITING * device.batch * devices // self.images))

    def slots(self, device: Device, devices: int) -> int:
        """Of each frontend: room for all of it, wherever connections end up."""
        return max(256, self.clients(device, devices) * self.images)

    @contextmanager
    def pod(self, device: Device, devices: int) -> Iterator[RealPod]:
        """A pod with so many of them."""
        order = PodOrder(
            self.model,
            self.store,
            (device.setting,) * devices,
            self.frontends,
            self.slots(device, devices),
            device.batch,
        )
        with real_pod(order, self.folder / f"pod-{devices}.log") as pod:
            yield pod

    def keep_busy(self, pod: RealPod, clients: int, images: int, seconds: float) -> Seen:
        """A closed loop, and what everybody did meanwhile.

        Raises:
            StudyError: requests failed, or none was answered.
        """
        ask = Ask(
            pod.endpoint, pod.model, self.size, images, clients, min(WARM_UP_S, seconds), seconds
        )
        watch = Watch(pod)
        loaded = self.load(ask)
        seen = watch.read(loaded)
        if loaded.failed:
            raise StudyError(f"{loaded.failed} requests failed; see the logs in {self.folder}")
        if not loaded.mean_s:
            raise StudyError(f"nothing was answered in {seconds:g} s; give it more --seconds")
        return seen


class Watch:
    """What was spent since it was made."""

    def __init__(self, pod: RealPod) -> None:
        self._pod = pod
        self._began = time.perf_counter()
        self._batches = pod.batches()
        self._cpu = pod.cpu()
        self._own = _own_cpu_s()
        self._machine = psutil.cpu_times()

    def read(self, loaded: Loaded) -> Seen:
        """Up to now; warm-up and all, since a closed loop is as busy there."""
        seconds = time.perf_counter() - self._began
        machine = psutil.cpu_times()
        idle_s = machine.idle + machine.iowait - self._machine.idle - self._machine.iowait
        cpu = self._pod.cpu().since(self._cpu)
        cores = os.cpu_count() or 1
        return Seen(
            loaded,
            self._pod.batches().since(self._batches),
            seconds,
            Cores(
                max(cpu.frontends) / seconds,
                sum(cpu.frontends) / seconds,
                cpu.instances / seconds,
                (_own_cpu_s() - self._own) / seconds,
                cores - idle_s / seconds,
                cores,
            ),
            self._pod.ready_s,
        )


def _own_cpu_s() -> float:
    """Of this process and of the load client's, which it waits for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
