"""Pods on emulated devices: their speed when kept busy, and their latency at a light load."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.idle_network import idle_model
from benchmarks.load import run_wrk
from benchmarks.models import MODELS, Model, package
from benchmarks.open_loop import run_open_loop
from benchmarks.payloads import v2_noise
from benchmarks.processes import Meter
from benchmarks.servers import Running, millrace

FOLDER = Path("var/bench-devices")
SIZE = 32  # pixels, height and width
LARGEST_BATCH = 64  # what an instance tries at warm-up
WAITING = 3 * LARGEST_BATCH  # images per device: one batch runs, one is gathered, one is on its way
IMAGES = 8  # of a request of the closed loop
WARM_UP_S = 1
LIGHT_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Speed:
    """What some devices gave in a closed loop."""

    devices: tuple[str, ...]
    images_per_second: float
    p99_ms: float
    frontend_cores: float  # of the busiest frontend
    all_cores: float  # of the pod and the load tool


@dataclass(frozen=True, slots=True)
class Light:
    """Latency of single images at a light load."""

    devices: tuple[str, ...]
    rate: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Bench:
    """How everything is measured."""

    model: Model
    seconds: int
    frontends: int
    many: Path  # a request of IMAGES images
    single: Path
    say: Callable[[str], None]

    def speed(self, devices: tuple[str, ...]) -> Speed:
        """As many requests in flight as keep all devices busy."""
        connections = WAITING * len(devices) // IMAGES
        with self._serve(devices) as running:
            run_wrk(running.http_port, [self.many], connections, WARM_UP_S)
            meter = Meter(running.server.family())
            load = run_wrk(running.http_port, [self.many], connections, self.seconds)
            usages = meter.read()
        frontends = [usage.cpu_s for usage in usages if "frontend" in usage.title]
        spent_s = sum(usage.cpu_s for usage in usages) + load.tool_cpu_s
        speed = Speed(
            devices,
            IMAGES * load.requests / load.seconds,
            load.p99_ms,
            max(frontends) / load.seconds,
            spent_s / load.seconds,
        )
        self.say(f"{text_of(devices)}: {speed.images_per_second:,.0f} images/s")
        return speed

    def light(self, devices: tuple[str, ...], rate: float) -> Light:
        """Single images at ``rate`` a second, answered or not."""
        with self._serve(devices) as running:
            answers = run_open_loop(
                running.http_port, [self.single], rate, self.seconds, LIGHT_WAIT_S, FOLDER / "light"
            )
        p50_ms, p99_ms = answers.percentile_ms(50), answers.percentile_ms(99)
        if p50_ms is None or p99_ms is None or set(answers.counts) != {200}:
            raise BenchmarkError(f"a light load was not answered: {answers.counts}")
        self.say(f"{text_of(devices)} at {rate:.0f}/s: p99 {p99_ms:.1f} ms")
        return Light(devices, rate, p50_ms, p99_ms)

    def _serve(self, devices: tuple[str, ...]) -> AbstractContextManager[Running]:
        pod = replace(self.model, frontends=self.frontends, instances=len(devices))
        slots = str(2 * WAITING * len(devices))
        settings = ["--devices", ",".join(devices), "--max-queue-size", slots]
        return millrace(pod, FOLDER / "store", FOLDER / "millrace.log", *settings)


def bench_of(seconds: int, frontends: int, assets: Path, say: Callable[[str], None]) -> Bench:
    """Package a network of next to no cost, and write its requests."""
    model = idle_model(MODELS["resnet20_cifar10"], SIZE, FOLDER)
    package(model, assets, FOLDER / "store")
    files = {}
    for images in (IMAGES, 1):
        files[images] = FOLDER / f"{images}.request"
        files[images].write_bytes(v2_noise(model.name, images, SIZE, seed=images))
    return Bench(model, seconds, frontends, files[IMAGES], files[1], say)


def text_of(devices: tuple[str, ...]) -> str:
    """As a reader of the results sees them."""
    alike = len(devices) > 1 and len(set(devices)) == 1
    return f"{len(devices)} x {devices[0]}" if alike else " and ".join(devices)
