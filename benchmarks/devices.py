"""``python -m benchmarks.devices``: accelerators side by side, emulated, so that two cores will do.

An emulated device sleeps ``A + B·n`` milliseconds for a batch of n. Two unlike ones: what both give
against the sum of each alone, and what the slow one does to the latency at a light load. Up to 32
like ones: images a second against what they could do, and where the frontends become the limit.
Images come as pixels, small, many in a request: decoding is not what is measured here.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import click
from rich.console import Console

from benchmarks.errors import BenchmarkError
from benchmarks.idle_network import idle_model
from benchmarks.load import require_tools, run_wrk
from benchmarks.models import MODELS, Model, package
from benchmarks.open_loop import run_open_loop
from benchmarks.page import Finding, Section, findings, number, table
from benchmarks.payloads import v2_noise
from benchmarks.processes import Meter
from benchmarks.servers import Running, millrace
from examples.server import ServerError

SECTION = Section("devices", "python -m benchmarks.devices")
FOLDER = Path("var/bench-devices")
SIZE = 32  # pixels, height and width
LARGEST_BATCH = 64  # what an instance tries at warm-up
WAITING = 3 * LARGEST_BATCH  # images per device: one batch runs, one is gathered, one is on its way
IMAGES = 8  # of a request of the closed loop
WARM_UP_S = 1
LIGHT_SHARE = 0.1  # of what the fast device gives alone
LIGHT_WAIT_S = 1.0
# What is to be reached.
SUM, LIGHT, IDEAL = 0.95, 1.1, 0.95
BUSY = 0.85  # of a core: a frontend that has no more to give

progress = Console(stderr=True, highlight=False, soft_wrap=True)


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
        progress.print(f"{_text(devices)}: {speed.images_per_second:,.0f} images/s")
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
        progress.print(f"{_text(devices)} at {rate:.0f}/s: p99 {p99_ms:.1f} ms")
        return Light(devices, rate, p50_ms, p99_ms)

    def _serve(self, devices: tuple[str, ...]) -> AbstractContextManager[Running]:
        pod = replace(self.model, frontends=self.frontends, instances=len(devices))
        slots = str(2 * WAITING * len(devices))
        settings = ["--devices", ",".join(devices), "--max-queue-size", slots]
        return millrace(pod, FOLDER / "store", FOLDER / "millrace.log", *settings)


@click.command()
@click.option(
    "--devices",
    "pair",
    default="emulated:5+0.5,emulated:20+10",
    show_default=True,
    help="Two unlike ones, the faster first.",
)
@click.option("--alike", default="emulated:20+2", show_default=True, help="The one that is scaled.")
@click.option("--scale", default="1,2,4,8,16,32", show_default=True, help="How many; empty: none.")
@click.option("--seconds", default=10, show_default=True, type=click.IntRange(2), help="Per cell.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Of the two.")
@click.option("--frontends", default=1, show_default=True, type=click.IntRange(1))
@click.option("--write", is_flag=True, help="Renew the section of RESULTS.md.")
@click.option(
    "--assets",
    default="../shared/assets",
    envvar="MILLRACE_TEST_ASSETS",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of the models and photos; MILLRACE_TEST_ASSETS says the same.",
)
def main(
    *,
    pair: str,
    alike: str,
    scale: str,
    seconds: int,
    rounds: int,
    frontends: int,
    write: bool,
    assets: Path,
) -> None:
    """Measure emulated devices and print Markdown."""
    fast, *others = pair.split(",")
    if len(others) != 1:
        raise click.UsageError("--devices takes two, separated by a comma")
    try:
        require_tools()
        bench = _prepare(seconds, frontends, assets)
        lines = [*_unlike(bench, fast, others[0], rounds)]
        if scale:
            lines += ["", *_scaled(bench, alike, [int(count) for count in scale.split(",")])]
    except (BenchmarkError, ServerError) as error:
        raise click.ClickException(str(error)) from error
    section = SECTION.wrap(["## Emulated devices", "", *lines])
    click.echo(section)
    if write:
        SECTION.write(section)


def _prepare(seconds: int, frontends: int, assets: Path) -> Bench:
    model = idle_model(MODELS["resnet20_cifar10"], SIZE, FOLDER)
    package(model, assets, FOLDER / "store")
    files = {}
    for images in (IMAGES, 1):
        files[images] = FOLDER / f"{images}.request"
        files[images].write_bytes(v2_noise(model.name, images, SIZE, seed=images))
    return Bench(model, seconds, frontends, files[IMAGES], files[1])


def _unlike(bench: Bench, fast: str, slow: str, rounds: int) -> list[str]:
    """Each alone and both together, in alternating rounds."""
    cases = ((fast,), (slow,), (fast, slow))
    speeds = [tuple(bench.speed(devices) for devices in cases) for _ in range(rounds)]
    ratio = statistics.median(
        both.images_per_second / (one.images_per_second + other.images_per_second)
        for one, other, both in speeds
    )
    rate = LIGHT_SHARE * statistics.median(each[0].images_per_second for each in speeds)
    lights = [
        tuple(bench.light(devices, rate) for devices in (cases[0], cases[2])) for _ in range(rounds)
    ]
    slower = statistics.median(both.p99_ms / alone.p99_ms for alone, both in lights)
    found = [
        Finding(f"both together ≥ {SUM} of the sum", f"{ratio:.3f}", ratio >= SUM),
        Finding(
            f"p99 at {LIGHT_SHARE} of the fast one's load ≤ {LIGHT} times its own",
            f"{slower:.2f} times",
            slower <= LIGHT,
        ),
    ]
    return [
        f"Medians of {rounds} rounds of {bench.seconds} s; ratios are taken within a round.",
        "",
        *findings(found),
        "",
        *table(
            ("devices", "images/s", f"p50 ms at {rate:.0f}/s", "p99 ms"),
            [
                (
                    _text(devices),
                    number(statistics.median(each[case].images_per_second for each in speeds), 0),
                    *_light_cells(devices, [light for pair in lights for light in pair]),
                )
                for case, devices in enumerate(cases)
            ],
        ),
    ]


def _light_cells(devices: tuple[str, ...], lights: Sequence[Light]) -> tuple[str, str]:
    own = [light for light in lights if light.devices == devices]
    if not own:
        return "-", "-"
    p50_ms = statistics.median(light.p50_ms for light in own)
    return number(p50_ms, 1), number(statistics.median(light.p99_ms for light in own), 1)


def _scaled(bench: Bench, device: str, counts: Sequence[int]) -> list[str]:
    speeds = [bench.speed((device,) * count) for count in counts]
    alone = speeds[0].images_per_second / counts[0]
    return [
        f"`{device}`, {bench.frontends} frontend(s), {IMAGES} images of {SIZE} by {SIZE} pixels a "
        "request; the ideal is the first row's speed per device.",
        "",
        *table(
            ("devices", "images/s", "of the ideal", "p99 ms", "busiest frontend", "cores", "limit"),
            [_scaled_cells(speed, alone) for speed in speeds],
        ),
    ]


def _scaled_cells(speed: Speed, alone: float) -> tuple[str, ...]:
    count = len(speed.devices)
    share = speed.images_per_second / (count * alone)
    return (
        str(count),
        number(speed.images_per_second, 0),
        number(share, 2),
        number(speed.p99_ms, 0),
        f"{speed.frontend_cores:.2f} cores",
        number(speed.all_cores, 2),
        limit(share, speed.frontend_cores),
    )


def limit(share: float, frontend_cores: float) -> str:
    """What keeps these devices from giving more, as far as it can be told from outside."""
    if share >= IDEAL:
        return "the devices"
    return "the frontends" if frontend_cores >= BUSY else "neither alone"


def _text(devices: tuple[str, ...]) -> str:
    alike = len(devices) > 1 and len(set(devices)) == 1
    return f"{len(devices)} x {devices[0]}" if alike else " and ".join(devices)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.devices")
