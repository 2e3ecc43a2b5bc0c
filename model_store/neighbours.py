"""Whether a network's answer for an image depends on the images beside it in the batch.

Whole-batch dynamic quantisation makes it so: it scales activations by the largest in the batch.
Such a model answers one image in many ways, so packaging refuses it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model_store.answers import Answers, ServingGraph, log_difference, score_difference
from model_store.original import Progress
from model_store.package import ImageInput
from model_store.reference import Pixels

LARGE_BATCH = 8

# Measured on ONNX Runtime's CPU kernels: exactly 0 for networks whose images do not see each
# other, 0.1 and more for whole-batch dynamic quantisation. Kernels that sum in another
# order for another batch size stay below 0.001 (fp32).
TOLERANCE = {"fp32": 1e-2, "fp16": 5e-2}
# Below these a score's own rounding is larger than that: float32 softmax; float16 probabilities.
_FLOOR = {"fp32": 1e-12, "fp16": 1e-4}
_MOST_IMAGES = 16


def neighbour_effect(
    serving: ServingGraph,
    image: ImageInput,
    pixels: list[Pixels],
    alone: Answers,
    precision: str,
    progress: Progress,
) -> float:
    """The largest change of an answer between ``alone`` and a batch of very unlike images.

    Returns:
        A relative change of scores as a logarithm: 0 is none, 0.1 about ten percent. To be
        compared with ``TOLERANCE[precision]``.

    Raises:
        PackageError: when the graph does not run on a batch.
    """
    largest = 0.0
    checked = range(min(len(pixels), _MOST_IMAGES))
    for number in checked:
        place = number % LARGE_BATCH
        beside = serving.answer(_unlike_neighbours(image, pixels, number, place))
        among = Answers(beside.indices[[place]], beside.scores[[place]])
        single = Answers(alone.indices[[number]], alone.scores[[number]])
        change = log_difference(among, single, _FLOOR[precision])
        if among.indices[0, 0] != single.indices[0, 0]:
            # Top-1 classes may share no other class to compare.
            change = max(change, score_difference(among, single) / float(single.scores[0, 0]))
        largest = max(largest, change)
        progress("unlike neighbours", number + 1, len(checked))
    return largest


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
