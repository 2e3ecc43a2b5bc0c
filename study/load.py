"""Load on a real pod: what a study asks of whoever makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

PICTURES = 64  # different ones, so that no cache answers


@dataclass(frozen=True, slots=True)
class Ask:
    """A closed loop.

    Attributes:
        endpoint: ``http://HOST:PORT``.
        model: its name.
        size: height and width of the images, pixels.
        images: of each request.
        clients: requests in flight.
        warm_up_s: of the same load before that which counts.
        seconds: that count.
    """

    endpoint: str
    model: str
    size: tuple[int, int]
    images: int
    clients: int
    warm_up_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of it, over the seconds that count.

    Attributes:
        images_per_second: that were answered.
        failed: requests that were not answered with 200.
        mean_s, p50_s, p99_s: latency of those that were.
    """

    images_per_second: float
    failed: int
    mean_s: float
    p50_s: float
    p99_s: float


class Load(Protocol):
    """Makes it."""

    def __call__(self, ask: Ask) -> Loaded:
        """Run it to its end.

        Raises:
            StudyError: the pod could not be asked.
        """


def pictures(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Random pixels: uint8 (PICTURES, height, width, 3)."""
    return np.random.default_rng(1).integers(0, 256, (PICTURES, *size, 3), dtype=np.uint8)
