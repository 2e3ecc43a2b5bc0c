"""The emulated device of a study: so many images a second in full batches."""

from __future__ import annotations

from dataclasses import dataclass

from predictor.types import BatchCost

BATCH_S = 64 / 1200  # of a full batch, at whatever speed: what 64 images take at 1,200 a second
LARGEST = 64
# Of a full batch's time so much is the batch's and not its images'. A device that batches without
# any gain would have 0; 0.4 makes an image on its own 26 times dearer than one in a batch of 64.
FIXED = 0.4


@dataclass(frozen=True, slots=True)
class Device:
    """Batches of n take ``per_batch_s + n * per_image_s``.

    Attributes:
        rate: images a second in full batches.
        batch: a full one.
    """

    rate: float
    batch: int

    @classmethod
    def of_rate(cls, rate: float) -> Device:
        """With batches that take about as long at any rate, so that waiting is alike."""
        return cls(rate, max(1, min(LARGEST, round(rate * BATCH_S))))

    @property
    def per_batch_s(self) -> float:
        """Seconds of a batch besides its images."""
        return FIXED * self.batch / self.rate

    @property
    def per_image_s(self) -> float:
        """Seconds of each image."""
        return (1 - FIXED) / self.rate

    @property
    def cost(self) -> BatchCost:
        """As dispatch knows it."""
        return BatchCost(self.per_batch_s, self.per_image_s, self.batch)

    @property
    def setting(self) -> str:
        """As an entry of the setting ``devices``."""
        return f"emulated:{self.per_batch_s * 1e3:.4f}+{self.per_image_s * 1e3:.4f}"
