"""Variants of a package beside its first one: made, proven against it, measured, or refused."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_store.answers import Answers, ServingGraph, score_differences
from model_store.errors import ParityError, SourceError
from model_store.half import write_half
from model_store.image_sets import ImageSet, ImageSets, read_image_sets
from model_store.original import Progress
from model_store.package import (
    Calibration,
    Comparison,
    GoldenAnswer,
    GoldenImage,
    ImageInput,
    Measured,
    Precision,
    Proof,
    Quantisation,
    Variant,
)
from model_store.parity import in_batches
from model_store.quantisation import KINDS, Quantiser
from model_store.reference import Pixels, reference_pixels
from model_store.request import PackageRequest
from model_store.speed import BATCHES, THREADS, device, images_per_second

SEARCH_S = 90.0  # once so long has been spent, no further way to quantise is tried
AS_FAST = 0.95  # ways within 5 % of the fastest count as equally fast
_MADE: tuple[Precision, ...] = ("fp16", "int8")
_BATCH = 8


@dataclass(frozen=True, slots=True)
class Tried:
    """One way to quantise: how it did on the calibration images, and how fast."""

    kind: Quantisation
    compared: Comparison
    images_per_second: float

    def __str__(self) -> str:
        kind = self.kind
        return (
            f"{kind.method}/{kind.activations}/{kind.operators}: "
            f"{self.compared.top1_agreement:.1%}, {self.images_per_second:.0f}/s"
        )


def choose(tried: Sequence[Tried], least_agreement: float) -> Tried | None:
    """The way that keeps the bound on the calibration images and is fastest; None: none keeps it.

    Of those that are about as fast, the one that agrees most, then whose scores differ least.
    Held-out images have no say here, so that they can prove what is chosen.
    """
    good = [each for each in tried if each.compared.top1_agreement >= least_agreement]
    if not good:
        return None
    fastest = max(each.images_per_second for each in good)
    as_fast = [each for each in good if each.images_per_second >= AS_FAST * fastest]
    return max(
        as_fast,
        key=lambda each: (each.compared.top1_agreement, -each.compared.mean_score_difference),
    )


def compare(answers: Answers, expected: Answers) -> Comparison:
    """How a variant's answers compare with those of the first variant."""
    differences = score_differences(answers, expected)
    same = answers.indices[:, 0] == expected.indices[:, 0]
    return Comparison(
        images=len(same),
        top1_agreement=round(float(same.mean()), 6),
        mean_score_difference=round(float(differences.mean()), 6),
        max_score_difference=round(float(differences.max()), 6),
    )


def wanted(request: PackageRequest, first: Precision) -> tuple[Precision, ...]:
    """The precisions to make beside the network's own.

    Raises:
        SourceError: they cannot be made of it, or there are no images to prove them.
    """
    more = tuple(dict.fromkeys(each for each in request.variants if each != first))
    source = request.source
    if not more:
        return ()
    impossible = [each for each in more if each not in _MADE]
    if first != "fp32" or impossible:
        raise SourceError(
            f"{source}: {(impossible or more)[0]} cannot be made of a network in {first}"
        )
    if request.calibration_images is None:
        raise SourceError(
            f"{source}: {' and '.join(more)} must be proven: give --calibration-images"
        )
    return more


class Workshop:
    """Makes variants of one serving graph.

    Args:
        folder: of the package, in which its first variant and golden images lie already.
        request: what was asked for.
        first: the first variant.
        image: how images are prepared.
        golden: the golden images.
        progress: is told what is being done.

    Raises:
        SourceError: the images to calibrate and prove with cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        request: PackageRequest,
        first: Variant,
        image: ImageInput,
        golden: Sequence[GoldenImage],
        progress: Progress,
    ) -> None:
        if request.calibration_images is None:
            raise SourceError(f"{request.source}: no images to calibrate with")
        self._folder, self._request, self._progress = folder, request, progress
        self._first = folder / first.file
        self._sets: ImageSets = read_image_sets(
            request.calibration_images, request.held_out_images, image, progress
        )
        self._golden = [
            reference_pixels((folder / each.file).read_bytes(), image) for each in golden
        ]
        reference = ServingGraph(self._first)
        self._expected = {
            each: in_batches(reference, images.pixels, _BATCH, progress, f"first variant, {each}")
            for each, images in self._named_sets()
        }

    def make(self, precision: Precision) -> Variant:
        """Make a variant, prove it and measure it; its file lies in the folder then.

        Raises:
            ParityError: it does not keep the bound; says by how much.
            SourceError: it cannot be made.
        """
        file = self._folder / f"{precision}.onnx"
        calibration = None
        if precision == "int8":
            calibration = self._quantise(file)
        else:
            write_half(self._first, self._request.source, file)
        found = {each: self._compare(file, each) for each, _ in self._named_sets()}
        held_out = found["held-out"]
        if held_out.top1_agreement < self._request.least_agreement:
            raise ParityError(self._missed(precision, f"held-out images: {held_out}"))
        return Variant(
            file=file.name,
            runtime="onnx",
            precision=precision,
            calibration=calibration,
            proof=Proof(
                calibration=found["calibration"], held_out=held_out, measured=self._measured(file)
            ),
            golden=_answers_to(self._golden, ServingGraph(file)),
        )

    def _named_sets(self) -> tuple[tuple[str, ImageSet], ...]:
        return ("calibration", self._sets.calibration), ("held-out", self._sets.held_out)

    def _quantise(self, file: Path) -> Calibration:
        """Write the best of several ways to quantise."""
        images = self._sets.calibration
        quantiser = Quantiser(self._first, self._request.source, images.pixels, self._progress)
        tried: list[Tried] = []
        end = time.monotonic() + SEARCH_S
        with tempfile.TemporaryDirectory() as folder:
            for number, kind in enumerate(KINDS):
                if tried and time.monotonic() > end:
                    break
                candidate = Path(folder, f"{number}.onnx")
                quantiser.write(kind, candidate)
                tried.append(self._try(kind, candidate))
                self._progress("ways to quantise", number + 1, len(KINDS))
            chosen = choose(tried, self._request.least_agreement)
            if chosen is None:
                ways = "; ".join(map(str, tried))
                raise ParityError(self._missed("int8", f"calibration images in any way ({ways})"))
            number = [each.kind for each in tried].index(chosen.kind)
            file.write_bytes(Path(folder, f"{number}.onnx").read_bytes())
        return Calibration(
            images=len(images.pixels), sha256=images.sha256, quantisation=chosen.kind
        )

    def _try(self, kind: Quantisation, file: Path) -> Tried:
        compared = self._compare(file, "calibration")
        (rates,) = images_per_second(
            [file], self._sets.calibration.pixels, lambda *_: None, rounds=2
        )
        return Tried(kind, compared, max(rates.values()))

    def _compare(self, file: Path, which: str) -> Comparison:
        pixels = dict(self._named_sets())[which].pixels
        found = in_batches(ServingGraph(file), pixels, _BATCH, self._progress, file.name)
        return compare(found, self._expected[which])

    def _measured(self, file: Path) -> Measured:
        pixels = self._sets.held_out.pixels
        first, own = images_per_second([self._first, file], pixels, self._progress)
        return Measured(
            device=device(),
            threads=THREADS,
            images_per_second=own,
            times_the_first={size: round(own[size] / first[size], 3) for size in BATCHES},
        )

    def _missed(self, precision: Precision, what: str) -> str:
        return (
            f"{self._request.source}: {precision} misses the bound of "
            f"{self._request.least_agreement:.1%} on {what}; leave it away, give more or more "
            "typical --calibration-images, or a lower --least-agreement"
        )


def _answers_to(pixels: Sequence[Pixels], serving: ServingGraph) -> tuple[GoldenAnswer, ...]:
    """What the variant itself answers, one image at a time."""
    answers = [serving.answer(one[np.newaxis]) for one in pixels]
    return tuple(
        GoldenAnswer(indices=tuple(each.indices[0].tolist()), scores=tuple(each.scores[0].tolist()))
        for each in answers
    )
