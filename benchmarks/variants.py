"""``python -m benchmarks.variants``: what half precision and 8 bits are worth on this CPU.

MobileNetV2 is packaged with all variants, twice: what one half of the photos calibrates is proven
on the other half, so that every photo is held out once. Those of the first package are timed
against fp32 in alternating rounds.
"""

from __future__ import annotations

import dataclasses
import io
import shlex
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.console import Console

from benchmarks import options
from benchmarks.errors import BenchmarkError
from benchmarks.models import MODELS, package
from benchmarks.page import Finding, Section, findings, number, table
from model_store.answers import ServingGraph
from model_store.package import Comparison, ModelPackage, Variant
from model_store.parity import in_batches
from model_store.quantisation_search import compare
from model_store.reference import image_files, reference_pixels
from predictor.runtimes.onnx import OnnxRuntime

SECTION = Section("variants", "python -m benchmarks.variants")
# What is to be reached.
RATIO, AGREEMENT = 1.9, 0.97
BATCHES = (1, 4, 8)
SESSIONS = (1, 2)  # at a time, of one thread each
ANY_AGREEMENT = 0.5  # what misses the bound is to be reported here and not refused
# What is cut out of a photo: share of its sides, and where from the left and from the top. Corners
# often miss what the photo is of, so that the network itself is in doubt.
CENTRE = 0.5
CUTS = ((1.0, CENTRE, CENTRE), (0.8, CENTRE, CENTRE), (0.65, CENTRE, CENTRE))
CORNERS = tuple((0.75, x, y) for y in (0.0, 1.0) for x in (0.0, 1.0))
# Others, which nobody looked at while it was decided how to quantise.
FRESH = (
    *((0.9, 0.2, 0.7), (0.9, 0.8, 0.3), (0.85, 0.5, 0.9), (0.85, 0.1, 0.5)),
    *((0.7, 0.3, 0.6), (0.7, 0.7, 0.4), (0.6, 0.35, 0.5), (0.55, 0.5, 0.4)),
)
JPEG_QUALITY = 90

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Timed:
    """One variant in batches of ``batch``, in so many sessions at a time.

    ``rates`` and ``first`` are images per second of the variant and of fp32, round by round.
    """

    variant: Variant
    batch: int
    sessions: int
    rates: tuple[float, ...]
    first: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """How many times as fast as fp32, round by round."""
        return [own / first for own, first in zip(self.rates, self.first, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of them."""
        return statistics.median(self.ratios)


@click.command()
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(1), help="Per cell.")
@click.option("--seconds", default=1.0, show_default=True, help="Per round and variant.")
@options.write
@options.assets
def main(*, rounds: int, seconds: float, write: bool, assets: Path) -> None:
    """Package MobileNetV2 with all its variants, time them and print Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            both = _packaged_twice(assets, Path(folder))
        except BenchmarkError as error:
            raise click.ClickException(str(error)) from error
        fresh = [_on_fresh_cuts(each, assets, place) for place, each in enumerate(both)]
        made = both[0]
        pixels = _pixels(made, Path(folder, "odd"))
        timed = [
            _time(made, variant, pixels[:batch], sessions, rounds, seconds)
            for variant in made.manifest.variants[1:]
            for sessions in SESSIONS
            for batch in BATCHES
        ]
    SECTION.publish(markdown(both, fresh, timed), write=write)


def markdown(
    both: Sequence[ModelPackage], fresh: Sequence[Comparison], timed: Sequence[Timed]
) -> list[str]:
    """The section."""
    images = sum(each.images for each in fresh)
    agreement = sum(each.top1_agreement * each.images for each in fresh) / images
    return [
        "## Variants",
        "",
        *findings(_findings(both, timed)),
        "",
        "MobileNetV2, calibrated on cuts and mirror images of 10 photos and proven on those of 10 "
        "others, then the other way round. In 8 bits weights are per channel, and the last layer "
        "is in float. These photos are few, and were seen while it was decided how to quantise. On "
        f"{images} other cuts of the held-out photos, which were not seen then, int8 names the "
        f"same class for {agreement:.1%} ({_both(fresh)}). A package's own held-out images are the "
        "better proof.",
        "",
        *table(
            ("variant", "how", "held out", "top-1 agreement", "score difference, mean", "largest"),
            [_proof_cells(variant) for made in both for variant in made.manifest.variants[1:]],
        ),
        "",
        "Images/s of bytes in and best classes out, by CPU time (each session computes in the "
        "thread that calls it), so that what else runs on the machine disturbs little; medians of "
        "alternating rounds. The ratio is taken within a round, slowest and fastest in brackets.",
        "",
        *table(
            ("variant", "sessions of one thread", "batch", "fp32", "variant", "times fp32"),
            [_cells(each) for each in timed],
        ),
    ]


def _findings(both: Sequence[ModelPackage], timed: Sequence[Timed]) -> list[Finding]:
    ratios = [each.ratio for each in timed if each.variant.precision == "int8"]
    proven = [
        variant.proof.held_out
        for made in both
        for variant in made.manifest.variants
        if variant.precision == "int8" and variant.proof is not None
    ]
    images = sum(each.images for each in proven)
    agreement = sum(each.top1_agreement * each.images for each in proven) / images
    return [
        Finding(
            f"int8 ≥ {RATIO} times fp32 on a CPU",
            f"{min(ratios):.2f} to {max(ratios):.2f} times",
            min(ratios) >= RATIO,
        ),
        Finding(
            f"top-1 agreement ≥ {AGREEMENT:.0%} on held-out photos",
            f"{agreement:.1%} of {images} JPEGs of 20 photos",
            agreement >= AGREEMENT,
        ),
    ]


def _both(fresh: Sequence[Comparison]) -> str:
    return " and ".join(f"{each.top1_agreement:.1%}" for each in fresh)


def _on_fresh_cuts(made: ModelPackage, assets: Path, place: int) -> Comparison:
    """How int8 does on fresh cuts of the photos that this package has held out."""
    photos = image_files(assets / "images" / "photos")[1 - place :: 2]
    pixels = [reference_pixels(cut, made.manifest.input) for each in photos for cut in _fresh(each)]
    (eight,) = [each for each in made.manifest.variants if each.precision == "int8"]
    found, expected = (
        in_batches(ServingGraph(made.path / file), pixels, max(BATCHES), lambda *_: None)
        for file in (eight.file, made.manifest.variants[0].file)
    )
    return compare(found, expected)


def _fresh(photo: Path) -> Iterator[bytes]:
    with Image.open(photo) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    for share, x, y in FRESH:
        for part in (cut := _cut(picture, share, x, y), ImageOps.mirror(cut)):
            encoded = io.BytesIO()
            part.save(encoded, "JPEG", quality=JPEG_QUALITY)
            yield encoded.getvalue()


def _cut(picture: Image.Image, share: float, x: float, y: float) -> Image.Image:
    width, height = round(picture.width * share), round(picture.height * share)
    left, top = round((picture.width - width) * x), round((picture.height - height) * y)
    return picture.crop((left, top, left + width, top + height))


def _packaged_twice(assets: Path, folder: Path) -> list[ModelPackage]:
    photos = image_files(assets / "images" / "photos")
    for name, some in (("even", photos[::2]), ("odd", photos[1::2])):
        (folder / name).mkdir()
        for photo in some:
            _write_cuts(photo, folder / name)
    return [
        _packaged(assets, folder, *names, store=folder / f"store_{names[0]}")
        for names in (("even", "odd"), ("odd", "even"))
    ]


def _packaged(
    assets: Path, folder: Path, calibration: str, held_out: str, store: Path
) -> ModelPackage:
    mobilenet = MODELS["mobilenet_v2"]
    more = [
        *("--variants", "fp32,fp16,int8", "--least-agreement", str(ANY_AGREEMENT)),
        *("--calibration-images", str(folder / calibration)),
        *("--held-out-images", str(folder / held_out)),
    ]
    options = f"{mobilenet.package_options} {shlex.join(more)}"
    progress.print(f"packaging mobilenet_v2, calibrated on the {calibration} photos")
    model = dataclasses.replace(mobilenet, package_options=options)
    return package(model, assets, store)


def _write_cuts(photo: Path, folder: Path) -> None:
    with Image.open(photo) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    for share, x, y in (*CUTS, *CORNERS):
        part = _cut(picture, share, x, y)
        part.save(folder / f"{photo.stem}_{share}_{x}_{y}.jpg", quality=JPEG_QUALITY)
        if (share, x, y) in CUTS:
            mirrored = folder / f"{photo.stem}_{share}_{x}_{y}_mirrored.jpg"
            ImageOps.mirror(part).save(mirrored, quality=JPEG_QUALITY)


def _pixels(made: ModelPackage, folder: Path) -> NDArray[np.uint8]:
    files = image_files(folder)[: max(BATCHES)]
    return np.stack([reference_pixels(f.read_bytes(), made.manifest.input) for f in files])


def _time(
    made: ModelPackage,
    variant: Variant,
    images: NDArray[np.uint8],
    sessions: int,
    rounds: int,
    seconds: float,
) -> Timed:
    progress.print(f"{variant.precision}, {sessions} at a time, batches of {len(images)}")
    files = [made.path / each.file for each in (made.manifest.variants[0], variant)]
    first, own = ([OnnxRuntime(file, "cpu", 1) for _ in range(sessions)] for file in files)
    with ThreadPoolExecutor(sessions) as threads:  # ONNX Runtime gives up the interpreter's lock
        for runtime in (*first, *own):
            runtime.run(images)
        pairs = [
            (_rate(threads, first, images, seconds), _rate(threads, own, images, seconds))
            for _ in range(rounds)
        ]
    return Timed(
        variant, len(images), sessions, tuple(p[1] for p in pairs), tuple(p[0] for p in pairs)
    )


def _rate(
    threads: ThreadPoolExecutor,
    runtimes: Sequence[OnnxRuntime],
    images: NDArray[np.uint8],
    seconds: float,
) -> float:
    """Images per second of all sessions, by the time they had a core for."""

    def work(runtime: OnnxRuntime) -> float:
        end, began, batches = time.perf_counter() + seconds, time.thread_time(), 0
        while time.perf_counter() < end or not batches:
            runtime.run(images)
            batches += 1
        return batches * len(images) / (time.thread_time() - began)

    return sum(threads.map(work, runtimes))


def _proof_cells(variant: Variant) -> tuple[str, ...]:
    if variant.proof is None:
        raise BenchmarkError(f"{variant.file} was packaged without a proof")
    held_out, how = variant.proof.held_out, "-"
    if variant.calibration is not None:
        kind = variant.calibration.quantisation
        how = f"{kind.method}, {kind.activations} activations, {kind.operators} operators"
        if kind.first_in_float:
            how += f", first {kind.first_in_float} layers in float"
    return (
        variant.precision,
        how,
        str(held_out.images),
        f"{held_out.top1_agreement:.1%}",
        number(held_out.mean_score_difference, 4),
        number(held_out.max_score_difference, 4),
    )


def _cells(each: Timed) -> tuple[str, ...]:
    low, high = min(each.ratios), max(each.ratios)
    return (
        each.variant.precision,
        str(each.sessions),
        str(each.batch),
        number(statistics.median(each.first), 0),
        number(statistics.median(each.rates), 0),
        f"{each.ratio:.2f} ({low:.2f} to {high:.2f})",
    )


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.variants")
