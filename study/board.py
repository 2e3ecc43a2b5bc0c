"""What a simulated pod has outstanding at its instances, and which of them takes an image."""

from __future__ import annotations

from collections.abc import Sequence

from predictor.admission import EarliestFinish, finish_s
from predictor.types import BatchCost


class Board:
    """As the predictor's, added up over its frontends.

    Attributes:
        coming: images that were accepted and are not handed to an instance yet.
    """

    def __init__(self, costs: Sequence[BatchCost]) -> None:
        self.coming = 0
        self._costs = costs
        self._outstanding = [0] * len(costs)
        self._scales = [1.0] * len(costs)  # what dispatch learns while it serves is left out

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do at all."""
        return not self.coming and not any(self._outstanding)

    def predicted_s(self, wait_s: float, decode_s: float, images: int) -> float:
        """When a request would be answered that is accepted now."""
        return finish_s(wait_s, decode_s, self._load(), self._costs, self._scales, images)

    def share_out(self, images: int) -> dict[int, int]:
        """How many go to each instance; they count as outstanding there from now on."""
        if len(self._costs) == 1:
            self._outstanding[0] += images
            return {0: images}
        shares: dict[int, int] = {}
        earliest = EarliestFinish(self._outstanding, self._costs, self._scales)
        for _ in range(images):
            chosen = earliest.take()
            self._outstanding[chosen] += 1
            shares[chosen] = shares.get(chosen, 0) + 1
        return shares

    def count_off(self, instance: int, images: int) -> None:
        """So many have come back from there."""
        self._outstanding[instance] -= images

    def _load(self) -> list[int]:
        """Outstanding at each instance, with its share of what is coming (``Links``)."""
        if not self.coming:
            return self._outstanding
        speeds = [1 / cost.image_seconds for cost in self._costs]
        whole = sum(speeds)
        return [
            waiting + round(self.coming * speed / whole)
            for waiting, speed in zip(self._outstanding, speeds, strict=True)
        ]
