"""What runs a serving graph on a device, behind one short protocol."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from predictor.types import Answers


class Memory(Protocol):
    """Where batches are gathered; a device may copy them from there."""

    def allocate(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Zeros of this shape (n, H, W, 3), to gather batches in.

        Page-locked where the device copies out of it.
        """

    def ahead(self, buffer: NDArray[np.uint8], first: int, end: int) -> None:
        """Rows ``first`` to ``end`` of an allocated buffer have been filled or changed.

        A device with a memory of its own copies them now, while another batch computes. Rows that
        change again are to be named again.
        """


class Runtime(Memory, Protocol):
    """One loaded serving graph on one device.

    ``run`` belongs to one thread. ``ahead`` may come from another one meanwhile, for a buffer that
    is not being run.
    """

    largest_batch: int | None  # images that the graph takes at once; None: as many as fit

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """Classify ``images`` (n, H, W, 3) uint8; returns n rows, best class first.

        When it returns, nothing reads ``images`` any more.

        Raises:
            OutOfMemoryError: the device has no memory for so many.
        """

    def close(self) -> None:
        """Give the device's memory back."""


class HostMemory:
    """For runtimes that read batches where they were gathered."""

    largest_batch: int | None = None

    def allocate(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Zeros of this shape (n, H, W, 3)."""
        return np.zeros(shape, np.uint8)

    def ahead(self, buffer: NDArray[np.uint8], first: int, end: int) -> None:
        """There is nothing to copy."""
