"""``python -m benchmarks.stages``: whether a pod's stages can do what it says they can.

Each stage's capacity is read while another stage limits the pod; then it is made the limit itself.
And what counting costs, and what preloaded images are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from benchmarks import options
from benchmarks.errors import BenchmarkError
from benchmarks.load import require_tools
from benchmarks.page import Finding, Section, findings, number, table
from benchmarks.preloading import Way, preloaded_ways
from benchmarks.recording import Recording, measure
from benchmarks.starving import Pods, Starved, slow_readers, starve
from examples.server import ServerError

SECTION = Section("stages", "python -m benchmarks.stages")
# What is to be reached.
CLOSE, COST = 0.10, 0.02

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@click.command()
@click.option("--seconds", default=12, show_default=True, type=click.IntRange(11), help="Per cell.")
@options.write
@options.assets
def main(*, seconds: int, write: bool, assets: Path) -> None:
    """Starve each stage in turn and print Markdown."""
    try:
        require_tools()
        pods = Pods.prepare(assets)
        starved = [starve(case, seconds, progress.print) for case in pods.cases(assets)]
        readers = slow_readers(pods, progress.print)
        ways = preloaded_ways(pods, assets, seconds, progress.print)
        recording = measure()
    except (BenchmarkError, ServerError) as error:
        raise click.ClickException(str(error)) from error
    SECTION.publish(markdown(starved, readers, ways, recording), write=write)


def markdown(
    starved: Sequence[Starved],
    readers: tuple[float, float, str],
    ways: Sequence[Way],
    recording: Recording,
) -> list[str]:
    """The section."""
    return [
        "## Stages",
        "",
        *findings([*_findings(starved, readers), *_cost_findings(starved, recording)]),
        "",
        "Capacities in images/s: as the pod gave it while another stage limited, as it did when "
        "the stage was made the limit, and what was answered then.",
        "",
        *table(
            (
                "stage",
                "",
                "limit before",
                "predicted",
                "given",
                "done",
                "done / predicted",
                "named",
            ),
            [*(_cells(each) for each in starved), _reader_cells(readers)],
        ),
        "",
        *(f'- {each.case.stage}: "{each.advice}"' for each in starved),
        "",
        "`copy` and `collect` cannot be made the limit on two cores: the event loop does more for "
        "each image than the feeder and the instance's thread do besides inference.",
        "",
        f"Counting takes {recording.request_us:.1f} µs for a request of one image and "
        f"{recording.batch_us:.1f} µs for a batch (`benchmarks.recording`). Clocks are read four "
        "times a second, images or not.",
        "",
        "**Preloaded images**: ms of one worker for an image, by stage; one event loop, two decode "
        "threads, one image a request, 16 in flight.",
        "",
        *table(
            ("sent as", "images/s", "receive", "decode", "copy", "respond", "limit"),
            [_way_cells(way) for way in ways],
        ),
    ]


def _findings(starved: Sequence[Starved], readers: tuple[float, float, str]) -> list[Finding]:
    named = [each.named == each.case.stage for each in starved] + [readers[2] == "respond"]
    ratios = [(each.case.stage, each.actual / each.predicted) for each in starved]
    ratios.append(("respond", readers[1] / readers[0]))
    said = ", ".join(f"{stage} {ratio:.2f}" for stage, ratio in ratios)
    return [
        Finding(
            "the stage that is starved is named",
            f"{sum(named)} of {len(named)}",
            all(named),
        ),
        Finding(
            f"capacity predicted within {CLOSE:.0%} of what is done",
            said,
            all(abs(ratio - 1) <= CLOSE for _, ratio in ratios),
        ),
    ]


def _cost_findings(starved: Sequence[Starved], recording: Recording) -> list[Finding]:
    photos = starved[-1]
    spent_us = recording.request_us + recording.batch_us
    share = spent_us / 1e6 * photos.actual / 2
    return [
        Finding(
            f"metrics cost < {COST:.0%} of throughput",
            f"MobileNetV2: {share:.2%} of two cores, were every batch of one image",
            share < COST,
        )
    ]


def _cells(each: Starved) -> tuple[str, ...]:
    return (
        each.case.stage,
        each.case.title,
        each.limit_before,
        number(each.predicted, 0),
        number(each.reported, 0),
        number(each.actual, 0),
        number(each.actual / each.predicted, 2),
        each.named,
    )


def _reader_cells(readers: tuple[float, float, str]) -> tuple[str, ...]:
    said, actual, named = readers
    return (
        "respond",
        "two slow readers",
        "-",
        "-",
        number(said, 0),
        number(actual, 0),
        number(actual / said, 2),
        named,
    )


def _way_cells(way: Way) -> tuple[str, ...]:
    stages = [number(way.busy_ms[name], 3) for name in ("receive", "decode", "copy", "respond")]
    return (way.title, number(way.images_per_second, 0), *stages, way.limit)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.stages")
