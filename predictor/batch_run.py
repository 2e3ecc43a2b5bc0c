"""Runs a batch so that what fails costs as little as possible: it is halved and tried again."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.errors import OutOfMemoryError
from predictor.types import Answers

logger = logging.getLogger(__name__)

TRUSTED = 200  # full batches, before larger ones are tried again


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a batch that ran at once, and when (CLOCK_MONOTONIC ns).

    ``answers`` is None where the runtime failed on the only one of them.
    """

    rows: slice
    answers: Answers | None
    began_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class BatchRun:
    """What became of one batch.

    Attributes:
        parts: in order; they cover every row once.
        errors: how often the runtime raised.
        out_of_memory: how often that was for want of memory.
    """

    parts: tuple[Part, ...]
    errors: int
    out_of_memory: int

    @property
    def largest_part(self) -> int:
        """Most images that ran at once; 0 if none did."""
        sizes = [p.rows.stop - p.rows.start for p in self.parts if p.answers is not None]
        return max(sizes, default=0)


class MemoryLimit:
    """How large batches may be on a device that had no memory for a larger one.

    That may pass: another process had the memory, say. So the limit doubles again after a while.

    Args:
        most: images, while there is memory.
    """

    def __init__(self, most: int) -> None:
        self._most = self.size = most
        self._good = 0

    def learn(self, size: int, ran: BatchRun) -> bool:
        """A batch of ``size`` has run; True if the limit is another one now."""
        before = self.size
        if ran.out_of_memory:
            self._good = 0
            if size > 1:  # smaller than one image there is nothing
                self.size = max(1, min(self.size, ran.largest_part or size // 2))
        elif size == self.size < self._most:
            self._good += 1
            if self._good == TRUSTED:
                self._good = 0
                self.size = min(self._most, 2 * self.size)
        return self.size != before


def run_batch(run: Callable[[NDArray[np.uint8]], Answers], images: NDArray[np.uint8]) -> BatchRun:
    """Run ``images``; on an error each half by itself, down to single images.

    So a batch that is too large for the device's memory runs as smaller ones, and an image on which
    the runtime fails fails alone: log2(n) runs more find one of n.

    Args:
        run: the runtime's.
        images: uint8 (n, H, W, 3), n ≥ 1.
    """
    # Counted, not kept: an error's trace holds tensors of the attempt, and with them the memory
    # that the halves need.
    errors: Counter[bool] = Counter()  # by whether it was for want of memory

    def attempt(rows: slice) -> Iterator[Part]:
        began_ns, size = time.monotonic_ns(), rows.stop - rows.start
        answers: Answers | None
        try:
            answers = run(images[rows])
        # Whatever a runtime raises, it costs images and not the process.
        except Exception as error:
            memory = isinstance(error, OutOfMemoryError)
            if memory:
                logger.warning("no memory for a batch of %d: %s", size, error)
            elif not errors:
                logger.exception("a batch of %d failed", size)
            errors[memory] += 1
            answers = None
        if answers is not None or size == 1:
            yield Part(rows, answers, began_ns, time.monotonic_ns())
            return
        middle = (rows.start + rows.stop) // 2
        yield from attempt(slice(rows.start, middle))
        yield from attempt(slice(middle, rows.stop))

    parts = tuple(attempt(slice(0, len(images))))
    return BatchRun(parts, errors.total(), errors[True])
