"""What runs a serving graph on a device, behind one two-method protocol."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from predictor.types import Answers


class Runtime(Protocol):
    """One loaded serving graph on one device; used by one thread at a time."""

    def run(self, images: NDArray[np.uint8]) -> Answers:
        """Classify ``images`` (n, H, W, 3) uint8; returns n rows, best class first.

        Raises:
            OutOfMemoryError: the device has no memory for so many.
        """

    def close(self) -> None:
        """Give the device's memory back."""
