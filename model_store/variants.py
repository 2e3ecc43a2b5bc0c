"""Variants of a package beside its first one: made, proven against it, measured, or refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from model_store.answers import ServingGraph
from model_store.errors import PackageError, ParityError, SourceError
from model_store.examination import Examined
from model_store.half import write_half
from model_store.image_sets import ImageSet, ImageSets, read_image_sets
from model_store.original import Progress
from model_store.package import (
    Calibration,
    Comparison,
    GoldenAnswer,
    GoldenImage,
    Measured,
    Precision,
    Proof,
    Variant,
)
from model_store.parity import in_batches
from model_store.quantisation import Quantiser
from model_store.quantisation_search import Search, compare
from model_store.reference import Pixels, reference_pixels
from model_store.request import PackageRequest, VariantName
from model_store.serving import Serving, open_serving
from model_store.sources.opened import Source
from model_store.speed import BATCHES, THREADS, device, images_per_second

_BATCH = 8
_PROGRAM = "model.pt2"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a variant is: its file, what runs it, and in which precision."""

    file: str
    runtime: Literal["onnx", "torch"]
    precision: Precision


KINDS_OF_VARIANT: Mapping[VariantName, Kind] = {
    "fp32": Kind("fp32.onnx", "onnx", "fp32"),
    "fp16": Kind("fp16.onnx", "onnx", "fp16"),
    "int8": Kind("int8.onnx", "onnx", "int8"),
    "pt2": Kind(_PROGRAM, "torch", "fp32"),
    "pt2-bf16": Kind("bf16.pt2", "torch", "bf16"),
    "pt2-fp16": Kind("fp16.pt2", "torch", "fp16"),
}


def first_precision(examined: Examined) -> Literal["fp32", "fp16"]:
    """The network's own, which its package always has."""
    return "fp16" if examined.network.half_precision else "fp32"


def wanted(request: PackageRequest, source: Source, first: Precision) -> tuple[VariantName, ...]:
    """The variants to make beside the network's own precision; of PyTorch's a program by default.

    Raises:
        SourceError: they cannot be made of it, or there are no images to quantise with.
    """
    name = source.located.name
    asked = request.variants
    if not asked and first == "fp32" and source.torch and source.torch.fixed_batch is None:
        asked = ("pt2",)
    more = tuple(dict.fromkeys(each for each in asked if each != first))
    for each in more:
        if first != "fp32" or each == "fp32":
            raise SourceError(f"{name}: {each} cannot be made of a network in {first}")
        if KINDS_OF_VARIANT[each].runtime == "torch" and source.torch is None:
            raise SourceError(
                f"{name}: {each} is made of a PyTorch source (module:factory, or a .pt2 program), "
                f"not of an {source.located}"
            )
    if "int8" in more and request.calibration_images is None:
        raise SourceError(f"{name}: int8 must be calibrated: give --calibration-images")
    return more


def image_sets(request: PackageRequest, examined: Examined, progress: Progress) -> ImageSets:
    """The images to prove with, and to calibrate on; where nothing is calibrated, those for parity.

    Raises:
        SourceError: they cannot be used.
    """
    typical = request.calibration_images or request.parity_images
    return read_image_sets(typical, request.held_out_images, examined.image, progress)


class Workshop:
    """Makes variants of one serving graph.

    Args:
        folder: of the package, in which its first variant and golden images lie already.
        request: what was asked for.
        examined: what it is made of.
        first: the first variant.
        golden: the golden images.
        progress: is told what is being done.

    Raises:
        SourceError: the images to calibrate and prove with cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        request: PackageRequest,
        examined: Examined,
        first: Variant,
        golden: Sequence[GoldenImage],
        progress: Progress,
    ) -> None:
        self._folder, self._request, self._progress = folder, request, progress
        self._examined = examined
        self._first, self._first_rates = folder / first.file, dict.fromkeys(BATCHES, 0.0)
        self._sets: ImageSets = image_sets(request, examined, progress)
        self._golden = [
            reference_pixels((folder / each.file).read_bytes(), examined.image) for each in golden
        ]
        reference = ServingGraph(self._first)
        self._expected = {
            each: in_batches(reference, images.pixels, _BATCH, progress, f"first variant, {each}")
            for each, images in self._named_sets()
        }

    def make(self, name: VariantName) -> Variant:
        """Make a variant, prove it and measure it; its file lies in the folder then.

        Raises:
            ParityError: it does not keep the bound; says by how much.
            SourceError: it cannot be made.
        """
        kind = KINDS_OF_VARIANT[name]
        file = self._folder / kind.file
        calibration = None
        if name == "int8":
            calibration = self._quantise(file)
        elif kind.runtime == "torch":
            self._write_program(file)
        else:
            write_half(self._first, self._request.source, file)
        serving = self._open(kind, file)
        found = {each: self._compare(serving, each, name) for each, _ in self._named_sets()}
        held_out = found["held-out"]
        if held_out.top1_agreement < self._request.least_agreement:
            raise ParityError(self._missed(name, f"held-out images: {held_out}"))
        return Variant(
            file=file.name,
            runtime=kind.runtime,
            precision=kind.precision,
            calibration=calibration,
            proof=Proof(
                calibration=found["calibration"],
                held_out=held_out,
                measured=self._measured(self._open(kind, file, THREADS)),
            ),
            golden=_answers_to(self._golden, serving),
        )

    def _open(self, kind: Kind, file: Path, threads: int | None = None) -> Serving:
        try:
            return open_serving(file, kind.runtime, kind.precision, threads)
        except PackageError as error:
            raise SourceError(f"{self._request.source}: {error}") from error

    def _write_program(self, file: Path) -> None:
        """Export the program, or take the one that another precision has: it is the same."""
        others = sorted(self._folder.glob("*.pt2"))
        if others:
            try:
                os.link(others[0], file)
            except OSError:  # not every file system has links
                shutil.copyfile(others[0], file)
            return
        examined, source = self._examined, self._examined.source
        if source.torch is None:
            raise SourceError(f"{self._request.source}: is no PyTorch network")
        place = source.network.output_names.index(examined.output.name)
        source.torch.write_program(examined.image, examined.output, place, examined.top_k, file)

    def _named_sets(self) -> tuple[tuple[str, ImageSet], ...]:
        return ("calibration", self._sets.calibration), ("held-out", self._sets.held_out)

    def _quantise(self, file: Path) -> Calibration:
        """Write the best of several ways to quantise."""
        images = self._sets.calibration
        quantiser = Quantiser(self._first, self._request.source, images.pixels, self._progress)
        bound = self._request.least_agreement
        search = Search(quantiser, images.pixels, self._expected["calibration"], self._progress)
        chosen = search.best(bound, file)
        if chosen is None:
            ways = "; ".join(map(str, search.tried))
            raise ParityError(self._missed("int8", f"calibration images in any way ({ways})"))
        return Calibration(
            images=len(images.pixels), sha256=images.sha256, quantisation=chosen.kind
        )

    def _compare(self, serving: Serving, which: str, name: str) -> Comparison:
        pixels = dict(self._named_sets())[which].pixels
        found = in_batches(serving, pixels, _BATCH, self._progress, name)
        return compare(found, self._expected[which])

    def _measured(self, serving: Serving) -> Measured:
        pixels = self._sets.held_out.pixels
        reference = ServingGraph(self._first, THREADS)
        first, own = images_per_second([reference, serving], pixels, self._progress)
        for size in BATCHES:
            self._first_rates[size] = max(self._first_rates[size], first[size])
        return _as_measured(own, first)

    @property
    def first_measured(self) -> Measured:
        """The first variant's own speed: the best beside any of the others made so far."""
        return _as_measured(self._first_rates, self._first_rates)

    def _missed(self, name: str, what: str) -> str:
        return (
            f"{self._request.source}: {name} misses the bound of "
            f"{self._request.least_agreement:.1%} on {what}; leave it away, give more or more "
            "typical --calibration-images, or a lower --least-agreement"
        )


def _as_measured(own: Mapping[int, float], first: Mapping[int, float]) -> Measured:
    return Measured(
        device=device(),
        threads=THREADS,
        images_per_second=dict(own),
        times_the_first={size: round(own[size] / first[size], 3) for size in BATCHES},
    )


def _answers_to(pixels: Sequence[Pixels], serving: Serving) -> tuple[GoldenAnswer, ...]:
    """What the variant itself answers, one image at a time."""
    answers = [serving.answer(one[np.newaxis]) for one in pixels]
    return tuple(
        GoldenAnswer(indices=tuple(each.indices[0].tolist()), scores=tuple(each.scores[0].tolist()))
        for each in answers
    )
