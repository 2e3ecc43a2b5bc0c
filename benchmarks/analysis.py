"""``python -m benchmarks.analysis``: how near ``millrace analyze`` comes to the bare loop.

Fashion-MNIST's 10,000 test images through a ResNet that was trained on the others, and photos
through MobileNetV2, in rounds that alternate with the bare loop.
"""

from __future__ import annotations

import os
import shutil
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
from analyzer.result import Rate
from analyzer.run import run
from analyzer.run_analysis import Request, analyse
from analyzer.sources import open_dataset
from analyzer.write_all import read_result, write_all
from benchmarks import garments, options
from benchmarks.bare import BATCH_SIZES, BareResult, bare_loop
from benchmarks.errors import BenchmarkError
from benchmarks.models import MODELS, Model, package
from benchmarks.page import Finding, Section, findings, number, table
from model_store.package import ModelPackage
from predictor.settings import Settings

SECTION = Section("analysis", "python -m benchmarks.analysis")
ENOUGH = 0.9  # of the bare loop, to be reached
CHOOSING_S = 2.0
PHOTO_COPIES = 15  # of 20 photos
OPENS_S, LARGEST_MB, OPENINGS = 2.0, 15, 5

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Page:
    """A report, as a browser opens it from disk.

    Attributes:
        bytes: of its file.
        ready_s: until all of it was drawn, the best of five; None where there is no Chromium.
    """

    bytes: int
    ready_s: float | None


@dataclass(frozen=True, slots=True)
class Compared:
    """One model and dataset: images per second by rounds.

    Attributes:
        name: of both.
        images: in the dataset.
        top1: where the truth is known.
        page: of the report.
        bare: of the bare loop.
        classified: of the analyzer's classifying, answers kept as they come.
        whole: images by all seconds of the analysis, from opening files to the written report.
        bare_cpu_s, own_cpu_s: CPU time of an image in the bare loop, and when it is classified.
    """

    name: str
    images: int
    top1: Rate | None
    page: Page
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
                compare(model, source, assets, folder / model.name, rounds, seconds)
                for model, source in (
                    (
                        garments.model(assets, progress.print),
                        assets / "images/fashion-mnist/test.zip",
                    ),
                    (MODELS["mobilenet_v2"], _photos(assets, folder / "photos.csv")),
                )
            ]
        except BenchmarkError as error:
            raise click.ClickException(str(error)) from error
    SECTION.publish(markdown(compared), write=write)


def compare(
    model: Model, source: Path, assets: Path, folder: Path, rounds: int, seconds: float
) -> Compared:
    """Measure one model on one dataset."""
    name = model.name
    made = package(model, assets, folder)
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
        out = folder / f"out-{round_}"
        whole = _whole(made, source, len(images), out)
        rates.append((bare, own, whole, bare_cpu_s, own_cpu_s))
        progress.print(f"{name}: bare {bare:.0f}, classified {own:.0f}, whole {whole:.0f} images/s")
    result = read_result(out / "result.json")
    top = result.evaluations[0].accuracy.top
    page = Page((out / "report.html").stat().st_size, _ready_s(out / "report.html"))
    top1 = top[0].hits if top else None
    return Compared(name, len(images), top1, page, *zip(*rates, strict=True))


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
            + [_page_finding(each) for each in compared if each.page.ready_s is not None]
        ),
        "",
        "Images/s, medians of alternating rounds; ratios to the bare loop are taken within a "
        "round. *Whole* is everything that `millrace analyze --no-speed` does, from opening the "
        "files to the written report: checks, metrics, thumbnails, charts.",
        "",
        *table(
            (
                *("model", "images", "top-1", "bare loop", "classifying", "ratio", "by CPU"),
                *("whole", "ratio"),
            ),
            [
                (
                    each.name,
                    number(each.images, 0),
                    f"{each.top1.rate:.3f}" if each.top1 and each.top1.of else "-",
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


def _page_finding(each: Compared) -> Finding:
    page = each.page
    return Finding(
        f"{each.name}: the page of {each.images:,} images opens in < {OPENS_S:.0f} s "
        f"and has < {LARGEST_MB} MB",
        f"{page.ready_s:.2f} s, {page.bytes / 1e6:.1f} MB",
        (page.ready_s or 0) < OPENS_S and page.bytes < LARGEST_MB * 1e6,
    )


def _ready_s(report: Path) -> float | None:
    """By the page's own clock, from the request to all sections drawn."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    times = []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(OPENINGS):
            page = browser.new_page()
            page.goto(report.resolve().as_uri())
            page.wait_for_function("performance.getEntriesByName('ready').length > 0")
            times.append(page.evaluate("performance.getEntriesByName('ready')[0].startTime / 1000"))
            page.close()
        browser.close()
    return float(min(times))


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
