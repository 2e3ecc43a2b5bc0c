"""A device that does not exist: it takes ``a + b·n`` seconds for a batch of n, asleep.

For tests and studies: a machine with two cores can have 32 of them, since sleeping costs no CPU.
Its answers are not the model's. It is there only where ``devices`` spells it out
(``emulated:5+0.5``: 5 ms per batch and 0.5 ms per image), so nobody gets one by accident.
"""

from __future__ import annotations

import time
import zlib

import numpy as np
from numpy.typing import NDArray

from predictor.errors import OutOfMemoryError
from predictor.runtimes import HostMemory
from predictor.types import Answers, EmulatedCost

SAMPLE = 64  # bytes of an image that its class is made of


class EmulatedRuntime(HostMemory):
    """Answers by ``answers_of``, once the time of the batch is over.

    Args:
        cost: what batches take.
        classes: how many the model has.
        top_k: how many an answer has.
    """

    def __init__(self, cost: EmulatedCost, classes: int, top_k: int) -> None:
        self._cost = cost
        self._classes = classes
        self._top_k = top_k
        self._overslept_s = 0.0

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """Classify ``images`` (n, H, W, 3) uint8; returns n rows, best class first.

        Raises:
            OutOfMemoryError: the batch is larger than the device's memory.
        """
        began = time.perf_counter()
        cost = self._cost
        if cost.largest_batch is not None and len(images) > cost.largest_batch:
            raise OutOfMemoryError(f"{len(images)} images, there is room for {cost.largest_batch}")
        answers = answers_of(images, self._classes, self._top_k)
        due = began + cost.per_batch_s + cost.per_image_s * len(images)
        # The kernel wakes up late by a little each time; the next batch makes up for it.
        left = due - time.perf_counter() - self._overslept_s
        if left > 0:
            time.sleep(left)
        late = time.perf_counter() - due + self._overslept_s
        self._overslept_s = min(max(late, 0.0), 0.001)
        return answers

    def close(self) -> None:
        """There is nothing to give back."""


def answers_of(images: NDArray[np.uint8], classes: int, top_k: int) -> Answers:
    """What an emulated device answers: a function of the pixels, so tests can tell images apart.

    The class is the CRC-32 of 64 of the image's bytes, evenly spread, modulo ``classes``; the
    classes after it follow, with scores 1, 1/2, 1/3, …

    Args:
        images: uint8 (n, H, W, 3).
        classes: how many there are.
        top_k: how many are given.
    """
    flat = images.reshape(len(images), -1)
    sample = np.ascontiguousarray(flat[:, :: max(1, flat.shape[1] // SAMPLE)])
    first = np.array([zlib.crc32(row) % classes for row in sample], np.int64)
    places = np.arange(top_k)
    indices = (first[:, np.newaxis] + places) % classes
    scores = np.broadcast_to((1 / (1 + places)).astype(np.float32), indices.shape)
    return Answers(indices, scores)
