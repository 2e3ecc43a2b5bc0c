"""``python -m benchmarks.analysis``: how near ``millrace analyze`` comes to the bare loop.

Fashion-MNIST's 10,000 test images through a ResNet-20 (which knows none of them: only speed counts
here) and photos through MobileNetV2, in rounds that alternate with the bare loop.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from analyzer.dataset_survey import Survey, survey
from analyzer.local import LocalModel, Place
from analyzer.run import run
from analyzer.run_analysis import Request, analyse
from analyzer.sources import open_dataset
from analyzer.write_all import write_all
from benchmarks import options
from benchmarks.bare import BATCH_SIZES, BareResult, bare_loop
from benchmarks.errors import BenchmarkError
from benchmarks.models import MODELS, package
from benchmarks.page import Finding, Section, findings, number, table
from model_store.package import ModelPackage
from predictor.settings import Settings

SECTION = Section("analysis", "python -m benchmarks.analysis")
ENOUGH = 0.9  # of the bare loop, to be reached
CHOOSING_S = 2.0
PHOTO_COPIES = 15  # of 20 photos

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Compared:
    """One model and dataset: images per second by rounds.

    Attributes:
        name: of both.
        images: in the dataset.
        bare: of the bare loop.
        classified: of the analyzer's classifying, answers kept as they come.
        whole: images by all seconds of the analysis, from opening files to the written report.
        bare_cpu_s, own_cpu_s: CPU time of an image in the bare loop, and when it is classified.
    """

    name: str
    images: int
    bare: tuple[float, ...]
    classified: tuple[float, ...]
    whole: tuple[float, ...]
    bare_cpu_s: tuple[float, ...]
    own_cpu_s: tuple[float, ...]

    @property
    def cpu_ratio(self) -> float:
        """What the bare loop's CPU time is of ours, median: 1 where nothing is added."""
        return statistics.median(
            bare / own for bare, own in zip(self.bare_cpu_s, self.own_cpu_s, strict=True)
        )

    def ratio(self, rates: Sequence[float]) -> float:
        """The median of ratios within a round."""
        return statistics.median(own / bare for own, bare in zip(rates, self.bare, strict=True))


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=6.0, show_default=True, help="Of the bare loop, each round.")
@options.write
@options.assets
def main(*, rounds: int, seconds: float, write: bool, assets: Path) -> None:
    """Compare the analyzer with the bare loop and print Markdown."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            compared = [
                compare(name, source, assets, folder / name, rounds, seconds)
                for name, source in (
                    ("resnet20_cifar10", assets / "images/fashion-mnist/test.zip"),
                    ("mobilenet_v2", _photos(assets, folder / "photos.csv")),
                )
            ]
        except BenchmarkError as error:
            raise click.ClickException(str(error)) from error
    SECTION.publish(markdown(compared), write=write)


def compare(
    name: str, source: Path, assets: Path, folder: Path, rounds: int, seconds: float
) -> Compared:
    """Measure one model on one dataset."""
    made = package(MODELS[name], assets, folder)
    seen = survey(open_dataset(str(source)), _silent)
    images = [seen.read(number) for number in range(len(seen.digests)) if not seen.errors[number]]
    batch = max(
        BATCH_SIZES,
        key=lambda size: bare_loop(made.path, images, size, CHOOSING_S).images_per_second,
    )
    rates: list[tuple[float, float, float, float, float]] = []
    for round_ in range(rounds):
        loop = bare_loop(made.path, images, batch, seconds)
        bare, bare_cpu_s = loop.images_per_second, _cpu_s(loop)
        own, own_cpu_s = _classified(made, seen, folder / f"kept-{round_}")
        whole = _whole(made, source, len(images), folder / f"out-{round_}")
        rates.append((bare, own, whole, bare_cpu_s, own_cpu_s))
        progress.print(f"{name}: bare {bare:.0f}, classified {own:.0f}, whole {whole:.0f} images/s")
    return Compared(name, len(images), *zip(*rates, strict=True))


def markdown(compared: Sequence[Compared]) -> list[str]:
    """The section."""
    return [
        "## Analysis",
        "",
        *findings(
            [
                Finding(
                    f"{each.name}: classifying {each.images:,} images ≥ {ENOUGH} of the bare loop",
                    f"{each.ratio(each.classified):.2f}; by CPU time {each.cpu_ratio:.2f}",
                    min(each.ratio(each.classified), each.cpu_ratio) >= ENOUGH,
                )
                for each in compared
            ]
        ),
        "",
        "Images/s, medians of alternating rounds; ratios to the bare loop are taken within a "
        "round. *Whole* is everything that `millrace analyze --no-speed` does, from opening the "
        "files to the written report: checks, metrics, thumbnails, charts.",
        "",
        *table(
            ("model", "images", "bare loop", "classifying", "ratio", "by CPU", "whole", "ratio"),
            [
                (
                    each.name,
                    number(each.images, 0),
                    number(statistics.median(each.bare), 0),
                    number(statistics.median(each.classified), 0),
                    f"{each.ratio(each.classified):.2f}",
                    f"{each.cpu_ratio:.2f}",
                    number(statistics.median(each.whole), 0),
                    f"{each.ratio(each.whole):.2f}",
                )
                for each in compared
            ],
        ),
    ]


def _cpu_s(loop: BareResult) -> float:
    """Of an image."""
    return sum(one.usage.cpu_s for one in loop.workers) / sum(one.images for one in loop.workers)


def _classified(made: ModelPackage, seen: Survey, folder: Path) -> tuple[float, float]:
    """Images per second, and the CPU seconds of one."""
    settings = Settings()
    place = Place(
        "cpu", len(os.sched_getaffinity(0)), settings.decode_limits, settings.scaled_decode
    )
    model = LocalModel(made.name, made.name, made, made.manifest.variants[0], place)
    try:
        model.open()
        before = time.process_time()
        outcome = run(model, seen, folder, _silent)
        return outcome.images_per_second, (time.process_time() - before) / outcome.images
    finally:
        model.close()


def _whole(made: ModelPackage, source: Path, images: int, out: Path) -> float:
    began = time.perf_counter()
    request = Request(
        models=(str(made.path),),
        datasets=(str(source),),
        out=out,
        settings=Settings(),
        device="cpu",
        speed=False,
    )
    write_all(analyse(request, _silent), out, (), _silent)
    return images / (time.perf_counter() - began)


def _photos(assets: Path, file: Path) -> Path:
    """A table that names every photo several times: there are only few."""
    photos = sorted((assets / "images/photos").glob("*.[jpb][pnm][gp]"))
    lines = [f"{photo},-1" for photo in photos for _ in range(PHOTO_COPIES)]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def _silent(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""


if __name__ == "__main__":
    main()
