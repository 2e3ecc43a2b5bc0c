"""``python -m benchmarks.devices``: accelerators side by side, emulated, so that two cores will do.

An emulated device sleeps ``A + B·n`` milliseconds for a batch of n. Two unlike ones: what both give
against the sum of each alone, and what the slow one does to the latency at a light load. Up to 32
like ones: images a second against what they could do, and where the frontends become the limit.
Images come as pixels, small, many in a request: decoding is not what is measured here.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from benchmarks import options
from benchmarks.emulation import IMAGES, SIZE, Bench, Light, Speed, bench_of, text_of
from benchmarks.errors import BenchmarkError
from benchmarks.load import require_tools
from benchmarks.page import Finding, Section, findings, number, table
from benchmarks.side_by_side import priority_text
from examples.server import ServerError

SECTION = Section("devices", "python -m benchmarks.devices")
LIGHT_SHARE = 0.1  # of what the fast device gives alone
# What is to be reached.
SUM, LIGHT, IDEAL = 0.95, 1.1, 0.95
BUSY = 0.85  # of a core: a frontend that has no more to give

progress = Console(stderr=True, highlight=False, soft_wrap=True)


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
@options.write
@options.assets
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
        bench = bench_of(seconds, frontends, assets, progress.print)
        lines = [*_unlike(bench, fast, others[0], rounds)]
        if scale:
            lines += ["", *_scaled(bench, alike, [int(count) for count in scale.split(",")])]
    except (BenchmarkError, ServerError) as error:
        raise click.ClickException(str(error)) from error
    SECTION.publish(["## Emulated devices", "", *lines], write=write)


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
        f"Medians of {rounds} rounds of {bench.seconds} s; ratios are taken within a round. "
        f"{priority_text()}",
        "",
        *findings(found),
        "",
        *table(
            ("devices", "images/s", f"p50 ms at {rate:.0f}/s", "p99 ms"),
            [
                (
                    text_of(devices),
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


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.devices")
