"""Proof that a serving graph gives the original network's answers, on real images.

Three things are measured: the serving graph against the original one image at a time; the same in
batches; and each image's answer alone against its answer beside very unlike neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_store.answers import (
    Answers,
    ServingGraph,
    log_difference,
    same_top1,
    score_difference,
)
from model_store.errors import PackageError, ParityError, SourceError
from model_store.network import Network
from model_store.package import ImageInput, OriginalOutput, Parity
from model_store.reference import OriginalNetwork, Pixels, Scores, answer, class_scores

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
# Enough to see every kind of mistake; the reference takes about 10 ms an image on a CPU.
MOST_IMAGES = 64
LARGE_BATCH = 8
TOLERANCE = {"fp32": 1e-3, "fp16": 1e-2}

# Measured on ONNX Runtime's CPU kernels: exactly 0 for networks whose images do not see each
# other, 0.1 and more for whole-batch dynamic quantisation. Kernels that sum in another
# order for another batch size stay below 0.001 (fp32).
_NEIGHBOUR_TOLERANCE = {"fp32": 1e-2, "fp16": 5e-2}
# Below these a score's own rounding is larger than that: float32 softmax; float16 probabilities.
_NEIGHBOUR_FLOOR = {"fp32": 1e-12, "fp16": 1e-4}
_NEIGHBOUR_IMAGES = 16
_PROBABILITY_SUM_TOLERANCE = 0.02

Progress = Callable[[str, int, int], None]


def sample_images(folder: Path) -> tuple[Path, ...]:
    """The image files below ``folder``, by name; at most ``MOST_IMAGES``, spread evenly over them.

    Raises:
        SourceError: when there is none.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder of parity images")
    found = sorted(f for f in folder.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise SourceError(
            f"{folder}: holds no images; a few real ones prove parity and become the golden set"
        )
    places = np.linspace(0, len(found) - 1, min(len(found), MOST_IMAGES))
    return tuple(found[round(place)] for place in places)


def original_outputs(
    original: OriginalNetwork, pixels: list[Pixels], output_name: str, progress: Progress
) -> Scores:
    """The original network's outputs for every image, (images, outputs).

    Raises:
        SourceError: when the network does not run, or its output is no list of scores.
    """
    outputs = []
    for number, one in enumerate(pixels):
        outputs.append(original.outputs(one, output_name))
        progress("original network", number + 1, len(pixels))
    shape = outputs[0].shape
    if not shape or sorted(shape)[:-1] != [1] * (len(shape) - 1):
        raise SourceError(
            f"output {output_name!r} has shape {shape} per image; one score per class is needed"
        )
    return np.stack([output.reshape(-1) for output in outputs])


def check_scores_kind(path: Path, raw: Scores, declared: str) -> None:
    """Refuse outputs (images, outputs) that are plainly not the declared kind of score.

    Raises:
        SourceError: with the flag that would be right.
    """
    if not np.isfinite(raw).all():
        raise SourceError(f"{path}: gives scores that are not finite for the parity images")
    slack = _PROBABILITY_SUM_TOLERANCE
    in_range = bool((raw >= -slack).all() and (raw <= 1 + slack).all())
    sums_to_one = bool((np.abs(raw.sum(axis=1) - 1) <= slack).all())
    if declared == "logits" and in_range and sums_to_one:
        raise SourceError(
            f"{path}: its outputs already are probabilities (each in 0..1, together 1); "
            "say so with --scores probabilities"
        )
    if declared == "probabilities" and not (in_range and sums_to_one):
        raise SourceError(
            f"{path}: its outputs are no probabilities (from {raw.min():.3g} to {raw.max():.3g}, "
            f"together {raw[0].sum():.3g}); say so with --scores logits"
        )


def expected_answers(raw: Scores, output: OriginalOutput, top_k: int) -> Answers:
    """The original network's best classes from its outputs (images, outputs)."""
    best = [answer(scores, top_k) for scores in class_scores(raw, output)]
    return Answers(np.stack([b[0] for b in best]), np.stack([b[1] for b in best]))


def prove(
    serving: ServingGraph,
    network: Network,
    image: ImageInput,
    pixels: list[Pixels],
    expected: Answers,
    tolerance: float,
    progress: Progress,
) -> Parity:
    """Compare the serving graph with the original network's ``expected`` answers for ``pixels``.

    Scores may differ by ``tolerance`` at most, and the best class must agree on every image but
    for near-ties (see ``same_top1``), one at a time and ``LARGE_BATCH`` at a time.

    Raises:
        ParityError: with the figures; or, when only a batch gives other answers, with that reason.
    """
    try:
        alone = _in_batches(serving, pixels, 1, progress)
        _check_neighbours(serving, network, image, pixels, alone, progress)
    agreement, difference = _figures(alone, expected, tolerance)
    if agreement < 1 or difference > tolerance:
        raise ParityError(
            f"{network.path}: the serving graph does not match the original network: top-1 agrees "
            f"on {agreement:.1%} of {len(pixels)} images, largest score difference "
            f"{difference:.2g} (allowed {tolerance:g})"
        )
    _check_neighbours(serving, network, image, pixels, alone, progress)
    batched = _in_batches(serving, pixels, LARGE_BATCH, progress)
    agreement_batched, difference_batched = _figures(batched, expected, tolerance)
    if agreement_batched < 1 or difference_batched > tolerance:
        raise _depends_on_batch(network, f"scores move by {difference_batched:.2g}")
    return Parity(
        images=len(pixels),
        batch_sizes=(1, LARGE_BATCH),
        top1_agreement=min(agreement, agreement_batched),
        max_score_difference=max(difference, difference_batched),
        tolerance=tolerance,
    )


def _figures(answers: Answers, expected: Answers, tolerance: float) -> tuple[float, float]:
    agreement = float(same_top1(answers, expected, tolerance).mean())
    return agreement, score_difference(answers, expected)


def _in_batches(
    serving: ServingGraph, pixels: list[Pixels], size: int, progress: Progress
) -> Answers:
    parts = []
    for start in range(0, len(pixels), size):
        parts.append(serving.answer(np.stack(pixels[start : start + size])))
        progress(f"serving graph, batches of {size}", min(start + size, len(pixels)), len(pixels))
    return Answers(
        np.concatenate([p.indices for p in parts]), np.concatenate([p.scores for p in parts])
    )


def _check_neighbours(
    serving: ServingGraph,
    network: Network,
    image: ImageInput,
    pixels: list[Pixels],
    alone: Answers,
    progress: Progress,
) -> None:
    precision = "fp16" if network.half_precision else "fp32"
    largest = 0.0
    checked = range(min(len(pixels), _NEIGHBOUR_IMAGES))
    for number in checked:
        place = number % LARGE_BATCH
        batch = _unlike_neighbours(image, pixels, number, place)
        try:
            beside = serving.answer(batch)
        except PackageError as error:
            raise ParityError(f"{error}{_fixed_batch_hint(network)}") from error
        among = Answers(beside.indices[[place]], beside.scores[[place]])
        single = Answers(alone.indices[[number]], alone.scores[[number]])
        if among.indices[0, 0] != single.indices[0, 0]:
            largest = max(largest, score_difference(among, single) / float(single.scores[0, 0]))
        largest = max(largest, log_difference(among, single, _NEIGHBOUR_FLOOR[precision]))
        progress("unlike neighbours", number + 1, len(checked))
    if largest > _NEIGHBOUR_TOLERANCE[precision]:
        raise _depends_on_batch(network, f"scores change by {np.expm1(min(largest, 9.0)):.1%}")


def _unlike_neighbours(
    image: ImageInput, pixels: list[Pixels], number: int, place: int
) -> NDArray[np.uint8]:
    """A batch with image ``number`` at ``place``, beside extremes and other images."""
    noise = np.random.default_rng(number).integers(0, 256, image.shape, dtype=np.uint8)
    extremes = [np.zeros(image.shape, np.uint8), np.full(image.shape, 255, np.uint8), noise]
    others = [pixels[(number + step) % len(pixels)] for step in range(1, LARGE_BATCH)]
    batch = [*extremes, *others][: LARGE_BATCH - 1]
    batch.insert(place, pixels[number])
    return np.stack(batch)


def _depends_on_batch(network: Network, how: str) -> ParityError:
    return ParityError(
        f"{network.path}: the answer for an image depends on its batch neighbours ({how}), as "
        "whole-batch dynamic quantisation makes it; use static quantisation or fp32"
        f"{_fixed_batch_hint(network)}"
    )


def _fixed_batch_hint(network: Network) -> str:
    if network.fixed_batch is None:
        return ""
    return (
        f"; the network was exported for a fixed batch of {network.fixed_batch}, which may be the "
        "cause: export it with a dynamic batch dimension"
    )
