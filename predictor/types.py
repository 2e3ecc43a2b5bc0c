"""The contract between the parts: the values that cross module boundaries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from predictor.errors import PredictorError
from predictor.observation import ImageTimes

Pixels: TypeAlias = NDArray[np.uint8]  # (H, W, 3) RGB
Image: TypeAlias = bytes | memoryview | Pixels  # an encoded file, or pixels already


@dataclass(frozen=True, slots=True)
class Reference:
    """An image that the pod is to hold already (``preloaded.py``), by its name."""

    name: str


Sent: TypeAlias = Image | Reference  # an image as a request has it


@dataclass(frozen=True, slots=True)
class Answers:
    """Top-k of n images: ``indices`` int64 (n, k) and ``scores`` float32 (n, k), best first."""

    indices: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answer:
    """Top-k of one image: ``indices`` int64 (k,) and ``scores`` float32 (k,), best first."""

    indices: NDArray[np.int64]
    scores: NDArray[np.float32]
    times: ImageTimes = field(default_factory=ImageTimes)


@dataclass(frozen=True, slots=True)
class Options:
    """What a request may ask of the queue and of the answer; None means the server's default.

    Attributes:
        timeout_us: how long it may wait in the queue.
        limit_us: how long its client waits for the answer at all.
        priority: 1 goes first; 0: none stated.
        top_k: how many classes.
    """

    timeout_us: int | None = None
    priority: int = 0
    top_k: int | None = None
    limit_us: int | None = None


@dataclass(frozen=True, slots=True)
class ClassifyRequest:
    """Images of one request, whichever protocol it came by."""

    images: tuple[Sent | PredictorError, ...]  # an error stands where an image could not be read
    options: Options = field(default_factory=Options)


ClassifyResult: TypeAlias = tuple[Answer | PredictorError, ...]  # in the request's order


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Bounds on an image, checked on its header before anything is decoded."""

    max_pixels: int
    min_side: int


@dataclass(frozen=True, slots=True)
class EmulatedCost:
    """What an emulated device's batches take, and the largest one that fits its memory."""

    per_batch_s: float
    per_image_s: float
    largest_batch: int | None = None


@dataclass(frozen=True, slots=True)
class BatchCost:
    """What a batch of n images costs on an instance: ``per_batch_s + n * per_image_s`` seconds.

    Batches hold at most ``max_batch_size``; those of ``preferred_batch_sizes`` are worth starting.
    """

    per_batch_s: float
    per_image_s: float
    max_batch_size: int
    preferred_batch_sizes: tuple[int, ...] = ()

    def seconds(self, images: int) -> float:
        """Seconds to work off ``images`` in batches of at most ``max_batch_size``."""
        batches = -(-images // self.max_batch_size)
        return batches * self.per_batch_s + images * self.per_image_s

    @property
    def image_seconds(self) -> float:
        """Seconds per image in full batches; never 0."""
        return max(1e-6, self.per_batch_s / self.max_batch_size + self.per_image_s)
