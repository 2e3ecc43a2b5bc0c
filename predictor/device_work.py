"""What one instance's batches cost, by its warm-up and by what it did lately. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from predictor.counts import BatchTotals, execution_count, inference_count
from predictor.types import BatchCost

# How much longer answers take for each image more in a batch: 0.28 ms for one and 0.70 ms for 32
# were measured (2 cores, one frontend).
COLLECT_GROWS = 0.05


@dataclass(frozen=True)  # no slots: what is reckoned of it is kept
class DeviceWork:
    """What one instance's batches cost, and what it did; times in seconds."""

    cost: BatchCost
    batches: tuple[BatchTotals, ...] = ()
    cpu_s: float = 0.0
    feeder_s: float = 0.0
    on_cores: bool = False

    @cached_property
    def images(self) -> int:
        """How many it computed."""
        return inference_count(self.batches)

    @cached_property
    def ran(self) -> int:
        """How many batches."""
        return execution_count(self.batches)

    @cached_property
    def infer_s(self) -> float:
        """Time in batches."""
        return sum(batch.ns[1] for batch in self.batches) / 1e9

    @cached_property
    def collect_s(self) -> float:
        """Time between batches, giving their answers back."""
        return sum(batch.ns[2] for batch in self.batches) / 1e9

    def collects_in(self, batch_size: float) -> float:
        """Seconds to give the answers of one batch back: most of them are for the batch."""
        if not self.ran:
            return 0.0
        grows = COLLECT_GROWS
        return self.collect_s / (self.ran + grows * self.images) * (1 + grows * batch_size)

    @cached_property
    def scale(self) -> float:
        """How many times longer batches took than they did when the instance was warmed up."""
        cost = self.cost
        said_s = sum(
            batch.count * (cost.per_batch_s + batch.size * cost.per_image_s)
            for batch in self.batches
        )
        return self.infer_s / said_s if said_s > 0 else 1.0

    def rate(self, batch_size: float) -> float:
        """Images per second in batches of one size, one after the other."""
        cost = self.cost
        batch_s = (cost.per_batch_s + batch_size * cost.per_image_s) * self.scale
        return batch_size / max(1e-9, batch_s + self.collects_in(batch_size))

    @cached_property
    def capacity(self) -> float:
        """Images per second in full batches."""
        return self.rate(self.cost.max_batch_size)
