"""A function from a batch of images to answers, as something that classifies images by number."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
from PIL import Image as PillowImage

from analyzer.errors import BrokenImageError
from analyzer.run_model import Block, Read, no_answers
from predictor.types import Answers, Image

# ``Model.classify`` is one.
Classify: TypeAlias = Callable[[Sequence[int], Read, Callable[[Block], None]], None]
BATCH = 32


def in_batches(
    answer: Callable[[Sequence[Image]], Answers], size: int = BATCH, *, encoded: bool = False
) -> Classify:
    """Let ``answer`` classify images in batches, while threads prepare the next one.

    Args:
        answer: called in one thread with at most ``size`` images, encoded or pixels; row i answers
            image i. A row whose best class is -1 is an image that gave no answer.
        size: images of a batch.
        encoded: give it files alone: pixels become PNGs, which lose nothing.
    """

    def classify(numbers: Sequence[int], read: Read, answered: Callable[[Block], None]) -> None:
        def reading(number: int) -> Image:
            return png(read(number)) if encoded else read(number)

        for batch, images, errors in _read_ahead(numbers, reading, size):
            if images:
                found = answer(images)
                answered(Block(np.array(batch, np.int64), found.indices, found.scores))
            if errors:
                answered(no_answers(tuple(errors), 1, errors))

    return classify


def png(image: Image) -> Image:
    """An image as a file: pixels (h, w, 3) as a PNG, files as they are."""
    if not isinstance(image, np.ndarray):
        return image
    stream = io.BytesIO()
    PillowImage.fromarray(image).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _read_ahead(
    numbers: Sequence[int], read: Read, size: int
) -> Iterator[tuple[list[int], list[Image], dict[int, str]]]:
    """Batch by batch: the numbers that could be read, their images, and why others could not."""
    batches = [numbers[first : first + size] for first in range(0, len(numbers), size)]
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "augment")

    def begin(batch: Sequence[int]) -> list[Future[Image]]:
        return [pool.submit(read, number) for number in batch]

    try:
        ahead = begin(batches[0]) if batches else []
        for at, batch in enumerate(batches):
            now, ahead = ahead, begin(batches[at + 1]) if at + 1 < len(batches) else []
            yield _collected(batch, now)
    finally:
        pool.shutdown(cancel_futures=True)


def _collected(
    batch: Sequence[int], futures: Sequence[Future[Image]]
) -> tuple[list[int], list[Image], dict[int, str]]:
    good: list[int] = []
    images: list[Image] = []
    errors: dict[int, str] = {}
    for number, future in zip(batch, futures, strict=True):
        try:
            images.append(future.result())
            good.append(number)
        except BrokenImageError as error:
            errors[number] = str(error)
    return good, images, errors
